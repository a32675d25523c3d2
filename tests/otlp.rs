//! The OTLP listener: what it takes, what it answers, and that it answers only when somebody says it is kept.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use holdback::capture::otlp::{Kept, Telemetry, serve};
use holdback::import::otlp::{Signal, decode};
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const JSON: &str = r#"{"resourceSpans":[{"resource":{},"scopeSpans":[{"scope":{"name":"x"},"spans":[{"traceId":"0123456789abcdef0123456789abcdef","spanId":"0123456789abcdef","name":"a"},{"traceId":"bad"}]}]}]}"#;

type Taken = Arc<Mutex<Vec<(Signal, usize)>>>;

/// A listener with somebody behind it who keeps what can be read.
async fn listener(token: Option<&str>) -> (SocketAddr, Taken, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (queue, requests) = sync_channel::<Telemetry>(8);
    let taken = Taken::default();
    let kept = taken.clone();
    std::thread::spawn(move || {
        for one in requests {
            let answer = match decode(one.signal, one.is_json, &one.body) {
                Ok(batch) => {
                    kept.lock().unwrap().push((one.signal, batch.spans.len() + batch.logs.len()));
                    Kept::Yes { rejected: batch.rejected, why: batch.why }
                }
                Err(error) => Kept::Unreadable(error.to_string()),
            };
            let _ = one.reply.send(answer);
        }
    });
    let (stop, told) = watch::channel(false);
    let token = token.map(str::to_owned);
    tokio::spawn(async move { serve(vec![listener], queue, token, told).await });
    (address, taken, stop)
}

type Answer = (StatusCode, hyper::HeaderMap, Bytes, Option<hyper::HeaderMap>);

/// One request over HTTP/1.1 or, as gRPC needs it, HTTP/2.
async fn send(address: SocketAddr, http2: bool, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let mut request = Request::post(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.header("host", address.to_string()).body(Full::<Bytes>::from(body)).unwrap();
    let response = if http2 {
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    (parts.status, parts.headers, body.to_bytes(), trailers)
}

/// A span in protobuf: ids and a name.
fn protobuf() -> Vec<u8> {
    let field = |number: u8, inner: &[u8]| [&[number << 3 | 2, u8::try_from(inner.len()).unwrap()][..], inner].concat();
    let span = [field(1, &[1; 16]), field(2, &[2; 8]), field(5, b"x")].concat();
    field(1, &field(2, &field(2, &span)))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

#[tokio::test]
async fn json_protobuf_and_packed_bodies_are_taken_and_what_was_rejected_is_said() -> Result<(), Infallible> {
    let (address, taken, _stop) = listener(None).await;
    let json = ("content-type", "application/json");
    let (status, _, body, _) = send(address, false, "/v1/traces", &[json], JSON.into()).await;
    assert_eq!(status, 200);
    assert!(String::from_utf8_lossy(&body).contains("\"rejectedSpans\":\"1\""), "{body:?}");
    let proto = ("content-type", "application/x-protobuf");
    let packed = gzip(&protobuf());
    let (status, headers, body, _) =
        send(address, false, "/v1/traces", &[proto, ("content-encoding", "gzip")], packed).await;
    assert_eq!(
        (status, body.len(), headers["content-type"].to_str().unwrap()),
        (StatusCode::OK, 0, "application/x-protobuf")
    );
    assert_eq!(*taken.lock().unwrap(), [(Signal::Traces, 1), (Signal::Traces, 1)]);
    let (status, ..) = send(address, false, "/v1/metrics", &[proto], vec![1, 2, 3]).await;
    assert_eq!(status, 200);
    for (path, headers, body, expected) in [
        ("/v1/traces", vec![json], b"{".to_vec(), 400),
        ("/v1/traces", vec![proto], b"\x0a\xff".to_vec(), 400),
        ("/v1/traces", vec![proto, ("content-encoding", "gzip")], b"no gzip".to_vec(), 400),
        ("/v1/traces", vec![("content-type", "text/plain")], JSON.into(), 415),
        ("/v1/elsewhere", vec![json], JSON.into(), 404),
    ] {
        let (status, ..) = send(address, false, path, &headers, body).await;
        assert_eq!(status, expected, "{path} {headers:?}");
    }
    Ok(())
}

#[tokio::test]
async fn grpc_is_answered_with_a_status_in_trailers() {
    let (address, taken, _stop) = listener(None).await;
    let message = protobuf();
    let frame =
        |packed: u8, bytes: &[u8]| [&[packed][..], &u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let grpc = ("content-type", "application/grpc");
    let (status, _, body, trailers) = send(address, true, path, &[grpc, ("te", "trailers")], frame(0, &message)).await;
    assert_eq!((status, body), (StatusCode::OK, Bytes::from_static(&[0; 5])));
    assert_eq!(trailers.unwrap()["grpc-status"], "0");
    let packed = [grpc, ("grpc-encoding", "gzip")];
    let (.., trailers) = send(address, true, path, &packed, frame(1, &gzip(&message))).await;
    assert_eq!(trailers.unwrap()["grpc-status"], "0");
    assert_eq!(taken.lock().unwrap().len(), 2);
    let (_, headers, ..) = send(address, true, path, &[grpc], frame(0, b"\x0a\xff")).await;
    assert_eq!(headers["grpc-status"], "3");
    let (_, headers, ..) = send(address, true, "/some.other/Method", &[grpc], frame(0, b"")).await;
    assert_eq!(headers["grpc-status"], "12");
}

#[tokio::test]
async fn a_listener_with_a_token_wants_it() {
    let (address, taken, _stop) = listener(Some("secret")).await;
    let json = ("content-type", "application/json");
    for (headers, expected) in [
        (vec![json], 401),
        (vec![json, ("authorization", "Bearer wrong!")], 401),
        (vec![json, ("authorization", "Bearer secret")], 200),
        (vec![json, ("x-holdback-token", "secret")], 200),
    ] {
        let (status, ..) = send(address, false, "/v1/traces", &headers, JSON.into()).await;
        assert_eq!(status, expected, "{headers:?}");
    }
    assert_eq!(taken.lock().unwrap().len(), 2);
}
