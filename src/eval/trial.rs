//! One trial, from an empty folder to its grades.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::judge::Judges;
use super::needs::{self, Court, Source};
use super::plan::{self, Plan, Slot};
use super::recorded::{Recorded, Traces};
use super::sandbox::{Kept, Rules};
use super::tape::{self, Play};
use super::target::{self, Ended, PromptRun, Run};
use super::witness::{Seen, Trouble, Watch};
use super::workspace::Workspace;
use crate::capture::{Answers, Begin, Brakes, Fetcher, Proxy, clock, ids, tools};
use crate::grade::{self, Bound, Evidence, Graded, Verdict};
use crate::provider::mock;
use crate::redact::Redactor;
use crate::suite::{Loaded, Target, Task, hash_hex, names};
use crate::trace::{Headers, Message, Source as From, ToolCall, TraceEnded, TraceId, TraceOutcome, TraceStarted};
use crate::trial::{Ending, GradeRecord, Outcome, Trial, Variant};

/// Seconds a trial may take when its suite doesn't say.
const USUAL_SECONDS: f64 = 600.0;
/// Seconds that pure graders may take; more is a grader that hangs.
const GRADING: Duration = Duration::from_secs(60);
/// Variables of the user's environment that every loop gets.
const PASSED: &[&str] =
    &["PATH", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "SHELL", "SSL_CERT_FILE", "SSL_CERT_DIR", "SYSTEMROOT"];

/// The graders of a task.
pub(super) struct Graders {
    bound: Arc<Vec<Bound>>,
    /// Whether their configuration asks for something only a trial has.
    per_trial: bool,
}

impl Graders {
    pub(super) fn of(loaded: &Loaded, task: &Task) -> Result<Self, String> {
        let bound = plan::bound(loaded, task, &BTreeMap::new()).map_err(|error| error.to_string())?;
        let fixed = plan::task_vars(loaded, task);
        let specs = loaded.suite.graders.iter().chain(&task.graders).map(|spec| spec.0.to_string());
        let per_trial = specs.into_iter().any(|text| {
            names(&text).iter().any(|name| {
                !fixed.contains_key(*name) && !name.split('.').next().is_some_and(|first| fixed.contains_key(first))
            })
        });
        Ok(Graders { bound: Arc::new(bound), per_trial })
    }

    /// The graders for one trial. Fingerprints stay those of the task: what a trial puts in doesn't change the measure.
    pub(super) fn for_trial(&self, loaded: &Loaded, task: &Task, vars: &BTreeMap<String, Value>) -> Arc<Vec<Bound>> {
        if !self.per_trial {
            return self.bound.clone();
        }
        match plan::bound(loaded, task, vars) {
            Ok(mut bound) => {
                for (grader, known) in bound.iter_mut().zip(self.bound.iter()) {
                    grader.fingerprint.clone_from(&known.fingerprint);
                }
                Arc::new(bound)
            }
            Err(_) => self.bound.clone(),
        }
    }
}

/// What all trials of a run share.
pub(super) struct Shared {
    pub loaded: Arc<Loaded>,
    pub plan: Arc<Plan>,
    pub suite_dir: PathBuf,
    pub run: String,
    pub work_dir: PathBuf,
    pub keep_workspaces: bool,
    pub env: Vec<(String, String)>,
    pub keys: BTreeMap<String, Headers>,
    pub holdback: PathBuf,
    pub proxy: Proxy,
    pub watch: Watch,
    pub fetcher: Fetcher,
    pub kept: Kept,
    pub graders: Vec<Graders>,
    pub redactor: Arc<Redactor>,
    pub traces: Arc<dyn Traces>,
    pub judges: Judges,
}

/// A trial that has been made.
#[derive(Debug)]
pub(super) struct Made {
    pub trial: Trial,
    pub evidence: Evidence,
    /// The provider trouble it ended on.
    pub trouble: Option<Trouble>,
    /// The providers' ids of its answers.
    pub answers: Vec<String>,
}

/// The id of a trial: the same whenever the same trial of the same run is made again.
pub fn trial_id(run: &str, task: &str, variant: &str, attempt: u32) -> String {
    hash_hex(format!("{run}\n{task}\n{variant}\n{attempt}").as_bytes())
}

impl Shared {
    pub(super) fn task(&self, slot: &Slot) -> &Task {
        &self.loaded.suite.tasks[slot.task]
    }

    pub(super) fn variant(&self, slot: &Slot) -> &Variant {
        &self.plan.variants[slot.variant]
    }

    /// The variables of a trial.
    fn vars(
        &self,
        slot: &Slot,
        seed: u64,
        trace: TraceId,
        workspace: Option<&Workspace>,
        play: Option<&Play>,
    ) -> BTreeMap<String, Value> {
        let (task, variant) = (self.task(slot), self.variant(slot));
        let mut vars = plan::task_vars(&self.loaded, task);
        let model = self.model(variant);
        let model = play.filter(|_| variant.model != plan::OWN_LOOP).map_or(model, |play| play.model.clone());
        let own = model.ends_with("/own") || model.ends_with("/recorded");
        let name = match model.split_once('/') {
            Some(("mock", _)) | None => model.clone(),
            Some((_, name)) => name.to_owned(),
        };
        let mut set = |name: &str, value: String| vars.insert(name.to_owned(), Value::from(value));
        set("model", if own { String::new() } else { model });
        set("model_name", if own { String::new() } else { name });
        set("system", self.system(variant).to_owned());
        set("trial", slot.attempt.to_string());
        set("seed", seed.to_string());
        set("workspace", workspace.map(|workspace| text(&workspace.dir)).unwrap_or_default());
        set("suite_dir", text(&self.suite_dir));
        set("holdback", text(&self.holdback));
        set("proxy", self.proxy.base_url(trace));
        set("answer", String::new());
        vars.extend(variant.params.iter().map(|(key, value)| (format!("params.{key}"), value.clone())));
        // The prompt may name what only a trial knows.
        if let Some(Value::String(prompt)) = vars.get("prompt")
            && let Ok(prompt) = crate::suite::render(prompt, &vars)
        {
            vars.insert("prompt".to_owned(), Value::from(prompt));
        }
        vars
    }

    /// The model's name, a script's file found beside the suite.
    pub(super) fn model(&self, variant: &Variant) -> String {
        match variant.model.strip_prefix("mock/script:") {
            Some(file) if Path::new(file).is_relative() && mock::comes_along(file).is_none() => {
                format!("mock/script:{}", text(&self.suite_dir.join(file)))
            }
            _ => variant.model.clone(),
        }
    }

    fn system(&self, variant: &Variant) -> &str {
        if let Some(prompt) = variant.prompt.as_ref().and_then(|name| self.loaded.suite.prompts.get(name)) {
            return self.loaded.text(prompt);
        }
        match &self.loaded.suite.target {
            Target::Prompt(target) => {
                target.system.as_deref().map(|system| self.loaded.text(system)).unwrap_or_default()
            }
            _ => "",
        }
    }

    /// The environment of a loop: what it is allowed of ours, a home of its own, and the way to the proxy.
    fn env(
        &self,
        slot: &Slot,
        trace: TraceId,
        workspace: &Workspace,
        vars: &BTreeMap<String, Value>,
    ) -> Vec<(OsString, OsString)> {
        let passed: &[String] = match &self.loaded.suite.target {
            Target::Loop(target) => &target.pass_env,
            _ => &[],
        };
        let is_passed =
            |name: &str| PASSED.contains(&name) || name.starts_with("LC_") || passed.iter().any(|pass| pass == name);
        let mut env: BTreeMap<String, String> = self.env.iter().filter(|(name, _)| is_passed(name)).cloned().collect();
        let mut set = |name: &str, value: String| drop(env.insert(name.to_owned(), value));
        if !passed.iter().any(|name| name == "HOME") {
            set("HOME", text(&workspace.home.join("home")));
        }
        set("TMPDIR", text(&workspace.tmp));
        set("PWD", text(&workspace.dir));
        // A workspace may lie inside somebody's repository, which is none of the loop's business.
        set("GIT_CEILING_DIRECTORIES", text(&workspace.home));
        let variant = self.variant(slot);
        let provider = variant.model.split('/').next().unwrap_or_default();
        let to = |known: &str| match provider {
            "" | "loop" | "openai" | "anthropic" | "gemini" => self.proxy.base_url_to(trace, known),
            "google" => self.proxy.base_url_to(trace, "gemini"),
            other => self.proxy.base_url_to(trace, other),
        };
        for name in ["OPENAI_BASE_URL", "OPENAI_API_BASE"] {
            set(name, format!("{}/v1", to("openai")));
        }
        set("ANTHROPIC_BASE_URL", to("anthropic"));
        set("GOOGLE_GEMINI_BASE_URL", to("gemini"));
        set("HOLDBACK_BASE_URL", self.proxy.base_url(trace));
        set("HOLDBACK_TRACE", trace.to_string());
        set("HOLDBACK_URL", self.proxy.base_url(trace));
        let mode = match &self.task(slot).tape {
            Some(_) if self.task(slot).tape_tools.is_empty() => "",
            Some(_) => "replay",
            None => "record",
        };
        set(tools::MODE, mode.to_owned());
        for (name, key) in [
            ("HOLDBACK_MODEL", "model"),
            ("HOLDBACK_TASK", "task"),
            ("HOLDBACK_TRIAL", "trial"),
            ("HOLDBACK_SEED", "seed"),
        ] {
            set(name, vars.get(key).and_then(Value::as_str).unwrap_or_default().to_owned());
        }
        if provider == "mock" || self.task(slot).tape.is_some() && self.task(slot).live_from.is_none() {
            // Clients refuse to start without a key; neither a mock model nor a tape looks at it.
            for name in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"] {
                env.entry(name.to_owned()).or_insert_with(|| "mock".to_owned());
            }
        }
        env.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn rules(&self, workspace: &Workspace) -> Rules {
        let (network, image, more) = match &self.loaded.suite.target {
            Target::Loop(target) => (target.network, target.image.clone(), target.writable.as_slice()),
            _ => (true, None, [].as_slice()),
        };
        Rules {
            write: target::writable(workspace, more, &self.suite_dir),
            hidden: self.work_dir.clone(),
            only_port: (!network).then(|| self.proxy.address().port()),
            image,
        }
    }

    fn begin(&self, slot: &Slot, workspace: Option<&Workspace>, play: Option<&Play>) -> Begin {
        let (task, variant) = (self.task(slot), self.variant(slot));
        let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let limits = &self.loaded.suite.budget.trial;
        let replay_of = play.map(|play| tag("replay_of", &play.of.to_string()));
        Begin {
            started: TraceStarted {
                source: if play.is_some() { From::Derived } else { From::default() },
                parent: play.filter(|play| play.stored).map(|play| (play.of, None)),
                name: Some(format!("{}/{}#{} {}", self.loaded.suite.suite, task.id, slot.attempt, variant.name)),
                tags: [
                    tag("suite", &self.loaded.suite.suite),
                    tag("run", &self.run),
                    tag("task", &task.id),
                    tag("variant", &variant.name),
                    tag("trial", &slot.attempt.to_string()),
                ]
                .into_iter()
                .chain(replay_of)
                .collect(),
                cwd: workspace.map(|workspace| text(&workspace.dir)),
                ..TraceStarted::default()
            },
            brakes: Brakes {
                max_calls: limits.calls,
                max_cost: limits.usd,
                max_tokens: limits.tokens,
                ..Brakes::default()
            },
            // The trial is part of the key, so nothing ever folds repeats into one.
            key: format!("{}#{}", task.id, slot.attempt),
            answers: play.map(|play| play.taped.clone() as Arc<dyn Answers>),
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Makes a trial. `retries` says how often infrastructure broke it before.
pub(super) async fn make(shared: Arc<Shared>, slot: Slot, retries: u32, interrupt: watch::Receiver<bool>) -> Made {
    let (started, tick) = (clock::now(), clock::tick());
    let (task, variant) = (shared.task(&slot), shared.variant(&slot));
    let seed = plan::draw(shared.loaded.suite.seed, &format!("{} {}", task.id, slot.attempt));
    let id = trial_id(&shared.run, &task.id, &variant.name, slot.attempt);
    let needs_folder = matches!(shared.loaded.suite.target, Target::Loop(_)) || task.workspace.is_some();
    let workspace = match needs_folder {
        false => Ok(None),
        true => folder(&shared, &slot, &id).await.map(Some),
    };
    let trace = ids::trace();
    let (workspace, played) = match workspace {
        Err(why) => (None, Err(why)),
        Ok(workspace) => tape::ready(&shared, &slot, workspace).await,
    };
    let (ended, seen, trace, vars) = match played {
        Err(why) => (Ended::broken(why), Seen::default(), None, BTreeMap::new()),
        Ok(play) => {
            let vars = shared.vars(&slot, seed, trace, workspace.as_ref(), play.as_ref());
            let scene = Scene { seed, trace, vars: &vars, workspace: workspace.as_ref(), play: play.as_ref() };
            let (ended, seen, trace) = run(&shared, &slot, &scene, interrupt).await;
            (ended, seen, trace, vars)
        }
    };
    let (duration_us, trouble) = (clock::micros_since(tick), seen.trouble.clone());
    // A tape gives everybody the same answers: it is the loop that is asked again.
    let from_tape = seen.replayed.as_ref().is_some_and(|replayed| replayed.live == 0);
    let answers = if from_tape { Vec::new() } else { seen.answers.clone() };
    let mut evidence = gather(&shared, &slot, ended, seen, &vars, workspace.as_ref(), duration_us).await;
    blame(&mut evidence, trouble.as_ref());
    let grades = grades(&shared, &slot, trace.unwrap_or(TraceId(0)), &vars, &mut evidence, workspace.as_ref()).await;
    if let Some(workspace) = workspace
        && !shared.keep_workspaces
    {
        let _ = tokio::task::spawn_blocking(move || workspace.remove()).await;
    }
    let ok_exit: &[i32] = match &shared.loaded.suite.target {
        Target::Loop(target) => &target.ok_exit,
        _ => &[0],
    };
    let Verdict { outcome, score, mut why } = grade::verdict(&evidence.ending, ok_exit, &grades);
    if outcome == Outcome::Fail {
        last_words(&mut why, &evidence);
    }
    let trial = Trial {
        id,
        run: shared.run.clone(),
        task: task.id.clone(),
        variant: variant.name.clone(),
        attempt: slot.attempt,
        seed: Some(seed),
        trace,
        started,
        duration_us,
        outcome,
        ending: evidence.ending.clone(),
        score,
        grades,
        calls: u32::try_from(evidence.steps.len()).unwrap_or(u32::MAX),
        usage: evidence.usage(),
        cost_usd: evidence.cost_usd(),
        infra_retries: retries,
        copy_of: None,
        stuck: !evidence.stuck.is_empty(),
        why: why.map(|why| shared.redactor.text(&why).0.into_owned()),
        answer_hash: (!evidence.answer.is_empty()).then(|| hash_hex(evidence.answer.trim().as_bytes())),
        replayed: evidence.replayed.clone(),
    };
    Made { trial, evidence, trouble, answers }
}

async fn folder(shared: &Arc<Shared>, slot: &Slot, id: &str) -> Result<Workspace, String> {
    let own = shared.task(slot).workspace.clone();
    let fixture = own.or_else(|| match &shared.loaded.suite.target {
        Target::Loop(target) => target.workspace.clone(),
        _ => None,
    });
    let (root, id) = (shared.work_dir.clone(), id.to_owned());
    let fixture = fixture.map(|fixture| shared.suite_dir.join(fixture));
    let made = tokio::task::spawn_blocking(move || Workspace::make(&root, &id, fixture.as_deref())).await;
    match made {
        Ok(Ok(workspace)) => Ok(workspace),
        Ok(Err(error)) => Err(format!("the workspace could not be made: {error}")),
        Err(_) => Err("the workspace could not be made".to_owned()),
    }
}

/// Adds to the reason what a loop that failed said last.
fn last_words(why: &mut Option<String>, evidence: &Evidence) {
    if let (Some(why), Some(last)) = (why, evidence.stderr.lines().rev().find(|line| !line.trim().is_empty()))
        && matches!(evidence.ending, Ending::Exited { .. } | Ending::Signalled { .. })
        && why.starts_with("the loop")
    {
        why.push_str(": ");
        why.extend(last.trim().chars().take(200));
    }
}

/// What a trial runs with.
struct Scene<'a> {
    seed: u64,
    trace: TraceId,
    vars: &'a BTreeMap<String, Value>,
    workspace: Option<&'a Workspace>,
    play: Option<&'a Play>,
}

/// Runs the target inside a trace of its own.
async fn run(
    shared: &Arc<Shared>,
    slot: &Slot,
    scene: &Scene<'_>,
    interrupt: watch::Receiver<bool>,
) -> (Ended, Seen, Option<TraceId>) {
    let Scene { seed, trace, vars, workspace, play } = *scene;
    let variant = shared.variant(slot);
    let frozen = match &shared.loaded.suite.target {
        Target::Trace(target) if target.ask && variant.model != plan::RECORDED => {
            let word = shared.task(slot).trace.as_deref().unwrap_or_default();
            match shared.traces.find(word) {
                Ok(Recorded { frozen: Some(frozen), .. }) => Some(frozen),
                Ok(_) => return (Ended::broken("the trace has no request to ask again"), Seen::default(), None),
                Err(why) => return (Ended::broken(why), Seen::default(), None),
            }
        }
        Target::Trace(_) => return recorded(shared, slot),
        _ => None,
    };
    let seconds = shared.task(slot).seconds.or(shared.loaded.suite.budget.trial.seconds);
    // At most a year, and something: more or less is no time that a clock can count.
    let seconds = Some(seconds.unwrap_or(USUAL_SECONDS).clamp(0.001, 31_536_000.0));
    shared.watch.begin(trace);
    shared.proxy.begin(trace, shared.begin(slot, workspace, play));
    let enough = play.map(|play| play.taped.enough());
    let run = Run { proxy: &shared.proxy, trace, vars, seconds, interrupt, enough };
    let model = shared.model(variant);
    let none = Headers::new();
    let keys = shared.keys.get(model.split('/').next().unwrap_or_default()).unwrap_or(&none);
    let prompt = PromptRun { model: &model, system: shared.system(variant), params: &variant.params, seed, keys };
    let ended = match (&shared.loaded.suite.target, workspace) {
        (Target::Trace(_), _) => match frozen {
            Some(frozen) => target::run_frozen(&run, &frozen, &prompt).await,
            None => Ended::broken("there is nothing to ask"),
        },
        (Target::Loop(target), Some(workspace)) => {
            let env = shared.env(slot, trace, workspace, vars);
            target::run_loop(&run, target, workspace, env, shared.kept, shared.rules(workspace)).await
        }
        (Target::Prompt(target), _) => target::run_prompt(&run, target, &prompt).await,
        (Target::Http(target), _) => target::run_http(&run, target, &shared.fetcher).await,
        (Target::Loop(_), _) => Ended::broken("there is no workspace"),
    };
    for note in play.iter().flat_map(|play| play.taped.notes(trace)) {
        shared.proxy.note(trace, note);
    }
    shared.proxy.end(trace, trace_ended(&ended.ending)).await;
    let replayed = play.map(|play| tape::replayed(&play.taped.report(trace)));
    let mut seen = shared.watch.take(trace);
    seen.replayed = replayed;
    (ended, seen, Some(trace))
}

fn recorded(shared: &Shared, slot: &Slot) -> (Ended, Seen, Option<TraceId>) {
    let word = shared.task(slot).trace.as_deref().unwrap_or_default();
    match shared.traces.find(word) {
        Err(why) => (Ended::broken(why), Seen::default(), None),
        Ok(found) => {
            let ending = found.ending.unwrap_or(Ending::Exited { code: 0 });
            let ended = Ended { ending, stdout: String::new(), stderr: String::new(), answer: None };
            (ended, Seen::recorded(found.opening, found.steps), found.trace)
        }
    }
}

fn trace_ended(ending: &Ending) -> TraceEnded {
    let (outcome, exit_code, signal, reason) = match ending {
        Ending::Exited { code: 0 } => (TraceOutcome::Ok, Some(0), None, None),
        Ending::Exited { code } => (TraceOutcome::Failed, Some(*code), None, None),
        Ending::Signalled { signal } => (TraceOutcome::Killed, None, Some(*signal), None),
        Ending::TimedOut { seconds } => {
            (TraceOutcome::Braked, None, None, Some(format!("still running after {seconds} s")))
        }
        Ending::Braked { brake } => (TraceOutcome::Braked, None, None, Some(brake.clone())),
        Ending::Broken { reason } => (TraceOutcome::Failed, None, None, Some(reason.clone())),
    };
    TraceEnded { outcome, exit_code, signal, reason, lost_calls: 0 }
}

async fn gather(
    shared: &Arc<Shared>,
    slot: &Slot,
    ended: Ended,
    seen: Seen,
    vars: &BTreeMap<String, Value>,
    workspace: Option<&Workspace>,
    duration_us: u64,
) -> Evidence {
    let task = shared.task(slot);
    let answer = ended.answer.clone().or_else(|| seen.answer());
    // A loop that asked no model at all has only its output to show.
    let answer = answer.unwrap_or_else(|| if seen.steps.is_empty() { ended.stdout.clone() } else { String::new() });
    let mut evidence = Evidence::new(&task.id, &answer);
    evidence.prompt = vars.get("prompt").and_then(Value::as_str).unwrap_or_default().to_owned();
    evidence.vars = task.vars.clone();
    evidence.expected.clone_from(&task.expected);
    evidence.opening = seen.opening;
    evidence.steps = seen.steps;
    evidence.stuck = seen.stuck;
    evidence.replayed = seen.replayed;
    evidence.ending = ended.ending;
    evidence.stdout = ended.stdout;
    evidence.stderr = ended.stderr;
    evidence.duration_us = duration_us;
    if let (Some(word), false) =
        (task.trace.as_ref().or(task.tape.as_ref()), matches!(shared.loaded.suite.target, Target::Trace(_)))
    {
        let calls = |found: Recorded| -> Vec<ToolCall> {
            found.steps.iter().filter_map(|step| step.said.as_ref()).flat_map(Message::tool_calls).cloned().collect()
        };
        evidence.reference = shared.traces.find(word).ok().map(calls);
    }
    if let Some(workspace) = workspace {
        match workspace.look() {
            Ok(files) => evidence.files = files,
            Err(error) => evidence.ending = Ending::Broken { reason: format!("the workspace can't be read: {error}") },
        }
    }
    evidence
}

/// A loop that failed on a provider which could not answer did not fail by itself.
fn blame(evidence: &mut Evidence, trouble: Option<&Trouble>) {
    let Some(trouble) = trouble else { return };
    let failed = match &evidence.ending {
        Ending::Exited { code } => *code != 0,
        Ending::TimedOut { .. } | Ending::Signalled { .. } => true,
        Ending::Braked { .. } | Ending::Broken { .. } => false,
    };
    if failed {
        evidence.ending = Ending::Broken { reason: trouble.what.clone() };
    }
}

async fn grades(
    shared: &Arc<Shared>,
    slot: &Slot,
    trace: TraceId,
    vars: &BTreeMap<String, Value>,
    evidence: &mut Evidence,
    workspace: Option<&Workspace>,
) -> Vec<GradeRecord> {
    // What broke says nothing about the loop: nothing is run or asked for it.
    if matches!(evidence.ending, Ending::Broken { .. }) {
        return Vec::new();
    }
    let mut vars = vars.clone();
    vars.insert("answer".to_owned(), Value::from(evidence.answer.clone()));
    let graders = shared.graders[slot.task].for_trial(&shared.loaded, shared.task(slot), &vars);
    if graders.iter().any(|grader| !grader.needs(evidence).is_empty()) {
        let source = Source {
            workspace: workspace.map(|workspace| workspace.dir.clone()),
            suite_dir: shared.suite_dir.clone(),
            env: workspace.map(|workspace| shared.env(slot, trace, workspace, &vars)).unwrap_or_default(),
            kept: if workspace.is_some() { shared.kept } else { Kept::No },
            rules: match workspace {
                Some(workspace) => Rules { only_port: None, ..shared.rules(workspace) },
                None => Rules { write: Vec::new(), hidden: shared.work_dir.clone(), only_port: None, image: None },
            },
            fetcher: shared.fetcher.clone(),
        };
        let begun = shared.begin(slot, workspace, None).started;
        let name = format!("judge {}", begun.name.unwrap_or_default());
        let (proxy, judges, rubrics) = (&shared.proxy, &shared.judges, &shared.loaded.rubrics);
        let court = Court { proxy, judges, rubrics, name: &name, tags: &begun.tags };
        needs::fulfil(&graders, evidence, &source, Some(court)).await;
    }
    let mut grades = grade_all(graders, evidence).await;
    // Reasons quote what the loop wrote, and they go to disk with the trial.
    for reason in grades.iter_mut().flat_map(|record| &mut record.reasons) {
        *reason = shared.redactor.text(reason).0.into_owned();
    }
    grades
}

/// Grades apart from the async threads; graders that take too long are broken.
pub(super) async fn grade_all(graders: Arc<Vec<Bound>>, evidence: &Evidence) -> Vec<GradeRecord> {
    let (theirs, given) = (graders.clone(), evidence.clone());
    let grading =
        tokio::task::spawn_blocking(move || theirs.iter().flat_map(|grader| grader.records(&given)).collect());
    match tokio::time::timeout(GRADING, grading).await {
        Ok(Ok(grades)) => grades,
        late => {
            let why = if late.is_err() {
                format!("grading took more than {} s", GRADING.as_secs())
            } else {
                "grading failed".to_owned()
            };
            graders.iter().map(|grader| grader.record(Graded::broken(why.clone()))).collect()
        }
    }
}
