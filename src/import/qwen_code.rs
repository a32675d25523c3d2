//! Qwen Code sessions: Gemini's contents in an envelope like Claude Code's. Its own telemetry, in the same file, tells of calls
//! that left nothing else behind: compressions, failures.

use serde_json::{Value, json};

use super::lines::{Line, Lines};
use super::shape::text;
use super::thread::Thread;
use super::{About, Desk, Format, Shape, Source, Told, Trouble, time};
use crate::provider;
use crate::trace::{Headers, Source as From, Timestamp, TraceId, Wire};

pub const FORMAT: Format = Format { name: "qwen-code", about: "Qwen Code sessions", fits, read };

const WHY: &str = "a session keeps what was said, not the standing orders, tools and parameters of its requests";

fn fits(shape: &Shape<'_>) -> bool {
    shape.line(|line| {
        let own = line.get("sessionId").is_some() && line.get("parentUuid").is_some();
        own && (line["message"].get("parts").is_some() || line.get("systemPayload").is_some())
    })
}

struct Session<'d, 'a> {
    desk: &'d mut Desk<'a>,
    trace: Option<TraceId>,
    last: Timestamp,
    thread: Thread,
    /// A call that telemetry told of and whose answer may stand on the next line.
    told: Option<Value>,
    finished: bool,
    calls: u64,
}

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let began = source.modified;
    let thread = Thread::default();
    let mut session = Session { desk, trace: None, last: began, thread, told: None, finished: false, calls: 0 };
    let mut lines = Lines::new(&mut *source.from);
    while let Some(line) = lines.next()? {
        match line {
            Line::TooLong { .. } => session.desk.skipped("a line that is too long"),
            Line::Whole { bytes, last } => match serde_json::from_slice::<Value>(bytes) {
                Ok(line) => session.line(&line)?,
                Err(_) if last => session.desk.skipped("a last line that was cut off"),
                Err(_) => session.desk.damaged(),
            },
        }
    }
    if session.desk.settings.settled {
        session.flush()?;
    }
    match session.trace {
        Some(trace) if session.finished => session.desk.end(trace, session.last, None),
        _ => Ok(()),
    }
}

impl Session<'_, '_> {
    fn trace(&mut self, line: &Value, at: Timestamp) -> Result<TraceId, Trouble> {
        if let Some(trace) = self.trace {
            return Ok(trace);
        }
        let id = text(line, "sessionId");
        let key = if id.is_empty() { self.desk.file() } else { id };
        let cwd = text(line, "cwd");
        let about = About {
            key: key.to_owned(),
            name: Some(format!("qwen-code {}", key.split('-').next().unwrap_or(key))),
            agent: Some("qwen-code".to_owned()),
            at,
            cwd: (!cwd.is_empty()).then(|| cwd.to_owned()),
            why_not: WHY,
            fields: &[("usage", From::Imported), ("cost_usd", From::Derived), ("times", From::Imported)],
            ..About::default()
        };
        let trace = self.desk.begin(about)?;
        (self.trace, self.last) = (Some(trace), at);
        Ok(trace)
    }

    fn line(&mut self, line: &Value) -> Result<(), Trouble> {
        let at = time::read(&line["timestamp"]).unwrap_or(self.last);
        let trace = self.trace(line, at)?;
        match text(line, "type") {
            "user" | "tool_result" => {
                self.flush()?;
                self.say(&line["message"]);
                self.finished = false;
            }
            "assistant" => self.assistant(trace, line, at)?,
            "system" => self.system(trace, line, at)?,
            kind => return self.desk.unknown(trace, at, kind, line.clone()),
        }
        self.last = self.last.max(at);
        self.desk.used();
        Ok(())
    }

    fn say(&mut self, content: &Value) {
        let (hidden, _) = self.desk.hide(content.to_string().into());
        self.thread.push(&hidden);
    }

    fn assistant(&mut self, trace: TraceId, line: &Value, at: Timestamp) -> Result<(), Trouble> {
        let event = self.told.take().unwrap_or_default();
        self.finished = !line["message"].to_string().contains("\"functionCall\"");
        let counts = if line["usageMetadata"].is_object() { line["usageMetadata"].clone() } else { counts(&event) };
        let model = [text(line, "model"), text(&event, "model")]
            .into_iter()
            .find(|model| !model.is_empty())
            .unwrap_or_default();
        let key = [text(&event, "response_id"), text(line, "uuid")]
            .into_iter()
            .find(|key| !key.is_empty())
            .unwrap_or_default();
        self.tell(trace, key, model, &line["message"], &counts, &event, at)?;
        self.say(&line["message"]);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "two lines of the file tell one call between them")]
    fn tell(
        &mut self,
        trace: TraceId,
        key: &str,
        model: &str,
        content: &Value,
        counts: &Value,
        event: &Value,
        at: Timestamp,
    ) -> Result<(), Trouble> {
        self.calls += 1;
        let at = time::read(&event["event.timestamp"]).unwrap_or(at);
        let took = event["duration_ms"].as_i64().unwrap_or(0).clamp(0, 86_400_000);
        let failed = text(event, "error_message");
        let failed = if failed.is_empty() { text(event, "error") } else { failed };
        let (status, response) = if failed.is_empty() {
            let candidate = json!({ "content": content, "finishReason": "STOP", "index": 0 });
            (
                200,
                json!({ "candidates": [candidate], "usageMetadata": counts, "modelVersion": model, "responseId": key }),
            )
        } else {
            let status =
                event["status_code"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(500).max(400);
            (status, json!({ "error": { "message": failed, "status": text(event, "error_type") } }))
        };
        let response = response.to_string();
        let read = provider::response(Wire::Gemini, status, &Headers::new(), response.as_bytes());
        let told = Told {
            key: if key.is_empty() { format!("call {}", self.calls) } else { key.to_owned() },
            at: Timestamp(at.0 - took * 1000),
            end_at: Some(at),
            wire: Wire::Gemini,
            upstream: "openai".to_owned(),
            target: format!("/v1beta/models/{model}:generateContent"),
            request: self.thread.body("{\"contents\":", "}"),
            hidden: true,
            status: Some(status),
            response: response.into(),
            summary: self.desk.summary(&read, model),
            ..Told::default()
        };
        self.desk.call(trace, told).map(|_| ())
    }

    fn system(&mut self, trace: TraceId, line: &Value, at: Timestamp) -> Result<(), Trouble> {
        let payload = &line["systemPayload"];
        let subtype = text(line, "subtype");
        let event = &payload["uiEvent"];
        match (subtype, text(event, "event.name").rsplit('.').next().unwrap_or_default()) {
            ("ui_telemetry", "api_response") => {
                self.flush()?;
                self.told = Some(event.clone());
                Ok(())
            }
            ("ui_telemetry", "api_error") => {
                self.flush()?;
                let model = text(event, "model").to_owned();
                self.tell(trace, "", &model, &Value::Null, &Value::Null, event, at)
            }
            ("chat_compression", _) => {
                self.flush()?;
                self.thread.clear();
                for content in payload["compressedHistory"].as_array().into_iter().flatten() {
                    self.say(content);
                }
                self.desk.note(trace, at, "qwen-code.chat_compression", None, payload["info"].clone())
            }
            _ => self.desk.note(trace, at, &format!("qwen-code.{subtype}"), None, payload.clone()),
        }
    }

    /// A call that nothing but telemetry tells of.
    fn flush(&mut self) -> Result<(), Trouble> {
        let (Some(event), Some(trace)) = (self.told.take(), self.trace) else { return Ok(()) };
        let (key, model) = (text(&event, "response_id").to_owned(), text(&event, "model").to_owned());
        let empty = json!({ "role": "model", "parts": [] });
        self.tell(trace, &key, &model, &empty, &counts(&event), &event, self.last)
    }
}

/// Counts of a telemetry event under the names the wire has.
fn counts(event: &Value) -> Value {
    if event["input_token_count"].is_null() {
        return Value::Null;
    }
    json!({
        "promptTokenCount": event["input_token_count"], "candidatesTokenCount": event["output_token_count"],
        "cachedContentTokenCount": event["cached_content_token_count"], "thoughtsTokenCount": event["thoughts_token_count"],
        "totalTokenCount": event["total_token_count"],
    })
}
