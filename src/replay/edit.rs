//! A recorded request asked otherwise: of another model, with other parameters or other standing orders, in another wire
//! format where the model speaks one.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::patch::{BadPatch, Patch};
use crate::provider::{self, Encoded};
use crate::trace::{Headers, Message, Part, Request, Role, Wire};

/// A request that cannot be asked otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("the request can't be read as a conversation: {0}")]
    Unreadable(String),
    #[error("there are no standing orders in the request to be patched")]
    NoOrders,
    #[error(transparent)]
    Patch(#[from] BadPatch),
}

/// What is to be different.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edits {
    /// The model as its provider knows it, and the wire format it speaks; the request's own where `None`. A model that speaks
    /// them all (a mock) has [`Wire::Raw`].
    pub model: Option<(String, Wire)>,
    pub set: Map<String, Value>,
    /// Standing orders in place of those there were.
    pub system: Option<String>,
    pub patch: Option<Patch>,
}

/// A request, asked otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Edited {
    pub wire: Wire,
    pub target: String,
    /// Headers of a new wire format; `None` where the client's own fit.
    pub headers: Option<Headers>,
    pub body: Bytes,
    pub lost: Vec<String>,
}

impl Edits {
    /// Makes the changes. Within one wire format nothing else is touched.
    ///
    /// # Errors
    /// When the request can't be read, or a patch does not fit.
    pub fn apply(&self, wire: Wire, target: &str, body: &[u8]) -> Result<Edited, Unfit> {
        let to = self.model.as_ref().map(|(_, to)| *to).filter(|to| *to != Wire::Raw).unwrap_or(wire);
        if to == wire {
            return self.within(wire, target, body);
        }
        let unreadable = |error: provider::Unreadable| Unfit::Unreadable(error.to_string());
        let mut request = provider::request(wire, target, body).map_err(unreadable)?;
        self.orders(&mut request)?;
        let model = self.model.as_ref().map(|(model, _)| model.as_str()).unwrap_or_default();
        let Encoded { target, headers, body, lost } = provider::encode(wire, &request, to, model);
        let mut body = match body {
            Value::Object(body) => body,
            _ => Map::new(),
        };
        provider::set_params(to, &mut body, &self.set);
        let body = Bytes::from(Value::Object(body).to_string());
        Ok(Edited { wire: to, target, headers: Some(headers), body, lost })
    }

    fn within(&self, wire: Wire, target: &str, body: &[u8]) -> Result<Edited, Unfit> {
        let read: Value = serde_json::from_slice(body).map_err(|error| Unfit::Unreadable(error.to_string()))?;
        let Value::Object(mut body) = read else { return Err(Unfit::Unreadable("it is not an object".to_owned())) };
        let mut target = target.to_owned();
        if let Some((model, _)) = &self.model {
            if wire == Wire::Gemini {
                let stream = target.contains(":streamGenerateContent");
                target = provider::target(wire, model, stream);
            } else {
                body.insert("model".to_owned(), json!(model));
            }
        }
        provider::set_params(wire, &mut body, &self.set);
        if let Some(system) = &self.system {
            replace_orders(wire, &mut body, system);
        }
        if let Some(patch) = &self.patch {
            patch_orders(wire, &mut body, patch)?;
        }
        let body = Bytes::from(Value::Object(body).to_string());
        Ok(Edited { wire, target, headers: None, body, lost: Vec::new() })
    }

    /// The same on a request that was read.
    fn orders(&self, request: &mut Request) -> Result<(), Unfit> {
        if let Some(system) = &self.system {
            request.messages.retain(|message| message.role != Role::System);
            request.messages.insert(0, Message::text(Role::System, system.as_str()));
        }
        let Some(patch) = &self.patch else { return Ok(()) };
        let parts = request.messages.iter_mut().filter(|message| message.role == Role::System);
        let texts = parts.flat_map(|message| &mut message.parts).filter_map(|part| match part {
            Part::Text { text } => Some(text),
            _ => None,
        });
        patch_one(texts, patch)
    }
}

/// Patches the first text that the patch fits.
fn patch_one<'a>(texts: impl Iterator<Item = &'a mut String>, patch: &Patch) -> Result<(), Unfit> {
    let mut why = Unfit::NoOrders;
    for text in texts {
        match patch.apply(text) {
            Ok(patched) => {
                *text = patched;
                return Ok(());
            }
            Err(error) => why = error.into(),
        }
    }
    Err(why)
}

const ORDERS: [&str; 4] = ["system", "instructions", "systemInstruction", "system_instruction"];

fn is_order(message: &Value) -> bool {
    matches!(message["role"].as_str(), Some("system" | "developer"))
}

fn replace_orders(wire: Wire, body: &mut Map<String, Value>, system: &str) {
    body.retain(|name, _| !ORDERS.contains(&name.as_str()));
    let list = if wire == Wire::OpenaiResponses { "input" } else { "messages" };
    if let Some(Value::Array(messages)) = body.get_mut(list) {
        messages.retain(|message| !is_order(message));
    }
    match wire {
        Wire::AnthropicMessages => drop(body.insert("system".to_owned(), json!(system))),
        Wire::Gemini => drop(body.insert("systemInstruction".to_owned(), json!({ "parts": [{ "text": system }] }))),
        Wire::OpenaiResponses => drop(body.insert("instructions".to_owned(), json!(system))),
        Wire::OpenaiChat | Wire::Embeddings | Wire::Raw => {
            if let Some(Value::Array(messages)) = body.get_mut("messages") {
                messages.insert(0, json!({ "role": "system", "content": system }));
            }
        }
    }
}

fn patch_orders(wire: Wire, body: &mut Map<String, Value>, patch: &Patch) -> Result<(), Unfit> {
    let mut texts: Vec<&mut String> = Vec::new();
    let list = if wire == Wire::OpenaiResponses { "input" } else { "messages" };
    for (name, value) in body.iter_mut() {
        if ORDERS.contains(&name.as_str()) {
            texts_of(value, &mut texts);
        } else if name == list
            && let Value::Array(messages) = value
        {
            for message in messages.iter_mut().filter(|message| is_order(message)) {
                if let Some(content) = message.get_mut("content") {
                    texts_of(content, &mut texts);
                }
            }
        }
    }
    patch_one(texts.into_iter(), patch)
}

/// The texts of a string, of a list of blocks, of `parts`.
fn texts_of<'a>(value: &'a mut Value, texts: &mut Vec<&'a mut String>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter_mut().for_each(|item| texts_of(item, texts)),
        Value::Object(map) => {
            for (_, inner) in map.iter_mut().filter(|(key, _)| matches!(key.as_str(), "text" | "parts" | "content")) {
                texts_of(inner, texts);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies() -> [(Wire, &'static str, Value); 4] {
        [
            (
                Wire::OpenaiChat,
                "/v1/chat/completions",
                json!({"model": "m", "x": 1, "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}]}),
            ),
            (
                Wire::AnthropicMessages,
                "/v1/messages",
                json!({"model": "m", "x": 1, "system": [{"type": "text", "text": "Be kind."}], "messages": [{"role": "user", "content": "hi"}]}),
            ),
            (
                Wire::OpenaiResponses,
                "/v1/responses",
                json!({"model": "m", "x": 1, "instructions": "Be kind.", "input": [{"role": "user", "content": "hi"}]}),
            ),
            (
                Wire::Gemini,
                "/v1beta/models/m:generateContent",
                json!({"x": 1, "systemInstruction": {"parts": [{"text": "Be kind."}]}, "contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
            ),
        ]
    }

    #[test]
    fn within_a_format_only_what_is_asked_for_changes_and_across_formats_it_is_the_same() {
        let set = [("temperature".to_owned(), json!(0))].into_iter().collect::<Map<_, _>>();
        for (wire, target, body) in bodies() {
            for (to, _, _) in bodies() {
                let patch = Some(Patch::parse("replace: [{find: kind, with: brief}]").unwrap());
                let edits = Edits { model: Some(("new".into(), to)), set: set.clone(), system: None, patch };
                let edited = edits.apply(wire, target, body.to_string().as_bytes()).unwrap();
                let read = provider::request(to, &edited.target, &edited.body).unwrap();
                assert_eq!((read.model.as_str(), edited.wire), ("new", to));
                assert_eq!(read.params["temperature"], 0, "{to:?}");
                assert_eq!(read.messages[0].plain_text(), "Be brief.", "{wire:?} {to:?}");
                assert_eq!(read.messages.last().unwrap().plain_text(), "hi");
                assert_eq!(edited.headers.is_none(), wire == to);
                if wire == to {
                    assert_eq!(read.params["x"], 1);
                } else {
                    assert!(edited.lost.iter().any(|lost| lost.contains("parameter x")), "{:?}", edited.lost);
                }
            }
            let edits = Edits { system: Some("Other.".into()), ..Edits::default() };
            let edited = edits.apply(wire, target, body.to_string().as_bytes()).unwrap();
            let read = provider::request(wire, &edited.target, &edited.body).unwrap();
            assert_eq!((read.messages.len(), read.messages[0].plain_text().as_str()), (2, "Other."), "{wire:?}");
        }
    }

    #[test]
    fn a_patch_that_fits_nowhere_and_a_body_that_is_none_are_told() {
        let edits = Edits { patch: Some(Patch::parse("append: x").unwrap()), ..Edits::default() };
        assert_eq!(edits.apply(Wire::OpenaiChat, "/", b"{\"messages\":[]}"), Err(Unfit::NoOrders));
        assert!(matches!(edits.apply(Wire::OpenaiChat, "/", b"[]"), Err(Unfit::Unreadable(_))));
    }
}
