//! What was said: messages, their parts, tools. One shape for every provider's wire format.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The standing orders (`system`, `developer`, `instructions`).
    System,
    User,
    Assistant,
    /// Results of tools, where a wire format has a speaker of their own for them.
    Tool,
}

impl Role {
    /// The word stored in the index.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    pub parts: Vec<Part>,
}

/// A tool the model asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The provider's id; empty where the wire has none.
    #[serde(default)]
    pub id: String,
    pub name: String,
    /// The arguments as JSON; a [`Value::String`] holding the raw text when they aren't valid JSON.
    pub arguments: Value,
}

/// What a tool answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The id of the call it answers; empty where the wire has none.
    #[serde(default)]
    pub id: String,
    /// The tool's name, where the wire repeats it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub text: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    Text {
        text: String,
    },
    /// Reasoning; the text is empty when the provider keeps it sealed.
    Thinking {
        text: String,
        /// What proves to the provider that the reasoning is its own, or the sealed reasoning itself; empty when the
        /// wire has none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        signature: String,
    },
    ToolCall(ToolCall),
    ToolResult(ToolResult),
    Refusal {
        text: String,
    },
    /// Images, audio, files and whatever this version doesn't know: kept as it came.
    Other {
        value: Value,
    },
}

impl Message {
    /// A message of plain text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Message { role, parts: vec![Part::Text { text: text.into() }] }
    }

    /// Everything a person would read in it, joined by newlines.
    pub fn plain_text(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match part {
            Part::Text { text } | Part::Refusal { text } => Some(text.as_str()),
            Part::ToolResult(result) => Some(result.text.as_str()),
            Part::Thinking { .. } | Part::ToolCall(_) | Part::Other { .. } => None,
        });
        texts.collect::<Vec<_>>().join("\n")
    }

    /// The tools this message asks for, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            _ => None,
        })
    }
}

/// A tool as it was offered to the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolDef {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// JSON Schema of the arguments; null when the wire gave none.
    #[serde(default)]
    pub parameters: Value,
}
