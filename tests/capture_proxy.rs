//! The recording proxy against a fake upstream, over real loopback sockets: what passes, what is kept, who is let in.

mod fake;

use std::io::Write;

use fake::{Act, Fake, Wired, chat, config, sse};
use holdback::capture::{Ask, Begin, Brakes, DECODED, Mocks, Upstream};
use holdback::trace::{CallEnd, Content, TraceEnded, TraceId, TraceOutcome, What, Wire};

pub const ANSWER: &str = r#"{"id":"c1","object":"chat.completion","model":"gpt-x","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}}"#;
const CHAT: &str = "/v1/chat/completions";

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
    let told = wired.post(&format!("/hb/{trace}{CHAT}?x=%2F"), &body).await;
    assert_eq!((told.status, told.body.as_slice()), (200, ANSWER.as_bytes()));
    let totals = wired.proxy.end(trace, ok()).await;
    assert_eq!((totals.calls, totals.errors, totals.lost_calls), (1, 0, 0));
    assert_eq!((totals.usage.input, totals.usage.output), (Some(10), Some(2)));
    let seen = fake.seen();
    assert_eq!((seen[0].target.as_str(), seen[0].body.as_slice()), ("/v1/chat/completions?x=%2F", body.as_bytes()));
    let calls = wired.calls();
    assert_eq!((calls[0].started.wire, &calls[0].started.body[..]), (Wire::OpenaiChat, body.as_bytes()));
    let ended = calls[0].ended.as_ref().unwrap();
    assert_eq!((ended.end, ended.status, &ended.body[..]), (CallEnd::Complete, Some(200), ANSWER.as_bytes()));
    assert_eq!(ended.chunks.iter().map(|chunk| chunk.len).sum::<u64>(), ANSWER.len() as u64);
    assert_eq!((ended.summary.model.as_str(), ended.summary.stop.as_deref()), ("gpt-x", Some("end")));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_pass_in_their_own_spelling_without_what_is_ours_or_of_one_hop() {
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let wired = Wired::start(&fake).await;
    let headers = "X-Odd-CASE: 1\r\nAnthropic-Beta: a,b\r\nConnection: keep-alive, X-Hop\r\nX-Hop: gone\r\nAccept-Encoding: gzip, br\r\n\
                   x-holdback-trace: mine\r\nAuthorization: Bearer sk-secret\r\nExpect: 100-continue\r\n";
    let mut client = wired.connect().await;
    client.send(format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: 2\r\n\r\n").as_bytes()).await;
    let go_on = client.read().await.unwrap();
    assert_eq!(go_on.status, 100);
    client.send(b"{}").await;
    let told = client.read().await.unwrap();
    assert_eq!((told.status, told.header("X-Request-Id")), (200, Some("r1")));
    assert!(told.headers.iter().any(|(name, _)| name == "X-Request-Id"), "{:?}", told.headers);
    let seen = &fake.seen()[0];
    let names: Vec<&str> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"X-Odd-CASE") && names.contains(&"Anthropic-Beta"), "{names:?}");
    assert_eq!(seen.header("host"), Some(fake.address.to_string().as_str()));
    assert_eq!(
        (seen.header("authorization"), seen.header("accept-encoding")),
        (Some("Bearer sk-secret"), Some("gzip, br"))
    );
    for gone in ["x-hop", "x-holdback-trace", "expect"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    let calls = wired.ended(1).await;
    assert!(!format!("{:?}", calls[0].started.headers).contains("sk-secret"));
    let named = wired.events().into_iter().find_map(|event| match event.what {
        What::TraceStarted(started) => started.name,
        _ => None,
    });
    assert_eq!(named.as_deref(), Some("mine"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_passed_on_as_it_comes_and_kept_with_its_times() {
    let events = [
        sse(r#"{"role":"assistant"}"#, None),
        sse(r#"{"content":"hel"}"#, None),
        sse(r#"{"content":"lo"}"#, Some("stop")),
    ];
    let mut all: Vec<&str> = events.iter().map(String::as_str).collect();
    all.push("data: [DONE]\n\n");
    let fake = Fake::start(vec![Act::stream(&all)]).await;
    let wired = Wired::start(&fake).await;
    let told = wired.post(CHAT, &chat(&["hi"])).await;
    assert_eq!((told.text(), told.whole), (all.concat(), true));
    let calls = wired.ended(1).await;
    let ended = calls[0].ended.as_ref().unwrap();
    assert_eq!((ended.end, &ended.body[..]), (CallEnd::Complete, all.concat().as_bytes()));
    assert!(ended.chunks.len() > 1, "{:?}", ended.chunks);
    assert!(ended.first_byte < ended.first_content, "{:?} {:?}", ended.first_byte, ended.first_content);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_piece_is_there_before_the_last_is_sent() {
    let fake = Fake::start(vec![Act::SayAndStall(Act::chunks(&[&sse(r#"{"content":"x"}"#, None)]))]).await;
    let wired = Wired::start(&fake).await;
    let mut client = wired.connect().await;
    let body = chat(&["hi"]);
    client
        .send(format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
        .await;
    while fake::find(&client.buffer, b"\"content\":\"x\"").is_none() {
        assert!(client.more().await, "the connection closed");
    }
    // It never ends, and the client goes: what came is kept, and that it was the client who left.
    drop(client);
    let calls = wired.ended(1).await;
    let ended = calls[0].ended.as_ref().unwrap();
    assert_eq!(ended.end, CallEnd::ClientGone);
    assert!(fake::find(&ended.body, b"\"content\":\"x\"").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_heard_the_end_may_hang_up() {
    let mut pieces = Act::chunks(&[&sse(r#"{"content":"x"}"#, Some("stop")), "data: [DONE]\n\n"]);
    pieces.push(Vec::new());
    let fake = Fake::start(vec![Act::SayAndStall(pieces)]).await;
    let wired = Wired::start(&fake).await;
    let mut client = wired.connect().await;
    client.send(format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes()).await;
    while fake::find(&client.buffer, b"[DONE]").is_none() {
        assert!(client.more().await, "the connection closed");
    }
    drop(client);
    assert_eq!(wired.ended(1).await[0].ended.as_ref().unwrap().end, CallEnd::Complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_bodies_pass_packed_and_are_kept_unpacked() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(ANSWER.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut br = Vec::new();
    brotli::BrotliCompress(&mut ANSWER.as_bytes(), &mut br, &brotli::enc::BrotliEncoderParams::default()).unwrap();
    let zstd = zstd::encode_all(ANSWER.as_bytes(), 3).unwrap();
    let request = zstd::encode_all(chat(&["hi"]).as_bytes(), 3).unwrap();
    for (name, packed) in [("gzip", gzip), ("br", br), ("zstd", zstd)] {
        let head = format!("Content-Type: application/json\r\nContent-Encoding: {name}\r\n");
        let fake = Fake::start(vec![Act::with(&head, &packed)]).await;
        let wired = Wired::start(&fake).await;
        let told = wired.connect().await.post(CHAT, "Content-Encoding: zstd\r\n", &request).await.unwrap();
        assert_eq!((told.body.as_slice(), told.header("content-encoding")), (packed.as_slice(), Some(name)));
        assert_eq!(fake.seen()[0].body, request);
        let call = wired.ended(1).await.remove(0);
        let ended = call.ended.unwrap();
        assert_eq!((&ended.body[..], ended.summary.model.as_str()), (ANSWER.as_bytes(), "gpt-x"), "{name}");
        assert!(ended.headers.contains(&(DECODED.to_owned(), name.to_owned())), "{:?}", ended.headers);
        assert_eq!(&call.started.body[..], chat(&["hi"]).as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_trials_at_the_same_time_stay_as_many_traces() {
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let wired = Wired::start(&fake).await;
    let one = async |wired: &Wired| {
        let mut client = wired.connect().await;
        for said in [&["hi"][..], &["hi", "hello", "b"], &["hi", "hello", "b", "hello", "c"]] {
            client.post(CHAT, "", chat(said).as_bytes()).await.unwrap();
        }
    };
    tokio::join!(one(&wired), one(&wired), one(&wired), one(&wired));
    let calls = wired.ended(12).await;
    let mut per_trace = std::collections::HashMap::<TraceId, usize>::new();
    calls.iter().for_each(|call| *per_trace.entry(call.trace).or_default() += 1);
    assert_eq!(per_trace.into_values().collect::<Vec<_>>(), [3; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_upstreams_are_reached() {
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let other = Fake::start(vec![Act::json("{}")]).await;
    let wired = Wired::start(&fake).await;
    for target in [
        format!("http://{}{CHAT}", other.address),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "/up/nobody/v1/x".to_owned(),
        format!("/up/{}{CHAT}", other.address),
        "/unknown".to_owned(),
    ] {
        let told = wired.post(&target, "{}").await;
        assert_eq!(told.status, 404, "{target}");
        assert!(
            told.text().contains("holdback: ") && told.text().contains("openai, anthropic, gemini"),
            "{}",
            told.text()
        );
    }
    let mut client = wired.connect().await;
    client.send(format!("CONNECT {} HTTP/1.1\r\nHost: x\r\n\r\n", other.address).as_bytes()).await;
    assert_eq!(client.read().await.unwrap().status, 404);
    assert!(other.seen().is_empty() && fake.seen().is_empty());
    // As an HTTP proxy for its own upstreams it serves.
    let told = wired.post(&format!("http://{}{CHAT}", fake.address), "{}").await;
    assert_eq!((told.status, fake.seen()[0].target.as_str()), (200, CHAT));
}

#[tokio::test(flavor = "multi_thread")]
async fn brakes_answer_every_call_from_the_limit_on() {
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let wired = Wired::start(&fake).await;
    let calls = Brakes { max_calls: Some(2), ..Brakes::default() };
    let tokens = Brakes { max_tokens: Some(24), ..Brakes::default() };
    for (trace, brakes, kind) in [(TraceId(1), calls, "brake_max_calls"), (TraceId(2), tokens, "brake_max_tokens")] {
        wired.proxy.begin(trace, Begin { brakes, ..Begin::default() });
        let target = format!("/hb/{trace}{CHAT}");
        let mut client = wired.connect().await;
        for turn in 0..4 {
            let told = client.post(&target, "", chat(&["hi"]).as_bytes()).await.unwrap();
            assert_eq!(told.status, if turn < 2 { 200 } else { 400 }, "{kind} turn {turn}");
            if turn >= 2 {
                assert!(told.text().contains(kind), "{}", told.text());
                assert_eq!(told.header("x-should-retry"), Some("false"));
            }
        }
        let totals = wired.proxy.end(trace, ok()).await;
        assert_eq!((totals.calls, totals.refused), (2, 2));
        assert!(totals.pulled.is_some());
    }
    let events = wired.events();
    let braked = |event: &What| matches!(event, What::TraceEnded(ended) if ended.outcome == TraceOutcome::Braked);
    assert_eq!(events.iter().filter(|event| braked(&event.what)).count(), 2);
    let noted = events.iter().filter(|event| matches!(&event.what, What::Noted(note) if note.kind == "brake"));
    assert_eq!(noted.count(), 2);
    assert_eq!(fake.seen().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_goes_round_in_circles_is_stopped_when_asked() {
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let wired = Wired::start(&fake).await;
    let trace = TraceId(3);
    wired.proxy.begin(trace, Begin { brakes: Brakes { stop_on_stuck: true, ..Brakes::default() }, ..Begin::default() });
    let mut client = wired.connect().await;
    let mut said = vec!["go on"];
    let mut refused = None;
    for turn in 0..40 {
        let told = client.post(&format!("/hb/{trace}{CHAT}"), "", chat(&said).as_bytes()).await.unwrap();
        if told.status == 400 {
            refused = Some((turn, told.text()));
            break;
        }
        said.extend(["hello", "go on"]);
    }
    let (turn, text) = refused.expect("it is stuck");
    assert!(turn >= 5 && text.contains("brake_stuck"), "{turn} {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_known_as_one_and_the_tree_of_agents_is_kept() {
    let fake = Fake::start(vec![
        Act::status(529, r#"{"error":{"type":"overloaded_error","message":"busy"}}"#),
        Act::json(ANSWER),
    ])
    .await;
    let wired = Wired::start(&fake).await;
    let trace = TraceId(4);
    wired.proxy.begin(trace, Begin::default());
    let mut client = wired.connect().await;
    let agents = "x-claude-code-agent-id: a2\r\nx-claude-code-parent-agent-id: a1\r\n";
    for _ in 0..3 {
        client.post(&format!("/hb/{trace}{CHAT}"), agents, chat(&["hi"]).as_bytes()).await.unwrap();
    }
    let totals = wired.proxy.end(trace, ok()).await;
    assert_eq!((totals.calls, totals.errors, totals.retries, totals.agents), (3, 1, 1, 1));
    let calls = wired.calls();
    assert_eq!((calls[1].started.retry_of, calls[2].started.retry_of), (Some(calls[0].id), None));
    assert_eq!((calls[0].started.agent.as_deref(), calls[0].started.parent_agent.as_deref()), (Some("a2"), Some("a1")));
    assert!(calls[0].ended.as_ref().unwrap().summary.error.as_ref().unwrap().contains("busy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn mock_models_answer_by_name_and_as_an_upstream() {
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let mut config = config(&fake);
    config.upstreams.set("mock", Upstream::Local(std::sync::Arc::new(Mocks)));
    let wired = Wired::with(config).await;
    let body = r#"{"model":"mock/echo","messages":[{"role":"user","content":"say this"}]}"#;
    for target in [CHAT.to_owned(), format!("/up/mock{CHAT}")] {
        let told = wired.post(&target, body).await;
        assert_eq!(told.status, 200);
        assert!(told.text().contains("say this"), "{}", told.text());
    }
    let told = wired.post(&format!("/up/mock{CHAT}"), &chat(&["hi"])).await;
    assert_eq!(told.status, 400);
    assert!(fake.seen().is_empty());
    let calls = wired.ended(3).await;
    let ends: Vec<_> =
        calls.iter().map(|call| (call.started.upstream.as_str(), call.ended.as_ref().unwrap().end)).collect();
    assert_eq!(
        ends,
        [("mock/echo", CallEnd::Complete), ("mock/echo", CallEnd::Complete), ("holdback", CallEnd::Refused)]
    );
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let ask = Ask { trace: TraceId(9), upstream: "mock".into(), target: CHAT.into(), headers, body: body.into() };
    let told = wired.proxy.ask(ask).await.unwrap();
    assert_eq!(told.status, 200);
    assert_eq!(wired.ended(4).await[3].trace, TraceId(9));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_call_passes_and_is_noted() {
    let head = b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n".to_vec();
    let fake = Fake::start(vec![Act::Say(vec![head]), Act::json(r#"{"data":[]}"#)]).await;
    let wired = Wired::start(&fake).await;
    let trace = TraceId(5);
    let mut client = wired.connect().await;
    client.send(format!("HEAD /hb/{trace}/up/anthropic/api/hello HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
    let mut told = Vec::new();
    while fake::find(&told, b"\r\n\r\n").is_none() {
        assert!(client.more().await);
        told = client.buffer.clone();
    }
    assert!(told.starts_with(b"HTTP/1.1 404"));
    client.buffer.clear();
    client.send(format!("GET /hb/{trace}/v1/models HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
    assert_eq!(client.read().await.unwrap().text(), r#"{"data":[]}"#);
    wired.proxy.flush().await;
    assert!(wired.calls().is_empty());
    let notes =
        wired.events().into_iter().filter(|event| matches!(&event.what, What::Noted(note) if note.kind == "request"));
    assert_eq!(notes.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_token_stays_outside() {
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let mut config = config(&fake);
    config.token = Some("let-me-in".to_owned());
    let wired = Wired::with(config).await;
    assert_eq!(wired.post(CHAT, "{}").await.status, 407);
    assert_eq!(wired.post(&format!("/token/wrong{CHAT}"), "{}").await.status, 407);
    assert_eq!(wired.post(&format!("/token/let-me-in/hb/x{CHAT}"), "{}").await.status, 200);
    let mut client = wired.connect().await;
    for header in ["Proxy-Authorization: Bearer let-me-in\r\n", "x-holdback-token: let-me-in\r\n"] {
        assert_eq!(client.post(CHAT, header, b"{}").await.unwrap().status, 200);
    }
    assert!(!format!("{:?}", fake.seen()).contains("let-me-in"));
    assert!(!format!("{:?}", wired.ended(3).await).contains("let-me-in"));
    client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.read().await.unwrap().status, 401);
    client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer let-me-in\r\n\r\n").await;
    let metrics = client.read().await.unwrap().text();
    assert!(
        metrics.contains("holdback_calls_total 3\n") && metrics.contains("holdback_tokens_total 36\n"),
        "{metrics}"
    );
    client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(client.read().await.unwrap().text().contains("\"ok\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_not_kept_and_content_can_be_left_out() {
    let secret = "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEf-_AA";
    for content in [Content::Redacted, Content::None] {
        let fake = Fake::start(vec![Act::json(ANSWER)]).await;
        let mut config = config(&fake);
        config.content = content;
        let wired = Wired::with(config).await;
        let body = chat(&[&format!("my key is {secret}, keep quiet")]);
        wired.post(CHAT, &body).await;
        assert_eq!(fake.seen()[0].body, body.as_bytes());
        let kept = format!("{:?}", wired.ended(1).await);
        assert!(!kept.contains(secret));
        assert_eq!(kept.contains("keep quiet"), content == Content::Redacted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_clients_are_served_many_calls_on_one_connection() {
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let wired = Wired::start(&fake).await;
    let stream = tokio::net::TcpStream::connect(wired.proxy.address()).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, http_body_util::Full<bytes::Bytes>>(executor, io).await.unwrap();
    tokio::spawn(connection);
    let url = format!("http://{}{CHAT}", wired.proxy.address());
    let calls = (0..10).map(|at| {
        let request =
            hyper::Request::post(&url).body(http_body_util::Full::from(chat(&[&format!("hi {at}")]))).unwrap();
        let mut sender = sender.clone();
        async move { sender.send_request(request).await.unwrap().status() }
    });
    let statuses = futures_util::future::join_all(calls).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(wired.ended(10).await.len(), 10);
    assert!(fake.seen().iter().all(|seen| seen.header("host") == Some(fake.address.to_string().as_str())));
}
