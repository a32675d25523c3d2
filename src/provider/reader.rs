//! Reads a response body as it arrives: cuts it into events and hands them to the wire format's own reader.

use serde_json::Value;

use super::frame::{Frame, Framer};
use super::parts::{http_error, provider_error};
use super::{Progress, anthropic, embeddings, gemini, openai_chat, openai_responses};
use crate::trace::{Headers, ProviderError, Response, Wire};

/// A wire format's answer coming in.
pub trait Body: Send {
    /// Takes one event of a stream; whether there was content in it.
    fn event(&mut self, name: &[u8], data: &[u8]) -> bool;
    /// Takes the body when it is one JSON, or one element of the JSON array it is; whether there was content in it.
    fn json(&mut self, data: &[u8]) -> bool;
    /// Whether the format's own end has been seen.
    fn is_complete(&self) -> bool;
    /// Puts it together.
    fn finish(self: Box<Self>) -> Response;
}

/// What is not understood: it has no end that could be missed.
struct Unknown;

impl Body for Unknown {
    fn event(&mut self, _name: &[u8], _data: &[u8]) -> bool {
        false
    }
    fn json(&mut self, _data: &[u8]) -> bool {
        false
    }
    fn is_complete(&self) -> bool {
        false
    }
    fn finish(self: Box<Self>) -> Response {
        Response { complete: true, ..Response::default() }
    }
}

/// Reads a response body as it arrives, in pieces of any size.
pub struct Reader {
    framer: Framer,
    body: Box<dyn Body>,
    state: State,
}

struct State {
    status: u16,
    /// The beginning of a failed status's body: errors are short.
    head: Vec<u8>,
    error: Option<ProviderError>,
    first_content_at: Option<usize>,
    /// Whether the outermost JSON value of the body is closed.
    closed: bool,
    /// Bytes that nobody understands need no cutting up.
    raw: bool,
}

const LONGEST_ERROR: usize = 64 << 10;

impl Reader {
    pub fn new(wire: Wire, status: u16, _headers: &Headers) -> Self {
        let body: Box<dyn Body> = match wire {
            Wire::OpenaiChat => Box::<openai_chat::Incoming>::default(),
            Wire::OpenaiResponses => Box::<openai_responses::Incoming>::default(),
            Wire::AnthropicMessages => Box::<anthropic::Incoming>::default(),
            Wire::Gemini => Box::<gemini::Incoming>::default(),
            Wire::Embeddings => Box::<embeddings::Incoming>::default(),
            Wire::Raw => Box::new(Unknown),
        };
        let state = State {
            status,
            head: Vec::new(),
            error: None,
            first_content_at: None,
            closed: false,
            raw: wire == Wire::Raw,
        };
        Reader { framer: Framer::new(wire == Wire::Gemini), body, state }
    }

    /// Takes the next bytes of the body.
    pub fn feed(&mut self, bytes: &[u8]) -> Progress {
        if self.state.failed() {
            let room = LONGEST_ERROR.saturating_sub(self.state.head.len());
            self.state.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        let Reader { framer, body, state } = self;
        if state.raw {
            let at = framer.skip(bytes.len());
            state.first_content_at = state.first_content_at.or((at > 0).then_some(at));
            return self.progress();
        }
        framer.feed(bytes, &mut |frame, at| state.take(body.as_mut(), frame, at));
        self.progress()
    }

    /// Takes one event's JSON where the transport frames events itself (WebSocket). `first_content_at` then counts as if
    /// the events stood one after the other.
    pub fn feed_event(&mut self, event: &str) -> Progress {
        let at = self.framer.skip(event.len());
        self.state.take(self.body.as_mut(), Frame::Event { name: b"", data: event.as_bytes() }, at);
        self.progress()
    }

    fn progress(&self) -> Progress {
        let failed_whole = self.state.failed() && self.state.closed;
        let complete = self.body.is_complete() || failed_whole;
        Progress { first_content: self.state.first_content_at.is_some(), complete }
    }

    /// What came, put together.
    pub fn finish(self) -> Response {
        let Reader { mut framer, mut body, mut state } = self;
        framer.finish(&mut |frame, at| state.take(body.as_mut(), frame, at));
        let mut response = body.finish();
        response.first_content_at = state.first_content_at;
        if state.failed() {
            response.error = response.error.or(state.error).or_else(|| Some(http_error(state.status, &state.head)));
            response.complete = response.complete || state.closed;
        }
        response
    }
}

impl State {
    fn failed(&self) -> bool {
        self.status >= 400
    }

    fn take(&mut self, body: &mut dyn Body, frame: Frame<'_>, at: usize) {
        let content = match frame {
            Frame::Event { name, data } => body.event(name, data),
            Frame::Json(data) if self.failed() => {
                let parsed: Option<Value> = serde_json::from_slice(data).ok();
                self.error = self.error.take().or_else(|| parsed.as_ref().and_then(provider_error));
                false
            }
            Frame::Json(data) => body.json(data),
            Frame::Closed => {
                self.closed = true;
                false
            }
        };
        if content && self.first_content_at.is_none() {
            self.first_content_at = Some(at);
        }
    }
}
