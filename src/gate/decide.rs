//! The decision: numbers first, then what they mean, then words.

use super::arm::Arm;
use super::checks::{comparable, few, loop_changes, warnings};
use super::error::GateError;
use super::figures::{Measured, count, measure, worth_showing};
use super::limits;
use super::policy::{Metric, OnFinding, Policy};
use super::score::{Correction, Scored, score};
use super::units::{Invalid, Side, What, counts, group_numbers};
use super::verdict::{
    FigureRow, GateReport, InvalidReport, MetricReport, Reason, ReasonKind, Scenario, Source, SuiteReport, TaskReport,
    ToDecide, Verdict,
};
use crate::stats::exact::fisher_two_sided;
use crate::stats::size::{Aim, units_to_find, units_to_pass};
use crate::stats::{Counts, Estimand, TooFew, multiple};

/// Decides one suite.
pub fn decide(baseline: &Arm, candidate: &Arm, policy: &Policy) -> Result<GateReport, GateError> {
    decide_all(&[(baseline, candidate, policy)])
}

/// Decides several suites together: a pass needs all of them to pass (intersection-union, no correction), a regression in any
/// is held to Holm's correction over all metrics of all suites.
pub fn decide_all(suites: &[(&Arm, &Arm, &Policy)]) -> Result<GateReport, GateError> {
    let mut prepared = Vec::with_capacity(suites.len());
    for (baseline, candidate, policy) in suites {
        prepared.push(prepare(baseline, candidate, policy)?);
    }
    let scored = || prepared.iter().flat_map(|p| &p.questions).filter_map(|q| q.scored.as_ref());
    let regress: Vec<f64> = scored().map(|s| s.p_regress).collect();
    let task: Vec<f64> = scored().map(Scored::least_task_p).collect();
    let mut corrections = factors(&regress)
        .into_iter()
        .zip(factors(&task))
        .map(|(regress, task)| Correction { regress, task })
        .collect::<Vec<_>>()
        .into_iter();
    let mut reports = Vec::with_capacity(prepared.len());
    for one in &prepared {
        let own: Vec<Correction> = one
            .questions
            .iter()
            .map(|q| q.scored.as_ref().and_then(|_| corrections.next()).unwrap_or(Correction::NONE))
            .collect();
        reports.push(one.report(&own));
    }
    let verdict = Verdict::combine(reports.iter().map(|r| r.verdict));
    let why = match reports.as_slice() {
        [only] => only.why.clone(),
        several => {
            let telling = several.iter().filter(|r| r.verdict == verdict);
            let said: Vec<String> = telling.map(|r| format!("{}: {}", r.suite, r.why)).collect();
            said.join("; ")
        }
    };
    Ok(GateReport { verdict, why, suites: reports })
}

/// By how much Holm's method raises each p-value.
fn factors(p: &[f64]) -> Vec<f64> {
    multiple::holm(p).iter().zip(p).map(|(adjusted, raw)| if *raw > 0.0 { adjusted / raw } else { 1.0 }).collect()
}

/// One metric of one suite on its way to a report.
struct Question {
    what: What,
    names: Vec<String>,
    before: Side,
    after: Side,
    groups: Vec<usize>,
    /// Why there can be no verdict, worst first.
    problems: Vec<(Verdict, Reason)>,
    scored: Option<Scored>,
}

struct Prepared<'a> {
    baseline: &'a Arm,
    candidate: &'a Arm,
    policy: &'a Policy,
    questions: Vec<Question>,
}

fn prepare<'a>(baseline: &'a Arm, candidate: &'a Arm, policy: &'a Policy) -> Result<Prepared<'a>, GateError> {
    let names = comparable(baseline, candidate, policy)?;
    let main = if policy.metric == Metric::Score { What::Score } else { What::Outcome };
    let graders = policy.required_graders.iter().cloned().map(What::Grader);
    let mut questions = Vec::new();
    for what in std::iter::once(main).chain(graders) {
        let asked: Vec<String> = names
            .iter()
            .filter(|name| match &what {
                What::Grader(label) => [baseline, candidate].iter().any(|a| a.tasks[*name].graders.contains_key(label)),
                What::Outcome | What::Score => true,
            })
            .cloned()
            .collect();
        let groups = match policy.estimand {
            Estimand::Group => group_numbers(&asked, &policy.groups).map_err(GateError::NoGroup)?,
            Estimand::Suite | Estimand::Population => Vec::new(),
        };
        questions.push(Question::ask(baseline, candidate, policy, what, asked, groups));
    }
    Ok(Prepared { baseline, candidate, policy, questions })
}

impl Question {
    fn ask(b: &Arm, c: &Arm, policy: &Policy, what: What, names: Vec<String>, groups: Vec<usize>) -> Question {
        let (before, after) = (Side::of(b, &what, &names), Side::of(c, &what, &names));
        let mut question = Question { what, names, before, after, groups, problems: Vec::new(), scored: None };
        question.problems = question.problems(policy);
        question.scored = question.score(policy, Invalid::LeftOut).ok();
        if let (None, true) = (&question.scored, question.problems.is_empty()) {
            // Nothing named why, so the tasks themselves are missing.
            let text = "there are no tasks".to_owned();
            question.problems.push((Verdict::Undecided, Reason { kind: ReasonKind::NothingGraded, text }));
        }
        question
    }

    fn score(&self, policy: &Policy, invalid: Invalid) -> Result<Scored, TooFew> {
        let graded = self.what == What::Score;
        score(&self.before.values(invalid), &self.after.values(invalid), policy, &self.groups, graded)
    }

    fn problems(&self, policy: &Policy) -> Vec<(Verdict, Reason)> {
        let mut problems = Vec::new();
        let ((nb, ib), (nc, ic)) = (self.before.invalid(), self.after.invalid());
        for (name, n, invalid) in [("baseline", nb, ib), ("candidate", nc, ic)] {
            if n == invalid {
                let text = format!("nothing was graded in the {name} ({n} trials, {invalid} of them invalid)");
                return vec![(Verdict::Undecided, Reason { kind: ReasonKind::NothingGraded, text })];
            }
            let share = f64::from(invalid) / f64::from(n);
            if share > policy.max_invalid_share {
                let text = format!(
                    "{:.1} % of the {name}'s trials could not be measured ({invalid} of {n}; {:.1} % are allowed): repair the harness and run again",
                    100.0 * share,
                    100.0 * policy.max_invalid_share
                );
                problems.push((Verdict::Invalid, Reason { kind: ReasonKind::TooManyInvalid, text }));
            }
        }
        let k = policy.figure().k() as usize;
        let short: Vec<&str> = self
            .names
            .iter()
            .enumerate()
            .filter(|(i, _)| {
                [&self.before, &self.after].iter().any(|side| side.tasks[*i].iter().flatten().count() < k.max(1))
            })
            .map(|(_, name)| name.as_str())
            .collect();
        if !short.is_empty() {
            let text = format!("fewer than {k} valid trials in {}", few(&short));
            problems.push((Verdict::Invalid, Reason { kind: ReasonKind::MissingTrials, text }));
        }
        let p = fisher_two_sided(Counts { n: nb, c: ib }, Counts { n: nc, c: ic });
        if p < 0.01 {
            let text = format!(
                "the share of trials that could not be measured differs between the arms ({ib} of {nb} and {ic} of {nc}, {})",
                super::words::p_is(p)
            );
            problems.push((Verdict::Invalid, Reason { kind: ReasonKind::InvalidDiffers, text }));
        }
        problems
    }

    fn name(&self, policy: &Policy) -> String {
        match &self.what {
            What::Outcome | What::Score => policy.metric_name(),
            What::Grader(label) => format!("{} of grader {label}", policy.figure()),
        }
    }

    fn report(&self, scored: &Scored, policy: &Policy, correction: Correction) -> MetricReport {
        let scenario = |invalid| {
            let scored = self.score(policy, invalid).ok()?;
            Some(Scenario { difference: scored.difference, verdict: scored.verdict(policy, correction) })
        };
        let ((nb, ib), (nc, ic)) = (self.before.invalid(), self.after.invalid());
        let any = ib + ic > 0;
        let invalid = InvalidReport {
            baseline: ib,
            candidate: ic,
            share: f64::from(ib + ic) / f64::from((nb + nc).max(1)),
            all_fail: if any { scenario(Invalid::Fail) } else { None },
            all_pass: if any { scenario(Invalid::Pass) } else { None },
        };
        let mut verdict = scored.verdict(policy, correction);
        if [&invalid.all_fail, &invalid.all_pass].into_iter().flatten().any(|s| s.verdict != verdict) {
            verdict = Verdict::Undecided;
        }
        if let Some((problem, _)) = self.problems.first() {
            verdict = *problem;
        }
        let bounds = scored.bounds(policy);
        let adjusted = (scored.p_regress * correction.regress).min(1.0);
        MetricReport {
            name: self.name(policy),
            verdict,
            baseline: scored.baseline,
            candidate: scored.candidate,
            difference: scored.difference,
            lower: bounds.lower,
            upper: bounds.upper,
            margin: policy.margin,
            alpha: policy.alpha,
            estimand: policy.estimand,
            bound: policy.bound,
            tasks: count(self.names.len()),
            units: count(scored.units.count()),
            baseline_trials: nb - ib,
            candidate_trials: nc - ic,
            p_pass: scored.p_pass,
            p_regress: scored.p_regress,
            p_regress_adjusted: adjusted,
            method: scored.method,
            worse_within_margin: scored.p_pass <= policy.alpha && adjusted <= policy.alpha,
            invalid,
            per_task: self.tasks(scored, policy, correction),
            to_decide: (verdict == Verdict::Undecided)
                .then(|| to_decide(scored, policy, self.names.len(), bounds.lower)),
        }
    }

    fn tasks(&self, scored: &Scored, policy: &Policy, correction: Correction) -> Vec<TaskReport> {
        let broken = scored.broken_tasks(policy, correction);
        let q = multiple::benjamini_hochberg(&scored.task_p);
        let (before, after) = (self.before.values(Invalid::LeftOut), self.after.values(Invalid::LeftOut));
        let one = |(i, name): (usize, &String)| {
            let baseline = counts(&before[i]);
            let rate = f64::from(baseline.c) / f64::from(baseline.n.max(1));
            TaskReport {
                task: name.clone(),
                baseline,
                candidate: counts(&after[i]),
                p: scored.task_p.get(i).copied(),
                p_holm: scored.task_holm.get(i).copied(),
                q: q.get(i).copied(),
                regressed: broken.contains(&i),
                flaky: rate > 0.1 && rate < 0.9,
            }
        };
        self.names.iter().enumerate().map(one).collect()
    }
}

/// What would decide an undecided metric, if the difference seen and its variance are the true ones.
fn to_decide(scored: &Scored, policy: &Policy, tasks: usize, lower: f64) -> ToDecide {
    let now = scored.units.count() as u64;
    let (d, n) = (scored.units.mean(), scored.units.count() as f64);
    let spread: f64 = scored.units.groups().iter().map(|(v, count)| f64::from(*count) * (v - d).powi(2)).sum();
    // One pseudo-unit half a point off zero, so that a handful of ties does not promise too much.
    let variance = (spread + 0.25) / n;
    let aim = Aim { alpha: policy.alpha, power: 0.8, margin: policy.margin, difference: d };
    let pass = units_to_pass(aim, variance).map(|n| (n, Verdict::Pass));
    let regress = units_to_find(policy.alpha, 0.8, -d, variance).map(|n| (n, Verdict::Regress));
    let nearest = [pass, regress].into_iter().flatten().min_by_key(|(n, _)| *n);
    let toward = nearest.map_or(Verdict::Undecided, |(_, verdict)| verdict);
    // It is undecided as it stands, so at least one more is needed whatever the formula says.
    let more = nearest.map(|(n, _)| n.saturating_sub(now).max(1)).filter(|n| *n <= 1_000_000);
    let suite = policy.estimand == Estimand::Suite;
    ToDecide {
        passing_margin: (-lower).clamp(0.0, 1.0),
        toward,
        more_rounds: more.filter(|_| suite).map(|n| n.div_ceil(tasks.max(1) as u64)),
        more_units: more.filter(|_| !suite),
    }
}

impl Prepared<'_> {
    fn report(&self, corrections: &[Correction]) -> SuiteReport {
        let (policy, baseline, candidate) = (self.policy, self.baseline, self.candidate);
        let mut verdicts = Vec::new();
        let (mut reasons, mut metrics) = (Vec::new(), Vec::new());
        let mut warnings = warnings(baseline, candidate, policy, self.questions.first().map(|q| (&q.before, &q.after)));
        for (question, correction) in self.questions.iter().zip(corrections) {
            reasons.extend(question.problems.iter().map(|(verdict, reason)| (*verdict, reason.clone())));
            if let Some(scored) = &question.scored {
                let report = question.report(scored, policy, *correction);
                if question.problems.is_empty() {
                    reasons.extend(super::words::reasons(&report, policy, &mut warnings));
                }
                verdicts.push(report.verdict);
                metrics.push(report);
            } else {
                verdicts.extend(question.problems.first().map(|(verdict, _)| *verdict));
            }
        }
        let limits = limits::check(baseline, candidate, policy);
        for limit in limits.iter().filter(|l| l.verdict != Verdict::Pass) {
            let kind =
                if limit.verdict == Verdict::Regress { ReasonKind::LimitExceeded } else { ReasonKind::LimitUnclear };
            reasons.push((limit.verdict, Reason { kind, text: limit.text.clone() }));
            verdicts.push(limit.verdict);
        }
        match limits::new_stuck(baseline, candidate, policy) {
            Some((OnFinding::Fail, reason)) => {
                verdicts.push(Verdict::Regress);
                reasons.push((Verdict::Regress, reason));
            }
            Some((OnFinding::Warn, reason)) => warnings.push(reason.text),
            None => {}
        }
        let verdict = Verdict::combine(verdicts);
        let telling = reasons.iter().filter(|(v, _)| *v == verdict).map(|(_, r)| r.text.clone());
        let why = telling.collect::<Vec<_>>().join("; ");
        SuiteReport {
            suite: candidate.suite.clone(),
            kind: candidate.kind.clone(),
            verdict,
            why,
            reasons: reasons.into_iter().map(|(_, reason)| reason).collect(),
            warnings,
            baseline: source(baseline),
            candidate: source(candidate),
            loop_changes: loop_changes(baseline, candidate),
            metrics,
            limits,
            figures: self.figures(),
            policy: policy.clone(),
            policy_hash: policy.hash(),
            judges: Vec::new(),
            failing: Vec::new(),
        }
    }

    fn figures(&self) -> Vec<FigureRow> {
        let most = |arm: &Arm| {
            let valid = arm.tasks.values().map(|t| (0..t.outcomes.0.len()).filter(|i| t.is_valid(*i)).count());
            count(valid.min().unwrap_or(0))
        };
        let names: Vec<String> = self.baseline.tasks.keys().cloned().collect();
        let groups = match self.policy.estimand {
            Estimand::Group => group_numbers(&names, &self.policy.groups).unwrap_or_default(),
            Estimand::Suite | Estimand::Population => Vec::new(),
        };
        let shown = worth_showing(most(self.baseline).min(most(self.candidate)), self.policy.figure());
        let row = |figure| {
            let how = Measured {
                figure,
                estimand: self.policy.estimand,
                groups: &groups,
                bound: self.policy.bound,
                alpha: 0.05,
            };
            let of = |arm| measure(arm, &What::Outcome, how).ok();
            FigureRow { figure: figure.to_string(), baseline: of(self.baseline), candidate: of(self.candidate) }
        };
        shown.into_iter().map(row).collect()
    }
}

fn source(arm: &Arm) -> Source {
    Source {
        run: arm.run.clone(),
        variant: arm.variant.clone(),
        model: arm.model.clone(),
        started: arm.started,
        git_commit: arm.git_commit.clone(),
    }
}
