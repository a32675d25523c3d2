//! OTLP in JSON: ids in hex (some write base64), times as texts.

use std::sync::Arc;

use base64::Engine;
use serde_json::{Map, Value};

use super::proto::Unreadable;
use super::{Batch, Event, Log, Span};
use crate::trace::Timestamp;

/// Values inside of values.
const DEEPEST: usize = 24;

fn member<'a>(object: &'a Value, names: [&str; 2]) -> &'a Value {
    names.iter().find_map(|name| object.get(*name)).unwrap_or(&Value::Null)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn hex<const N: usize>(value: &Value) -> [u8; N] {
    let text = value.as_str().unwrap_or_default();
    let mut id = [0; N];
    if text.len() == 2 * N && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0);
        }
    } else if let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(text)
        && bytes.len() == N
    {
        id.copy_from_slice(&bytes);
    }
    id
}

fn nanos(value: &Value) -> Timestamp {
    let nanos = value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0);
    Timestamp(i64::try_from(nanos / 1000).unwrap_or(i64::MAX))
}

/// An `AnyValue`.
pub fn any(value: &Value, depth: usize) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|object| object.iter().next()) else { return Value::Null };
    if depth > DEEPEST {
        return Value::from(inner.to_string());
    }
    match kind.as_str() {
        "intValue" | "int_value" => match inner {
            Value::String(text) => text.parse::<i64>().map_or_else(|_| inner.clone(), Value::from),
            other => other.clone(),
        },
        "arrayValue" | "array_value" => list(&inner["values"]).map(|one| any(one, depth + 1)).collect(),
        "kvlistValue" | "kvlist_value" => Value::Object(pairs(&inner["values"], depth + 1)),
        _ => inner.clone(),
    }
}

/// A list of `KeyValue`.
pub fn pairs(value: &Value, depth: usize) -> Map<String, Value> {
    let one = |pair: &Value| {
        Some((pair.get("key")?.as_str()?.to_owned(), any(pair.get("value").unwrap_or(&Value::Null), depth)))
    };
    list(value).filter_map(one).collect()
}

fn parse(body: &[u8], names: [&str; 2]) -> Result<Value, Unreadable> {
    let whole: Value = serde_json::from_slice(body).map_err(|error| Unreadable(error.to_string()))?;
    let groups = member(&whole, names);
    if groups.is_array() {
        Ok(groups.clone())
    } else if whole.as_object().is_some_and(Map::is_empty) {
        Ok(Value::Array(Vec::new()))
    } else {
        Err(Unreadable(format!("it has no list {:?}", names[0])))
    }
}

/// Each item with its resource and scope.
fn items(
    groups: &Value,
    scoped: [&str; 2],
    named: [&str; 2],
    mut each: impl FnMut(&Value, &Arc<Map<String, Value>>, &Arc<str>),
) {
    for group in list(groups) {
        let resource = Arc::new(pairs(&group["resource"]["attributes"], 0));
        for scope in list(member(group, scoped)) {
            let name: Arc<str> = scope["scope"]["name"].as_str().unwrap_or_default().into();
            list(member(scope, named)).for_each(|item| each(item, &resource, &name));
        }
    }
}

/// An `ExportTraceServiceRequest`.
pub fn traces(body: &[u8]) -> Result<Batch, Unreadable> {
    let groups = parse(body, ["resourceSpans", "resource_spans"])?;
    let mut batch = Batch::default();
    items(&groups, ["scopeSpans", "scope_spans"], ["spans", "spans"], |item, resource, scope| {
        let span = Span {
            trace: u128::from_be_bytes(hex(member(item, ["traceId", "trace_id"]))),
            id: u64::from_be_bytes(hex(member(item, ["spanId", "span_id"]))),
            parent: u64::from_be_bytes(hex(member(item, ["parentSpanId", "parent_span_id"]))),
            name: item["name"].as_str().unwrap_or_default().to_owned(),
            scope: scope.clone(),
            start: nanos(member(item, ["startTimeUnixNano", "start_time_unix_nano"])),
            end: nanos(member(item, ["endTimeUnixNano", "end_time_unix_nano"])),
            attributes: pairs(&item["attributes"], 0),
            events: list(&item["events"]).map(event).collect(),
            error: status(&item["status"]),
            resource: resource.clone(),
        };
        if span.trace != 0 && span.id != 0 {
            batch.spans.push(span);
        } else {
            batch.reject("a span needs a traceId of 32 hex digits and a spanId of 16");
        }
    });
    Ok(batch)
}

fn event(event: &Value) -> Event {
    Event {
        at: nanos(member(event, ["timeUnixNano", "time_unix_nano"])),
        name: event["name"].as_str().unwrap_or_default().to_owned(),
        attributes: pairs(&event["attributes"], 0),
    }
}

/// What went wrong, when the status is an error.
pub fn status(status: &Value) -> Option<String> {
    let failed =
        status["code"].as_u64() == Some(2) || matches!(status["code"].as_str(), Some("STATUS_CODE_ERROR" | "ERROR"));
    let message = status["message"].as_str().filter(|message| !message.is_empty()).unwrap_or("failed");
    failed.then(|| message.to_owned())
}

/// An `ExportLogsServiceRequest`.
pub fn logs(body: &[u8]) -> Result<Batch, Unreadable> {
    let groups = parse(body, ["resourceLogs", "resource_logs"])?;
    let mut batch = Batch::default();
    items(&groups, ["scopeLogs", "scope_logs"], ["logRecords", "log_records"], |item, resource, _| {
        let at = nanos(member(item, ["timeUnixNano", "time_unix_nano"]));
        let observed = nanos(member(item, ["observedTimeUnixNano", "observed_time_unix_nano"]));
        batch.logs.push(Log {
            trace: u128::from_be_bytes(hex(member(item, ["traceId", "trace_id"]))),
            span: u64::from_be_bytes(hex(member(item, ["spanId", "span_id"]))),
            at: if at == Timestamp::default() { observed } else { at },
            name: member(item, ["eventName", "event_name"]).as_str().unwrap_or_default().to_owned(),
            body: any(&item["body"], 0),
            attributes: pairs(&item["attributes"], 0),
            resource: resource.clone(),
        });
    });
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_spans_are_read_in_both_spellings_of_names_and_ids() {
        for body in [
            r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeSpans":[{"scope":{"name":"ai"},"spans":[
                {"traceId":"0123456789abcdef0123456789abcdef","spanId":"0123456789abcdef","name":"x","startTimeUnixNano":"1700000000000000000",
                 "attributes":[{"key":"n","value":{"intValue":"7"}},{"key":"l","value":{"arrayValue":{"values":[{"boolValue":true}]}}}],"status":{"code":2}},
                {"traceId":"zz","spanId":"1"}]}]}]}"#,
            r#"{"resource_spans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scope_spans":[{"scope":{"name":"ai"},"spans":[
                {"trace_id":"ASNFZ4mrze8BI0VniavN7w==","span_id":"ASNFZ4mrze8=","name":"x","start_time_unix_nano":1700000000000000000,
                 "attributes":[{"key":"n","value":{"intValue":7}},{"key":"l","value":{"arrayValue":{"values":[{"boolValue":true}]}}}],"status":{"code":"STATUS_CODE_ERROR"}},
                {}]}]}]}"#,
        ] {
            let batch = traces(body.as_bytes()).unwrap();
            assert_eq!((batch.spans.len(), batch.rejected), (1, 1));
            let span = &batch.spans[0];
            assert_eq!((span.trace, span.id), (0x0123_4567_89ab_cdef_0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef));
            assert_eq!(
                (span.start, &span.attributes["n"], &span.attributes["l"]),
                (Timestamp(1_700_000_000_000_000), &Value::from(7), &serde_json::json!([true]))
            );
            assert!(span.error.is_some() && span.resource["service.name"] == "shop");
        }
        assert!(traces(b"{\"resourceLogs\":[]}").is_err() && traces(b"[]").is_err() && traces(b"{").is_err());
        assert_eq!(traces(b"{}").unwrap().spans.len(), 0);
    }
}
