//! A recorder that dies: what had ended is there, what was open is there and says so.

use super::*;
use crate::fake::{Act, chat, find, sse};

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_killed_over_a_hundred_open_streams_keeps_what_had_ended() {
    const ENDED: usize = 20;
    const OPEN: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    let (first, last) = (sse(r#"{"content":"hel"}"#, None), sse(r#"{"content":"lo"}"#, Some("stop")));
    let mut acts = vec![Act::stream(&[&first, &last, "data: [DONE]\n\n"]); ENDED];
    acts.push(Act::SayAndStall(Act::chunks(&[&first])));
    let fake = Fake::start(acts).await;
    let proxy = Standing::start(folder.path(), &fake, &[]);
    let trace = |at: usize| format!("{:032x}", at % 10 + 1);
    for at in 0..ENDED {
        let target = format!("/hb/{}{CHAT}", trace(at));
        let body = chat(&[&format!("ended number {at}")]);
        let told = proxy.connect().await.post(&target, "", body.as_bytes()).await.unwrap();
        assert!(told.whole);
    }
    let mut open = Vec::new();
    for at in 0..OPEN {
        let mut client = proxy.connect().await;
        let body = chat(&[&format!("open number {at}")]);
        let head =
            format!("POST /hb/{}{CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", trace(at), body.len());
        client.send(format!("{head}{body}").as_bytes()).await;
        while find(&client.buffer, b"hel").is_none() {
            assert!(client.more().await);
        }
        open.push(client);
    }
    until("all calls are in the store", || {
        let traces = json(folder.path(), &["traces", "ls", "--json"]);
        let sum = |field: &str| traces.as_array().unwrap().iter().map(|t| t[field].as_u64().unwrap()).sum::<u64>();
        (sum("calls"), sum("open_calls")) == ((ENDED + OPEN) as u64, OPEN as u64)
    })
    .await;
    proxy.kill_9();

    let (mut complete, mut lost) = (0, 0);
    for at in 0..10 {
        let shown = json(folder.path(), &["traces", "show", &trace(at), "--json"]);
        assert_eq!((shown["status"].as_str(), shown["open_calls"].as_u64()), (Some("cut_off"), Some(10)), "{shown}");
        for call in shown["calls"].as_array().unwrap() {
            let said = call["new_messages"][0]["parts"][0]["text"].as_str().unwrap();
            match call["end"].as_str() {
                Some("complete") => {
                    complete += 1;
                    assert!(said.starts_with("ended"));
                    assert_eq!(call["answer"]["parts"][0]["text"], "hello");
                }
                Some("lost") => {
                    lost += 1;
                    assert!(said.starts_with("open"));
                }
                other => panic!("{other:?}: {call}"),
            }
        }
    }
    assert_eq!((complete, lost), (ENDED, OPEN));
    let health = json(folder.path(), &["doctor", "--verify", "--json"]);
    assert_eq!((health["sound"].as_bool(), health["checkup"]["bodies"].as_u64()), (Some(true), Some(120)), "{health}");
    // The next recorder goes on in the same store.
    let again = Standing::start(folder.path(), &fake, &[]);
    again.stop();
}
