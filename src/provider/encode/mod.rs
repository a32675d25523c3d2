//! Requests written in any wire format, from the one shape that all are read into: how a loop that speaks one provider's
//! format is asked of another's model. What the other format has no place for is listed, never dropped in silence.

mod messages;
mod params;

use serde_json::{Map, Value, json};

use crate::trace::{Headers, Request, ToolDef, Wire};
use messages::{Talk, anthropic, chat, gemini, responses};

/// A request in another wire format.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// Path and query.
    pub target: String,
    pub headers: Headers,
    pub body: Value,
    /// What could not be carried over, in words.
    pub lost: Vec<String>,
}

/// Writes a request that was read from `from` in the format `to`, for another model.
pub fn encode(from: Wire, request: &Request, to: Wire, model: &str) -> Encoded {
    let mut lost = Vec::new();
    let talk = Talk::of(&request.messages, &mut lost);
    let params = params::Neutral::read(from, &request.params, &mut lost);
    let tools: Vec<&ToolDef> = request.tools.iter().filter(|tool| portable(from, tool, &mut lost)).collect();
    let mut body = match to {
        Wire::AnthropicMessages => {
            let mut body = json!({ "model": model, "messages": anthropic(&talk) });
            if !talk.orders.is_empty() {
                body["system"] = json!(talk.orders);
            }
            body
        }
        Wire::Gemini => {
            let mut body = json!({ "contents": gemini(&talk) });
            if !talk.orders.is_empty() {
                body["systemInstruction"] = json!({ "parts": [{ "text": talk.orders }] });
            }
            body
        }
        Wire::OpenaiResponses => {
            let mut body = json!({ "model": model, "input": responses(&talk), "store": false });
            if !talk.orders.is_empty() {
                body["instructions"] = json!(talk.orders);
            }
            body
        }
        Wire::OpenaiChat | Wire::Embeddings | Wire::Raw => json!({ "model": model, "messages": chat(&talk) }),
    };
    if !tools.is_empty() {
        body["tools"] = tool_list(to, &tools);
    }
    if let Value::Object(body) = &mut body {
        params.write(to, !tools.is_empty(), body, &mut lost);
        if request.stream && to != Wire::Gemini {
            body.insert("stream".to_owned(), json!(true));
        }
        if request.stream && to == Wire::OpenaiChat {
            body.insert("stream_options".to_owned(), json!({ "include_usage": true }));
        }
    }
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    if to == Wire::AnthropicMessages {
        headers.push(("anthropic-version".to_owned(), "2023-06-01".to_owned()));
    }
    lost.sort();
    lost.dedup();
    Encoded { target: target(to, model, request.stream), headers, body, lost }
}

/// Where a model is asked in a wire format.
pub fn target(wire: Wire, model: &str, stream: bool) -> String {
    match wire {
        Wire::AnthropicMessages => "/v1/messages".to_owned(),
        Wire::Gemini if stream => format!("/v1beta/models/{}:streamGenerateContent?alt=sse", in_path(model)),
        Wire::Gemini => format!("/v1beta/models/{}:generateContent", in_path(model)),
        Wire::OpenaiResponses => "/v1/responses".to_owned(),
        Wire::OpenaiChat | Wire::Embeddings | Wire::Raw => "/v1/chat/completions".to_owned(),
    }
}

fn in_path(model: &str) -> String {
    model
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// Whether a tool is one that the loop itself runs. What a provider runs on its own servers no other one has.
fn portable(from: Wire, tool: &ToolDef, lost: &mut Vec<String>) -> bool {
    if tool.parameters.is_null() && tool.description.is_empty() {
        lost.push(format!("the tool {:?} is run by the provider itself ({})", tool.name, from.as_str()));
        return false;
    }
    if !takes_an_object(tool) {
        lost.push(format!("the tool {:?} takes free text; it is offered with one argument, `input`", tool.name));
    }
    true
}

/// Whether a tool's arguments are JSON, as opposed to text in a form of its own.
fn takes_an_object(tool: &ToolDef) -> bool {
    match &tool.parameters {
        Value::Object(schema) => schema.get("type").and_then(Value::as_str).is_none_or(|kind| kind == "object"),
        other => other.is_null(),
    }
}

fn tool_list(to: Wire, tools: &[&ToolDef]) -> Value {
    let one = |tool: &&ToolDef| {
        let schema = match &tool.parameters {
            Value::Object(schema) if takes_an_object(tool) && !schema.is_empty() => tool.parameters.clone(),
            _ if takes_an_object(tool) => json!({ "type": "object", "properties": {} }),
            _ => json!({ "type": "object", "properties": { "input": { "type": "string" } }, "required": ["input"] }),
        };
        let (name, description) = (&tool.name, &tool.description);
        match to {
            Wire::AnthropicMessages => json!({ "name": name, "description": description, "input_schema": schema }),
            Wire::Gemini => json!({ "name": name, "description": description, "parametersJsonSchema": schema }),
            Wire::OpenaiResponses => {
                json!({ "type": "function", "name": name, "description": description, "parameters": schema, "strict": false })
            }
            _ => {
                json!({ "type": "function", "function": { "name": name, "description": description, "parameters": schema } })
            }
        }
    };
    let list: Vec<Value> = tools.iter().map(one).collect();
    if to == Wire::Gemini { json!([{ "functionDeclarations": list }]) } else { Value::Array(list) }
}

/// Puts parameters where a wire format has them: Gemini keeps them in a drawer of their own.
pub fn set_params(wire: Wire, body: &mut Map<String, Value>, params: &Map<String, Value>) {
    if wire != Wire::Gemini {
        body.extend(params.clone());
        return;
    }
    for (name, value) in params {
        if matches!(name.as_str(), "safetySettings" | "toolConfig" | "cachedContent" | "tools") {
            body.insert(name.clone(), value.clone());
        } else if let Value::Object(drawer) = body.entry("generationConfig").or_insert_with(|| json!({})) {
            drawer.insert(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider;
    use crate::trace::{Message, Part, Role, ToolCall, ToolResult};

    const WIRES: [Wire; 4] = [Wire::AnthropicMessages, Wire::OpenaiChat, Wire::OpenaiResponses, Wire::Gemini];

    fn asked(from: Wire) -> Request {
        let call = |id: &str, path: &str| {
            Part::ToolCall(ToolCall { id: id.into(), name: "read".into(), arguments: json!({ "path": path }) })
        };
        let result = |id: &str, text: &str, is_error: bool| {
            Part::ToolResult(ToolResult { id: id.into(), name: "read".into(), text: text.into(), is_error })
        };
        let messages = vec![
            Message::text(Role::System, "Be kind."),
            Message::text(Role::User, "Read both."),
            Message {
                role: Role::Assistant,
                parts: vec![
                    Part::Thinking { text: "hm".into(), signature: "sealed".into() },
                    Part::Text { text: "Reading.".into() },
                    call("c1", "a"),
                    call("c2", "b"),
                ],
            },
            Message { role: Role::Tool, parts: vec![result("c1", "A", false), result("c2", "no such file", true)] },
        ];
        let tools = vec![ToolDef {
            name: "read".into(),
            description: "Reads.".into(),
            parameters: json!({ "type": "object", "properties": { "path": { "type": "string" } } }),
        }];
        let name = match from {
            Wire::Gemini => "maxOutputTokens",
            Wire::OpenaiResponses => "max_output_tokens",
            _ => "max_tokens",
        };
        let params = [(name.to_owned(), json!(100)), ("temperature".to_owned(), json!(0.5))].into_iter().collect();
        Request { model: "m".into(), messages, tools, params, stream: true }
    }

    /// From every format to every other: what is written reads back as what was meant.
    #[test]
    fn every_format_is_written_so_that_it_reads_back_the_same() {
        for from in WIRES {
            for to in WIRES {
                let request = asked(from);
                let encoded = encode(from, &request, to, "other/model");
                let body = encoded.body.to_string();
                assert_eq!(provider::detect("POST", &encoded.target, &encoded.headers, body.as_bytes()), to);
                let read = provider::request(to, &encoded.target, body.as_bytes()).unwrap();
                assert_eq!((read.model.as_str(), read.stream), ("other/model", true), "{from:?} {to:?}");
                let calls: Vec<_> = read.messages.iter().flat_map(Message::tool_calls).collect();
                assert_eq!(calls.len(), 2, "{body}");
                assert_eq!(calls[1].arguments, json!({ "path": "b" }));
                let results: Vec<_> = read
                    .messages
                    .iter()
                    .flat_map(|message| &message.parts)
                    .filter_map(|part| if let Part::ToolResult(result) = part { Some(result) } else { None })
                    .collect();
                assert_eq!(
                    results.iter().map(|result| result.text.trim_start_matches("error: ")).collect::<Vec<_>>(),
                    ["A", "no such file"],
                    "{to:?} {body}"
                );
                if to != Wire::Gemini {
                    assert_eq!(results[1].id, calls[1].id, "{to:?}");
                }
                let text = |role| {
                    read.messages
                        .iter()
                        .filter(|m| m.role == role)
                        .map(Message::plain_text)
                        .collect::<Vec<_>>()
                        .join("|")
                };
                assert!(text(Role::System).contains("Be kind.") && text(Role::User).contains("Read both."), "{body}");
                assert!(text(Role::Assistant).contains("Reading."));
                assert_eq!(read.tools, request.tools, "{to:?}");
                assert!(read.params.values().any(|value| *value == json!(100)), "{to:?} {body}");
                assert!(encoded.lost.iter().any(|lost| lost.contains("reasoning")), "{:?}", encoded.lost);
            }
        }
    }

    #[test]
    fn what_has_no_place_is_told() {
        let mut request = asked(Wire::OpenaiResponses);
        request.tools.push(ToolDef { name: "web_search".into(), description: String::new(), parameters: Value::Null });
        request.params.insert("truncation".into(), json!("auto"));
        request.params.insert("prompt_cache_key".into(), json!("x"));
        request.messages[1].parts.push(Part::Other { value: json!({ "type": "input_audio", "data": "x" }) });
        let lost = encode(Wire::OpenaiResponses, &request, Wire::AnthropicMessages, "claude").lost.join("\n");
        for word in ["web_search", "truncation", "input_audio"] {
            assert!(lost.contains(word), "{word} not in {lost}");
        }
        assert!(!lost.contains("prompt_cache_key"));
    }

    #[test]
    fn pictures_are_carried() {
        let value =
            json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AAAA" } });
        let messages = vec![Message { role: Role::User, parts: vec![Part::Other { value }] }];
        let request = Request { messages, ..Request::default() };
        for (to, word) in [
            (Wire::OpenaiChat, "data:image/png;base64,AAAA"),
            (Wire::OpenaiResponses, "input_image"),
            (Wire::Gemini, "inlineData"),
            (Wire::AnthropicMessages, "media_type"),
        ] {
            let encoded = encode(Wire::AnthropicMessages, &request, to, "m");
            assert!(encoded.body.to_string().contains(word) && encoded.lost.is_empty(), "{to:?} {}", encoded.body);
        }
    }
}
