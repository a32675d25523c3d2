//! What the recorder reads from a call: the body without its encoding, when what arrived, the summary a list shows.

use bytes::{Bytes, BytesMut};
use hyper::{HeaderMap, header};
use memchr::memmem;

use super::decode::Decoder;
use super::forward;
use super::queue::Ended;
use crate::price::Table;
use crate::provider;
use crate::trace::{CallEnd, CallSummary, Chunk, Headers, Response, Timestamp, Wire};

/// Stands for the content-encoding that a kept body came with and no longer has.
pub const DECODED: &str = "x-holdback-decoded";

/// An answer, read.
pub(super) struct Read {
    pub(super) at: Timestamp,
    pub(super) end: CallEnd,
    pub(super) status: Option<u16>,
    pub(super) headers: Headers,
    pub(super) body: Bytes,
    pub(super) chunks: Vec<Chunk>,
    pub(super) first_byte: Option<u64>,
    pub(super) first_content: Option<u64>,
    pub(super) response: Response,
    pub(super) summary: CallSummary,
}

/// Reads an answer. It may be anything.
pub(super) fn read(wire: Wire, ended: Ended, pieces: Vec<(u64, Bytes)>, prices: &Table, asked: Option<&str>) -> Read {
    let Ended { at, end, status, headers, whole, error: broken, .. } = ended;
    let (body, chunks, unpacked) = unpack(&headers, pieces);
    let headers = kept_headers(&headers, unpacked);
    let response = status.map(|status| provider::response(wire, status, &headers, &body)).unwrap_or_default();
    let end = match end {
        // A client that hangs up when it has heard the end is not a client that went away.
        CallEnd::ClientGone if response.complete => CallEnd::Complete,
        CallEnd::Complete if whole && ends_too_early(wire, status, &response) => CallEnd::Cut,
        end => end,
    };
    let first_content = response.first_content_at.and_then(|offset| arrival(&chunks, offset));
    let model = if response.model.is_empty() { asked.unwrap_or_default() } else { &response.model };
    let summary = CallSummary {
        model: model.to_owned(),
        usage: response.usage,
        cost_usd: prices.cost_with(model, &response.usage, &response.usage_raw),
        stop: response.stop.as_ref().map(|stop| stop.as_str().to_owned()),
        error: error_of(end, status, &response, broken),
        tools_called: response
            .message
            .iter()
            .flat_map(|message| message.tool_calls())
            .map(|call| call.name.clone())
            .collect(),
    };
    let first_byte = chunks.first().map(|chunk| chunk.at);
    Read { at, end, status, headers, body, chunks, first_byte, first_content, response, summary }
}

fn ends_too_early(wire: Wire, status: Option<u16>, response: &Response) -> bool {
    wire != Wire::Raw && status.is_some_and(|status| status < 300) && !response.complete && response.error.is_none()
}

fn error_of(end: CallEnd, status: Option<u16>, response: &Response, broken: Option<String>) -> Option<String> {
    if let Some(error) = &response.error {
        let parts = [error.kind.as_str(), error.message.as_str()];
        return Some(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": "));
    }
    match (end, status) {
        (_, Some(status @ 400..)) => Some(format!("HTTP {status}")),
        (CallEnd::Cut, _) => Some(broken.unwrap_or_else(|| "the stream ended before the answer did".to_owned())),
        (CallEnd::NoAnswer, _) => Some(broken.unwrap_or_else(|| "no answer".to_owned())),
        _ => None,
    }
}

/// When the byte before `offset` came.
fn arrival(chunks: &[Chunk], offset: usize) -> Option<u64> {
    let mut end = 0;
    chunks.iter().find_map(|chunk| {
        end += chunk.len;
        (end >= offset as u64).then_some(chunk.at)
    })
}

/// The body without its content-encoding and when its pieces came, and whether an encoding was taken off. A body that cannot
/// be unpacked at all stays as it came; one that breaks off gives what came.
fn unpack(headers: &HeaderMap, pieces: Vec<(u64, Bytes)>) -> (Bytes, Vec<Chunk>, bool) {
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    let first = pieces.first().map_or(&[][..], |(_, piece)| piece);
    if let Some(mut decoder) = encoding.and_then(|encoding| Decoder::new(encoding, first)) {
        let mut chunks = Vec::with_capacity(pieces.len());
        let mut came = 0;
        for (at, piece) in &pieces {
            let Ok(len) = decoder.push(piece) else { break };
            came += len;
            chunks.push(Chunk { at: *at, len: len as u64 });
        }
        if came > 0 || pieces.is_empty() {
            let mut body = decoder.finish();
            body.truncate(came);
            return (body.into(), chunks, true);
        }
    }
    let chunks = pieces.iter().map(|(at, piece)| Chunk { at: *at, len: piece.len() as u64 }).collect();
    (joined(pieces), chunks, false)
}

/// Pieces as one.
pub(super) fn joined(mut pieces: Vec<(u64, Bytes)>) -> Bytes {
    if pieces.len() < 2 {
        return pieces.pop().map(|(_, piece)| piece).unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(pieces.iter().map(|(_, piece)| piece.len()).sum());
    pieces.iter().for_each(|(_, piece)| whole.extend_from_slice(piece));
    whole.freeze()
}

/// Headers that describe the body as it is kept: an encoding that was taken off is named as history.
pub(super) fn kept_headers(headers: &HeaderMap, unpacked: bool) -> Headers {
    let mut list = forward::headers(headers);
    if unpacked {
        for (name, _) in list.iter_mut().filter(|(name, _)| name == "content-encoding") {
            DECODED.clone_into(name);
        }
    }
    list
}

/// The model a request asks for, found without reading it as JSON. In a JSON text a quote is escaped, so the bytes `"model":`
/// are a key; the first one with a text behind it is taken, near the beginning or else near the end.
pub(super) fn model_asked(target: &str, body: &[u8]) -> Option<String> {
    if let Some((_, after)) = target.split_once("/models/") {
        let name = after.split([':', '?', '/']).next().unwrap_or_default();
        return (!name.is_empty()).then(|| name.to_owned());
    }
    // It stands at the beginning or at the end of what clients write, so most of a long body need not be searched.
    const NEAR: usize = 4096;
    let near = [&body[..body.len().min(NEAR)], &body[body.len().saturating_sub(NEAR)..]];
    near.into_iter().find_map(model_in).or_else(|| model_in(body).filter(|_| body.len() > NEAR))
}

fn model_in(body: &[u8]) -> Option<String> {
    memmem::find_iter(body, b"\"model\"").filter(|at| *at == 0 || body[at - 1] != b'\\').find_map(|at| {
        let mut rest = body[at + 7..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
        let end = memchr::memchr2(b'"', b'\\', rest)?;
        rest = &rest[..end];
        std::str::from_utf8(rest).ok().filter(|name| !name.is_empty() && name.len() < 200).map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found_where_clients_put_it() {
        for (target, body, model) in [
            ("/v1/chat/completions", r#"{"model":"gpt-x","messages":[]}"#, Some("gpt-x")),
            (
                "/v1/chat/completions",
                r#"{"messages":[{"content":"say \"model\":\"no\""}], "model" : "gpt-x"}"#,
                Some("gpt-x"),
            ),
            ("/v1/messages", r#"{"tools":[{"properties":{"model":{"type":"string"}}}],"model":"c"}"#, Some("c")),
            ("/v1beta/models/gemini-3:streamGenerateContent?alt=sse", "{}", Some("gemini-3")),
            ("/v1/x", r#"{"model":7}"#, None),
            ("/v1/x", "garbage", None),
        ] {
            assert_eq!(model_asked(target, body.as_bytes()).as_deref(), model, "{body}");
        }
    }

    #[test]
    fn arrival_is_that_of_the_piece_which_holds_the_last_byte() {
        let chunks = [Chunk { at: 10, len: 5 }, Chunk { at: 20, len: 5 }];
        assert_eq!(
            [0, 1, 5, 6, 10, 11].map(|offset| arrival(&chunks, offset)),
            [Some(10), Some(10), Some(10), Some(20), Some(20), None]
        );
    }
}
