//! Failed traces put straight into a store, and a model that answers what it is told.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use holdback::store::log::{Durability, Store, Writer};
use holdback::trace::{
    CallEnded, CallId, CallStarted, CallSummary, Score, Sink, Timestamp, TraceEnded, TraceEvent, TraceId, TraceOutcome,
    TraceStarted, What, Wire,
};
use serde_json::{Value, json};

pub const START: i64 = 1_760_000_000_000_000;

/// The store of a folder.
pub fn store(folder: &Path) -> Store {
    Store::open(folder.join(".holdback"), Durability::Os).unwrap()
}

pub fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

pub fn says(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}

/// An answer that asks for a tool.
pub fn asks(id: &str, tool: &str, arguments: &Value) -> Value {
    json!({"role": "assistant", "content": null, "tool_calls": [{"id": id, "type": "function",
        "function": {"name": tool, "arguments": arguments.to_string()}}]})
}

pub fn result(id: &str, text: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": text})
}

/// A conversation as a chat answer.
pub fn answer(message: &Value) -> String {
    json!({"id": "c1", "object": "chat.completion", "model": "gpt-5-mini", "choices": [{"index": 0, "message": message,
        "finish_reason": "stop"}], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}})
    .to_string()
}

/// A trace that is written call by call.
pub struct Script {
    writer: Writer,
    trace: TraceId,
    at: i64,
    calls: u64,
    pub tools: Vec<String>,
}

impl Script {
    pub fn begin(store: &Store, trace: u128, started: TraceStarted) -> Self {
        let mut script = Script {
            writer: store.writer().unwrap(),
            trace: TraceId(trace),
            at: START + (trace as i64) * 1_000_000_000,
            calls: 0,
            tools: vec!["read_file".to_owned(), "deploy".to_owned(), "send_mail".to_owned()],
        };
        script.accept(What::TraceStarted(started));
        script
    }

    pub fn accept(&mut self, what: What) {
        self.at += 1_000;
        self.writer.accept(&TraceEvent { trace: self.trace, at: Timestamp(self.at), what }).unwrap();
    }

    /// A call whose answer never came.
    pub fn ask(&mut self, messages: &[Value]) -> CallId {
        self.calls += 1;
        let call = CallId((self.trace.0 as u64) << 16 | self.calls);
        let tool = |name: &String| {
            json!({"type": "function", "function": {"name": name, "description": "Does it",
            "parameters": {"type": "object"}}})
        };
        let tools: Vec<Value> = self.tools.iter().map(tool).collect();
        let body = json!({"model": "gpt-5-mini", "messages": messages, "tools": tools});
        self.accept(What::CallStarted(
            call,
            CallStarted {
                wire: Wire::OpenaiChat,
                upstream: "openai".to_owned(),
                method: "POST".to_owned(),
                target: "/v1/chat/completions".to_owned(),
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: Bytes::from(body.to_string()),
                ..CallStarted::default()
            },
        ));
        call
    }

    pub fn call(&mut self, messages: &[Value], message: &Value) {
        let call = self.ask(messages);
        self.accept(What::CallEnded(
            call,
            CallEnded {
                status: Some(200),
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: Bytes::from(answer(message)),
                summary: CallSummary { model: "gpt-5-mini".to_owned(), ..CallSummary::default() },
                ..CallEnded::default()
            },
        ));
    }

    pub fn score(&mut self, value: f64, comment: &str) {
        let (name, by) = ("thumbs".to_owned(), "human".to_owned());
        let comment = Some(comment.to_owned());
        self.accept(What::Scored(Score { name, by, value: Some(value), label: None, comment, call: None }));
    }

    pub fn end(&mut self, outcome: TraceOutcome) {
        let exit_code = Some(i32::from(outcome != TraceOutcome::Ok));
        self.accept(What::TraceEnded(TraceEnded { outcome, exit_code, signal: None, reason: None, lost_calls: 0 }));
    }
}

pub fn named(name: &str) -> TraceStarted {
    TraceStarted { name: Some(name.to_owned()), ..TraceStarted::default() }
}

/// A run of 60 calls: files are read, one after the other; on the way a deployment fails, and at the end it is asked for again.
pub fn long(store: &Store, trace: u128, name: &str) {
    let mut script = Script::begin(store, trace, named(name));
    let mut messages = vec![
        json!({"role": "system", "content": "You are a careful release engineer. ".repeat(40)}),
        user("Release the shop to region eu-1."),
    ];
    for n in 0..59 {
        let id = format!("call_{n}");
        let (said, came) = match n {
            41 => (
                asks(&id, "deploy", &json!({"region": "eu-1"})),
                "error: the quota of region eu-1 is used up".to_owned(),
            ),
            _ => (
                asks(&id, "read_file", &json!({"path": format!("src/file_{n}.rs")})),
                format!("line of file {n}\n").repeat(80),
            ),
        };
        script.call(&messages, &said);
        messages.extend([said, result(&id, &came)]);
    }
    script.call(&messages, &asks("call_59", "deploy", &json!({"region": "eu-1"})));
    script.end(TraceOutcome::Failed);
}

/// A short failed run: the same deployment twice, the second after it had failed.
pub fn short(store: &Store, trace: u128, name: &str) {
    let mut script = Script::begin(store, trace, named(name));
    let deploy = json!({"region": "eu-1"});
    let mut messages = vec![user("Release the shop to region eu-1.")];
    script.call(&messages, &asks("a", "deploy", &deploy));
    messages.extend([asks("a", "deploy", &deploy), result("a", "error: the quota of region eu-1 is used up")]);
    script.call(&messages, &asks("b", "deploy", &deploy));
    script.end(TraceOutcome::Failed);
}

/// What a model was asked: the body, and which question it was.
pub type Say = dyn Fn(usize, &Value) -> (u16, String) + Send + Sync;

/// A model behind a socket, for as long as the test lasts.
pub struct Model {
    pub url: String,
    asked: Arc<Mutex<usize>>,
}

impl Model {
    pub fn start(say: impl Fn(usize, &Value) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(0));
        let (count, say): (_, Arc<Say>) = (asked.clone(), Arc::new(say));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (count, say) = (count.clone(), say.clone());
                std::thread::spawn(move || serve(stream, &count, say.as_ref()));
            }
        });
        Model { url, asked }
    }

    pub fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

fn serve(mut stream: std::net::TcpStream, count: &Mutex<usize>, say: &Say) {
    let (mut seen, mut piece) = (Vec::new(), [0_u8; 8192]);
    let body = loop {
        let Ok(read @ 1..) = stream.read(&mut piece) else { return };
        seen.extend_from_slice(&piece[..read]);
        let Some(at) = seen.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&seen[..at]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        if let Some(body) = seen.get(at + 4..at + 4 + length.unwrap_or(0)) {
            break serde_json::from_slice(body).unwrap_or_default();
        }
    };
    let number = {
        let mut count = count.lock().unwrap();
        *count += 1;
        *count
    };
    let (status, text) = say(number, &body);
    let head = "content-type: application/json\r\nconnection: close";
    let _ = write!(stream, "HTTP/1.1 {status} X\r\n{head}\r\ncontent-length: {}\r\n\r\n{text}", text.len());
}
