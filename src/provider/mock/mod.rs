//! Models that run inside holdback, without a key and without a network: for tests, suites and tries.

use bytes::Bytes;

use super::{answer, refuse};
use crate::trace::{Headers, Message, Request, Response, Role, Wire};

/// A mock model's name that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadModel {
    #[error("there is no mock model {name:?}: use mock/echo, mock/script:FILE or mock/flaky?p=0.8&seed=7")]
    Unknown { name: String },
}

/// A model that needs no provider.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    /// Answers the last user message.
    Echo,
}

/// What a mock model answers, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// HTTP status: 200, or the error's.
    pub status: u16,
    /// How long it pretends to think.
    pub delay_ms: u64,
    pub response: Response,
}

impl Reply {
    /// The reply as the bytes a provider of that wire format would send.
    pub fn encode(&self, wire: Wire, stream: bool) -> (u16, Headers, Vec<Bytes>) {
        if let Some(error) = self.response.error.as_ref().filter(|_| self.status >= 400) {
            let (status, headers, body) = refuse(wire, self.status, &error.kind, &error.message);
            return (status, headers, vec![body]);
        }
        let (headers, body) = answer(wire, stream, &self.response);
        (self.status, headers, body)
    }
}

/// Whether a model's name asks for a mock model.
pub fn is_mock(model: &str) -> bool {
    model.starts_with("mock/")
}

impl Model {
    /// Reads a model's name. `read` fetches the text of the file that a script names; nothing here touches the disk.
    ///
    /// # Errors
    /// When there is no such mock model, its parameters are wrong, or its script can't be read.
    pub fn parse(name: &str, _read: &mut dyn FnMut(&str) -> Result<String, String>) -> Result<Self, BadModel> {
        match name {
            "mock/echo" => Ok(Model::Echo),
            _ => Err(BadModel::Unknown { name: name.to_owned() }),
        }
    }

    /// Answers a request: always the same answer for the same request and key. `key` names task and trial (or the trace),
    /// so that k trials draw independent luck.
    pub fn reply(&self, request: &Request, _key: &str) -> Reply {
        let last = request.messages.iter().rev().find(|message| message.role == Role::User);
        let text = last.map(Message::plain_text).unwrap_or_default();
        let message = Some(Message::text(Role::Assistant, text));
        let response = Response { model: request.model.clone(), message, complete: true, ..Response::default() };
        Reply { status: 200, delay_ms: 0, response }
    }
}
