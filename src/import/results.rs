//! Results of other harnesses as runs: what all of them have in common.

use std::collections::BTreeMap;

use serde_json::Value;

use super::desk::digest;
use crate::trace::{Timestamp, Usage};
use crate::trial::{Ending, Fingerprints, Grade, GradeRecord, Outcome, RunRecord, Trial, Variant};

/// The beginning of a hash, as hex.
fn short(words: &[&str]) -> String {
    digest(words)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A run to be filled. `key` makes it this run and no other; `suite` is what was asked, the same for runs to be compared.
pub fn run(format: &str, key: &str, suite: &str, started: Timestamp) -> RunRecord {
    RunRecord {
        id: short(&["holdback import run", format, key]),
        name: None,
        suite: suite.to_owned(),
        kind: "capability".to_owned(),
        started,
        finished: None,
        trials_per_task: 1,
        tasks: Vec::new(),
        variants: Vec::new(),
        fingerprints: Fingerprints {
            version: 0,
            suite: short(&["suite", format, suite]),
            graders: short(&["graders", format]),
            ..Fingerprints::default()
        },
        git_commit: None,
        holdback: env!("CARGO_PKG_VERSION").to_owned(),
        trials: Vec::new(),
    }
}

/// The variant of this name, added when it is new.
pub fn variant(run: &mut RunRecord, model: &str, what: &str, params: BTreeMap<String, Value>) -> String {
    let model = if model.is_empty() { "unknown" } else { model };
    let name = if what.is_empty() { model.to_owned() } else { format!("{model} {what}") };
    if !run.variants.iter().any(|known| known.name == name) {
        let spelt = serde_json::to_string(&params).unwrap_or_default();
        let fingerprint = short(&["variant", &name, &spelt]);
        run.variants.push(Variant { name: name.clone(), model: model.to_owned(), prompt: None, params, fingerprint });
    }
    name
}

/// A trial to be filled; the next attempt of its task and variant when none is given.
pub fn trial(run: &RunRecord, key: &str, task: &str, variant: &str, attempt: Option<u32>) -> Trial {
    let before = run.trials.iter().filter(|known| known.task == task && known.variant == variant).count();
    let attempt = attempt.unwrap_or(u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)).max(1);
    Trial {
        id: short(&["trial", &run.id, task, variant, key, &attempt.to_string()]),
        run: run.id.clone(),
        task: task.to_owned(),
        variant: variant.to_owned(),
        attempt,
        seed: None,
        trace: None,
        started: run.started,
        duration_us: 0,
        outcome: Outcome::Invalid,
        ending: Ending::Exited { code: 0 },
        score: None,
        grades: Vec::new(),
        calls: 0,
        usage: Usage::default(),
        cost_usd: None,
        infra_retries: 0,
        copy_of: None,
        stuck: false,
        why: None,
        answer_hash: None,
        replayed: None,
    }
}

/// A grade with a number. What is outside of 0 to 1 is brought to the nearer end.
pub fn scored(label: &str, score: f64, pass: bool, reason: &str) -> GradeRecord {
    if !score.is_finite() {
        return silent(label, "the score is no number");
    }
    GradeRecord { grade: Grade::Scored { score: score.clamp(0.0, 1.0), pass }, ..silent(label, reason) }
}

/// A grader that had nothing to say.
pub fn silent(label: &str, reason: &str) -> GradeRecord {
    GradeRecord {
        label: label.to_owned(),
        kind: "import".to_owned(),
        fingerprint: short(&["grader", label]),
        required: true,
        weight: 1.0,
        grade: Grade::Abstained { reason: reason.to_owned() },
        reasons: if reason.is_empty() { Vec::new() } else { vec![reason.to_owned()] },
    }
}

/// Puts a trial to its run. Its outcome is what its required grades say; what broke counts as not measured.
pub fn finish(run: &mut RunRecord, mut trial: Trial) {
    let scores: Vec<f64> = trial
        .grades
        .iter()
        .filter_map(|grade| match grade.grade {
            Grade::Scored { score, .. } => Some(score),
            _ => None,
        })
        .collect();
    trial.score = (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64);
    let required: Vec<&GradeRecord> = trial.grades.iter().filter(|grade| grade.required).collect();
    let verdicts: Vec<Option<bool>> = required.iter().map(|grade| grade.grade.pass()).collect();
    trial.outcome = match &trial.ending {
        Ending::Broken { reason } => {
            trial.why = trial.why.take().or_else(|| Some(reason.clone()));
            Outcome::Invalid
        }
        _ if verdicts.contains(&Some(false)) => Outcome::Fail,
        _ if verdicts.is_empty() || verdicts.contains(&None) => Outcome::Invalid,
        _ => Outcome::Pass,
    };
    if trial.outcome != Outcome::Pass && trial.why.is_none() {
        let failed = required.iter().find(|grade| grade.grade.pass() != Some(true));
        trial.why = failed
            .map(|grade| grade.reasons.first().cloned().unwrap_or_else(|| format!("{} did not pass", grade.label)));
    }
    if !run.tasks.contains(&trial.task) {
        run.tasks.push(trial.task.clone());
    }
    run.trials_per_task = run.trials_per_task.max(trial.attempt);
    let end = Timestamp(trial.started.0.saturating_add(i64::try_from(trial.duration_us).unwrap_or(0)));
    run.finished = run.finished.max(Some(end));
    run.trials.push(trial);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_follow_the_required_grades() {
        let mut all = run("test", "k", "suite", Timestamp(5));
        let name = variant(&mut all, "m", "", BTreeMap::new());
        for (grades, ending, expected) in [
            (vec![scored("a", 1.0, true, "")], Ending::Exited { code: 0 }, Outcome::Pass),
            (
                vec![scored("a", 1.0, true, ""), scored("b", 0.0, false, "no")],
                Ending::Exited { code: 0 },
                Outcome::Fail,
            ),
            (vec![silent("a", "nothing")], Ending::Exited { code: 0 }, Outcome::Invalid),
            (vec![scored("a", f64::NAN, true, "")], Ending::Exited { code: 0 }, Outcome::Invalid),
            (vec![scored("a", 1.0, true, "")], Ending::Broken { reason: "net".into() }, Outcome::Invalid),
            (vec![], Ending::Exited { code: 0 }, Outcome::Invalid),
        ] {
            let mut one = trial(&all, "", "t", &name, None);
            (one.grades, one.ending) = (grades, ending);
            finish(&mut all, one);
            assert_eq!(all.trials.last().unwrap().outcome, expected);
        }
        assert_eq!((all.trials_per_task, all.tasks.len()), (6, 1));
        assert_eq!(all.trials[1].why.as_deref(), Some("no"));
        let ids: std::collections::HashSet<&String> = all.trials.iter().map(|trial| &trial.id).collect();
        assert_eq!(ids.len(), 6);
    }
}
