//! Messages written as a chat request has them: the one shape that everything is told in which has no wire format of its own.

use serde_json::{Map, Value, json};

use crate::trace::{Message, Part, Role, ToolDef};

/// A message as elements of `messages`: results of tools stand alone, everything else is one element.
pub fn elements(message: &Message) -> Vec<Value> {
    let mut all = Vec::new();
    let (mut said, mut thought, mut calls) = (Vec::new(), String::new(), Vec::new());
    for part in &message.parts {
        match part {
            Part::Text { text } | Part::Refusal { text } => said.push(json!({ "type": "text", "text": text })),
            Part::Thinking { text, .. } => thought.push_str(text),
            Part::ToolCall(call) => {
                let arguments = match &call.arguments {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let function = json!({ "name": call.name, "arguments": arguments });
                calls.push(json!({ "id": call.id, "type": "function", "function": function }));
            }
            Part::ToolResult(result) => {
                let mut element = json!({ "role": "tool", "tool_call_id": result.id, "content": result.text });
                if !result.name.is_empty() {
                    element["name"] = result.name.clone().into();
                }
                all.push(element);
            }
            Part::Other { value } => said.push(value.clone()),
        }
    }
    if said.is_empty() && thought.is_empty() && calls.is_empty() && !all.is_empty() {
        return all;
    }
    let role = match message.role {
        Role::System => "system",
        Role::Assistant => "assistant",
        Role::User | Role::Tool => "user",
    };
    let mut element = Map::new();
    element.insert("role".into(), role.into());
    let content = match &said[..] {
        [] => Value::Null,
        [one] if one["type"] == "text" && one["text"].is_string() => one["text"].clone(),
        _ => Value::Array(said),
    };
    element.insert("content".into(), content);
    if !thought.is_empty() {
        element.insert("reasoning_content".into(), thought.into());
    }
    if !calls.is_empty() {
        element.insert("tool_calls".into(), calls.into());
    }
    all.push(Value::Object(element));
    all
}

/// A tool as an element of `tools`.
pub fn tool(tool: &ToolDef) -> Value {
    let parameters = if tool.parameters.is_null() { json!({}) } else { tool.parameters.clone() };
    json!({ "type": "function", "function": { "name": tool.name, "description": tool.description, "parameters": parameters } })
}

/// A whole request.
pub fn request(model: &str, messages: &[Message], tools: &[ToolDef], params: &Map<String, Value>) -> bytes::Bytes {
    let mut body = Map::new();
    if !tools.is_empty() {
        body.insert("tools".into(), tools.iter().map(tool).collect());
    }
    body.insert("messages".into(), messages.iter().flat_map(elements).collect());
    body.insert("model".into(), model.into());
    for (key, value) in params {
        body.entry(key.as_str()).or_insert_with(|| value.clone());
    }
    Value::Object(body).to_string().into()
}
