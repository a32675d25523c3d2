//! Scripts: a conversation with tools, played turn by turn.

use std::str::FromStr;

use serde::Deserialize;
use serde_json::{Value, json};

use super::words::uniform;
use super::{Reply, fails};
use crate::trace::{Message, Part, Request, Response, Role, Stop, ToolCall, Usage};

/// A script that isn't one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadScript {
    #[error("isn't a script: {reason}")]
    NotAScript { reason: String },
    #[error("has no turns: give it a list `turns:` with at least one answer")]
    Empty,
    #[error("is wrong in turn {turn}: {what}")]
    BadTurn { turn: usize, what: String },
}

/// A scripted model, in YAML or JSON. A conversation that has n answers in it already gets turn n (from 0), so a script
/// keeps no state and any number of loops can play it at once.
///
/// ```yaml
/// turns:
///   - thinking: Look first.          # optional, where the wire has it
///     text: I'll look.               # optional
///     tools:                         # optional; ids are made when left out
///       - name: shell
///         arguments: {command: ls}
///     usage: {input: 120, output: 15, cache_read: 100}   # optional; words are counted when left out
///     delay_ms: 20                   # optional
///   - branch:                        # the first that fits answers
///       - when: No such file         # a text in the last message (a user's or a tool's)
///         text: There is nothing.
///       - error: {status: 529, type: overloaded_error, message: Overloaded}
///         chance: 0.1                # now and then; drawn for each key, so the same trial has the same luck
/// otherwise:                         # what every later turn gets; without it they are refused
///   text: I have said all I know.
/// ```
///
/// `stop: length` (or `end`, `tools`, `refusal`, or a word of the provider's) replaces the reason to stop, `cut: true` breaks
/// the stream off before its end, and `error` without a `status` comes inside a stream that began well.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    turns: Vec<Turn>,
    #[serde(default)]
    otherwise: Option<Turn>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    #[serde(default)]
    when: Option<String>,
    /// How often this branch fits at all, from 0 to 1.
    #[serde(default)]
    chance: Option<f64>,
    #[serde(default)]
    branch: Vec<Turn>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    tools: Vec<Tool>,
    #[serde(default)]
    usage: Usage,
    #[serde(default)]
    stop: Option<String>,
    #[serde(default)]
    error: Option<Failure>,
    #[serde(default)]
    delay_ms: u64,
    #[serde(default)]
    cut: bool,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tool {
    #[serde(default)]
    id: Option<String>,
    name: String,
    #[serde(default)]
    arguments: Value,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    #[serde(default)]
    status: Option<u16>,
    #[serde(default, rename = "type")]
    kind: String,
    message: String,
}

impl FromStr for Script {
    type Err = BadScript;

    fn from_str(text: &str) -> Result<Self, BadScript> {
        let script: Script =
            serde_saphyr::from_str(text).map_err(|error| BadScript::NotAScript { reason: error.to_string() })?;
        if script.turns.is_empty() {
            return Err(BadScript::Empty);
        }
        for (turn, answer) in script.turns.iter().chain(&script.otherwise).enumerate() {
            answer.check().map_err(|what| BadScript::BadTurn { turn, what: what.to_owned() })?;
        }
        Ok(script)
    }
}

impl Turn {
    fn check(&self) -> Result<(), &'static str> {
        let says = self.text.is_some() || self.thinking.is_some() || !self.tools.is_empty() || self.error.is_some();
        if self.chance.is_some_and(|chance| !(0.0..=1.0).contains(&chance)) {
            return Err("a `chance` is a number from 0 to 1");
        }
        if !self.branch.is_empty() {
            if says {
                return Err("it has both a `branch` and an answer; put the answer into a branch without `when`");
            }
            return self.branch.iter().try_for_each(Turn::check);
        }
        if !says && !self.cut {
            return Err("it says nothing: give it `text`, `tools`, `thinking`, `error` or `branch`");
        }
        let status = self.error.as_ref().and_then(|error| error.status);
        if status.is_some_and(|status| !(400..600).contains(&status)) {
            return Err("an error's `status` is a number from 400 to 599");
        }
        Ok(())
    }

    /// The answer that fits what was said last. Each branch with a chance draws its own luck for a key.
    fn choose(&self, last: &str, key: &str, place: u64) -> Option<&Turn> {
        if self.when.as_ref().is_some_and(|when| !last.contains(when.as_str())) {
            return None;
        }
        if self.chance.is_some_and(|chance| uniform(place, key) >= chance) {
            return None;
        }
        if self.branch.is_empty() {
            return Some(self);
        }
        (1..).zip(&self.branch).find_map(|(at, turn)| turn.choose(last, key, 1000 * place + at))
    }

    fn reply(&self, turn: usize) -> Reply {
        if let Some(Failure { status: Some(status), kind, message }) = &self.error {
            return Reply { delay_ms: self.delay_ms, ..fails(*status, kind.clone(), message.clone()) };
        }
        let mut parts = Vec::new();
        if let Some(text) = &self.thinking {
            parts.push(Part::Thinking { text: text.clone(), signature: String::new() });
        }
        if let Some(text) = &self.text {
            parts.push(Part::Text { text: text.clone() });
        }
        for (at, tool) in self.tools.iter().enumerate() {
            let id = tool.id.clone().unwrap_or_else(|| format!("call_{turn}_{at}"));
            let arguments = if tool.arguments.is_null() { json!({}) } else { tool.arguments.clone() };
            parts.push(Part::ToolCall(ToolCall { id, name: tool.name.clone(), arguments }));
        }
        let stop = match self.stop.as_deref() {
            None if !self.tools.is_empty() => Stop::Tools,
            None | Some("end") => Stop::End,
            Some("tools") => Stop::Tools,
            Some("length") => Stop::Length,
            Some("refusal") => Stop::Refusal,
            Some(other) => Stop::Other(other.to_owned()),
        };
        let error = self
            .error
            .as_ref()
            .map(|error| crate::trace::ProviderError { kind: error.kind.clone(), message: error.message.clone() });
        let complete = !self.cut && error.is_none();
        let message = (!parts.is_empty()).then_some(Message { role: Role::Assistant, parts });
        let stop = complete.then_some(stop);
        let response = Response { message, stop, usage: self.usage, error, complete, ..Response::default() };
        Reply { status: 200, delay_ms: self.delay_ms, response }
    }
}

impl Script {
    /// The answer to a conversation that has `turn` answers already.
    pub(super) fn reply(&self, request: &Request, turn: usize, key: &str) -> Reply {
        let last = request.messages.iter().rev().find(|message| matches!(message.role, Role::User | Role::Tool));
        let last = last.map(Message::plain_text).unwrap_or_default();
        let Some(answer) = self.turns.get(turn).or(self.otherwise.as_ref()) else {
            let count = self.turns.len();
            let what =
                format!("the script has {count} turns, and this is turn {turn} counted from 0: add `otherwise:`");
            return fails(400, String::new(), what);
        };
        match answer.choose(&last, key, turn as u64 + 1) {
            Some(answer) => answer.reply(turn),
            None => fails(400, String::new(), format!("no branch of the script's turn {turn} fits what was said last")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "
turns:
  - thinking: Look first.
    text: I'll look.
    tools:
      - name: shell
        arguments: {command: ls}
      - {name: now, id: mine}
    usage: {input: 120, output: 15, cache_read: 100}
    delay_ms: 20
  - branch:
      - when: No such file
        text: There is nothing.
      - error: {status: 529, type: overloaded_error, message: Overloaded}
otherwise:
  text: All said.
";

    fn request(last: &str) -> Request {
        Request { messages: vec![Message::text(Role::Tool, last)], ..Request::default() }
    }

    #[test]
    fn a_script_is_played_by_the_turn_and_by_what_was_said() {
        let script: Script = SCRIPT.parse().unwrap();
        let first = script.reply(&request(""), 0, "");
        let parts = first.response.message.as_ref().unwrap().parts.clone();
        assert_eq!((parts.len(), first.delay_ms, first.response.usage.cache_read), (4, 20, Some(100)));
        assert_eq!(first.response.stop, Some(Stop::Tools));
        let calls: Vec<_> = first.response.message.iter().flat_map(Message::tool_calls).collect();
        assert_eq!((calls[0].id.as_str(), calls[1].id.as_str()), ("call_0_0", "mine"));
        assert_eq!(calls[1].arguments, json!({}));
        let text = |reply: Reply| reply.response.message.map(|message| message.plain_text());
        assert_eq!(text(script.reply(&request("x: No such file!"), 1, "")).as_deref(), Some("There is nothing."));
        let error = script.reply(&request("fine"), 1, "");
        assert_eq!((error.status, error.response.error.unwrap().kind.as_str()), (529, "overloaded_error"));
        assert_eq!(text(script.reply(&request(""), 9, "")).as_deref(), Some("All said."));
    }

    #[test]
    fn the_end_of_a_script_is_said() {
        let script: Script = r#"{"turns":[{"text":"a"},{"branch":[{"when":"x","text":"b"}]}]}"#.parse().unwrap();
        let past = script.reply(&request(""), 2, "");
        assert!(past.status == 400 && past.response.error.unwrap().message.contains("has 2 turns"));
        let unfit = script.reply(&request("y"), 1, "");
        assert!(unfit.status == 400 && unfit.response.error.unwrap().message.contains("no branch"));
    }

    #[test]
    fn errors_in_a_stream_and_cut_streams_can_be_scripted() {
        let text = r#"{"turns":[{"text":"a","error":{"type":"t","message":"m"}},{"text":"half","cut":true}]}"#;
        let script: Script = text.parse().unwrap();
        let inside = script.reply(&request(""), 0, "");
        assert_eq!((inside.status, inside.response.complete, inside.response.error.is_some()), (200, false, true));
        let cut = script.reply(&request(""), 1, "");
        assert_eq!((cut.response.complete, cut.response.stop), (false, None));
    }

    #[test]
    fn what_is_no_script_says_why() {
        for (text, word) in [
            ("turns: []", "no turns"),
            ("turn: []", "turn"),
            ("turns: [{}]", "says nothing"),
            ("turns: [{text: a, branch: [{text: b}]}]", "both a `branch`"),
            ("turns: [{text: a}, {error: {status: 200, message: m}}]", "turn 1"),
            ("turns: [{txt: a}]", "txt"),
        ] {
            let error = text.parse::<Script>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
