//! Questions in the wire formats of the providers: what a prompt target sends.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::trace::{Headers, Message, Part, Role, ToolDef, Wire};

/// Where a model is asked, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The upstream's name.
    pub upstream: String,
    pub wire: Wire,
    /// Path and query.
    pub target: String,
    /// The model's name as its provider knows it.
    pub model: String,
}

/// Where `provider/model` is asked. Providers that aren't known speak Chat Completions, as nearly all do.
pub fn address(model: &str) -> Address {
    let (provider, name) = model.split_once('/').unwrap_or(("openai", model));
    let (wire, target, upstream) = match provider {
        "anthropic" => (Wire::AnthropicMessages, "/v1/messages".to_owned(), "anthropic"),
        "gemini" | "google" => (Wire::Gemini, format!("/v1beta/models/{name}:generateContent"), "gemini"),
        other => (Wire::OpenaiChat, "/v1/chat/completions".to_owned(), other),
    };
    // Mock models are known by their whole name.
    let name = if provider == "mock" { model } else { name };
    Address { upstream: upstream.to_owned(), wire, target, model: name.to_owned() }
}

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct Question<'a> {
    pub system: &'a str,
    pub messages: &'a [Message],
    pub tools: &'a [ToolDef],
    /// Parameters under the names of the wire format.
    pub params: Map<String, Value>,
    pub seed: Option<u64>,
}

/// The request, as headers and body.
pub fn encode(address: &Address, question: &Question<'_>) -> (Headers, Bytes) {
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let mut body = match address.wire {
        Wire::AnthropicMessages => {
            headers.push(("anthropic-version".to_owned(), "2023-06-01".to_owned()));
            anthropic(address, question)
        }
        Wire::Gemini => gemini(question),
        _ => chat(address, question),
    };
    if let (Value::Object(body), wire) = (&mut body, address.wire) {
        // Gemini keeps its parameters in a drawer of their own.
        match wire {
            Wire::Gemini if !question.params.is_empty() => {
                let config = body.entry("generationConfig").or_insert_with(|| json!({}));
                if let Value::Object(config) = config {
                    config.extend(question.params.clone());
                }
            }
            _ => body.extend(question.params.clone()),
        }
    }
    (headers, Bytes::from(body.to_string()))
}

fn chat(address: &Address, question: &Question<'_>) -> Value {
    let mut messages = Vec::new();
    if !question.system.is_empty() {
        messages.push(json!({"role": "system", "content": question.system}));
    }
    for message in question.messages {
        let calls: Vec<Value> = message
            .tool_calls()
            .map(|call| {
                json!({"id": call.id, "type": "function",
                    "function": {"name": call.name, "arguments": arguments_text(&call.arguments)}})
            })
            .collect();
        for part in &message.parts {
            if let Part::ToolResult(result) = part {
                messages.push(json!({"role": "tool", "tool_call_id": result.id, "content": result.text}));
            }
        }
        let text = spoken(message);
        if !calls.is_empty() {
            let content = if text.is_empty() { Value::Null } else { Value::from(text) };
            messages.push(json!({"role": "assistant", "content": content, "tool_calls": calls}));
        } else if !text.is_empty() {
            messages.push(json!({"role": message.role.as_str(), "content": text}));
        }
    }
    let mut body = json!({"model": address.model, "messages": messages});
    if !question.tools.is_empty() {
        body["tools"] = question
            .tools
            .iter()
            .map(|tool| {
                json!({"type": "function", "function":
                {"name": tool.name, "description": tool.description, "parameters": schema(tool)}})
            })
            .collect();
    }
    if let Some(seed) = question.seed {
        // Providers read it as a signed number of 64 bits, and some as one of 32.
        body["seed"] = json!(seed & 0x7fff_ffff);
    }
    body
}

fn anthropic(address: &Address, question: &Question<'_>) -> Value {
    let messages: Vec<Value> = question
        .messages
        .iter()
        .map(|message| {
            let parts: Vec<Value> = message
                .parts
                .iter()
                .filter_map(|part| match part {
                    Part::Text { text } => Some(json!({"type": "text", "text": text})),
                    Part::ToolCall(call) => {
                        Some(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}))
                    }
                    Part::ToolResult(result) => Some(json!({"type": "tool_result", "tool_use_id": result.id,
                        "content": result.text, "is_error": result.is_error})),
                    _ => None,
                })
                .collect();
            let role = if message.role == Role::Assistant { "assistant" } else { "user" };
            json!({"role": role, "content": parts})
        })
        .collect();
    let mut body = json!({"model": address.model, "max_tokens": 4096, "messages": messages});
    if !question.system.is_empty() {
        body["system"] = json!(question.system);
    }
    if !question.tools.is_empty() {
        body["tools"] = question
            .tools
            .iter()
            .map(|tool| json!({"name": tool.name, "description": tool.description, "input_schema": schema(tool)}))
            .collect();
    }
    body
}

fn gemini(question: &Question<'_>) -> Value {
    let contents: Vec<Value> = question
        .messages
        .iter()
        .map(|message| {
            let parts: Vec<Value> = message
                .parts
                .iter()
                .filter_map(|part| match part {
                    Part::Text { text } => Some(json!({"text": text})),
                    Part::ToolCall(call) => Some(json!({"functionCall": {"name": call.name, "args": call.arguments}})),
                    Part::ToolResult(result) => {
                        Some(json!({"functionResponse": {"name": result.name, "response": {"result": result.text}}}))
                    }
                    _ => None,
                })
                .collect();
            json!({"role": if message.role == Role::Assistant { "model" } else { "user" }, "parts": parts})
        })
        .collect();
    let mut body = json!({"contents": contents});
    if !question.system.is_empty() {
        body["systemInstruction"] = json!({"parts": [{"text": question.system}]});
    }
    if !question.tools.is_empty() {
        let tools: Vec<Value> = question
            .tools
            .iter()
            .map(|tool| json!({"name": tool.name, "description": tool.description, "parameters": schema(tool)}))
            .collect();
        body["tools"] = json!([{"functionDeclarations": tools}]);
    }
    if let Some(seed) = question.seed {
        body["generationConfig"] = json!({"seed": seed & 0x7fff_ffff});
    }
    body
}

fn spoken(message: &Message) -> String {
    let texts = message.parts.iter().filter_map(|part| match part {
        Part::Text { text } | Part::Refusal { text } => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn arguments_text(arguments: &Value) -> String {
    arguments.as_str().map_or_else(|| arguments.to_string(), ToOwned::to_owned)
}

fn schema(tool: &ToolDef) -> Value {
    if tool.parameters.is_null() { json!({"type": "object", "properties": {}}) } else { tool.parameters.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider;
    use crate::trace::{ToolCall, ToolResult};

    /// What we write, the readers of the recorder read back as it was meant.
    #[test]
    fn questions_are_read_back_as_they_were_asked() {
        let call = ToolCall { id: "c1".to_owned(), name: "look".to_owned(), arguments: json!({"id": 7}) };
        let result =
            ToolResult { id: "c1".to_owned(), name: "look".to_owned(), text: "seven".to_owned(), is_error: false };
        let messages = vec![
            Message::text(Role::User, "Hi"),
            Message { role: Role::Assistant, parts: vec![Part::ToolCall(call.clone())] },
            Message { role: Role::Tool, parts: vec![Part::ToolResult(result)] },
        ];
        let tools =
            vec![ToolDef { name: "look".to_owned(), description: "Looks.".to_owned(), parameters: Value::Null }];
        let params: Map<String, Value> = [("temperature".to_owned(), json!(0.5))].into_iter().collect();
        let question = Question { system: "Be kind.", messages: &messages, tools: &tools, params, seed: Some(9) };
        for (model, name) in [
            ("openai/gpt-x", "gpt-x"),
            ("anthropic/claude-x", "claude-x"),
            ("gemini/gemini-x", "gemini-x"),
            ("mock/echo", "mock/echo"),
            ("openrouter/some/model", "some/model"),
        ] {
            let address = address(model);
            let (headers, body) = encode(&address, &question);
            assert_eq!(provider::detect("POST", &address.target, &headers, &body), address.wire, "{model}");
            let read = provider::request(address.wire, &address.target, &body).unwrap();
            assert_eq!(read.model, name);
            let texts: Vec<String> = read.messages.iter().map(Message::plain_text).collect();
            assert_eq!(texts, ["Be kind.", "Hi", "", "seven"], "{model}");
            let calls: Vec<&ToolCall> = read.messages.iter().flat_map(Message::tool_calls).collect();
            assert_eq!((calls.len(), calls[0].name.as_str(), &calls[0].arguments), (1, "look", &json!({"id": 7})));
            assert_eq!(read.tools.len(), 1);
        }
    }
}
