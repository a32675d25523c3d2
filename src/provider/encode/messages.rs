//! A conversation written in each wire format.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::super::parts::{text_of, write_arguments};
use crate::trace::{Message, Part, Role};

/// A conversation with everything in it that any format can say: standing orders apart, every call with an id, every result
/// with its call's id and name.
pub(super) struct Talk {
    pub orders: String,
    pub turns: Vec<Turn>,
}

/// What one side said in one go.
pub(super) struct Turn {
    pub model: bool,
    pub pieces: Vec<Piece>,
}

pub(super) enum Piece {
    Text(String),
    Picture(Picture),
    Call { id: String, name: String, arguments: Value },
    Result { id: String, name: String, text: String, is_error: bool },
}

pub(super) enum Picture {
    Data { mime: String, data: String },
    Url(String),
}

impl Talk {
    pub(super) fn of(messages: &[Message], lost: &mut Vec<String>) -> Self {
        let mut talk = Talk { orders: String::new(), turns: Vec::new() };
        // Calls that wait for their results: id and name.
        let mut open: VecDeque<(String, String)> = VecDeque::new();
        let mut made = 0;
        let mut thoughts = 0;
        for message in messages {
            if message.role == Role::System && talk.turns.is_empty() {
                if !talk.orders.is_empty() {
                    talk.orders.push_str("\n\n");
                }
                talk.orders.push_str(&message.plain_text());
                continue;
            }
            if message.role == Role::System {
                lost.push("standing orders in the middle of the conversation are told as the user's words".to_owned());
            }
            let model = message.role == Role::Assistant;
            for part in &message.parts {
                let piece = match part {
                    Part::Text { text } | Part::Refusal { text } if text.is_empty() => continue,
                    Part::Text { text } | Part::Refusal { text } => Piece::Text(text.clone()),
                    Part::Thinking { .. } => {
                        thoughts += 1;
                        continue;
                    }
                    Part::ToolCall(call) => {
                        let id = if call.id.is_empty() { format!("call_{made}") } else { call.id.clone() };
                        made += 1;
                        open.push_back((id.clone(), call.name.clone()));
                        Piece::Call { id, name: call.name.clone(), arguments: call.arguments.clone() }
                    }
                    Part::ToolResult(result) => {
                        let fits = |(id, name): &(String, String)| match result.id.is_empty() {
                            true => *name == result.name,
                            false => *id == result.id,
                        };
                        let found = open.iter().position(fits).and_then(|at| open.remove(at));
                        let (id, name) = found.unwrap_or_else(|| (result.id.clone(), result.name.clone()));
                        Piece::Result { id, name, text: result.text.clone(), is_error: result.is_error }
                    }
                    Part::Other { value } => match picture(value) {
                        Some(picture) => Piece::Picture(picture),
                        None => {
                            let kind = value.get("type").and_then(Value::as_str).unwrap_or("a part");
                            lost.push(format!("content of a kind only its provider knows: {kind}"));
                            continue;
                        }
                    },
                };
                match talk.turns.last_mut().filter(|turn| turn.model == model) {
                    Some(turn) => turn.pieces.push(piece),
                    None => talk.turns.push(Turn { model, pieces: vec![piece] }),
                }
            }
        }
        if thoughts > 0 {
            lost.push("the model's own reasoning, which no other provider takes".to_owned());
        }
        talk
    }
}

/// A picture, however a format has it.
fn picture(value: &Value) -> Option<Picture> {
    let from_url = |url: &str| {
        let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
        match data {
            Some((mime, data)) => Picture::Data { mime: mime.to_owned(), data: data.to_owned() },
            None => Picture::Url(url.to_owned()),
        }
    };
    let source = &value["source"];
    match text_of(value, "type") {
        "image" if text_of(source, "type") == "base64" => Some(Picture::Data {
            mime: text_of(source, "media_type").to_owned(),
            data: text_of(source, "data").to_owned(),
        }),
        "image" if text_of(source, "type") == "url" => Some(Picture::Url(text_of(source, "url").to_owned())),
        "image_url" => value["image_url"]["url"].as_str().or_else(|| value["image_url"].as_str()).map(from_url),
        "input_image" => value["image_url"].as_str().map(from_url),
        _ => {
            let inline = value.get("inlineData").or_else(|| value.get("inline_data"))?;
            let mime =
                ["mimeType", "mime_type"].iter().map(|key| text_of(inline, key)).find(|mime| !mime.is_empty())?;
            mime.starts_with("image/")
                .then(|| Picture::Data { mime: mime.to_owned(), data: text_of(inline, "data").to_owned() })
        }
    }
}

impl Picture {
    fn url(&self) -> String {
        match self {
            Picture::Data { mime, data } => format!("data:{mime};base64,{data}"),
            Picture::Url(url) => url.clone(),
        }
    }
}

/// Arguments as the object that some formats insist on.
fn object(arguments: &Value) -> Value {
    match arguments {
        Value::Object(_) => arguments.clone(),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(object @ Value::Object(_)) => object,
            _ => json!({ "input": text }),
        },
        other => json!({ "input": other }),
    }
}

pub(super) fn anthropic(talk: &Talk) -> Vec<Value> {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => json!({ "type": "text", "text": text }),
        Piece::Picture(Picture::Data { mime, data }) => {
            json!({ "type": "image", "source": { "type": "base64", "media_type": mime, "data": data } })
        }
        Piece::Picture(Picture::Url(url)) => json!({ "type": "image", "source": { "type": "url", "url": url } }),
        Piece::Call { id, name, arguments } => {
            json!({ "type": "tool_use", "id": plain_id(id), "name": name, "input": object(arguments) })
        }
        Piece::Result { id, text, is_error, .. } => {
            let mut block = json!({ "type": "tool_result", "tool_use_id": plain_id(id), "content": text });
            if *is_error {
                block["is_error"] = json!(true);
            }
            block
        }
    };
    let turn = |turn: &Turn| {
        // Results have to come before anything else.
        let (results, others): (Vec<&Piece>, Vec<&Piece>) =
            turn.pieces.iter().partition(|piece| matches!(piece, Piece::Result { .. }));
        let content: Vec<Value> = results.into_iter().chain(others).map(piece).collect();
        json!({ "role": if turn.model { "assistant" } else { "user" }, "content": content })
    };
    talk.turns.iter().map(turn).collect()
}

/// Anthropic takes letters, digits, `_` and `-` in ids.
fn plain_id(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect()
}

pub(super) fn chat(talk: &Talk) -> Vec<Value> {
    let mut messages = Vec::new();
    if !talk.orders.is_empty() {
        messages.push(json!({ "role": "system", "content": talk.orders }));
    }
    for turn in &talk.turns {
        let mut texts: Vec<&str> = Vec::new();
        let mut content: Vec<Value> = Vec::new();
        let mut calls: Vec<Value> = Vec::new();
        let mut pictures = false;
        for piece in &turn.pieces {
            match piece {
                Piece::Text(text) => {
                    texts.push(text);
                    content.push(json!({ "type": "text", "text": text }));
                }
                Piece::Picture(picture) => {
                    pictures = true;
                    content.push(json!({ "type": "image_url", "image_url": { "url": picture.url() } }));
                }
                Piece::Call { id, name, arguments } => calls.push(json!({
                    "id": id, "type": "function",
                    "function": { "name": name, "arguments": write_arguments(arguments) },
                })),
                Piece::Result { id, text, is_error, .. } => {
                    let text = if *is_error { format!("error: {text}") } else { text.clone() };
                    messages.push(json!({ "role": "tool", "tool_call_id": id, "content": text }));
                }
            }
        }
        let words = match (pictures, content.is_empty()) {
            (_, true) => Value::Null,
            (true, _) => Value::Array(content),
            (false, _) => Value::from(texts.join("\n")),
        };
        let role = if turn.model { "assistant" } else { "user" };
        if !calls.is_empty() {
            messages.push(json!({ "role": role, "content": words, "tool_calls": calls }));
        } else if !words.is_null() {
            messages.push(json!({ "role": role, "content": words }));
        }
    }
    messages
}

pub(super) fn responses(talk: &Talk) -> Vec<Value> {
    let piece = |model: bool, piece: &Piece| {
        let message = |content: Value| json!({ "type": "message", "role": if model { "assistant" } else { "user" }, "content": [content] });
        match piece {
            Piece::Text(text) => {
                message(json!({ "type": if model { "output_text" } else { "input_text" }, "text": text }))
            }
            Piece::Picture(picture) => message(json!({ "type": "input_image", "image_url": picture.url() })),
            Piece::Call { id, name, arguments } => {
                json!({ "type": "function_call", "call_id": id, "name": name, "arguments": write_arguments(arguments) })
            }
            Piece::Result { id, text, is_error, .. } => {
                let output = if *is_error { format!("error: {text}") } else { text.clone() };
                json!({ "type": "function_call_output", "call_id": id, "output": output })
            }
        }
    };
    talk.turns
        .iter()
        .flat_map(|turn| turn.pieces.iter().map(|one| piece(turn.model, one)).collect::<Vec<_>>())
        .collect()
}

pub(super) fn gemini(talk: &Talk) -> Vec<Value> {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => json!({ "text": text }),
        Piece::Picture(Picture::Data { mime, data }) => json!({ "inlineData": { "mimeType": mime, "data": data } }),
        Piece::Picture(Picture::Url(url)) => json!({ "fileData": { "fileUri": url } }),
        Piece::Call { name, arguments, .. } => json!({ "functionCall": { "name": name, "args": object(arguments) } }),
        Piece::Result { name, text, is_error, .. } => {
            let key = if *is_error { "error" } else { "output" };
            json!({ "functionResponse": { "name": name, "response": { key: text } } })
        }
    };
    let turn = |turn: &Turn| {
        let parts: Vec<Value> = turn.pieces.iter().map(piece).collect();
        json!({ "role": if turn.model { "model" } else { "user" }, "parts": parts })
    };
    talk.turns.iter().map(turn).collect()
}
