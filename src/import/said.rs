//! What was said, read out of JSON of nearly any shape: chat messages, Anthropic blocks, Responses items, Gemini contents,
//! OpenTelemetry parts, LangChain messages, AI SDK results. Nothing here fails; what isn't understood is kept as it came.

use serde_json::{Map, Value};

use crate::provider;
use crate::trace::{Message, Part, Role, ToolCall, ToolDef, ToolResult, Wire};

/// How deep values may lie inside of each other before they count as text.
const DEEPEST: usize = 12;

/// The messages a value holds. Where nothing says who speaks, it is `speaker`.
pub fn messages(value: &Value, speaker: Role) -> Vec<Message> {
    let mut found = Vec::new();
    read(value, speaker, 0, &mut found);
    found
}

/// The one message a value holds as an answer: everything in it, joined.
pub fn answer(value: &Value) -> Option<Message> {
    let mut parts = Vec::new();
    for message in messages(value, Role::Assistant) {
        // An export may repeat the conversation before the answer: what counts is behind the last other speaker.
        if message.role == Role::Assistant { parts.extend(message.parts) } else { parts.clear() }
    }
    (!parts.is_empty()).then_some(Message { role: Role::Assistant, parts })
}

fn role_of(word: &str) -> Option<Role> {
    Some(match word {
        "system" | "developer" | "SystemMessage" => Role::System,
        "user" | "human" | "HumanMessage" | "HumanMessageChunk" => Role::User,
        "assistant" | "ai" | "model" | "agent" | "AIMessage" | "AIMessageChunk" => Role::Assistant,
        "tool" | "function" | "toolResult" | "tool_result" | "ToolMessage" => Role::Tool,
        _ => return None,
    })
}

fn text<'a>(object: &'a Map<String, Value>, keys: &[&str]) -> &'a str {
    keys.iter().find_map(|key| object.get(*key).and_then(Value::as_str)).unwrap_or_default()
}

fn read(value: &Value, speaker: Role, depth: usize, out: &mut Vec<Message>) {
    if depth > DEEPEST {
        return out.push(Message::text(speaker, value.to_string()));
    }
    match value {
        Value::Null => {}
        Value::String(text) => match unpacked(text) {
            Some(inner) => read(&inner, speaker, depth + 1, out),
            None => out.push(Message::text(speaker, text.clone())),
        },
        Value::Array(items) if items.iter().all(Value::is_array) && !items.is_empty() => {
            // LangChain: a list of conversations, of which there is one.
            items.iter().for_each(|item| read(item, speaker, depth + 1, out));
        }
        Value::Array(items) if !items.is_empty() && items.iter().all(is_block) => {
            let parts = parts(value, depth);
            if !parts.is_empty() {
                out.push(Message { role: speaker, parts });
            }
        }
        Value::Array(items) => items.iter().for_each(|item| read(item, speaker, depth + 1, out)),
        Value::Object(object) => object_said(object, speaker, depth, out),
        Value::Bool(_) | Value::Number(_) => out.push(Message::text(speaker, value.to_string())),
    }
}

/// JSON inside of a text: only lists and objects, a text that happens to be a number stays one.
pub fn unpacked(text: &str) -> Option<Value> {
    let trimmed = text.trim();
    let looks = matches!(trimmed.as_bytes(), [b'{', .., b'}'] | [b'[', .., b']'] | [b'"', .., b'"']);
    looks.then(|| serde_json::from_str::<Value>(trimmed).ok()).flatten()
}

/// Whether a list element is a piece of one message rather than a message.
fn is_block(value: &Value) -> bool {
    let Some(object) = value.as_object() else { return false };
    if ["role", "message", "kwargs"].iter().any(|key| object.contains_key(*key)) {
        return false;
    }
    let kind = text(object, &["type"]);
    matches!(
        kind,
        "text"
            | "tool_use"
            | "tool_result"
            | "thinking"
            | "redacted_thinking"
            | "image"
            | "image_url"
            | "tool-call"
            | "tool-result"
            | "reasoning"
            | "input_text"
            | "output_text"
            | "tool_call"
            | "tool_call_response"
            | "toolCall"
    ) && !object.contains_key("summary")
        || (kind.is_empty()
            && ["toolCallId", "functionCall", "function_call", "functionResponse", "function_response"]
                .iter()
                .any(|key| object.contains_key(*key)))
        || (kind.is_empty() && object.len() <= 3 && object.get("text").is_some_and(Value::is_string))
}

fn object_said(object: &Map<String, Value>, speaker: Role, depth: usize, out: &mut Vec<Message>) {
    // A wrapping: the messages are inside.
    for key in ["messages", "contents", "choices", "candidates", "generations"] {
        // OpenInference calls the pieces of one message `contents`.
        let pieces = key == "contents" && object.contains_key("role");
        if let Some(list @ Value::Array(items)) = object.get(key).filter(|_| !pieces) {
            if let Some(orders) = ["system", "instructions", "systemInstruction", "system_instruction"]
                .iter()
                .find_map(|key| object.get(*key))
                .or_else(|| object.get("config").and_then(|config| config.get("system_instruction")))
            {
                read(orders, Role::System, depth + 1, out);
            }
            let first = matches!(key, "choices" | "candidates" | "generations");
            let list = if first { items.first().unwrap_or(&Value::Null) } else { list };
            return read(list, if first { Role::Assistant } else { speaker }, depth + 1, out);
        }
    }
    if let Some(Value::Object(kwargs)) = object.get("kwargs") {
        let class = object.get("id").and_then(Value::as_array).and_then(|path| path.last()).and_then(Value::as_str);
        let role = class.and_then(role_of).unwrap_or(speaker);
        return object_said(kwargs, role, depth + 1, out);
    }
    for key in ["message", "delta"] {
        if let Some(inner @ Value::Object(_)) = object.get(key) {
            return read(inner, speaker, depth + 1, out);
        }
    }
    if let Some(message) = item(object) {
        return out.push(message);
    }
    let role = role_of(text(object, &["role"])).or_else(|| role_of(text(object, &["type"]))).unwrap_or(speaker);
    if ["content", "parts", "contents"].iter().any(|key| object.contains_key(*key)) || object.contains_key("tool_calls")
    {
        if let Some(inner @ Value::Object(content)) = object.get("content")
            && (content.contains_key("parts") || content.contains_key("role") || content.contains_key("content"))
        {
            return read(inner, role, depth + 1, out);
        }
        return out.push(message(object, role, depth));
    }
    if let Some(Value::Array(output)) = object.get("output") {
        return output.iter().for_each(|item| read(item, Role::Assistant, depth + 1, out));
    }
    if is_block(&Value::Object(object.clone())) {
        let parts = parts(&Value::Array(vec![Value::Object(object.clone())]), depth);
        return out.push(Message { role: speaker, parts });
    }
    for key in ["input", "prompt", "inputs", "outputs", "text", "new_message", "value"] {
        if let Some(inner) = object.get(key).filter(|inner| !inner.is_null()) {
            if let Some(orders) = object.get("system").or_else(|| object.get("instructions")) {
                read(orders, Role::System, depth + 1, out);
            }
            return read(inner, speaker, depth + 1, out);
        }
    }
    out.push(Message { role: speaker, parts: vec![Part::Other { value: Value::Object(object.clone()) }] });
}

/// An item of the Responses API that isn't a message with a role.
fn item(object: &Map<String, Value>) -> Option<Message> {
    let kind = text(object, &["type"]);
    let is_item = matches!(
        kind,
        "function_call"
            | "function_call_output"
            | "custom_tool_call"
            | "custom_tool_call_output"
            | "local_shell_call"
            | "local_shell_call_output"
    ) || (kind == "reasoning" && object.contains_key("summary"));
    let raw = Value::Object(object.clone()).to_string();
    is_item
        .then(|| provider::block_messages(Wire::OpenaiResponses, "input", raw.as_bytes()).into_iter().next())
        .flatten()
}

/// One message.
fn message(object: &Map<String, Value>, role: Role, depth: usize) -> Message {
    let empty = Value::Null;
    let body = ["content", "parts", "contents"].iter().find_map(|key| object.get(*key)).unwrap_or(&empty);
    let id = text(object, &["tool_call_id", "toolCallId", "id"]);
    if role == Role::Tool {
        let mut inner = parts(body, depth);
        if !inner.iter().any(|part| matches!(part, Part::ToolResult(_))) {
            let text = Message { role, parts: inner }.plain_text();
            let text = if text.is_empty() { as_text(body) } else { text };
            let is_error = object.get("isError").and_then(Value::as_bool).unwrap_or(false)
                || object.get("status").and_then(Value::as_str) == Some("error");
            let name = self::text(object, &["name", "toolName"]).to_owned();
            inner = vec![Part::ToolResult(ToolResult { id: id.to_owned(), name, text, is_error })];
        }
        return Message { role, parts: inner };
    }
    let mut all = Vec::new();
    for key in ["reasoning_content", "reasoning", "thinking"] {
        if let Some(Value::String(text)) = object.get(key)
            && !text.is_empty()
            && all.is_empty()
        {
            all.push(Part::Thinking { text: text.clone(), signature: String::new() });
        }
    }
    all.extend(parts(body, depth));
    // LangChain keeps the provider's own list beside, too: the first that has something counts.
    let more = object.get("additional_kwargs").and_then(|more| more.get("tool_calls"));
    let lists = [object.get("tool_calls"), object.get("toolCalls"), more];
    let asked: Vec<Part> = lists
        .into_iter()
        .flatten()
        .map(|list| list.as_array().into_iter().flatten().filter_map(tool_call).map(Part::ToolCall).collect::<Vec<_>>())
        .find(|calls| !calls.is_empty())
        .unwrap_or_default();
    if !all.iter().any(|part| matches!(part, Part::ToolCall(_))) {
        all.extend(asked);
    }
    Message { role, parts: all }
}

/// A tool call in any spelling.
pub fn tool_call(value: &Value) -> Option<ToolCall> {
    let object = value.as_object()?;
    // OpenInference puts one more object around it.
    if let Some(inner @ Value::Object(_)) = object.get("tool_call") {
        return tool_call(inner);
    }
    let function = object.get("function").and_then(Value::as_object).unwrap_or(object);
    let name = text(function, &["name", "toolName", "function_name", "tool_name"]);
    let id = text(object, &["id", "call_id", "tool_call_id", "toolCallId", "tool_use_id"]);
    let arguments = ["arguments", "args", "input", "parameters"].iter().find_map(|key| function.get(*key));
    (!name.is_empty()).then(|| ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: arguments.map_or_else(|| Value::Object(Map::new()), arguments_of),
    })
}

/// Arguments: a text that is JSON is taken for what it says.
fn arguments_of(value: &Value) -> Value {
    match value {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| value.clone()),
        Value::Null => Value::Object(Map::new()),
        other => other.clone(),
    }
}

/// A value as a person would read it.
pub fn as_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The pieces of a message's content.
fn parts(value: &Value, depth: usize) -> Vec<Part> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => {
            match unpacked(text).filter(|inner| inner.as_array().is_some_and(|list| list.iter().any(is_block))) {
                Some(inner) if depth < DEEPEST => parts(&inner, depth + 1),
                _ => vec![Part::Text { text: text.clone() }],
            }
        }
        Value::Array(items) => items.iter().flat_map(|item| part(item, depth)).collect(),
        Value::Object(_) => part(value, depth),
        other => vec![Part::Text { text: other.to_string() }],
    }
}

fn part(value: &Value, depth: usize) -> Vec<Part> {
    let Value::Object(object) = value else { return parts(value, depth + 1) };
    if let Some(Value::Object(inner)) = object.get("message_content") {
        return part(&Value::Object(inner.clone()), depth + 1);
    }
    let kind = text(object, &["type"]);
    let said = text(object, &["text", "content", "thinking", "refusal"]);
    let result = |text: String| {
        let is_error =
            ["is_error", "isError"].iter().any(|key| object.get(*key).and_then(Value::as_bool) == Some(true));
        let id = self::text(object, &["tool_use_id", "toolCallId", "id", "call_id", "tool_call_id"]).to_owned();
        let name = self::text(object, &["toolName", "name"]).to_owned();
        vec![Part::ToolResult(ToolResult { id, name, text, is_error })]
    };
    match kind {
        "text" | "input_text" | "output_text" if object.contains_key("text") || object.contains_key("content") => {
            vec![Part::Text { text: said.to_owned() }]
        }
        "thinking" | "reasoning" if !said.is_empty() => {
            let signature = text(object, &["signature", "thinkingSignature"]).to_owned();
            vec![Part::Thinking { text: said.to_owned(), signature }]
        }
        "redacted_thinking" => {
            vec![Part::Thinking { text: String::new(), signature: text(object, &["data"]).to_owned() }]
        }
        "refusal" => vec![Part::Refusal { text: said.to_owned() }],
        "tool_use" | "tool-call" | "tool_call" | "toolCall" | "function_call" | "server_tool_call" => tool_call(value)
            .map_or_else(|| vec![Part::Other { value: value.clone() }], |call| vec![Part::ToolCall(call)]),
        "tool_result" | "tool-result" | "tool_call_response" | "toolResult" => {
            // The registry's own example writes `result` where its schema says `response`.
            let body = ["content", "response", "result", "output"].iter().find_map(|key| object.get(*key));
            result(body.map(result_text).unwrap_or_default())
        }
        "" => bare(value, object).unwrap_or_else(|| vec![Part::Other { value: value.clone() }]),
        _ => vec![Part::Other { value: value.clone() }],
    }
}

/// A part that has no type: Gemini, and the AI SDK's older results.
fn bare(value: &Value, object: &Map<String, Value>) -> Option<Vec<Part>> {
    for key in ["functionCall", "function_call"] {
        if let Some(call) = object.get(key).and_then(tool_call) {
            return Some(vec![Part::ToolCall(call)]);
        }
    }
    for key in ["functionResponse", "function_response"] {
        if let Some(Value::Object(answer)) = object.get(key) {
            let response = answer.get("response").unwrap_or(&Value::Null);
            let text =
                response.get("output").or_else(|| response.get("result")).map_or_else(|| as_text(response), as_text);
            let (id, name) = (text_of(answer, "id"), text_of(answer, "name"));
            return Some(vec![Part::ToolResult(ToolResult {
                id,
                name,
                text,
                is_error: response.get("error").is_some(),
            })]);
        }
    }
    if let Some(Value::String(text)) = object.get("text") {
        let thought = object.get("thought").and_then(Value::as_bool) == Some(true);
        return Some(vec![if thought {
            Part::Thinking { text: text.clone(), signature: String::new() }
        } else {
            Part::Text { text: text.clone() }
        }]);
    }
    object.get("toolName").and_then(|_| tool_call(value)).map(|call| vec![Part::ToolCall(call)])
}

fn text_of(object: &Map<String, Value>, key: &str) -> String {
    object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What a tool answered: its texts, or all of it.
pub fn result_text(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let texts: Vec<String> = items
                .iter()
                .map(|item| match item.get("text").and_then(Value::as_str) {
                    Some(text) => text.to_owned(),
                    None => as_text(item),
                })
                .collect();
            texts.join("\n")
        }
        // The AI SDK: {"type":"text","value":…}
        Value::Object(object) if object.len() == 2 && object.contains_key("type") => {
            object.get("value").or_else(|| object.get("text")).map_or_else(|| value.to_string(), as_text)
        }
        other => as_text(other),
    }
}

/// The tools a value offers, in any spelling.
pub fn tools(value: &Value) -> Vec<ToolDef> {
    let inner;
    let value = match value {
        Value::String(text) => match unpacked(text) {
            Some(value) => {
                inner = value;
                &inner
            }
            None => return Vec::new(),
        },
        other => other,
    };
    match value {
        Value::Array(items) => items.iter().flat_map(tools).collect(),
        Value::Object(object) => {
            if let Some(list) = object.get("functionDeclarations").or_else(|| object.get("function_declarations")) {
                return tools(list);
            }
            let function = object.get("function").and_then(Value::as_object).unwrap_or(object);
            let name = text_of(function, "name");
            let parameters = ["parameters", "input_schema", "inputSchema", "parametersJsonSchema", "json_schema"];
            let parameters = parameters.iter().find_map(|key| function.get(*key)).cloned().unwrap_or_default();
            let description = text_of(function, "description");
            if name.is_empty() { Vec::new() } else { vec![ToolDef { name, description, parameters }] }
        }
        _ => Vec::new(),
    }
}
