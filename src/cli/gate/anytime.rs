//! `holdback gate --anytime`: evidence that grows from rerun to rerun. Each gate adds what its run brought to what earlier gates
//! of the same question left in the store, so that rerunning until it is green buys nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;

use anyhow::Context;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::super::arms::Arms;
use super::super::{Exit, Global, Misuse, out};
use super::{Gate, Undecided, exit, policy_of};
use crate::capture::clock;
use crate::gate::{AnytimeState, Arm, Policy, Verdict, anytime};
use crate::report;
use crate::suite::hash_hex;
use crate::trace::Timestamp;

/// The kind of record that evidence is kept as.
const KIND: &str = "evidence-so-far";

/// Adding to what is known instead of asking anew.
#[derive(Debug, Args)]
pub struct AnytimeArgs {
    /// Add this run to the evidence of earlier ones, kept in the store: reruns are then safe, at the price of more trials
    #[arg(long, conflicts_with_all = ["junit", "sarif", "markdown", "github", "suite_file", "bound"])]
    pub anytime: bool,
}

/// All that is known of one question: is this variant of the loop as good as that one?
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Series {
    suite: String,
    baseline: String,
    candidate: String,
    state: AnytimeState,
    /// Blocks of each baseline run that were used: its luck counts once.
    used: BTreeMap<String, u32>,
    /// Every gate that added something.
    gates: Vec<Step>,
    /// Once it is decided it stays so: what comes later is exploratory.
    decided: Option<Verdict>,
}

/// What one gate added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Step {
    at: Timestamp,
    run: String,
    baseline_run: String,
    fresh_units: u32,
    /// ln E after it.
    log_e_pass: f64,
    log_e_regress: f64,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    verdict: Verdict,
    why: &'a str,
    /// This gate added nothing, because its run was counted before or the question was decided before.
    counted_before: bool,
    fresh_units: u32,
    /// E decides at this.
    needed: f64,
    evidence_pass: f64,
    evidence_regress: f64,
    policy_hash: &'a str,
    series: &'a Series,
}

/// Adds the run to what is known, keeps that, and exits with the answer so far.
pub fn run(global: &Global, args: &Gate) -> anyhow::Result<Exit> {
    let ([baseline], [candidate]) = (args.baseline.as_slice(), args.candidate.as_slice()) else {
        return Err(Misuse(
            "--anytime adds to the evidence of one suite: give one baseline and one candidate".to_owned(),
        )
        .into());
    };
    let mut arms = Arms::new(global);
    let (baseline, candidate) = (arms.one(baseline)?, arms.finished(candidate)?);
    let policy = policy_of(args, &candidate)?;
    let store = global.store()?;
    let lock = store.dir().join("evidence.lock");
    let _alone = {
        // Two gates at once would each add to what was before, and the one that writes last would forget the other.
        let file = File::create(&lock).with_context(|| format!("making {}", lock.display()))?;
        file.lock().with_context(|| format!("locking {}", lock.display()))?;
        file
    };
    let id = name_of(&baseline, &candidate, &policy);
    let mut series = match store.reader()?.record(KIND, &id)? {
        Some(record) => {
            serde_json::from_value(record.data).with_context(|| format!("the evidence kept as {id} can't be read"))?
        }
        None => Series {
            suite: candidate.suite.clone(),
            baseline: baseline.variant.clone(),
            candidate: candidate.variant.clone(),
            ..Series::default()
        },
    };
    let shown = add(&mut series, &baseline, &candidate, &policy)?;
    if shown.added {
        store.writer()?.record(KIND, &id, clock::now(), &serde_json::to_value(&series)?)?;
    }
    tell(args, &shown, &series, &policy)?;
    Ok(exit(shown.verdict, args.undecided, args.bisect))
}

/// The answer after this gate.
struct Answer {
    verdict: Verdict,
    why: String,
    added: bool,
    fresh_units: u32,
    needed: f64,
}

fn add(series: &mut Series, baseline: &Arm, candidate: &Arm, policy: &Policy) -> anyhow::Result<Answer> {
    let needed = 1.0 / policy.alpha;
    let same = |why: String, verdict| Answer { verdict, why, added: false, fresh_units: 0, needed };
    let run = format!("{}:{}", candidate.run, candidate.variant);
    if let Some(verdict) = series.decided {
        let by = series.gates.last().map(|step| step.run.clone()).unwrap_or_default();
        let why = format!("decided with run {by}; what comes after a decision is exploratory and is not added");
        return Ok(same(why, verdict));
    }
    if series.gates.iter().any(|step| step.run == run) {
        let why = format!("the trials of run {} were counted before: make new ones", candidate.run);
        return Ok(same(why, Verdict::Undecided));
    }
    let baseline_run = format!("{}:{}", baseline.run, baseline.variant);
    series.state.baseline_blocks_used = series.used.get(&baseline_run).copied().unwrap_or(0);
    let now = anytime(baseline, candidate, policy, &series.state)?;
    let added = now.fresh_units > 0;
    if added {
        series.used.insert(baseline_run.clone(), now.state.baseline_blocks_used);
        series.state = now.state;
        series.gates.push(Step {
            at: clock::now(),
            run,
            baseline_run,
            fresh_units: now.fresh_units,
            log_e_pass: now.log_e_pass,
            log_e_regress: now.log_e_regress,
        });
        series.decided = Some(now.verdict).filter(|verdict| matches!(verdict, Verdict::Pass | Verdict::Regress));
    }
    Ok(Answer { verdict: now.verdict, why: now.why, added, fresh_units: now.fresh_units, needed })
}

/// The question's name: the same two loops, measured in the same way, under the same policy.
fn name_of(baseline: &Arm, candidate: &Arm, policy: &Policy) -> String {
    let side = |arm: &Arm| {
        let prints = &arm.fingerprints;
        [arm.suite.as_str(), &arm.variant_fingerprint, &prints.suite, &prints.graders, &prints.judge, &prints.target]
            .join(" ")
    };
    hash_hex(format!("{}\n{}\n{}", side(baseline), side(candidate), policy.hash()).as_bytes())
}

fn tell(args: &Gate, answer: &Answer, series: &Series, policy: &Policy) -> anyhow::Result<()> {
    let evidence = &series.state.evidence;
    let (pass, regress) = (evidence.log_e_pass().exp(), evidence.log_e_regress().exp());
    if args.outputs.json() {
        let shown = Shown {
            verdict: answer.verdict,
            why: &answer.why,
            counted_before: !answer.added,
            fresh_units: answer.fresh_units,
            needed: answer.needed,
            evidence_pass: pass,
            evidence_regress: regress,
            policy_hash: &policy.hash(),
            series,
        };
        return out::text(report::json::document("holdback-anytime/1", &shown));
    }
    let mut text = format!("{}: {}\n\n", report::headline(answer.verdict), answer.why);
    let _ = writeln!(text, "{}: {} held against {}", series.suite, series.candidate, series.baseline);
    let _ = writeln!(
        text,
        "  evidence after {} units of {} runs: {pass:.2} for a pass, {regress:.2} for a regression; {:.0} decides",
        evidence.units,
        series.gates.len(),
        answer.needed
    );
    for step in &series.gates {
        let _ = writeln!(
            text,
            "    {}  +{} units  pass {:.2}  regress {:.2}",
            step.run,
            step.fresh_units,
            step.log_e_pass.exp(),
            step.log_e_regress.exp()
        );
    }
    if answer.verdict == Verdict::Undecided && !matches!(args.undecided, Undecided::Pass) {
        let _ = writeln!(
            text,
            "  run the candidate again and gate it again: the evidence adds up, and looking often is no cheating"
        );
    }
    match out::text(out::printable(&text)) {
        Err(error) if error.is::<out::ReaderGone>() => Ok(()),
        other => other,
    }
}
