//! OTLP bodies saved in files, and spans as SDKs and Phoenix write them out.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Batch, Book, Event, Signal, Span, decode, json};
use crate::import::shape::text;
use crate::import::{Desk, Format, Shape, Source, Trouble, records, time, whole};
use crate::trace::Timestamp;

pub const FORMAT: Format =
    Format { name: "otlp", about: "OTLP bodies in files: traces and logs, protobuf, JSON and JSON lines", fits, read };

pub const SPANS: Format = Format {
    name: "spans",
    about: "spans written out by OpenTelemetry SDKs and Phoenix (OpenInference), JSON and JSON lines",
    fits: fits_spans,
    read: read_spans,
};

fn fits(shape: &Shape<'_>) -> bool {
    let keys = ["resourceSpans", "resource_spans", "resourceLogs", "resource_logs"];
    keys.iter().any(|key| shape.has(key)) || signal_of(shape.head).is_some()
}

/// What a protobuf body holds: traces and logs begin alike, and differ in what stands in the first item.
fn signal_of(head: &[u8]) -> Option<Signal> {
    if head.first() != Some(&0x0a) || head.iter().take(64).all(u8::is_ascii) && head.len() > 64 {
        return None;
    }
    // Of a body cut off at the end of what was looked at, nothing can be read whole: its own beginning tells.
    if let Ok(batch) = super::proto::traces(head)
        && !batch.spans.is_empty()
    {
        return Some(Signal::Traces);
    }
    let logs = super::proto::logs(head).ok()?;
    logs.logs.iter().any(|log| log.at > Timestamp::default()).then_some(Signal::Logs)
}

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let head = source.from.fill_buf()?;
    let is_json = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start().starts_with(b"{");
    let mut own = Book::default();
    let shared = desk.book.take();
    let waits = shared.is_some();
    let book = shared.unwrap_or(&mut own);
    let bad = |error: super::Unreadable| Trouble::Bad(error.to_string());
    if is_json {
        let bytes = whole(source.from)?;
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        match either(bytes) {
            Ok(batch) => book.take(desk, batch, Timestamp::default(), false)?,
            // The collector's file exporter writes one body a line.
            Err(first) => {
                let mut found = false;
                for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
                    match either(line) {
                        Ok(batch) => {
                            found = true;
                            book.take(desk, batch, Timestamp::default(), false)?;
                        }
                        Err(_) => desk.damaged(),
                    }
                }
                if !found {
                    return Err(bad(first));
                }
            }
        }
    } else {
        let bytes = whole(source.from)?;
        let signal = if source.path.contains("v1_logs") { Some(Signal::Logs) } else { signal_of(&bytes) };
        let batch = decode(signal.unwrap_or(Signal::Traces), false, &bytes).map_err(bad)?;
        book.take(desk, batch, Timestamp::default(), false)?;
    }
    // Files beside this one may have what was said in its calls.
    if waits { Ok(()) } else { book.tell_waiting(desk, Timestamp(i64::MAX)) }
}

fn either(body: &[u8]) -> Result<Batch, super::Unreadable> {
    match json::traces(body) {
        Ok(batch) => Ok(batch),
        Err(error) => json::logs(body).map_err(|_| error),
    }
}

fn is_span(line: &Value) -> bool {
    let context =
        line["spanContext"].is_object() || line["context"].is_object() || line.get("context.span_id").is_some();
    context && line.get("name").is_some()
}

fn fits_spans(shape: &Shape<'_>) -> bool {
    let list = |key: &str| shape.has(&format!("[].{key}"));
    shape.line(is_span)
        || (list("name") && (list("spanContext") || list("context") || list("context.span_id")))
        || (shape.has("data[].context") && shape.has("data[].span_kind"))
}

fn read_spans(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let mut batch = Batch::default();
    records::each(source.from, desk, &["data", "spans"], &mut |desk, value| {
        match span(&value) {
            Some(span) => batch.spans.push(span),
            None => desk.skipped("spans without ids"),
        }
        Ok(())
    })?;
    let mut book = Book::default();
    book.take(desk, batch, Timestamp::default(), false)?;
    book.tell_waiting(desk, Timestamp(i64::MAX))
}

/// A span as an SDK's console exporter, or Phoenix, writes it.
fn span(value: &Value) -> Option<Span> {
    let context = ["spanContext", "context"].iter().map(|key| &value[*key]).find(|context| context.is_object());
    let id = |names: [&str; 3]| {
        let inside = context.and_then(|context| names.iter().find_map(|name| context.get(*name)?.as_str()));
        inside
            .or_else(|| names.iter().find_map(|name| value.get(*name)?.as_str()))
            .map(|id| id.trim_start_matches("0x").to_owned())
    };
    let trace = u128::from_str_radix(&id(["traceId", "trace_id", "context.trace_id"])?, 16).ok()?;
    let own = u64::from_str_radix(&id(["spanId", "span_id", "context.span_id"])?, 16).ok()?;
    let parent = ["parentSpanId", "parent_id", "parentId"].iter().find_map(|key| value.get(*key)?.as_str());
    let parent = parent.or_else(|| value["parentSpanContext"]["spanId"].as_str()).unwrap_or_default();
    let at = |names: [&str; 3]| names.iter().find_map(|name| time::read(value.get(*name)?)).unwrap_or_default();
    let mut attributes = Map::new();
    flatten("", &value["attributes"], &mut attributes);
    // A table's columns: every attribute beside the others.
    for (key, column) in value.as_object()?.iter().filter(|(key, _)| key.starts_with("attributes.")) {
        flatten(key.trim_start_matches("attributes."), column, &mut attributes);
    }
    let kind = text(value, "span_kind");
    if !kind.is_empty()
        && !attributes.contains_key("openinference.span.kind")
        && !kind.contains("INTERNAL")
        && !kind.starts_with("SpanKind")
    {
        attributes.insert("openinference.span.kind".to_owned(), kind.into());
    }
    let event = |event: &Value| Event {
        at: time::read(&event["time"]).or_else(|| time::read(&event["timestamp"])).unwrap_or_default(),
        name: text(event, "name").to_owned(),
        attributes: event["attributes"].as_object().cloned().unwrap_or_default(),
    };
    let failed = text(value, "status_code") == "ERROR" || text(&value["status"], "status_code") == "ERROR";
    Some(Span {
        trace,
        id: own,
        parent: u64::from_str_radix(parent.trim_start_matches("0x"), 16).unwrap_or(0),
        name: text(value, "name").to_owned(),
        scope: text(&value["instrumentationScope"], "name").into(),
        start: at(["startTime", "start_time", "startTimeUnixNano"]),
        end: at(["endTime", "end_time", "endTimeUnixNano"]),
        attributes,
        events: value["events"].as_array().into_iter().flatten().map(event).collect(),
        error: json::status(&value["status"]).or_else(|| failed.then(|| text(value, "status_message").to_owned())),
        resource: Arc::new(value["resource"]["attributes"].as_object().cloned().unwrap_or_default()),
    })
    .filter(|span| span.trace != 0 && span.id != 0)
}

/// Attributes that an export has nested, flat again, as on the wire.
fn flatten(prefix: &str, value: &Value, into: &mut Map<String, Value>) {
    let under = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match value {
        Value::Object(object) if prefix.matches('.').count() < 12 => {
            object.iter().for_each(|(key, inner)| flatten(&under(key), inner, into));
        }
        Value::Array(list) if list.iter().any(Value::is_object) && prefix.matches('.').count() < 12 => {
            list.iter().enumerate().for_each(|(at, inner)| flatten(&under(&at.to_string()), inner, into));
        }
        Value::Null => {}
        other => {
            into.insert(prefix.to_owned(), other.clone());
        }
    }
}
