//! The recording proxy: a server on a listener handed in, upstreams it may forward to, a recorder beside it.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::brake::{Brakes, Held, Pulled};
use super::client::{self, Pool};
use super::intercept::Intercept;
use super::queue::{Counts, Message, Queue, add};
use super::recorder::{self, Settings};
use super::route::Belongs;
use super::spill::Spill;
use super::tunnel::Inside;
use super::upstream::{Answers, Upstreams};
use super::{clock, forward, keeper};
use crate::price::Table;
use crate::redact::Redactor;
use crate::trace::{Content, Note, Sink, TraceEnded, TraceId, TraceStarted, Usage};

/// Batches of events that the recorder may be ahead of the keeper.
const AHEAD: usize = 3;

/// Why a proxy could not start.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("cannot listen: {0}")]
    Listen(std::io::Error),
    #[error("cannot start the recorder's thread: {0}")]
    Thread(std::io::Error),
    #[error(
        "refusing to listen on {0} without a token: anyone who reaches that address could spend your keys' money. \
         Listen on 127.0.0.1, or give a token"
    )]
    NoToken(SocketAddr),
}

/// How a proxy shall behave.
pub struct ProxyConfig {
    pub upstreams: Upstreams,
    pub content: Content,
    pub prices: Table,
    pub redactor: Arc<Redactor>,
    /// Refuse calls that could not be recorded, instead of letting them pass unrecorded.
    pub strict: bool,
    /// Look into every request for a model named `mock/…`. It costs reading the whole request before it is passed on.
    pub mock_models: bool,
    /// Memory for what the recorder has not dealt with yet.
    pub queue_bytes: u64,
    /// Where bodies wait when that runs short, sealed and in a file without a name. Without it, and beyond it, calls pass unrecorded
    /// and are counted.
    pub spill: Option<PathBuf>,
    /// The most that waits there.
    pub spill_bytes: u64,
    /// The most that is kept of one answer.
    pub body_bytes: u64,
    /// Who has no such token is turned away.
    pub token: Option<String>,
    /// What `/metrics` shows besides.
    pub figures: Vec<Figure>,
    /// Upstreams that are no models but tools: what they answer is kept, and given back when tools are replayed.
    pub tools: Vec<String>,
    /// Answers CONNECT, when set; otherwise there are no tunnels.
    pub(super) intercept: Option<Arc<Intercept>>,
}

/// A counter of somebody else's that the metrics show.
pub struct Figure {
    /// Without our prefix.
    pub name: &'static str,
    pub help: &'static str,
    pub value: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl ProxyConfig {
    /// The usual: redacted content, today's prices, fail open.
    pub fn new(upstreams: Upstreams, redactor: Arc<Redactor>) -> Self {
        ProxyConfig {
            upstreams,
            content: Content::Redacted,
            prices: Table::embedded(),
            redactor,
            strict: false,
            mock_models: true,
            queue_bytes: 256 << 20,
            spill: None,
            spill_bytes: 4 << 30,
            body_bytes: 256 << 20,
            token: None,
            figures: Vec::new(),
            tools: Vec::new(),
            intercept: None,
        }
    }
}

/// What a trace is begun with.
#[derive(Clone, Default)]
pub struct Begin {
    pub started: TraceStarted,
    pub brakes: Brakes,
    /// Told to mock models and tapes, so that they can tell trials apart: task and trial, say.
    pub key: String,
    /// Answers all calls of this trace (a tape, a mock model) unless it leaves one to the real upstream.
    pub answers: Option<Arc<dyn Answers>>,
}

/// What came of a trace.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Totals {
    /// Calls let through and recorded, retries too.
    pub calls: u64,
    /// Calls that a brake or holdback itself answered.
    pub refused: u64,
    /// Calls that failed: an error status, an error in the stream, a broken connection.
    pub errors: u64,
    pub retries: u64,
    /// Calls that were made and could not be kept.
    pub lost_calls: u64,
    pub usage: Usage,
    /// US dollars of the calls whose model has a price; `None` when there was none.
    pub cost_usd: Option<f64>,
    /// Calls with usage whose model has no price.
    pub unpriced_calls: u64,
    /// Sub-agents that named themselves.
    pub agents: u64,
    pub redactions: u64,
    /// The brake that stopped it.
    pub pulled: Option<Pulled>,
    /// Calls that ended after the brake was pulled: they were in flight.
    pub overshoot_calls: u64,
    /// Why events could not be kept, the last reason given.
    pub sink_error: Option<String>,
}

/// A trace that was begun here.
pub(super) struct Known {
    pub(super) held: Arc<Held>,
    pub(super) key: String,
    pub(super) answers: Option<Arc<dyn Answers>>,
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) upstreams: Upstreams,
    pub(super) pool: Pool,
    /// For connections that leave HTTP.
    pub(super) upgrades: Pool,
    pub(super) queue: Arc<Queue>,
    pub(super) strict: bool,
    pub(super) mock_models: bool,
    pub(super) body_bytes: u64,
    pub(super) token: Option<String>,
    pub(super) figures: Vec<Figure>,
    pub(super) tools: Vec<String>,
    pub(super) content: Content,
    pub(super) redactor: Arc<Redactor>,
    pub(super) intercept: Option<Arc<Intercept>>,
    /// Connections that left HTTP by CONNECT.
    pub(super) tunnels: Mutex<JoinSet<()>>,
    stopped: watch::Receiver<bool>,
    traces: RwLock<HashMap<TraceId, Arc<Known>>>,
    connections: AtomicU64,
}

impl Shared {
    pub(super) fn known(&self, trace: TraceId) -> Option<Arc<Known>> {
        self.traces.read().unwrap_or_else(PoisonError::into_inner).get(&trace).cloned()
    }
}

/// A proxy that runs. Dropping it stops it at once; [`Proxy::stop`] lets it finish what it has.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: Option<tokio::task::JoinHandle<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts serving a listener; what happens goes to the sink. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the listener has no address, it can be reached from outside and there is no token, or no thread can be had.
    pub fn start<S: Sink + 'static>(config: ProxyConfig, listener: TcpListener, sink: S) -> Result<Self, ProxyError> {
        let address = listener.local_addr().map_err(ProxyError::Listen)?;
        if !address.ip().is_loopback() && config.token.is_none() {
            return Err(ProxyError::NoToken(address));
        }
        let spill = config.spill.map(|folder| Spill::new(folder, config.spill_bytes));
        let spills = spill.is_some();
        let (queue, messages) = Queue::new(config.queue_bytes, spill);
        let (content, redactor) = (config.content, config.redactor.clone());
        let settings = Settings { content: config.content, prices: config.prices, redactor: config.redactor };
        // The keeper ends when the recorder has ended and all of it is kept.
        let keeper = {
            let (events, kept) = mpsc::sync_channel(AHEAD);
            let (queue, keepers_queue) = (queue.clone(), queue.clone());
            std::thread::Builder::new()
                .name("recorder".to_owned())
                .spawn(move || recorder::run(messages, queue, settings, &events))
                .map_err(ProxyError::Thread)?;
            std::thread::Builder::new()
                .name("keeper".to_owned())
                .spawn(move || keeper::run(&kept, &keepers_queue, sink))
                .map_err(ProxyError::Thread)?
        };
        if spills {
            let queue = queue.clone();
            let spiller = std::thread::Builder::new().name("spill".to_owned());
            spiller.spawn(move || queue.keep_spilling()).map_err(ProxyError::Thread)?;
        }
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            upstreams: config.upstreams,
            pool: client::pool(true),
            upgrades: client::pool(false),
            queue,
            strict: config.strict,
            mock_models: config.mock_models,
            body_bytes: config.body_bytes,
            token: config.token,
            figures: config.figures,
            tools: config.tools,
            content,
            redactor,
            intercept: config.intercept,
            tunnels: Mutex::default(),
            stopped: stopped.clone(),
            traces: RwLock::default(),
            connections: AtomicU64::new(0),
        });
        let server = tokio::spawn(accept(listener, shared.clone(), stopped));
        Ok(Proxy { shared, address, stop, server: Some(server), keeper: Some(keeper) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address that stands for a trace: put before a provider's paths, everything that comes to it is that trace's.
    pub fn base_url(&self, trace: TraceId) -> String {
        format!("http://{}/hb/{trace}", self.address)
    }

    /// The same, and it names the upstream too.
    pub fn base_url_to(&self, trace: TraceId, upstream: &str) -> String {
        format!("http://{}/hb/{trace}/up/{upstream}", self.address)
    }

    /// Begins a trace: from here on its brakes hold.
    pub fn begin(&self, trace: TraceId, begin: Begin) {
        let held = Arc::new(Held::new(begin.brakes));
        let known = Arc::new(Known { held: held.clone(), key: begin.key, answers: begin.answers });
        self.shared.traces.write().unwrap_or_else(PoisonError::into_inner).insert(trace, known);
        self.shared.queue.send(Message::Begin(trace, Box::new(begin.started), held, clock::now()));
    }

    /// Keeps something that is not a call.
    pub fn note(&self, trace: TraceId, note: Note) {
        self.shared.queue.send(Message::Noted(Belongs::Trace(trace, None), Box::new(note), clock::now()));
    }

    /// Keeps things of one trace from anywhere.
    pub(super) fn notes(&self, trace: TraceId) -> Notes {
        Notes::new(&self.shared, trace)
    }

    /// Ends a trace and says what came of it, once all of it has been recorded. `lost_calls` is filled in here.
    pub async fn end(&self, trace: TraceId, ended: TraceEnded) -> Totals {
        self.shared.traces.write().unwrap_or_else(PoisonError::into_inner).remove(&trace);
        let (tell, told) = oneshot::channel();
        self.shared.queue.send(Message::End(trace, Box::new(ended), clock::now(), tell));
        told.await.unwrap_or_default()
    }

    /// The brake that stopped a trace, while it runs.
    pub fn pulled(&self, trace: TraceId) -> Option<Pulled> {
        self.shared.known(trace)?.held.pulled().cloned()
    }

    /// Waits until all that has happened so far has been dealt with.
    pub async fn flush(&self) {
        let (tell, told) = oneshot::channel();
        self.shared.queue.send(Message::Flush(tell));
        let _ = told.await;
    }

    /// The numbers of this proxy.
    pub fn counts(&self) -> &Counts {
        &self.shared.queue.counts
    }

    /// Makes a call as a client of this proxy would, recorded in that trace: a judge's question, say.
    ///
    /// # Errors
    /// When the upstream breaks off.
    pub async fn ask(&self, ask: Ask) -> Result<Told, AskError> {
        forward::ask(&self.shared, self.address, ask).await
    }

    /// Stops taking connections, gives those open up to `grace` to finish, and returns when all is recorded: the number of
    /// calls that were made and could not be.
    pub async fn stop(mut self, grace: Duration) -> u64 {
        self.close(grace).await;
        self.stop_recorder().await;
        self.counts().lost_calls.load(Ordering::Relaxed)
    }

    /// Stops, and ends a trace with everything that was still under way in it.
    pub async fn finish(mut self, trace: TraceId, ended: TraceEnded, grace: Duration) -> Totals {
        self.close(grace).await;
        let totals = self.end(trace, ended).await;
        self.stop_recorder().await;
        totals
    }

    async fn close(&mut self, grace: Duration) {
        let _ = self.stop.send(true);
        if let Some(mut server) = self.server.take()
            && tokio::time::timeout(grace, &mut server).await.is_err()
        {
            server.abort();
            let _ = server.await;
        }
        let mut tunnels = std::mem::take(&mut *self.shared.tunnels.lock().unwrap_or_else(PoisonError::into_inner));
        let all_closed = async { while tunnels.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all_closed).await.is_err() {
            tunnels.shutdown().await;
        }
    }

    async fn stop_recorder(&mut self) {
        self.shared.queue.send(Message::Stop);
        if let Some(keeper) = self.keeper.take() {
            let _ = tokio::task::spawn_blocking(move || keeper.join()).await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
        self.shared.tunnels.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        self.shared.queue.send(Message::Stop);
    }
}

/// Takes what is not a call into one trace, from any thread.
#[derive(Clone)]
pub(super) struct Notes {
    queue: Arc<Queue>,
    trace: TraceId,
}

impl Notes {
    pub(super) fn new(shared: &Shared, trace: TraceId) -> Self {
        Notes { queue: shared.queue.clone(), trace }
    }

    pub(super) fn send(&self, note: Note) {
        self.queue.send(Message::Noted(Belongs::Trace(self.trace, None), Box::new(note), clock::now()));
    }
}

/// A call that holdback itself makes.
#[derive(Debug, Clone)]
pub struct Ask {
    pub trace: TraceId,
    /// The upstream's name.
    pub upstream: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Told {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// A call of our own that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("cannot ask {target:?}: {reason}")]
    Request { target: String, reason: String },
    #[error("the answer broke off: {0}")]
    Broken(String),
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    connections.spawn(hold(TokioIo::new(stream), shared.clone(), None));
                }
                // Out of file descriptors, or the client is gone already: neither is a reason to stop.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
            _ = stopped.changed() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection to its end: a client's own, or what is inside an intercepted tunnel. Boxed, because the one leads to
/// the other.
pub(super) fn hold<I>(io: I, shared: Arc<Shared>, inside: Option<Inside>) -> Pin<Box<dyn Future<Output = ()> + Send>>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    Box::pin(serve(io, shared, inside))
}

async fn serve<I>(io: I, shared: Arc<Shared>, inside: Option<Inside>)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let mut stopped = shared.stopped.clone();
    let number = shared.connections.fetch_add(1, Ordering::Relaxed);
    add(&shared.queue.counts.open_connections, 1);
    let mut builder = auto::Builder::new(TokioExecutor::new()).preserve_header_case(true);
    builder
        .http1()
        .auto_date_header(false)
        .max_headers(512)
        .max_buf_size(1 << 20)
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(600));
    builder
        .http2()
        .auto_date_header(false)
        .max_concurrent_streams(1024)
        .max_header_list_size(1 << 20)
        .timer(TokioTimer::new());
    let service = {
        let shared = shared.clone();
        service_fn(move |mut request: Request<Incoming>| {
            if let Some(inside) = &inside {
                request.extensions_mut().insert(inside.clone());
            }
            // Boxed: a connection keeps room for it as long as it lives, and most of that time an answer is under way.
            Box::pin(forward::handle(shared.clone(), number, request))
        })
    };
    let connection = builder.serve_connection_with_upgrades(io, service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.as_mut().await;
        }
    }
    shared.queue.counts.open_connections.fetch_sub(1, Ordering::Relaxed);
}
