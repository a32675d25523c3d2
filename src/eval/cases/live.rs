//! Live models, asked through a recording proxy of our own, so that what they answer is in the store like everything else.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::models::{Answers, Frozen, Models};
use crate::capture::{Begin, Proxy, ProxyConfig, ids};
use crate::eval::reask::{Pause, Question, Reask, put};
use crate::eval::{Judges, Judging, Sitting, ask};
use crate::grade::{Evidence, Graded};
use crate::price::Table;
use crate::redact::Redactor;
use crate::replay::Edits;
use crate::store::log::Store;
use crate::suite::Rubric;
use crate::trace::{Headers, Response, Source, TraceEnded, TraceId, TraceOutcome, TraceStarted, Wire};
use crate::trial::RunRecord;

/// Questions at once.
const AT_ONCE: usize = 4;
/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long what is under way may take at the end.
const GRACE: Duration = Duration::from_millis(500);

/// Headers with the key of an upstream.
pub type Keys = Arc<dyn Fn(&str) -> Headers + Send + Sync>;

/// Runs a suite's trials, in a store of their own.
pub type Runs = Box<dyn Fn(&Path) -> Result<RunRecord, String> + Send>;

/// Live models. Nothing is opened before the first of them is asked.
pub struct Live {
    store: Store,
    config: Option<ProxyConfig>,
    keys: Keys,
    redactor: Arc<Redactor>,
    runs: Runs,
    session: Option<Session>,
}

struct Session {
    runtime: Runtime,
    proxy: Proxy,
    trace: TraceId,
}

impl Live {
    /// Models behind a proxy's upstreams.
    pub fn new(store: &Store, config: ProxyConfig, keys: Keys, runs: Runs) -> Self {
        let redactor = config.redactor.clone();
        Live { store: store.clone(), config: Some(config), keys, redactor, runs, session: None }
    }

    fn session(&mut self) -> Result<&Session, String> {
        if self.session.is_none() {
            let config = self.config.take().ok_or("the proxy could not be started before")?;
            self.session = Some(Session::open(&self.store, config)?);
        }
        self.session.as_ref().ok_or_else(|| "there is no proxy".to_owned())
    }
}

impl Session {
    fn open(store: &Store, config: ProxyConfig) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let writer = store.writer().map_err(|error| error.to_string())?;
        let content = config.content;
        let proxy = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
            Proxy::start(config, listener, writer).map_err(|error| error.to_string())
        })?;
        let trace = ids::trace();
        let started = TraceStarted {
            name: Some("promote".to_owned()),
            tags: vec![("ask".to_owned(), "promote".to_owned())],
            source: Source::Derived,
            content,
            ..TraceStarted::default()
        };
        let _inside = runtime.enter();
        proxy.begin(trace, Begin { started, ..Begin::default() });
        drop(_inside);
        Ok(Session { runtime, proxy, trace })
    }
}

impl Models for Live {
    fn answers(&mut self, model: Option<&str>, frozen: &Frozen, times: u32) -> Answers {
        let (keys, redactor) = (self.keys.clone(), self.redactor.clone());
        let session = match self.session() {
            Ok(session) => session,
            Err(why) => return (0..times).map(|_| Err(why.clone())).collect(),
        };
        let (edits, upstream) = whom(model);
        let how = Reask {
            edits,
            upstream,
            keys: Box::new(move |name: &str| keys(name)),
            prices: Table::embedded(),
            jobs: AT_ONCE,
            patience: PATIENCE,
            redactor,
        };
        let question = Question {
            trace: session.trace,
            call: ids::call(),
            number: 1,
            wire: frozen.wire,
            upstream: frozen.upstream.clone(),
            target: frozen.target.clone(),
            headers: frozen.headers.clone(),
            body: frozen.body.clone(),
            recorded: Response::default(),
            cost_usd: None,
            latency_us: None,
        };
        let (room, pause) = (Semaphore::new(AT_ONCE), Pause::default());
        let one = async || {
            let _turn = room.acquire().await;
            let (answer, _) = put(&session.proxy, session.trace, &question, &how, &pause).await.answer?;
            match &answer.error {
                Some(error) => Err(format!("{} {}", error.kind, error.message).trim().to_owned()),
                None => Ok(answer),
            }
        };
        session.runtime.block_on(join_all((0..times).map(|_| one())))
    }

    fn judged(&mut self, rubric: &Rubric, evidence: &Evidence) -> Result<Graded, String> {
        let models = rubric.judge.models();
        let providers = models.iter().filter_map(|model| model.split('/').next());
        let keys = providers.map(|name| (name.to_owned(), (self.keys)(name))).collect();
        let redactor = self.redactor.clone();
        let session = self.session()?;
        let judges = Judges::new(Judging { keys, ..Judging::default() }, redactor);
        let (dir, name) = (Path::new("."), format!("judge {}", rubric.rubric));
        let tags = [("ask".to_owned(), "promote".to_owned())];
        let sitting = Sitting { rubric, dir, evidence, name: &name, tags: &tags, swapped: false };
        Ok(session.runtime.block_on(judges.read(&session.proxy, sitting)).grade())
    }

    fn run(&mut self, suite: &Path) -> Result<RunRecord, String> {
        (self.runs)(suite)
    }
}

/// Which edits and which upstream make a recorded request one to that model.
fn whom(model: Option<&str>) -> (Edits, Option<String>) {
    let Some(model) = model else { return (Edits::default(), None) };
    let address = match model.strip_prefix("openai-responses/") {
        Some(name) => ask::Address { wire: Wire::OpenaiResponses, ..ask::address(&format!("openai/{name}")) },
        None => ask::address(model),
    };
    (Edits { model: Some((address.model, address.wire)), ..Edits::default() }, Some(address.upstream))
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(Session { runtime, proxy, trace }) = self.session.take() {
            let ended =
                TraceEnded { outcome: TraceOutcome::Ok, exit_code: None, signal: None, reason: None, lost_calls: 0 };
            runtime.block_on(proxy.finish(trace, ended, GRACE));
        }
    }
}
