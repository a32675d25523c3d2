//! Gemini CLI sessions: JSON lines of records and `$set` patches, where a record that comes again with the same id replaces the
//! one before, or one JSON document with all records in it.

use std::collections::{HashSet, VecDeque};
use std::io::{self, BufRead, Read};

use serde_json::{Value, json};

use super::lines::{Line, Lines};
use super::shape::text;
use super::thread::Thread;
use super::{About, BIGGEST, Desk, Format, Shape, Source, Told, Trouble, document, time};
use crate::provider;
use crate::trace::{Headers, Source as From, Timestamp, TraceId, Wire};

pub const FORMAT: Format = Format { name: "gemini-cli", about: "Gemini CLI sessions, JSON lines and JSON", fits, read };

const WHY: &str = "a session keeps what was said, not the standing orders, tools and parameters of its requests";
/// Records that a later copy may still replace.
const WINDOW: usize = 64;

fn fits(shape: &Shape<'_>) -> bool {
    shape.all(&["sessionId", "projectHash"]) || shape.line(|line| line["$set"].get("messages").is_some())
}

struct Session<'d, 'a> {
    desk: &'d mut Desk<'a>,
    trace: Option<TraceId>,
    began: Timestamp,
    last: Timestamp,
    thread: Thread,
    window: VecDeque<(String, Value)>,
    told: HashSet<String>,
    /// Results of tools that a user record may still repeat.
    due: Option<Value>,
    finished: bool,
}

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let mut session = Session {
        desk,
        trace: None,
        began: source.modified,
        last: source.modified,
        thread: Thread::default(),
        window: VecDeque::new(),
        told: HashSet::new(),
        due: None,
        finished: false,
    };
    // The first line tells: a whole record, or the beginning of one document with all of them.
    let mut first = Vec::new();
    (&mut *source.from).take(BIGGEST).read_until(b'\n', &mut first)?;
    let parsed = serde_json::from_slice::<Value>(first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&first)).ok();
    let Some(parsed) = parsed.filter(|one| one.get("messages").is_none()) else {
        let whole = document(&mut io::BufReader::new(first.chain(&mut *source.from)))?;
        session.about(&whole)?;
        for record in whole["messages"].as_array().into_iter().flatten() {
            session.record(record.clone())?;
            session.desk.used();
        }
        return session.finish();
    };
    session.line(parsed)?;
    let mut lines = Lines::new(&mut *source.from);
    while let Some(line) = lines.next()? {
        match line {
            Line::TooLong { .. } => session.desk.skipped("a line that is too long"),
            Line::Whole { bytes, last } => match serde_json::from_slice::<Value>(bytes) {
                Ok(line) => session.line(line)?,
                Err(_) if last => session.desk.skipped("a last line that was cut off"),
                Err(_) => session.desk.damaged(),
            },
        }
    }
    session.finish()
}

impl Session<'_, '_> {
    fn about(&mut self, first: &Value) -> Result<TraceId, Trouble> {
        if let Some(trace) = self.trace {
            return Ok(trace);
        }
        let id = text(first, "sessionId");
        let at = time::read(&first["startTime"]).unwrap_or(self.began);
        (self.began, self.last) = (at, at);
        let key = if id.is_empty() { self.desk.file() } else { id };
        let about = About {
            key: key.to_owned(),
            name: Some(format!("gemini-cli {}", key.split('-').next().unwrap_or(key))),
            agent: Some("gemini-cli".to_owned()),
            at,
            tags: match text(first, "kind") {
                "" => Vec::new(),
                kind => vec![("kind".to_owned(), kind.to_owned())],
            },
            why_not: WHY,
            fields: &[("usage", From::Imported), ("cost_usd", From::Derived), ("times", From::Derived)],
            ..About::default()
        };
        let trace = self.desk.begin(about)?;
        self.trace = Some(trace);
        Ok(trace)
    }

    fn line(&mut self, line: Value) -> Result<(), Trouble> {
        if line.get("sessionId").is_some() && line.get("id").is_none() {
            self.about(&line)?;
            self.desk.used();
            return Ok(());
        }
        let trace = self.about(&Value::Null)?;
        if let Some(patch) = line.get("$set") {
            for record in patch["messages"].as_array().into_iter().flatten() {
                self.record(record.clone())?;
            }
            self.desk.used();
            return Ok(());
        }
        if line.get("id").is_some() && line.get("type").is_some() {
            self.desk.used();
            return self.record(line);
        }
        if let Some(to) = line.get("$rewindTo").and_then(Value::as_str) {
            let at = self.window.iter().position(|(id, _)| id == to).unwrap_or(self.window.len());
            self.window.truncate(at);
            self.desk.used();
            return Ok(());
        }
        let kind = text(&line, "type").to_owned();
        self.desk.unknown(trace, self.last, &kind, line)
    }

    /// Takes a record, or another copy of it.
    fn record(&mut self, record: Value) -> Result<(), Trouble> {
        let id = text(&record, "id").to_owned();
        if let Some((_, known)) = self.window.iter_mut().find(|(known, _)| *known == id) {
            *known = record;
            return Ok(());
        }
        if self.told.contains(&id) {
            self.desk.remark(format!("record {id} changed long after it was written: its first reading stays"));
            return Ok(());
        }
        self.window.push_back((id, record));
        if self.window.len() > WINDOW { self.tell_oldest() } else { Ok(()) }
    }

    fn tell_oldest(&mut self) -> Result<(), Trouble> {
        let Some((id, record)) = self.window.pop_front() else { return Ok(()) };
        self.told.insert(id.clone());
        let trace = self.about(&Value::Null)?;
        let before = self.last;
        let at = time::read(&record["timestamp"]).unwrap_or(self.last);
        self.last = self.last.max(at);
        self.finished = false;
        match text(&record, "type") {
            "user" => {
                let parts = parts(&record["content"]);
                let answers = parts.iter().any(|part| part.get("functionResponse").is_some());
                match self.due.take() {
                    // The record repeats what stands with the calls.
                    Some(_) if answers => {}
                    Some(due) => self.say(&due),
                    None => {}
                }
                self.say(&json!({ "role": "user", "parts": parts }));
                Ok(())
            }
            "gemini" | "model" => {
                if let Some(due) = self.due.take() {
                    self.say(&due);
                }
                self.answer(trace, &id, &record, before.min(at), at)
            }
            kind => {
                let kind = format!("gemini-cli.{kind}");
                self.desk.note(trace, at, &kind, None, record)
            }
        }
    }

    fn say(&mut self, content: &Value) {
        let (hidden, _) = self.desk.hide(content.to_string().into());
        self.thread.push(&hidden);
    }

    fn answer(
        &mut self,
        trace: TraceId,
        id: &str,
        record: &Value,
        asked_at: Timestamp,
        at: Timestamp,
    ) -> Result<(), Trouble> {
        let mut said = Vec::new();
        for thought in record["thoughts"].as_array().into_iter().flatten() {
            let words = [text(thought, "subject"), text(thought, "description")].join("\n");
            said.push(json!({ "text": words.trim(), "thought": true }));
        }
        said.extend(parts(&record["content"]));
        let mut results = Vec::new();
        for call in record["toolCalls"].as_array().into_iter().flatten() {
            said.push(json!({ "functionCall": { "id": call["id"], "name": call["name"], "args": call["args"] } }));
            results.extend(call["result"].as_array().into_iter().flatten().cloned());
        }
        let model = text(record, "model");
        let tokens = &record["tokens"];
        let counts = json!({
            "promptTokenCount": tokens["input"], "candidatesTokenCount": tokens["output"],
            "cachedContentTokenCount": tokens["cached"], "thoughtsTokenCount": tokens["thoughts"],
            "toolUsePromptTokenCount": tokens["tool"], "totalTokenCount": tokens["total"],
        });
        let content = json!({ "role": "model", "parts": said });
        let response = json!({
            "candidates": [{ "content": content, "finishReason": "STOP", "index": 0 }],
            "usageMetadata": if tokens.is_object() { counts } else { Value::Null }, "modelVersion": model, "responseId": id,
        })
        .to_string();
        let read = provider::response(Wire::Gemini, 200, &Headers::new(), response.as_bytes());
        let told = Told {
            key: id.to_owned(),
            at: asked_at,
            end_at: Some(at),
            wire: Wire::Gemini,
            upstream: "gemini".to_owned(),
            target: format!("/v1beta/models/{model}:generateContent"),
            request: self.thread.body("{\"contents\":", "}"),
            hidden: true,
            status: Some(200),
            response: response.into(),
            summary: self.desk.summary(&read, model),
            ..Told::default()
        };
        self.desk.call(trace, told)?;
        self.finished = results.is_empty();
        self.say(&content);
        self.due = (!results.is_empty()).then(|| json!({ "role": "user", "parts": results }));
        Ok(())
    }

    fn finish(mut self) -> Result<(), Trouble> {
        // While a file grows, its last record may still be replaced.
        let keep = usize::from(!self.desk.settings.settled);
        while self.window.len() > keep {
            self.tell_oldest()?;
        }
        match self.trace {
            Some(trace) if self.finished => self.desk.end(trace, self.last, None),
            _ => Ok(()),
        }
    }
}

/// A record's content as parts.
fn parts(content: &Value) -> Vec<Value> {
    match content {
        Value::Array(parts) => {
            parts.iter().map(|part| if part.is_string() { json!({ "text": part }) } else { part.clone() }).collect()
        }
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => vec![json!({ "text": text })],
        _ => Vec::new(),
    }
}
