//! vcrpy cassettes: YAML or JSON recordings of a test's HTTP traffic. They join a stream into one body, so times are lost.

use base64::Engine;
use bytes::Bytes;
use serde_json::Value;

use super::desk::digest;
use super::raw::{self, Exchange};
use super::shape::text;
use super::{About, Desk, Format, Shape, Source, Trouble, time, whole};
use crate::trace::{Source as From, Timestamp, Wire};

pub const FORMAT: Format = Format { name: "vcr", about: "vcrpy cassettes, YAML and JSON", fits, read };

fn fits(shape: &Shape<'_>) -> bool {
    let head = shape.head.trim_ascii_start();
    shape.has("interactions[].request") || head.starts_with(b"interactions:") || head.starts_with(b"---\ninteractions:")
}

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let bytes = whole(source.from)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let cassette: Value = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| Trouble::Bad(format!("it is no whole JSON document: {error}")))?
    } else {
        // Bytes that are no text are written as base64, with a tag that says so; `body` tells them by what they are.
        let options = serde_saphyr::options! { ignore_binary_tag_for_string: true };
        serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| Trouble::Bad(format!("it is no YAML: {error}")))?
    };
    let Some(interactions) = cassette["interactions"].as_array() else {
        return Err(Trouble::Bad("a cassette has a list of `interactions`, this has none".to_owned()));
    };
    let mut trace = None;
    let mut end = source.modified;
    for (number, interaction) in interactions.iter().enumerate() {
        let exchange = exchange(interaction, number, source.modified);
        if raw::wire(&exchange) == Wire::Raw {
            desk.skipped("requests that are no model calls");
            continue;
        }
        let id = match trace {
            Some(id) => id,
            None => *trace.insert(desk.begin(About {
                key: format!(
                    "{:x?}",
                    digest(&[
                        &String::from_utf8_lossy(&exchange.request),
                        &String::from_utf8_lossy(&exchange.response)
                    ])
                ),
                name: source.path.rsplit('/').next().and_then(|name| name.split('.').next()).map(str::to_owned),
                at: exchange.at,
                fields: &[("usage", From::Imported), ("cost_usd", From::Derived), ("times", From::Derived)],
                ..About::default()
            })?),
        };
        end = end.max(exchange.at);
        raw::tell(desk, id, exchange)?;
        desk.used();
    }
    trace.map_or(Ok(()), |trace| desk.end(trace, end, None))
}

fn exchange(interaction: &Value, number: usize, otherwise: Timestamp) -> Exchange {
    let (asked, answered) = (&interaction["request"], &interaction["response"]);
    let status = answered["status"]["code"].as_u64().or_else(|| answered["status_code"].as_u64());
    let recorded = time::read(&interaction["recorded_at"]).unwrap_or(otherwise);
    Exchange {
        key: number.to_string(),
        // One after the other, in the order they were recorded.
        at: Timestamp(recorded.0 + number as i64),
        method: text(asked, "method").to_owned(),
        url: [text(asked, "uri"), text(asked, "url")].concat(),
        request_headers: raw::headers(&asked["headers"]),
        request: body(&asked["body"]),
        status: status.and_then(|status| u16::try_from(status).ok()),
        response_headers: raw::headers(&answered["headers"]),
        response: body(if answered["body"].is_null() { &answered["content"] } else { &answered["body"] }),
        ..Exchange::default()
    }
}

/// A body: a text, or an object with `string` or base64 in it.
fn body(value: &Value) -> Bytes {
    let Value::Object(object) = value else { return raw::body(value) };
    if let Some(packed) = object.get("base64_string").and_then(Value::as_str) {
        return from_base64(packed).unwrap_or_default().into();
    }
    let string = object.get("string").unwrap_or(value);
    // No text anybody sends or gets here is base64 of bytes that are no text.
    let packed = string.as_str().and_then(from_base64).filter(|bytes| std::str::from_utf8(bytes).is_err());
    packed.map_or_else(|| raw::body(string), Bytes::from)
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_ascii_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
