//! How much recording pays for looking: bytes per second on text without secrets, on text full of words that may begin
//! one, on a stream, and on a body with a secret in it.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use holdback::redact::{Redactor, Rules};
use serde_json::json;

const SIZE: usize = 1 << 20;

fn filled(piece: &str) -> String {
    piece.repeat(SIZE / piece.len() + 1)
}

/// A coding session as it goes over the wire: code, paths and tool results inside JSON strings.
fn session() -> String {
    let code = "fn total(items: &[Item]) -> u64 {\n    items.iter().map(|item| item.price * item.count).sum()\n}\n\n\
                // see https://docs.example.com/guide for the tokens that a model may spend, and README.md for the rest\n";
    let message = json!({"role": "tool", "tool_call_id": "call_fake000009", "content": filled(code)[..4000]});
    let messages: Vec<_> = std::iter::repeat_n(message, SIZE / 4200).collect();
    json!({"model": "m", "messages": messages}).to_string()
}

fn stream() -> String {
    let event =
        json!({"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": " some words of an answer"}}]});
    filled(&format!("data: {event}\n\n"))
}

fn bench(c: &mut Criterion) {
    let redactor = Redactor::new(&Rules { salt: b"bench".to_vec(), patterns: Vec::new() }).expect("built-in rules");
    let key = format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0".repeat(2));
    let bodies = [
        ("prose, nothing to stop at", filled("The quick brown fox jumps over the lazy dog and goes home again. ")),
        ("coding session", session()),
        ("words that may begin a secret", filled("\"token\": 12, password: string, https://example.com/a_key, ")),
        (
            "coding session, a secret at its end",
            session().replace("\"model\":\"m\"", &format!("\"model\":\"m {key}\"")),
        ),
    ];
    let mut group = c.benchmark_group("redact");
    for (name, body) in bodies {
        let body = Bytes::from(body);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::new("body", name), |b| b.iter(|| black_box(redactor.body(body.clone()))));
    }
    let body = Bytes::from(stream());
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function(BenchmarkId::new("stream", "server-sent events"), |b| {
        b.iter(|| black_box(redactor.stream(body.clone(), &[])));
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
