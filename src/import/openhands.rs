//! OpenHands: its evaluation output, one instance a line, and its event histories. A call is known by the response that the
//! events it led to carry with them; the usage of each stands in the metrics.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::lines::{Line, Lines};
use super::shape::text;
use super::thread::Thread;
use super::{About, Desk, Format, Shape, Source, Told, Trouble, chat, desk, openhands_sdk, said, time, usage};
use crate::provider;
use crate::trace::{Headers, Message, Part, Role, Source as From, Timestamp, ToolResult, TraceId, Wire};

pub const FORMAT: Format =
    Format { name: "openhands", about: "OpenHands evaluation output and event histories", fits, read };

const WHY: &str = "a history keeps events, not requests: they are put together from it";

fn fits(shape: &Shape<'_>) -> bool {
    let line = |line: &Value| {
        line["history"].is_array() && (line.get("instance_id").is_some() || line.get("metrics").is_some())
    };
    let event = |line: &Value| {
        line.get("source").is_some() && (line.get("action").is_some() || line.get("observation").is_some())
    };
    shape.line(line)
        || shape.line(event)
        || shape.line(openhands_sdk::is_event)
        || shape.all(&["history[].kind", "instance_id"])
        || (shape.all(&["instance_id", "history[].source"]))
        || (shape.has("[].source") && (shape.has("[].action") || shape.has("[].observation")))
}

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let modified = source.modified;
    let mut loose = Vec::new();
    let mut first = [0_u8; 1];
    let head = source.from.fill_buf()?;
    first[0] = head.iter().copied().find(|byte| !byte.is_ascii_whitespace()).unwrap_or(b'{');
    if first[0] == b'[' {
        let events = super::document(source.from)?;
        let events = events.as_array().cloned().unwrap_or_default();
        return instance(desk, &json!({ "history": events }), modified);
    }
    let mut lines = Lines::new(&mut *source.from);
    while let Some(line) = lines.next()? {
        let Line::Whole { bytes, last } = line else {
            desk.skipped("a line that is too long");
            continue;
        };
        match serde_json::from_slice::<Value>(bytes) {
            Ok(value) if value["history"].is_array() => {
                instance(desk, &value, modified)?;
                desk.used();
            }
            Ok(value) if value.get("source").is_some() => {
                loose.push(value);
                desk.used();
            }
            Ok(_) => desk.skipped("lines without a history"),
            Err(_) if last => desk.skipped("a last line that was cut off"),
            Err(_) => desk.damaged(),
        }
    }
    if loose.is_empty() { Ok(()) } else { instance(desk, &json!({ "history": loose }), modified) }
}

struct Telling<'a> {
    trace: TraceId,
    model: String,
    thread: Thread,
    tools: Vec<Value>,
    last: Timestamp,
    /// Counts of each response, by its id.
    counts: HashMap<&'a str, &'a Value>,
    told: HashSet<String>,
    at: Timestamp,
}

fn instance(desk: &mut Desk<'_>, whole: &Value, otherwise: Timestamp) -> Result<(), Trouble> {
    // Older versions pair each action with its observation.
    let events: Vec<&Value> = whole["history"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|event| match event {
            Value::Array(pair) => pair.iter().collect::<Vec<_>>(),
            one => vec![one],
        })
        .collect();
    let began = events.iter().find_map(|event| time::read(&event["timestamp"])).unwrap_or(otherwise);
    let id = text(whole, "instance_id");
    let key = format!("{id} {:x?}", desk::digest(&[&whole["history"].to_string()]));
    let metrics = &whole["metrics"];
    let trace = desk.begin(About {
        key,
        name: Some(if id.is_empty() { "openhands".to_owned() } else { id.to_owned() }),
        agent: Some("openhands".to_owned()),
        at: began,
        git_commit: whole["metadata"]["git_commit"].as_str().map(str::to_owned),
        why_not: WHY,
        fields: &[("usage", From::Imported), ("cost_usd", From::Derived), ("times", From::Derived)],
        ..About::default()
    })?;
    if events.iter().any(|event| openhands_sdk::is_event(event)) {
        let model = text(&whole["metadata"]["llm"], "model");
        let last = openhands_sdk::history(desk, trace, &events, whole, model, began)?;
        return ended(desk, trace, whole, last);
    }
    let counts =
        metrics["token_usages"].as_array().into_iter().flatten().map(|one| (text(one, "response_id"), one)).collect();
    let model = text(&whole["metadata"]["llm_config"], "model").to_owned();
    let mut telling = Telling {
        trace,
        model,
        thread: Thread::default(),
        tools: Vec::new(),
        last: began,
        counts,
        told: HashSet::new(),
        at: began,
    };
    for event in &events {
        telling.event(desk, event)?;
    }
    ended(desk, trace, whole, telling.last)
}

fn ended(desk: &mut Desk<'_>, trace: TraceId, whole: &Value, last: Timestamp) -> Result<(), Trouble> {
    if !whole["test_result"].is_null() {
        desk.note(trace, last, "openhands.test_result", None, whole["test_result"].clone())?;
    }
    let failed = whole["error"].as_str().filter(|error| !error.is_empty()).map(str::to_owned);
    desk.end(trace, last, failed)
}

impl Telling<'_> {
    fn say(&mut self, desk: &Desk<'_>, message: &Message) {
        for element in chat::elements(message) {
            let (hidden, _) = desk.hide(element.to_string().into());
            self.thread.push(&hidden);
        }
    }

    fn event(&mut self, desk: &mut Desk<'_>, event: &Value) -> Result<(), Trouble> {
        let at = time::read(&event["timestamp"]).unwrap_or(self.last);
        self.at = self.last.min(at);
        self.last = self.last.max(at);
        let meta = &event["tool_call_metadata"];
        let response = &meta["model_response"];
        let action = text(event, "action");
        if !action.is_empty() && response.is_object() {
            let id = [text(response, "id"), text(meta, "tool_call_id")].into_iter().find(|id| !id.is_empty());
            let id = id.unwrap_or_default();
            if self.told.insert(id.to_owned()) {
                self.call(desk, response, id, at)?;
            }
            return Ok(());
        }
        if !text(event, "observation").is_empty() {
            let (id, name) = (text(meta, "tool_call_id").to_owned(), text(meta, "function_name").to_owned());
            let content = text(event, "content").to_owned();
            if id.is_empty() {
                return desk.note(
                    self.trace,
                    at,
                    &format!("openhands.{}", text(event, "observation")),
                    None,
                    event.clone(),
                );
            }
            let is_error = text(event, "observation") == "error";
            let part = Part::ToolResult(ToolResult { id, name, text: content, is_error });
            self.say(desk, &Message { role: Role::Tool, parts: vec![part] });
            return Ok(());
        }
        match (action, text(event, "source")) {
            ("system", _) => {
                self.tools = said::tools(&event["args"]["tools"]).iter().map(chat::tool).collect();
                self.say(desk, &Message::text(Role::System, text(&event["args"], "content")));
                Ok(())
            }
            ("message", source) => {
                let role = if source == "user" { Role::User } else { Role::Assistant };
                self.say(desk, &Message::text(role, text(&event["args"], "content")));
                Ok(())
            }
            (other, _) => desk.note(self.trace, at, &format!("openhands.{other}"), None, event.clone()),
        }
    }

    fn call(&mut self, desk: &mut Desk<'_>, response: &Value, id: &str, at: Timestamp) -> Result<(), Trouble> {
        let body = response.to_string();
        let read = provider::response(Wire::OpenaiChat, 200, &Headers::new(), body.as_bytes());
        let mut summary = desk.summary(&read, &self.model);
        if let Some(counts) = self.counts.get(id) {
            summary.usage = usage::read(counts, usage::Cached::Inside);
        }
        let told = Told {
            key: id.to_owned(),
            at: self.at,
            end_at: Some(at),
            wire: Wire::OpenaiChat,
            target: "/v1/chat/completions".to_owned(),
            request: self.thread.chat(&self.model, &self.tools),
            hidden: true,
            status: Some(200),
            response: body.into(),
            summary,
            ..Told::default()
        };
        desk.call(self.trace, told)?;
        if let Some(answer) = read.message {
            self.say(desk, &answer);
        }
        Ok(())
    }
}
