//! HAR: what a browser or a debugging proxy saved. Everything in it that is a call of a model.

use base64::Engine;
use bytes::Bytes;
use serde_json::Value;

use super::desk::digest;
use super::raw::{self, Exchange};
use super::shape::text;
use super::{About, Desk, Format, Shape, Source, Trouble, document, time};
use crate::trace::{Source as From, Timestamp, Wire};

pub const FORMAT: Format = Format { name: "har", about: "HTTP archives (HAR 1.2)", fits, read };

fn fits(shape: &Shape<'_>) -> bool {
    shape.has("log.entries") || shape.all(&["log.version", "log.creator"])
}

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let archive = document(source.from)?;
    let mut trace = None;
    let mut last = source.modified;
    for entry in archive["log"]["entries"].as_array().into_iter().flatten() {
        let exchange = exchange(entry, source.modified);
        if raw::wire(&exchange) == Wire::Raw {
            desk.skipped("requests that are no model calls");
            continue;
        }
        let id = match trace {
            Some(id) => id,
            None => *trace.insert(desk.begin(About {
                key: format!(
                    "{:x?}",
                    digest(&[text(entry, "startedDateTime"), &String::from_utf8_lossy(&exchange.request)])
                ),
                name: source.path.rsplit('/').next().map(str::to_owned),
                at: exchange.at,
                fields: &[("times", From::Imported), ("usage", From::Imported), ("cost_usd", From::Derived)],
                ..About::default()
            })?),
        };
        last = exchange.end_at.unwrap_or(exchange.at);
        raw::tell(desk, id, exchange)?;
        desk.used();
    }
    trace.map_or(Ok(()), |trace| desk.end(trace, last, None))
}

fn exchange(entry: &Value, otherwise: Timestamp) -> Exchange {
    let (asked, answered) = (&entry["request"], &entry["response"]);
    let at = time::read(&entry["startedDateTime"]).unwrap_or(otherwise);
    let took = entry["time"].as_f64().filter(|ms| (0.0..1e9).contains(ms)).unwrap_or(0.0);
    let content = &answered["content"];
    let response = match text(content, "encoding") {
        "base64" => base64::engine::general_purpose::STANDARD.decode(text(content, "text")).unwrap_or_default().into(),
        _ => Bytes::from(text(content, "text").to_owned()),
    };
    // Status 0 is how browsers write that no answer came.
    let status = answered["status"].as_u64().and_then(|status| u16::try_from(status).ok()).filter(|status| *status > 0);
    let request = Bytes::from(text(&asked["postData"], "text").to_owned());
    Exchange {
        key: format!(
            "{:x?}",
            digest(&[text(entry, "startedDateTime"), text(asked, "url"), &String::from_utf8_lossy(&request)])
        ),
        at,
        end_at: Some(Timestamp(at.0 + (took * 1000.0) as i64)),
        method: text(asked, "method").to_owned(),
        url: text(asked, "url").to_owned(),
        request_headers: raw::headers(&asked["headers"]),
        request,
        status,
        response_headers: raw::headers(&answered["headers"]),
        response,
        ..Exchange::default()
    }
}
