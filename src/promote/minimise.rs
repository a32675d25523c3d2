//! Delta debugging on a frozen request: what can go without the failure going with it, goes. Exchanges (a call with its
//! results), messages, tools and long texts are tried; whether the failure stays is somebody else's word.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::provider;
use crate::trace::{Message, Part, Wire};

/// Texts longer than this are tried shorter.
const LONG: usize = 400;
/// What stays of a text that is cut: so much of its beginning and of its end.
const KEPT: usize = 120;

/// How large a request is, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Size {
    pub messages: usize,
    pub tools: usize,
    pub bytes: usize,
}

/// A request made small.
#[derive(Debug, Clone, PartialEq)]
pub struct Minimised {
    pub body: Value,
    pub before: Size,
    pub after: Size,
    /// How often it was asked whether the failure is still there.
    pub asked: usize,
}

/// The size of a request.
pub fn size(wire: Wire, body: &Value) -> Size {
    let count = |name: &str| body.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    Size { messages: talk(wire).map_or(0, count), tools: count("tools"), bytes: body.to_string().len() }
}

/// The member that holds the conversation.
fn talk(wire: Wire) -> Option<&'static str> {
    match wire {
        Wire::OpenaiChat | Wire::AnthropicMessages => Some("messages"),
        Wire::OpenaiResponses => Some("input"),
        Wire::Gemini => Some("contents"),
        Wire::Embeddings | Wire::Raw => None,
    }
}

/// Makes a request small. `fails` says whether a smaller one still shows the failure; it is asked `most` times at most.
pub fn minimise(wire: Wire, body: &Value, most: usize, mut fails: impl FnMut(&Value) -> bool) -> Minimised {
    let before = size(wire, body);
    let mut work = Work { wire, body: body.clone(), left: most, fails: &mut fails };
    work.exchanges();
    work.tools();
    work.texts();
    let asked = most - work.left;
    let body = work.body;
    Minimised { after: size(wire, &body), before, body, asked }
}

struct Work<'a> {
    wire: Wire,
    body: Value,
    left: usize,
    fails: &'a mut dyn FnMut(&Value) -> bool,
}

impl Work<'_> {
    /// Takes a smaller body when the failure is still in it.
    fn try_with(&mut self, body: Value) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let still = (self.fails)(&body);
        if still {
            self.body = body;
        }
        still
    }

    fn list(&self, name: &str) -> Vec<Value> {
        self.body.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
    }

    /// Delta debugging: takes away all of so many things at once, then ever smaller portions of what is left, until none of them
    /// can go. `without` makes the body that lacks those whose place in the list says true.
    fn reduce(&mut self, things: usize, without: impl Fn(&[bool]) -> Value) {
        let mut gone = vec![false; things];
        let mut left: Vec<usize> = (0..things).collect();
        let mut portion = things;
        while !left.is_empty() && self.left > 0 {
            let (mut at, mut any) = (0, false);
            while at < left.len() && self.left > 0 {
                let end = (at + portion).min(left.len());
                let mut tried = gone.clone();
                left[at..end].iter().for_each(|thing| tried[*thing] = true);
                if self.try_with(without(&tried)) {
                    gone = tried;
                    left.drain(at..end);
                    any = true;
                } else {
                    at = end;
                }
            }
            if portion > 1 {
                portion = portion.div_ceil(2);
            } else if !any {
                return;
            }
        }
    }

    /// Takes exchanges out.
    fn exchanges(&mut self) {
        let Some(name) = talk(self.wire) else { return };
        let list = self.list(name);
        // Read once: which messages go together doesn't change by taking some of them out.
        let free: Vec<Vec<usize>> =
            units(self.wire, name, &list).into_iter().filter(|unit| unit.free).map(|unit| unit.places).collect();
        let frame = self.frame(name);
        self.reduce(free.len(), |gone| {
            let places =
                free.iter().zip(gone).filter(|(_, gone)| **gone).flat_map(|(places, _)| places.iter().copied());
            let places: HashSet<usize> = places.collect();
            let kept = list.iter().enumerate().filter(|(at, _)| !places.contains(at)).map(|(_, item)| item.clone());
            frame.with(name, kept.collect())
        });
    }

    /// Takes out tools.
    fn tools(&mut self) {
        let all = self.list("tools");
        let frame = self.frame("tools");
        self.reduce(all.len(), |gone| {
            let kept: Vec<Value> =
                all.iter().zip(gone).filter(|(_, gone)| !**gone).map(|(tool, _)| tool.clone()).collect();
            if kept.is_empty() {
                let mut body = frame.0.clone();
                drop(body.as_object_mut().map(|body| (body.remove("tools"), body.remove("tool_choice"))));
                return body;
            }
            frame.with("tools", kept)
        });
    }

    /// Cuts long texts in the middle.
    fn texts(&mut self) {
        let whole = self.body.clone();
        let mut count = 0;
        cut_texts(&mut whole.clone(), &[], &mut count);
        self.reduce(count, |gone| {
            let mut body = whole.clone();
            cut_texts(&mut body, gone, &mut 0);
            body
        });
    }

    /// The body with a list taken out of it, for bodies with shorter lists.
    fn frame(&self, name: &str) -> Frame {
        let mut body = self.body.clone();
        if let Some(list) = body.get_mut(name) {
            *list = Value::Array(Vec::new());
        }
        Frame(body)
    }
}

struct Frame(Value);

impl Frame {
    fn with(&self, name: &str, list: Vec<Value>) -> Value {
        let mut body = self.0.clone();
        if let Some(place) = body.get_mut(name) {
            *place = Value::Array(list);
        }
        body
    }
}

/// Messages that go together: a call and its results.
struct Unit {
    places: Vec<usize>,
    /// Whether it may go: the standing orders and what was asked first stay.
    free: bool,
}

fn units(wire: Wire, name: &str, list: &[Value]) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut asked_by: Vec<(String, usize)> = Vec::new();
    let mut opened = false;
    for (at, item) in list.iter().enumerate() {
        let messages: Vec<Message> = provider::block_messages(wire, name, item.to_string().as_bytes());
        let parts = || messages.iter().flat_map(|message| &message.parts);
        let results: Vec<&str> = parts()
            .filter_map(|part| if let Part::ToolResult(result) = part { Some(result.id.as_str()) } else { None })
            .collect();
        let owner =
            results.iter().find_map(|id| asked_by.iter().rev().find(|(known, _)| known == id)).map(|(_, unit)| *unit);
        // Gemini's results have no ids: they belong to what stands before them.
        let owner = owner.or_else(|| (!results.is_empty() && !units.is_empty()).then(|| units.len() - 1));
        let unit = match owner {
            Some(unit) => {
                units[unit].places.push(at);
                unit
            }
            None => {
                let user = messages.iter().any(|message| message.role == crate::trace::Role::User);
                let orders = messages.iter().any(|message| message.role == crate::trace::Role::System);
                let first = user && !opened;
                opened |= user;
                units.push(Unit { places: vec![at], free: !(first || orders) });
                units.len() - 1
            }
        };
        let calls =
            parts().filter_map(|part| if let Part::ToolCall(call) = part { Some(call.id.clone()) } else { None });
        asked_by.extend(calls.map(|id| (id, unit)));
    }
    units
}

/// Cuts the long texts whose number says so, and counts them all.
fn cut_texts(value: &mut Value, cut: &[bool], count: &mut usize) {
    match value {
        Value::String(text) if text.len() > LONG && text.chars().count() > LONG => {
            if cut.get(*count).copied().unwrap_or(false) {
                let letters: Vec<char> = text.chars().collect();
                let head: String = letters[..KEPT].iter().collect();
                let tail: String = letters[letters.len() - KEPT..].iter().collect();
                *text = format!("{head} [… {} characters left out] {tail}", letters.len() - 2 * KEPT);
            }
            *count += 1;
        }
        Value::Array(items) => items.iter_mut().for_each(|item| cut_texts(item, cut, count)),
        Value::Object(map) => members(map).for_each(|item| cut_texts(item, cut, count)),
        _ => {}
    }
}

/// Members whose text is said to the model; signatures and the like are not cut.
fn members(map: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    let sealed = ["signature", "encrypted_content", "thoughtSignature", "arguments", "data", "id"];
    map.iter_mut().filter(move |(key, _)| !sealed.contains(&key.as_str())).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A conversation of so many exchanges, of which one matters.
    fn long(exchanges: usize, matters: usize) -> Value {
        let mut messages =
            vec![json!({"role": "system", "content": "Be kind."}), json!({"role": "user", "content": "Go."})];
        for n in 0..exchanges {
            let id = format!("call_{n}");
            let path = if n == matters { "the one".to_owned() } else { format!("file {n}") };
            messages.push(json!({"role": "assistant", "content": null, "tool_calls": [{"id": id, "type": "function",
                "function": {"name": "read", "arguments": json!({"path": path}).to_string()}}]}));
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": "x".repeat(1000)}));
        }
        let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {}}});
        json!({"model": "m", "messages": messages, "tools": [tool("read"), tool("write")]})
    }

    #[test]
    fn sixty_exchanges_become_the_one_that_matters() {
        let body = long(60, 41);
        let fails = |body: &Value| {
            let text = body.to_string();
            // The failure needs the call, its result, and its tool.
            text.contains("the one")
                && text.contains("\"call_41\"")
                && text.contains("\"name\":\"read\",\"parameters\"")
        };
        let small = minimise(Wire::OpenaiChat, &body, 10_000, fails);
        assert_eq!((small.before.messages, small.after.messages, small.after.tools), (122, 4, 1), "{}", small.body);
        assert!(small.after.bytes < 1000 && small.body.to_string().contains("characters left out"), "{}", small.body);
        assert!(small.asked < 200, "{}", small.asked);
        let results =
            provider::request(Wire::OpenaiChat, "/v1/chat/completions", small.body.to_string().as_bytes()).unwrap();
        assert_eq!(results.messages.len(), 4, "a call keeps its result");
    }

    #[test]
    fn a_budget_is_kept_and_what_always_matters_stays() {
        let body = long(10, 3);
        assert_eq!(minimise(Wire::OpenaiChat, &body, 0, |_| true).body, body);
        let nothing = minimise(Wire::OpenaiChat, &body, 1000, |_| false);
        assert_eq!(nothing.body, body);
        let all = minimise(Wire::OpenaiChat, &body, 1000, |_| true);
        assert_eq!((all.after.messages, all.after.tools), (2, 0), "orders and the first question stay");
    }
}
