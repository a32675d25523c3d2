//! Streams: how long the first token and each later piece are on their way, and what ten thousand idle ones cost in memory.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use holdback::store::log::{Durability, Store};

use crate::parts::{Bodies, CHAT, body, drops, free, holdback, plain_proxy, quantile, serve, verify};

/// Tells a child of this bench that it is the proxy, and which upstream is behind it.
pub const CHILD: &str = "HOLDBACK_BENCH_CHILD";
/// Pieces of a streamed answer.
const EVENTS: usize = 20;
const ROUNDS: usize = 4;

/// A body whose pieces come when they come.
struct Pieces(mpsc::Receiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// One event of a stream, with the time at which the upstream let go of it, in nanoseconds since the bench began.
fn event(at: usize, begun: Instant) -> Bytes {
    let finish = if at + 1 == EVENTS { "\"stop\"" } else { "null" };
    Bytes::from(format!(
        "data: {{\"id\":\"{:020}\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-x\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"word \"}},\"finish_reason\":{finish}}}]}}\n\n",
        begun.elapsed().as_nanos()
    ))
}

/// An upstream that streams its answer, one piece every five milliseconds; with `idle` the second never comes.
async fn streaming(begun: Instant, idle: bool) -> SocketAddr {
    serve(free().await, move |request| async move {
        request.into_body().collect().await?;
        let (pieces, body) = mpsc::channel(1);
        tokio::spawn(async move {
            for at in 0..EVENTS {
                if pieces.send(event(at, begun)).await.is_err() {
                    return;
                }
                let pause = if idle { 3600 * 1000 } else { 5 };
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            let _ = pieces.send(Bytes::from_static(b"data: [DONE]\n\n")).await;
        });
        Ok(Response::builder().header("content-type", "text/event-stream").body(Pieces(body))?)
    })
    .await
}

/// For each stream: how long its first piece took from the question on, and how long each later one was on its way.
async fn times(to: SocketAddr, begun: Instant, streams: usize) -> [Vec<Duration>; 2] {
    let (mut first, mut later) = (Vec::new(), Vec::new());
    let stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for turn in 0..streams {
        let request = Request::post(CHAT).header("host", "x");
        let request = request.body(Full::new(body(Bodies::Small, 1, turn))).unwrap();
        // The end of one answer is not yet the end of what the connection had to do for it.
        sender.ready().await.unwrap();
        let asked = Instant::now();
        let mut answer = sender.send_request(request).await.unwrap().into_body();
        let mut is_first = true;
        while let Some(frame) = answer.frame().await {
            let Ok(data) = frame.unwrap().into_data() else { continue };
            let Some(sent) = data.get(13..33).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()) else {
                continue;
            };
            match std::mem::take(&mut is_first) {
                true => first.push(asked.elapsed()),
                false => later.push(begun.elapsed().saturating_sub(Duration::from_nanos(sent))),
            }
        }
    }
    [first, later]
}

/// Prints the table of first tokens and later pieces: all ways in turns, so that the machine's moods meet each of them.
pub async fn run(count: usize) {
    let begun = Instant::now();
    let to = streaming(begun, false).await;
    let plain = plain_proxy(to).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store"), Durability::Os).unwrap();
    let proxy = holdback(to, store.writer().unwrap()).await;
    let ways = [("direct", to), ("pass-through", plain), ("holdback", proxy.address())];
    let mut all: [[Vec<Duration>; 2]; 3] = Default::default();
    for round in 0..=ROUNDS {
        for ((_, at), into) in ways.iter().zip(&mut all) {
            let some = times(*at, begun, (count / ROUNDS).max(1)).await;
            // The first round only warms everything up.
            if round > 0 {
                into.iter_mut().zip(some).for_each(|(into, some)| into.extend(some));
            }
        }
    }
    println!(
        "\n| streams, 1 at a time | first token p50 ms | p99 | added p50 | added p99 | piece p50 ms | p99 | added p50 | added p99 |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let figures = all.map(|times| {
        times.map(|mut times| {
            times.sort_unstable();
            [quantile(&times, 0.5), quantile(&times, 0.99)]
        })
    });
    for ((who, _), figures_here) in ways.iter().zip(figures) {
        let cells: Vec<String> = figures_here
            .iter()
            .zip(figures[0])
            .map(|([p50, p99], [base50, base99])| {
                format!("{p50:.3} | {p99:.3} | {:+.3} | {:+.3}", p50 - base50, p99 - base99)
            })
            .collect();
        println!("| {who} | {} |", cells.join(" | "));
    }
    proxy.flush().await;
    assert_eq!(drops(&proxy), 0, "calls were dropped");
    proxy.stop(Duration::from_secs(1)).await;
    verify(&store);
}

/// The recording proxy in a process of its own, until nobody listens any more.
pub async fn child(to: SocketAddr) {
    let _ = more_files();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store"), Durability::Os).unwrap();
    let proxy = holdback(to, store.writer().unwrap()).await;
    println!("{}", proxy.address());
    let over = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
    let _ = over.await;
    println!("{}", drops(&proxy));
}

/// As many open files as may be had; how many that is. Only root may go beyond the hard limit.
fn more_files() -> u64 {
    const PLENTY: Option<u64> = Some(65_536);
    let limit = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: PLENTY, maximum: PLENTY.max(limit.maximum) }).is_err() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Kilobytes of memory a process holds.
fn rss_kb(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Opens so many streams through a proxy in a process of its own, and says what that process holds.
pub async fn idle(wanted: usize) {
    // Each takes two sockets here, client and upstream, and two in the proxy.
    let most = usize::try_from(more_files() / 2).unwrap_or(usize::MAX).saturating_sub(200);
    let count = wanted.min(most);
    if count < wanted {
        println!("\nonly {count} of {wanted} idle streams: raise the limit of open files (ulimit -n)");
    }
    let to = streaming(Instant::now(), true).await;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(CHILD, to.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let address: SocketAddr = line.trim().parse().unwrap();
    let before = rss_kb(&child);
    let mut open = Vec::with_capacity(count);
    for turn in 0..count {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post(CHAT).header("host", "x");
        let request = request.body(Full::new(body(Bodies::Small, 2, turn))).unwrap();
        let mut answer = sender.send_request(request).await.unwrap().into_body();
        answer.frame().await.unwrap().unwrap();
        open.push((sender, answer));
    }
    // What was asked is being stored meanwhile.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = rss_kb(&child);
    println!("\n{count} idle streams: {} MB, {} MB of it before the first", after >> 10, before >> 10);
    drop(open);
    drop(child.stdin.take());
    let mut dropped = String::new();
    said.read_line(&mut dropped).unwrap();
    child.wait().unwrap();
    assert_eq!(dropped.trim(), "0", "calls were dropped");
}
