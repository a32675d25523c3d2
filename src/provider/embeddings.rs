//! Embeddings and rerank: recorded and counted; there is no conversation in them.

use serde::Deserialize;
use serde_json::{Value, json};

use super::lax::{Shape, Text, read};
use super::parts::{openai_error, provider_error};
use super::reader::Body;
use super::usage::read_embeddings;
use crate::trace::Response;

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default, borrow)]
    id: Text<'a>,
    #[serde(default, borrow)]
    model: Text<'a>,
    #[serde(default)]
    usage: Value,
    /// Cohere's place for its counts.
    #[serde(default)]
    meta: Value,
    /// Gemini's.
    #[serde(default, rename = "usageMetadata")]
    usage_metadata: Value,
    #[serde(default)]
    error: Value,
}

impl Shape for Answer<'_> {
    type Read<'a> = Answer<'a>;
}

/// An answer coming in.
#[derive(Default)]
pub struct Incoming {
    response: Response,
}

impl Body for Incoming {
    fn event(&mut self, _name: &[u8], data: &[u8]) -> bool {
        self.json(data)
    }

    fn json(&mut self, data: &[u8]) -> bool {
        read::<Answer<'static>>(data, |answer| {
            let raw = [answer.usage, answer.usage_metadata, answer.meta].into_iter().find(Value::is_object);
            self.response.id = answer.id.0.into_owned();
            self.response.model = answer.model.0.into_owned();
            self.response.usage_raw = raw.unwrap_or_default();
            self.response.usage = read_embeddings(&self.response.usage_raw);
            if !answer.error.is_null() {
                self.response.error = provider_error(&json!({ "error": answer.error }));
            }
            self.response.complete = self.response.error.is_none();
        });
        self.response.complete
    }

    fn is_complete(&self) -> bool {
        self.response.complete
    }

    fn finish(self: Box<Self>) -> Response {
        self.response
    }
}

/// The answer as one JSON. There are no vectors in a response that was read, so there are none in it.
pub fn write_json(response: &Response) -> Value {
    if let Some(error) = &response.error {
        return json!({ "error": openai_error(error) });
    }
    let tokens = response.usage.input.unwrap_or(0);
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    json!({ "object": "list", "data": [], "model": response.model, "usage": usage })
}
