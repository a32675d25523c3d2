//! `holdback judge calibrate`: a judge held against people's labels.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use comfy_table::CellAlignment;
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::json;

use super::label;
use crate::capture::{Proxy, clock};
use crate::cli::judging::{self, Judge};
use crate::cli::recording::{Limits, Recording};
use crate::cli::runs::stored::Runs;
use crate::cli::{Exit, Global, Misuse, out};
use crate::eval::{CalibrationReport, Figure, Held, Judges, Labelled, Probe, Sitting, measure, samples};
use crate::gate::judges::{self, JudgedRate};
use crate::grade::Evidence;
use crate::grade::rubric::Labels;
use crate::stats::Interval;
use crate::stats::ppi::Sample;
use crate::store::log::Reader;
use crate::suite::Rubric;
use crate::trial::{Outcome, RunRecord};

/// What pads an answer: true of anything, and evidence of nothing.
const PADDING: &str = "\n\nThank you for the task. I have put care into every part of it and I am glad to go into more detail \
     on any point you would like to hear more about. As always, please let me know if there is anything else.";

#[derive(Debug, Args)]
#[command(
    after_help = "Labels come from a file, or from what was labelled in this store. The calibration is kept under the \
                  fingerprint of rubric and judge: another judge, or another word in the rubric, needs a new one. With --run, \
                  pass rates of that run are shown raw and corrected.\n\nExits with 0 when gates may count on the judge, 1 when \
                  they may not, 3 when nothing was labelled.\n\nExample: holdback judge calibrate rubrics/honesty.yaml \
                  --labels labels/honesty.json --run last"
)]
pub struct Calibrate {
    /// The rubric's file
    rubric: PathBuf,
    /// Labels, as `holdback judge labels --export` writes them [default: the labels in the store]
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Show this run's pass rates raw and corrected
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// How often each judge is asked the same, to see whether it changes its mind
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeats: u32,
    /// Leave out the probes: opposite order, padded answer, no answer
    #[arg(long)]
    no_probes: bool,
    #[command(flatten)]
    judge: Judge,
    #[command(flatten)]
    recording: Recording,
    /// Also write the calibration to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Measures a judge.
pub fn run(global: &Global, args: &Calibrate) -> anyhow::Result<Exit> {
    let mut rubric = judging::open_rubric(&args.rubric)?;
    args.judge.apply(&mut rubric);
    judging::must_have_judge(&args.rubric.display().to_string(), &rubric)?;
    let store = global.store()?;
    let reader = store.reader()?;
    let labels = match &args.labels {
        Some(path) => label::read_file(path, &rubric)?,
        None => label::as_file(&reader, &rubric)?,
    };
    let mut items = items(&reader, &rubric, &labels)?;
    if items.is_empty() {
        let why = "nothing is labelled by this rubric as it is now: holdback judge label RUN, or --labels FILE";
        eprintln!("holdback: {why}");
        return Ok(Exit::Undecided);
    }
    let settings = args.recording.settings(&store, Limits::default())?;
    let asked = Judges::new(args.judge.judging([&rubric], Some(&reader))?, settings.proxy.redactor.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let proxy = judging::proxy(settings.proxy, &store).await?;
        read_all(&proxy, &asked, &rubric, args, &mut items).await;
        proxy.stop(Duration::from_secs(2)).await;
        anyhow::Ok(())
    })?;
    let mut writer = store.writer()?;
    judging::keep(&mut writer, &asked.take_fresh(), clock::now())?;
    let labelled: Vec<Labelled> = items.into_iter().map(|(labelled, _)| labelled).collect();
    let report = measure(&rubric, &labelled);
    samples::keep_calibration(&mut writer, &report.kept, clock::now())?;
    if let Some(path) = &args.out {
        let text = serde_json::to_string_pretty(&report.kept)? + "\n";
        out::publish(path, |file| Ok(std::io::Write::write_all(file, text.as_bytes())?))?;
    }
    let rates = match &args.run {
        Some(word) => {
            let runs = Runs::read(store.reader()?)?;
            rates(&reader, &runs.whole(runs.get(word)?)?, &rubric, &report)?
        }
        None => Vec::new(),
    };
    if args.json {
        out::json(&json!({"calibration": report.kept, "whole": report.whole, "criteria": report.criteria,
            "probes": report.probes, "rates": rates}))?;
    } else {
        out::text(out::printable(&worded(&report, &rates)))?;
    }
    Ok(if report.kept.valid { Exit::Pass } else { Exit::Regression })
}

/// The labelled items with their evidence.
fn items(reader: &Reader, rubric: &Rubric, labels: &Labels) -> anyhow::Result<Vec<(Labelled, Evidence)>> {
    let untold = labels.items.iter().filter(|item| item.told.is_none());
    let stored = samples::evidence(reader, &untold.filter_map(|item| item.trial.as_deref()).collect())?;
    let mut items = Vec::new();
    for (at, item) in labels.items.iter().enumerate() {
        let id = if item.id.is_empty() { format!("item {}", at + 1) } else { item.id.clone() };
        let evidence = match (&item.told, item.trial.as_ref().and_then(|trial| stored.get(trial))) {
            (Some(told), _) => told.evidence(&id),
            (None, Some(evidence)) => evidence.clone(),
            (None, None) => return Err(Misuse(format!("{id}: its trial is not in this store")).into()),
        };
        let human =
            item.labels.iter().filter_map(|(id, word)| Some((id.clone(), rubric.criterion(id)?.level(word)))).collect();
        let length = evidence.answer.chars().count();
        items.push((Labelled { id, human, length, ..Labelled::default() }, evidence));
    }
    Ok(items)
}

/// Puts everything to the judge, in all the ways there are.
async fn read_all(
    proxy: &Proxy,
    judges: &Judges,
    rubric: &Rubric,
    args: &Calibrate,
    items: &mut [(Labelled, Evidence)],
) {
    let dir = args.rubric.parent().unwrap_or(Path::new("."));
    let mut often = rubric.clone();
    (often.judge.repeats, often.judge.cascade) = (args.repeats.max(2), None);
    let often = &often;
    let tags = [("calibration".to_owned(), rubric.rubric.clone())];
    let tags = &tags;
    let read = |rubric: &'static str, evidence: Evidence, swapped: bool, by: Rubric| async move {
        let sitting = Sitting { rubric: &by, dir, evidence: &evidence, name: rubric, tags, swapped };
        judges.read(proxy, sitting).await
    };
    let one = |evidence: Evidence| async move {
        let mut padded = evidence.clone();
        padded.answer.push_str(PADDING);
        let mut emptied = evidence.clone();
        (emptied.answer, emptied.steps, emptied.files) = Default::default();
        let base = read("calibrate", evidence.clone(), false, rubric.clone()).await;
        let repeated = match args.repeats > 1 {
            true => Some(read("calibrate: asked again", evidence.clone(), false, often.clone()).await),
            false => None,
        };
        if args.no_probes {
            return (base, repeated, None, None, None);
        }
        let swapped = read("calibrate: opposite order", evidence, true, rubric.clone()).await;
        let padded = read("calibrate: padded", padded, false, rubric.clone()).await;
        let emptied = read("calibrate: no answer", emptied, false, rubric.clone()).await;
        (base, repeated, Some(swapped), Some(padded), Some(emptied))
    };
    let all = join_all(items.iter().map(|(_, evidence)| one(evidence.clone()))).await;
    for ((labelled, _), (base, repeated, swapped, padded, emptied)) in items.iter_mut().zip(all) {
        labelled.read = Some(base);
        (labelled.repeated, labelled.swapped, labelled.padded, labelled.emptied) = (repeated, swapped, padded, emptied);
    }
}

/// A pass rate of a run: raw, corrected, and by labels and judge together.
#[derive(Debug, Serialize)]
struct Rate {
    variant: String,
    #[serde(flatten)]
    judged: JudgedRate,
    /// Prediction-powered inference over tasks, where some have labels.
    ppi: Option<(f64, Interval)>,
}

fn rates(reader: &Reader, run: &RunRecord, rubric: &Rubric, report: &CalibrationReport) -> anyhow::Result<Vec<Rate>> {
    let mut people: HashMap<(String, String), bool> = HashMap::new();
    for label in samples::labels(reader, rubric)?.into_iter().filter(|label| label.run == run.id) {
        let Some(criterion) = rubric.criterion(&label.criterion) else { continue };
        if let Some(level) = criterion.level(&label.word) {
            people.insert((label.trial, label.criterion), level >= criterion.pass_at());
        }
    }
    let mut rates = Vec::new();
    for variant in &run.variants {
        for judged in judges::judged(run, &variant.name) {
            if judged.fingerprint != report.kept.fingerprint {
                continue;
            }
            let calibration = match &judged.criterion {
                Some(criterion) => report.kept.criteria.get(criterion),
                None => Some(&report.kept.whole),
            };
            let ppi = judged.criterion.as_ref().and_then(|id| powered(run, &variant.name, &judged.grader, id, &people));
            if let Some(rate) = judges::rate(&judged, calibration) {
                rates.push(Rate { variant: variant.name.clone(), judged: rate, ppi });
            }
        }
    }
    Ok(rates)
}

/// A criterion's pass rate over tasks from labels and verdicts together: tasks all of whose judged trials are labelled say how
/// the judge errs, and the others say the rest.
fn powered(
    run: &RunRecord,
    variant: &str,
    grader: &str,
    criterion: &str,
    people: &HashMap<(String, String), bool>,
) -> Option<(f64, Interval)> {
    let (mut human, mut judge, mut judge_only) = (Vec::new(), Vec::new(), Vec::new());
    for task in &run.tasks {
        let own =
            run.trials.iter().filter(|t| t.task == *task && t.variant == variant && t.outcome != Outcome::Invalid);
        let verdicts: Vec<(bool, Option<bool>)> = own
            .filter_map(|trial| {
                let grade = trial.grades.iter().find(|grade| grade.label == grader)?.grade.pass()?;
                Some((grade, people.get(&(trial.id.clone(), criterion.to_owned())).copied()))
            })
            .collect();
        if verdicts.is_empty() {
            continue;
        }
        let share = |passes: Vec<bool>| passes.iter().filter(|pass| **pass).count() as f64 / passes.len() as f64;
        let judged = share(verdicts.iter().map(|(pass, _)| *pass).collect());
        match verdicts.iter().map(|(_, human)| *human).collect::<Option<Vec<bool>>>() {
            Some(labels) => {
                human.push(share(labels));
                judge.push(judged);
            }
            None => judge_only.push(judged),
        }
    }
    let sample = Sample { human: &human, judge: &judge, judge_only: &judge_only };
    sample.mover_gaffke(None, 0.05).ok().map(|powered| (powered.point, powered.interval))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn share(share: Option<(f64, Interval)>) -> String {
    share.map_or_else(|| "-".to_owned(), |(value, interval)| ranged(value, Some(interval)))
}

fn ranged(value: f64, interval: Option<Interval>) -> String {
    match interval {
        Some(Interval { lower, upper }) => format!("{value:.2} [{lower:.2}, {upper:.2}]"),
        None => format!("{value:.2}"),
    }
}

fn figure(figure: Option<Figure>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| ranged(figure.value, figure.interval))
}

fn worded(report: &CalibrationReport, rates: &[Rate]) -> String {
    let kept = &report.kept;
    let mut text =
        format!("rubric {}, judged by {}: {} labelled items\n\n", kept.rubric, kept.judges.join(", "), kept.items);
    let all: Vec<&Held> = report.criteria.iter().chain([&report.whole]).collect();
    let name = |held: &Held| if held.criterion.is_empty() { "as a whole".to_owned() } else { held.criterion.clone() };
    let mut table =
        out::table(&["criterion", "items", "both pass", "too strict", "too lenient", "both fail", "unknown", "broken"]);
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    for held in &all {
        let c = held.confusion;
        let counts = [c.both_pass, c.judge_too_strict, c.judge_too_lenient, c.both_fail, c.unknown, c.broken];
        table.add_row([name(held), held.items.to_string()].into_iter().chain(counts.map(|count| count.to_string())));
    }
    text.push_str(&out::table_text(&table));
    let mut table = out::table(&["criterion", "agrees", "sensitivity", "specificity", "kappa", "ac1", "alpha"]);
    for held in &all {
        let agreement = &held.agreement;
        table.add_row([
            name(held),
            agreement.observed.map_or_else(|| "-".to_owned(), percent),
            share(held.sensitivity),
            share(held.specificity),
            figure(agreement.cohen),
            figure(agreement.ac1),
            figure(agreement.alpha),
        ]);
    }
    let _ = write!(
        text,
        "\n{}(sensitivity: of what people pass; specificity: of what people fail; 95 % intervals)\n",
        out::table_text(&table)
    );
    put_errors(&mut text, &report.criteria);
    put_probes(&mut text, &report.probes);
    put_rates(&mut text, rates);
    text.push_str(&match kept.valid {
        true => format!("\nvalid: gates may count on this judge for rubric {} ({})\n", kept.rubric, kept.fingerprint),
        false => format!("\nnot valid: this judge may inform, not block: {}\n", kept.why),
    });
    text
}

fn put_errors(text: &mut String, criteria: &[Held]) {
    let mut first = true;
    for held in criteria {
        for wrong in held.wrong.iter().take(5) {
            if std::mem::take(&mut first) {
                text.push_str("\nwhere judge and people differ:\n");
            }
            let people = if wrong.human_passes { "people pass it" } else { "people fail it" };
            let _ = writeln!(
                text,
                "  {} of {}: {people}; the judge says {}",
                held.criterion,
                wrong.item,
                out::shorten(&wrong.says, 160)
            );
        }
        if let Some(more) = held.wrong.len().checked_sub(5).filter(|more| *more > 0) {
            let _ = writeln!(text, "  {}: {more} more", held.criterion);
        }
    }
}

fn put_probes(text: &mut String, probes: &[Probe]) {
    if !probes.is_empty() {
        text.push_str("\nwhat should not change a verdict:\n");
    }
    for probe in probes {
        let pulled = match (probe.p, probe.changed) {
            (Some(p), changed) if changed > 0 => format!(", {} of them upwards (p = {p:.3})", probe.pulled),
            _ => String::new(),
        };
        let _ = writeln!(text, "  {}: {} of {} verdicts changed{pulled}", probe.name, probe.changed, probe.verdicts);
    }
}

fn put_rates(text: &mut String, rates: &[Rate]) {
    if rates.is_empty() {
        return;
    }
    let mut table = out::table(&["pass rate of", "model", "trials", "raw", "corrected", "with labels (ppi)"]);
    for rate in rates {
        let corrected = match (rate.judged.corrected, &rate.judged.why) {
            (Some(value), _) => ranged(value, rate.judged.interval),
            (None, why) => why.clone().unwrap_or_else(|| "-".to_owned()),
        };
        table.add_row([
            rate.judged.grader.clone(),
            rate.variant.clone(),
            rate.judged.trials.to_string(),
            format!("{:.2}", rate.judged.raw),
            corrected,
            rate.ppi.map_or_else(|| "-".to_owned(), |(value, interval)| ranged(value, Some(interval))),
        ]);
    }
    let _ = write!(text, "\n{}", out::table_text(&table));
}
