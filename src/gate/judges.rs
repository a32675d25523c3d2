//! Judges in a gate: what their verdicts are worth once they have been measured against people, and what is left of a run
//! without those that have not.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::judge::Calibration;
use crate::stats::{Counts, Interval, basic};
use crate::trial::{Ending, Grade, GradeRecord, Outcome, RunRecord, Trial};

/// Which judges may block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judges {
    /// All of them.
    #[default]
    Any,
    /// Only those with a valid calibration for their rubric as it is; the others inform.
    Calibrated,
}

impl Judges {
    /// Whether it is the default.
    pub fn is_any(&self) -> bool {
        *self == Judges::Any
    }
}

/// A pass rate by a judge, raw and corrected for the judge's errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JudgedRate {
    /// The grader's label, or `grader/criterion`.
    pub grader: String,
    /// Trials with a verdict, and the share that passed.
    pub trials: u32,
    pub raw: f64,
    /// By Rogan and Gladen, with Lang and Reiczigel's 95 % interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrected: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// Why there is no corrected rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A judge's pass rates of both arms side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeRow {
    pub grader: String,
    /// Whether its verdicts could block: by policy all of them can, or those with a valid calibration.
    pub may_block: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<JudgedRate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<JudgedRate>,
}

/// What is known of a judge by its rubric's fingerprint.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Known {
    /// Of the verdict as a whole, and by criterion.
    pub whole: Option<Calibration>,
    pub criteria: std::collections::BTreeMap<String, Calibration>,
    pub valid: bool,
}

/// The rates of two arms. `known` finds a calibration by fingerprint.
pub fn rows(
    baseline: &[Judged],
    candidate: &[Judged],
    judges: Judges,
    known: &dyn Fn(&str) -> Option<Known>,
) -> Vec<JudgeRow> {
    let one = |judged: &Judged| {
        let known = known(&judged.fingerprint).unwrap_or_default();
        let calibration = match &judged.criterion {
            Some(criterion) => known.criteria.get(criterion).copied(),
            None => known.whole,
        };
        (rate(judged, calibration.as_ref()), known.valid)
    };
    let mut rows: Vec<JudgeRow> = Vec::new();
    for judged in candidate {
        let (candidate, valid) = one(judged);
        let before = baseline.iter().find(|other| other.grader == judged.grader).map(one);
        rows.push(JudgeRow {
            grader: judged.grader.clone(),
            may_block: judges == Judges::Any || valid && before.as_ref().is_none_or(|(_, valid)| *valid),
            baseline: before.and_then(|(rate, _)| rate),
            candidate,
        });
    }
    rows
}

/// Verdicts of one rubric grader or criterion on a variant's trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    pub grader: String,
    /// The criterion's id; `None` for the rubric's verdict as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criterion: Option<String>,
    /// The rubric's fingerprint.
    pub fingerprint: String,
    /// One entry for each task.
    pub tasks: Vec<Counts>,
}

/// What judges said of a variant: one entry per rubric and per criterion.
pub fn judged(run: &RunRecord, variant: &str) -> Vec<Judged> {
    let mut found: Vec<Judged> = Vec::new();
    for (place, task) in run.tasks.iter().enumerate() {
        let own = run.trials.iter().filter(|t| t.task == *task && t.variant == variant && t.copy_of.is_none());
        for grade in own.flat_map(|trial| &trial.grades).filter(|grade| is_judged(grade)) {
            let at = found.iter().position(|known| known.grader == grade.label).unwrap_or_else(|| {
                found.push(Judged {
                    grader: grade.label.clone(),
                    criterion: (grade.kind == "criterion")
                        .then(|| grade.label.rsplit('/').next().unwrap_or_default().to_owned()),
                    fingerprint: grade.fingerprint.clone(),
                    tasks: vec![Counts::default(); run.tasks.len()],
                });
                found.len() - 1
            });
            if let Some(pass) = grade.grade.pass() {
                let counts = &mut found[at].tasks[place];
                (counts.n, counts.c) = (counts.n + 1, counts.c + u32::from(pass));
            }
        }
    }
    found
}

fn is_judged(grade: &GradeRecord) -> bool {
    matches!(grade.kind.as_str(), "rubric" | "criterion")
}

/// The rate of a judge, corrected where a calibration allows it. `None` when it has no verdict at all.
pub fn rate(judged: &Judged, calibration: Option<&Calibration>) -> Option<JudgedRate> {
    let (n, c) = judged.tasks.iter().fold((0, 0), |(n, c), task| (n + task.n, c + task.c));
    if n == 0 {
        return None;
    }
    let raw = f64::from(c) / f64::from(n);
    let corrected = match calibration {
        None => Err("not calibrated: holdback judge calibrate".to_owned()),
        Some(calibration) => {
            calibration.correct(raw, effective(&judged.tasks, raw, n), 0.05).map_err(|error| error.to_string())
        }
    };
    let (corrected, interval, why) = match corrected {
        Ok((point, interval)) => (Some(point), Some(interval), None),
        Err(why) => (None, None, Some(why)),
    };
    Some(JudgedRate { grader: judged.grader.clone(), trials: n, raw, corrected, interval, why })
}

/// How many independent verdicts the trials are worth: p(1-p)/SE² with the standard error between tasks, at most as many as
/// there are.
fn effective(tasks: &[Counts], p: f64, n: u32) -> f64 {
    let means: Vec<f64> = tasks.iter().filter(|t| t.n > 0).map(|t| f64::from(t.c) / f64::from(t.n)).collect();
    match basic::standard_error(&means) {
        Some(error) if error > 0.0 => (p * (1.0 - p) / (error * error)).clamp(1.0, f64::from(n)),
        _ => f64::from(n),
    }
}

/// The run as it would be if judges that may not block had only been listened to, and the labels of those graders.
pub fn without(run: &RunRecord, may_block: &dyn Fn(&str) -> bool) -> (RunRecord, Vec<String>) {
    let mut labels: Vec<String> = Vec::new();
    let mut run = run.clone();
    for trial in &mut run.trials {
        let mut silenced = Vec::new();
        for grade in trial.grades.iter_mut().filter(|grade| grade.kind == "rubric" && grade.required) {
            if !may_block(&grade.fingerprint) {
                grade.required = false;
                silenced.push(grade.label.clone());
            }
        }
        if !silenced.is_empty() {
            trial.outcome = outcome(trial, &silenced);
            labels.extend(silenced);
        }
    }
    labels.sort();
    labels.dedup();
    (run, labels)
}

/// What the trial counts as by its other graders. How its loop ended decides as it did.
fn outcome(trial: &Trial, silenced: &[String]) -> Outcome {
    let left = || trial.grades.iter().filter(|grade| grade.required);
    let failed = left().any(|grade| grade.grade.pass() == Some(false));
    let open = left().any(|grade| !matches!(grade.grade, Grade::Scored { .. }));
    let why = trial.why.as_deref().unwrap_or_default();
    let by_judge = silenced
        .iter()
        .any(|label| why.starts_with(&format!("{label}: ")) || why.starts_with(&format!("the grader {label} ")));
    match trial.outcome {
        Outcome::Invalid if matches!(trial.ending, Ending::Broken { .. }) => Outcome::Invalid,
        // A loop that ended badly, or another grader's word.
        Outcome::Fail if !by_judge && !failed => Outcome::Fail,
        _ if open || left().next().is_none() => Outcome::Invalid,
        _ if failed => Outcome::Fail,
        _ => Outcome::Pass,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::run;
    use super::*;

    fn with_judge(letters: &str, verdicts: &str) -> RunRecord {
        let mut run = run("r", &[("t", letters)]);
        for (trial, verdict) in run.trials.iter_mut().zip(verdicts.chars()) {
            let grade = match verdict {
                'x' => Grade::Broken { reason: "429".to_owned() },
                verdict => Grade::of(verdict == 'p'),
            };
            let judge = GradeRecord {
                label: "tone".to_owned(),
                kind: "rubric".to_owned(),
                fingerprint: "f1".to_owned(),
                grade: grade.clone(),
                ..trial.grades[0].clone()
            };
            if trial.outcome == Outcome::Pass && grade.pass() != Some(true) {
                (trial.outcome, trial.why) = match verdict {
                    'x' => (Outcome::Invalid, Some("the grader tone broke: 429".to_owned())),
                    _ => (Outcome::Fail, Some("tone: no".to_owned())),
                };
            }
            trial.grades.push(judge);
        }
        run
    }

    #[test]
    fn a_judge_that_may_not_block_informs_only() {
        let run = with_judge("pppfp", "pfxpf");
        let outcomes = |run: &RunRecord| run.trials.iter().map(|trial| trial.outcome).collect::<Vec<_>>();
        use Outcome::{Fail, Invalid, Pass};
        assert_eq!(outcomes(&run), [Pass, Fail, Invalid, Fail, Fail]);
        let (silenced, labels) = without(&run, &|_| false);
        assert_eq!((outcomes(&silenced), labels), (vec![Pass, Pass, Pass, Fail, Pass], vec!["tone".to_owned()]));
        let (kept, labels) = without(&run, &|fingerprint| fingerprint == "f1");
        assert_eq!((outcomes(&kept), labels.is_empty()), (outcomes(&run), true));
        // A trial that only the judge has looked at is not measured without it.
        let mut only = with_judge("pppp", "pfxp");
        only.trials.iter_mut().for_each(|trial| drop(trial.grades.remove(0)));
        assert!(outcomes(&without(&only, &|_| false).0).iter().all(|outcome| *outcome == Invalid));
        let mut crashed = run;
        crashed.trials[1].why = Some("the loop ended with exit code 1".to_owned());
        assert_eq!(outcomes(&without(&crashed, &|_| false).0)[1], Fail);
    }

    #[test]
    fn rates_are_shown_raw_and_corrected() {
        let run = with_judge("pppppppppp", "ppppppppff");
        let all = judged(&run, "main");
        assert_eq!((all.len(), all[0].tasks.as_slice()), (1, &[Counts { n: 10, c: 8 }][..]));
        let raw = rate(&all[0], None).unwrap();
        assert_eq!((raw.raw, raw.corrected), (0.8, None));
        let good = Calibration { passes: Counts { n: 60, c: 57 }, fails: Counts { n: 60, c: 54 } };
        let corrected = rate(&all[0], Some(&good)).unwrap();
        assert!((corrected.corrected.unwrap() - 0.7 / 0.85).abs() < 1e-12);
        let coin = Calibration { passes: Counts { n: 10, c: 5 }, fails: Counts { n: 10, c: 5 } };
        assert!(rate(&all[0], Some(&coin)).unwrap().why.unwrap().contains("coin"));
        let clustered = [Counts { n: 10, c: 10 }, Counts { n: 10, c: 0 }, Counts { n: 10, c: 10 }];
        assert!(effective(&clustered, 2.0 / 3.0, 30) < 3.0);
    }
}
