//! HTTP bytes of a model call, read into the one shape of [`crate::trace`] and written back from it. One file per wire
//! format. Reading is tolerant: what isn't understood is kept as it came ([`crate::trace::Part::Other`]) or left to the raw
//! bytes that the store has anyway; nothing here fails a call because it is strange, and nothing panics.

mod anthropic;
mod detect;
mod embeddings;
mod encode;
mod frame;
mod gemini;
mod gemini_args;
mod lax;
mod openai_chat;
mod openai_responses;
mod openai_responses_write;
mod parts;
mod reader;
mod refuse;
mod request;
mod usage;

pub mod mock;

use bytes::Bytes;

use crate::trace::{Headers, Message, Response, Wire};

pub use detect::{detect, model_in_path};
pub use encode::{Encoded, encode, set_params, target};
pub use reader::Reader;
pub use refuse::{refusal, refuse};
pub use request::{block_messages, block_tools, joined, request};

/// A request body that can't be read as a conversation. It is recorded all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the body isn't JSON: {reason}")]
    NotJson { reason: String },
    #[error("the body is JSON, but not an object")]
    NotAnObject,
}

/// How far a [`Reader`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Content has been seen by now: text, thinking or a tool call, not a mere frame.
    pub first_content: bool,
    /// The wire format's own end has been seen by now.
    pub complete: bool,
}

/// Reads a whole response body (decoded, no content-encoding), a stream or one JSON.
pub fn response(wire: Wire, status: u16, headers: &Headers, body: &[u8]) -> Response {
    let mut reader = Reader::new(wire, status, headers);
    reader.feed(body);
    reader.finish()
}

/// Writes an answer as a provider would: the headers, and the body in the pieces it would come in (one, when not streamed).
/// A response with an error in it becomes an error inside the answer; a failed status is [`refuse`]'s. A stream of a
/// response that isn't complete stops short of its end.
pub fn answer(wire: Wire, stream: bool, response: &Response) -> (Headers, Vec<Bytes>) {
    let (kind, body) = match wire {
        Wire::Raw => {
            let text = response.message.as_ref().map(Message::plain_text).unwrap_or_default();
            ("text/plain; charset=utf-8", vec![Bytes::from(text)])
        }
        Wire::Embeddings => ("application/json", one(&embeddings::write_json(response))),
        Wire::OpenaiChat if stream => (EVENTS, openai_chat::write_stream(response)),
        Wire::OpenaiChat => ("application/json", one(&openai_chat::write_json(response))),
        Wire::OpenaiResponses if stream => (EVENTS, openai_responses_write::write_stream(response)),
        Wire::OpenaiResponses => ("application/json", one(&openai_responses_write::write_json(response))),
        Wire::AnthropicMessages if stream => (EVENTS, anthropic::write_stream(response)),
        Wire::AnthropicMessages => ("application/json", one(&anthropic::write_json(response))),
        Wire::Gemini if stream => (EVENTS, gemini::write_stream(response)),
        Wire::Gemini => ("application/json", one(&gemini::write_json(response))),
    };
    (vec![("content-type".to_owned(), kind.to_owned())], body)
}

const EVENTS: &str = "text/event-stream; charset=utf-8";

fn one(body: &serde_json::Value) -> Vec<Bytes> {
    vec![Bytes::from(body.to_string())]
}
