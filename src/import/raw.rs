//! An HTTP exchange that somebody else recorded whole: it is read as the recorder reads its own.

use std::borrow::Cow;
use std::io::Read;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::open::{Opened, open};
use super::{Desk, Told, Trouble};
use crate::provider;
use crate::trace::{CallEnd, CallId, Chunk, Headers, Timestamp, TraceId, Wire};

/// One exchange.
#[derive(Debug, Default)]
pub struct Exchange {
    pub key: String,
    pub at: Timestamp,
    pub end_at: Option<Timestamp>,
    pub method: String,
    /// `https://api.openai.com/v1/…`, or only path and query.
    pub url: String,
    pub request_headers: Headers,
    pub request: Bytes,
    /// `None` when no answer came.
    pub status: Option<u16>,
    pub response_headers: Headers,
    pub response: Bytes,
    pub chunks: Vec<Chunk>,
    /// How the source says the answer ended, where it does.
    pub end: Option<CallEnd>,
    pub retry_of: Option<CallId>,
    pub agent: Option<String>,
    pub parent_agent: Option<String>,
}

/// What a few bytes of Brotli may unpack to.
const BROTLI: u64 = 64 << 20;

/// Scheme and host, path and query.
pub fn split(url: &str) -> (&str, &str) {
    let Some((_, rest)) = url.split_once("://") else { return ("", url) };
    let end = rest.find('/').unwrap_or(rest.len());
    (&rest[..end], if end == rest.len() { "/" } else { &rest[end..] })
}

/// Which provider a host is, in the words the recorder uses for upstreams.
pub fn upstream(host: &str) -> String {
    let known = [("anthropic.com", "anthropic"), ("openai.com", "openai"), ("googleapis.com", "gemini")];
    let host = host.split(':').next().unwrap_or_default();
    known.iter().find(|(end, _)| host.ends_with(end)).map_or_else(|| host.to_owned(), |(_, name)| (*name).to_owned())
}

#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
}

/// The model a request asks for.
pub fn model_asked(target: &str, body: &[u8]) -> String {
    if let Some((_, after)) = target.split_once("/models/") {
        return after.split([':', '?', '/']).next().unwrap_or_default().to_owned();
    }
    serde_json::from_slice::<Asked<'_>>(body).ok().and_then(|asked| asked.model).unwrap_or_default().into_owned()
}

/// The wire format of an exchange.
pub fn wire(exchange: &Exchange) -> Wire {
    provider::detect(&exchange.method, split(&exchange.url).1, &exchange.request_headers, &exchange.request)
}

/// Tells an exchange as a call.
pub fn tell(desk: &mut Desk<'_>, trace: TraceId, mut exchange: Exchange) -> Result<CallId, Trouble> {
    let wire = wire(&exchange);
    unpack(&mut exchange);
    let (host, target) = split(&exchange.url);
    let mut reader = exchange.status.map(|status| provider::Reader::new(wire, status, &exchange.response_headers));
    if let Some(reader) = &mut reader {
        reader.feed(&exchange.response);
    }
    let response = reader.map(provider::Reader::finish).unwrap_or_default();
    let succeeded = exchange.status.is_some_and(|status| status < 300);
    let end = match exchange.end {
        _ if exchange.status.is_none() => CallEnd::NoAnswer,
        Some(CallEnd::ClientGone) if response.complete => CallEnd::Complete,
        Some(end) => end,
        None if wire != Wire::Raw && succeeded && !response.complete && response.error.is_none() => CallEnd::Cut,
        None => CallEnd::Complete,
    };
    let mut summary = desk.summary(&response, &model_asked(target, &exchange.request));
    if summary.error.is_none() {
        summary.error = match (end, exchange.status) {
            (_, Some(status @ 400..)) => Some(format!("HTTP {status}")),
            (CallEnd::Cut, _) => Some("the stream ended before the answer did".to_owned()),
            (CallEnd::NoAnswer, _) => Some("no answer".to_owned()),
            _ => None,
        };
    }
    let told = Told {
        key: exchange.key,
        at: exchange.at,
        end_at: exchange.end_at,
        wire,
        upstream: upstream(host),
        target: target.to_owned(),
        method: exchange.method,
        request_headers: exchange.request_headers,
        request: exchange.request,
        status: exchange.status,
        response_headers: exchange.response_headers,
        first_content: response.first_content_at.and_then(|at| arrival(&exchange.chunks, at)),
        response: exchange.response,
        chunks: exchange.chunks,
        end,
        summary,
        retry_of: exchange.retry_of,
        agent: exchange.agent,
        parent_agent: exchange.parent_agent,
        ..Told::default()
    };
    desk.call(trace, told)
}

/// When the byte before `offset` came.
fn arrival(chunks: &[Chunk], offset: usize) -> Option<u64> {
    let mut end = 0;
    chunks.iter().find_map(|chunk| {
        end += chunk.len;
        (end >= offset as u64).then_some(chunk.at)
    })
}

/// Takes the packing off bodies that were kept packed.
fn unpack(exchange: &mut Exchange) {
    let coding = exchange.response_headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-encoding"));
    // Brotli's bytes don't say what they are; where they were unpacked already, they are text.
    if coding.is_some_and(|(_, coding)| coding.trim() == "br") && std::str::from_utf8(&exchange.response).is_err() {
        let most = BROTLI.saturating_add(400 * exchange.response.len() as u64);
        let mut plain = Vec::new();
        let unpacked = brotli::Decompressor::new(&exchange.response[..], 16 << 10).take(most).read_to_end(&mut plain);
        if unpacked.is_ok_and(|len| (len as u64) < most) {
            exchange.response = plain.into();
        }
    }
    for body in [&mut exchange.request, &mut exchange.response] {
        if !body.starts_with(&[0x1f, 0x8b]) && !body.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            continue;
        }
        let packed = body.clone();
        let mut plain = Vec::new();
        if let Ok(Opened::Plain(mut from)) = open(&packed[..])
            && from.read_to_end(&mut plain).is_ok()
        {
            *body = plain.into();
        }
    }
}

/// Headers however they were written: pairs, objects with name and value, an object of texts or lists.
pub fn headers(value: &Value) -> Headers {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let one = |name: &str, value: &Value| -> Headers {
        match value {
            Value::Array(values) => values.iter().filter_map(text).map(|value| (name.to_owned(), value)).collect(),
            value => text(value).map(|value| (name.to_owned(), value)).into_iter().collect(),
        }
    };
    match value {
        Value::Array(list) => list
            .iter()
            .filter_map(|pair| match pair {
                Value::Array(pair) => Some((text(pair.first()?)?, text(pair.get(1)?)?)),
                Value::Object(pair) => Some((text(pair.get("name")?)?, text(pair.get("value")?)?)),
                _ => None,
            })
            .collect(),
        Value::Object(object) => object.iter().flat_map(|(name, value)| one(name, value)).collect(),
        _ => Headers::new(),
    }
}

/// A body however it was written: a text, or the JSON itself.
pub fn body(value: &Value) -> Bytes {
    match value {
        Value::Null => Bytes::new(),
        Value::String(text) => Bytes::from(text.clone()),
        json => Bytes::from(json.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_are_split() {
        assert_eq!(split("https://api.openai.com/v1/x?y=1"), ("api.openai.com", "/v1/x?y=1"));
        assert_eq!(split("http://h:1"), ("h:1", "/"));
        assert_eq!(split("/v1/x"), ("", "/v1/x"));
        assert_eq!(upstream("api.anthropic.com"), "anthropic");
        assert_eq!(upstream("127.0.0.1:80"), "127.0.0.1");
    }

    #[test]
    fn headers_come_in_many_shapes() {
        let expected = vec![("a".to_owned(), "1".to_owned())];
        for value in [json!([["a", "1"]]), json!([{"name": "a", "value": "1"}]), json!({"a": ["1"]}), json!({"a": "1"})]
        {
            assert_eq!(headers(&value), expected, "{value}");
        }
        assert_eq!(headers(&json!([["a"], 3, {"name": 1}])), Headers::new());
    }
}
