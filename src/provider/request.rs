//! Reads request bodies, whole and by block.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::detect::model_in_path;
use super::lax::{Fields, elements};
use super::parts::tool_defs;
use super::{Unreadable, anthropic, gemini, openai_chat, openai_responses};
use crate::trace::{Message, Part, Request, Role, ToolDef, Wire};

/// Reads a request body (decoded, no content-encoding). Raw calls have no conversation: theirs is empty.
///
/// # Errors
/// When the body isn't a JSON object.
pub fn request(wire: Wire, target: &str, body: &[u8]) -> Result<Request, Unreadable> {
    if wire == Wire::Raw {
        return Ok(Request::default());
    }
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let text = String::from_utf8_lossy(body);
    let outer: Fields<'_> = match serde_json::from_str(&text) {
        Ok(fields) => fields,
        Err(_) if serde_json::from_str::<&RawValue>(&text).is_ok() => return Err(Unreadable::NotAnObject),
        Err(error) => return Err(Unreadable::NotJson { reason: error.to_string() }),
    };
    // Code Assist wraps a Gemini request, a WebSocket event may wrap a Responses request.
    let wrapper = match wire {
        Wire::Gemini if outer.get(&["contents"]).is_none() => outer.get(&["request"]),
        Wire::OpenaiResponses if outer.get(&["input"]).is_none() => outer.get(&["response"]),
        _ => None,
    };
    let inner: Option<Fields<'_>> = wrapper.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let fields = inner.as_ref().unwrap_or(&outer);
    let mut request = Request {
        model: fields.text(&["model"]).or_else(|| outer.text(&["model"])).unwrap_or_default(),
        stream: streams(wire, target, fields),
        ..Request::default()
    };
    if request.model.is_empty() || wire == Wire::Gemini {
        // Gemini bodies repeat the model as `models/NAME` when they have it at all.
        let named = model_in_path(target).unwrap_or(request.model);
        request.model = named.strip_prefix("models/").map(str::to_owned).unwrap_or(named);
    }
    let (systems, conversation) = arrays(wire);
    for names in [systems, conversation] {
        if let Some(raw) = names.iter().find_map(|name| fields.get(&[name])) {
            let name = names.iter().find(|name| fields.get(&[name]).is_some()).copied().unwrap_or_default();
            for element in elements(raw) {
                request.messages.extend(block_messages(wire, name, element.get().as_bytes()));
            }
        }
    }
    for raw in [fields.get(&["tools"]), fields.get(&["functions"])].into_iter().flatten() {
        for element in elements(raw) {
            request.tools.extend(block_tools(wire, element.get().as_bytes()));
        }
    }
    request.params = params(wire, fields);
    Ok(request)
}

/// The fields that hold the standing orders and the conversation; of several spellings the first that is there counts.
fn arrays(wire: Wire) -> (&'static [&'static str], &'static [&'static str]) {
    match wire {
        Wire::OpenaiChat => (&[], &["messages"]),
        Wire::OpenaiResponses => (&["instructions"], &["input"]),
        Wire::AnthropicMessages => (&["system"], &["messages"]),
        Wire::Gemini => (&["systemInstruction", "system_instruction"], &["contents"]),
        Wire::Embeddings => (&[], &[]),
        Wire::Raw => (&[], &[]),
    }
}

fn streams(wire: Wire, target: &str, fields: &Fields<'_>) -> bool {
    match wire {
        Wire::Gemini => target.contains(":streamGenerateContent"),
        _ => fields.get(&["stream"]).is_some_and(|raw| raw.get() == "true"),
    }
}

/// What is neither conversation nor tools, under the names the wire gives it; Gemini's are in a folder of their own, which
/// is opened. What is embedded or ranked is content, not a parameter.
fn params(wire: Wire, fields: &Fields<'_>) -> Map<String, Value> {
    let (systems, conversation) = arrays(wire);
    let content: &[&str] = match wire {
        Wire::Embeddings => {
            &["input", "inputs", "texts", "images", "documents", "query", "content", "requests", "instances"]
        }
        _ => &[],
    };
    let elsewhere = ["model", "stream", "tools", "functions", "type"];
    let mut params = Map::new();
    for (name, raw) in &fields.0 {
        let name = name.as_str();
        let taken = [systems, conversation, content, elsewhere.as_slice()].iter().any(|names| names.contains(&name));
        let value: Option<Value> = (!taken).then(|| serde_json::from_str(raw.get()).ok()).flatten();
        match value {
            None => {}
            Some(Value::Object(inner)) if matches!(name, "generationConfig" | "generation_config") => {
                params.extend(inner);
            }
            Some(value) => {
                params.insert(name.to_owned(), value);
            }
        }
    }
    params
}

/// The messages in one element of a request's conversation. `array` is the field it stands in: `messages`, `system`,
/// `input`, `instructions`, `contents`, `systemInstruction`; where that field is a string or an object, `raw` is all of it.
/// [`request`] gives the same messages in the same order.
///
/// What can't be read as JSON (it nests too deep, say) is one user message with the text in it as it came.
pub fn block_messages(wire: Wire, array: &str, raw: &[u8]) -> Vec<Message> {
    let value = match parsed(raw) {
        Ok(value) => value,
        Err(text) => {
            return vec![Message { role: Role::User, parts: vec![Part::Other { value: Value::String(text) }] }];
        }
    };
    match (wire, array) {
        (Wire::OpenaiChat, _) => openai_chat::messages(value),
        (Wire::OpenaiResponses, "instructions") => openai_responses::instructions(value),
        (Wire::OpenaiResponses, _) => openai_responses::messages(value),
        (Wire::AnthropicMessages, "system") => anthropic::system(value),
        (Wire::AnthropicMessages, _) => anthropic::messages(value),
        (Wire::Gemini, "systemInstruction" | "system_instruction") => gemini::system(value),
        (Wire::Gemini, _) => gemini::messages(value),
        (Wire::Embeddings | Wire::Raw, _) => Vec::new(),
    }
}

/// The tools in one element of a request's `tools`.
pub fn block_tools(wire: Wire, raw: &[u8]) -> Vec<ToolDef> {
    match wire {
        Wire::Embeddings | Wire::Raw => Vec::new(),
        _ => match parsed(raw) {
            Ok(value) => tool_defs(value),
            Err(text) => tool_defs(Value::String(text)),
        },
    }
}

fn parsed(raw: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(raw).or_else(|_| {
        let text = String::from_utf8_lossy(raw).into_owned();
        serde_json::from_str(&text).map_err(|_| text)
    })
}

/// Joins the messages of one speaker that stand side by side: wire formats differ in where they cut what was said in one
/// go, and a comparison shouldn't care.
pub fn joined(messages: Vec<Message>) -> Vec<Message> {
    let mut all: Vec<Message> = Vec::new();
    for message in messages {
        match all.last_mut().filter(|last| last.role == message.role) {
            Some(last) => last.parts.extend(message.parts),
            None => all.push(message),
        }
    }
    all
}
