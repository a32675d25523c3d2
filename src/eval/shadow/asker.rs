//! The shadow's own side: one thread with a proxy and a runtime of its own, which asks what the tap chose and keeps what came of it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::tap::{Chosen, Tapped};
use super::{COMPARISON, Figures, Limit, SHADOW, Sampling, ShadowRecord, add, load};
use crate::capture::{Begin, Proxy, ProxyConfig, ProxyError, clock, ids};
use crate::eval::Keeper;
use crate::eval::reask::{Pause, Question, Reanswer, Reask, one};
use crate::provider;
use crate::trace::{Content, Sink, Source, TraceEnded, TraceOutcome, TraceStarted};

/// Calls in one trace of answers; then another is begun.
const IN_ONE_TRACE: u64 = 1000;
/// How long what is under way may take once the proxy stops.
const GRACE: Duration = Duration::from_secs(10);
/// How often figures are kept that changed without anyone asking.
const EVERY: Duration = Duration::from_secs(5);
/// Answers without a known cost, after which a budget means nothing any more.
const MOST_UNPRICED: u64 = 10;

/// Why there is no shadow.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    #[error("cannot start the shadow's thread: {0}")]
    Thread(std::io::Error),
    #[error("the shadow cannot listen on 127.0.0.1: {0}")]
    Listen(std::io::Error),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error("the shadow's settings cannot be kept: {0}")]
    Keep(String),
}

/// What a shadow is told to do.
pub struct ShadowSettings {
    /// As the user wrote it.
    pub model: String,
    pub sampling: Sampling,
    pub limit: Limit,
    /// Chosen calls that may wait.
    pub waiting: usize,
    pub how: Reask,
    /// The proxy that its calls go through: not production's.
    pub proxy: ProxyConfig,
    pub figures: Arc<Figures>,
}

/// A shadow at work.
pub struct Shadow {
    id: String,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<ShadowRecord>,
}

impl Shadow {
    /// Starts it. `answers` keeps the calls it makes, `keeper` what came of them; production's sink goes into the tap.
    /// `say` is told what a person at the proxy should know, once each.
    ///
    /// # Errors
    /// When it can't be started, or what it is told to do can't be kept.
    pub fn start<S: Sink + 'static, P: Sink>(
        settings: ShadowSettings,
        production: P,
        answers: S,
        keeper: Box<dyn Keeper>,
        say: Box<dyn Fn(&str) + Send>,
    ) -> Result<(Tapped<P>, Shadow), ShadowError> {
        let (line, chosen) = mpsc::channel(settings.waiting.max(1));
        let tapped = Tapped::new(production, settings.sampling, settings.figures.clone(), line);
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("shadow".to_owned()).spawn(move || {
            let fresh = fresh(&settings);
            let begun = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ShadowError::Thread);
            let begun = begun.and_then(|runtime| {
                let asker = runtime.block_on(Asker::begin(settings, fresh.clone(), answers, keeper, say))?;
                Ok((runtime, asker))
            });
            match begun {
                Ok((runtime, (asker, proxy, how))) => {
                    let _ = tell.send(Ok(asker.record.id.clone()));
                    runtime.block_on(asker.work(proxy, &how, chosen, stopped))
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                    fresh
                }
            }
        });
        let thread = thread.map_err(ShadowError::Thread)?;
        let id = told.recv().map_err(|_| ShadowError::Thread(std::io::Error::other("it ended at once")))??;
        Ok((tapped, Shadow { id, stop, thread }))
    }

    /// Its record's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Lets what is under way end, but not for long, and says what came of all. `None` when it died on the way: what it had
    /// kept is kept.
    pub fn finish(self) -> Option<ShadowRecord> {
        let _ = self.stop.send(());
        self.thread.join().ok()
    }
}

fn fresh(settings: &ShadowSettings) -> ShadowRecord {
    let trace = ids::trace();
    ShadowRecord {
        id: format!("{:016x}", ids::random()),
        model: settings.model.clone(),
        sampling: settings.sampling,
        limit: settings.limit,
        started: clock::now(),
        trace,
        seen: 0,
        sampled: 0,
        answered: 0,
        failed: 0,
        dropped: 0,
        withheld: 0,
        cost_usd: 0.0,
        unpriced: 0,
        stopped: None,
        ended: None,
    }
}

struct Asker {
    record: ShadowRecord,
    figures: Arc<Figures>,
    keeper: Box<dyn Keeper>,
    say: Box<dyn Fn(&str) + Send>,
    content: Content,
    /// Calls asked at all, and those in the trace of now.
    asked: u64,
    in_trace: u64,
    complained: bool,
}

impl Asker {
    async fn begin<S: Sink + 'static>(
        settings: ShadowSettings,
        record: ShadowRecord,
        answers: S,
        keeper: Box<dyn Keeper>,
        say: Box<dyn Fn(&str) + Send>,
    ) -> Result<(Asker, Proxy, Reask), ShadowError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(ShadowError::Listen)?;
        let content = settings.proxy.content;
        let proxy = Proxy::start(settings.proxy, listener, answers)?;
        let figures = settings.figures;
        let mut asker = Asker { record, figures, keeper, say, content, asked: 0, in_trace: 0, complained: false };
        asker.keep_state().map_err(ShadowError::Keep)?;
        asker.begin_trace(&proxy);
        Ok((asker, proxy, settings.how))
    }

    fn begin_trace(&mut self, proxy: &Proxy) {
        let started = TraceStarted {
            name: Some(format!("shadow {}", self.record.model)),
            tags: vec![(SHADOW.to_owned(), self.record.model.clone())],
            source: Source::Derived,
            content: self.content,
            ..TraceStarted::default()
        };
        proxy.begin(self.record.trace, Begin { started, ..Begin::default() });
        self.in_trace = 0;
    }

    async fn work(
        mut self,
        proxy: Proxy,
        how: &Reask,
        mut chosen: mpsc::Receiver<Box<Chosen>>,
        mut stop: oneshot::Receiver<()>,
    ) -> ShadowRecord {
        let pause = Pause::default();
        let mut under_way = FuturesUnordered::new();
        let mut now_and_then = tokio::time::interval(EVERY);
        let mut deadline = None;
        let mut more = true;
        while more || !under_way.is_empty() {
            let room = under_way.len() < how.jobs.max(1) && (self.in_trace < IN_ONE_TRACE || under_way.is_empty());
            tokio::select! {
                next = chosen.recv(), if more && room => match next {
                    None => more = false,
                    Some(next) => {
                        if self.in_trace >= IN_ONE_TRACE {
                            proxy.end(self.record.trace, good_end()).await;
                            self.record.trace = ids::trace();
                            self.begin_trace(&proxy);
                        }
                        if let Some(question) = self.admit(next) {
                            under_way.push(one(&proxy, self.record.trace, question, 1, how, &pause));
                        }
                    }
                },
                Some(answer) = under_way.next() => self.learn(answer),
                _ = now_and_then.tick() => drop(self.keep_if_changed()),
                _ = &mut stop, if deadline.is_none() => deadline = Some(clock::tick() + GRACE),
                () = at(deadline), if deadline.is_some() => break,
            }
        }
        chosen.close();
        let left = std::iter::from_fn(|| chosen.try_recv().ok()).count() + under_way.len();
        add(&self.figures.dropped, left as u64);
        drop(under_way);
        self.record.ended = Some(clock::now());
        let trace = self.record.trace;
        proxy.finish(trace, good_end(), Duration::from_millis(500)).await;
        if let Err(why) = self.keep_state() {
            (self.say)(&format!("what came of the shadow could not be kept: {why}"));
        }
        self.record
    }

    /// A chosen call as a question, unless it may not be asked any more.
    fn admit(&mut self, chosen: Box<Chosen>) -> Option<Question> {
        self.figures.held.fetch_sub(chosen.weight, std::sync::atomic::Ordering::Relaxed);
        if let Some(why) = self.spent() {
            add(&self.figures.withheld, 1);
            if self.record.stopped.is_none() {
                (self.say)(&format!("{} is asked no more: {why}", self.record.model));
                self.record.stopped = Some(why);
                let _ = self.keep_state();
            }
            return None;
        }
        (self.asked, self.in_trace) = (self.asked + 1, self.in_trace + 1);
        // Kept before it is asked: whatever kills us, the log knows how many are without an answer.
        let _ = self.keep_state();
        let Chosen { trace, call, request, ended, .. } = *chosen;
        Some(Question {
            trace,
            call,
            number: 0,
            recorded: provider::response(request.wire, 200, &ended.headers, &ended.body),
            wire: request.wire,
            upstream: request.upstream,
            target: request.target,
            headers: request.headers,
            body: request.body,
            cost_usd: ended.summary.cost_usd,
            latency_us: ended.chunks.last().map(|chunk| chunk.at),
        })
    }

    fn spent(&self) -> Option<String> {
        let Limit { budget_usd, calls } = self.record.limit;
        if let Some(most) = calls.filter(|most| self.asked >= *most) {
            return Some(format!("{most} calls were asked"));
        }
        let budget = budget_usd?;
        if self.record.cost_usd >= budget {
            return Some(format!("${:.4} of ${budget} are spent", self.record.cost_usd));
        }
        (self.record.unpriced >= MOST_UNPRICED)
            .then(|| format!("{} answers came without a known cost, so the budget can't be held", self.record.unpriced))
    }

    fn learn(&mut self, answer: Reanswer) {
        match &answer.error {
            None => add(&self.figures.answered, 1),
            Some(error) => {
                add(&self.figures.failed, 1);
                if !self.complained {
                    self.complained = true;
                    (self.say)(&format!("the shadow got no answer: {error} (further ones are only counted)"));
                }
            }
        }
        self.record.cost_usd += answer.cost_usd.unwrap_or(0.0);
        self.record.unpriced += u64::from(answer.error.is_none() && answer.cost_usd.is_none());
        let id = format!("{}-{}", self.record.id, answer.call);
        let mut data = serde_json::to_value(&answer).expect("plain data becomes JSON");
        data["asked_in"] = json!(self.record.trace);
        data["run"] = json!(self.record.id);
        let kept = self.keeper.keep(COMPARISON, &id, clock::now(), &data).and_then(|()| self.keep_state());
        if let Err(why) = kept
            && !self.complained
        {
            self.complained = true;
            (self.say)(&format!("a comparison could not be kept: {why}"));
        }
    }

    fn keep_if_changed(&mut self) -> Result<(), String> {
        let before = (self.record.seen, self.record.sampled, self.record.dropped, self.record.withheld);
        self.look();
        if before == (self.record.seen, self.record.sampled, self.record.dropped, self.record.withheld) {
            return Ok(());
        }
        self.keep_state()
    }

    fn look(&mut self) {
        let figures = &self.figures;
        let record = &mut self.record;
        // What was chosen is counted before what came of it, so it is read after.
        (record.answered, record.failed) = (load(&figures.answered), load(&figures.failed));
        (record.dropped, record.withheld) = (load(&figures.dropped), load(&figures.withheld));
        (record.sampled, record.seen) = (load(&figures.sampled), load(&figures.seen));
    }

    fn keep_state(&mut self) -> Result<(), String> {
        self.look();
        let data = serde_json::to_value(&self.record).expect("plain data becomes JSON");
        self.keeper.keep(SHADOW, &self.record.id, clock::now(), &data)
    }
}

fn good_end() -> TraceEnded {
    TraceEnded { outcome: TraceOutcome::Ok, exit_code: None, signal: None, reason: None, lost_calls: 0 }
}

/// When the deadline comes; never without one.
async fn at(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::TraceId;

    #[test]
    fn nothing_is_open_once_everything_was_accounted_for() {
        let record = |sampled, answered, dropped| ShadowRecord {
            id: String::new(),
            model: "m".into(),
            sampling: Sampling { sample: 0.5, seed: 0 },
            limit: Limit { budget_usd: Some(1.0), calls: None },
            started: crate::trace::Timestamp(1),
            trace: TraceId(1),
            seen: 9,
            sampled,
            answered,
            failed: 0,
            dropped,
            withheld: 0,
            cost_usd: 0.0,
            unpriced: 0,
            stopped: None,
            ended: None,
        };
        assert_eq!((record(5, 3, 2).open(), record(5, 3, 0).open(), record(0, 0, 1).open()), (0, 2, 0));
        let written = serde_json::to_value(record(5, 3, 2)).unwrap();
        assert_eq!((written["sample"].as_f64(), written["budget_usd"].as_f64()), (Some(0.5), Some(1.0)));
        assert_eq!(serde_json::from_value::<ShadowRecord>(written).unwrap(), record(5, 3, 2));
    }
}
