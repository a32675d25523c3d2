//! The web view: what the store holds, as pages rendered here. Every page opens the store, asks, and lets go of it, so that
//! nobody is kept from recording or folding. It reads; whoever holds the session's token may also leave scores.

pub mod agents;
mod calibration;
mod call;
pub mod conversation;
pub mod diff;
mod door;
mod failures;
mod filters;
mod frame;
pub mod gather;
mod label;
mod live;
mod promote;
mod rubrics;
mod runs;
mod scores;
mod trace;
mod traces;

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::eval::cases::CaseError;
use crate::gate::GateError;
use crate::store::index::{self, Caller, Folded, Index, Waiting};
use crate::store::log::{LogError, Reader, Store};
use crate::trace::TraceId;

/// Traces that are kept read, so that a page that is loaded piece by piece reads its trace once.
const KEPT: usize = 4;
/// How long a page waits for another process's fold.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a page can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing.
    #[error("{0}")]
    Missing(String),
    /// What was asked has no meaning.
    #[error("{0}")]
    Asked(String),
    /// It may not be done from here.
    #[error("{0}")]
    Forbidden(String),
    #[error(transparent)]
    Index(#[from] index::Error),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Gate(#[from] GateError),
    #[error(transparent)]
    Case(#[from] CaseError),
}

/// Where and by whom a view is used.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The folder in which `rubrics/` and `suites/` lie.
    pub folder: PathBuf,
    /// Rubrics to label by; those in `rubrics/` when there are none.
    pub rubrics: Vec<PathBuf>,
    /// In whose name is labelled.
    pub by: String,
}

impl Default for Desk {
    fn default() -> Self {
        Desk { folder: PathBuf::from("."), rubrics: Vec::new(), by: "me".to_owned() }
    }
}

/// A view of a store.
#[derive(Debug)]
pub struct View {
    store: Store,
    desk: Desk,
    /// What a browser shows to be allowed to write; `None` when nobody may.
    token: Option<String>,
    /// Names under which it may be asked.
    hosts: Vec<String>,
    read: Mutex<Vec<Arc<trace::Loaded>>>,
    /// The trials that are being labelled.
    order: Mutex<Option<Arc<label::Order>>>,
    /// What there is to choose from in a search.
    words: Mutex<Option<Arc<traces::Words>>>,
    /// Groups of failures as they were lately.
    groups: Mutex<Option<Arc<failures::Known>>>,
}

impl View {
    /// A view of `store`, served at `address`. Who holds `token` may write.
    pub fn new(store: Store, address: SocketAddr, token: Option<String>) -> Self {
        let port = address.port();
        let mut hosts = vec![address.to_string()];
        if address.ip().is_loopback() {
            hosts.extend([format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")]);
        }
        let (desk, read, order, words, groups) = Default::default();
        View { store, desk, token, hosts, read, order, words, groups }
    }

    /// The same, used by somebody.
    #[must_use]
    pub fn used_by(mut self, desk: Desk) -> Self {
        self.desk = desk;
        self
    }

    fn reader(&self) -> Result<Reader, Error> {
        Ok(self.store.reader()?)
    }

    /// The index, up to date. Nobody can fold while it is held: drop it soon.
    fn index(&self) -> Result<Index, Error> {
        let mut waiting = |waiting: &Waiting| match waiting.waited >= PATIENCE {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let mut caller = Caller { purpose: "view", waiting: &mut waiting, folding: &mut |_: &Folded| {} };
        Ok(Index::open(&self.store, &mut caller)?)
    }

    /// The trace that a word means, read whole.
    fn trace(&self, word: &str) -> Result<Arc<trace::Loaded>, Error> {
        let reader = self.reader()?;
        let id = resolve(&reader, word)?;
        let summary = reader.trace(id)?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = read.iter().position(|one| one.summary == summary) {
            let found = read.remove(at);
            read.push(found.clone());
            return Ok(found);
        }
        drop(read);
        let loaded = Arc::new(trace::Loaded::read(&reader, summary)?);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.retain(|one| one.summary.id != id);
        if read.len() >= KEPT {
            read.remove(0);
        }
        read.push(loaded.clone());
        Ok(loaded)
    }
}

/// The trace a word means. Addresses of pages hold whole ids: these need no look at all the others.
fn resolve(reader: &Reader, word: &str) -> Result<TraceId, Error> {
    let whole = Some(word).filter(|word| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let whole = whole.and_then(|word| u128::from_str_radix(word, 16).ok()).map(TraceId);
    if let Some(id) = whole.filter(|id| reader.trace(*id).is_ok()) {
        return Ok(id);
    }
    reader.resolve(word).map_err(|error| match error {
        LogError::NotFound(_) | LogError::Ambiguous { .. } => Error::Missing(error.to_string()),
        other => other.into(),
    })
}

/// Serves a view until `stop` comes.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(
    view: View,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (over, closing) = tokio::sync::watch::channel(false);
    let app = door::app(Arc::new(view), closing);
    let stop = async move {
        stop.await;
        // Live pages hold their connection open: they are told that this is the end.
        let _ = over.send(true);
    };
    axum::serve(listener, app).with_graceful_shutdown(stop).await
}
