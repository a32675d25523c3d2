//! What two runs must share to have asked the same thing.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::types::Suite;

/// A short hash of bytes: the first 16 hex digits of their SHA-256.
pub fn hash_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The hash of what a suite asks: its tasks and target. Models, prompts to compare, parameters, trials, budget, seed, name
/// and words about it are left out, and so are the graders, which have a fingerprint of their own.
pub fn fingerprint(suite: &Suite) -> String {
    let tasks: Vec<Value> = suite
        .tasks
        .iter()
        .map(|task| {
            json!({"id": task.id, "prompt": task.prompt, "vars": task.vars, "workspace": task.workspace,
                "expected": task.expected, "trace": task.trace})
        })
        .collect();
    let asked = json!({"target": suite.target, "vars": suite.vars, "tasks": tasks});
    hash_hex(asked.to_string().as_bytes())
}
