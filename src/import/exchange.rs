//! Request and response side by side, one pair a line: what many gateways and SDK wrappers log, claude-trace, and the files of
//! the batch interfaces of OpenAI and Anthropic.

use bytes::Bytes;
use serde_json::{Value, json};

use super::desk::digest;
use super::lines::{Line, Lines};
use super::raw::{self, Exchange};
use super::shape::text;
use super::{About, Desk, Format, Source, Trouble, time};
use crate::trace::{Source as From, Timestamp, TraceId};

pub const FORMAT: Format = Format {
    name: "exchanges",
    about: "request and response pairs of OpenAI and Anthropic, one a line; batch files; claude-trace",
    fits: |shape| shape.line(|line| pair(line).is_some()),
    read,
};

/// The parts of a line.
struct Pair<'a> {
    asked: Option<&'a Value>,
    answered: &'a Value,
    /// Of a batch: a conversation of its own.
    alone: Option<&'a str>,
}

fn is_request(value: &Value) -> bool {
    ["messages", "input", "contents", "prompt"].iter().any(|key| value.get(key).is_some())
}

fn is_response(value: &Value) -> bool {
    ["choices", "content", "output", "candidates", "error"].iter().any(|key| value.get(key).is_some())
        && value.get("messages").is_none()
}

fn pair(line: &Value) -> Option<Pair<'_>> {
    let alone = line.get("custom_id").and_then(Value::as_str);
    if let (Some(_), Some(result)) = (alone, line.get("result").filter(|result| result.get("type").is_some())) {
        return Some(Pair { asked: None, answered: result.get("message").or_else(|| result.get("error"))?, alone });
    }
    for (asked, answered) in
        [("request", "response"), ("kwargs", "response"), ("body", "response"), ("input", "output")]
    {
        let Some(response) = line.get(answered).filter(|value| value.is_object()) else { continue };
        let request = line.get(asked).filter(|value| value.is_object());
        let inner = response.get("body").or_else(|| response.get("body_raw")).unwrap_or(response);
        let fits = request.is_some_and(|request| is_request(request.get("body").unwrap_or(request))) || alone.is_some();
        if fits && (is_response(inner) || inner.is_string() || response.get("error").is_some()) {
            return Some(Pair { asked: request, answered: response, alone });
        }
    }
    let answer = matches!(text(line, "object"), "chat.completion" | "response")
        || (text(line, "type") == "message" && line.get("usage").is_some() && line.get("content").is_some());
    answer.then_some(Pair { asked: None, answered: line, alone })
}

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let mut file = File { path: source.path, began: source.modified, shared: None, last: source.modified, number: 0 };
    let mut lines = Lines::new(&mut *source.from);
    while let Some(line) = lines.next()? {
        let Line::Whole { bytes, last } = line else {
            desk.skipped("a line that is too long");
            continue;
        };
        match serde_json::from_slice::<Value>(bytes) {
            Ok(value) => file.line(desk, &value)?,
            Err(_) if last => desk.skipped("a last line that was cut off"),
            Err(_) => desk.damaged(),
        }
    }
    file.shared.map_or(Ok(()), |trace| desk.end(trace, file.last, None))
}

struct File<'a> {
    path: &'a str,
    began: Timestamp,
    shared: Option<TraceId>,
    last: Timestamp,
    number: i64,
}

impl File<'_> {
    fn line(&mut self, desk: &mut Desk<'_>, line: &Value) -> Result<(), Trouble> {
        self.number += 1;
        let Some(pair) = pair(line) else {
            if line.get("custom_id").is_some() && line.get("body").is_some() {
                desk.skipped("requests of a batch: their answers are in another file");
                return Ok(());
            }
            let at = self.last;
            let trace = self.trace(desk, line, None, at)?;
            return desk.unknown(trace, at, "line", line.clone());
        };
        let exchange = self.exchange(line, &pair);
        let trace = self.trace(desk, line, pair.alone, exchange.at)?;
        let end = exchange.end_at.unwrap_or(exchange.at);
        self.last = self.last.max(end);
        raw::tell(desk, trace, exchange)?;
        if pair.alone.is_some() {
            desk.end(trace, end, None)?;
        }
        desk.used();
        Ok(())
    }

    fn trace(
        &mut self,
        desk: &mut Desk<'_>,
        line: &Value,
        alone: Option<&str>,
        at: Timestamp,
    ) -> Result<TraceId, Trouble> {
        if let Some(trace) = self.shared.filter(|_| alone.is_none()) {
            return Ok(trace);
        }
        let asked = pair(line).is_some_and(|pair| pair.asked.is_some());
        let trace = desk.begin(About {
            key: format!("{:x?}", digest(&[&line.to_string()])),
            name: alone.map(str::to_owned).or_else(|| self.path.rsplit('/').next().map(str::to_owned)),
            at,
            why_not: if asked { "" } else { "only answers are in the file, no requests" },
            fields: &[("usage", From::Imported), ("cost_usd", From::Derived)],
            ..About::default()
        })?;
        if alone.is_none() {
            self.shared = Some(trace);
        }
        Ok(trace)
    }

    fn exchange(&self, line: &Value, pair: &Pair<'_>) -> Exchange {
        let empty = Value::Null;
        let asked = pair.asked.unwrap_or(&empty);
        let answered = pair.answered;
        let times = [
            &asked["timestamp"],
            &line["timestamp"],
            &line["created_at"],
            &line["startTime"],
            &line["start_time"],
            &answered["created"],
        ];
        let at = times.into_iter().find_map(time::read).unwrap_or(Timestamp(self.began.0 + self.number));
        let ends = [&answered["timestamp"], &line["endTime"], &line["end_time"]];
        let request_body = asked.get("body").unwrap_or(asked);
        let response_body = answered.get("body").or_else(|| answered.get("body_raw")).unwrap_or(answered);
        let failed = answered.get("type").and_then(Value::as_str) == Some("error")
            || response_body.get("error").is_some_and(|e| !e.is_null());
        let status = answered["status_code"].as_u64().or_else(|| answered["status"].as_u64());
        let status = status.and_then(|status| u16::try_from(status).ok()).unwrap_or(if failed { 500 } else { 200 });
        let url = [text(asked, "url"), text(line, "url")].into_iter().find(|url| !url.is_empty()).unwrap_or_default();
        let request = match request_body {
            Value::Null => stand_in(response_body),
            body => raw::body(body),
        };
        let response = raw::body(response_body);
        let url = if url.is_empty() { path_for(response_body, request_body) } else { url };
        Exchange {
            key: format!("{} {:x?}", self.number, digest(&[&String::from_utf8_lossy(&response)])),
            at,
            end_at: ends.into_iter().find_map(time::read),
            method: "POST".to_owned(),
            url: url.to_owned(),
            request_headers: raw::headers(&asked["headers"]),
            request,
            status: Some(status),
            response_headers: raw::headers(&answered["headers"]),
            response,
            ..Exchange::default()
        }
    }
}

/// A request that says only which model answered.
fn stand_in(response: &Value) -> Bytes {
    Bytes::from(json!({ "messages": [], "model": text(response, "model") }).to_string())
}

/// Where such a body is sent, told by its shape.
fn path_for(response: &Value, request: &Value) -> &'static str {
    if response.get("choices").is_some() {
        "/v1/chat/completions"
    } else if response.get("output").is_some() || text(response, "object") == "response" {
        "/v1/responses"
    } else if text(response, "type") == "message" || request.get("system").is_some() {
        "/v1/messages"
    } else {
        ""
    }
}
