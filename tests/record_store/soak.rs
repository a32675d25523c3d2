//! Memory stays flat however long a proxy runs.

use super::*;
use crate::fake::{Act, chat, sse};

/// What a process may grow by once it is warm, in kilobytes.
const GROWTH: u64 = 48 * 1024;
const CLIENTS: usize = 8;

/// Half name their trace, half leave it to be told by what is said; each conversation goes on for ten calls.
async fn calls(proxy: &Standing, from: usize, count: usize) {
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let mut connection = proxy.connect().await;
        clients.spawn(async move {
            for at in from / CLIENTS..(from + count) / CLIENTS {
                let said: Vec<String> = (0..=at % 10 * 2)
                    .map(|turn| {
                        if turn % 2 == 1 {
                            "hello".into()
                        } else {
                            format!("{client} {} {turn} {}", at / 10, "word ".repeat(100))
                        }
                    })
                    .collect();
                let body = chat(&said.iter().map(String::as_str).collect::<Vec<_>>());
                let target =
                    if client % 2 == 0 { format!("/hb/{client:016x}{:016x}{CHAT}", at / 10 + 1) } else { CHAT.into() };
                let told = connection.post(&target, "", body.as_bytes()).await.unwrap();
                assert!(told.whole && told.status == 200);
            }
        });
    }
    clients.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_flat() {
    // HOLDBACK_SOAK=1 is the long run; any larger number is so many calls.
    let asked = std::env::var("HOLDBACK_SOAK").ok().and_then(|text| text.parse::<usize>().ok());
    let (warm, all) = match asked {
        Some(1) => (10_000, 100_000),
        Some(calls @ 2..) => ((calls / 800 * 80).max(800), calls.max(2_000) / 80 * 80),
        _ => (800, 2_000),
    };
    let folder = tempfile::tempdir().unwrap();
    let (first, last) = (sse(r#"{"content":"hel"}"#, None), sse(r#"{"content":"lo"}"#, Some("stop")));
    let pieces = Act::chunks(&[&first, &last, "data: [DONE]\n\n"]);
    let whole = [pieces.concat(), b"0\r\n\r\n".to_vec()].concat();
    let fake = Fake::start(vec![Act::Say(vec![whole])]).await;
    let proxy = Standing::start(folder.path(), &fake, &[]);
    calls(&proxy, 0, warm).await;
    let before = proxy.rss_kb();
    calls(&proxy, warm, all - warm).await;
    let after = proxy.rss_kb();
    println!("soak: {before} KB after {warm} calls, {after} KB after {all}");
    assert!(after <= before + GROWTH, "{before} KB after {warm} calls, {after} KB after {all}");
    proxy.stop();
    let health = json(folder.path(), &["doctor", "--verify", "--json"]);
    assert_eq!((health["sound"].as_bool(), health["stats"]["calls"].as_u64()), (Some(true), Some(all as u64)));
    let traces = json(folder.path(), &["traces", "ls", "-n", "0", "--json"]);
    assert_eq!(traces.as_array().unwrap().len(), all / 10, "ten calls a conversation, whoever tells them apart");
}
