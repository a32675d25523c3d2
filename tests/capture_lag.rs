//! A recorder that cannot keep up: the loop goes on, memory stays bounded, bodies wait on disk, and what fits nowhere is counted.
#![allow(clippy::unwrap_used)]

mod fake;

use std::sync::atomic::Ordering;
use std::time::Duration;

use fake::{Act, Client, Fake, Wired, chat, config};
use holdback::capture::{Begin, ProxyConfig};
use holdback::trace::TraceId;

const CHAT: &str = "/v1/chat/completions";
const ANSWER: &str = r#"{"id":"c1","object":"chat.completion","model":"gpt-x","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}"#;
/// What a proxy here may hold in memory, in bytes.
const MEMORY: u64 = 400_000;

/// A store that takes nothing until it is let go.
struct Hung {
    release: std::sync::mpsc::Sender<()>,
    held: tokio::task::JoinHandle<()>,
}

impl Hung {
    async fn hang(wired: &Wired) -> Self {
        let gate = wired.memory.gate.clone();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (locked, is_locked) = tokio::sync::oneshot::channel();
        let held = tokio::task::spawn_blocking(move || {
            let _gate = gate.lock().unwrap();
            locked.send(()).unwrap();
            let _ = released.recv();
        });
        is_locked.await.unwrap();
        Hung { release, held }
    }

    async fn let_go(self) {
        self.release.send(()).unwrap();
        self.held.await.unwrap();
    }
}

fn small(fake: &Fake) -> ProxyConfig {
    let mut config = config(fake);
    config.queue_bytes = MEMORY;
    config
}

/// A body of twenty thousand letters, each one different from the others.
fn body(at: usize) -> String {
    chat(&[&format!("number {at} {}", "z".repeat(20_000))])
}

async fn waiting(wired: &Wired) -> u64 {
    let mut client = wired.connect().await;
    client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let page = client.read().await.unwrap().text();
    let line = page.lines().find(|line| line.starts_with("holdback_recorder_bytes ")).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Makes so many calls, each when what the last one left behind has been moved out of the way.
async fn calls(wired: &Wired, client: &mut Client, count: usize) {
    for at in 0..count {
        assert_eq!(client.post(CHAT, "", body(at).as_bytes()).await.unwrap().status, 200);
        for _ in 0..2000 {
            if waiting(wired).await < MEMORY * 5 / 8 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_store_that_hangs_waits_on_disk_and_nothing_is_lost() {
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = small(&fake);
    config.spill = Some(folder.path().to_owned());
    let wired = Wired::with(config).await;
    let hung = Hung::hang(&wired).await;
    let mut client = wired.connect().await;
    calls(&wired, &mut client, 60).await;
    let counts = wired.proxy.counts();
    assert!(waiting(&wired).await <= MEMORY);
    let spilled = counts.spilled.load(Ordering::SeqCst);
    assert!(spilled >= 30, "{spilled}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "what waits there has no name");
    hung.let_go().await;
    wired.proxy.flush().await;
    assert_eq!(counts.lost_calls.load(Ordering::SeqCst) + counts.cut_bodies.load(Ordering::SeqCst), 0);
    let kept = wired.ended(60).await;
    assert_eq!(kept.len(), 60);
    for (at, call) in kept.iter().enumerate() {
        assert_eq!(call.started.body, body(at).as_bytes(), "call {at}");
        assert_eq!(call.ended.as_ref().unwrap().body, ANSWER.as_bytes());
    }
    assert_eq!(waiting(&wired).await, 0, "all that was claimed is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_neither_in_memory_nor_on_disk_is_dropped_and_counted() {
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let folder = tempfile::tempdir().unwrap();
    for spill_bytes in [0, 100_000] {
        let mut config = small(&fake);
        config.spill = (spill_bytes > 0).then(|| folder.path().to_owned());
        config.spill_bytes = spill_bytes;
        let wired = Wired::with(config).await;
        let hung = Hung::hang(&wired).await;
        let mut client = wired.connect().await;
        for at in 0..60 {
            assert_eq!(client.post(CHAT, "", body(at).as_bytes()).await.unwrap().status, 200);
        }
        assert!(waiting(&wired).await <= MEMORY);
        hung.let_go().await;
        wired.proxy.flush().await;
        let lost = wired.proxy.counts().lost_calls.load(Ordering::SeqCst);
        let kept = wired.calls();
        assert!(lost >= 20, "{lost}");
        assert_eq!(kept.len() as u64 + lost, 60);
        assert!(kept.iter().all(|call| call.ended.is_some()));
        assert_eq!(waiting(&wired).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_strict_mode_calls_wait_for_a_recorder_that_lags_instead() {
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let mut config = small(&fake);
    config.strict = true;
    let wired = Wired::with(config).await;
    let trace = TraceId(5);
    wired.proxy.begin(trace, Begin::default());
    wired.proxy.flush().await;
    let hung = Hung::hang(&wired).await;
    let mut at = 0;
    while waiting(&wired).await <= MEMORY * 3 / 4 {
        assert_eq!(wired.post(CHAT, &body(at)).await.status, 200);
        at += 1;
    }
    let seen = fake.seen().len();
    let held = wired.post(CHAT, "{}");
    tokio::pin!(held);
    let early = tokio::time::timeout(Duration::from_millis(200), held.as_mut()).await;
    assert!(early.is_err() && fake.seen().len() == seen, "it waits");
    hung.let_go().await;
    assert_eq!(held.await.status, 200);
    wired.proxy.flush().await;
    assert_eq!(wired.proxy.counts().lost_calls.load(Ordering::SeqCst), 0);
    assert_eq!(wired.ended(at + 1).await.len(), at + 1);
}
