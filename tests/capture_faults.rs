//! Everything that can go wrong on the way: the loop hears what it would have heard without us, and the record says what it was.

mod fake;

use std::sync::atomic::Ordering;
use std::time::Duration;

use fake::{Act, Fake, Kept, Told, Wired, chat, config, sse};
use holdback::capture::{Begin, Upstreams};
use holdback::trace::{CallEnd, TraceEnded, TraceId, TraceOutcome};
use tokio::io::AsyncWriteExt;

const CHAT: &str = "/v1/chat/completions";
const ANSWER: &str = r#"{"id":"c1","object":"chat.completion","model":"gpt-x","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}"#;

fn ok() -> TraceEnded {
    TraceEnded { outcome: TraceOutcome::Ok, exit_code: Some(0), signal: None, reason: None, lost_calls: 0 }
}

/// One call to an upstream that does this: what the client heard, if anything, and what was kept.
async fn once(act: Act) -> (Option<Told>, Kept) {
    let fake = Fake::start(vec![act]).await;
    let wired = Wired::start(&fake).await;
    let told = wired.connect().await.post(CHAT, "", chat(&["hi"]).as_bytes()).await;
    let kept = wired.ended(1).await.remove(0);
    (told, kept)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_not_there_is_told_in_the_providers_words() {
    let mut upstreams = Upstreams::none();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    upstreams.set_url("openai", &format!("http://{free}")).unwrap();
    let fake = Fake::start(Vec::new()).await;
    let mut config = config(&fake);
    config.upstreams = upstreams;
    let wired = Wired::with(config).await;
    let told = wired.post(CHAT, &chat(&["hi"])).await;
    assert_eq!((told.status, told.header("x-should-retry")), (502, None));
    assert!(told.text().contains("holdback could not reach openai"), "{}", told.text());
    let kept = wired.ended(1).await.remove(0);
    let ended = kept.ended.unwrap();
    assert_eq!((ended.end, ended.status), (CallEnd::NoAnswer, None));
    assert!(ended.summary.error.unwrap().contains("could not reach openai"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_before_the_answer_breaks_for_the_client_too() {
    for act in
        [Act::SayAndReset(Vec::new()), Act::SayAndClose(Vec::new()), Act::SayAndClose(vec![b"HTTP/1.1 2".to_vec()])]
    {
        let (told, kept) = once(act).await;
        assert!(told.is_none());
        assert_eq!(kept.ended.unwrap().end, CallEnd::NoAnswer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_is_cut_for_both() {
    let first = sse(r#"{"content":"hel"}"#, None);
    let half = &first[..first.len() / 2];
    for act in [
        Act::SayAndReset(Act::chunks(&[&first])),
        Act::SayAndClose(Act::chunks(&[&first])),
        Act::SayAndClose(Act::chunks(&[&first, half])),
        Act::SayAndClose(vec![
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n{first}")
                .into_bytes(),
        ]),
    ] {
        let (told, kept) = once(act).await;
        assert!(!told.unwrap().whole);
        let ended = kept.ended.unwrap();
        assert_eq!((ended.end, ended.status), (CallEnd::Cut, Some(200)));
        assert!(ended.body.starts_with(&first.as_bytes()[..20]) || ended.body.is_empty());
        assert!(ended.summary.error.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_politely_too_early_was_cut_all_the_same() {
    let (told, kept) = once(Act::stream(&[&sse(r#"{"content":"hel"}"#, None)])).await;
    assert!(told.unwrap().whole);
    assert_eq!(kept.ended.unwrap().end, CallEnd::Cut);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_and_garbage_pass_as_they_are() {
    for (status, word) in [(429, "slow down"), (500, "oops"), (529, "overloaded"), (401, "who"), (400, "what")] {
        let body = format!(r#"{{"error":{{"type":"t","message":"{word}"}}}}"#);
        let (told, kept) = once(Act::status(status, &body)).await;
        assert_eq!((told.as_ref().unwrap().status, told.unwrap().text()), (status, body));
        let ended = kept.ended.unwrap();
        assert_eq!((ended.end, ended.status), (CallEnd::Complete, Some(status)));
        assert!(ended.summary.error.unwrap().contains(word));
    }
    let garbage: Vec<u8> = (0..=255).cycle().take(5000).collect();
    for head in
        ["", "Content-Type: text/event-stream\r\n", "Content-Type: application/json\r\n", "Content-Encoding: gzip\r\n"]
    {
        let (told, kept) = once(Act::with(head, &garbage)).await;
        assert_eq!(told.unwrap().body, garbage, "{head}");
        assert_eq!(&kept.ended.unwrap().body[..], garbage, "{head}");
    }
    let (told, kept) = once(Act::status(200, "")).await;
    assert!(told.unwrap().body.is_empty() && kept.ended.unwrap().body.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_fifty_megabytes_passes_and_is_kept() {
    let event = sse(&format!(r#"{{"content":"{}"}}"#, "x".repeat(50 << 20)), Some("stop"));
    let (told, kept) = once(Act::stream(&[&event, "data: [DONE]\n\n"])).await;
    assert_eq!(told.unwrap().body.len(), event.len() + 14);
    let ended = kept.ended.unwrap();
    assert_eq!((ended.end, ended.body.len()), (CallEnd::Complete, event.len() + 14));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_two_servers_could_read_differently_go_nowhere() {
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let wired = Wired::start(&fake).await;
    for head in [
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: 4, 5\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 4\r\n",
        "Content-Length : 4\r\n",
        "Host: y\r\nContent-Length: 4\r\n",
        " folded: x\r\nContent-Length: 4\r\n",
    ] {
        let mut client = wired.connect().await;
        client
            .send(
                format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\n{head}\r\nabcdGET /v1/smuggled HTTP/1.1\r\n\r\n")
                    .as_bytes(),
            )
            .await;
        let told = client.read().await;
        assert!(told.is_none_or(|told| told.status == 400), "{head}");
    }
    assert!(fake.seen().is_empty(), "{:?}", fake.seen());
    // Length and chunks at once: chunks hold, as HTTP says, and nobody behind us hears of the length.
    for head in
        ["Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"]
    {
        let mut client = wired.connect().await;
        client.send(format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\n{head}\r\n2\r\nab\r\n0\r\n\r\n").as_bytes()).await;
        let _ = client.read().await;
    }
    for seen in fake.seen() {
        let framings =
            ["content-length", "transfer-encoding"].iter().filter(|name| seen.header(name).is_some()).count();
        assert_eq!((framings, seen.body.as_slice()), (1, &b"ab"[..]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_measure_are_refused_and_the_proxy_lives_on() {
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let wired = Wired::start(&fake).await;
    let mut client = wired.connect().await;
    client.send(format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\nX-Big: {}\r\n", "a".repeat(2 << 20)).as_bytes()).await;
    assert!(client.read().await.is_none_or(|told| told.status == 431));
    let mut client = wired.connect().await;
    let big = format!("X-Big: {}\r\n", "a".repeat(100_000));
    assert_eq!(client.post(CHAT, &big, b"{}").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_while_it_waits_or_sends_is_noticed() {
    let fake = Fake::start(vec![Act::SayAndStall(Vec::new())]).await;
    let wired = Wired::start(&fake).await;
    let mut client = wired.connect().await;
    client.send(format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes()).await;
    while fake.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(client);
    let ended = wired.ended(1).await.remove(0).ended.unwrap();
    assert_eq!((ended.end, ended.status), (CallEnd::ClientGone, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_everything_and_holds_nobody_up() {
    let body = "y".repeat(8 << 20);
    let fake = Fake::start(vec![Act::with("Content-Type: text/plain\r\n", body.as_bytes())]).await;
    let wired = Wired::start(&fake).await;
    let mut slow = wired.connect().await;
    slow.send(format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(wired.post(CHAT, "{}").await.body.len(), body.len());
    assert_eq!(slow.read().await.unwrap().body.len(), body.len());
    assert_eq!(wired.ended(2).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nothing_can_be_stored_the_loop_goes_on_and_the_loss_is_counted() {
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let wired = Wired::start(&fake).await;
    let trace = TraceId(1);
    wired.proxy.begin(trace, Begin::default());
    let target = format!("/hb/{trace}{CHAT}");
    assert_eq!(wired.post(&target, "{}").await.status, 200);
    wired.ended(1).await;
    wired.memory.full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(wired.post(&target, "{}").await.status, 200);
    }
    wired.proxy.flush().await;
    wired.memory.full.store(false, Ordering::SeqCst);
    let totals = wired.proxy.end(trace, ok()).await;
    assert_eq!((totals.calls, totals.lost_calls, totals.sink_error.as_deref()), (4, 3, Some("the disk is full")));
    assert_eq!(wired.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_turns_that_round() {
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let mut config = config(&fake);
    config.strict = true;
    let wired = Wired::with(config).await;
    assert_eq!(wired.post(CHAT, "{}").await.status, 200);
    wired.proxy.flush().await;
    wired.memory.full.store(true, Ordering::SeqCst);
    wired.post(CHAT, "{}").await;
    wired.proxy.flush().await;
    let told = wired.post(CHAT, "{}").await;
    assert_eq!(told.status, 500);
    assert!(told.text().contains("not_recorded"), "{}", told.text());
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_under_way_are_on_record_before_they_end() {
    let fake = Fake::start(vec![Act::SayAndStall(Act::chunks(&["data: {}\n\n"]))]).await;
    let wired = Wired::start(&fake).await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = wired.connect().await;
        client.send(format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes()).await;
        clients.push(client);
    }
    for _ in 0..1000 {
        if wired.calls().len() == 100 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(wired.calls().iter().filter(|call| call.ended.is_none()).count(), 100);
    for client in &mut clients {
        let _ = client.stream.shutdown().await;
    }
    drop(clients);
    assert!(wired.ended(100).await.iter().all(|call| call.ended.as_ref().unwrap().end == CallEnd::ClientGone));
}
