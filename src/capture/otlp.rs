//! The OTLP listener: HTTP and gRPC on any of its ports, protobuf and JSON, packed or not. It answers only when whoever takes
//! the requests says they are kept.

use std::convert::Infallible;
use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request as HttpRequest, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use super::serve::TOKEN_HEADER;
use crate::import::otlp::{Signal, partial};
use crate::import::{Opened, open};

/// A request body, as it comes and unpacked.
const BIGGEST: usize = 64 << 20;
const BIGGEST_UNPACKED: u64 = 256 << 20;

/// A request body to be kept.
#[derive(Debug)]
pub struct Telemetry {
    pub signal: Signal,
    pub is_json: bool,
    pub body: Bytes,
    /// Tells how it came out: nobody is answered before.
    pub reply: oneshot::Sender<Kept>,
}

/// How it came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// On disk, but for so many spans or logs.
    Yes { rejected: u64, why: String },
    /// It can't be read: sending it again would not help.
    Unreadable(String),
    /// It could not be kept: sending it again may help.
    Failed(String),
}

#[derive(Clone)]
struct Inlet {
    queue: SyncSender<Telemetry>,
    token: Option<Arc<str>>,
}

/// Listens until it is told to stop.
///
/// # Errors
/// When a port can't be listened at any more.
pub async fn serve(
    listeners: Vec<TcpListener>,
    queue: SyncSender<Telemetry>,
    token: Option<String>,
    stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let inlet = Inlet { queue, token: token.map(Arc::from) };
    let mut serving = tokio::task::JoinSet::new();
    for listener in listeners {
        let app = Router::new().fallback(take).with_state(inlet.clone());
        let mut stop = stop.clone();
        let told = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        serving.spawn(async move { axum::serve(listener, app).with_graceful_shutdown(told).await });
    }
    while let Some(ended) = serving.join_next().await {
        ended.map_err(std::io::Error::other)??;
    }
    Ok(())
}

async fn take(State(inlet): State<Inlet>, request: HttpRequest) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let kind =
        parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let grpc = kind.starts_with("application/grpc");
    let answer = |kept: Kept, is_json: bool| if grpc { grpc_answer(kept) } else { http_answer(kept, is_json) };
    if !admitted(&parts.headers, inlet.token.as_deref()) {
        return if grpc {
            grpc_error(16, "this listener wants its token")
        } else {
            words(StatusCode::UNAUTHORIZED, "this listener wants its token")
        };
    }
    let Some(signal) = signal_of(parts.uri.path()).filter(|_| parts.method == Method::POST) else {
        if parts.uri.path() == "/healthz" && parts.method == Method::GET {
            return words(StatusCode::OK, "ok");
        }
        let why = "OTLP is taken by POST on /v1/traces and /v1/logs, and by gRPC";
        return if grpc { grpc_error(12, why) } else { words(StatusCode::NOT_FOUND, why) };
    };
    let is_json = kind.starts_with("application/json");
    // A page in a browser can send other types to a port of this machine without asking.
    if !grpc && !is_json && !kind.starts_with("application/x-protobuf") {
        return words(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content-type is application/x-protobuf or application/json",
        );
    }
    let Ok(body) = to_bytes(body, BIGGEST).await else {
        return answer(Kept::Unreadable(format!("the body is cut off, or bigger than {} MB", BIGGEST >> 20)), is_json);
    };
    let packing = parts.headers.get(if grpc { "grpc-encoding" } else { CONTENT_ENCODING.as_str() });
    let packing = packing.and_then(|packing| packing.to_str().ok()).unwrap_or_default().to_owned();
    let unpacked = tokio::task::spawn_blocking(move || {
        if grpc { message(body) } else { unpack(body, !packing.is_empty() && packing != "identity") }
    });
    let body = match unpacked.await {
        Ok(Ok(body)) => body,
        Ok(Err(why)) => return answer(Kept::Unreadable(why), is_json),
        Err(_) => return answer(Kept::Failed("unpacking it failed".to_owned()), is_json),
    };
    if signal == Signal::Metrics {
        // Numbers without calls: taken, so that exporters are content, and left.
        return answer(Kept::Yes { rejected: 0, why: String::new() }, is_json);
    }
    let (reply, told) = oneshot::channel();
    match inlet.queue.try_send(Telemetry { signal, is_json, body, reply }) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => {
            return answer(Kept::Failed("too much at once: send it again".to_owned()), is_json);
        }
        Err(TrySendError::Disconnected(_)) => {
            return answer(Kept::Failed("the listener is stopping".to_owned()), is_json);
        }
    }
    let kept = told.await.unwrap_or_else(|_| Kept::Failed("the listener is stopping".to_owned()));
    answer(kept, is_json)
}

fn admitted(headers: &HeaderMap, token: Option<&str>) -> bool {
    let Some(token) = token else { return true };
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let own = headers.get(TOKEN_HEADER).and_then(|value| value.to_str().ok());
    let same = |given: &str| {
        given.len() == token.len() && given.bytes().zip(token.bytes()).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
    };
    [bearer, own].into_iter().flatten().any(same)
}

fn signal_of(path: &str) -> Option<Signal> {
    Some(match path.trim_end_matches('/') {
        "/v1/traces" | "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Signal::Traces,
        "/v1/logs" | "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Signal::Logs,
        "/v1/metrics" | "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Signal::Metrics,
        _ => return None,
    })
}

fn unpack(body: Bytes, packed: bool) -> Result<Bytes, String> {
    if !packed {
        return Ok(body);
    }
    let bad = |error: std::io::Error| format!("the body can't be unpacked: {error}");
    match open(&body[..]).map_err(bad)? {
        Opened::Plain(from) => {
            let mut plain = Vec::new();
            from.take(BIGGEST_UNPACKED + 1).read_to_end(&mut plain).map_err(bad)?;
            if plain.len() as u64 > BIGGEST_UNPACKED {
                return Err(format!("the body unpacks to more than {} MB", BIGGEST_UNPACKED >> 20));
            }
            Ok(plain.into())
        }
        Opened::Zip => Err("the body is a zip archive".to_owned()),
    }
}

/// The one message of a unary call: a byte for packed or not, four for its length, its bytes.
fn message(body: Bytes) -> Result<Bytes, String> {
    let cut = || "the gRPC message is cut off".to_owned();
    let head: [u8; 5] = body.get(..5).and_then(|head| head.try_into().ok()).ok_or_else(cut)?;
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if body.len() - 5 < len {
        return Err(cut());
    }
    unpack(body.slice(5..5 + len), head[0] == 1)
}

fn words(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    response
}

fn http_answer(kept: Kept, is_json: bool) -> Response<Body> {
    let (rejected, why) = match kept {
        Kept::Yes { rejected, why } => (rejected, why),
        Kept::Unreadable(why) => return words(StatusCode::BAD_REQUEST, &why),
        Kept::Failed(why) => {
            let mut response = words(StatusCode::SERVICE_UNAVAILABLE, &why);
            response.headers_mut().insert("retry-after", HeaderValue::from_static("1"));
            return response;
        }
    };
    let (kind, body) = if is_json {
        let partial =
            serde_json::json!({ "partialSuccess": { "rejectedSpans": rejected.to_string(), "errorMessage": why } });
        ("application/json", if rejected == 0 { "{}".to_owned() } else { partial.to_string() }.into_bytes())
    } else {
        ("application/x-protobuf", partial(rejected, &why))
    };
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn grpc_answer(kept: Kept) -> Response<Body> {
    let (rejected, why) = match kept {
        Kept::Yes { rejected, why } => (rejected, why),
        Kept::Unreadable(why) => return grpc_error(3, &why),
        Kept::Failed(why) => return grpc_error(14, &why),
    };
    let inner = partial(rejected, &why);
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(inner.len()).unwrap_or(0).to_be_bytes());
    frame.extend_from_slice(&inner);
    let trailers = async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Some(Ok::<_, Infallible>(trailers))
    };
    let mut response = Response::new(Body::new(Full::new(Bytes::from(frame)).with_trailers(trailers)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn grpc_error(code: u8, why: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let plain: String = why.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    if let Ok(why) = HeaderValue::from_str(&plain) {
        headers.insert("grpc-message", why);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_grpc_message_is_taken_out_of_its_frame_packed_or_not() {
        let frame = |packed: u8, body: &[u8]| [&[packed][..], &(body.len() as u32).to_be_bytes(), body].concat();
        assert_eq!(message(frame(0, b"hello").into()), Ok(Bytes::from("hello")));
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(b"hello").unwrap();
        assert_eq!(message(frame(1, &packer.finish().unwrap()).into()), Ok(Bytes::from("hello")));
        for bad in [&b""[..], b"\0\0", b"\0\0\0\0\x09abc", b"\x01\0\0\0\x03\x1f\x8b\x08"] {
            assert!(message(Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
    }
}
