//! pi's sessions: entries in a tree, from the versions without ids to version 3. Usage counts what was read fresh, beside the
//! cache, and the cost is pi's own.

use std::collections::HashMap;

use serde_json::Value;

use super::lines::{Line, Lines};
use super::shape::text;
use super::thread::Thread;
use super::{About, Desk, Format, Shape, Source, Told, Trouble, chat, desk, said, time, usage};
use crate::trace::{Message, ProviderError, Response, Role, Source as From, Stop, Timestamp, TraceId};

pub const FORMAT: Format = Format { name: "pi", about: "pi sessions", fits, read };

const WHY: &str = "a session keeps what was said, not the standing orders, tools and parameters of its requests";

fn fits(shape: &Shape<'_>) -> bool {
    let first =
        |line: &Value| text(line, "type") == "session" && line.get("cwd").is_some() && line.get("timestamp").is_some();
    shape.line(first)
}

struct Session<'d, 'a> {
    desk: &'d mut Desk<'a>,
    trace: Option<TraceId>,
    began: Timestamp,
    last: Timestamp,
    thread: Thread,
    /// Where an entry stands: by its id, and by its number in the file.
    places: HashMap<String, usize>,
    entries: Vec<usize>,
    answered: usize,
    finished: bool,
    calls: u64,
}

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let mut session = Session {
        desk,
        trace: None,
        began: source.modified,
        last: source.modified,
        thread: Thread::default(),
        places: HashMap::new(),
        entries: Vec::new(),
        answered: 0,
        finished: false,
        calls: 0,
    };
    let mut lines = Lines::new(&mut *source.from);
    while let Some(line) = lines.next()? {
        match line {
            Line::TooLong { bytes } => {
                let trace = session.trace(&Value::Null)?;
                let at = session.last;
                session.desk.note(trace, at, "pi.too_long", None, desk::too_long(bytes))?;
                session.desk.skipped("a line that is too long");
            }
            Line::Whole { bytes, last } => match serde_json::from_slice::<Value>(bytes) {
                Ok(line) => session.line(&line)?,
                Err(_) if last => session.desk.skipped("a last line that was cut off"),
                Err(_) => session.desk.damaged(),
            },
        }
    }
    match session.trace {
        Some(trace) if session.finished => session.desk.end(trace, session.last, None),
        _ => Ok(()),
    }
}

impl Session<'_, '_> {
    fn trace(&mut self, first: &Value) -> Result<TraceId, Trouble> {
        if let Some(trace) = self.trace {
            return Ok(trace);
        }
        let id = text(first, "id");
        let key = if id.is_empty() { self.desk.file() } else { id };
        let at = time::read(&first["timestamp"]).unwrap_or(self.began);
        let cwd = text(first, "cwd");
        let about = About {
            key: key.to_owned(),
            name: Some(format!("pi {key}")),
            agent: Some("pi".to_owned()),
            at,
            cwd: (!cwd.is_empty()).then(|| cwd.to_owned()),
            why_not: WHY,
            fields: &[("usage", From::Imported), ("cost_usd", From::Imported), ("times", From::Derived)],
            ..About::default()
        };
        let trace = self.desk.begin(about)?;
        (self.trace, self.last) = (Some(trace), at);
        Ok(trace)
    }

    fn line(&mut self, line: &Value) -> Result<(), Trouble> {
        let kind = text(line, "type");
        let trace = self.trace(if kind == "session" { line } else { &Value::Null })?;
        let at = time::read(&line["timestamp"]).unwrap_or(self.last);
        self.entries.push(self.thread.len());
        match kind {
            "message" => self.message(trace, line, at)?,
            "compaction" => self.compaction(trace, line, at)?,
            "branch_summary" => self.say(&[Message::text(Role::User, text(line, "summary"))]),
            "custom_message" => self.say(&said::messages(&line["content"], Role::User)),
            "session" => {}
            "session_info" => {
                self.desk.more(trace, at, Some(text(line, "name")).filter(|name| !name.is_empty()), None)?;
            }
            "model_change" | "thinking_level_change" | "label" | "custom" => {
                self.desk.note(trace, at, &format!("pi.{kind}"), None, line.clone())?;
            }
            other => return self.desk.unknown(trace, at, other, line.clone()),
        }
        if !text(line, "id").is_empty() {
            self.places.insert(text(line, "id").to_owned(), self.thread.len());
        }
        self.last = self.last.max(at);
        self.desk.used();
        Ok(())
    }

    fn say(&mut self, messages: &[Message]) {
        for element in messages.iter().flat_map(chat::elements) {
            let (hidden, _) = self.desk.hide(element.to_string().into());
            self.thread.push(&hidden);
        }
    }

    fn message(&mut self, trace: TraceId, line: &Value, at: Timestamp) -> Result<(), Trouble> {
        let message = &line["message"];
        let role = text(message, "role");
        if role == "assistant" {
            return self.assistant(trace, line, at);
        }
        self.finished = false;
        if role == "user"
            && let Some(place) = self.places.get(text(line, "parentId")).copied().filter(|place| *place < self.answered)
        {
            // The user went back in the tree and went another way.
            self.thread.truncate(place);
            self.answered = place;
        }
        let said = match role {
            "bashExecution" => {
                let words = format!("Ran `{}`\n{}", text(message, "command"), text(message, "output"));
                vec![Message::text(Role::User, words)]
            }
            "branchSummary" | "compactionSummary" => vec![Message::text(Role::User, text(message, "summary"))],
            _ => said::messages(message, Role::User),
        };
        self.say(&said);
        Ok(())
    }

    fn assistant(&mut self, trace: TraceId, line: &Value, at: Timestamp) -> Result<(), Trouble> {
        let message = &line["message"];
        self.calls += 1;
        let model = text(message, "model");
        let answer =
            said::messages(message, Role::Assistant).into_iter().next().filter(|answer| !answer.parts.is_empty());
        let failed = matches!(text(message, "stopReason"), "error" | "aborted");
        let error = failed.then(|| ProviderError {
            kind: text(message, "stopReason").to_owned(),
            message: text(message, "errorMessage").to_owned(),
        });
        let counts = &message["usage"];
        let response = Response {
            id: text(message, "responseId").to_owned(),
            model: model.to_owned(),
            message: answer.clone(),
            stop: match text(message, "stopReason") {
                "stop" => Some(Stop::End),
                "toolUse" => Some(Stop::Tools),
                "length" => Some(Stop::Length),
                "" | "error" | "aborted" => None,
                other => Some(Stop::Other(other.to_owned())),
            },
            usage: usage::read(counts, usage::Cached::Beside),
            usage_raw: counts.clone(),
            complete: !failed,
            ..Response::default()
        };
        let key = ["id", "timestamp"].iter().map(|key| text(line, key)).find(|key| !key.is_empty());
        let mut told = self.desk.answered(&response, model);
        told.summary.usage = response.usage;
        told.summary.cost_usd = counts["cost"]["total"].as_f64().or(told.summary.cost_usd);
        told.summary.error = error.map(|error| format!("{}: {}", error.kind, error.message));
        if failed {
            told.status = Some(500);
        }
        told.key = key.map_or_else(|| format!("call {}", self.calls), str::to_owned);
        let asked_at = time::read(&message["timestamp"]).unwrap_or(self.last);
        let call = Told {
            at: asked_at.min(at),
            end_at: Some(at),
            upstream: text(message, "provider").to_owned(),
            request: self.thread.chat(model, &[]),
            hidden: true,
            ..told
        };
        self.desk.call(trace, call)?;
        self.finished = text(message, "stopReason") == "stop";
        if let Some(answer) = answer.filter(|_| !failed) {
            self.say(&[answer]);
        }
        self.answered = self.thread.len();
        Ok(())
    }

    fn compaction(&mut self, trace: TraceId, line: &Value, at: Timestamp) -> Result<(), Trouble> {
        let by_number = line["firstKeptEntryIndex"]
            .as_u64()
            .and_then(|at| usize::try_from(at).ok())
            .and_then(|at| self.entries.get(at));
        // An entry's place is behind it: kept is what stands from just before.
        let by_id = self.places.get(text(line, "firstKeptEntryId")).map(|place| place.saturating_sub(1));
        let from = by_id.or(by_number.copied()).unwrap_or(self.thread.len());
        let summary = chat::elements(&Message::text(Role::User, text(line, "summary")));
        let (hidden, _) = self.desk.hide(summary.first().map(Value::to_string).unwrap_or_default().into());
        self.thread.restart(from, &hidden);
        self.answered = 0;
        self.places.clear();
        self.entries.iter_mut().for_each(|place| *place = 1);
        self.desk.note(trace, at, "pi.compaction", None, serde_json::json!({ "tokensBefore": line["tokensBefore"] }))
    }
}
