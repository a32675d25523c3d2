//! The same calls through other proxies that record, which benches/peers/proxy.sh has started.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

use holdback::store::log::{Durability, Store};

use crate::parts::{Bodies, CHAT, body, drops, holdback, plain_proxy, quantile, run, traced, upstream, verify};

/// `NAME=ADDRESS,…`: the proxies, each before the upstream at [`PORT`].
pub const PEERS: &str = "HOLDBACK_BENCH_PEERS";
/// The port at which they expect their upstream.
const PORT: &str = "HOLDBACK_BENCH_PORT";
const CLIENTS: usize = 16;

/// What came of one way.
struct Row {
    who: String,
    p50: f64,
    p99: f64,
    rate: f64,
}

async fn measure(who: &str, at: SocketAddr, paths: &[String], calls: usize, settled: impl AsyncFn()) -> Row {
    let bodies = |clients: usize, each: usize, first: usize| -> Vec<Vec<bytes::Bytes>> {
        (0..clients).map(|client| (0..each).map(|turn| body(Bodies::Growing, first + client, turn)).collect()).collect()
    };
    run(at, &paths[..1], &bodies(1, 20, 100)).await;
    let (alone, _) = run(at, &paths[..1], &bodies(1, calls, 200)).await;
    settled().await;
    let (together, begun) = run(at, paths, &bodies(CLIENTS, (calls / CLIENTS).max(8), 300)).await;
    settled().await;
    let rate = together.len() as f64 / begun.elapsed().as_secs_f64();
    Row { who: who.to_owned(), p50: quantile(&alone, 0.5), p99: quantile(&alone, 0.99), rate }
}

/// Measures all of them and prints one table.
pub async fn run_all(peers: &str, calls: usize) {
    let port: u16 = std::env::var(PORT).unwrap().parse().unwrap();
    let to = upstream(TcpListener::bind(("127.0.0.1", port)).await.unwrap()).await;
    let plain = plain_proxy(to).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store"), Durability::Os).unwrap();
    let proxy = holdback(to, store.writer().unwrap()).await;
    let direct = vec![CHAT.to_owned(); CLIENTS];
    let mut rows = vec![
        measure("direct", to, &direct, calls, async || {}).await,
        measure("pass-through", plain, &direct, calls, async || {}).await,
        measure("holdback", proxy.address(), &traced(CLIENTS), calls, async || proxy.flush().await).await,
    ];
    for peer in peers.split(',') {
        let (who, at) = peer.split_once('=').unwrap();
        rows.push(measure(who, at.parse().unwrap(), &direct, calls, async || {}).await);
    }
    assert_eq!(drops(&proxy), 0, "calls were dropped");
    proxy.stop(Duration::from_secs(1)).await;
    let bodies = verify(&store);
    let added = |row: &Row| row.p50 - rows[0].p50;
    let ours = &rows[2];
    println!(
        "| 100 KB growing histories | p50 ms, 1 at a time | p99 | added p50 | of holdback's | calls/s, {CLIENTS} at a time | holdback's of it |"
    );
    println!("|---|---|---|---|---|---|---|");
    for row in &rows {
        let of_ours = format!("{:.1} x", added(row) / added(ours).max(0.001));
        println!(
            "| {} | {:.3} | {:.3} | {:+.3} | {} | {:.0} | {:.1} x |",
            row.who,
            row.p50,
            row.p99,
            added(row),
            if row.who == "direct" { "-" } else { &of_ours },
            row.rate,
            ours.rate / row.rate
        );
    }
    println!("\n{bodies} requests stored by holdback, each rebuilt and compared with its SHA-256");
}
