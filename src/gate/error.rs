//! Why there can be no verdict at all.

/// One thing that is not the same in both arms.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Differs {
    /// `suite`, `graders`, `judge`, `prices`.
    pub what: String,
    pub baseline: String,
    pub candidate: String,
}

/// The gate can't do its work: a question asked wrongly, not a verdict.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GateError {
    #[error(
        "baseline is of suite {baseline:?}, candidate of suite {candidate:?}: a gate compares two runs of the same suite"
    )]
    DifferentSuites { baseline: String, candidate: String },
    #[error(
        "the measurement changed, not only the loop: {} between baseline and candidate. Run the baseline again with today's suite and save it anew",
        list(.0)
    )]
    MeasurementChanged(Vec<Differs>),
    #[error(
        "the fingerprints of baseline and candidate were taken in different ways (by holdback {baseline} and {candidate}), so nobody can tell whether the measurement changed. Run the baseline again and save it anew"
    )]
    FingerprintsDiffer { baseline: String, candidate: String },
    #[error(
        "the tasks are not the same: {} Were tasks renamed or was only a part of the suite run?",
        tasks(only_baseline, only_candidate)
    )]
    DifferentTasks { only_baseline: Vec<String>, only_candidate: Vec<String> },
    #[error(
        "the policy gates on k = {k}, but the {arm} ran at most {most} trials per task: run more trials or lower `k`"
    )]
    TooFewTrialsForK { k: u32, most: u32, arm: &'static str },
    #[error("run {run} has no variant {name:?}; it has {}", .has.join(", "))]
    NoVariant { run: String, name: String, has: Vec<String> },
    #[error("run {run} has several variants; say which as {run}:VARIANT, one of {}", .has.join(", "))]
    SeveralVariants { run: String, has: Vec<String> },
    #[error("the policy requires the grader {label:?}, which graded nothing in the {arm}; it has {}", .has.join(", "))]
    NoGrader { label: String, arm: &'static str, has: Vec<String> },
    #[error("the estimand is `group`, but the policy's `groups` names no group for {}", .0.join(", "))]
    NoGroup(Vec<String>),
    #[error("this baseline file is of format {0:?}; this version of holdback reads {expected:?}", expected = super::arm::FORMAT)]
    UnknownFormat(String),
    #[error("this is not a baseline file: {0}")]
    NotABaseline(String),
    #[error("{0}")]
    BadPlan(String),
}

fn list(differs: &[Differs]) -> String {
    let items: Vec<String> = differs
        .iter()
        .map(|d| format!("the fingerprint of {} differs ({} and {})", d.what, short(&d.baseline), short(&d.candidate)))
        .collect();
    items.join("; ")
}

fn short(fingerprint: &str) -> &str {
    if fingerprint.is_empty() { "none" } else { fingerprint.get(..12).unwrap_or(fingerprint) }
}

fn tasks(only_baseline: &[String], only_candidate: &[String]) -> String {
    let side = |name: &str, tasks: &[String]| {
        if tasks.is_empty() { String::new() } else { format!("only the {name} has {}. ", tasks.join(", ")) }
    };
    (side("baseline", only_baseline) + &side("candidate", only_candidate)).trim_end().to_owned()
}
