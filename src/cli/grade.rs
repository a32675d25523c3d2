//! `holdback grade`: grades the trials of a run again, with the graders a suite has now. Nothing is spent on loops, so what
//! moves is the measurement.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::judging::{self, Judge};
use super::recording::{Limits, Recording};
use super::runs::report::Summary;
use super::runs::stored::{REQUEST, Runs, keep_whole};
use super::{Exit, Global, Misuse, eval, out, suite_file};
use crate::capture::clock;
use crate::eval::{Judges, Moved, Plan, Regraded, Select, Stored, regrade, trial_id};
use crate::store::log::Store;
use crate::trial::{Outcome, RunRecord};

#[derive(Debug, Args)]
#[command(
    after_help = "The result is kept as a run of its own, so that the two can be compared; the old one stays as it is.\n\n\
                  Example: holdback grade last --suite suites/shop.yaml --dry-run"
)]
pub struct GradeArgs {
    /// The run: a name, an id, the beginning of one, or `last`
    run: String,
    /// The suite with the graders to use [default: the file the run was made from, as it is now]
    #[arg(long, value_name = "FILE")]
    suite: Option<PathBuf>,
    /// A name for the new run
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    judge: Judge,
    #[command(flatten)]
    recording: Recording,
    /// Only say what would move
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Grades a run again.
pub fn run(global: &Global, args: &GradeArgs) -> anyhow::Result<Exit> {
    let store = global.existing_store()?;
    let runs = Runs::read(store.reader()?)?;
    let old = &runs.get_whole(&args.run)?;
    let known = runs.request(&old.id).map(|request| request.suite.clone()).filter(|path| !path.as_os_str().is_empty());
    let path = args.suite.clone().or(known).ok_or_else(|| {
        Misuse(format!("nobody knows any more which file run {} was made from: name it with --suite", old.id))
    })?;
    let mut opened = suite_file::open(&path)?;
    args.judge.apply_all(&mut opened.loaded)?;
    let wanted: HashMap<&str, usize> = (0..).zip(&old.trials).map(|(at, trial)| (trial.id.as_str(), at)).collect();
    let mut stored: Vec<Stored> =
        old.trials.iter().map(|trial| Stored { trial: trial.clone(), evidence: None }).collect();
    let mut kept = Vec::new();
    let ids: HashSet<&str> = wanted.keys().copied().collect();
    for record in runs.reader().map(|reader| reader.records_named("evidence", &ids)).transpose()?.unwrap_or_default() {
        if let Some(at) = wanted.get(record.id.as_str()) {
            stored[*at].evidence = serde_json::from_value(record.data.clone()).ok();
            kept.push((*at, record.data));
        }
    }
    let mut regraded = again(&store, args, &opened, stored)?;
    let plan = Plan::new(&opened.loaded, &Select::default(), "", "").map_err(|error| Misuse(error.to_string()))?;
    let plan = plan.with_files(&suite_file::files(&opened)?);
    let mut new = RunRecord { id: eval::new_id(), name: args.name.clone(), ..old.clone() };
    (new.fingerprints.graders, new.fingerprints.judge) = (plan.fingerprints.graders, plan.fingerprints.judge);
    new.trials = std::mem::take(&mut regraded.trials);
    let renamed: HashMap<String, String> = new
        .trials
        .iter()
        .map(|trial| (trial.id.clone(), trial_id(&new.id, &trial.task, &trial.variant, trial.attempt)))
        .collect();
    for trial in &mut new.trials {
        trial.run.clone_from(&new.id);
        trial.copy_of = trial.copy_of.as_ref().and_then(|copied| renamed.get(copied).cloned());
        if let Some(id) = renamed.get(&trial.id) {
            trial.id.clone_from(id);
        }
    }
    if !args.dry_run {
        let (mut writer, now) = (store.writer()?, clock::now());
        for (at, mut evidence) in kept {
            let known = &old.trials[at].id;
            if let Some(id) = renamed.get(known) {
                // What the judges say now stands in the place of what they said then.
                if let Some(now) = regraded.evidence.get(known) {
                    evidence["got"] = serde_json::to_value(&now.got)?;
                }
                writer.record("evidence", id, now, &evidence)?;
            }
        }
        let mut request = runs.request(&old.id).cloned().unwrap_or_default();
        request.suite = opened.path;
        writer.record(REQUEST, &new.id, now, &serde_json::to_value(&request)?)?;
        keep_whole(&mut writer, &new, now)?;
    }
    tell(global, args, old, &new, &regraded)
}

/// Grades with the graders of now; where rubrics are among them, judges are asked, and what they say is recorded.
fn again(
    store: &Store,
    args: &GradeArgs,
    opened: &suite_file::Opened,
    stored: Vec<Stored>,
) -> anyhow::Result<Regraded> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (loaded, dir) = (&opened.loaded, &opened.dir);
    if loaded.rubrics.is_empty() {
        return Ok(runtime.block_on(regrade(loaded, dir, stored, None)).map_err(Misuse)?);
    }
    let judging = args.judge.judging(loaded.rubrics.values(), Some(&store.reader()?))?;
    let settings = args.recording.settings(store, Limits::default())?;
    let judges = Judges::new(judging, settings.proxy.redactor.clone());
    let regraded = runtime.block_on(async {
        let proxy = judging::proxy(settings.proxy, store).await?;
        let regraded = regrade(loaded, dir, stored, Some((&proxy, &judges))).await.map_err(Misuse);
        proxy.stop(Duration::from_secs(2)).await;
        anyhow::Ok(regraded?)
    })?;
    judging::keep(&mut store.writer()?, &judges.take_fresh(), clock::now())?;
    Ok(regraded)
}

fn tell(
    global: &Global,
    args: &GradeArgs,
    old: &RunRecord,
    new: &RunRecord,
    regraded: &Regraded,
) -> anyhow::Result<Exit> {
    let passed = |run: &RunRecord| run.trials.iter().filter(|trial| trial.outcome == Outcome::Pass).count();
    let kept = (!args.dry_run).then_some(&new.id);
    if args.json {
        let moved: Vec<_> = regraded
            .moved
            .iter()
            .map(|moved| {
                json!({"task": moved.task, "variant": moved.variant, "attempt": moved.attempt, "before": moved.before,
                    "after": moved.after, "why": moved.why})
            })
            .collect();
        out::json(&json!({"run": old.id, "regraded": kept, "trials": new.trials.len(), "passed_before": passed(old),
            "passed": passed(new), "moved": moved, "changed_graders": regraded.changed_graders,
            "left": regraded.left, "summary": Summary::of(new)}))?;
        return Ok(Exit::Pass);
    }
    let mut text = format!("run {}: {} of {} trials passed, ", old.id, passed(old), old.trials.len());
    text.push_str(&format!("{} pass now; the loops did not run again\n", passed(new)));
    text.push_str(&match regraded.changed_graders.as_slice() {
        [] => "no grader has changed\n".to_owned(),
        changed => format!("changed graders: {}\n", changed.join(", ")),
    });
    for Moved { task, variant, attempt, before, after, why } in &regraded.moved {
        let why = why.as_ref().map(|why| format!(": {}", out::printable(&out::shorten(why, 200)))).unwrap_or_default();
        text.push_str(&format!("  {task} {variant} #{attempt} {} -> {}{why}\n", word(*before), word(*after)));
    }
    text.push_str(&match regraded.moved.len() {
        0 => "the measurement moved no trial\n".to_owned(),
        count => format!("the measurement alone moved {count} of {} trials\n", new.trials.len()),
    });
    for left in regraded.left.iter().take(20) {
        text.push_str(&format!("  left as it was: {left}\n"));
    }
    if let Some(id) = kept {
        text.push_str(&format!("kept as run {}\n", global.paint().bold(id)));
    }
    out::text(text)?;
    Ok(Exit::Pass)
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Invalid => "broken",
    }
}
