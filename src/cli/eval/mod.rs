//! `holdback eval`: asks a suite, so many times of each model, and keeps every trial.

mod args;
mod course;
mod progress;
pub mod traces;
mod until;

pub use course::new_id;

use clap::Args;
use serde_json::json;

use super::judging::Judge;
use super::recording::Recording;
use super::runs::report::{Summary, is_broken};
use super::runs::stored::{Asked, Request, Runs};
use super::suite_file::{self, Opened};
use super::{Exit, Global, Misuse, out};
use crate::eval::{Conclusion, End, Finished, Plan, Rounds, Tally, conclude, empty_record, estimate, failed_tasks};
use crate::suite::Target;
use crate::trial::{Outcome, RunRecord};

/// Reasons listed under the table; `runs show` lists all.
const FAILURES: usize = 20;

#[derive(Debug, Args)]
#[command(
    after_help = "Every trial is kept as soon as it is finished, so a run that was called off, or killed, goes on with \
                  --resume and makes no trial twice.\n\nExit codes: 0 the trials were made, 1 a task of a regression suite \
                  failed, 2 the command line or the suite is wrong, 3 nothing was measured, 4 too much was broken, 130 \
                  called off.\n\nExamples:\n  holdback eval suites/first.yaml\n  \
                  holdback eval suites/shop.yaml --model anthropic/claude-sonnet-5 -k 8 --dry-run\n  \
                  holdback eval suites/shop.yaml --failing last\n  holdback eval --resume last"
)]
pub struct Eval {
    /// The suite's file [default: the only one in suites/]
    #[arg(value_name = "SUITE")]
    suite: Option<std::path::PathBuf>,
    #[command(flatten)]
    asked: args::AskedArgs,
    #[command(flatten)]
    until: until::UntilArgs,
    /// A name to find the run by
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Words to find the run by, any number of them
    #[arg(long, value_name = "KEY=VALUE")]
    tag: Vec<String>,
    /// Trials at once
    #[arg(short, long, value_name = "N", default_value_t = 8)]
    jobs: usize,
    /// Go on with this run: a name, the beginning of an id, or `last`; begins it when there is none
    #[arg(long, value_name = "RUN")]
    resume: Option<String>,
    /// Go on although suite, graders or target have changed since
    #[arg(long, requires = "resume")]
    allow_changed: bool,
    /// Only say which trials would be made and what they would cost
    #[arg(long)]
    dry_run: bool,
    /// The share of broken trials that ends the run
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = args::share)]
    max_broken: f64,
    /// Begin no more trials once so many US dollars are spent, instead of the suite's budget
    #[arg(long, value_name = "USD")]
    budget: Option<f64>,
    /// How often a trial that infrastructure broke is made again
    #[arg(long, value_name = "N", default_value_t = 2)]
    infra_retries: u32,
    /// Keep the folders that trials worked in
    #[arg(long)]
    keep_workspaces: bool,
    #[command(flatten)]
    judge: Judge,
    #[command(flatten)]
    recording: Recording,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What is to be run: a suite, what is asked of it, and the part that an earlier run has made.
struct Job {
    opened: Opened,
    request: Request,
    before: Option<RunRecord>,
    plan: Plan,
    rounds: Option<Rounds>,
}

/// Runs a suite.
pub fn run(global: &Global, args: &Eval) -> anyhow::Result<Exit> {
    let runs = Runs::of(global.store_if_any()?.as_ref())?;
    let mut job = prepare(global, args, &runs)?;
    if args.dry_run {
        return dry_run(args, &job, &runs);
    }
    if job.plan.order.is_empty() && job.before.is_none() {
        let why = "there is nothing to do: no task of the suite is meant";
        if args.json {
            out::json(&json!({"conclusion": "undecided", "why": why, "exit": Exit::Undecided.code()}))?;
        }
        eprintln!("holdback: {why}");
        return Ok(Exit::Undecided);
    }
    let in_rounds = job.rounds.is_some();
    let finished = match done_before(&mut job)? {
        Some(finished) => {
            eprintln!("holdback: run {} is finished: nothing is left to do", finished.record.id);
            finished
        }
        None => course::run(global, args, job)?,
    };
    tell(global, args, &finished, in_rounds)
}

/// Runs a suite without a word about how it came out.
pub fn measured(global: &Global, args: &Eval) -> anyhow::Result<Finished> {
    let job = prepare(global, args, &Runs::of(global.store_if_any()?.as_ref())?)?;
    course::run(global, args, job)
}

/// Runs a suite once, in a store of its own that is gone afterwards: to prove something, not to measure it.
pub fn apart(suite: &std::path::Path) -> anyhow::Result<RunRecord> {
    let folder = tempfile::tempdir()?;
    let words = ["holdback", "--store"].map(Into::into).into_iter();
    let words =
        words.chain([folder.path().join("store").into_os_string(), "eval".into(), "--quiet".into(), suite.into()]);
    let cli = <super::Cli as clap::Parser>::try_parse_from(words)?;
    match cli.command {
        super::Command::Eval(args) => Ok(measured(&cli.global, &args)?.record),
        _ => Err(anyhow::anyhow!("the command line of eval is not what it was")),
    }
}

fn prepare(global: &Global, args: &Eval, runs: &Runs) -> anyhow::Result<Job> {
    let asked = args.asked.asked();
    let mut opened = args.suite.as_deref().map(suite_file::open).transpose()?;
    let suite = opened.as_ref().map(|opened| opened.loaded.suite.suite.clone());
    let before = match &args.resume {
        None => None,
        Some(word) => {
            let head = to_resume(args, runs, word, suite.as_deref(), &asked)?;
            head.map(|head| runs.whole(head)).transpose()?
        }
    };
    let known = before.as_ref().map(|run| runs.request(&run.id).cloned().unwrap_or_else(|| guessed(run)));
    let mut opened = match opened.take() {
        Some(opened) => opened,
        None => match known.as_ref().filter(|known| !known.suite.as_os_str().is_empty()) {
            Some(known) => suite_file::open(&known.suite)?,
            None => suite_file::open(&suite_file::only_one()?)?,
        },
    };
    let mut request = match known {
        Some(known) if asked == Asked::default() || asked == known.asked => known,
        Some(_) => {
            let id = before.map(|run| run.id).unwrap_or_default();
            return Err(Misuse(format!(
                "run {id} was asked for something else: it goes on as it began, so leave out --model, --trials, --task \
                 and the like, or start a new run"
            ))
            .into());
        }
        None => Request { only: failing(runs, asked.failing.as_deref())?, asked, ..Request::default() },
    };
    request.suite.clone_from(&opened.path);
    request.budget = args.budget.or(request.budget);
    for tag in &args.tag {
        let (key, value) = super::record::parse_tag(tag)?;
        request.tags.insert(key, value);
    }
    apply(&mut opened, &request);
    let settled = before.as_ref().map(|_| request.until.take());
    let settled = args.until.settle(global, settled, &opened.loaded.suite, request.asked.trials)?;
    let (until, baseline) = settled.unzip();
    request.until = until;
    args.judge.apply_all(&mut opened.loaded)?;
    let target = suite_file::target_fingerprint(&opened, &request.asked.models)?;
    let prices = args.recording.table()?.fingerprint();
    let plan = Plan::new(&opened.loaded, &request.select(), &target, &prices)
        .map_err(|error| Misuse(format!("{}: {error}", opened.path.display())))?
        .with_files(&suite_file::files(&opened)?);
    if plan.variants.iter().any(|variant| variant.model.is_empty()) {
        return Err(Misuse("the suite names no model: say which with --model, or under models:".to_owned()).into());
    }
    if let Some(before) = before.as_ref().filter(|_| !args.allow_changed) {
        unchanged(&plan, before)?;
    }
    let rounds = request.until.as_ref().zip(baseline).map(|(until, baseline)| {
        let empty = empty_record(&opened.loaded, &plan, "");
        let seed = opened.loaded.suite.seed;
        Rounds::new(baseline, until.policy.clone(), until.rounds, &plan, &empty, seed)
    });
    let rounds = rounds.transpose().map_err(|error| Misuse(error.to_string()))?;
    Ok(Job { opened, request, before, plan, rounds })
}

/// Refuses to go on with a run that was begun with something else.
fn unchanged(plan: &Plan, before: &RunRecord) -> anyhow::Result<()> {
    let changed = plan.changed(before);
    if changed.is_empty() {
        return Ok(());
    }
    Err(Misuse(format!(
        "run {} can't be resumed, because this has changed since: {}. Start a new run, or say --allow-changed to mix them",
        before.id,
        changed.join("; ")
    ))
    .into())
}

/// The run to go on with; `None` when it has yet to begin.
fn to_resume<'a>(
    args: &Eval,
    runs: &'a Runs,
    word: &str,
    suite: Option<&str>,
    asked: &Asked,
) -> anyhow::Result<Option<&'a RunRecord>> {
    let shard = |run: &RunRecord| runs.request(&run.id).and_then(|request| request.asked.shard);
    let fits = |run: &RunRecord| {
        suite.is_none_or(|suite| run.suite == suite) && (asked.shard.is_none() || shard(run) == asked.shard)
    };
    let found = runs.find(word, fits)?;
    let begins = word == "last" || args.name.as_deref() == Some(word);
    match found {
        None if suite.is_some() && begins => Ok(None),
        None if suite.is_some() => Err(Misuse(format!("there is no run {word:?} of this suite to go on with")).into()),
        None => runs.get(word).map(Some),
        found => Ok(found),
    }
}

/// What must have been asked of a run whose request isn't there: one put together from others, say.
fn guessed(run: &RunRecord) -> Request {
    let mut models: Vec<String> = Vec::new();
    for variant in run.variants.iter().filter(|variant| !variant.model.ends_with("/own")) {
        if !models.contains(&variant.model) {
            models.push(variant.model.clone());
        }
    }
    let asked = Asked { models, tasks: run.tasks.clone(), trials: Some(run.trials_per_task), ..Asked::default() };
    Request { asked, ..Request::default() }
}

/// The tasks that failed in another run.
fn failing(runs: &Runs, word: Option<&str>) -> anyhow::Result<Option<Vec<String>>> {
    word.map(|word| Ok(failed_tasks(&runs.get_whole(word)?))).transpose()
}

/// Puts what the command line says in the place of what the suite says.
fn apply(opened: &mut Opened, request: &Request) {
    let suite = &mut opened.loaded.suite;
    suite.seed = request.asked.seed.unwrap_or(suite.seed);
    suite.budget.usd = request.budget.or(suite.budget.usd);
    if let (Target::Loop(target), Some(sandbox)) = (&mut suite.target, request.asked.sandbox) {
        target.sandbox = sandbox;
    }
}

/// A run of which nothing is left to do, as it ended.
fn done_before(job: &mut Job) -> anyhow::Result<Option<Finished>> {
    let Some(before) = job.before.as_ref().filter(|before| before.finished.is_some()) else { return Ok(None) };
    let decided = match &mut job.rounds {
        Some(rounds) => rounds.decided(&job.plan, &job.opened.loaded, before)?,
        None => None,
    };
    if decided.is_none() && !job.plan.open(&job.opened.loaded, before).is_empty() {
        return Ok(None);
    }
    let count = |outcome| before.trials.iter().filter(|trial| trial.outcome == outcome).count();
    let tally = Tally {
        planned: before.trials.len(),
        done: before.trials.len(),
        passed: count(Outcome::Pass),
        failed: count(Outcome::Fail),
        invalid: count(Outcome::Invalid),
        broken: before.trials.iter().filter(|trial| is_broken(trial)).count(),
        ..Tally::default()
    };
    Ok(Some(Finished { record: before.clone(), tally, end: End::Complete, decided }))
}

fn dry_run(args: &Eval, job: &Job, runs: &Runs) -> anyhow::Result<Exit> {
    let suite = &job.opened.loaded.suite;
    let earlier = runs.all.iter().rev().filter(|run| run.suite == suite.suite).take(5).map(|run| runs.whole(run));
    let earlier = earlier.collect::<anyhow::Result<Vec<RunRecord>>>()?;
    let estimate = estimate(&job.plan, &job.opened.loaded, &earlier, &args.recording.table()?);
    let open = match &job.before {
        Some(before) => job.plan.open(&job.opened.loaded, before).len(),
        None => job.plan.order.len(),
    };
    let exit = if job.plan.order.is_empty() { Exit::Undecided } else { Exit::Pass };
    let tasks: Vec<&str> = job.plan.tasks.iter().map(|task| suite.tasks[*task].id.as_str()).collect();
    if args.json {
        let models: Vec<&str> = job.plan.variants.iter().map(|variant| variant.name.as_str()).collect();
        out::json(&json!({
            "dry_run": true, "suite": suite.suite, "trials": job.plan.order.len(), "open": open, "tasks": tasks,
            "variants": models, "trials_per_task": job.plan.trials, "estimate": {"usd": estimate.usd,
            "seconds": estimate.seconds, "unknown": estimate.unknown, "because": estimate.because}
        }))?;
        return Ok(exit);
    }
    let mut text = format!("{}: {} trials of {} tasks\n", suite.suite, job.plan.order.len(), tasks.len());
    if open < job.plan.order.len() {
        text.push_str(&format!("{open} of them are still to be made\n"));
    }
    let mut table = out::table(&["task", "model", "trials"]);
    for (place, task) in job.plan.tasks.iter().zip(&tasks) {
        for (at, variant) in job.plan.variants.iter().enumerate() {
            let slots = job.plan.order.iter().filter(|slot| slot.task == *place && slot.variant == at).count();
            table.add_row([out::printable(task), out::printable(&variant.name), slots.to_string()]);
        }
    }
    text.push_str(&out::table_text(&table));
    text.push_str(&match estimate.usd {
        Some(usd) => format!("estimated cost: {}", out::dollars(Some(usd))),
        None => "estimated cost: unknown".to_owned(),
    });
    if estimate.unknown > 0 {
        text.push_str(&format!(", without {} trials ({})", estimate.unknown, estimate.because.join("; ")));
    }
    text.push('\n');
    if let Some(seconds) = estimate.seconds {
        let micros = seconds * 1e6 / args.jobs.max(1) as f64;
        text.push_str(&format!("estimated time: {}, {} at once\n", out::duration(micros as u64), args.jobs));
    }
    out::text(out::printable(&text))?;
    Ok(exit)
}

/// Says what a run came to.
fn tell(global: &Global, args: &Eval, finished: &Finished, in_rounds: bool) -> anyhow::Result<Exit> {
    let conclusion = conclude(finished, args.max_broken);
    let run = &finished.record;
    let verdict = if in_rounds { until::tell(global, finished, &conclusion)? } else { None };
    let (exit, word, why) = match &conclusion {
        _ if let Some(verdict) = verdict => verdict,
        Conclusion::Done => (Exit::Pass, "done", String::new()),
        Conclusion::TaskFailed(tasks) => {
            let shown: Vec<&str> = tasks.iter().take(5).map(String::as_str).collect();
            let more = if tasks.len() > 5 { ", …" } else { "" };
            let what = if tasks.len() == 1 { "task" } else { "tasks" };
            (Exit::Regression, "task_failed", format!("{} {what} failed: {}{more}", tasks.len(), shown.join(", ")))
        }
        Conclusion::Undecided(why) => (Exit::Undecided, "undecided", format!("undecided: {why}")),
        Conclusion::Broken(why) => (Exit::Infrastructure, "broken", format!("not valid: {why}")),
        Conclusion::Interrupted => (Exit::Child(130), "interrupted", "called off".to_owned()),
    };
    let summary = Summary::of(run);
    if args.json {
        let mut all = json!({"conclusion": word, "why": why, "exit": exit.code(), "summary": summary, "run": run});
        if let Some(decided) = &finished.decided {
            all["decided"] = until::json(decided)?;
        }
        out::json(&all)?;
    } else {
        let paint = global.paint();
        let mut text = if run.trials.is_empty() { String::new() } else { summary.text(paint, FAILURES) };
        let name = run.name.as_ref().map(|name| format!(" ({})", out::printable(name))).unwrap_or_default();
        let word = match exit {
            Exit::Pass => paint.good("done"),
            _ => paint.bad(&out::printable(&why)),
        };
        if let Some(decided) = &finished.decided {
            text.push_str(&until::text(decided));
        }
        text.push_str(&format!("\nrun {}{name}: {word}\n", paint.bold(&run.id)));
        out::text(text)?;
    }
    if finished.record.finished.is_none() {
        let store = match global.store.as_os_str() == ".holdback" {
            true => String::new(),
            false => format!(" --store {}", global.store.display()),
        };
        eprintln!("holdback: go on with: holdback eval{store} --resume {}", run.id);
    }
    Ok(exit)
}
