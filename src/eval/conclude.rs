//! What a run comes to: not a verdict on an agent, which is the gate's, but whether there is anything to judge.

use std::collections::{BTreeMap, BTreeSet};

use super::run::{End, Finished};
use crate::trial::{Outcome, RunRecord};

/// What a run comes to. Exit codes 0, 1, 3, 4 and 130, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conclusion {
    /// Its trials were made.
    Done,
    /// A task of a regression suite failed in at least one trial.
    TaskFailed(Vec<String>),
    /// Nothing was measured: no trial, or none that could be graded.
    Undecided(String),
    /// So much broke that what is left says nothing.
    Broken(String),
    /// Someone called it off; it can be resumed.
    Interrupted,
}

/// What a run comes to. Nothing is ever green because nothing was measured.
pub fn conclude(finished: &Finished, max_broken: f64) -> Conclusion {
    let (record, tally) = (&finished.record, &finished.tally);
    if finished.end == End::Interrupted {
        return Conclusion::Interrupted;
    }
    if record.trials.is_empty() {
        return Conclusion::Undecided("no trial was made".to_owned());
    }
    if record.trials.iter().all(|trial| trial.outcome == Outcome::Invalid) {
        let why = record.trials.iter().find_map(|trial| trial.why.clone()).unwrap_or_default();
        return Conclusion::Undecided(format!("not one of {} trials could be measured: {why}", record.trials.len()));
    }
    if let End::Broken(why) = &finished.end {
        return Conclusion::Broken(why.clone());
    }
    if tally.broken as f64 > max_broken * record.trials.len() as f64 {
        return Conclusion::Broken(format!("{} of {} trials are broken", tally.broken, record.trials.len()));
    }
    let failed = failed_tasks(record);
    match record.kind.as_str() {
        "regression" if !failed.is_empty() => Conclusion::TaskFailed(failed),
        // A budget that ran out leaves the run unfinished: what is there may be good, what is missing was never asked.
        _ => match &finished.end {
            End::Budget(why) => Conclusion::Undecided(why.clone()),
            _ => Conclusion::Done,
        },
    }
}

/// The tasks with at least one failed trial, in the run's order.
pub fn failed_tasks(record: &RunRecord) -> Vec<String> {
    let failed = record.trials.iter().filter(|trial| trial.outcome == Outcome::Fail);
    let failed: BTreeSet<&str> = failed.map(|trial| trial.task.as_str()).collect();
    record.tasks.iter().filter(|task| failed.contains(task.as_str())).cloned().collect()
}

/// Runs that can't be put together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    #[error("there is nothing to put together")]
    Nothing,
    #[error("{first} and {other} differ in {what}: they did not measure the same thing")]
    Differ { first: String, other: String, what: &'static str },
    #[error(
        "{first} and {other} both have trial {attempt} of {task} with {variant}: shards of one run never share a trial"
    )]
    Twice { first: String, other: String, task: String, variant: String, attempt: u32 },
}

/// Puts the shards of a run together under a new id.
///
/// # Errors
/// When they are not parts of the same run, or share a trial.
pub fn merge(shards: Vec<RunRecord>, id: &str) -> Result<RunRecord, MergeError> {
    let mut whole = shards.first().ok_or(MergeError::Nothing)?.clone();
    let mut seen: BTreeMap<(String, String, u32), String> = BTreeMap::new();
    let first = whole.id.clone();
    whole.trials.clear();
    for shard in shards {
        let differ = |what| MergeError::Differ { first: first.clone(), other: shard.id.clone(), what };
        if shard.suite != whole.suite || shard.fingerprints.suite != whole.fingerprints.suite {
            return Err(differ("their suite"));
        }
        if shard.fingerprints != whole.fingerprints {
            return Err(differ("their graders, prices or target"));
        }
        if shard.variants != whole.variants {
            return Err(differ("their variants"));
        }
        for mut trial in shard.trials {
            let key = (trial.task.clone(), trial.variant.clone(), trial.attempt);
            if let Some(earlier) = seen.insert(key, shard.id.clone()) {
                let (task, variant, attempt) = (trial.task, trial.variant, trial.attempt);
                return Err(MergeError::Twice { first: earlier, other: shard.id, task, variant, attempt });
            }
            trial.id = super::trial_id(id, &trial.task, &trial.variant, trial.attempt);
            id.clone_into(&mut trial.run);
            whole.trials.push(trial);
        }
        whole.started = whole.started.min(shard.started);
        // The whole is finished when every part is, and then as late as the last of them.
        whole.finished = whole.finished.and_then(|end| shard.finished.map(|other| end.max(other)));
    }
    id.clone_into(&mut whole.id);
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Tally;
    use crate::trace::{Timestamp, Usage};
    use crate::trial::{Ending, Fingerprints, Trial};

    fn trial(task: &str, attempt: u32, outcome: Outcome) -> Trial {
        Trial {
            id: format!("{task}{attempt}"),
            run: "r".to_owned(),
            task: task.to_owned(),
            variant: "v".to_owned(),
            attempt,
            seed: None,
            trace: None,
            started: Timestamp(0),
            duration_us: 1,
            outcome,
            ending: Ending::Exited { code: 0 },
            score: None,
            grades: Vec::new(),
            calls: 1,
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

    fn record(id: &str, trials: Vec<Trial>) -> RunRecord {
        RunRecord {
            id: id.to_owned(),
            name: None,
            suite: "s".to_owned(),
            kind: "regression".to_owned(),
            started: Timestamp(5),
            finished: Some(Timestamp(9)),
            trials_per_task: 2,
            tasks: vec!["a".to_owned(), "b".to_owned()],
            variants: Vec::new(),
            fingerprints: Fingerprints::default(),
            git_commit: None,
            holdback: String::new(),
            trials,
        }
    }

    fn of(end: End, broken: usize, trials: Vec<Trial>) -> Conclusion {
        let tally = Tally { broken, ..Tally::default() };
        conclude(&Finished { record: record("r", trials), tally, end, decided: None }, 0.05)
    }

    #[test]
    fn nothing_is_green_that_was_not_measured() {
        use Outcome::{Fail, Invalid, Pass};
        assert_eq!(of(End::Complete, 0, vec![trial("a", 1, Pass)]), Conclusion::Done);
        assert_eq!(
            of(End::Complete, 0, vec![trial("a", 1, Pass), trial("b", 1, Fail)]),
            Conclusion::TaskFailed(vec!["b".to_owned()])
        );
        assert!(matches!(of(End::Complete, 0, vec![]), Conclusion::Undecided(_)));
        assert!(matches!(of(End::Complete, 1, vec![trial("a", 1, Invalid)]), Conclusion::Undecided(_)));
        assert!(matches!(of(End::Broken(String::new()), 1, vec![trial("a", 1, Invalid)]), Conclusion::Undecided(_)));
        let mixed = || vec![trial("a", 1, Invalid), trial("a", 2, Pass)];
        assert!(matches!(of(End::Complete, 1, mixed()), Conclusion::Broken(_)));
        assert!(matches!(of(End::Broken("x".to_owned()), 1, mixed()), Conclusion::Broken(_)));
        // Abstentions are no breakage.
        assert_eq!(of(End::Complete, 0, mixed()), Conclusion::Done);
        assert_eq!(of(End::Interrupted, 0, vec![trial("a", 1, Fail)]), Conclusion::Interrupted);
        assert!(matches!(of(End::Budget("x".to_owned()), 0, vec![trial("a", 1, Pass)]), Conclusion::Undecided(_)));
    }

    #[test]
    fn shards_are_put_together_once_each() {
        let (one, two) =
            (record("x", vec![trial("a", 1, Outcome::Pass)]), record("y", vec![trial("a", 2, Outcome::Fail)]));
        let whole = merge(vec![one.clone(), two.clone()], "w").unwrap();
        assert_eq!((whole.id.as_str(), whole.trials.len(), whole.finished), ("w", 2, Some(Timestamp(9))));
        assert!(whole.trials.iter().all(|trial| trial.run == "w"));
        assert!(matches!(merge(vec![one.clone(), one.clone()], "w"), Err(MergeError::Twice { .. })));
        let mut other = two;
        other.fingerprints.graders = "changed".to_owned();
        assert!(matches!(merge(vec![one, other], "w"), Err(MergeError::Differ { .. })));
        assert_eq!(merge(Vec::new(), "w"), Err(MergeError::Nothing));
    }
}
