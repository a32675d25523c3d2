//! What recording costs on the way: the same calls direct, through a plain hyper proxy that records nothing, and through
//! holdback, against a fast upstream in this process. One table, ratios beside the figures.
//!
//! `cargo bench --bench proxy`; HOLDBACK_BENCH_CALLS=N calls per case (2,000). Every clock stops when all is stored.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    reason = "a bench measures and prints"
)]

use std::convert::Infallible;
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
use holdback::store::log::{Durability, Store};
use holdback::trace::{Sink, TraceEvent, TraceId};

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-x","choices":[{"index":0,"message":{"role":"assistant","content":"I looked at the file and changed it."},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":9,"total_tokens":1009}}"#;

struct Nothing;

impl Sink for Nothing {
    type Error = Infallible;

    fn accept(&mut self, _: &TraceEvent) -> Result<(), Infallible> {
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Bodies {
    Small,
    Growing,
    Strangers,
}

/// The body of a client's call: 1 KB; 100 KB of a history that grows; 100 KB that share nothing.
fn body(bodies: Bodies, client: usize, turn: usize) -> Bytes {
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

async fn serve<F, R, B>(handle: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<Response<B>, Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
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

async fn upstream() -> SocketAddr {
    serve(|request| async {
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        let answer = Response::builder().header("content-type", "application/json");
        Ok(answer.body(Full::new(Bytes::from_static(ANSWER.as_bytes())))?)
    })
    .await
}

async fn plain_proxy(to: SocketAddr) -> SocketAddr {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    serve(move |mut request| {
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
async fn run(to: SocketAddr, paths: &[String], bodies: &[Vec<Bytes>]) -> (Vec<Duration>, Instant) {
    let begun = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for (path, bodies) in paths.iter().cloned().zip(bodies.iter().cloned()) {
        clients.spawn(async move { run_client(to, &path, &bodies).await });
    }
    let mut times = clients.join_all().await.concat();
    times.sort_unstable();
    (times, begun)
}

fn quantile(times: &[Duration], at: f64) -> f64 {
    times[((times.len() - 1) as f64 * at) as usize].as_secs_f64() * 1000.0
}

async fn holdback<S: Sink + 'static>(to: SocketAddr, sink: S) -> Proxy {
    let mut upstreams = Upstreams::none();
    upstreams.set_url("openai", &format!("http://{to}")).unwrap();
    let mut config = ProxyConfig::new(upstreams, Arc::new(Redactor::new(&Rules::default()).unwrap()));
    config.mock_models = false;
    config.queue_bytes = 4 << 30;
    Proxy::start(config, TcpListener::bind("127.0.0.1:0").await.unwrap(), sink).unwrap()
}

async fn case(name: &str, bodies: Bodies, clients: usize, calls: usize) {
    let to = upstream().await;
    let plain = plain_proxy(to).await;
    let all: Vec<Vec<Bytes>> =
        (0..clients).map(|client| (0..calls / clients).map(|turn| body(bodies, client, turn)).collect()).collect();
    let direct: Vec<String> = vec!["/v1/chat/completions".to_owned(); clients];
    let traced: Vec<String> =
        (0..clients).map(|client| format!("/hb/{}/v1/chat/completions", TraceId(client as u128 + 1))).collect();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store"), Durability::Os).unwrap();
    let mut rows = Vec::new();
    for warm in [true, false] {
        rows.clear();
        let some: Vec<Vec<Bytes>> = all
            .iter()
            .map(|bodies| bodies[..if warm { bodies.len().min(20) } else { bodies.len() }].to_vec())
            .collect();
        let (times, begun) = run(to, &direct, &some).await;
        rows.push(("direct", times, begun.elapsed(), 0));
        let (times, begun) = run(plain, &direct, &some).await;
        rows.push(("pass-through", times, begun.elapsed(), 0));
        let proxy = holdback(to, Nothing).await;
        let (times, begun) = run(proxy.address(), &traced, &some).await;
        proxy.flush().await;
        rows.push(("holdback, no store", times, begun.elapsed(), proxy.counts().lost_calls.load(Ordering::Relaxed)));
        proxy.stop(Duration::from_secs(1)).await;
        let proxy = holdback(to, store.writer().unwrap()).await;
        let (times, begun) = run(proxy.address(), &traced, &some).await;
        proxy.flush().await;
        rows.push(("holdback", times, begun.elapsed(), proxy.counts().lost_calls.load(Ordering::Relaxed)));
        proxy.stop(Duration::from_secs(1)).await;
    }
    let pass = rows[1].1.len() as f64 / rows[1].2.as_secs_f64();
    let (direct50, direct99) = (quantile(&rows[0].1, 0.5), quantile(&rows[0].1, 0.99));
    for (who, times, took, lost) in rows {
        let rate = times.len() as f64 / took.as_secs_f64();
        let (p50, p99) = (quantile(&times, 0.5), quantile(&times, 0.99));
        println!(
            "| {name} | {who} | {p50:.3} | {p99:.3} | {:+.3} | {:+.3} | {rate:.0} | {:.2} | {lost} |",
            p50 - direct50,
            p99 - direct99,
            rate / pass
        );
    }
}

fn main() {
    let calls: usize = std::env::var("HOLDBACK_BENCH_CALLS").ok().and_then(|text| text.parse().ok()).unwrap_or(2000);
    let only = std::env::args().nth(1).filter(|word| !word.starts_with('-'));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("| case | way | p50 ms | p99 ms | added p50 | added p99 | calls/s | of pass-through | lost |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for (name, bodies, clients) in [
        ("1 KB, 1 at a time", Bodies::Small, 1),
        ("100 KB growing, 1 at a time", Bodies::Growing, 1),
        ("1 KB, 16 at a time", Bodies::Small, 16),
        ("100 KB growing, 16 at a time", Bodies::Growing, 16),
        ("100 KB strangers, 16 at a time", Bodies::Strangers, 16),
    ] {
        if only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
            runtime.block_on(case(name, bodies, clients, calls));
        }
    }
}
