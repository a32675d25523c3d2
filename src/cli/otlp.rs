//! `holdback otlp`: takes the telemetry of loops that are instrumented already.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rayon::prelude::*;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::import::keeper::{Keeper, Shared};
use super::recording::{Keep, Recording};
use super::{Exit, Global, Misuse};
use crate::capture::clock;
use crate::capture::otlp::{Kept, Telemetry, serve};
use crate::import::otlp::{Batch, Book, Unreadable, decode};
use crate::import::{Settings, add_usage};
use crate::price::Table;
use crate::redact::Redactor;
use crate::trace::{Content, Timestamp, Usage};

/// Requests that may wait; more are told to come again.
const WAITING: usize = 256;
/// Requests that become durable together.
const TOGETHER: usize = 64;
/// How long a call waits for its messages, which some send as logs, in microseconds.
const PATIENCE: i64 = 5_000_000;

#[derive(Debug, Args)]
#[command(after_help = "Nothing is acknowledged before it is on the disk. Point exporters at it:\n  \
                  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318\n\nExamples:\n  holdback otlp\n  \
                  holdback otlp --listen 127.0.0.1:4318 --grpc 127.0.0.1:4317")]
pub struct Otlp {
    /// Where to listen for OTLP over HTTP; anything but loopback needs a token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4318")]
    listen: SocketAddr,
    /// Where to listen for OTLP over gRPC
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4317")]
    grpc: SocketAddr,
    /// The token that clients have to show, as a bearer token
    #[arg(long, env = "HOLDBACK_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// Settings: prices, redact, content [default: holdback.yaml, when it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// How much of what is said is kept
    #[arg(long, value_enum)]
    content: Option<Keep>,
}

impl Otlp {
    /// The usual ports.
    pub fn usual(token: Option<String>) -> Self {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        Otlp { listen: at(4318), grpc: at(4317), token, config: None, content: None }
    }
}

/// Listens until it is told to stop.
pub fn run(global: &Global, args: &Otlp) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let listening = start(global, args).await?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        listening.stop().await
    })?;
    Ok(Exit::Pass)
}

/// A listener at work.
pub struct Listening {
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    keeping: tokio::task::JoinHandle<anyhow::Result<Sums>>,
}

#[derive(Default)]
struct Sums {
    requests: u64,
    spans: u64,
    calls: u64,
    rejected: u64,
    usage: Usage,
}

/// Starts listening and keeping.
pub async fn start(global: &Global, args: &Otlp) -> anyhow::Result<Listening> {
    let token = args.token.clone().filter(|token| !token.is_empty());
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    for address in [args.listen, args.grpc] {
        if !address.ip().is_loopback() && token.is_none() {
            let why = format!(
                "{address} can be reached from other machines: that needs a token (--token, or HOLDBACK_TOKEN)"
            );
            return Err(Misuse(why).into());
        }
        let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
        addresses.push(listener.local_addr()?);
        listeners.push(listener);
    }
    let store = global.store()?;
    let settings =
        Recording::for_import(args.config.clone(), args.content, None).settings(&store, Default::default())?.proxy;
    let shared = Shared::of(store)?;
    let (queue, taken): (SyncSender<Telemetry>, Receiver<Telemetry>) = sync_channel(WAITING);
    let (stop, told) = watch::channel(false);
    let keeping = tokio::task::spawn_blocking(move || {
        keep(&shared, &settings.redactor, settings.content, &settings.prices, &taken)
    });
    let serving = tokio::spawn(serve(listeners, queue, token, told));
    eprintln!("holdback: taking OTLP at http://{} and gRPC at {}; Ctrl-C stops", addresses[0], addresses[1]);
    Ok(Listening { stop, serving, keeping })
}

impl Listening {
    /// Finishes what is in flight and says what came.
    pub async fn stop(self) -> anyhow::Result<()> {
        let _ = self.stop.send(true);
        self.serving.await??;
        let sums = self.keeping.await??;
        let read = sums.usage.total();
        eprintln!(
            "holdback: {} requests with {} spans and logs: {} calls, {read} tokens; {} rejected",
            sums.requests, sums.spans, sums.calls, sums.rejected
        );
        Ok(())
    }
}

fn keep(
    shared: &Shared,
    redactor: &Redactor,
    content: Content,
    prices: &Table,
    taken: &Receiver<Telemetry>,
) -> anyhow::Result<Sums> {
    let settings = Settings { redactor, content, prices, settled: true };
    let mut keeper = shared.keeper()?;
    let (mut book, mut sums) = (Book::default(), Sums::default());
    loop {
        let mut several = match taken.recv_timeout(Duration::from_millis(500)) {
            Ok(first) => vec![first],
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        while let Some(more) =
            (several.len() < TOGETHER && !several.is_empty()).then(|| taken.try_recv().ok()).flatten()
        {
            several.push(more);
        }
        let now = clock::now();
        let batches: Vec<Result<Batch, Unreadable>> =
            several.par_iter().map(|one| decode(one.signal, one.is_json, &one.body)).collect();
        let mut kept: Vec<Kept> =
            batches.into_iter().map(|batch| one(&mut book, batch, now, &settings, &mut keeper, &mut sums)).collect();
        book.settle(Timestamp(now.0 - PATIENCE), "otlp", &settings, &mut keeper)?;
        if !several.is_empty()
            && let Err(error) = keeper.sync()
        {
            kept.iter_mut()
                .filter(|kept| matches!(kept, Kept::Yes { .. }))
                .for_each(|kept| *kept = Kept::Failed(format!("{error:#}")));
        }
        for (one, kept) in several.into_iter().zip(kept) {
            // Who has hung up meanwhile sends it again, and finds it is here.
            let _ = one.reply.send(kept);
        }
        shared.forget_when_full();
    }
    book.settle(Timestamp(i64::MAX), "otlp", &settings, &mut keeper)?;
    keeper.sync()?;
    Ok(sums)
}

fn one(
    book: &mut Book,
    batch: Result<Batch, Unreadable>,
    now: Timestamp,
    settings: &Settings<'_>,
    keeper: &mut Keeper<'_>,
    sums: &mut Sums,
) -> Kept {
    let batch = match batch {
        Ok(batch) => batch,
        Err(error) => return Kept::Unreadable(error.to_string()),
    };
    let (rejected, why) = (batch.rejected, batch.why.clone());
    match book.receive(batch, now, "otlp", settings, keeper) {
        Ok(tally) => {
            sums.requests += 1;
            sums.spans += tally.lines;
            sums.calls += tally.calls;
            sums.rejected += rejected;
            add_usage(&mut sums.usage, &tally.usage);
            Kept::Yes { rejected, why }
        }
        Err(error) => Kept::Failed(error.to_string()),
    }
}
