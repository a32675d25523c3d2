//! What the signals look at: one call of a model, boiled down to hashes and counts, so that a trace of any length
//! stays small and nothing has to be read twice.

use sha2::{Digest, Sha256};

use super::normal;
use super::unhappy::{Mood, mood};
use crate::trace::{CallEnd, CallId, Message, Part, Request, Response, Role, Stop};

/// A hash of something said, in 64 bits: equal texts have equal marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark(pub u64);

impl Mark {
    /// The mark of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = Sha256::digest(bytes);
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Mark(u64::from_be_bytes(first))
    }
}

/// A tool call as the signals see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub id: String,
    pub tool: String,
    /// Tool and arguments together, keys sorted.
    pub mark: Mark,
}

/// A tool result as the signals see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub id: String,
    pub is_error: bool,
    /// The text without what changes at every run: times, process numbers, addresses.
    pub mark: Mark,
}

/// One call of a trace, as the signals see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The call this is, where it has an id.
    pub call: Option<CallId>,
    /// The agent that asked, where the client names its sub-agents.
    pub agent: Option<String>,
    pub end: CallEnd,
    pub status: Option<u16>,
    /// The call this one repeats because it had failed.
    pub retry_of: Option<CallId>,
    /// The model that was asked.
    pub model: String,
    /// How many tools were offered; none usually means a title, a summary or a router.
    pub tools_offered: usize,
    /// How many messages were sent.
    pub messages: usize,
    /// Results of tools that came back since the last answer.
    pub results: Vec<Answered>,
    /// What a person said since the last answer.
    pub said: Option<Mark>,
    /// What the model said in words; `None` when it said nothing.
    pub text: Option<Mark>,
    /// Tools the model asked for.
    pub asked: Vec<Asked>,
    /// Whether an answer came whole, in the wire format's own sense.
    pub complete: bool,
    /// The provider's error, in one line.
    pub error: Option<String>,
    pub refused: bool,
    /// How the person took it, as far as their words say.
    pub mood: Option<Mood>,
    /// US dollars, where the model has a price. Whoever knows it sets it.
    pub cost_usd: Option<f64>,
    /// Tokens read, caches included, where the provider said.
    pub read_tokens: Option<u64>,
}

impl Step {
    /// Boils a call down. Where the call's end, status or agent are known, set them on what this returns.
    pub fn of(request: &Request, response: &Response) -> Self {
        let since = news(&request.messages);
        let said: Vec<&str> = since.iter().filter(|m| m.role == Role::User).flat_map(texts).collect();
        let spoken = response.message.as_ref().map(|m| texts(m).collect::<Vec<_>>().join("\n")).unwrap_or_default();
        let refused = response.stop == Some(Stop::Refusal)
            || response.message.iter().flat_map(|m| &m.parts).any(|part| matches!(part, Part::Refusal { .. }));
        let usage = &response.usage;
        Step {
            call: None,
            agent: None,
            end: if response.complete { CallEnd::Complete } else { CallEnd::Cut },
            status: None,
            retry_of: None,
            model: request.model.clone(),
            tools_offered: request.tools.len(),
            messages: request.messages.len(),
            results: since.iter().flat_map(|m| &m.parts).filter_map(answered).collect(),
            said: mark_of_words(&normal::result(&said.join("\n"))),
            text: mark_of_words(&spoken),
            asked: response.message.iter().flat_map(Message::tool_calls).map(asked).collect(),
            complete: response.complete,
            error: response.error.as_ref().map(|e| format!("{} {}", e.kind, e.message).trim().to_owned()),
            refused,
            mood: mood(&said.join("\n")),
            cost_usd: None,
            read_tokens: usage.input.map(|n| n + usage.cache_read.unwrap_or(0) + usage.cache_write.unwrap_or(0)),
        }
    }

    /// Whether the call brought an answer that a loop can go on with.
    pub fn is_answered(&self) -> bool {
        self.complete && self.error.is_none() && self.status.is_none_or(|status| status < 400)
    }
}

/// The messages after the model's last own one: what is new to it in this call.
fn news(messages: &[Message]) -> &[Message] {
    let last = messages.iter().rposition(|m| m.role == Role::Assistant).map_or(0, |at| at + 1);
    &messages[last..]
}

fn texts(message: &Message) -> impl Iterator<Item = &str> {
    message.parts.iter().filter_map(|part| match part {
        Part::Text { text } | Part::Refusal { text } => Some(text.as_str()),
        _ => None,
    })
}

fn mark_of_words(text: &str) -> Option<Mark> {
    let text = text.trim();
    (!text.is_empty()).then(|| Mark::of(text.as_bytes()))
}

fn asked(call: &crate::trace::ToolCall) -> Asked {
    let text = format!("{}\n{}", call.name, normal::arguments(&call.arguments));
    Asked { id: call.id.clone(), tool: call.name.clone(), mark: Mark::of(text.as_bytes()) }
}

fn answered(part: &Part) -> Option<Answered> {
    let Part::ToolResult(result) = part else { return None };
    let text = normal::result(&result.text);
    Some(Answered { id: result.id.clone(), is_error: result.is_error, mark: Mark::of(text.as_bytes()) })
}
