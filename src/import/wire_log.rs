//! Wire logs: one HTTP exchange a line, byte for byte, with the time of each piece. The format is that of the test server that
//! comes with holdback's loops; everything a replay needs is in it.

use base64::Engine;
use bytes::Bytes;
use serde_json::Value;

use super::desk::digest;
use super::lines::{Line, Lines};
use super::raw::{self, Exchange};
use super::shape::text;
use super::{About, Desk, Format, Shape, Source, Trouble};
use crate::trace::{CallEnd, CallId, Chunk, Source as From, Timestamp, TraceId};

pub const FORMAT: Format =
    Format { name: "wire-log", about: "wire logs: seq, request and response of each exchange, one a line", fits, read };

fn fits(shape: &Shape<'_>) -> bool {
    shape.all(&["seq", "request", "request.target", "request.method"])
}

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let mut lines = Lines::new(&mut *source.from);
    let mut log: Option<Log> = None;
    while let Some(line) = lines.next()? {
        let Line::Whole { bytes, last } = line else {
            desk.skipped("a line that is too long");
            continue;
        };
        let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
            if last {
                desk.skipped("a last line that was cut off");
            } else {
                desk.damaged();
            }
            continue;
        };
        let log = match &mut log {
            Some(log) => log,
            None => {
                let key = format!("{:x?}", digest(&[&String::from_utf8_lossy(bytes)]));
                log.insert(Log::begin(desk, source.path, source.modified, key)?)
            }
        };
        log.line(desk, &value)?;
    }
    match log {
        Some(log) => desk.end(log.trace, log.last, None),
        None => Ok(()),
    }
}

struct Log {
    trace: TraceId,
    began: Timestamp,
    last: Timestamp,
    /// Requests that failed: body and call.
    failed: Vec<(Bytes, CallId)>,
}

fn seconds(value: &Value) -> Option<u64> {
    value.as_f64().filter(|seconds| (0.0..1e9).contains(seconds)).map(|seconds| (seconds * 1e6) as u64)
}

impl Log {
    fn begin(desk: &mut Desk<'_>, path: &str, began: Timestamp, key: String) -> Result<Self, Trouble> {
        let file = path.rsplit('/').next().unwrap_or(path);
        let name = file.split(".wire").next().filter(|name| !name.is_empty()).map(str::to_owned);
        let about = About {
            key,
            name,
            at: began,
            fields: &[("times", From::Imported), ("usage", From::Imported), ("cost_usd", From::Derived)],
            ..About::default()
        };
        let trace = desk.begin(about)?;
        Ok(Log { trace, began, last: began, failed: Vec::new() })
    }

    fn time(&self, micros: u64) -> Timestamp {
        Timestamp(self.began.0.saturating_add(i64::try_from(micros).unwrap_or(0)))
    }

    fn line(&mut self, desk: &mut Desk<'_>, line: &Value) -> Result<(), Trouble> {
        let (asked, answered) = (&line["request"], &line["response"]);
        if text(asked, "target").is_empty() {
            return desk.unknown(self.trace, self.last, "line", line.clone());
        }
        if let Some(Value::Array(frames)) = line.get("ws_frames") {
            return self.frames(desk, line, frames);
        }
        let start = seconds(&line["t"]).unwrap_or(0);
        let mut body = Vec::new();
        let mut chunks = Vec::new();
        for chunk in answered["chunks"].as_array().into_iter().flatten() {
            let piece = bytes(&chunk[1]);
            let at = seconds(&chunk[0]).unwrap_or(start).saturating_sub(start);
            chunks.push(Chunk { at, len: piece.len() as u64 });
            body.extend_from_slice(&piece);
        }
        for key in ["body_text", "body_b64"] {
            body.extend_from_slice(&bytes_of(&answered[key], key));
        }
        if let Some(most) = answered["cut_after_bytes"].as_u64().and_then(|most| usize::try_from(most).ok()) {
            body.truncate(most);
        }
        let cut = ["cut_after_bytes", "cut_after_chunk"].iter().any(|key| !answered[*key].is_null());
        let gone = !answered["client_gone_after_chunk"].is_null();
        let end = if gone { Some(CallEnd::ClientGone) } else { cut.then_some(CallEnd::Cut) };
        let request: Bytes =
            ["body_text", "body_b64"].iter().map(|key| bytes_of(&asked[*key], key)).collect::<Vec<_>>().concat().into();
        let end_at = self.time(seconds(&line["t_end"]).unwrap_or(start).max(start));
        let again = self.failed.iter().position(|(body, _)| *body == request);
        let exchange = Exchange {
            key: format!("{}", line["seq"]),
            at: self.time(start),
            end_at: Some(end_at),
            method: text(asked, "method").to_owned(),
            url: text(asked, "target").to_owned(),
            request_headers: raw::headers(&asked["headers"]),
            request: request.clone(),
            status: answered["status"].as_u64().and_then(|status| u16::try_from(status).ok()),
            response_headers: raw::headers(&answered["headers"]),
            response: body.into(),
            chunks,
            end,
            retry_of: again.map(|at| self.failed.remove(at).1),
            ..Exchange::default()
        };
        self.tell(desk, exchange, request, end_at)
    }

    fn tell(
        &mut self,
        desk: &mut Desk<'_>,
        mut exchange: Exchange,
        request: Bytes,
        end_at: Timestamp,
    ) -> Result<(), Trouble> {
        let header = |exchange: &Exchange, name: &str| {
            let found = exchange.request_headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        exchange.agent = header(&exchange, "x-claude-code-agent-id");
        exchange.parent_agent = header(&exchange, "x-claude-code-parent-agent-id");
        let failed = exchange.status.is_none_or(|status| status >= 400) || exchange.end == Some(CallEnd::Cut);
        let call = raw::tell(desk, self.trace, exchange)?;
        if failed {
            self.failed.push((request, call));
            if self.failed.len() > 64 {
                self.failed.remove(0);
            }
        }
        self.last = self.last.max(end_at);
        desk.used();
        Ok(())
    }

    /// Model calls inside of a WebSocket: each `response.create` asks, what comes until it is complete answers.
    fn frames(&mut self, desk: &mut Desk<'_>, line: &Value, frames: &[Value]) -> Result<(), Trouble> {
        let asked = &line["request"];
        let mut current: Option<Exchange> = None;
        let mut number = 0;
        let mut calls = Vec::new();
        for frame in frames {
            let (at, text) = (seconds(&frame[0]).unwrap_or(0), frame[2].as_str().unwrap_or_default());
            let kind = serde_json::from_str::<Value>(text).ok();
            let kind = kind.as_ref().map(|value| self::text(value, "type")).unwrap_or_default();
            let from_client = frame[1].as_str().is_some_and(|side| side.starts_with('c'));
            if from_client && kind == "response.create" {
                calls.extend(current.take());
                number += 1;
                let mut request_headers = raw::headers(&asked["headers"]);
                request_headers.push(("x-holdback-websocket".to_owned(), "1".to_owned()));
                current = Some(Exchange {
                    key: format!("{}.{number}", line["seq"]),
                    at: self.time(at),
                    method: "POST".to_owned(),
                    url: self::text(asked, "target").to_owned(),
                    request_headers,
                    request: Bytes::from(text.to_owned()),
                    status: Some(200),
                    response_headers: vec![("content-type".to_owned(), "text/event-stream".to_owned())],
                    ..Exchange::default()
                });
            } else if let Some(exchange) = current.as_mut().filter(|_| !from_client) {
                let event = format!("data: {text}\n\n");
                let since = self.time(at).micros_since(exchange.at);
                exchange.chunks.push(Chunk { at: since, len: event.len() as u64 });
                exchange.end_at = Some(self.time(at));
                exchange.response = [&exchange.response[..], event.as_bytes()].concat().into();
                if matches!(kind, "response.completed" | "response.failed" | "response.incomplete" | "error") {
                    calls.extend(current.take());
                }
            }
        }
        calls.extend(current);
        for exchange in calls {
            self.last = self.last.max(exchange.end_at.unwrap_or(exchange.at));
            raw::tell(desk, self.trace, exchange)?;
        }
        desk.used();
        Ok(())
    }
}

/// A piece of a body: text, or an object with base64 in it.
fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        Value::Object(_) => bytes_of(&value["b64"], "body_b64"),
        _ => Vec::new(),
    }
}

fn bytes_of(value: &Value, key: &str) -> Vec<u8> {
    let text = value.as_str().unwrap_or_default();
    if key == "body_b64" {
        base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default()
    } else {
        text.as_bytes().to_vec()
    }
}
