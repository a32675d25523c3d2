//! Short ways to grade, for the tests of this room.

use serde_json::Value;

use super::{Bound, Evidence, Step};
use crate::suite::GraderSpec;
use crate::trace::{Message, Part, Role, ToolCall};
use crate::trial::GradeRecord;

/// Grades evidence by a configuration.
pub(super) fn grade(config: Value, evidence: &Evidence) -> GradeRecord {
    Bound::compile(&GraderSpec(config), &Default::default()).unwrap().grade(evidence)
}

/// Grades an answer by a configuration.
pub(super) fn graded(config: Value, answer: &str) -> GradeRecord {
    grade(config, &Evidence::new("t", answer))
}

/// Evidence of a loop that called these tools, one a step.
pub(super) fn with_tools(calls: &[(&str, Value)]) -> Evidence {
    let mut evidence = Evidence::new("t", "");
    evidence.steps = calls
        .iter()
        .map(|(name, arguments)| {
            let call = ToolCall { id: String::new(), name: (*name).to_owned(), arguments: arguments.clone() };
            Step { said: Some(Message { role: Role::Assistant, parts: vec![Part::ToolCall(call)] }), ..Step::default() }
        })
        .collect();
    evidence
}
