//! HTTP bytes of a model call, read into the one shape of [`crate::trace`] and written back from it. One file per wire
//! format. Reading is tolerant: what isn't understood is kept as it came ([`crate::trace::Part::Other`]) or left to the raw
//! bytes that the store has anyway; nothing here fails a call because it is strange, and nothing panics.

mod refuse;

pub mod mock;

use bytes::Bytes;

use crate::trace::{Headers, Message, Request, Response, ToolDef, Wire};

pub use refuse::{refusal, refuse};

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

/// The wire format of a call, by its path and, when the path is strange, by the shape of its body.
pub fn detect(_method: &str, _target: &str, _headers: &Headers, _body: &[u8]) -> Wire {
    Wire::Raw
}

/// Reads a request body (decoded, no content-encoding).
///
/// # Errors
/// When the body isn't a JSON object.
pub fn request(_wire: Wire, _target: &str, _body: &[u8]) -> Result<Request, Unreadable> {
    Ok(Request::default())
}

/// Reads a whole response body (decoded, no content-encoding), a stream or one JSON.
pub fn response(wire: Wire, status: u16, headers: &Headers, body: &[u8]) -> Response {
    let mut reader = Reader::new(wire, status, headers);
    reader.feed(body);
    reader.finish()
}

/// Reads a response body as it arrives, in pieces of any size.
pub struct Reader {
    fed: usize,
}

impl Reader {
    pub fn new(_wire: Wire, _status: u16, _headers: &Headers) -> Self {
        Reader { fed: 0 }
    }

    /// Takes the next bytes of the body.
    pub fn feed(&mut self, bytes: &[u8]) -> Progress {
        self.fed += bytes.len();
        Progress { first_content: self.fed > 0, complete: false }
    }

    /// Takes one event's JSON where the transport frames events itself (WebSocket).
    pub fn feed_event(&mut self, event: &str) -> Progress {
        self.feed(event.as_bytes())
    }

    /// What came, put together.
    pub fn finish(self) -> Response {
        Response { complete: true, ..Response::default() }
    }
}

/// The messages in one element of a request's conversation. `array` is the field it stands in: `messages`, `system`,
/// `input`, `instructions`, `contents`, `systemInstruction`; where that field is a string or an object, `raw` is all of it.
/// [`request`] gives the same messages in the same order.
pub fn block_messages(_wire: Wire, _array: &str, _raw: &[u8]) -> Vec<Message> {
    Vec::new()
}

/// The tools in one element of a request's `tools`.
pub fn block_tools(_wire: Wire, _raw: &[u8]) -> Vec<ToolDef> {
    Vec::new()
}

/// Writes an answer as a provider would: the headers, and the body in the pieces it would come in (one, when not streamed).
pub fn answer(_wire: Wire, _stream: bool, response: &Response) -> (Headers, Vec<Bytes>) {
    let text = response.message.as_ref().map(Message::plain_text).unwrap_or_default();
    (vec![("content-type".to_owned(), "text/plain".to_owned())], vec![Bytes::from(text)])
}
