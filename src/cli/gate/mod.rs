//! `holdback gate`: is the candidate as reliable as the baseline? The exit code is the answer.

mod anytime;
mod calibrate;
pub mod judged;
mod outputs;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::arms::{Arms, Policies, is_file};
use super::{Exit, Global, Misuse, out};
use crate::capture::{clock, ids};
use crate::gate::judges::{JudgeRow, Judges};
use crate::gate::{Arm, GateError, GateReport, Policy, Verdict, decide_all};
use crate::report;
use crate::stats::Bound;
use judged::Calibrations;
use outputs::Outputs;

/// Failed trials that are named in a report, so that cases can be made of them.
const FAILING: usize = 20;

#[derive(Debug, Args)]
#[command(
    subcommand_negates_reqs = true,
    after_help = "Exits with 0 for a pass, 1 for a regression, 3 when the data can't tell yet, 4 when the run can't be judged, \
                  and 2 when the question is wrong (different suites, say). docs/gate.md says what to do about each.\n\n\
                  Examples:\n  holdback gate --baseline baselines/checkout.json --candidate last\n  \
                  holdback gate --baseline main --candidate pr-12:new-prompt --policy policy.yaml --junit gate.xml\n  \
                  holdback gate --anytime --baseline main --candidate last\n  \
                  git bisect run sh -c 'holdback eval suite.yaml && holdback gate --bisect --baseline good.json --candidate last'"
)]
pub struct Gate {
    #[command(subcommand)]
    command: Option<GateCommand>,
    /// What the candidate is held against: a run (name, beginning of its id, `last`) or a baseline file. Once per suite
    #[arg(long, value_name = "RUN[:VARIANT]|FILE", required = true)]
    baseline: Vec<String>,
    /// What is judged. Once per suite; several suites are decided together
    #[arg(long, value_name = "RUN[:VARIANT]|FILE", required = true)]
    candidate: Vec<String>,
    /// The policy: margin, k, limits, …; see docs/gate.md. Every field has a default
    #[arg(long, value_name = "FILE")]
    policy: Option<std::path::PathBuf>,
    /// The bound behind a pass, instead of the policy's
    #[arg(long, value_name = "BOUND", value_enum)]
    bound: Option<BoundName>,
    /// What undecided exits with: 0, 1, or its own code 3
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Undecided::Code)]
    undecided: Undecided,
    /// For `git bisect run`: what can't be judged is skipped (exits with 125)
    #[arg(long)]
    bisect: bool,
    #[command(flatten)]
    anytime: anytime::AnytimeArgs,
    #[command(flatten)]
    outputs: Outputs,
}

#[derive(Debug, Subcommand)]
enum GateCommand {
    /// Measure how often this gate would cry wolf, from a baseline's own trials and without a model
    Calibrate(calibrate::Calibrate),
}

/// What undecided counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Undecided {
    Pass,
    Fail,
    Code,
}

/// Bounds by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BoundName {
    /// Narrow; conjectured exact
    Gaffke,
    /// Proven; 40 to 65 % wider
    Betting,
}

impl From<BoundName> for Bound {
    fn from(name: BoundName) -> Bound {
        match name {
            BoundName::Gaffke => Bound::Gaffke,
            BoundName::Betting => Bound::Betting,
        }
    }
}

/// Decides, writes what was asked for, and exits with the verdict.
pub fn run(global: &Global, args: &Gate) -> anyhow::Result<Exit> {
    if let Some(GateCommand::Calibrate(args)) = &args.command {
        return calibrate::run(global, args);
    }
    let judged = if args.anytime.anytime { anytime::run(global, args) } else { judge(global, args) };
    match judged {
        Err(error) if args.bisect && is_about_the_commit(&error) => {
            super::complain(&error);
            Ok(Exit::Skip)
        }
        other => other,
    }
}

fn judge(global: &Global, args: &Gate) -> anyhow::Result<Exit> {
    let files = args.outputs.files()?;
    let suites = suites(global, args)?;
    let asked: Vec<(&Arm, &Arm, &Policy)> = suites.iter().map(|s| (&s.baseline, &s.candidate, &s.policy)).collect();
    let mut report = decide_all(&asked)?;
    let mut arms = Arms::new(global);
    for (report, suite) in report.suites.iter_mut().zip(suites) {
        report.judges = suite.judges;
        // A pass has nothing to be made a case of, and is to be quick.
        if report.verdict != Verdict::Pass {
            report.failing = arms.failing(&suite.word, &suite.candidate.variant, FAILING)?;
        }
    }
    if let Err(error) = keep(global, &report) {
        // The verdict stands, whether or not the store can take it.
        eprintln!("holdback: the verdict could not be kept in the store: {error:#}");
    }
    let written = args.outputs.write(&report, &files);
    match args.outputs.print(&report, &files, global.paint()) {
        // Somebody who reads only the first lines doesn't change the verdict.
        Err(error) if error.is::<out::ReaderGone>() => {}
        other => other?,
    }
    written?;
    Ok(exit(report.verdict, args.undecided, args.bisect))
}

/// The policy for a candidate.
fn policy_of(args: &Gate, candidate: &Arm) -> anyhow::Result<Policy> {
    Policies::read(args.policy.as_deref())?.of(candidate)
}

/// One suite's question.
struct Question {
    baseline: Arm,
    candidate: Arm,
    policy: Policy,
    judges: Vec<JudgeRow>,
    /// How the candidate was named.
    word: String,
}

fn suites(global: &Global, args: &Gate) -> anyhow::Result<Vec<Question>> {
    let policies = Policies::read(args.policy.as_deref())?;
    let mut arms = Arms::new(global);
    let mut baselines = args.baseline.iter().map(|word| arms.one(word)).collect::<anyhow::Result<Vec<_>>>()?;
    let candidates = args.candidate.iter().map(|word| arms.one(word)).collect::<anyhow::Result<Vec<_>>>()?;
    if baselines.len() != candidates.len() {
        let (b, c) = (baselines.len(), candidates.len());
        return Err(Misuse(format!("{b} baselines and {c} candidates: give one of each for every suite")).into());
    }
    let calibrations = Calibrations::read(global, baselines.iter().chain(&candidates))?;
    let mut words: Vec<&String> = args.baseline.iter().collect();
    let mut questions = Vec::with_capacity(candidates.len());
    for (candidate, word) in candidates.into_iter().zip(&args.candidate) {
        // A single pair is compared as it is: the gate says best why two suites don't fit.
        let same = |arm: &Arm| args.candidate.len() == 1 || arm.suite == candidate.suite;
        let Some(at) = baselines.iter().position(same) else {
            return Err(Misuse(format!("there is no baseline (left) for suite {:?}", candidate.suite)).into());
        };
        let mut policy = policies.of(&candidate)?;
        if let Some(bound) = args.bound {
            policy.bound = bound.into();
        }
        let (mut candidate, mut baseline, before) = (candidate, baselines.remove(at), words.remove(at));
        if policy.judges == Judges::Calibrated {
            let may_block = |fingerprint: &str| calibrations.is_valid(fingerprint);
            for (arm, word) in [(&mut baseline, before), (&mut candidate, word)] {
                match is_file(word) {
                    true => judged::refuse_file(word, arm, &calibrations)?,
                    false => *arm = arms.with_judges(word, &may_block)?,
                }
            }
        }
        let judges = calibrations.rows(&baseline, &candidate, policy.judges);
        questions.push(Question { baseline, candidate, policy, judges, word: word.clone() });
    }
    Ok(questions)
}

/// Keeps the verdict in the store, where there is one.
pub fn keep(global: &Global, report: &GateReport) -> anyhow::Result<()> {
    let Some(store) = global.store_if_any()? else { return Ok(()) };
    let mut data: Value = serde_json::from_str(&report::json::gate(report))?;
    let of = |which: fn(&crate::gate::SuiteReport) -> &crate::gate::Source| -> Value {
        let runs: Vec<&str> = report.suites.iter().map(|suite| which(suite).run.as_str()).collect();
        runs.join(", ").into()
    };
    data["baseline_run"] = of(|suite| &suite.baseline);
    data["candidate_run"] = of(|suite| &suite.candidate);
    let id = format!("v{:016x}", ids::random());
    Ok(store.writer()?.record("verdict", &id, clock::now(), &data)?)
}

/// What a verdict exits with when nothing else was asked for.
pub fn exit_of(verdict: Verdict) -> Exit {
    exit(verdict, Undecided::Code, false)
}

fn exit(verdict: Verdict, undecided: Undecided, bisect: bool) -> Exit {
    match (verdict, undecided) {
        (Verdict::Pass, _) | (Verdict::Undecided, Undecided::Pass) => Exit::Pass,
        (Verdict::Regress, _) | (Verdict::Undecided, Undecided::Fail) => Exit::Regression,
        (Verdict::Undecided | Verdict::Invalid, _) if bisect => Exit::Skip,
        (Verdict::Undecided, Undecided::Code) => Exit::Undecided,
        (Verdict::Invalid, _) => Exit::Infrastructure,
    }
}

/// Whether an error says that this commit can't be judged, rather than that the command line is wrong. Git takes every code
/// but 125 for good or bad, and a commit with another suite is neither.
fn is_about_the_commit(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<GateError>() {
        Some(
            GateError::DifferentSuites { .. }
            | GateError::MeasurementChanged(_)
            | GateError::FingerprintsDiffer { .. }
            | GateError::DifferentTasks { .. },
        ) => true,
        Some(_) => false,
        None => !error.is::<Misuse>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_has_its_exit_code() {
        for (verdict, undecided, plain, bisect) in [
            (Verdict::Pass, Undecided::Fail, 0, 0),
            (Verdict::Regress, Undecided::Pass, 1, 1),
            (Verdict::Undecided, Undecided::Code, 3, 125),
            (Verdict::Undecided, Undecided::Pass, 0, 0),
            (Verdict::Undecided, Undecided::Fail, 1, 1),
            (Verdict::Invalid, Undecided::Pass, 4, 125),
        ] {
            let codes = [false, true].map(|b| exit(verdict, undecided, b).code());
            assert_eq!(codes, [plain, bisect], "{verdict} {undecided:?}");
        }
    }

    #[test]
    fn a_bisection_skips_what_it_can_not_judge_and_stops_at_nothing_else() {
        let other = || GateError::DifferentSuites { baseline: "a".into(), candidate: "b".into() };
        assert!(is_about_the_commit(&other().into()));
        assert!(is_about_the_commit(&anyhow::anyhow!("the disk is full")));
        assert!(!is_about_the_commit(&Misuse("no such file".into()).into()));
        assert!(!is_about_the_commit(&GateError::BadPlan("x".into()).into()));
    }
}
