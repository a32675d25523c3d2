//! Anthropic Messages, and its token counts.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::lax::{Count, Maybe, Shape, Text, read};
use super::parts::{
    Draft, assistant, content, pieces, provider_error, read_arguments, role, take_text, text_of, tool_result,
    write_arguments,
};
use super::reader::Body;
use super::usage::{read_anthropic, write_anthropic};
use crate::trace::{Message, Part, ProviderError, Response, Role, Stop, ToolCall};

/// All of `system`, or one element of it.
pub fn system(value: Value) -> Vec<Message> {
    match content(value, block) {
        parts if parts.is_empty() => Vec::new(),
        parts => vec![Message { role: Role::System, parts }],
    }
}

/// One element of `messages`.
pub fn messages(value: Value) -> Vec<Message> {
    let Value::Object(mut object) = value else {
        return vec![Message { role: Role::User, parts: content(value, block) }];
    };
    let role = role(&take_text(&mut object, "role")).unwrap_or(Role::User);
    let body = object.remove("content").unwrap_or_default();
    vec![Message { role, parts: content(body, block) }]
}

/// One content block. What the provider's own servers run (`server_tool_use` and its results) is no call for the loop to
/// answer, so it stays as it came.
fn block(value: Value) -> Vec<Part> {
    let Value::Object(mut object) = value else {
        return content(value, |value| vec![Part::Other { value }]);
    };
    let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
    match kind {
        "text" if object.get("text").is_some_and(Value::is_string) => {
            vec![Part::Text { text: take_text(&mut object, "text") }]
        }
        "thinking" => {
            let text = take_text(&mut object, "thinking");
            vec![Part::Thinking { text, signature: take_text(&mut object, "signature") }]
        }
        "redacted_thinking" => {
            vec![Part::Thinking { text: String::new(), signature: take_text(&mut object, "data") }]
        }
        "tool_use" => vec![Part::ToolCall(ToolCall {
            id: take_text(&mut object, "id"),
            name: take_text(&mut object, "name"),
            arguments: object.remove("input").unwrap_or_else(|| Value::Object(Map::new())),
        })],
        "tool_result" => {
            let is_error = object.get("is_error").and_then(Value::as_bool).unwrap_or(false);
            let id = take_text(&mut object, "tool_use_id");
            tool_result(id, String::new(), is_error, object.remove("content").unwrap_or_default())
        }
        _ => vec![Part::Other { value: Value::Object(object) }],
    }
}

/// What streams most: everything else is rare enough to be read as a plain value.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default)]
    index: Count,
    #[serde(default, borrow)]
    delta: Maybe<Delta<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default, borrow)]
    partial_json: Text<'a>,
    #[serde(default, borrow)]
    thinking: Text<'a>,
    #[serde(default, borrow)]
    signature: Text<'a>,
}

impl Shape for Event<'_> {
    type Read<'a> = Event<'a>;
}

/// A content block coming in.
struct Block {
    index: Option<u64>,
    /// The block as `content_block_start` had it.
    start: Value,
    draft: Draft,
    /// `input_json_delta`s of a block that isn't a tool call of the loop's.
    partial_json: String,
}

/// A message coming in.
#[derive(Default)]
pub struct Incoming {
    id: String,
    model: String,
    blocks: Vec<Block>,
    whole: Vec<Part>,
    stop: String,
    usage: Map<String, Value>,
    error: Option<ProviderError>,
    ended: bool,
}

impl Incoming {
    /// What `message_start` and the whole message have in common.
    fn message(&mut self, message: &mut Value) {
        for (field, key) in [(&mut self.id, "id"), (&mut self.model, "model"), (&mut self.stop, "stop_reason")] {
            let text = text_of(message, key);
            if !text.is_empty() {
                *field = text.to_owned();
            }
        }
        self.take_usage(message.get_mut("usage"));
        let blocks = message.get_mut("content").map(Value::take).unwrap_or_default();
        self.whole.extend(content(blocks, block));
    }

    /// Counts in later events are totals so far: they replace the earlier ones.
    fn take_usage(&mut self, usage: Option<&mut Value>) {
        let Some(Value::Object(usage)) = usage.map(Value::take) else { return };
        self.usage.extend(usage.into_iter().filter(|(_, value)| !value.is_null()));
    }

    fn start_block(&mut self, index: Option<u64>, mut start: Value) {
        let draft = match text_of(&start, "type") {
            "text" => Draft::Text(text_of(&start, "text").to_owned()),
            "thinking" => Draft::Thinking {
                text: text_of(&start, "thinking").to_owned(),
                signature: text_of(&start, "signature").to_owned(),
            },
            "tool_use" => {
                let input = start.get_mut("input").map(Value::take).unwrap_or_default();
                let empty = input.is_null() || input.as_object().is_some_and(Map::is_empty);
                let arguments = if empty { String::new() } else { input.to_string() };
                let (id, name) = (text_of(&start, "id").to_owned(), text_of(&start, "name").to_owned());
                Draft::Call { id, name, arguments }
            }
            _ => Draft::Whole(Part::Other { value: Value::Null }),
        };
        self.blocks.push(Block { index, start, draft, partial_json: String::new() });
    }

    fn delta(&mut self, index: Option<u64>, delta: Delta<'_>) -> bool {
        let found = self.blocks.iter_mut().rfind(|block| block.index == index);
        let Some(Block { draft, partial_json, .. }) = found else { return false };
        match draft {
            Draft::Text(text) => text.push_str(&delta.text.0),
            Draft::Thinking { text, signature } => {
                text.push_str(&delta.thinking.0);
                signature.push_str(&delta.signature.0);
            }
            Draft::Call { arguments, .. } => arguments.push_str(&delta.partial_json.0),
            Draft::Refusal(_) | Draft::Whole(_) => partial_json.push_str(&delta.partial_json.0),
        }
        !(delta.text.is_empty() && delta.thinking.is_empty() && delta.partial_json.is_empty())
    }

    /// An event that comes once or twice in a stream. A tool call's name is content.
    fn rare(&mut self, kind: &str, index: Option<u64>, data: &[u8]) -> bool {
        let text = String::from_utf8_lossy(data);
        let Ok(mut event) = serde_json::from_str::<Value>(&text) else { return false };
        match kind {
            "message_start" => {
                if let Some(message) = event.get_mut("message") {
                    self.message(message);
                }
                !self.whole.is_empty()
            }
            "content_block_start" => {
                self.start_block(index, event.get_mut("content_block").map(Value::take).unwrap_or_default());
                self.blocks.last().is_some_and(|block| match &block.draft {
                    Draft::Text(text) | Draft::Thinking { text, .. } => !text.is_empty(),
                    _ => true,
                })
            }
            "message_delta" => {
                if let Some(reason) = event["delta"]["stop_reason"].as_str() {
                    self.stop = reason.to_owned();
                }
                self.take_usage(event.get_mut("usage"));
                false
            }
            _ => {
                self.error = self.error.take().or_else(|| provider_error(&event));
                false
            }
        }
    }
}

impl Body for Incoming {
    fn event(&mut self, _name: &[u8], data: &[u8]) -> bool {
        let mut content = false;
        let mut rare = None;
        read::<Event<'static>>(data, |event| {
            let index = event.index.0;
            match &*event.kind.0 {
                "content_block_delta" => {
                    content = event.delta.0.is_some_and(|delta| self.delta(index, delta));
                }
                "content_block_stop" | "ping" => {}
                "message_stop" => self.ended = true,
                kind => rare = Some((kind.to_owned(), index)),
            }
        });
        match rare {
            Some((kind, index)) => self.rare(&kind, index, data),
            None => content,
        }
    }

    fn json(&mut self, data: &[u8]) -> bool {
        let text = String::from_utf8_lossy(data);
        let Ok(mut body) = serde_json::from_str::<Value>(&text) else { return false };
        self.error = provider_error(&body);
        // count_tokens answers {"input_tokens": N}: whole, but nothing was used.
        let counted = body.get("input_tokens").is_some_and(Value::is_u64);
        self.ended = counted || body.get("content").is_some_and(Value::is_array);
        self.message(&mut body);
        !self.whole.is_empty()
    }

    fn is_complete(&self) -> bool {
        self.ended && self.error.is_none()
    }

    fn finish(self: Box<Self>) -> Response {
        let complete = self.is_complete();
        let mut parts = self.whole;
        for Block { start, draft, partial_json, .. } in self.blocks {
            match draft {
                Draft::Whole(_) => {
                    let mut start = start;
                    if !partial_json.is_empty() && start.is_object() {
                        start["input"] = read_arguments(partial_json);
                    }
                    parts.extend(block(start));
                }
                draft => parts.extend(draft.into_part()),
            }
        }
        let stop = match self.stop.as_str() {
            "" => None,
            "end_turn" | "stop_sequence" => Some(Stop::End),
            "tool_use" => Some(Stop::Tools),
            "max_tokens" | "model_context_window_exceeded" => Some(Stop::Length),
            "refusal" => Some(Stop::Refusal),
            other => Some(Stop::Other(other.to_owned())),
        };
        let usage_raw = if self.usage.is_empty() { Value::Null } else { Value::Object(self.usage) };
        Response {
            id: self.id,
            model: self.model,
            message: assistant(parts),
            stop,
            usage: read_anthropic(&usage_raw),
            usage_raw,
            error: self.error,
            complete,
            first_content_at: None,
        }
    }
}

fn stop_reason(response: &Response) -> Value {
    let word = match &response.stop {
        None => return Value::Null,
        Some(Stop::End) => "end_turn",
        Some(Stop::Tools) => "tool_use",
        Some(Stop::Length) => "max_tokens",
        Some(Stop::Refusal) => "refusal",
        Some(Stop::Other(word)) => word,
    };
    Value::from(word)
}

/// The content blocks of a response. This wire has no refusal of its own: its text is text.
fn blocks(response: &Response) -> Vec<Value> {
    let block = |part: &Part| match part {
        Part::Text { text } | Part::Refusal { text } => Some(json!({ "type": "text", "text": text })),
        Part::Thinking { text, signature } => {
            Some(json!({ "type": "thinking", "thinking": text, "signature": signature }))
        }
        Part::ToolCall(call) => {
            Some(json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments }))
        }
        Part::Other { value } => Some(value.clone()),
        Part::ToolResult(_) => None,
    };
    response.message.iter().flat_map(|message| &message.parts).filter_map(block).collect()
}

fn frame(response: &Response, content: Vec<Value>, stop: Value) -> Value {
    json!({
        "id": response.id, "type": "message", "role": "assistant", "model": response.model, "content": content,
        "stop_reason": stop, "stop_sequence": null, "usage": write_anthropic(&response.usage),
    })
}

fn error_body(error: &ProviderError) -> Value {
    json!({ "type": "error", "error": { "type": error.kind, "message": error.message } })
}

/// The answer as one JSON.
pub fn write_json(response: &Response) -> Value {
    match &response.error {
        Some(error) => error_body(error),
        None => frame(response, blocks(response), stop_reason(response)),
    }
}

/// Empties a block into the deltas that fill it again.
fn drain_block(block: &mut Value) -> Vec<Value> {
    let (field, kind, name, empty) = match text_of(block, "type") {
        "text" => ("text", "text_delta", "text", json!("")),
        "thinking" => ("thinking", "thinking_delta", "thinking", json!("")),
        "tool_use" => ("input", "input_json_delta", "partial_json", json!({})),
        _ => return Vec::new(),
    };
    let text = write_arguments(&std::mem::replace(&mut block[field], empty));
    let mut deltas: Vec<Value> = pieces(&text).into_iter().map(|piece| json!({ "type": kind, name: piece })).collect();
    if field == "thinking" {
        let signature = std::mem::replace(&mut block["signature"], json!(""));
        deltas.push(json!({ "type": "signature_delta", "signature": signature }));
    }
    deltas
}

/// The answer as a stream of events.
pub fn write_stream(response: &Response) -> Vec<Bytes> {
    let mut events = Vec::new();
    let mut push = |event: Value| {
        let name = text_of(&event, "type");
        events.push(Bytes::from(format!("event: {name}\ndata: {event}\n\n")));
    };
    let mut start = frame(response, Vec::new(), Value::Null);
    if let Some(output) = response.usage.output {
        // Before the end a provider knows what it read, not what it will have written.
        start["usage"]["output_tokens"] = json!(output.min(1));
    }
    push(json!({ "type": "message_start", "message": start }));
    for (index, mut block) in blocks(response).into_iter().enumerate() {
        let deltas = drain_block(&mut block);
        push(json!({ "type": "content_block_start", "index": index, "content_block": block }));
        for delta in deltas {
            push(json!({ "type": "content_block_delta", "index": index, "delta": delta }));
        }
        push(json!({ "type": "content_block_stop", "index": index }));
    }
    if let Some(error) = &response.error {
        push(error_body(error));
    } else if response.complete {
        let delta = json!({ "stop_reason": stop_reason(response), "stop_sequence": null });
        push(json!({ "type": "message_delta", "delta": delta, "usage": write_anthropic(&response.usage) }));
        push(json!({ "type": "message_stop" }));
    }
    events
}
