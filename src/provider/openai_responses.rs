//! OpenAI Responses, over HTTP and over a WebSocket.

use serde::Deserialize;
use serde_json::{Value, json};

use super::lax::{Count, Shape, Text, read};
use super::parts::{assistant, content, provider_error, read_arguments, role, take_text, text_of, tool_result};
use super::reader::Body;
use super::usage::read_openai;
use crate::trace::{Message, Part, ProviderError, Response, Role, Stop, ToolCall};

/// All of `instructions`.
pub fn instructions(value: Value) -> Vec<Message> {
    match value {
        Value::String(text) if !text.is_empty() => vec![Message::text(Role::System, text)],
        Value::Array(items) => items.into_iter().flat_map(messages).collect(),
        _ => Vec::new(),
    }
}

/// One element of `input`, or the whole of it where it is a string. Each item is a message of its own: what a model said
/// in one answer comes back as several.
pub fn messages(value: Value) -> Vec<Message> {
    let Value::Object(mut object) = value else {
        return match content(value, part) {
            parts if parts.is_empty() => Vec::new(),
            parts => vec![Message { role: Role::User, parts }],
        };
    };
    let kind = object.get("type").and_then(Value::as_str).unwrap_or("message").to_owned();
    let said = role(object.get("role").and_then(Value::as_str).unwrap_or_default());
    if kind == "message" {
        let parts = content(object.remove("content").unwrap_or_default(), part);
        return vec![Message { role: said.unwrap_or(Role::User), parts }];
    }
    if kind.ends_with("_call_output") && object.contains_key("call_id") {
        let id = take_text(&mut object, "call_id");
        let output = object.remove("output").unwrap_or_default();
        return vec![Message { role: Role::Tool, parts: tool_result(id, String::new(), false, output) }];
    }
    vec![Message { role: said.unwrap_or(Role::Assistant), parts: item(Value::Object(object)) }]
}

/// One item of what a model puts out.
fn item(value: Value) -> Vec<Part> {
    let Value::Object(mut object) = value else { return Vec::new() };
    let kind = object.get("type").and_then(Value::as_str).unwrap_or("message").to_owned();
    match kind.as_str() {
        "message" => content(object.remove("content").unwrap_or_default(), part),
        "reasoning" => {
            let mut texts = Vec::new();
            for key in ["summary", "content"] {
                if let Some(Value::Array(list)) = object.remove(key) {
                    texts.extend(list.iter().map(|text| text_of(text, "text").to_owned()));
                }
            }
            let signature = take_text(&mut object, "encrypted_content");
            vec![Part::Thinking { text: texts.join("\n"), signature }]
        }
        // Text in a form of its own: even when it happens to be JSON it stays text.
        "custom_tool_call" => vec![Part::ToolCall(ToolCall {
            id: take_text(&mut object, "call_id"),
            name: take_text(&mut object, "name"),
            arguments: Value::String(take_text(&mut object, "input")),
        })],
        // What the loop has to answer has a call_id; what the provider's own servers run has none.
        kind if kind.ends_with("_call") && object.contains_key("call_id") => {
            let id = take_text(&mut object, "call_id");
            let name = match take_text(&mut object, "name") {
                name if name.is_empty() => kind.trim_end_matches("_call").to_owned(),
                name => name,
            };
            let given = ["arguments", "action", "operation", "input"].iter().find_map(|key| object.remove(*key));
            let arguments = match given {
                Some(Value::String(text)) => read_arguments(text),
                Some(value) => value,
                None => json!({}),
            };
            vec![Part::ToolCall(ToolCall { id, name, arguments })]
        }
        _ => vec![Part::Other { value: Value::Object(object) }],
    }
}

/// One element of an item's `content`.
fn part(value: Value) -> Vec<Part> {
    let Value::Object(mut object) = value else {
        return content(value, |value| vec![Part::Other { value }]);
    };
    match object.get("type").and_then(Value::as_str).unwrap_or_default() {
        "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text" => {
            vec![Part::Text { text: take_text(&mut object, "text") }]
        }
        "refusal" => vec![Part::Refusal { text: take_text(&mut object, "refusal") }],
        _ => vec![Part::Other { value: Value::Object(object) }],
    }
}

/// What streams most; the whole of other events is read as a plain value.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default)]
    output_index: Count,
    #[serde(default, borrow)]
    delta: Text<'a>,
}

impl Shape for Event<'_> {
    type Read<'a> = Event<'a>;
}

/// An output item coming in.
struct Item {
    index: Option<u64>,
    /// The item as it was added; replaced by the whole of it when that comes.
    value: Value,
    done: bool,
    text: String,
    refusal: String,
    thinking: String,
    arguments: String,
}

impl Item {
    fn new(index: Option<u64>, value: Value, done: bool) -> Self {
        let empty = String::new;
        Item { index, value, done, text: empty(), refusal: empty(), thinking: empty(), arguments: empty() }
    }

    fn parts(mut self) -> Vec<Part> {
        if self.done {
            return item(self.value);
        }
        if !self.arguments.is_empty() && self.value.is_object() {
            let key = if text_of(&self.value, "type") == "custom_tool_call" { "input" } else { "arguments" };
            self.value[key] = Value::String(self.arguments);
        }
        let mut parts = item(self.value);
        if let Some(Part::Thinking { text, .. }) = parts.first_mut() {
            text.push_str(&self.thinking);
        }
        if !self.text.is_empty() {
            parts.push(Part::Text { text: self.text });
        }
        if !self.refusal.is_empty() {
            parts.push(Part::Refusal { text: self.refusal });
        }
        parts
    }
}

/// A response coming in.
#[derive(Default)]
pub struct Incoming {
    items: Vec<Item>,
    /// The last `response` object that came: its end has the whole output.
    response: Value,
    error: Option<ProviderError>,
    ended: bool,
}

impl Incoming {
    fn delta(&mut self, kind: &str, index: Option<u64>, delta: &str) -> bool {
        let found = self.items.iter_mut().rfind(|item| item.index == index && !item.done);
        let Some(item) = found else { return false };
        let field = match kind {
            "response.output_text.delta" => &mut item.text,
            "response.refusal.delta" => &mut item.refusal,
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => &mut item.thinking,
            "response.function_call_arguments.delta"
            | "response.custom_tool_call_input.delta"
            | "response.mcp_call_arguments.delta" => &mut item.arguments,
            _ => return false,
        };
        field.push_str(delta);
        !delta.is_empty()
    }

    /// Takes the response object of an event, or the whole body.
    fn response(&mut self, response: Value) -> bool {
        let status = text_of(&response, "status");
        let whole = matches!(status, "completed" | "incomplete" | "failed" | "cancelled");
        if let Some(error @ Value::Object(_)) = response.get("error") {
            self.error = provider_error(&json!({ "error": error }));
        }
        self.ended |= whole;
        let output = response.get("output").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
        self.response = response;
        whole && output
    }

    fn rare(&mut self, kind: &str, index: Option<u64>, data: &[u8]) -> bool {
        let text = String::from_utf8_lossy(data);
        let Ok(mut event) = serde_json::from_str::<Value>(&text) else { return false };
        match kind {
            "response.output_item.added" => {
                let value = event.get_mut("item").map(Value::take).unwrap_or_default();
                let call = text_of(&value, "type").ends_with("_call");
                self.items.push(Item::new(index, value, false));
                call
            }
            "response.output_item.done" => {
                let value = event.get_mut("item").map(Value::take).unwrap_or_default();
                let found = self.items.iter_mut().rfind(|item| item.index == index && !item.done);
                match found {
                    Some(item) => (item.value, item.done) = (value, true),
                    None => self.items.push(Item::new(index, value, true)),
                }
                true
            }
            "response.reasoning_summary_part.added" => {
                let found = self.items.iter_mut().rfind(|item| item.index == index);
                if let Some(item) = found.filter(|item| !item.thinking.is_empty()) {
                    item.thinking.push('\n');
                }
                false
            }
            "error" => {
                self.error = self.error.take().or_else(|| provider_error(&event));
                false
            }
            _ => {
                let Some(response) = event.get_mut("response").map(Value::take) else { return false };
                self.ended |= matches!(kind, "response.completed" | "response.incomplete" | "response.failed");
                self.response(response)
            }
        }
    }
}

impl Body for Incoming {
    fn event(&mut self, _name: &[u8], data: &[u8]) -> bool {
        let mut content = false;
        let mut rare = None;
        read::<Event<'static>>(data, |event| {
            let kind = &*event.kind.0;
            if kind.ends_with(".delta") {
                content = self.delta(kind, event.output_index.0, &event.delta.0);
            } else if matches!(
                kind,
                "error"
                    | "response.created"
                    | "response.completed"
                    | "response.incomplete"
                    | "response.failed"
                    | "response.output_item.added"
                    | "response.output_item.done"
                    | "response.reasoning_summary_part.added"
            ) {
                rare = Some((kind.to_owned(), event.output_index.0));
            }
        });
        match rare {
            Some((kind, index)) => self.rare(&kind, index, data),
            None => content,
        }
    }

    fn json(&mut self, data: &[u8]) -> bool {
        let text = String::from_utf8_lossy(data);
        let Ok(body) = serde_json::from_str::<Value>(&text) else { return false };
        self.error = provider_error(&body);
        // A compaction and a token count have no status: being there is being done.
        let stateless = body.get("status").is_none() && self.error.is_none();
        self.ended = stateless && (body.get("output").is_some() || body.get("input_tokens").is_some());
        self.response(body)
    }

    fn is_complete(&self) -> bool {
        self.ended
    }

    fn finish(self: Box<Self>) -> Response {
        let mut response = self.response;
        let mut parts: Vec<Part> = match response.get_mut("output").map(Value::take) {
            Some(Value::Array(output)) if !output.is_empty() => output.into_iter().flat_map(item).collect(),
            _ => self.items.into_iter().flat_map(Item::parts).collect(),
        };
        parts.retain(|part| !matches!(part, Part::Text { text } if text.is_empty()));
        let stop = if self.ended { stop(&response, &parts) } else { None };
        let usage_raw = response.get_mut("usage").map(Value::take).unwrap_or_default();
        Response {
            id: text_of(&response, "id").to_owned(),
            model: text_of(&response, "model").to_owned(),
            message: assistant(parts),
            stop,
            usage: read_openai(&usage_raw),
            usage_raw,
            error: self.error,
            complete: self.ended,
            first_content_at: None,
        }
    }
}

/// This wire has no word for "wants tools": it is so when the output asks for one.
fn stop(response: &Value, parts: &[Part]) -> Option<Stop> {
    match response.get("status").map_or("completed", |status| status.as_str().unwrap_or_default()) {
        "completed" if parts.iter().any(|part| matches!(part, Part::ToolCall(_))) => Some(Stop::Tools),
        "completed" if parts.iter().any(|part| matches!(part, Part::Refusal { .. })) => Some(Stop::Refusal),
        "completed" => Some(Stop::End),
        "incomplete" => match text_of(&response["incomplete_details"], "reason") {
            "max_output_tokens" => Some(Stop::Length),
            "content_filter" => Some(Stop::Refusal),
            other => Some(Stop::Other(other.to_owned())),
        },
        "failed" | "" => None,
        other => Some(Stop::Other(other.to_owned())),
    }
}
