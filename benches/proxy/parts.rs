//! What all cases share: bodies, servers, clients, the recording proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};

use holdback::capture::{Proxy, ProxyConfig, Upstreams};
use holdback::redact::{Redactor, Rules};
use holdback::store::log::Store;
use holdback::trace::{Sink, TraceId};

pub const CHAT: &str = "/v1/chat/completions";
const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-x","choices":[{"index":0,"message":{"role":"assistant","content":"I looked at the file and changed it."},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":9,"total_tokens":1009}}"#;

#[derive(Clone, Copy)]
pub enum Bodies {
    Small,
    Growing,
    Strangers,
}

/// The body of a client's call: 1 KB; 100 KB of a history that grows; 100 KB that share nothing.
pub fn body(bodies: Bodies, client: usize, turn: usize) -> Bytes {
    let words = |seed: usize, bytes: usize| {
        let mut state = seed as u64 + 1;
        let mut text = String::with_capacity(bytes + 8);
        while text.len() < bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(
                ["let ", "value ", "return ", "if ", "line ", "the ", "match ", "error "][(state >> 33) as usize % 8],
            );
        }
        text
    };
    let message = |role: &str, text: &str| serde_json::json!({ "role": role, "content": text });
    let messages: Vec<_> = match bodies {
        Bodies::Small => vec![message("user", &words(client * 1_000_003 + turn, 900))],
        Bodies::Strangers => {
            (0..50).map(|at| message("user", &words((client * 1_000_003 + turn) * 64 + at, 1950))).collect()
        }
        // A conversation of 25 to 75 turns, then the next one.
        Bodies::Growing => {
            let (talk, at) = (turn / 50, turn % 50);
            (0..25 + at)
                .map(|at| {
                    message(
                        if at % 2 == 0 { "user" } else { "assistant" },
                        &words((client * 997 + talk) * 4096 + at, 1950),
                    )
                })
                .collect()
        }
    };
    Bytes::from(serde_json::json!({ "model": "gpt-x", "messages": messages, "stream": false }).to_string())
}

pub async fn serve<F, R, B>(listener: TcpListener, handle: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<Response<B>, Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let handle = handle.clone();
            tokio::spawn(async move {
                let service = service_fn(handle);
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

pub async fn upstream(listener: TcpListener) -> SocketAddr {
    serve(listener, |request| async {
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        let answer = Response::builder().header("content-type", "application/json");
        Ok(answer.body(Full::new(Bytes::from_static(ANSWER.as_bytes())))?)
    })
    .await
}

pub async fn plain_proxy(to: SocketAddr) -> SocketAddr {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    serve(free().await, move |mut request| {
        let client = client.clone();
        async move {
            let target = request.uri().path_and_query().unwrap().as_str();
            *request.uri_mut() = format!("http://{to}{target}").parse()?;
            request.headers_mut().remove("host");
            Ok(client.request(request).await?)
        }
    })
    .await
}

/// Sends a client's calls one after the other over one connection; their times.
async fn run_client(to: SocketAddr, path: &str, bodies: &[Bytes]) -> Vec<Duration> {
    let stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut times = Vec::with_capacity(bodies.len());
    for body in bodies {
        let request = Request::post(path).header("host", "x").header("content-type", "application/json");
        let request = request.body(Full::new(body.clone())).unwrap();
        let begun = Instant::now();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
        times.push(begun.elapsed());
    }
    times
}

/// Times of all calls and how long they took together.
pub async fn run(to: SocketAddr, paths: &[String], bodies: &[Vec<Bytes>]) -> (Vec<Duration>, Instant) {
    let begun = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for (path, bodies) in paths.iter().cloned().zip(bodies.iter().cloned()) {
        clients.spawn(async move { run_client(to, &path, &bodies).await });
    }
    let mut times = clients.join_all().await.concat();
    times.sort_unstable();
    (times, begun)
}

pub fn quantile(times: &[Duration], at: f64) -> f64 {
    times[((times.len() - 1) as f64 * at) as usize].as_secs_f64() * 1000.0
}

pub async fn free() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// The recording proxy as `holdback proxy` sets it up, before one upstream.
pub async fn holdback<S: Sink + 'static>(to: SocketAddr, sink: S) -> Proxy {
    let mut upstreams = Upstreams::none();
    upstreams.set_url("openai", &format!("http://{to}")).unwrap();
    let mut config = ProxyConfig::new(upstreams, Arc::new(Redactor::new(&Rules::default()).unwrap()));
    config.mock_models = false;
    // The clock stops when all is stored, so what waits may as well wait in memory.
    config.queue_bytes = 4 << 30;
    Proxy::start(config, free().await, sink).unwrap()
}

/// The paths of so many clients, each in a trace of its own.
pub fn traced(clients: usize) -> Vec<String> {
    (0..clients).map(|client| format!("/hb/{}{CHAT}", TraceId(client as u128 + 1))).collect()
}

/// Calls that a proxy could not keep, or not whole.
pub fn drops(proxy: &Proxy) -> u64 {
    let counts = proxy.counts();
    counts.lost_calls.load(Ordering::Relaxed) + counts.cut_bodies.load(Ordering::Relaxed)
}

/// What `doctor --verify` does: every request is rebuilt and compared with its SHA-256. Gives how many there were.
pub fn verify(store: &Store) -> u64 {
    let checkup = store.reader().unwrap().check(true).unwrap();
    assert!(checkup.is_sound(), "the store is damaged: {:?}", checkup.findings);
    checkup.bodies
}
