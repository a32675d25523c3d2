//! Drafts of suites for a person to edit: an example that runs offline, or tasks made from good traces.

use serde_json::Value;

use super::recorded::Recorded;
use crate::trace::{Message, Role};

/// A suite that runs without a key and without a network, with every part explained.
pub const EXAMPLE: &str = r#"# yaml-language-server: $schema=./suite.schema.json
# Try it: holdback eval this-file.yaml
suite: example
kind: regression              # a task that fails ends `holdback eval` with exit code 1; `capability` only watches

# What is run for each trial. A program of yours instead of a single model call:
#   loop: {command: [python, agent.py, "{{prompt}}"], workspace: fixtures/shop}
target:
  prompt:
    system: Answer in one short sentence.

models: [mock/echo]           # repeats what it is asked; write anthropic/claude-sonnet-5 or openai/gpt-5.2 for real
trials: 4                     # how often each task is asked of each model
budget: {trial: {seconds: 60}}

graders:                      # for every task
  - {type: refusal}

tasks:
  - id: capital
    prompt: "The capital of {{country}} is {{capital}}."
    vars: {country: France, capital: Paris}
    graders:
      - {type: contains, all: ["{{capital}}"]}
"#;

/// Drafts a suite from recorded traces: what was asked becomes a task, which tools were called becomes a grader.
pub fn from_traces(name: &str, traces: &[(String, Recorded)]) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let mut out = format!(
        "# Drafted from {} recorded trace(s). Read every task before you trust it: a trace shows what was done, not what is right.\n\
         suite: {}\nkind: regression\ntarget:\n  loop:\n    command: [your-agent, \"{{{{prompt}}}}\"]   # how your loop is started\n\
         models: []                            # leave it empty when the loop picks its model itself\n\
         trials: 4\ngraders:\n  - {{type: stops}}\ntasks:\n",
        traces.len(),
        quoted(name)
    );
    for (number, (word, trace)) in (1..).zip(traces) {
        let asked = trace.opening.iter().rev().find(|message| message.role == Role::User).map(Message::plain_text);
        out.push_str(&format!("  - id: {}\n", quoted(&format!("task-{number}"))));
        out.push_str(&format!("    prompt: {}\n", escaped(&quoted(asked.as_deref().unwrap_or_default()))));
        out.push_str(&format!("    trace: {}\n", quoted(word)));
        let mut tools: Vec<&str> = Vec::new();
        for call in trace.steps.iter().filter_map(|step| step.said.as_ref()).flat_map(Message::tool_calls) {
            if !tools.contains(&call.name.as_str()) {
                tools.push(&call.name);
            }
        }
        out.push_str("    graders:\n");
        out.push_str(&format!("      - {{type: stops, within: {}}}\n", (trace.steps.len() * 2).max(1)));
        if !tools.is_empty() {
            let must: Vec<String> = tools.iter().map(|tool| format!("{{name: {}}}", quoted(tool))).collect();
            out.push_str(&format!("      - {{type: tool_calls, must: [{}]}}\n", must.join(", ")));
        }
    }
    out
}

/// Braces that someone really said are not variables.
fn escaped(text: &str) -> String {
    let mut out = text.to_owned();
    let mut names: Vec<String> = crate::suite::names(text).into_iter().map(ToOwned::to_owned).collect();
    names.sort();
    names.dedup();
    for name in names {
        for spelling in [format!("{{{{{name}}}}}"), format!("{{{{ {name} }}}}")] {
            out = out.replace(&spelling, &format!("{{{{!{name}}}}}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::grade::{self, Step};
    use crate::suite::{Files, load};
    use crate::trace::{Part, ToolCall};

    struct NoFiles;

    impl Files for NoFiles {
        fn read(&self, _: &str) -> Result<String, String> {
            Err("no such file".to_owned())
        }
        fn exists(&self, _: &str) -> bool {
            false
        }
    }

    #[test]
    fn drafts_are_suites_that_load() {
        let call = ToolCall { id: String::new(), name: "look up".to_owned(), arguments: json!({}) };
        let said = Message { role: Role::Assistant, parts: vec![Part::ToolCall(call)] };
        let trace = Recorded {
            opening: vec![Message::text(Role::System, "x"), Message::text(Role::User, "Say \"hi\" to {{name}}:\nnow")],
            steps: vec![Step { said: Some(said), ..Step::default() }],
            ..Recorded::default()
        };
        for text in [EXAMPLE.to_owned(), from_traces("my: suite", &[("abc".to_owned(), trace)])] {
            let loaded = load("s.yaml", &text, &NoFiles).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
            grade::check(&loaded).unwrap();
            assert_eq!(loaded.suite.tasks.len(), 1);
        }
    }
}
