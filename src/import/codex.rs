//! Codex rollouts. `response_item` lines are the conversation, `event_msg` a second view of it; a call is what the model added
//! between two reports of its usage. Counts in `token_count` add up over the session and repeat: they are only used where no
//! `token_usage_record` says it better.

use bytes::Bytes;
use serde_json::{Value, json};

use super::lines::{Line, Lines};
use super::shape::text;
use super::thread::Thread;
use super::{About, Desk, Format, Shape, Source, Told, Trouble, desk, time, trace_id, usage};
use crate::provider;
use crate::trace::{Headers, Source as From, Timestamp, TraceId, Usage, Wire};

pub const FORMAT: Format = Format { name: "codex", about: "Codex rollouts, plain and zstd", fits, read };

const WHY: &str = "a rollout keeps the items of the conversation, not the tools and parameters of its requests";

/// Types of lines that only this program writes.
const LINES: &[&str] = &["session_meta", "turn_context", "response_item", "event_msg", "compacted", "world_state"];

fn fits(shape: &Shape<'_>) -> bool {
    shape.line(|line| {
        (LINES.contains(&text(line, "type")) && line.get("payload").is_some())
            || (line.get("instructions").is_some() && line.get("git").is_some() && line.get("id").is_some())
    })
}

/// Items that the model makes.
fn by_model(item: &Value) -> bool {
    match text(item, "type") {
        "message" => text(item, "role") == "assistant",
        "reasoning" => true,
        kind => kind.ends_with("_call"),
    }
}

/// Items that come into a conversation from outside.
fn is_item(kind: &str) -> bool {
    kind == "message" || kind == "reasoning" || kind.ends_with("_call") || kind.ends_with("_output")
}

struct Rollout<'d, 'a> {
    desk: &'d mut Desk<'a>,
    began: Timestamp,
    trace: Option<TraceId>,
    id: String,
    provider: String,
    head: String,
    model: String,
    thread: Thread,
    /// What the model has said since the last call, and when it was asked.
    pending: Vec<Bytes>,
    /// What tools gave back before the call was reported.
    after: Vec<Bytes>,
    asked_at: Timestamp,
    answered_at: Timestamp,
    last_at: Timestamp,
    /// A reported call of which nothing was said yet: a compaction.
    bare: Option<(String, Usage, Value, Timestamp)>,
    total: u64,
    calls: u64,
    replaying: bool,
    ended: bool,
}

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let mut rollout = Rollout {
        desk,
        began: source.modified,
        trace: None,
        id: String::new(),
        provider: "openai".to_owned(),
        head: "{\"input\":".to_owned(),
        model: String::new(),
        thread: Thread::default(),
        pending: Vec::new(),
        after: Vec::new(),
        asked_at: Timestamp::default(),
        answered_at: Timestamp::default(),
        last_at: Timestamp::default(),
        bare: None,
        total: 0,
        calls: 0,
        replaying: false,
        ended: false,
    };
    let mut lines = Lines::new(&mut *source.from);
    while let Some(line) = lines.next()? {
        match line {
            Line::TooLong { bytes } => {
                let (trace, at) = rollout.here(None)?;
                rollout.desk.note(trace, at, "codex.too_long", None, desk::too_long(bytes))?;
                rollout.desk.skipped("a line that is too long");
            }
            Line::Whole { bytes, last } => match serde_json::from_slice::<Value>(bytes) {
                Ok(line) => rollout.line(line)?,
                Err(_) if last => rollout.desk.skipped("a last line that was cut off"),
                Err(_) => rollout.desk.damaged(),
            },
        }
    }
    rollout.finish()
}

impl Rollout<'_, '_> {
    /// The trace, and the time of what has none.
    fn here(&mut self, at: Option<Timestamp>) -> Result<(TraceId, Timestamp), Trouble> {
        let at = at.unwrap_or(if self.last_at == Timestamp::default() { self.began } else { self.last_at });
        self.last_at = self.last_at.max(at);
        match self.trace {
            Some(trace) => Ok((trace, at)),
            None => self.begin(&Value::Null, at).map(|trace| (trace, at)),
        }
    }

    fn begin(&mut self, meta: &Value, at: Timestamp) -> Result<TraceId, Trouble> {
        let own = [text(meta, "id"), text(meta, "session_id"), self.desk.file()].into_iter().find(|id| !id.is_empty());
        self.id = own.unwrap_or_default().to_owned();
        if !text(meta, "model_provider").is_empty() {
            text(meta, "model_provider").clone_into(&mut self.provider);
        }
        let orders = meta["base_instructions"]["text"].as_str().or_else(|| meta["instructions"].as_str());
        if let Some(orders) = orders {
            let (hidden, _) = self.desk.hide(Value::from(orders).to_string().into());
            self.head = format!("{{\"instructions\":{},\"input\":", String::from_utf8_lossy(&hidden));
        }
        let spawned = &meta["source"]["subagent"]["thread_spawn"]["parent_thread_id"];
        let parent =
            spawned.as_str().or_else(|| meta["forked_from_id"].as_str()).or_else(|| meta["parent_thread_id"].as_str());
        let cwd = text(meta, "cwd");
        let tags = [("version", text(meta, "cli_version")), ("branch", text(&meta["git"], "branch"))];
        let about = About {
            key: self.id.clone(),
            name: Some(format!("codex {}", self.id)),
            agent: Some("codex".to_owned()),
            at,
            cwd: (!cwd.is_empty()).then(|| cwd.to_owned()),
            git_commit: meta["git"]["commit_hash"].as_str().map(str::to_owned),
            tags: tags.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            parent: parent.map(|parent| trace_id("codex", parent)),
            why_not: WHY,
            fields: &[("usage", From::Imported), ("cost_usd", From::Derived), ("times", From::Derived)],
            ..About::default()
        };
        let trace = self.desk.begin(about)?;
        self.trace = Some(trace);
        Ok(trace)
    }

    fn line(&mut self, mut line: Value) -> Result<(), Trouble> {
        let at = time::read(&line["timestamp"]);
        let kind = text(&line, "type").to_owned();
        let payload = match line.get_mut("payload").map(Value::take) {
            Some(payload) => payload,
            // The first versions wrote items without an envelope.
            None if is_item(&kind) => return self.item(at, line),
            None if line.get("instructions").is_some() || line.get("record_type").is_some() => {
                if self.trace.is_none() {
                    let at = at.unwrap_or(self.began);
                    self.begin(&line, at)?;
                }
                self.desk.used();
                return Ok(());
            }
            None => Value::Null,
        };
        match kind.as_str() {
            "session_meta" => self.meta(&payload, at),
            "response_item" => self.item(at, payload),
            "turn_context" => {
                let model = text(&payload, "model");
                if !model.is_empty() {
                    model.clone_into(&mut self.model);
                }
                self.here(at)?;
                self.desk.used();
                Ok(())
            }
            "token_usage_record" => self.usage_record(&payload, at),
            "event_msg" => self.event(payload, at),
            "compacted" => self.compacted(&payload, at),
            "world_state" => {
                self.desk.skipped("bookkeeping of the program");
                Ok(())
            }
            "inter_agent_communication" => {
                let (trace, at) = self.here(at)?;
                self.desk.used();
                self.desk.note(trace, at, "codex.inter_agent_communication", None, payload)
            }
            other => {
                let (trace, at) = self.here(at)?;
                if let Some(line) = line.as_object_mut() {
                    line.insert("payload".to_owned(), payload);
                }
                self.desk.unknown(trace, at, other, line)
            }
        }
    }

    fn meta(&mut self, payload: &Value, at: Option<Timestamp>) -> Result<(), Trouble> {
        self.desk.used();
        if self.trace.is_some() {
            // A spawned agent's file begins with what its parent had said: it is context here, not calls.
            self.replaying = text(payload, "id") != self.id;
            return Ok(());
        }
        let at = at.or_else(|| time::read(&payload["timestamp"])).unwrap_or(self.began);
        self.begin(payload, at).map(|_| self.last_at = at)
    }

    fn item(&mut self, at: Option<Timestamp>, item: Value) -> Result<(), Trouble> {
        let before = self.last_at;
        let (_, at) = self.here(at)?;
        self.desk.used();
        self.flush_bare()?;
        let (hidden, _) = self.desk.hide(item.to_string().into());
        if !by_model(&item) {
            if self.pending.is_empty() {
                self.thread.push(&hidden);
            } else {
                self.after.push(hidden);
            }
            return Ok(());
        }
        if !self.after.is_empty() {
            // Tools have answered in between: this is the next call, and nobody reported the last one.
            self.flush("", Usage::default(), Value::Null)?;
        }
        if self.pending.is_empty() {
            self.asked_at = if before == Timestamp::default() { at } else { before };
        }
        self.answered_at = at;
        self.pending.push(hidden);
        Ok(())
    }

    fn usage_record(&mut self, payload: &Value, at: Option<Timestamp>) -> Result<(), Trouble> {
        let (_, at) = self.here(at)?;
        self.desk.used();
        let whose = [text(payload, "thread_id"), text(payload, "session_id")];
        let foreign = whose.iter().all(|id| !id.is_empty() && *id != self.id);
        let told = &payload["usage"];
        let used = usage::read(told, usage::Cached::Inside);
        let id = text(payload, "response_id");
        if foreign || self.replaying {
            self.keep_pending();
            return Ok(());
        }
        self.flush_bare()?;
        if self.pending.is_empty() {
            self.bare = Some((id.to_owned(), used, told.clone(), at));
            return Ok(());
        }
        self.answered_at = self.answered_at.max(at);
        self.flush(id, used, told.clone())
    }

    fn event(&mut self, payload: Value, at: Option<Timestamp>) -> Result<(), Trouble> {
        let (trace, at) = self.here(at)?;
        let kind = text(&payload, "type").to_owned();
        match kind.as_str() {
            "token_count" => {
                self.desk.used();
                let info = &payload["info"];
                let total = info["total_token_usage"]["total_tokens"].as_u64().unwrap_or(0);
                let fresh = total > self.total;
                self.total = self.total.max(total);
                if self.replaying {
                    self.keep_pending();
                } else if fresh && !self.pending.is_empty() {
                    let told = info["last_token_usage"].clone();
                    self.flush("", usage::read(&told, usage::Cached::Inside), told)?;
                }
                Ok(())
            }
            "user_message"
            | "agent_message"
            | "agent_reasoning"
            | "agent_reasoning_raw_content"
            | "item_completed"
            | "item_started"
            | "agent_message_delta"
            | "agent_reasoning_section_break"
            | "raw_response_item" => {
                self.desk.skipped("a second view of what other lines say");
                Ok(())
            }
            "thread_settings_applied" | "session_configured" | "thread_name_updated" => {
                self.desk.skipped("bookkeeping of the program");
                Ok(())
            }
            _ => {
                if kind == "task_started" {
                    self.replaying = false;
                }
                self.ended = match kind.as_str() {
                    "task_complete" => true,
                    "task_started" | "turn_aborted" | "error" => false,
                    _ => self.ended,
                };
                self.desk.used();
                self.desk.note(trace, at, &format!("codex.{kind}"), None, payload)
            }
        }
    }

    /// The history begins anew.
    fn compacted(&mut self, payload: &Value, at: Option<Timestamp>) -> Result<(), Trouble> {
        let (trace, at) = self.here(at)?;
        self.desk.used();
        if let Some((id, used, told, when)) = self.bare.take() {
            let text = json!({ "type": "output_text", "text": text(payload, "message") });
            let message = json!({ "type": "message", "role": "assistant", "content": [text] });
            self.pending.push(self.desk.hide(message.to_string().into()).0);
            (self.asked_at, self.answered_at) = (when, when);
            self.flush(&id, used, told)?;
        } else if !self.pending.is_empty() {
            self.flush("", Usage::default(), Value::Null)?;
        }
        self.thread.clear();
        match payload["replacement_history"].as_array() {
            Some(history) => {
                for item in history {
                    let (hidden, _) = self.desk.hide(item.to_string().into());
                    self.thread.push(&hidden);
                }
            }
            None => {
                let message = json!({ "type": "message", "role": "user", "content": text(payload, "message") });
                let (hidden, _) = self.desk.hide(message.to_string().into());
                self.thread.push(&hidden);
            }
        }
        let data = json!({ "window_number": payload["window_number"], "window_id": payload["window_id"] });
        self.desk.note(trace, at, "codex.compacted", None, data)
    }

    fn flush_bare(&mut self) -> Result<(), Trouble> {
        let Some((id, used, told, at)) = self.bare.take() else { return Ok(()) };
        (self.asked_at, self.answered_at) = (at, at);
        self.flush(&id, used, told)
    }

    /// What was said becomes a part of the conversation without being a call of this trace.
    fn keep_pending(&mut self) {
        for item in std::mem::take(&mut self.pending).into_iter().chain(std::mem::take(&mut self.after)) {
            self.thread.push(&item);
        }
    }

    /// A call is whole.
    fn flush(&mut self, id: &str, used: Usage, told: Value) -> Result<(), Trouble> {
        let (trace, _) = self.here(None)?;
        self.calls += 1;
        let output = String::from_utf8_lossy(&self.pending.join(&b","[..])).into_owned();
        let response = format!(
            "{{\"id\":{},\"object\":\"response\",\"status\":\"completed\",\"model\":{},\"output\":[{output}],\"usage\":{}}}",
            Value::from(id),
            Value::from(self.model.as_str()),
            wire_usage(&told),
        );
        let read = provider::response(Wire::OpenaiResponses, 200, &Headers::new(), response.as_bytes());
        let mut summary = self.desk.summary(&read, &self.model);
        summary.usage = used;
        summary.cost_usd = self.desk.settings.prices.cost(&self.model, &used);
        let request =
            self.thread.body(&self.head, &format!(",\"model\":{},\"stream\":true}}", Value::from(self.model.as_str())));
        let key = if id.is_empty() { format!("call {}", self.calls) } else { id.to_owned() };
        let call = Told {
            key,
            at: self.asked_at,
            end_at: Some(self.answered_at),
            wire: Wire::OpenaiResponses,
            upstream: self.provider.clone(),
            target: "/v1/responses".to_owned(),
            request,
            hidden: true,
            status: Some(200),
            response: response.into(),
            summary,
            ..Told::default()
        };
        self.desk.call(trace, call)?;
        self.keep_pending();
        Ok(())
    }

    fn finish(mut self) -> Result<(), Trouble> {
        if self.desk.settings.settled {
            self.flush_bare()?;
            if !self.pending.is_empty() && !self.replaying {
                self.flush("", Usage::default(), Value::Null)?;
            }
        }
        match self.trace {
            Some(trace) if self.ended => self.desk.end(trace, self.last_at, None),
            _ => Ok(()),
        }
    }
}

/// Codex's names for counts, as the wire has them.
fn wire_usage(told: &Value) -> Value {
    if told.is_null() {
        return Value::Null;
    }
    json!({
        "input_tokens": told["input_tokens"],
        "output_tokens": told["output_tokens"],
        "total_tokens": told["total_tokens"],
        "input_tokens_details": { "cached_tokens": told["cached_input_tokens"], "cache_write_tokens": told["cache_write_input_tokens"] },
        "output_tokens_details": { "reasoning_tokens": told["reasoning_output_tokens"] },
    })
}
