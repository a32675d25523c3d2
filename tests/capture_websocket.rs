//! WebSockets through the proxy, byte by byte: what passes, what is recorded, and that brakes hold inside.
#![expect(clippy::unwrap_used, reason = "a test")]

mod fake;

use fake::{Act, Client, Fake, Wired};
use holdback::capture::{Begin, Brakes};
use holdback::trace::{CallEnd, TraceId, Wire};

const CREATED: &str = r#"{"type":"response.created","response":{"id":"r1","model":"gpt-x"}}"#;
const DELTA: &str =
    r#"{"type":"response.output_text.delta","item_id":"m1","output_index":0,"content_index":0,"delta":"hello"}"#;
const DONE: &str = r#"{"type":"response.completed","response":{"id":"r1","object":"response","status":"completed","model":"gpt-x","output":[{"type":"message","id":"m1","role":"assistant","content":[{"type":"output_text","text":"hello"}]}],"usage":{"input_tokens":7,"output_tokens":3,"total_tokens":10}}}"#;
const ASK: &str =
    r#"{"type":"response.create","model":"gpt-x","input":[{"type":"message","role":"user","content":"hi"}]}"#;

/// A frame without a mask; an upstream of ours reads nothing, so nobody misses it.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 126];
    frame.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Says yes to a WebSocket and then what it has to say.
fn yes(texts: &[&str]) -> Vec<Vec<u8>> {
    let mut pieces = vec![b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n".to_vec()];
    // The first word only once the question has had time to pass.
    pieces.extend(std::iter::repeat_n(Vec::new(), 60));
    pieces.extend(texts.iter().map(|text| frame(text)));
    pieces
}

async fn open(wired: &Wired, target: &str) -> Client {
    let mut client = wired.connect().await;
    client
        .send(format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n").as_bytes())
        .await;
    while fake::find(&client.buffer, b"\r\n\r\n").is_none() {
        assert!(client.more().await, "closed");
    }
    client
}

async fn until(client: &mut Client, word: &str) {
    while fake::find(&client.buffer, word.as_bytes()).is_none() {
        assert!(client.more().await, "closed before {word}: {}", String::from_utf8_lossy(&client.buffer));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_over_a_websocket_is_a_call() {
    let fake = Fake::start(vec![Act::SayAndStall(yes(&[CREATED, DELTA, DONE]))]).await;
    let wired = Wired::start(&fake).await;
    let trace = TraceId(1);
    let mut client = open(&wired, &format!("/hb/{trace}/up/openai/v1/responses")).await;
    assert!(client.buffer.starts_with(b"HTTP/1.1 101"));
    client.send(&frame(ASK)).await;
    until(&mut client, "response.completed").await;
    assert_eq!(fake.seen()[0].header("sec-websocket-extensions"), None);
    let call = wired.ended(1).await.remove(0);
    assert_eq!((call.trace, call.started.wire, &call.started.body[..]), (trace, Wire::OpenaiResponses, ASK.as_bytes()));
    let ended = call.ended.unwrap();
    assert_eq!(
        (ended.end, ended.summary.usage.input, ended.summary.usage.output),
        (CallEnd::Complete, Some(7), Some(3))
    );
    assert_eq!(ended.chunks.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_cut_and_a_no_is_passed_on() {
    let fake = Fake::start(vec![Act::SayAndClose(yes(&[CREATED, DELTA])), Act::status(426, "no")]).await;
    let wired = Wired::start(&fake).await;
    let mut client = open(&wired, "/up/openai/v1/responses").await;
    client.send(&frame(ASK)).await;
    while client.more().await {}
    assert_eq!(wired.ended(1).await.remove(0).ended.unwrap().end, CallEnd::Cut);
    let client = open(&wired, "/up/openai/v1/responses").await;
    assert!(client.buffer.starts_with(b"HTTP/1.1 426"));
}

#[tokio::test(flavor = "multi_thread")]
async fn brakes_hold_inside() {
    let fake = Fake::start(vec![Act::SayAndStall(yes(&[CREATED, DONE]))]).await;
    let wired = Wired::start(&fake).await;
    let trace = TraceId(2);
    wired.proxy.begin(trace, Begin { brakes: Brakes { max_calls: Some(1), ..Brakes::default() }, ..Begin::default() });
    let mut client = open(&wired, &format!("/hb/{trace}/up/openai/v1/responses")).await;
    client.send(&frame(ASK)).await;
    until(&mut client, "response.completed").await;
    client.send(&frame(ASK)).await;
    until(&mut client, "brake_max_calls").await;
    let ends: Vec<_> = wired.ended(2).await.into_iter().map(|call| call.ended.unwrap().end).collect();
    assert_eq!(ends, [CallEnd::Complete, CallEnd::Refused]);
}
