//! One call of a model, read: what was asked, what came back, what it used.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::message::{Message, ToolDef};

/// The wire format a call was made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    /// OpenAI Chat Completions and the many servers that speak it.
    OpenaiChat,
    /// OpenAI Responses.
    OpenaiResponses,
    /// Anthropic Messages.
    AnthropicMessages,
    /// Gemini generateContent and streamGenerateContent.
    Gemini,
    /// Embeddings and rerank: recorded, no conversation in them.
    Embeddings,
    /// Not understood: recorded as bytes.
    #[default]
    Raw,
}

impl Wire {
    /// The word stored in the log and the index.
    pub fn as_str(self) -> &'static str {
        match self {
            Wire::OpenaiChat => "openai_chat",
            Wire::OpenaiResponses => "openai_responses",
            Wire::AnthropicMessages => "anthropic_messages",
            Wire::Gemini => "gemini",
            Wire::Embeddings => "embeddings",
            Wire::Raw => "raw",
        }
    }
}

/// Tokens, counted one way for all providers: `input` is what was read fresh, so the four add up without overlap
/// (`reasoning` is a part of `output`). `None` means the provider did not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
}

impl Usage {
    /// Whether the provider said anything at all.
    pub fn is_known(&self) -> bool {
        *self != Usage::default()
    }

    /// Everything read and written, as far as it is known.
    pub fn total(&self) -> u64 {
        [self.input, self.output, self.cache_read, self.cache_write].into_iter().flatten().sum()
    }
}

/// A request, read.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Request {
    pub model: String,
    /// The conversation, standing orders first.
    pub messages: Vec<Message>,
    #[serde(default)]
    pub tools: Vec<ToolDef>,
    /// Temperature and the like, under the names the wire gives them.
    #[serde(default)]
    pub params: Map<String, Value>,
    #[serde(default)]
    pub stream: bool,
}

/// Why a model stopped, in one vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// It had said what it had to say.
    End,
    /// It wants tools to run.
    Tools,
    /// It ran into a length limit.
    Length,
    /// It refused, or a filter did.
    Refusal,
    /// Another word of the provider's.
    Other(String),
}

impl Stop {
    /// The word stored in the index.
    pub fn as_str(&self) -> &str {
        match self {
            Stop::End => "end",
            Stop::Tools => "tools",
            Stop::Length => "length",
            Stop::Refusal => "refusal",
            Stop::Other(word) => word,
        }
    }
}

/// An error as the provider worded it, in the status line or inside a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderError {
    /// The provider's own type or code, `overloaded_error` say; empty when it has none.
    #[serde(default)]
    pub kind: String,
    pub message: String,
}

/// A response, read and put together again from its stream.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Response {
    /// The provider's id for the answer; equal ids mean known copies.
    #[serde(default)]
    pub id: String,
    /// The model that says it answered.
    #[serde(default)]
    pub model: String,
    /// The answer; `None` when there is none (an error, embeddings, an empty stream).
    #[serde(default)]
    pub message: Option<Message>,
    #[serde(default)]
    pub stop: Option<Stop>,
    #[serde(default)]
    pub usage: Usage,
    /// The provider's usage object as it came.
    #[serde(default)]
    pub usage_raw: Value,
    #[serde(default)]
    pub error: Option<ProviderError>,
    /// Whether the wire format's own end was seen. A stream that ends without it was cut, however politely.
    #[serde(default)]
    pub complete: bool,
    /// Byte offset in the body where the first event with content ends; `None` when none came.
    #[serde(default)]
    pub first_content_at: Option<usize>,
}
