//! Writes an answer as OpenAI Responses.

use bytes::Bytes;
use serde_json::{Value, json};

use super::parts::{openai_error, pieces, text_of, write_arguments};
use super::usage::write_openai;
use crate::trace::{Part, Response, Stop};

/// The output items of a response, as they are when done.
fn items(response: &Response) -> Vec<Value> {
    let parts = response.message.iter().flat_map(|message| &message.parts);
    let item = |(index, part): (usize, &Part)| {
        let id = |kind: &str| format!("{kind}_{}_{index}", response.id);
        let message = |content: Value| json!({ "id": id("msg"), "type": "message", "status": "completed", "role": "assistant", "content": [content] });
        match part {
            Part::Text { text } => {
                Some(message(json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })))
            }
            Part::Refusal { text } => Some(message(json!({ "type": "refusal", "refusal": text }))),
            Part::Thinking { text, signature } => {
                let summary =
                    if text.is_empty() { json!([]) } else { json!([{ "type": "summary_text", "text": text }]) };
                let sealed = if signature.is_empty() { Value::Null } else { json!(signature) };
                Some(json!({ "id": id("rs"), "type": "reasoning", "summary": summary, "encrypted_content": sealed }))
            }
            Part::ToolCall(call) => Some(json!({
                "id": id("fc"), "type": "function_call", "status": "completed", "call_id": call.id, "name": call.name,
                "arguments": write_arguments(&call.arguments),
            })),
            Part::Other { value } => Some(value.clone()),
            Part::ToolResult(_) => None,
        }
    };
    parts.enumerate().filter_map(item).collect()
}

fn frame(response: &Response, status: &str, output: Vec<Value>, usage: Value) -> Value {
    let reason = match &response.stop {
        Some(Stop::Length) => json!({ "reason": "max_output_tokens" }),
        Some(Stop::Refusal) => json!({ "reason": "content_filter" }),
        Some(Stop::Other(word)) => json!({ "reason": word }),
        _ => Value::Null,
    };
    json!({
        "id": response.id, "object": "response", "created_at": 0, "status": status, "background": false,
        "error": if status == "failed" { response.error.as_ref().map(openai_error) } else { None },
        "incomplete_details": if status == "incomplete" { reason } else { Value::Null },
        "instructions": null, "max_output_tokens": null, "model": response.model, "output": output,
        "parallel_tool_calls": true, "previous_response_id": null, "reasoning": { "effort": null, "summary": null },
        "store": false, "temperature": 1.0, "text": { "format": { "type": "text" } }, "tool_choice": "auto",
        "tools": [], "top_p": 1.0, "truncation": "disabled", "usage": usage, "user": null, "metadata": {},
    })
}

/// The status that says what the stop says.
fn status(response: &Response) -> &'static str {
    let says_no = |part: &Part| matches!(part, Part::Refusal { .. });
    match &response.stop {
        _ if response.error.is_some() => "failed",
        Some(Stop::Refusal) if response.message.iter().flat_map(|message| &message.parts).any(says_no) => "completed",
        Some(Stop::Length | Stop::Refusal | Stop::Other(_)) => "incomplete",
        _ => "completed",
    }
}

/// The answer as one JSON.
pub fn write_json(response: &Response) -> Value {
    frame(response, status(response), items(response), write_openai(&response.usage, false))
}

/// The answer as a stream of events.
pub fn write_stream(response: &Response) -> Vec<Bytes> {
    let mut writer = Writer { events: Vec::new() };
    for kind in ["response.created", "response.in_progress"] {
        writer.push(json!({ "type": kind, "response": frame(response, "in_progress", Vec::new(), Value::Null) }));
    }
    for (index, item) in items(response).into_iter().enumerate() {
        writer.item(index, &item);
    }
    if let Some(error) = response.error.as_ref().filter(|_| !response.complete) {
        writer.push(json!({ "type": "error", "code": error.kind, "message": error.message, "param": null }));
    } else if response.complete {
        writer.push(json!({ "type": format!("response.{}", status(response)), "response": write_json(response) }));
    }
    writer.events
}

struct Writer {
    events: Vec<Bytes>,
}

impl Writer {
    fn push(&mut self, mut event: Value) {
        event["sequence_number"] = self.events.len().into();
        let name = text_of(&event, "type");
        self.events.push(Bytes::from(format!("event: {name}\ndata: {event}\n\n")));
    }

    /// An item is added empty, filled by deltas, and done whole.
    fn item(&mut self, index: usize, item: &Value) {
        let mut empty = item.clone();
        let id = item["id"].clone();
        let event = |kind: &str| json!({ "type": format!("response.{kind}"), "item_id": id, "output_index": index });
        match text_of(item, "type") {
            "function_call" => {
                (empty["arguments"], empty["status"]) = (json!(""), json!("in_progress"));
                self.added(index, empty);
                let arguments = text_of(item, "arguments");
                self.deltas(&event("function_call_arguments.delta"), arguments);
                let mut done = event("function_call_arguments.done");
                (done["arguments"], done["name"]) = (json!(arguments), item["name"].clone());
                self.push(done);
            }
            "reasoning" => {
                empty["summary"] = json!([]);
                self.added(index, empty);
                for (at, part) in item["summary"].as_array().into_iter().flatten().enumerate() {
                    let event = |kind: &str| {
                        let mut event = event(kind);
                        event["summary_index"] = at.into();
                        event
                    };
                    let mut start = event("reasoning_summary_part.added");
                    start["part"] = json!({ "type": "summary_text", "text": "" });
                    self.push(start);
                    self.deltas(&event("reasoning_summary_text.delta"), text_of(part, "text"));
                    let mut done = event("reasoning_summary_text.done");
                    done["text"] = part["text"].clone();
                    self.push(done);
                    let mut done = event("reasoning_summary_part.done");
                    done["part"] = part.clone();
                    self.push(done);
                }
            }
            "message" => {
                (empty["content"], empty["status"]) = (json!([]), json!("in_progress"));
                self.added(index, empty);
                self.content(&event, &item["content"][0]);
            }
            _ => self.added(index, empty),
        }
        self.push(json!({ "type": "response.output_item.done", "output_index": index, "item": item }));
    }

    fn content(&mut self, event: &dyn Fn(&str) -> Value, part: &Value) {
        let (stem, key) = match text_of(part, "type") {
            "refusal" => ("refusal", "refusal"),
            _ => ("output_text", "text"),
        };
        let event = |kind: &str| {
            let mut event = event(kind);
            event["content_index"] = json!(0);
            event
        };
        let mut empty = part.clone();
        empty[key] = json!("");
        let mut start = event("content_part.added");
        start["part"] = empty;
        self.push(start);
        self.deltas(&event(&format!("{stem}.delta")), text_of(part, key));
        let mut done = event(&format!("{stem}.done"));
        done[key] = part[key].clone();
        self.push(done);
        let mut done = event("content_part.done");
        done["part"] = part.clone();
        self.push(done);
    }

    fn added(&mut self, index: usize, item: Value) {
        self.push(json!({ "type": "response.output_item.added", "output_index": index, "item": item }));
    }

    fn deltas(&mut self, event: &Value, text: &str) {
        for piece in pieces(text) {
            let mut event = event.clone();
            event["delta"] = piece.into();
            self.push(event);
        }
    }
}
