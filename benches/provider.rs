//! How fast bodies are read: requests of growing histories, streams in the pieces a socket gives, one huge event.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use holdback::provider::{Reader, answer, request, response};
use holdback::trace::{Headers, Message, Part, Response, Role, Stop, ToolCall, Usage, Wire};
use serde_json::{Value, json};

const WIRES: [Wire; 4] = [Wire::OpenaiChat, Wire::OpenaiResponses, Wire::AnthropicMessages, Wire::Gemini];

/// A coding agent's answer: a little text, then a tool call with a file in it.
fn sample(words: usize) -> Response {
    let text: String = (0..words).map(|at| format!("word{} ", at % 97)).collect();
    let file: String = (0..words).map(|at| format!("let x{at} = \"{at}\";\n")).collect();
    let call =
        ToolCall { id: "call_1".into(), name: "write".into(), arguments: json!({ "path": "a.rs", "text": file }) };
    let message = Message { role: Role::Assistant, parts: vec![Part::Text { text }, Part::ToolCall(call)] };
    let usage = Usage { input: Some(1000), output: Some(500), ..Usage::default() };
    let (id, model) = ("answer_1".to_owned(), "model-1".to_owned());
    Response {
        id,
        model,
        message: Some(message),
        stop: Some(Stop::Tools),
        usage,
        complete: true,
        ..Response::default()
    }
}

/// A history of about 100 KB: orders, tools, and turns with 4 KB of tool output each.
fn history(wire: Wire) -> Vec<u8> {
    let output: String = (0..100).map(|at| format!("line {at}: \"some output\" of a tool\n")).collect();
    let orders = "You are a careful agent. ".repeat(400);
    let schema =
        json!({ "type": "object", "properties": { "command": { "type": "string", "description": "what to run" } } });
    let turns = 24;
    let each = |turn: &dyn Fn(usize) -> Vec<Value>| (0..turns).flat_map(turn).collect::<Vec<_>>();
    let body = match wire {
        Wire::OpenaiChat => {
            let mut messages = each(&|at| {
                let function = json!({ "name": "shell", "arguments": "{\"command\":\"ls\"}" });
                let call = json!({ "id": at.to_string(), "type": "function", "function": function });
                vec![
                    json!({ "role": "assistant", "content": null, "tool_calls": [call] }),
                    json!({ "role": "tool", "tool_call_id": at.to_string(), "content": output }),
                ]
            });
            messages.insert(0, json!({ "role": "system", "content": orders }));
            let tool = json!({ "type": "function", "function": { "name": "shell", "parameters": schema } });
            json!({ "model": "m", "stream": true, "messages": messages, "tools": [tool] })
        }
        Wire::OpenaiResponses => {
            json!({ "model": "m", "stream": true, "instructions": orders, "input": each(&|at| vec![
            json!({ "type": "function_call", "call_id": at.to_string(), "name": "shell", "arguments": "{\"command\":\"ls\"}" }),
            json!({ "type": "function_call_output", "call_id": at.to_string(), "output": output }),
        ]), "tools": [{ "type": "function", "name": "shell", "parameters": schema }] })
        }
        Wire::AnthropicMessages => json!({ "model": "m", "stream": true, "system": orders, "messages": each(&|at| vec![
            json!({ "role": "assistant", "content": [{ "type": "tool_use", "id": at.to_string(), "name": "shell",
                "input": { "command": "ls" } }] }),
            json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": at.to_string(), "content": output }] }),
        ]), "tools": [{ "name": "shell", "input_schema": schema }] }),
        _ => json!({ "systemInstruction": { "parts": [{ "text": orders }] }, "contents": each(&|_| vec![
            json!({ "role": "model", "parts": [{ "functionCall": { "name": "shell", "args": { "command": "ls" } } }] }),
            json!({ "role": "user", "parts": [{ "functionResponse": { "name": "shell", "response": { "output": output } } }] }),
        ]), "tools": [{ "functionDeclarations": [{ "name": "shell", "parameters": schema }] }] }),
    };
    body.to_string().into_bytes()
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("provider/request");
    for wire in WIRES {
        let body = history(wire);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(wire.as_str(), |bencher| {
            bencher.iter(|| request(wire, "/v1/x", black_box(&body)).map(|read| read.messages.len()));
        });
    }
    group.finish();
}

fn streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("provider/stream");
    for wire in WIRES {
        let chunks = answer(wire, true, &sample(2000)).1;
        group.throughput(Throughput::Bytes(chunks.iter().map(|chunk| chunk.len() as u64).sum()));
        group.bench_function(wire.as_str(), |bencher| {
            bencher.iter_batched(
                || Reader::new(wire, 200, &Headers::new()),
                |mut reader| {
                    for chunk in &chunks {
                        reader.feed(black_box(chunk));
                    }
                    reader.finish()
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn huge(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("provider/one_event_of_50_mb");
    group.sample_size(10);
    let text = "x".repeat(50 << 20);
    let event = json!({ "choices": [{ "index": 0, "delta": { "content": text } }] });
    let body = format!("data: {event}\n\ndata: [DONE]\n\n").into_bytes();
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("whole", |bencher| {
        bencher.iter(|| response(Wire::OpenaiChat, 200, &Headers::new(), black_box(&body)).complete);
    });
    group.bench_function("in_pieces_of_1400_bytes", |bencher| {
        bencher.iter(|| {
            let mut reader = Reader::new(Wire::OpenaiChat, 200, &Headers::new());
            for piece in black_box(&body).chunks(1400) {
                reader.feed(piece);
            }
            reader.finish().complete
        });
    });
    group.finish();
}

criterion_group!(benches, requests, streams, huge);
criterion_main!(benches);
