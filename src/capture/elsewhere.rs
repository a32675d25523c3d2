//! A call that goes to another model than it was meant for: asked in that model's wire format, answered in the client's.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::call::Closing;
use super::forward::{Asking, decoded, headers, made, refusal};
use super::tee::{BoxError, Down, Up, chain};
use super::upstream::{Elsewhere, Reply};
use crate::provider;
use crate::trace::{CallEnd, Headers, Part, Wire};

/// Asks the other model.
pub(super) async fn ask(mut asking: Asking, to: Elsewhere, closing: Closing) -> Result<Response<Down>, BoxError> {
    let client = asking.wire();
    let Elsewhere { upstream, target, headers: list, body, wire, stream } = to;
    if let Some(name) = upstream {
        let Some((known, found)) = asking.shared.upstreams.get(&name) else {
            let why = format!("no upstream is called {name:?}: give its address with --upstream {name}=URL");
            return Ok(made(refusal(provider::refusal(client, "no_upstream", &why), 0), closing));
        };
        (asking.name, asking.upstream) = (known.clone(), found.clone());
    }
    asking.route.target = target;
    if let Some(list) = list {
        asking.parts.headers = map(&list);
    }
    for name in [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::TRANSFER_ENCODING] {
        asking.parts.headers.remove(name);
    }
    if wire == client {
        return asking.live(Up::Whole(Some(body)), closing).await;
    }
    Ok(made(translated(asking, body, wire, client, stream).await, closing))
}

fn map(list: &Headers) -> HeaderMap {
    list.iter()
        .filter_map(|(name, value)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
        })
        .collect()
}

/// Asks in one wire format and answers in another. The whole answer is read first: a stream of one format has no
/// counterpart, event by event, in the others.
async fn translated(asking: Asking, body: Bytes, wire: Wire, client: Wire, stream: bool) -> Reply {
    let (shared, name) = (asking.shared.clone(), asking.name.clone());
    let refused = |kind: &str, why: &str| refusal(provider::refusal(client, kind, why), 0);
    let Some(request) = asking.into_upstream(Up::Whole(Some(body))) else {
        return refused("no_upstream", &format!("{name} has no live address"));
    };
    let response = match shared.pool.request(request).await {
        Ok(response) => response,
        Err(error) => return refused("no_answer", &format!("holdback could not reach {name}: {}", chain(&error))),
    };
    let (parts, body) = response.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refused("no_answer", &format!("the answer of {name} broke off: {}", chain(&error))),
    };
    let status = parts.status.as_u16();
    let mut read = provider::response(wire, status, &headers(&parts.headers), &decoded(&parts.headers, &body));
    if let Some(error) = read.error.as_ref().filter(|_| status >= 400 || read.message.is_none()) {
        let (status, list, body) = provider::refuse(client, status.max(400), "", &format!("{name}: {}", error.message));
        return Reply {
            upstream: name.to_string(),
            status,
            headers: list,
            chunks: vec![(Duration::ZERO, body)],
            end: CallEnd::Complete,
        };
    }
    name_calls(&mut read.message, &read.id);
    let (list, pieces) = provider::answer(client, stream, &read);
    let chunks = pieces.into_iter().map(|piece| (Duration::ZERO, piece)).collect();
    Reply { upstream: name.to_string(), status: 200, headers: list, chunks, end: CallEnd::Complete }
}

/// Some formats give calls no ids; those that do can't go without.
fn name_calls(message: &mut Option<crate::trace::Message>, answer: &str) {
    let parts = message.iter_mut().flat_map(|message| &mut message.parts);
    for (part, number) in parts.zip(0..) {
        if let Part::ToolCall(call) = part
            && call.id.is_empty()
        {
            let own: String = answer.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
            call.id = format!("call_{own}_{number}");
        }
    }
}
