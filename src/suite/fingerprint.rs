//! What two runs must share to have asked the same thing.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::load::Loaded;
use super::types::Target;

/// A short hash of bytes: the first 16 hex digits of their SHA-256.
pub fn hash_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The hash of what a suite asks: its tasks. What is asked is left out and has a fingerprint of its own (the target), and so are
/// the graders. Models, prompts to compare, parameters, trials, budget, seed, name and words about it don't count at all.
pub fn fingerprint(loaded: &Loaded) -> String {
    let suite = &loaded.suite;
    let tasks: Vec<Value> = suite
        .tasks
        .iter()
        .map(|task| {
            let prompt = task.prompt.as_deref().map(|prompt| loaded.text(prompt));
            let mut one = json!({"id": task.id, "prompt": prompt, "vars": task.vars, "workspace": task.workspace,
                "expected": task.expected, "trace": task.trace});
            if task.tape.is_some() {
                one["tape"] = json!([task.tape, task.live_from, task.tape_tools, suite.likeness, suite.ignore]);
            }
            one
        })
        .collect();
    let kind = match suite.target {
        Target::Loop(_) => "loop",
        Target::Prompt(_) => "prompt",
        Target::Http(_) => "http",
        Target::Trace(_) => "trace",
    };
    let asked = json!({"target": kind, "vars": suite.vars, "tasks": tasks});
    hash_hex(asked.to_string().as_bytes())
}
