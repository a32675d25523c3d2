//! Gemini generateContent and streamGenerateContent, as events, as a JSON array and as one JSON.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::gemini_args::PartialArgs;
use super::lax::{Count, Many, Maybe, Shape, Text, read};
use super::parts::{assistant, content, pieces, provider_error, role, take_text, tool_result};
use super::reader::Body;
use super::usage::{read_gemini, write_gemini};
use crate::trace::{Message, Part, ProviderError, Response, Role, Stop, ToolCall};

/// All of `systemInstruction`.
pub fn system(value: Value) -> Vec<Message> {
    match messages(value).pop() {
        Some(message) => vec![Message { role: Role::System, ..message }],
        None => Vec::new(),
    }
}

/// One element of `contents`.
pub fn messages(value: Value) -> Vec<Message> {
    let Value::Object(mut object) = value else {
        return match content(value, parts_of) {
            parts if parts.is_empty() => Vec::new(),
            parts => vec![Message { role: Role::User, parts }],
        };
    };
    let role = role(&take_text(&mut object, "role")).unwrap_or(Role::User);
    let parts = match object.remove("parts") {
        Some(parts) => content(parts, parts_of),
        None => parts_of(Value::Object(object)),
    };
    vec![Message { role, parts }]
}

/// One element of `parts`. A signature on something other than a thought stands as a sealed thought in front of it.
fn parts_of(value: Value) -> Vec<Part> {
    let Value::Object(mut object) = value else {
        return content(value, |value| vec![Part::Other { value }]);
    };
    let signature = match object.contains_key("thoughtSignature") {
        true => take_text(&mut object, "thoughtSignature"),
        false => take_text(&mut object, "thought_signature"),
    };
    if object.get("thought").and_then(Value::as_bool) == Some(true) && object.contains_key("text") {
        return vec![Part::Thinking { text: take_text(&mut object, "text"), signature }];
    }
    let mut parts = Vec::new();
    if !signature.is_empty() {
        parts.push(Part::Thinking { text: String::new(), signature });
    }
    let take = |object: &mut Map<String, Value>, names: [&str; 2]| names.iter().find_map(|name| object.remove(*name));
    if object.get("text").is_some_and(Value::is_string) {
        let text = take_text(&mut object, "text");
        if !text.is_empty() {
            parts.push(Part::Text { text });
        }
    } else if let Some(Value::Object(mut call)) = take(&mut object, ["functionCall", "function_call"]) {
        let (id, name) = (take_text(&mut call, "id"), take_text(&mut call, "name"));
        let arguments = call.remove("args").filter(|args| !args.is_null()).unwrap_or_else(|| json!({}));
        parts.push(Part::ToolCall(ToolCall { id, name, arguments }));
    } else if let Some(Value::Object(mut result)) = take(&mut object, ["functionResponse", "function_response"]) {
        let (id, name) = (take_text(&mut result, "id"), take_text(&mut result, "name"));
        let (is_error, body) = unwrap_result(result.remove("response").unwrap_or_default());
        parts.extend(tool_result(id, name, is_error, body));
        parts.extend(result.remove("parts").map(|more| content(more, parts_of)).unwrap_or_default());
    } else {
        parts.push(Part::Other { value: Value::Object(object) });
    }
    parts
}

/// A function's response is an object by rule; the usual wrappers around a text are taken off.
fn unwrap_result(mut response: Value) -> (bool, Value) {
    if let Value::Object(object) = &mut response
        && object.len() == 1
    {
        for (key, is_error) in [("output", false), ("result", false), ("content", false), ("error", true)] {
            if let Some(inner) = object.remove(key) {
                return (is_error, inner);
            }
        }
    }
    (false, response)
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default, borrow, rename = "responseId")]
    id: Text<'a>,
    #[serde(default, borrow, rename = "modelVersion")]
    model: Text<'a>,
    #[serde(default, borrow)]
    candidates: Many<Candidate<'a>>,
    #[serde(default, rename = "usageMetadata")]
    usage: Value,
    #[serde(default, borrow, rename = "promptFeedback")]
    feedback: Maybe<Feedback<'a>>,
    #[serde(default)]
    error: Value,
    /// What the Code Assist servers wrap around it all.
    #[serde(default)]
    response: Value,
    #[serde(default, rename = "totalTokens")]
    counted: Count,
}

#[derive(Deserialize)]
struct Candidate<'a> {
    #[serde(default)]
    index: Count,
    #[serde(default)]
    content: Maybe<Content>,
    #[serde(default, borrow, rename = "finishReason")]
    finish: Text<'a>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    parts: Many<Value>,
}

#[derive(Deserialize)]
struct Feedback<'a> {
    #[serde(default, borrow, rename = "blockReason")]
    block: Text<'a>,
}

impl Shape for Chunk<'_> {
    type Read<'a> = Chunk<'a>;
}

/// An answer coming in. Of several candidates the first is read.
#[derive(Default)]
pub struct Incoming {
    id: String,
    model: String,
    parts: Vec<Part>,
    partial: Option<PartialArgs>,
    finish: String,
    usage: Value,
    error: Option<ProviderError>,
    ended: bool,
}

impl Incoming {
    fn chunk(&mut self, chunk: Chunk<'_>) -> bool {
        if chunk.response.is_object() && chunk.candidates.0.is_empty() {
            let text = chunk.response.to_string();
            return self.event(b"", text.as_bytes());
        }
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
        if let Some(feedback) = chunk.feedback.0.filter(|feedback| !feedback.block.is_empty()) {
            self.finish = feedback.block.0.into_owned();
            self.ended = true;
        }
        self.ended |= chunk.counted.0.is_some();
        let mut content = false;
        for candidate in chunk.candidates.0 {
            if candidate.index.0.unwrap_or(0) != 0 {
                continue;
            }
            for part in candidate.content.0.into_iter().flat_map(|content| content.parts.0) {
                content |= self.part(part);
            }
            if !candidate.finish.is_empty() {
                self.finish = candidate.finish.0.into_owned();
                self.ended = true;
            }
        }
        content
    }

    fn part(&mut self, part: Value) -> bool {
        if self.partial(&part) {
            return true;
        }
        let mut content = false;
        for part in parts_of(part) {
            match (&mut self.parts.last_mut(), part) {
                // Streams cut texts and thoughts at will: neighbours are one.
                (Some(Part::Text { text: last }), Part::Text { text }) => {
                    content |= !text.is_empty();
                    last.push_str(&text);
                }
                (Some(Part::Thinking { text: last, signature: sealed }), Part::Thinking { text, signature })
                    if sealed.is_empty() && !last.is_empty() && !text.is_empty() =>
                {
                    content = true;
                    last.push_str(&text);
                    *sealed = signature;
                }
                (_, part) => {
                    content |= !matches!(&part, Part::Thinking { text, .. } if text.is_empty());
                    self.parts.push(part);
                }
            }
        }
        content
    }

    /// Takes a function call whose arguments come in pieces.
    fn partial(&mut self, part: &Value) -> bool {
        let Some(call) = part.get("functionCall") else { return false };
        let more = call.get("willContinue").and_then(Value::as_bool).unwrap_or(false);
        if self.partial.is_none() && !more && call.get("partialArgs").is_none() {
            return false;
        }
        let partial = self.partial.get_or_insert_with(PartialArgs::default);
        partial.add(call);
        if !more {
            self.close_partial();
        }
        true
    }

    fn close_partial(&mut self) {
        self.parts.extend(self.partial.take().map(|partial| Part::ToolCall(partial.into_call())));
    }
}

impl Body for Incoming {
    fn event(&mut self, _name: &[u8], data: &[u8]) -> bool {
        let mut content = false;
        read::<Chunk<'static>>(data, |chunk| content = self.chunk(chunk));
        content
    }

    fn json(&mut self, data: &[u8]) -> bool {
        self.event(b"", data)
    }

    fn is_complete(&self) -> bool {
        self.ended && self.error.is_none()
    }

    fn finish(mut self: Box<Self>) -> Response {
        self.close_partial();
        let complete = self.is_complete();
        let calls = self.parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
        let stop = match self.finish.as_str() {
            "" => None,
            "STOP" if calls => Some(Stop::Tools),
            "STOP" => Some(Stop::End),
            "MAX_TOKENS" => Some(Stop::Length),
            "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY" | "MODEL_ARMOR" => {
                Some(Stop::Refusal)
            }
            other => Some(Stop::Other(other.to_owned())),
        };
        Response {
            id: self.id,
            model: self.model,
            message: assistant(self.parts),
            stop,
            usage: read_gemini(&self.usage),
            usage_raw: self.usage,
            error: self.error,
            complete,
            first_content_at: None,
        }
    }
}

/// The parts of a response, cut as a stream would when asked to.
fn wire_parts(response: &Response, cut: bool) -> Vec<Value> {
    let mut all = Vec::new();
    // A signature without a text belongs to the part that follows.
    let mut sealed: Option<&str> = None;
    for part in response.message.iter().flat_map(|message| &message.parts) {
        let mut values: Vec<Value> = match part {
            Part::Thinking { text, signature } if text.is_empty() => {
                if let Some(before) = sealed.replace(signature) {
                    all.push(json!({ "text": "", "thoughtSignature": before }));
                }
                continue;
            }
            Part::Thinking { text, signature } => {
                let texts = if cut { pieces(text) } else { vec![text.as_str()] };
                let mut values: Vec<Value> =
                    texts.into_iter().map(|text| json!({ "text": text, "thought": true })).collect();
                if let Some(last) = values.last_mut().filter(|_| !signature.is_empty()) {
                    last["thoughtSignature"] = json!(signature);
                }
                values
            }
            Part::Text { text } | Part::Refusal { text } => {
                let texts = if cut { pieces(text) } else { vec![text.as_str()] };
                texts.into_iter().map(|text| json!({ "text": text })).collect()
            }
            Part::ToolCall(call) => {
                let mut function = json!({ "name": call.name, "args": call.arguments });
                if !call.id.is_empty() {
                    function["id"] = json!(call.id);
                }
                vec![json!({ "functionCall": function })]
            }
            Part::Other { value } => vec![value.clone()],
            Part::ToolResult(_) => continue,
        };
        let thought = matches!(part, Part::Thinking { .. });
        if let Some(signature) = sealed.take() {
            match values.first_mut().filter(|value| !thought && value.is_object()) {
                Some(first) => first["thoughtSignature"] = json!(signature),
                None => all.push(json!({ "text": "", "thoughtSignature": signature })),
            }
        }
        all.append(&mut values);
    }
    all.extend(sealed.map(|signature| json!({ "text": "", "thoughtSignature": signature })));
    all
}

fn chunk(response: &Response, parts: Vec<Value>, end: bool) -> Value {
    let mut candidate = json!({ "content": { "parts": parts, "role": "model" }, "index": 0 });
    if end {
        let word = match &response.stop {
            None => None,
            Some(Stop::End | Stop::Tools) => Some("STOP"),
            Some(Stop::Length) => Some("MAX_TOKENS"),
            Some(Stop::Refusal) => Some("SAFETY"),
            Some(Stop::Other(word)) => Some(word.as_str()),
        };
        candidate["finishReason"] = word.map_or(Value::Null, Value::from);
    }
    let mut chunk = json!({ "candidates": [candidate], "modelVersion": response.model, "responseId": response.id });
    if end && response.usage.is_known() {
        chunk["usageMetadata"] = write_gemini(&response.usage);
    }
    chunk
}

fn error_body(error: &ProviderError) -> Value {
    json!({ "error": { "code": 500, "message": error.message, "status": error.kind } })
}

/// The answer as one JSON.
pub fn write_json(response: &Response) -> Value {
    match &response.error {
        Some(error) => error_body(error),
        None => chunk(response, wire_parts(response, false), true),
    }
}

/// The answer as a stream of events.
pub fn write_stream(response: &Response) -> Vec<Bytes> {
    let mut chunks: Vec<Value> =
        wire_parts(response, true).into_iter().map(|part| chunk(response, vec![part], false)).collect();
    if let Some(error) = &response.error {
        chunks.push(error_body(error));
    } else if response.complete {
        chunks.push(chunk(response, vec![json!({ "text": "" })], true));
    }
    chunks.into_iter().map(|chunk| Bytes::from(format!("data: {chunk}\r\n\r\n"))).collect()
}
