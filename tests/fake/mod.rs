//! A fake upstream that does what it is told, byte by byte, a client that sees bytes, and a sink in memory.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdback::capture::{Proxy, ProxyConfig, Upstreams};
use holdback::redact::{Redactor, Rules};
use holdback::trace::{CallEnded, CallId, CallStarted, Sink, TraceEvent, TraceId, What};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the fake does with one request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Writes these pieces, with pauses between them, and keeps the connection.
    Say(Vec<Vec<u8>>),
    /// Writes these pieces and closes the connection.
    SayAndClose(Vec<Vec<u8>>),
    /// Writes these pieces and resets the connection.
    SayAndReset(Vec<Vec<u8>>),
    /// Writes these pieces and never anything more.
    SayAndStall(Vec<Vec<u8>>),
}

impl Act {
    pub fn json(body: &str) -> Self {
        Act::status(200, body)
    }

    pub fn status(status: u16, body: &str) -> Self {
        let text = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nX-Request-Id: r1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Act::Say(vec![text.into_bytes()])
    }

    /// A body with these headers of its own, length included.
    pub fn with(headers: &str, body: &[u8]) -> Self {
        let mut text = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
        text.extend_from_slice(body);
        Act::Say(vec![text])
    }

    /// The head of a chunked event stream and its first chunks, without an end.
    pub fn chunks(events: &[&str]) -> Vec<Vec<u8>> {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut pieces = vec![head.as_bytes().to_vec()];
        pieces.extend(events.iter().map(|event| format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()));
        pieces
    }

    /// A whole chunked event stream.
    pub fn stream(events: &[&str]) -> Self {
        let mut pieces = Act::chunks(events);
        pieces.push(b"0\r\n\r\n".to_vec());
        Act::Say(pieces)
    }
}

/// A request as the fake saw it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub method: String,
    pub target: String,
    /// As they came, in order and case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

pub struct Fake {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// Serves the acts in order, whoever asks; the last one again and again.
    pub async fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let acts = Arc::new(Mutex::new(VecDeque::from(acts)));
        let shared = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, acts.clone(), shared.clone()));
            }
        });
        Fake { address, seen }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, acts: Arc<Mutex<VecDeque<Act>>>, seen: Arc<Mutex<Vec<Seen>>>) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        seen.lock().unwrap().push(request);
        let act = {
            let mut acts = acts.lock().unwrap();
            if acts.len() > 1 { acts.pop_front() } else { acts.front().cloned() }
        };
        let (Act::Say(pieces) | Act::SayAndClose(pieces) | Act::SayAndReset(pieces) | Act::SayAndStall(pieces)) =
            act.clone().unwrap();
        for piece in pieces {
            if stream.write_all(&piece).await.is_err() {
                return;
            }
            stream.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        match act.unwrap() {
            Act::Say(_) => {}
            Act::SayAndClose(_) => return,
            Act::SayAndReset(_) => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Act::SayAndStall(_) => {
                let _ = stream.read(&mut [0; 1]).await;
                return;
            }
        }
    }
}

/// Reads one request, with a length or in chunks.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let end = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            break at;
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut seen =
        Seen { method: first.next()?.to_owned(), target: first.next()?.to_owned(), headers, body: Vec::new() };
    if seen.header("transfer-encoding").is_some() {
        loop {
            let at = loop {
                if let Some(at) = find(buffer, b"\r\n") {
                    break at;
                }
                more(stream, buffer).await?;
            };
            let len = usize::from_str_radix(std::str::from_utf8(&buffer[..at]).ok()?, 16).ok()?;
            while buffer.len() < at + 2 + len + 2 {
                more(stream, buffer).await?;
            }
            seen.body.extend_from_slice(&buffer[at + 2..at + 2 + len]);
            buffer.drain(..at + 2 + len + 2);
            if len == 0 {
                return Some(seen);
            }
        }
    }
    let len: usize = seen.header("content-length").unwrap_or("0").parse().ok()?;
    while buffer.len() < len {
        more(stream, buffer).await?;
    }
    seen.body = buffer.drain(..len).collect();
    Some(seen)
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut piece = vec![0; 64 * 1024];
    let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
    buffer.extend_from_slice(&piece[..read]);
    Some(())
}

pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

/// Keeps events in memory; can be told to fail.
#[derive(Clone, Default)]
pub struct Memory {
    pub events: Arc<Mutex<Vec<TraceEvent>>>,
    pub full: Arc<std::sync::atomic::AtomicBool>,
    /// While this is locked nothing is taken.
    pub gate: Arc<Mutex<()>>,
}

#[derive(Debug, thiserror::Error)]
#[error("the disk is full")]
pub struct Full;

impl Sink for Memory {
    type Error = Full;

    fn accept(&mut self, event: &TraceEvent) -> Result<(), Full> {
        let _open = self.gate.lock().unwrap();
        if self.full.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(Full);
        }
        self.events.lock().unwrap().push(event.clone());
        Ok(())
    }
}

/// A call as it was recorded.
#[derive(Debug, Clone)]
pub struct Kept {
    pub trace: TraceId,
    pub id: CallId,
    pub started: CallStarted,
    pub ended: Option<CallEnded>,
}

/// A proxy before a fake upstream, recording into memory.
pub struct Wired {
    pub proxy: Proxy,
    pub memory: Memory,
}

pub fn config(fake: &Fake) -> ProxyConfig {
    let mut upstreams = Upstreams::none();
    upstreams.set_url("openai", &format!("http://{}", fake.address)).unwrap();
    upstreams.set_url("anthropic", &format!("http://{}", fake.address)).unwrap();
    upstreams.set_url("gemini", &format!("http://{}", fake.address)).unwrap();
    ProxyConfig::new(upstreams, Arc::new(Redactor::new(&Rules::default()).unwrap()))
}

impl Wired {
    pub async fn start(fake: &Fake) -> Self {
        Wired::with(config(fake)).await
    }

    pub async fn with(config: ProxyConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let memory = Memory::default();
        Wired { proxy: Proxy::start(config, listener, memory.clone()).unwrap(), memory }
    }

    pub fn events(&self) -> Vec<TraceEvent> {
        self.memory.events.lock().unwrap().clone()
    }

    /// Calls in the order they began.
    pub fn calls(&self) -> Vec<Kept> {
        let mut calls: Vec<Kept> = Vec::new();
        for event in self.events() {
            match event.what {
                What::CallStarted(id, started) => calls.push(Kept { trace: event.trace, id, started, ended: None }),
                What::CallEnded(id, ended) => {
                    let call = calls.iter_mut().find(|call| call.id == id).expect("a call begins before it ends");
                    assert!(call.ended.is_none(), "a call ends once");
                    call.ended = Some(ended);
                }
                _ => {}
            }
        }
        calls
    }

    /// Waits until so many calls have ended and been recorded.
    pub async fn ended(&self, count: usize) -> Vec<Kept> {
        for _ in 0..12_000 {
            let calls = self.calls();
            if calls.iter().filter(|call| call.ended.is_some()).count() >= count {
                return calls;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("only these calls: {:#?}", self.calls());
    }

    pub async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.proxy.address()).await.unwrap(), buffer: Vec::new() }
    }

    pub async fn post(&self, target: &str, body: &str) -> Told {
        self.connect().await.post(target, "", body.as_bytes()).await.unwrap()
    }
}

/// An answer as a client saw it.
#[derive(Debug, Clone, Default)]
pub struct Told {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the answer came to its own end.
    pub whole: bool,
}

impl Told {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client that writes bytes and reads bytes.
pub struct Client {
    pub stream: TcpStream,
    pub buffer: Vec<u8>,
}

impl Client {
    pub async fn post(&mut self, target: &str, headers: &str, body: &[u8]) -> Option<Told> {
        let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        self.send(head.as_bytes()).await;
        self.send(body).await;
        self.read().await
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Reads on into the buffer; false when the connection has closed.
    pub async fn more(&mut self) -> bool {
        more(&mut self.stream, &mut self.buffer).await.is_some()
    }

    /// Reads an answer; `None` when the connection closed before one began.
    pub async fn read(&mut self) -> Option<Told> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            more(&mut self.stream, &mut self.buffer).await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut told = Told { status, headers, body: Vec::new(), whole: false };
        told.whole = self.read_body(&mut told).await.is_some();
        Some(told)
    }

    async fn read_body(&mut self, told: &mut Told) -> Option<()> {
        if told.header("transfer-encoding").is_none() {
            let len: usize = told.header("content-length").unwrap_or("0").parse().ok()?;
            while self.buffer.len() < len {
                if more(&mut self.stream, &mut self.buffer).await.is_none() {
                    told.body = std::mem::take(&mut self.buffer);
                    return None;
                }
            }
            told.body = self.buffer.drain(..len).collect();
            return Some(());
        }
        loop {
            let at = loop {
                if let Some(at) = find(&self.buffer, b"\r\n") {
                    break at;
                }
                more(&mut self.stream, &mut self.buffer).await?;
            };
            let len = usize::from_str_radix(std::str::from_utf8(&self.buffer[..at]).ok()?, 16).ok()?;
            while self.buffer.len() < at + 2 + len + 2 {
                more(&mut self.stream, &mut self.buffer).await?;
            }
            told.body.extend_from_slice(&self.buffer[at + 2..at + 2 + len]);
            self.buffer.drain(..at + 2 + len + 2);
            if len == 0 {
                return Some(());
            }
        }
    }
}

/// A chat request with these things said in turn, the user first.
pub fn chat(said: &[&str]) -> String {
    let messages: Vec<_> = said
        .iter()
        .enumerate()
        .map(|(at, text)| serde_json::json!({ "role": if at.is_multiple_of(2) { "user" } else { "assistant" }, "content": text }))
        .collect();
    serde_json::json!({ "model": "gpt-x", "messages": messages, "stream": false }).to_string()
}

/// One chat completion chunk as an event.
pub fn sse(delta: &str, finish: Option<&str>) -> String {
    let finish = finish.map_or("null".to_owned(), |finish| format!("\"{finish}\""));
    format!(
        "data: {{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-x\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

/// Never fails.
pub type Never = Infallible;
