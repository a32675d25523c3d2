//! A run: all trials of a plan, so many at once, with everything that can go wrong on the way.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::gate::Gates;
use super::judge::{Judges, Judging};
use super::keep::{self, Kept as Keeping};
use super::plan::{Plan, Slot};
use super::progress::{Event, Keeper, Tally};
use super::recorded::Traces;
use super::rounds::{Decided, Next, Rounds};
use super::sandbox::{self, NoSandbox};
use super::target::called_off;
use super::trial::{self, Graders, Made, Shared};
use super::witness::{Trouble, Watch, Witness};
use crate::capture::{Fetcher, Mocks, Proxy, ProxyConfig, ProxyError, Upstream, clock};
use crate::gate::GateError;
use crate::grade::{Evidence, Got, Need};
use crate::redact::Redactor;
use crate::suite::{Loaded, Target, Task};
use crate::trace::{Headers, Sink};
use crate::trial::{Ending, Grade, Outcome, RunRecord, Trial};

/// Why a run could not be made, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error(transparent)]
    Sandbox(#[from] NoSandbox),
    #[error("the graders of task {task:?}: {error}")]
    Graders { task: String, error: String },
    #[error("run {run} can't be resumed, because this has changed since: {}. Start a new run, or say --allow-changed to mix them", changed.join("; "))]
    Changed { run: String, changed: Vec<String> },
    #[error("a trial could not be kept: {0}")]
    Keep(String),
    #[error("the folder for workspaces can't be made: {0}")]
    WorkDir(std::io::Error),
    #[error(transparent)]
    Gate(#[from] GateError),
}

/// What a run is made with.
pub struct Setup {
    pub loaded: Arc<Loaded>,
    pub plan: Plan,
    /// The folder the suite stands in: all its paths start there.
    pub suite_dir: PathBuf,
    /// The earlier part of this run; its finished trials are not made again.
    pub before: Option<RunRecord>,
    /// Goes on although suite, graders or target have changed since.
    pub allow_changed: bool,
    /// The run's id; that of `before` wins.
    pub run: String,
    pub name: Option<String>,
    /// Trials at once.
    pub jobs: usize,
    /// The share of broken trials that ends the run.
    pub max_broken: f64,
    /// How often a trial that infrastructure broke is made again.
    pub infra_retries: u32,
    pub keep_workspaces: bool,
    /// Where trials get their folders.
    pub work_dir: PathBuf,
    /// Our own environment; loops get what they are allowed of it.
    pub env: Vec<(String, String)>,
    /// Headers with the keys of providers, for prompts.
    pub keys: BTreeMap<String, Headers>,
    /// The running holdback, for suites that call it.
    pub holdback: PathBuf,
    pub git_commit: Option<String>,
    pub traces: Arc<dyn Traces>,
    /// Makes the trials round by round, and no more of them than it takes to decide.
    pub rounds: Option<Rounds>,
    pub judging: Judging,
}

/// Whom a run reports to and who may call it off.
pub struct Hooks {
    pub keeper: Box<dyn Keeper>,
    pub events: UnboundedSender<Event>,
    /// Set to true to call the run off: what runs is stopped and not counted, what is finished is kept.
    pub interrupt: watch::Receiver<bool>,
}

/// Why a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Every trial was made.
    Complete,
    /// Someone called it off.
    Interrupted,
    /// The money was spent.
    Budget(String),
    /// Too much was broken.
    Broken(String),
}

/// A run that has ended.
#[derive(Debug)]
pub struct Finished {
    pub record: RunRecord,
    pub tally: Tally,
    pub end: End,
    /// What the rounds came to.
    pub decided: Option<Box<Decided>>,
}

/// Makes a run. The listener is the recording proxy's; what is recorded goes to the sink.
///
/// # Errors
/// When it could not begin, or a trial could not be kept. What trials come to is in [`Finished`].
pub async fn run<S: Sink + 'static>(
    mut setup: Setup,
    mut proxy: ProxyConfig,
    listener: TcpListener,
    sink: S,
    hooks: Hooks,
) -> Result<Finished, EvalError> {
    let record = record(&setup)?;
    std::fs::create_dir_all(&setup.work_dir).map_err(EvalError::WorkDir)?;
    let (kept, notes) = kept(&setup)?;
    let graders = graders(&setup.loaded)?;
    if proxy.upstreams.get("mock").is_none() {
        proxy.upstreams.set("mock", Upstream::Local(Arc::new(Mocks)));
    }
    let redactor = proxy.redactor.clone();
    let (watch, (tell, troubles)) = (Watch::default(), mpsc::unbounded_channel());
    let proxy = Proxy::start(proxy, listener, Witness::new(sink, watch.clone(), tell))?;
    let keeping = Keeping::start(hooks.keeper);
    let rounds = setup.rounds.take();
    // What rounds are to make is asked of them.
    let open = if rounds.is_none() { setup.plan.open(&setup.loaded, &record) } else { Vec::new() };
    let tally = Tally { planned: setup.plan.order.len().max(record.trials.len()), ..Tally::default() };
    let (jobs, max_broken, infra_retries) = (setup.jobs.max(1), setup.max_broken, setup.infra_retries);
    let shared = share(setup, &record.id, Begun { proxy, watch, kept, graders, redactor: redactor.clone() })?;
    let work_dir = shared.work_dir.clone();
    let _ = hooks.events.send(Event::Started {
        run: record.id.clone(),
        planned: tally.planned,
        finished: record.trials.len(),
    });
    for note in notes {
        let _ = hooks.events.send(Event::Note(note));
    }
    let mut course = Course {
        gates: Gates::new(jobs),
        shared,
        record,
        tally,
        before: 0,
        queue: open.into_iter().map(|slot| (slot, 0)).collect(),
        running: JoinSet::new(),
        troubles,
        events: hooks.events,
        interrupt: hooks.interrupt,
        keeping,
        answers: HashMap::new(),
        redactor,
        began: clock::tick(),
        stopping: None,
        rounds,
        decided: None,
        asked_at: None,
        jobs,
        max_broken,
        infra_retries,
    };
    let done = std::mem::take(&mut course.record.trials);
    for trial in done {
        course.count(&trial);
        course.record.trials.push(trial);
    }
    course.before = course.tally.done;
    course.keep_run()?;
    course.go().await?;
    let finished = course.finish().await?;
    // Empty unless workspaces are kept.
    let _ = std::fs::remove_dir(&work_dir);
    Ok(finished)
}

/// What a run has begun before its first trial.
struct Begun {
    proxy: Proxy,
    watch: Watch,
    kept: sandbox::Kept,
    graders: Vec<Graders>,
    redactor: Arc<Redactor>,
}

fn share(setup: Setup, run: &str, begun: Begun) -> Result<Arc<Shared>, EvalError> {
    let work_dir = setup.work_dir.canonicalize().map_err(EvalError::WorkDir)?.join(run);
    Ok(Arc::new(Shared {
        loaded: setup.loaded,
        plan: Arc::new(setup.plan),
        suite_dir: setup.suite_dir,
        run: run.to_owned(),
        work_dir,
        keep_workspaces: setup.keep_workspaces,
        env: setup.env,
        keys: setup.keys,
        holdback: setup.holdback,
        proxy: begun.proxy,
        watch: begun.watch,
        fetcher: Fetcher::default(),
        kept: begun.kept,
        graders: begun.graders,
        judges: Judges::new(setup.judging, begun.redactor.clone()),
        redactor: begun.redactor,
        traces: setup.traces,
    }))
}

fn graders(loaded: &Loaded) -> Result<Vec<Graders>, EvalError> {
    let of =
        |task: &Task| Graders::of(loaded, task).map_err(|error| EvalError::Graders { task: task.id.clone(), error });
    loaded.suite.tasks.iter().map(of).collect()
}

fn kept(setup: &Setup) -> Result<(sandbox::Kept, Vec<String>), EvalError> {
    let Target::Loop(target) = &setup.loaded.suite.target else { return Ok((sandbox::Kept::No, Vec::new())) };
    let path = setup.env.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.as_str()).unwrap_or_default();
    Ok(sandbox::decide(target.sandbox, target.network, target.image.is_some(), path)?)
}

/// The record to go on with: the earlier one, or a new one.
fn record(setup: &Setup) -> Result<RunRecord, EvalError> {
    if let Some(before) = &setup.before {
        let changed = setup.plan.changed(before);
        if !changed.is_empty() && !setup.allow_changed {
            return Err(EvalError::Changed { run: before.id.clone(), changed });
        }
        let mut record = before.clone();
        record.finished = None;
        return Ok(record);
    }
    let mut record = empty_record(&setup.loaded, &setup.plan, &setup.run);
    record.name.clone_from(&setup.name);
    record.git_commit.clone_from(&setup.git_commit);
    Ok(record)
}

/// The record of a run that has yet to make its first trial.
pub fn empty_record(loaded: &Loaded, plan: &Plan, id: &str) -> RunRecord {
    let suite = &loaded.suite;
    RunRecord {
        id: id.to_owned(),
        name: None,
        suite: suite.suite.clone(),
        kind: suite.kind.as_str().to_owned(),
        started: clock::now(),
        finished: None,
        trials_per_task: plan.trials,
        tasks: plan.tasks.iter().map(|task| suite.tasks[*task].id.clone()).collect(),
        variants: plan.variants.clone(),
        fingerprints: plan.fingerprints.clone(),
        git_commit: None,
        holdback: env!("CARGO_PKG_VERSION").to_owned(),
        trials: Vec::new(),
    }
}

/// A run on its way.
struct Course {
    shared: Arc<Shared>,
    record: RunRecord,
    tally: Tally,
    /// Trials an earlier part has made.
    before: usize,
    /// What is still to do, and how often it was tried.
    queue: VecDeque<(Slot, u32)>,
    running: JoinSet<(Slot, u32, Made)>,
    gates: Gates,
    troubles: UnboundedReceiver<Trouble>,
    events: UnboundedSender<Event>,
    interrupt: watch::Receiver<bool>,
    keeping: Keeping,
    /// Which trial an answer was first seen in, by the provider's id of it.
    answers: HashMap<String, String>,
    redactor: Arc<Redactor>,
    began: Instant,
    stopping: Option<End>,
    rounds: Option<Rounds>,
    decided: Option<Box<Decided>>,
    /// How many trials there were when rounds last asked for more.
    asked_at: Option<usize>,
    jobs: usize,
    max_broken: f64,
    infra_retries: u32,
}

impl Course {
    async fn go(&mut self) -> Result<(), EvalError> {
        loop {
            if self.stopping.is_none() && *self.interrupt.borrow() {
                self.stop(End::Interrupted, "called off");
            }
            self.next_round()?;
            let wait = if self.stopping.is_none() { self.start() } else { None };
            if self.running.is_empty() && (self.queue.is_empty() || self.stopping.is_some()) {
                return Ok(());
            }
            let mut interrupt = self.interrupt.clone();
            let stopped = self.stopping.is_some();
            tokio::select! {
                Some(joined) = self.running.join_next() => {
                    // A panic in a trial is a bug of ours; its slot stays open, and resuming makes it again.
                    if let Ok((slot, tries, made)) = joined {
                        self.done(slot, tries, made)?;
                    }
                }
                Some(trouble) = self.troubles.recv() => self.trouble(&trouble),
                () = tokio::time::sleep(wait.unwrap_or(Duration::from_secs(3600))), if wait.is_some() => {}
                _ = called_off(&mut interrupt), if !stopped => {}
            }
        }
    }

    /// Once a round is done, the gate says whether another is needed.
    fn next_round(&mut self) -> Result<(), EvalError> {
        let due = self.queue.is_empty() && self.running.is_empty();
        let Some(rounds) = self.rounds.as_mut().filter(|_| due && self.stopping.is_none()) else { return Ok(()) };
        match rounds.next(&self.shared.plan, &self.shared.loaded, &self.record)? {
            // What was to be made and could not be, for a bug of ours, must not be tried for ever.
            Next::Make(_) if self.asked_at == Some(self.record.trials.len()) => {
                self.stop(End::Broken("trials could not be made".to_owned()), "trials could not be made");
            }
            Next::Make(slots) => {
                self.asked_at = Some(self.record.trials.len());
                let _ = self.events.send(Event::Note(format!("{}: {} trials", rounds.in_words(), slots.len())));
                self.queue.extend(slots.into_iter().map(|slot| (slot, 0)));
            }
            Next::Decided(decided) => {
                self.decided = Some(decided);
                self.rounds = None;
            }
        }
        Ok(())
    }

    /// Begins as many trials as may run; how long to wait when none may, for a provider's sake.
    fn start(&mut self) -> Option<Duration> {
        let now = clock::tick();
        while self.running.len() < self.jobs {
            // Asked once for each variant and not for each of perhaps ten thousand trials that wait.
            let variants = &self.shared.plan.variants;
            let open: Vec<bool> =
                variants.iter().map(|variant| self.gates.is_open(provider_of(&variant.model), now)).collect();
            if !open.contains(&true) {
                break;
            }
            let Some(at) = self.queue.iter().position(|(slot, _)| open[slot.variant]) else { break };
            let Some((slot, tries)) = self.queue.remove(at) else { break };
            self.gates.enter(provider(&self.shared.plan, &slot));
            let task = self.shared.loaded.suite.tasks[slot.task].id.clone();
            let variant = self.shared.plan.variants[slot.variant].name.clone();
            let _ = self.events.send(Event::TrialStarted { task, variant, attempt: slot.attempt });
            let (shared, interrupt) = (self.shared.clone(), self.interrupt.clone());
            self.running.spawn(async move {
                let made = trial::make(shared, slot.clone(), tries, interrupt).await;
                (slot, tries, made)
            });
        }
        (!self.queue.is_empty()).then(|| self.gates.next_opening(now)).flatten()
    }

    fn done(&mut self, slot: Slot, tries: u32, mut made: Made) -> Result<(), EvalError> {
        let name = provider(&self.shared.plan, &slot).to_owned();
        let infra = matches!(made.trial.ending, Ending::Broken { .. });
        self.gates.leave(&name, !infra);
        if infra && *self.interrupt.borrow() {
            return Ok(());
        }
        self.tally.spent_usd += made.trial.cost_usd.unwrap_or(0.0) + judging_usd(&made.evidence);
        if infra && tries < self.infra_retries && self.stopping.is_none() && is_worth_another_try(made.trouble.as_ref())
        {
            self.tally.retries += 1;
            let reason = made.trial.why.clone().unwrap_or_default();
            let (task, variant) = (made.trial.task.clone(), made.trial.variant.clone());
            let _ = self.events.send(Event::Retrying { task, variant, attempt: slot.attempt, reason });
            // Twice as long after every try, and nothing else of that provider meanwhile.
            self.gates.pause(&name, Duration::from_millis(250 << tries.min(8)), clock::tick());
            self.queue.push_front((slot, tries + 1));
            return Ok(());
        }
        self.mark_copy(&mut made);
        self.count(&made.trial);
        self.keep(&made)?;
        self.tally.elapsed_seconds = clock::micros_since(self.began) as f64 / 1e6;
        self.record.trials.push(made.trial.clone());
        let _ = self.events.send(Event::TrialDone { trial: Box::new(made.trial), tally: self.tally });
        self.check_limits();
        Ok(())
    }

    /// A trial all of whose answers another one had already, word for word from the provider's own memory, is no new evidence.
    fn mark_copy(&mut self, made: &mut Made) {
        // Only within a variant: two models may well number their answers alike.
        let ids: Vec<String> = made.answers.iter().map(|id| format!("{} {id}", made.trial.variant)).collect();
        let first = |id: &String| self.answers.get(id).filter(|trial| **trial != made.trial.id);
        let others: Vec<&String> = ids.iter().filter_map(first).collect();
        if !made.answers.is_empty() && others.len() == made.answers.len() {
            made.trial.copy_of = others.first().map(|trial| (*trial).clone());
        }
        for id in ids {
            self.answers.entry(id).or_insert_with(|| made.trial.id.clone());
        }
    }

    fn count(&mut self, trial: &Trial) {
        let tally = &mut self.tally;
        tally.done += 1;
        match trial.outcome {
            Outcome::Pass => tally.passed += 1,
            Outcome::Fail => tally.failed += 1,
            Outcome::Invalid => tally.invalid += 1,
        }
        let graders_broke =
            trial.grades.iter().any(|grade| grade.required && matches!(grade.grade, Grade::Broken { .. }));
        if matches!(trial.ending, Ending::Broken { .. }) || trial.outcome == Outcome::Invalid && graders_broke {
            tally.broken += 1;
        }
        if trial.cost_usd.is_none() {
            tally.unpriced += 1;
        }
    }

    fn check_limits(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        let (tally, budget) = (self.tally, self.shared.loaded.suite.budget.usd);
        if let Some(usd) = budget.filter(|usd| tally.spent_usd >= *usd && !self.queue.is_empty()) {
            let why = format!("the budget of {usd} USD is spent ({:.4} USD)", tally.spent_usd);
            self.stop(End::Budget(why.clone()), &why);
        }
        if tally.broken as f64 > self.max_broken * tally.planned as f64 {
            let why = format!(
                "{} of {} trials are broken, more than {} %",
                tally.broken,
                tally.planned,
                self.max_broken * 100.0
            );
            self.stop(End::Broken(why.clone()), &why);
        }
    }

    fn stop(&mut self, end: End, why: &str) {
        self.stopping = Some(end);
        let _ = self.events.send(Event::Stopping(why.to_owned()));
    }

    fn trouble(&mut self, trouble: &Trouble) {
        let limited =
            matches!(trouble.status, Some(429 | 503 | 529)) || trouble.what.to_lowercase().contains("overloaded");
        if !limited {
            return;
        }
        if let Some((at_once, wait)) = self.gates.slow(&trouble.upstream, trouble.retry_after, clock::tick()) {
            let provider = trouble.upstream.clone();
            let _ = self.events.send(Event::Slowed { provider, at_once, wait_seconds: wait.as_secs_f64() });
        }
    }

    fn keep(&mut self, made: &Made) -> Result<(), EvalError> {
        let evidence = redacted(&self.redactor, &made.evidence);
        self.keeping.keep("evidence", &made.trial.id, evidence).map_err(EvalError::Keep)?;
        for judged in self.shared.judges.take_fresh() {
            let mut value = to_value(&judged);
            self.redactor.json(&mut value);
            self.keeping.keep("judged", &judged.key, value).map_err(EvalError::Keep)?;
        }
        self.keeping.keep("trial", &made.trial.id, to_value(&made.trial)).map_err(EvalError::Keep)
    }

    /// The run's own record; its trials are records of their own.
    fn keep_run(&mut self) -> Result<(), EvalError> {
        let trials = std::mem::take(&mut self.record.trials);
        let value = to_value(&self.record);
        self.record.trials = trials;
        self.keeping.keep("run", &self.record.id, value).map_err(EvalError::Keep)
    }

    async fn finish(mut self) -> Result<Finished, EvalError> {
        let end = self.stopping.take().unwrap_or(End::Complete);
        if end == End::Complete {
            self.record.finished = Some(clock::now());
        }
        let places: HashMap<&str, usize> =
            (0..).zip(&self.record.tasks).map(|(at, task)| (task.as_str(), at)).collect();
        let place = |trial: &Trial| places.get(trial.task.as_str()).copied();
        self.record.trials.sort_by_cached_key(|trial| (place(trial), trial.variant.clone(), trial.attempt));
        if !self.record.trials.is_empty() {
            let results = keep::results(&self.record);
            self.keeping.keep(keep::RESULTS, &self.record.id, results).map_err(EvalError::Keep)?;
        }
        self.keep_run()?;
        self.keeping.finish().await.map_err(EvalError::Keep)?;
        let Course { shared, record, tally, decided, .. } = self;
        // Trials that were called off still hold it until their tasks are gone; dropping it then stops it.
        if let Some(shared) = Arc::into_inner(shared) {
            shared.proxy.stop(Duration::from_secs(2)).await;
        }
        Ok(Finished { record, tally, end, decided })
    }
}

/// The provider a trial will ask.
fn provider<'a>(plan: &'a Plan, slot: &Slot) -> &'a str {
    provider_of(&plan.variants[slot.variant].model)
}

fn provider_of(model: &str) -> &str {
    model.split('/').next().unwrap_or_default()
}

/// A refused key is refused again the next time.
fn is_worth_another_try(trouble: Option<&Trouble>) -> bool {
    !matches!(trouble.and_then(|trouble| trouble.status), Some(401..=403))
}

fn to_value<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("records are plain data with text keys")
}

/// What the judges of a trial cost.
fn judging_usd(evidence: &Evidence) -> f64 {
    let cost = |(_, got): &(Need, Got)| if let Got::Judge { reading } = got { reading.cost_usd } else { None };
    evidence.got.iter().filter_map(cost).sum()
}

/// Evidence as it may be written to disk.
pub fn redacted(redactor: &Redactor, evidence: &Evidence) -> Value {
    let mut value = to_value(evidence);
    redactor.json(&mut value);
    value
}
