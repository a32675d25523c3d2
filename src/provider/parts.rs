//! What all wire formats share: building parts from pieces, tools, tool results, errors.

use serde_json::{Map, Value, json};

use crate::trace::{Message, Part, ProviderError, Role, ToolCall, ToolDef, ToolResult};

/// A part that is still coming in.
#[derive(Debug, Clone)]
pub enum Draft {
    Text(String),
    Thinking { text: String, signature: String },
    Refusal(String),
    Call { id: String, name: String, arguments: String },
    Whole(Part),
}

impl Draft {
    /// The part; none when nothing came for it.
    pub fn into_part(self) -> Option<Part> {
        match self {
            Draft::Text(text) => (!text.is_empty()).then_some(Part::Text { text }),
            Draft::Thinking { text, signature } => {
                (!text.is_empty() || !signature.is_empty()).then_some(Part::Thinking { text, signature })
            }
            Draft::Refusal(text) => (!text.is_empty()).then_some(Part::Refusal { text }),
            Draft::Call { id, name, arguments } => {
                Some(Part::ToolCall(ToolCall { id, name, arguments: read_arguments(arguments) }))
            }
            Draft::Whole(part) => Some(part),
        }
    }
}

/// The assistant's message made of these parts; none when there are none.
pub fn assistant(parts: Vec<Part>) -> Option<Message> {
    (!parts.is_empty()).then_some(Message { role: Role::Assistant, parts })
}

/// A tool call's arguments from their text. No text at all means no arguments; text that isn't JSON is kept as it is.
pub fn read_arguments(text: String) -> Value {
    if text.trim().is_empty() {
        return Value::Object(Map::new());
    }
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

/// A tool call's arguments as the text they came in.
pub fn write_arguments(arguments: &Value) -> String {
    match arguments {
        Value::String(raw) => raw.clone(),
        other => other.to_string(),
    }
}

/// Takes a field out of an object as text; empty when it is something else.
pub fn take_text(object: &mut Map<String, Value>, name: &str) -> String {
    match object.remove(name) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    }
}

/// The field's text; empty when it is something else.
pub fn text_of<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A role by the word any wire has for it.
pub fn role(word: &str) -> Option<Role> {
    match word {
        "system" | "developer" => Some(Role::System),
        "user" | "human" => Some(Role::User),
        "assistant" | "model" | "ai" => Some(Role::Assistant),
        "tool" | "function" => Some(Role::Tool),
        _ => None,
    }
}

/// Reads the content of a message: a string, or a list whose elements `part` reads.
pub fn content(value: Value, mut part: impl FnMut(Value) -> Vec<Part>) -> Vec<Part> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => vec![Part::Text { text }],
        Value::Array(list) => list.into_iter().flat_map(part).collect(),
        other => part(other),
    }
}

/// A tool's result with the text of `content` in it; what isn't text follows as it came.
pub fn tool_result(id: String, name: String, is_error: bool, body: Value) -> Vec<Part> {
    let mut texts = Vec::new();
    let mut others = Vec::new();
    match body {
        Value::Null => {}
        Value::String(text) => texts.push(text),
        Value::Array(list) if list.iter().all(|item| item.is_string() || item.get("type").is_some()) => {
            for mut item in list {
                match item.get_mut("text").map(Value::take).or_else(|| item.is_string().then(|| item.take())) {
                    Some(Value::String(text)) => texts.push(text),
                    _ => others.push(Part::Other { value: item }),
                }
            }
        }
        other => texts.push(other.to_string()),
    }
    let mut parts = vec![Part::ToolResult(ToolResult { id, name, text: texts.join("\n"), is_error })];
    parts.append(&mut others);
    parts
}

/// The tools in one element of any wire's `tools`.
pub fn tool_defs(value: Value) -> Vec<ToolDef> {
    let Value::Object(mut object) = value else {
        return vec![ToolDef { name: String::new(), description: String::new(), parameters: value }];
    };
    let declared = object.remove("functionDeclarations").or_else(|| object.remove("function_declarations"));
    if let Some(Value::Array(list)) = declared {
        return list.into_iter().flat_map(tool_defs).collect();
    }
    let mut kind = take_text(&mut object, "type");
    if kind.is_empty() {
        // Gemini names its built-in tools by the only key there is: {"googleSearch": {}}.
        kind = object.keys().next().cloned().unwrap_or_default();
    }
    let mut inner = match object.remove("function").or_else(|| object.remove("custom")) {
        Some(Value::Object(inner)) => inner,
        _ => object,
    };
    let name = Some(take_text(&mut inner, "name")).filter(|name| !name.is_empty()).unwrap_or(kind);
    let description = take_text(&mut inner, "description");
    let schemas =
        ["parameters", "input_schema", "parametersJsonSchema", "parameters_json_schema", "inputSchema", "format"];
    let parameters = schemas.iter().find_map(|key| inner.remove(*key)).unwrap_or_default();
    vec![ToolDef { name, description, parameters }]
}

/// The provider's error in a JSON body or event, in any of the shapes they use; none when there is none in it.
pub fn provider_error(value: &Value) -> Option<ProviderError> {
    if let Value::Array(list) = value {
        return list.iter().find_map(provider_error);
    }
    let error = match value.get("error") {
        Some(Value::String(message)) => {
            return Some(ProviderError { kind: text_of(value, "type").to_owned(), message: message.clone() });
        }
        Some(error @ Value::Object(_)) => error,
        _ if value.get("type").and_then(Value::as_str) == Some("error") => value,
        _ => return None,
    };
    let kind = ["status", "code", "type"].iter().map(|key| text_of(error, key)).find(|word| !word.is_empty());
    let message = match text_of(error, "message") {
        "" => error.to_string(),
        message => message.to_owned(),
    };
    Some(ProviderError { kind: kind.unwrap_or_default().to_owned(), message })
}

/// The error of a failed status from whatever body came with it.
pub fn http_error(status: u16, body: &[u8]) -> ProviderError {
    const LONGEST: usize = 500;
    let text = String::from_utf8_lossy(body);
    let parsed: Option<Value> = serde_json::from_str(&text).ok();
    if let Some(error) = parsed.as_ref().and_then(provider_error) {
        return error;
    }
    let said = parsed.as_ref().and_then(|value| {
        let words = ["message", "detail", "Message", "error_description"].iter().map(|key| text_of(value, key));
        words.map(str::to_owned).find(|word| !word.is_empty())
    });
    let said = said.unwrap_or_else(|| text.trim().chars().take(LONGEST).collect());
    let message = if said.is_empty() { format!("HTTP {status}") } else { said };
    ProviderError { kind: String::new(), message }
}

/// An error the way OpenAI words it.
pub fn openai_error(error: &ProviderError) -> Value {
    json!({ "message": error.message, "type": error.kind, "param": null, "code": error.kind })
}

/// Cuts a text the way models stream: word by word, long words in pieces. Joined they are the text again.
pub fn pieces(text: &str) -> Vec<&str> {
    const LONGEST: usize = 24;
    let mut all = Vec::new();
    for mut word in text.split_inclusive(' ') {
        while word.len() > LONGEST {
            let (head, tail) = word.split_at(word.floor_char_boundary(LONGEST));
            all.push(head);
            word = tail;
        }
        all.push(word);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_text_again() {
        for text in ["", "a", "two words", "ümläuts without any space between them häää", "  x  "] {
            assert_eq!(pieces(text).concat(), text);
        }
    }

    #[test]
    fn errors_of_every_shape_are_understood() {
        let cases = [
            (r#"{"error":{"message":"m","type":"t","code":null}}"#, "t", "m"),
            (r#"{"error":{"message":"m","type":"t","code":"c"}}"#, "c", "m"),
            (r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#, "overloaded_error", "m"),
            (r#"[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}]"#, "RESOURCE_EXHAUSTED", "m"),
            (r#"{"type":"error","code":"server_error","message":"m"}"#, "server_error", "m"),
            (r#"{"error":"m"}"#, "", "m"),
            (r#"{"detail":"m"}"#, "", "m"),
            ("<html>no</html>", "", "<html>no</html>"),
            ("", "", "HTTP 500"),
        ];
        for (body, kind, message) in cases {
            let expected = ProviderError { kind: kind.to_owned(), message: message.to_owned() };
            assert_eq!(http_error(500, body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn tools_of_every_wire_read_alike() {
        let schema = json!({ "type": "object" });
        let cases = [
            json!({ "type": "function", "function": { "name": "ls", "description": "d", "parameters": schema } }),
            json!({ "type": "function", "name": "ls", "description": "d", "parameters": schema }),
            json!({ "name": "ls", "description": "d", "input_schema": schema }),
            json!({ "functionDeclarations": [{ "name": "ls", "description": "d", "parametersJsonSchema": schema }] }),
        ];
        let expected = ToolDef { name: "ls".into(), description: "d".into(), parameters: schema };
        for case in cases {
            assert_eq!(tool_defs(case.clone()), std::slice::from_ref(&expected), "{case}");
        }
        assert_eq!(tool_defs(json!({ "type": "web_search" }))[0].name, "web_search");
        assert_eq!(tool_defs(json!({ "googleSearch": {} }))[0].name, "googleSearch");
        assert_eq!(tool_defs(json!({ "type": "bash_20250124", "name": "bash" }))[0].name, "bash");
        assert_eq!(tool_defs(json!(7))[0].parameters, json!(7));
    }

    #[test]
    fn a_tool_result_is_text_whatever_it_came_as() {
        let cases = [
            (json!("t"), "t", 1),
            (json!(null), "", 1),
            (json!([{ "type": "text", "text": "a" }, { "type": "input_text", "text": "b" }, "c"]), "a\nb\nc", 1),
            (json!([{ "type": "text", "text": "a" }, { "type": "image", "source": {} }]), "a", 2),
            (json!([1, 2]), "[1,2]", 1),
            (json!({ "x": 1 }), "{\"x\":1}", 1),
        ];
        for (body, text, count) in cases {
            let parts = tool_result("id".into(), String::new(), false, body.clone());
            assert_eq!(parts.len(), count, "{body}");
            assert!(matches!(&parts[0], Part::ToolResult(result) if result.text == text), "{body}: {parts:?}");
        }
    }
}
