//! The request records that Claude Code keeps in its transcripts: a shape (system and tools), messages by their hash, and each
//! request as what it keeps of an earlier one and adds. Put together they are the requests that were sent.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::shape::text;
use crate::context::normal_bytes;

/// Requests that a later one may be built on.
const REMEMBERED: usize = 256;
/// Bytes of messages that are remembered.
const MOST: usize = 96 << 20;

/// What is known of a session's requests.
#[derive(Default)]
pub struct Requests {
    shapes: HashMap<String, Value>,
    /// Hash to message: as it is, and as it may be kept.
    messages: HashMap<String, Bytes>,
    weight: usize,
    known: VecDeque<(String, Vec<String>)>,
    open: HashMap<String, Value>,
}

/// A request, put together.
pub struct Request {
    pub body: Bytes,
    pub betas: Vec<String>,
}

/// SHA-256 of the JSON with its keys sorted, written compactly, without cache marks.
fn hash(message: &Value) -> String {
    Sha256::digest(normal_bytes(message)).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Requests {
    /// Takes a record; false when it is none of these.
    pub fn take(&mut self, record: &Value, hide: impl Fn(Bytes) -> Bytes) -> bool {
        match text(record, "type") {
            "api-request-shape" => {
                self.shapes.insert(text(record, "shapeHash").to_owned(), record["shape"].clone());
            }
            "api-request-blob" => {
                let message = hide(record["message"].to_string().into());
                self.remember(text(record, "hash").to_owned(), message);
            }
            "api-request" => {
                let list = |value: &Value| -> Vec<String> {
                    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
                };
                let base = text(record, "base");
                let keep = record["keep"].as_u64().and_then(|keep| usize::try_from(keep).ok()).unwrap_or(0);
                let base = self.known.iter().rev().find(|(id, _)| id == base);
                let mut messages: Vec<String> =
                    base.map(|(_, all)| all.iter().take(keep).cloned().collect()).unwrap_or_default();
                if messages.len() < keep {
                    // What it is built on is not in the file: a hash that nothing has.
                    messages = vec![String::new()];
                }
                messages.extend(list(&record["tail"]));
                let id = text(record, "id").to_owned();
                self.open.insert(id.clone(), record.clone());
                self.known.push_back((id, messages));
                if self.known.len() > REMEMBERED
                    && let Some((id, _)) = self.known.pop_front()
                {
                    self.open.remove(&id);
                }
            }
            _ => return false,
        }
        true
    }

    fn remember(&mut self, hash: String, message: Bytes) {
        self.weight += message.len();
        if self.weight > MOST {
            self.messages.clear();
            self.weight = message.len();
        }
        self.messages.insert(hash, message);
    }

    /// Learns a message of the transcript itself.
    pub fn learn(&mut self, message: &Value, hide: impl Fn(Bytes) -> Bytes) {
        self.remember(hash(message), hide(message.to_string().into()));
    }

    /// The request with this id, when all of it is known.
    pub fn request(&self, id: &str, hide: impl Fn(Bytes) -> Bytes) -> Option<Request> {
        let record = self.open.get(id)?;
        let (_, hashes) = self.known.iter().rev().find(|(known, _)| known == id)?;
        let mut messages: Vec<Bytes> =
            hashes.iter().map(|hash| self.messages.get(hash).cloned()).collect::<Option<_>>()?;
        let shape = self.shapes.get(text(record, "shapeHash"))?;
        let mut head = record["params"].as_object().cloned().unwrap_or_default();
        let betas =
            head.remove("betas").map(|betas| serde_json::from_value(betas).unwrap_or_default()).unwrap_or_default();
        for key in ["system", "tools"] {
            if let Some(value) = shape.get(key) {
                head.insert(key.to_owned(), value.clone());
            }
        }
        head.entry("stream").or_insert(json!(true));
        for mark in record["cacheControl"].as_array().into_iter().flatten() {
            let path = mark["path"].as_array().map(Vec::as_slice).unwrap_or_default();
            put_mark(&mut head, &mut messages, path, &mark["value"]);
        }
        let mut body = hide(Value::Object(head).to_string().into()).to_vec();
        body.pop();
        body.extend_from_slice(b",\"messages\":[");
        body.extend_from_slice(&messages.join(&b","[..]));
        body.extend_from_slice(b"]}");
        Some(Request { body: body.into(), betas })
    }
}

/// Puts a cache mark back where it stood.
fn put_mark(head: &mut Map<String, Value>, messages: &mut [Bytes], path: &[Value], mark: &Value) {
    let at = |value: &Value| value.as_u64().and_then(|at| usize::try_from(at).ok());
    let Some((Value::String(first), rest)) = path.split_first() else { return };
    if first == "messages" {
        let Some((message, rest)) =
            rest.split_first().and_then(|(index, rest)| Some((messages.get_mut(at(index)?)?, rest)))
        else {
            return;
        };
        if let Ok(mut value) = serde_json::from_slice::<Value>(message) {
            walk(&mut value, rest, mark);
            *message = value.to_string().into();
        }
    } else if let Some(value) = head.get_mut(first) {
        walk(value, rest, mark);
    }
}

fn walk(value: &mut Value, path: &[Value], mark: &Value) {
    let mut here = value;
    for step in path {
        if step == "cache_control" {
            break;
        }
        let next = match step {
            Value::String(key) => here.get_mut(key.as_str()),
            Value::Number(index) => {
                index.as_u64().and_then(|at| usize::try_from(at).ok()).and_then(|at| here.get_mut(at))
            }
            _ => None,
        };
        let Some(next) = next else { return };
        here = next;
    }
    if let Value::Object(object) = here {
        object.insert("cache_control".to_owned(), mark.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_put_together_from_what_they_keep_and_add() {
        let hide = |bytes: Bytes| bytes;
        let mut all = Requests::default();
        let hello = json!({"role": "user", "content": "hi"});
        let answer = json!({"role": "assistant", "content": [{"type": "text", "text": "ho"}]});
        let more = json!({"role": "user", "content": [{"type": "text", "text": "and?"}]});
        assert!(all.take(&json!({"type": "api-request-shape", "shapeHash": "s", "shape": {"system": [{"type": "text", "text": "be good"}], "tools": []}}), hide));
        assert!(all.take(&json!({"type": "api-request-blob", "hash": hash(&hello), "message": hello}), hide));
        let one = json!({"type": "api-request", "id": "1", "shapeHash": "s", "keep": 0, "tail": [hash(&hello)],
            "params": {"model": "m", "betas": ["b"]}, "cacheControl": [{"path": ["system", 0], "value": {"type": "ephemeral"}}]});
        assert!(all.take(&one, hide));
        let two = json!({"type": "api-request", "id": "2", "base": "1", "shapeHash": "s", "keep": 1,
            "tail": [hash(&answer), hash(&more)], "params": {"model": "m"},
            "cacheControl": [{"path": ["messages", 2, "content", 0], "value": {"type": "ephemeral"}}]});
        assert!(all.take(&two, hide));
        assert!(!all.take(&json!({"type": "user"}), hide));
        let first = all.request("1", hide).unwrap();
        assert_eq!(first.betas, ["b"]);
        let body: Value = serde_json::from_slice(&first.body).unwrap();
        assert_eq!(body["system"][0]["cache_control"]["type"], "ephemeral");
        assert!(all.request("2", hide).is_none(), "its messages are not known yet");
        all.learn(&answer, hide);
        all.learn(&more, hide);
        let body: Value = serde_json::from_slice(&all.request("2", hide).unwrap().body).unwrap();
        assert_eq!((body["messages"].as_array().unwrap().len(), &body["messages"][1]), (3, &answer));
        assert_eq!(body["messages"][2]["content"][0]["cache_control"]["type"], "ephemeral");
        let lost = json!({"type": "api-request", "id": "3", "base": "9", "shapeHash": "s", "keep": 1, "tail": [], "params": {}});
        assert!(all.take(&lost, hide) && all.request("3", hide).is_none());
    }
}
