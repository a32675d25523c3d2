//! OpenAI Chat Completions, and the many servers that speak it.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::lax::{Count, Many, Maybe, Shape, Text, TextOr, read};
use super::parts::{
    Draft, assistant, content, openai_error, pieces, provider_error, role, take_text, tool_result, write_arguments,
};
use super::reader::Body;
use super::usage::{read_openai, write_openai};
use crate::trace::{Message, Part, ProviderError, Response, Role, Stop, ToolCall};

/// One element of `messages`.
pub fn messages(value: Value) -> Vec<Message> {
    let Value::Object(mut object) = value else {
        return vec![Message { role: Role::User, parts: content(value, part) }];
    };
    let speaker = role(&take_text(&mut object, "role"));
    let body = object.remove("content").unwrap_or_default();
    if speaker == Some(Role::Tool) {
        let id = take_text(&mut object, "tool_call_id");
        let name = take_text(&mut object, "name");
        return vec![Message { role: Role::Tool, parts: tool_result(id, name, false, body) }];
    }
    let mut parts = Vec::new();
    for key in ["reasoning_content", "reasoning"] {
        let text = take_text(&mut object, key);
        if !text.is_empty() && parts.is_empty() {
            parts.push(Part::Thinking { text, signature: String::new() });
        }
    }
    parts.extend(content(body, part));
    let refusal = take_text(&mut object, "refusal");
    if !refusal.is_empty() {
        parts.push(Part::Refusal { text: refusal });
    }
    if let Some(Value::Array(calls)) = object.remove("tool_calls") {
        parts.extend(calls.into_iter().map(call));
    }
    if let Some(function @ Value::Object(_)) = object.remove("function_call") {
        parts.push(call(json!({ "function": function })));
    }
    vec![Message { role: speaker.unwrap_or(Role::User), parts }]
}

/// One element of a message's `content`.
fn part(value: Value) -> Vec<Part> {
    let Value::Object(mut object) = value else {
        return content(value, |value| vec![Part::Other { value }]);
    };
    let kind = object.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    match (kind.as_str(), object.get(kind.as_str())) {
        ("text", Some(Value::String(_))) => vec![Part::Text { text: take_text(&mut object, "text") }],
        ("refusal", Some(Value::String(_))) => vec![Part::Refusal { text: take_text(&mut object, "refusal") }],
        ("thinking", Some(Value::String(_) | Value::Array(_))) => {
            let inner = object.remove("thinking").unwrap_or_default();
            let text = Message { role: Role::Assistant, parts: content(inner, part) }.plain_text();
            vec![Part::Thinking { text, signature: take_text(&mut object, "signature") }]
        }
        _ => vec![Part::Other { value: Value::Object(object) }],
    }
}

/// One element of `tool_calls`.
fn call(value: Value) -> Part {
    let mut drafts = Calls::default();
    let text = value.to_string();
    read::<CallDelta<'static>>(text.as_bytes(), |delta| drafts.delta(delta));
    drafts.parts().into_iter().next().unwrap_or(Part::Other { value })
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default, borrow)]
    id: Text<'a>,
    #[serde(default, borrow)]
    model: Text<'a>,
    #[serde(default, borrow)]
    choices: Many<Choice<'a>>,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: Count,
    #[serde(default, borrow)]
    delta: Maybe<Delta<'a>>,
    #[serde(default, borrow)]
    message: Maybe<Delta<'a>>,
    #[serde(default, borrow)]
    finish_reason: Text<'a>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(default, borrow)]
    content: TextOr<'a>,
    #[serde(default, borrow)]
    refusal: Text<'a>,
    #[serde(default, borrow)]
    reasoning_content: Text<'a>,
    #[serde(default, borrow)]
    reasoning: Text<'a>,
    #[serde(default, borrow)]
    tool_calls: Many<CallDelta<'a>>,
    #[serde(default, borrow)]
    function_call: Maybe<FunctionDelta<'a>>,
}

#[derive(Deserialize)]
struct CallDelta<'a> {
    #[serde(default)]
    index: Count,
    #[serde(default, borrow)]
    id: Text<'a>,
    #[serde(default, borrow)]
    function: Maybe<FunctionDelta<'a>>,
    #[serde(default, borrow)]
    custom: Maybe<FunctionDelta<'a>>,
}

#[derive(Deserialize)]
struct FunctionDelta<'a> {
    #[serde(default, borrow)]
    name: Text<'a>,
    #[serde(default, borrow)]
    arguments: TextOr<'a>,
    /// What a custom tool gets instead of arguments: text in a form of its own.
    #[serde(default, borrow)]
    input: Text<'a>,
}

impl Shape for Chunk<'_> {
    type Read<'a> = Chunk<'a>;
}
impl Shape for CallDelta<'_> {
    type Read<'a> = CallDelta<'a>;
}

/// Tool calls as they come in, told apart by their index, or by their id where a server leaves that out.
#[derive(Default)]
struct Calls(Vec<CallDraft>);

struct CallDraft {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
    given: Option<Value>,
    custom: bool,
}

impl Calls {
    fn delta(&mut self, delta: CallDelta<'_>) {
        let index = delta.index.0;
        let id = delta.id.0;
        // Some servers send every call whole under index 0: another id under the same index is another call.
        let same_id = |draft: &&mut CallDraft| id.is_empty() || draft.id.is_empty() || draft.id == id;
        let found = match index {
            Some(_) => self.0.iter_mut().rfind(|draft| draft.index == index).filter(same_id),
            None => self.0.last_mut().filter(same_id),
        };
        let draft = match found {
            Some(draft) => draft,
            None => {
                let (name, arguments) = (String::new(), String::new());
                self.0.push(CallDraft { index, id: String::new(), name, arguments, given: None, custom: false });
                let last = self.0.len() - 1;
                &mut self.0[last]
            }
        };
        if draft.id.is_empty() {
            draft.id.push_str(&id);
        }
        draft.custom |= delta.custom.0.is_some();
        if let Some(function) = delta.function.0.or(delta.custom.0) {
            if draft.name.is_empty() {
                draft.name.push_str(&function.name.0);
            }
            draft.arguments.push_str(&function.arguments.text);
            draft.arguments.push_str(&function.input.0);
            draft.given = function.arguments.other.or(draft.given.take());
        }
    }

    fn parts(self) -> Vec<Part> {
        let part = |draft: CallDraft| {
            let CallDraft { id, name, arguments, given, custom, .. } = draft;
            match given {
                Some(arguments) => Some(Part::ToolCall(ToolCall { id, name, arguments })),
                None if custom => Some(Part::ToolCall(ToolCall { id, name, arguments: Value::String(arguments) })),
                None => Draft::Call { id, name, arguments }.into_part(),
            }
        };
        self.0.into_iter().filter_map(part).collect()
    }
}

/// A chat completion coming in. Of several choices the first is read; the others stay in the raw bytes.
#[derive(Default)]
pub struct Incoming {
    id: String,
    model: String,
    thinking: String,
    text: String,
    refusal: String,
    others: Vec<Part>,
    calls: Calls,
    finish: String,
    usage: Value,
    error: Option<ProviderError>,
    ended: bool,
}

impl Incoming {
    fn chunk(&mut self, chunk: Chunk<'_>) -> bool {
        if self.id.is_empty() {
            self.id.push_str(&chunk.id.0);
        }
        if self.model.is_empty() {
            self.model.push_str(&chunk.model.0);
        }
        if chunk.usage.is_object() {
            self.usage = chunk.usage;
        }
        if !chunk.error.is_null() && self.error.is_none() {
            self.error = provider_error(&json!({ "error": chunk.error }));
        }
        let mut content = false;
        for choice in chunk.choices.0 {
            if choice.index.0.unwrap_or(0) != 0 {
                continue;
            }
            if let Some(delta) = choice.delta.0.or(choice.message.0) {
                content |= self.delta(delta);
            }
            if !choice.finish_reason.is_empty() {
                self.finish = choice.finish_reason.0.into_owned();
                self.ended = true;
            }
        }
        content
    }

    fn delta(&mut self, delta: Delta<'_>) -> bool {
        let thinking: Cow<'_, str> =
            if delta.reasoning_content.is_empty() { delta.reasoning.0 } else { delta.reasoning_content.0 };
        let text = delta.content.text;
        let mut found = !(thinking.is_empty() && text.is_empty() && delta.refusal.is_empty());
        self.thinking.push_str(&thinking);
        self.text.push_str(&text);
        self.refusal.push_str(&delta.refusal.0);
        if let Some(list) = delta.content.other {
            for part in content(list, part) {
                found = true;
                match part {
                    Part::Text { text } => self.text.push_str(&text),
                    Part::Thinking { text, .. } => self.thinking.push_str(&text),
                    Part::Refusal { text } => self.refusal.push_str(&text),
                    other => self.others.push(other),
                }
            }
        }
        for call in delta.tool_calls.0 {
            found = true;
            self.calls.delta(call);
        }
        if delta.function_call.0.is_some() {
            found = true;
            let (index, id) = (Count::default(), Text::default());
            self.calls.delta(CallDelta { index, id, function: delta.function_call, custom: Maybe(None) });
        }
        found
    }
}

impl Body for Incoming {
    fn event(&mut self, _name: &[u8], data: &[u8]) -> bool {
        if data.trim_ascii() == b"[DONE]" {
            self.ended = true;
            return false;
        }
        let mut content = false;
        read::<Chunk<'static>>(data, |chunk| content = self.chunk(chunk));
        content
    }

    fn json(&mut self, data: &[u8]) -> bool {
        let mut content = false;
        read::<Chunk<'static>>(data, |chunk| {
            self.ended |= !chunk.choices.0.is_empty();
            content = self.chunk(chunk);
        });
        content
    }

    fn is_complete(&self) -> bool {
        self.ended && self.error.is_none()
    }

    fn finish(self: Box<Self>) -> Response {
        let complete = self.is_complete();
        let mut parts = Vec::new();
        parts.extend(Draft::Thinking { text: self.thinking, signature: String::new() }.into_part());
        parts.extend(Draft::Text(self.text).into_part());
        parts.extend(self.others);
        let refused = !self.refusal.is_empty();
        parts.extend(Draft::Refusal(self.refusal).into_part());
        parts.extend(self.calls.parts());
        let stop = match self.finish.as_str() {
            "" => None,
            "stop" if refused => Some(Stop::Refusal),
            "stop" => Some(Stop::End),
            "tool_calls" | "function_call" => Some(Stop::Tools),
            "length" => Some(Stop::Length),
            "content_filter" => Some(Stop::Refusal),
            other => Some(Stop::Other(other.to_owned())),
        };
        Response {
            id: self.id,
            model: self.model,
            message: assistant(parts),
            stop,
            usage: read_openai(&self.usage),
            usage_raw: self.usage,
            error: self.error,
            complete,
            first_content_at: None,
        }
    }
}

/// What a chat completion says of a response's message: reasoning, text, refusal, tool calls.
struct Said {
    thinking: String,
    text: String,
    refusal: String,
    calls: Vec<Value>,
}

fn said(response: &Response) -> Said {
    let mut said = Said { thinking: String::new(), text: String::new(), refusal: String::new(), calls: Vec::new() };
    for part in response.message.iter().flat_map(|message| &message.parts) {
        match part {
            Part::Text { text } => said.text.push_str(text),
            Part::Thinking { text, .. } => said.thinking.push_str(text),
            Part::Refusal { text } => said.refusal.push_str(text),
            Part::ToolCall(call) => {
                let function = json!({ "name": call.name, "arguments": write_arguments(&call.arguments) });
                said.calls.push(json!({ "id": call.id, "type": "function", "function": function }));
            }
            Part::ToolResult(_) | Part::Other { .. } => {}
        }
    }
    said
}

fn finish_reason(response: &Response, said: &Said) -> Value {
    let word = match &response.stop {
        None => return Value::Null,
        Some(Stop::End) => "stop",
        Some(Stop::Tools) => "tool_calls",
        Some(Stop::Length) => "length",
        Some(Stop::Refusal) if !said.refusal.is_empty() => "stop",
        Some(Stop::Refusal) => "content_filter",
        Some(Stop::Other(word)) => word,
    };
    Value::from(word)
}

/// The answer as one JSON.
pub fn write_json(response: &Response) -> Value {
    if let Some(error) = &response.error {
        return json!({ "error": openai_error(error) });
    }
    let said = said(response);
    let finish = finish_reason(response, &said);
    let or_null = |text: String| if text.is_empty() { Value::Null } else { Value::String(text) };
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    message.insert("content".into(), or_null(said.text));
    message.insert("refusal".into(), or_null(said.refusal));
    if !said.thinking.is_empty() {
        message.insert("reasoning_content".into(), said.thinking.into());
    }
    if !said.calls.is_empty() {
        message.insert("tool_calls".into(), said.calls.into());
    }
    let choice = json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": finish });
    let mut body = json!({
        "id": response.id, "object": "chat.completion", "created": 0, "model": response.model, "choices": [choice],
    });
    if response.usage.is_known() {
        body["usage"] = write_openai(&response.usage, true);
    }
    body
}

/// The answer as a stream of events.
pub fn write_stream(response: &Response) -> Vec<Bytes> {
    let said = said(response);
    let finish = finish_reason(response, &said);
    let mut events = Vec::new();
    let mut push = |delta: Value, finish: Value| {
        let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
        events.push(chunk(response, json!([choice])));
    };
    push(json!({ "role": "assistant", "content": null }), Value::Null);
    for (key, text) in [("reasoning_content", &said.thinking), ("content", &said.text), ("refusal", &said.refusal)] {
        for piece in pieces(text) {
            push(json!({ key: piece }), Value::Null);
        }
    }
    for (index, call) in said.calls.iter().enumerate() {
        let function = json!({ "name": call["function"]["name"], "arguments": "" });
        let start = json!({ "index": index, "id": call["id"], "type": "function", "function": function });
        push(json!({ "tool_calls": [start] }), Value::Null);
        for piece in pieces(call["function"]["arguments"].as_str().unwrap_or_default()) {
            let more = json!({ "index": index, "function": { "arguments": piece } });
            push(json!({ "tool_calls": [more] }), Value::Null);
        }
    }
    if let Some(error) = &response.error {
        events.push(json!({ "error": openai_error(error) }));
    } else if response.complete {
        push(json!({}), finish);
        if response.usage.is_known() {
            let mut last = chunk(response, json!([]));
            last["usage"] = write_openai(&response.usage, true);
            events.push(last);
        }
    }
    let mut chunks: Vec<Bytes> = events.iter().map(|event| Bytes::from(format!("data: {event}\n\n"))).collect();
    if response.complete && response.error.is_none() {
        chunks.push(Bytes::from_static(b"data: [DONE]\n\n"));
    }
    chunks
}

fn chunk(response: &Response, choices: Value) -> Value {
    json!({
        "id": response.id, "object": "chat.completion.chunk", "created": 0, "model": response.model, "choices": choices,
    })
}
