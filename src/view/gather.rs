//! What a report is made of, from the index and the log.

use std::collections::BTreeMap;

use super::Error;
use super::conversation;
use crate::capture::clock;
use crate::eval::samples;
use crate::gate::{Arm, FORMAT, GateReport, Outcomes, Policy, TaskTrials, decide_all, judges};
use crate::report::overview::{Calibrated, Chosen, Hearsay, Held, Label, Material, Overview, Transcript, wanted};
use crate::store::index::{Index, RunOutcomes};
use crate::store::log::Reader;
use crate::trace::TraceId;
use crate::trial::{Fingerprints, Outcome, RunRecord};

/// Earlier runs of a suite that are read for its history.
const HISTORY: u32 = 40;

/// What a report is asked to be about.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Runs, or variants of runs after a colon.
    pub runs: Vec<String>,
    /// The same, or nothing.
    pub baselines: Vec<String>,
    pub title: String,
}

/// The policy for an arm.
pub type PolicyFor<'a> = &'a dyn Fn(&Arm) -> Policy;

/// A report of what is wanted, with the runs in it.
///
/// # Errors
/// When a run isn't there, the store can't be read, or the runs can't be compared.
pub fn overview(
    index: &Index,
    reader: &Reader,
    wanted: &Wanted,
    policy: Option<PolicyFor<'_>>,
) -> Result<(Overview, Vec<Chosen>), Error> {
    let runs = wanted.runs.iter().map(|word| chosen(index, word)).collect::<Result<Vec<_>, _>>()?;
    let mut baselines = Vec::new();
    for word in &wanted.baselines {
        baselines.extend(held(index, word)?);
    }
    let history = history(index, &runs)?;
    let hearsay = hearsay(reader, &runs, &baselines)?;
    let gate = policy.map(|policy| gate(&baselines, &runs, &hearsay, policy)).transpose()?.flatten();
    let overview =
        put_together(reader, &wanted.title, Read { runs: &runs, baselines: &baselines, gate, hearsay, history });
    Ok((overview, runs))
}

/// What is known of the judges of these runs, where any judge had a part.
///
/// # Errors
/// When the log can't be read.
pub fn hearsay(reader: &Reader, runs: &[Chosen], baselines: &[Held]) -> Result<Hearsay, Error> {
    let held = baselines.iter().map(|held| &held.arm);
    let mut arms = held.chain(runs.iter().flat_map(|chosen| &chosen.arms));
    if arms.all(|arm| arm.judged.is_empty()) {
        return Ok(Hearsay::default());
    }
    let calibrations = samples::calibrations(reader)?.into_iter().map(|(fingerprint, one)| {
        let (rubric, judges, whole, criteria) = (one.rubric, one.judges, one.whole, one.criteria);
        (fingerprint, Calibrated { rubric, judges, whole, criteria, valid: one.valid, why: one.why })
    });
    let labels = samples::all_labels(reader)?.into_iter().map(|label| Label {
        // The first versions did not keep what a word means; for these two nobody has to ask.
        passes: label.passes.or(match label.word.as_str() {
            Some("yes") => Some(true),
            Some("no") => Some(false),
            _ => None,
        }),
        trial: label.trial,
        rubric: label.rubric,
        criterion: label.criterion,
    });
    Ok(Hearsay { calibrations: calibrations.collect(), labels: labels.collect() })
}

/// Takes the word of judges that may only inform out of a run: what its trials count as without them.
///
/// # Errors
/// When a variant has no trial left to count.
pub fn without_hearsay(chosen: &mut Chosen, hearsay: &Hearsay) -> Result<(), Error> {
    let (run, labels) = judges::without(&chosen.run, &|fingerprint| hearsay.is_valid(fingerprint));
    if !labels.is_empty() {
        for arm in &mut chosen.arms {
            *arm = Arm::from_run(&run, Some(&arm.variant))?;
        }
        chosen.run = run;
    }
    Ok(())
}

/// What was read for a report.
#[derive(Debug)]
pub struct Read<'a> {
    pub runs: &'a [Chosen],
    pub baselines: &'a [Held],
    pub gate: Option<GateReport>,
    pub hearsay: Hearsay,
    pub history: Vec<Arm>,
}

/// `RUN:VARIANT`, taken apart. Names of variants may hold colons, names of runs may not.
pub fn split(word: &str) -> (&str, Option<&str>) {
    word.split_once(':').map_or((word, None), |(run, variant)| (run, Some(variant)))
}

fn arms_in(run: &RunRecord, variant: Option<&str>) -> Result<Vec<Arm>, Error> {
    Ok(match variant {
        Some(name) => vec![Arm::from_run(run, Some(name))?],
        None => run.variants.iter().map(|v| Arm::from_run(run, Some(&v.name))).collect::<Result<_, _>>()?,
    })
}

/// A run and the variants of it that a word means.
///
/// # Errors
/// When there is no such run or variant.
pub fn chosen(index: &Index, word: &str) -> Result<Chosen, Error> {
    let (name, variant) = split(word);
    let run = index.load_run(name)?;
    Ok(Chosen { arms: arms_in(&run, variant)?, run })
}

/// The same as baselines.
///
/// # Errors
/// As [`chosen`].
pub fn held(index: &Index, word: &str) -> Result<Vec<Held>, Error> {
    let Chosen { run, arms } = chosen(index, word)?;
    Ok(arms.into_iter().map(|arm| Held { arm, run: Some(run.clone()) }).collect())
}

/// Earlier runs of the suites of these.
///
/// # Errors
/// When the index can't answer.
pub fn history(index: &Index, runs: &[Chosen]) -> Result<Vec<Arm>, Error> {
    let mut suites: Vec<&str> = Vec::new();
    let mut history = Vec::new();
    for run in runs {
        if !suites.contains(&run.run.suite.as_str()) {
            suites.push(&run.run.suite);
            history.extend(arms_of(&run.run.suite, index.run_outcomes(&run.run.suite, HISTORY)?));
        }
    }
    Ok(history)
}

/// The verdict on every arm: against the baseline of its suite and variant, or the only one of its suite.
///
/// # Errors
/// When an arm has no baseline, or several and none of its name, or two can't be compared.
pub fn gate(
    baselines: &[Held],
    runs: &[Chosen],
    hearsay: &Hearsay,
    policy: PolicyFor<'_>,
) -> Result<Option<GateReport>, Error> {
    if baselines.is_empty() {
        return Ok(None);
    }
    let mut asked: Vec<(&Arm, &Arm, Policy)> = Vec::new();
    for arm in runs.iter().flat_map(|chosen| &chosen.arms) {
        let of_suite: Vec<&Arm> =
            baselines.iter().map(|held| &held.arm).filter(|held| held.suite == arm.suite).collect();
        let same = of_suite.iter().find(|held| held.variant == arm.variant).copied();
        let baseline: &Arm = match (same, of_suite.as_slice()) {
            (Some(same), _) => same,
            (None, [only]) => only,
            (None, []) => return Err(Error::Asked(format!("there is no baseline for suite {:?}", arm.suite))),
            (None, many) => {
                let names: Vec<&str> = many.iter().map(|held| held.variant.as_str()).collect();
                let (names, variant) = (names.join(", "), &arm.variant);
                let words = format!("the baseline has several variants ({names}), none of them {variant}: name one");
                return Err(Error::Asked(words));
            }
        };
        asked.push((baseline, arm, policy(arm)));
    }
    let asked: Vec<(&Arm, &Arm, &Policy)> = asked.iter().map(|(b, c, policy)| (*b, *c, policy)).collect();
    let mut report = decide_all(&asked)?;
    for (report, (baseline, candidate, policy)) in report.suites.iter_mut().zip(&asked) {
        let known = |fingerprint: &str| hearsay.known(fingerprint);
        report.judges = judges::rows(&baseline.judged, &candidate.judged, policy.judges, &known);
    }
    Ok(Some(report))
}

/// The report, with the conversations that explain its failures.
pub fn put_together(reader: &Reader, title: &str, read: Read<'_>) -> Overview {
    let Read { runs, baselines, gate, hearsay, history } = read;
    let mut suites: Vec<&str> = runs.iter().map(|chosen| chosen.run.suite.as_str()).collect();
    suites.dedup();
    let title = if title.is_empty() { suites.join(", ") } else { title.to_owned() };
    let (made, history, transcripts) = (clock::now(), history.as_slice(), Vec::new());
    let mut material = Material { title, made, runs, baselines, gate, history, hearsay, transcripts };
    let traces = wanted(&material);
    material.transcripts = traces.into_iter().filter_map(|trace| Some((trace, transcript(reader, trace)?))).collect();
    Overview::of(material)
}

/// Arms of outcomes alone, for the history.
fn arms_of(suite: &str, rows: Vec<RunOutcomes>) -> Vec<Arm> {
    let mut arms: BTreeMap<(String, String), Arm> = BTreeMap::new();
    for row in rows {
        let arm = arms.entry((row.run_id.clone(), row.variant.clone())).or_insert_with(|| Arm {
            format: FORMAT.to_owned(),
            suite: suite.to_owned(),
            kind: row.kind,
            run: row.run_id,
            variant: row.variant,
            model: row.model,
            variant_fingerprint: row.fingerprint,
            started: row.started_at,
            trials_per_task: row.trials_per_task.unsigned_abs(),
            fingerprints: Fingerprints::default(),
            git_commit: row.git_commit,
            holdback: String::new(),
            tasks: BTreeMap::new(),
            judged: Vec::new(),
        });
        let outcome = |letter| match letter {
            'p' => Outcome::Pass,
            'f' => Outcome::Fail,
            _ => Outcome::Invalid,
        };
        let outcomes = Outcomes(row.letters.chars().map(outcome).collect());
        arm.tasks.insert(row.task, TaskTrials { outcomes, ..TaskTrials::default() });
    }
    let mut arms: Vec<Arm> = arms.into_values().collect();
    arms.sort_by_key(|arm| arm.started);
    arms
}

/// A trace as a conversation to be read; `None` when it is gone.
pub fn transcript(reader: &Reader, trace: TraceId) -> Option<Transcript> {
    let conversation = conversation::read(reader, trace).ok()?;
    let mut transcript = Transcript::default();
    for call in &conversation.calls {
        call.new_messages.iter().chain(&call.answer).for_each(|message| transcript.add(message));
        if let Some(error) = &call.error {
            transcript.fail(error);
        }
    }
    Some(transcript)
}
