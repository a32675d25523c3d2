//! WebSockets: passed on message by message, and the model calls inside them recorded like any other. The one protocol read
//! is OpenAI's Responses over WebSocket: `response.create` asks, the events up to `response.completed` answer.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::call::{Call, Closing, Opening};
use super::forward::{Asking, Entry, plain, strip_hop_by_hop};
use super::frames::{self, Frames};
use super::tee::{BoxError, Down, Up, chain};
use super::upstream::Reply;
use crate::trace::CallEnd;

/// Marks calls that were made over a WebSocket.
const MARK: HeaderName = HeaderName::from_static("x-holdback-websocket");
const EXTENSIONS: HeaderName = HeaderName::from_static("sec-websocket-extensions");

type Writer = tokio::sync::Mutex<WriteHalf<TokioIo<Upgraded>>>;

/// Whether a request asks to leave HTTP.
pub(super) fn asked_for(parts: &Parts) -> bool {
    parts.headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Asks the upstream for a WebSocket and opens the tunnel when it says yes. What else it says is the answer.
pub(super) async fn tunnel(mut asking: Asking) -> Result<Response<Down>, BoxError> {
    let client = asking.parts.extensions.remove::<OnUpgrade>();
    let destination = asking.destination().filter(|_| !asking.is_offline());
    let (Some((uri, host)), Some(client)) = (destination, client) else {
        // Clients know this status: they go on over plain HTTP.
        return Ok(plain(StatusCode::UPGRADE_REQUIRED, "no WebSocket here"));
    };
    let mut headers = asking.parts.headers.clone();
    strip_hop_by_hop(&mut headers);
    headers.insert(header::HOST, host);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    // Packed messages could not be read.
    headers.remove(EXTENSIONS);
    let mut request = Request::new(Up::Whole(None));
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    let mut response = match asking.shared.upgrades.request(request).await {
        Ok(response) => response,
        Err(error) if error.is_connect() => {
            let why = format!("holdback could not reach {}: {}", asking.name, chain(&error));
            return Ok(plain(StatusCode::BAD_GATEWAY, why));
        }
        Err(error) => return Err(error.into()),
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (mut parts, body) = response.into_parts();
        strip_hop_by_hop(&mut parts.headers);
        return Ok(Response::from_parts(parts, Down::live(body, None)));
    }
    let upstream = hyper::upgrade::on(&mut response);
    let mut answer = Response::new(Down::text(Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = response.headers().clone();
    tokio::spawn(async move {
        if let (Ok(upstream), Ok(client)) = tokio::join!(upstream, client) {
            Session { asking, current: Mutex::new(None) }.run(TokioIo::new(client), TokioIo::new(upstream)).await;
        }
    });
    Ok(answer)
}

/// An open tunnel, and the call under way in it.
struct Session {
    asking: Asking,
    current: Mutex<Option<Closing>>,
}

impl Session {
    async fn run(self, client: TokioIo<Upgraded>, upstream: TokioIo<Upgraded>) {
        let (from_client, to_client) = tokio::io::split(client);
        let (from_upstream, to_upstream) = tokio::io::split(upstream);
        let to_client = Writer::new(to_client);
        // Whoever closes first closes both: a WebSocket has no half-open state worth keeping.
        let end = tokio::select! {
            () = self.up(from_client, to_upstream, &to_client) => CallEnd::ClientGone,
            () = self.down(from_upstream, &to_client) => CallEnd::Cut,
        };
        let _ = to_client.lock().await.shutdown().await;
        self.close(end);
    }

    fn close(&self, end: CallEnd) {
        if let Some(mut closing) = self.current.lock().unwrap_or_else(PoisonError::into_inner).take() {
            closing.finish(end, None);
        }
    }

    /// From the client: a message that asks for an answer passes the brakes first.
    async fn up(&self, mut from: ReadHalf<TokioIo<Upgraded>>, mut to: WriteHalf<TokioIo<Upgraded>>, back: &Writer) {
        let mut frames = Frames::default();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            for passed in frames.push(&buffer[..read]) {
                let refused = match passed.text.filter(|text| kind_of(text) == "response.create") {
                    Some(text) => self.ask(text).await,
                    None => None,
                };
                let sent = match refused {
                    Some(word) => back.lock().await.write_all(&frames::text(&word)).await,
                    None => to.write_all(&passed.raw).await,
                };
                if sent.is_err() {
                    return;
                }
            }
            if to.flush().await.is_err() {
                return;
            }
        }
    }

    /// From the upstream: passed on first, read then.
    async fn down(&self, mut from: ReadHalf<TokioIo<Upgraded>>, to: &Writer) {
        let mut frames = Frames::default();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let texts: Vec<String> =
                frames.push(&buffer[..read]).into_iter().filter_map(|passed| passed.text).collect();
            texts.iter().for_each(|text| self.told(text));
            let mut to = to.lock().await;
            if to.write_all(&buffer[..read]).await.is_err() || to.flush().await.is_err() {
                return;
            }
        }
    }

    /// A call begins; gives what to say instead when it may not.
    async fn ask(&self, text: String) -> Option<String> {
        self.close(CallEnd::Cut);
        let entry = self.asking.enter().await;
        let held = match &entry {
            Entry::In(_) => self.asking.known.as_ref().map(|known| known.held.clone()),
            Entry::Out(_) => None,
        };
        let call = Call::new(self.asking.shared.queue.clone(), held.clone());
        let mut closing = Closing::new(call.clone(), self.asking.shared.body_bytes);
        let mut started = self.asking.started();
        (started.call, started.held, started.method) = (call.id, held, Method::POST);
        started.headers.insert(MARK, HeaderValue::from_static("1"));
        let refused = match entry {
            Entry::In(_) => None,
            Entry::Out(reply) => {
                started.upstream = reply.upstream.as_str().into();
                Some(error_event(&reply))
            }
        };
        let mut opening = Opening::new(call, started);
        opening.push(&Bytes::from(text));
        opening.finish();
        // Kept as the event stream that the same answer would have been over HTTP.
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(MARK, HeaderValue::from_static("1"));
        closing.head(200, &headers);
        match &refused {
            Some(word) => {
                closing.push(&event(word));
                closing.finish(CallEnd::Refused, None);
            }
            None => *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(closing),
        }
        refused
    }

    /// The upstream has said something.
    fn told(&self, text: &str) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(closing) = current.as_mut() else { return };
        closing.push(&event(text));
        if matches!(kind_of(text).as_str(), "response.completed" | "response.failed" | "response.incomplete" | "error")
        {
            closing.finish(CallEnd::Complete, None);
            *current = None;
        }
    }
}

fn event(text: &str) -> Bytes {
    Bytes::from(format!("data: {}\n\n", text.replace('\n', " ")))
}

/// A refusal in the words of the protocol.
fn error_event(reply: &Reply) -> String {
    let body: Vec<u8> = reply.chunks.iter().flat_map(|(_, piece): &(Duration, Bytes)| piece.to_vec()).collect();
    let error = serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default();
    serde_json::json!({ "type": "error", "status": reply.status, "error": error["error"] }).to_string()
}

/// The `type` of an event, without reading all of it.
fn kind_of(text: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Typed {
        #[serde(default, rename = "type")]
        kind: String,
    }
    serde_json::from_str(text).map_or_else(|_| String::new(), |typed: Typed| typed.kind)
}
