//! The recording proxy against a fake upstream, over real loopback sockets.

mod fake;

use fake::{Act, Fake, Wired, chat};
use holdback::capture::Begin;
use holdback::trace::{CallEnd, TraceEnded, TraceId, TraceOutcome};

const ANSWER: &str = r#"{"id":"c1","object":"chat.completion","model":"gpt-x","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}}"#;

fn ok() -> TraceEnded {
    TraceEnded { outcome: TraceOutcome::Ok, exit_code: Some(0), signal: None, reason: None, lost_calls: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_unchanged_and_the_call_is_recorded() {
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let wired = Wired::start(&fake).await;
    let trace = TraceId(7);
    wired.proxy.begin(trace, Begin::default());
    let body = chat(&["hi"]);
    let told = wired.post(&format!("/hb/{trace}/v1/chat/completions?x=%2F"), &body).await;
    assert_eq!((told.status, told.body.as_slice()), (200, ANSWER.as_bytes()));
    let totals = wired.proxy.end(trace, ok()).await;
    assert_eq!((totals.calls, totals.errors, totals.lost_calls), (1, 0, 0));
    let seen = fake.seen();
    assert_eq!((seen[0].target.as_str(), seen[0].body.as_slice()), ("/v1/chat/completions?x=%2F", body.as_bytes()));
    let calls = wired.calls();
    assert_eq!(calls[0].started.body, body);
    let ended = calls[0].ended.as_ref().unwrap();
    assert_eq!((ended.end, ended.status, &ended.body[..]), (CallEnd::Complete, Some(200), ANSWER.as_bytes()));
    assert_eq!(ended.chunks.iter().map(|chunk| chunk.len).sum::<u64>(), ANSWER.len() as u64);
}
