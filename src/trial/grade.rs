//! One grader's word on one trial.

use serde::{Deserialize, Serialize};

/// A grade is a number, or an honest reason why there is none. It is never NaN and never dropped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "grade", rename_all = "snake_case")]
pub enum Grade {
    /// From 0 to 1, and whether that is good enough.
    Scored { score: f64, pass: bool },
    /// The grader had nothing to say on this trial.
    Abstained { reason: String },
    /// The grader itself failed.
    Broken { reason: String },
}

impl Grade {
    /// A pass (1) or a fail (0).
    pub fn of(pass: bool) -> Self {
        Grade::Scored { score: if pass { 1.0 } else { 0.0 }, pass }
    }

    /// `Some(pass)` when there is a verdict.
    pub fn pass(&self) -> Option<bool> {
        match self {
            Grade::Scored { pass, .. } => Some(*pass),
            Grade::Abstained { .. } | Grade::Broken { .. } => None,
        }
    }
}

/// A grade with what it takes to understand and to repeat it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "super::flat::FlatGrade")]
pub struct GradeRecord {
    /// The grader's label in the suite, unique in its task: `tool_calls`, `command-2`, …
    pub label: String,
    /// The grader's type: `contains`, `tool_calls`, …
    pub kind: String,
    /// Hash of the grader's type, configuration and version.
    pub fingerprint: String,
    pub required: bool,
    pub weight: f64,
    #[serde(flatten)]
    pub grade: Grade,
    /// Why, in sentences a person can act on.
    #[serde(default)]
    pub reasons: Vec<String>,
}
