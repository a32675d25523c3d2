//! CONNECT, when interception was asked for: listed hosts are answered here and recorded like any upstream, all others are
//! tunnelled unread, and only their address and the number of bytes are kept.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::forward::plain;
use super::intercept::Intercept;
use super::proxy::{self, Notes, Shared};
use super::queue::add;
use super::route::{Belongs, Route};
use super::tee::{Down, chain};
use super::upstream::{Live, Upstream};
use crate::trace::{Note, TraceId};

/// Marks requests that came out of an intercepted connection: where it led, and whose it is.
#[derive(Clone)]
pub(super) struct Inside {
    pub(super) name: Arc<str>,
    pub(super) upstream: Upstream,
    trace: TraceId,
}

impl Inside {
    fn new(shared: &Shared, authority: &Authority, trace: TraceId) -> Option<Self> {
        // A server wants to hear its name as it is usually said.
        let host = authority.as_str().strip_suffix(":443").unwrap_or(authority.as_str());
        let url = format!("https://{host}");
        let live = Live::parse(&url).ok()?;
        let uri: Uri = url.parse().ok()?;
        let name = shared.upstreams.at(&uri).map_or_else(|| host.into(), |(name, _)| name.clone());
        Some(Inside { name, upstream: Upstream::Live(live), trace })
    }

    pub(super) fn route(&self, target: &str) -> Route {
        Route { belongs: Belongs::Trace(self.trace, None), upstream: None, target: target.to_owned() }
    }
}

/// A task of a tunnel. Boxed, since what is inside a tunnel is served by what opens tunnels.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Answers a CONNECT.
pub(super) async fn connect(shared: &Arc<Shared>, intercept: Arc<Intercept>, mut parts: Parts) -> Response<Down> {
    let (Some(authority), Some(client)) = (parts.uri.authority().cloned(), parts.extensions.remove::<OnUpgrade>())
    else {
        return plain(StatusCode::BAD_REQUEST, "a tunnel to where?");
    };
    let Some(port) = authority.port_u16().filter(|_| !authority.as_str().contains('@')) else {
        return plain(StatusCode::BAD_REQUEST, "a tunnel is asked for as HOST:PORT");
    };
    let passed = Passed::new(Notes::new(shared, intercept.trace), &authority);
    let task: Task = if intercept.lists(authority.host(), port) {
        let Some(inside) = Inside::new(shared, &authority, intercept.trace) else {
            return plain(StatusCode::BAD_REQUEST, "no host can be called that");
        };
        Box::pin(read(shared.clone(), intercept, client, authority, inside, passed))
    } else {
        match TcpStream::connect((authority.host().trim_matches(['[', ']']), port)).await {
            Ok(upstream) => Box::pin(pass(client, upstream, passed)),
            Err(error) => {
                let why = format!("holdback could not reach {authority}: {error}");
                passed.end(Some(error.to_string()));
                return plain(StatusCode::BAD_GATEWAY, why);
            }
        }
    };
    let mut tunnels = shared.tunnels.lock().unwrap_or_else(PoisonError::into_inner);
    while tunnels.try_join_next().is_some() {}
    tunnels.spawn(task);
    Response::new(Down::text(Bytes::new()))
}

/// Serves the client as if we were the host.
async fn read(
    shared: Arc<Shared>,
    intercept: Arc<Intercept>,
    client: OnUpgrade,
    authority: Authority,
    inside: Inside,
    passed: Passed,
) {
    let Ok(client) = client.await else { return passed.forget() };
    let acceptor = match intercept.acceptor(authority.host()) {
        Ok(acceptor) => acceptor,
        Err(error) => return passed.end(Some(error.to_string())),
    };
    match acceptor.accept(TokioIo::new(client)).await {
        Ok(client) => {
            passed.forget();
            proxy::hold(TokioIo::new(client), shared, Some(inside)).await;
        }
        Err(error) => {
            passed.end(Some(format!("the client would not have our certificate: {}", chain(&error))));
        }
    }
}

/// Passes bytes on in both directions, unread.
async fn pass(client: OnUpgrade, upstream: TcpStream, passed: Passed) {
    let Ok(client) = client.await else { return };
    let client: TokioIo<Upgraded> = TokioIo::new(client);
    let (from_client, to_client) = tokio::io::split(client);
    let (from_upstream, to_upstream) = upstream.into_split();
    let up = pump(from_client, to_upstream, &passed.sent);
    let down = pump(from_upstream, to_client, &passed.received);
    let error = tokio::try_join!(up, down).err().map(|error| error.to_string());
    passed.end(error);
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &AtomicU64,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        add(count, read as u64);
    }
}

/// What is kept of a tunnel; told when it is dropped, however that comes.
struct Passed {
    notes: Notes,
    host: String,
    sent: AtomicU64,
    received: AtomicU64,
    error: Option<String>,
    silent: bool,
}

impl Passed {
    fn new(notes: Notes, authority: &Authority) -> Self {
        let host = authority.to_string();
        Passed { notes, host, sent: AtomicU64::new(0), received: AtomicU64::new(0), error: None, silent: false }
    }

    fn end(mut self, error: Option<String>) {
        self.error = error;
    }

    /// There was no tunnel: its calls are recorded each by itself.
    fn forget(mut self) {
        self.silent = true;
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        if self.silent {
            return;
        }
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let mut data = json!({ "host": self.host, "sent": count(&self.sent), "received": count(&self.received) });
        if let Some(error) = &self.error {
            data["error"] = json!(error);
        }
        self.notes.send(Note { kind: "tunnel".to_owned(), call: None, data });
    }
}
