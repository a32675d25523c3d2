//! Graders for a case, and the proof that they see its failure: red on the recorded answer, for the reason that is named.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::pick::{Picked, Reason};
use super::story::{Told, Turn};
use crate::grade::{Bound, Evidence, Step};
use crate::suite::GraderSpec;
use crate::trace::{Message, Request, Response, Role, ToolCall};
use crate::trial::Grade;

/// What the graders of a case say of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// It fails, and this is why.
    Red(String),
    Green,
    /// There is no verdict.
    Open(String),
}

/// The graders that a reason calls for. None of them takes the failing answer as the expected one.
pub fn graders(picked: &Picked) -> Vec<Value> {
    let mut graders = Vec::new();
    match &picked.reason {
        Reason::Repeats { tool, arguments, .. } => {
            graders.push(json!({ "type": "tool_calls", "label": "does-not-repeat", "never": [{ "name": tool, "args": arguments }] }));
        }
        Reason::Forbidden { tool } => {
            graders.push(json!({ "type": "tool_calls", "label": "forbidden-tool", "never": [tool] }));
        }
        Reason::Refused => graders.push(json!({ "type": "refusal", "label": "does-not-refuse" })),
        Reason::Words { text } => {
            let other = json!({ "type": "similarity", "to": text, "at_least": 0.9 });
            graders.push(json!({ "type": "not", "label": "says-something-else", "grader": other }));
        }
    }
    graders
}

/// The graders of a whole run: what it had done before the failing answer it may do again.
pub fn loop_graders(picked: &Picked, told: &Told) -> Vec<Value> {
    let Reason::Repeats { tool, arguments, .. } = &picked.reason else { return graders(picked) };
    let wanted = |call: &&ToolCall| call.name == *tool && call.arguments == *arguments;
    let before = told.turns[..picked.at].iter().flat_map(Turn::calls).filter(wanted).count();
    let most = json!({ "name": tool, "args": arguments, "match": "exact", "at_least": 0, "at_most": before });
    vec![json!({ "type": "tool_calls", "label": "does-not-repeat", "must": [most] })]
}

/// An answer as graders and judges are shown it, in the conversation it was given in.
pub fn evidence(request: &Request, answer: &Response) -> Evidence {
    let text = answer.message.as_ref().map(Message::plain_text).unwrap_or_default();
    let mut evidence = Evidence::new("case", &text);
    let asked = request.messages.iter().find(|message| message.role == Role::User);
    evidence.prompt = asked.map(Message::plain_text).unwrap_or_default();
    evidence.opening.clone_from(&request.messages);
    evidence.steps = vec![Step { model: answer.model.clone(), said: answer.message.clone(), ..Step::default() }];
    evidence
}

/// Holds an answer against graders, in the conversation it was given in.
pub fn prove(graders: &[Value], request: &Request, answer: &Response) -> Proof {
    if answer.message.is_none() || answer.error.is_some() {
        return Proof::Open("there is no answer".to_owned());
    }
    let evidence = evidence(request, answer);
    let mut open = None;
    for spec in graders {
        let bound = match Bound::compile(&GraderSpec(spec.clone()), &BTreeMap::new()) {
            Ok(bound) => bound,
            Err(error) => return Proof::Open(format!("a grader can't be read: {error}")),
        };
        let record = bound.grade(&evidence);
        match record.grade {
            Grade::Scored { pass: false, .. } => {
                let reason = record.reasons.first().cloned().unwrap_or_default();
                return Proof::Red(format!("{}: {reason}", record.label));
            }
            Grade::Scored { .. } => {}
            Grade::Abstained { reason } | Grade::Broken { reason } => open = Some(reason),
        }
    }
    open.map_or(Proof::Green, Proof::Open)
}
