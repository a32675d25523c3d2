//! Statistics: numbers in, estimates out. This room knows no trial and no task, uses no random numbers outside of named
//! simulations, and says `TooFew` instead of inventing a zero. Every formula carries its source.

pub mod agreement;
pub mod basic;
pub mod betabinomial;
pub mod betting;
pub mod exact;
pub mod gaffke;
pub mod judge;
pub mod looks;
pub mod multiple;
pub mod passk;
pub mod ppi;
pub mod proportion;
pub mod rng;
pub mod size;
pub mod special;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Valid trials of one task and how many of them passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    pub n: u32,
    pub c: u32,
}

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    pub lower: f64,
    pub upper: f64,
}

/// Why there is no estimate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooFew {
    #[error("there are no tasks with a valid trial")]
    NoTasks,
    #[error("{needed} tasks are needed; there are {have}")]
    Tasks { needed: usize, have: usize },
    #[error("{needed} valid trials are needed per task; {} of the tasks have fewer", tasks.len())]
    Trials {
        needed: u32,
        /** Indices of the tasks that lack trials. */
        tasks: Vec<usize>,
    },
}

/// A value no bound can be computed from.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadValue {
    #[error("there are no values")]
    NoValues,
    #[error("value {index} is {value}, which is not between {low} and {high}")]
    OutOfRange { index: usize, value: f64, low: f64, high: f64 },
}

/// What an interval is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Estimand {
    /// Exactly these tasks; only the trials vary. Unit: a block of k trials.
    #[default]
    Suite,
    /// All tasks these are a sample of. Unit: a task.
    Population,
    /// Tasks come in families. Unit: a family.
    Group,
}

impl std::fmt::Display for Estimand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Estimand::Suite => "suite",
            Estimand::Population => "population",
            Estimand::Group => "group",
        })
    }
}

/// Which bound stands behind an interval and a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Gaffke's: narrow; conjectured exact, no counterexample known.
    #[default]
    Gaffke,
    /// Betting: proven, 40 to 65 % wider.
    Betting,
}

/// A figure with what stands behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// `pass^4`, `pass@1`, …
    pub figure: String,
    pub value: f64,
    pub interval: Interval,
    /// Two-sided level of the interval, 0.95 for 95 %.
    pub level: f64,
    pub estimand: Estimand,
    pub bound: Bound,
    pub tasks: u32,
    /// Valid trials.
    pub trials: u32,
    /// What the interval counts: blocks, tasks or groups.
    pub units: u32,
    /// Trials that could not be measured.
    pub invalid: u32,
    /// Known copies of other trials, counted once.
    pub copies: u32,
    /// The value if every invalid trial had failed, and if every one had passed.
    pub if_invalid_fail: f64,
    pub if_invalid_pass: f64,
}
