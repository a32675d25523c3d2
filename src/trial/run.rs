//! Trials and the run they belong to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::grade::GradeRecord;
use crate::trace::{Timestamp, TraceId, Usage};

/// What is compared: a model with a prompt and parameters. Baseline and candidate are roles, not types.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// Short name, unique in its run: the model, and what else varies.
    pub name: String,
    /// `provider/model`.
    pub model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Value>,
    pub fingerprint: String,
}

/// What a trial counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Pass,
    Fail,
    /// It could not be measured: infrastructure broke, a required grader broke or abstained.
    Invalid,
}

/// How the loop of a trial ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ending", rename_all = "snake_case")]
pub enum Ending {
    /// By itself.
    Exited { code: i32 },
    /// By a signal nobody here sent.
    Signalled { signal: i32 },
    /// It ran out of the trial's time.
    TimedOut { seconds: f64 },
    /// A brake: calls, cost, tokens, stuck.
    Braked { brake: String },
    /// The harness or the provider broke; not the loop's fault.
    Broken { reason: String },
}

/// One attempt of one variant at one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "super::flat::FlatTrial")]
pub struct Trial {
    pub id: String,
    pub run: String,
    pub task: String,
    /// The variant's name.
    pub variant: String,
    /// Which attempt, from 1.
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
    pub started: Timestamp,
    pub duration_us: u64,
    pub outcome: Outcome,
    #[serde(flatten)]
    pub ending: Ending,
    /// Weighted mean of the scored graders, from 0 to 1; `None` when nothing was scored.
    #[serde(default)]
    pub score: Option<f64>,
    #[serde(default)]
    pub grades: Vec<GradeRecord>,
    #[serde(default)]
    pub calls: u32,
    #[serde(default)]
    pub usage: Usage,
    /// `None` when a model without a price took part.
    #[serde(default)]
    pub cost_usd: Option<f64>,
    /// Tries that infrastructure broke before this one.
    #[serde(default)]
    pub infra_retries: u32,
    /// The trial whose answers this one merely repeats (a cache hit, the same response id): counted once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<String>,
    /// Stuck patterns the signals saw in it.
    #[serde(default)]
    pub stuck: bool,
    /// The one line that says why it did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Hash of the final answer, so that identical texts can be warned about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_hash: Option<String>,
    /// How it kept to the tape that answered it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Replayed>,
}

/// How a trial kept to the tape that answered it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// The recording.
    pub of: TraceId,
    /// Calls on the tape.
    pub calls: usize,
    /// Of them, how many were asked for again.
    pub matched: usize,
    /// Calls that a live model answered.
    pub live: usize,
    /// How often the loop left the recorded way.
    pub divergences: usize,
    /// Where it first did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Departure>,
}

/// Where a loop left the recorded way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// `changed`, `repeated`, `extra`, or `missing` (recorded calls that were never asked).
    pub kind: String,
    /// The request's number in the trial, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<usize>,
    /// The recorded call it was held against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_number: Option<usize>,
    /// In a sentence.
    pub says: String,
    /// The tool whose other result led it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
}

/// Hashes that say whether two runs measured the same thing in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fingerprints {
    /// How they were taken: those of different versions can't be compared. 0 for runs of other harnesses.
    #[serde(default = "first")]
    pub version: u32,
    /// What is asked: tasks and their files; not the loop, nor models, trials, budget or name.
    pub suite: String,
    /// How it is graded, the graders' own files included.
    pub graders: String,
    #[serde(default)]
    pub judge: String,
    #[serde(default)]
    pub prices: String,
    /// The loop's own version: its command or service, and the content of its programs and workspace.
    #[serde(default)]
    pub target: String,
}

impl Fingerprints {
    /// How they are taken now. In version 1 the suite's held the loop's command as well.
    pub const VERSION: u32 = 2;
}

fn first() -> u32 {
    1
}

/// A run: one suite, some variants, k trials each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub suite: String,
    /// `regression` or `capability`.
    pub kind: String,
    pub started: Timestamp,
    /// `None` while it runs, and for ever when it was killed.
    #[serde(default)]
    pub finished: Option<Timestamp>,
    /// Trials asked for per task and variant.
    pub trials_per_task: u32,
    pub tasks: Vec<String>,
    pub variants: Vec<Variant>,
    pub fingerprints: Fingerprints,
    #[serde(default)]
    pub git_commit: Option<String>,
    pub holdback: String,
    #[serde(default)]
    pub trials: Vec<Trial>,
}
