//! One side of a gate: what it needs to know of one variant of one run. As a small JSON file that belongs in git it is a baseline.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::GateError;
use super::judges::{Judged, judged};
use crate::trace::Timestamp;
use crate::trial::{Fingerprints, Grade, Outcome, RunRecord, Trial};

/// The format written and read. It changes when an older reader would read a newer file wrongly.
pub const FORMAT: &str = "holdback-baseline/1";

/// Outcomes in the order of the attempts, written as `ppfip`: pass, fail, invalid.
///
/// The order matters: units pair the arms' attempts, and attempts sorted by outcome would pair like with like, which makes a
/// gate far too sure. Whoever makes outcomes from bare counts must scatter them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcomes(pub Vec<Outcome>);

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|outcome| {
            f.write_str(match outcome {
                Outcome::Pass => "p",
                Outcome::Fail => "f",
                Outcome::Invalid => "i",
            })
        })
    }
}

impl Serialize for Outcomes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Outcomes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read = |letter| match letter {
            'p' => Ok(Outcome::Pass),
            'f' => Ok(Outcome::Fail),
            'i' => Ok(Outcome::Invalid),
            other => Err(serde::de::Error::custom(format!("outcomes are p, f and i, not {other:?}"))),
        };
        text.chars().map(read).collect::<Result<_, _>>().map(Outcomes)
    }
}

/// The trials of one task. The lists run in parallel: one entry per trial, copies left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskTrials {
    pub outcomes: Outcomes,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<Option<f64>>,
    /// By the grader's label.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub graders: BTreeMap<String, Outcomes>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub duration_ms: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cost_usd: Vec<Option<f64>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<Option<u64>>,
    /// Trials in which the signals saw a stuck loop.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stuck: u32,
    /// Trials left out because they repeat another one's answers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub copies: u32,
    /// The most trials that gave word for word the same answer without being known copies.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub same_answer: u32,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl TaskTrials {
    /// Whether trial `i` was measured.
    pub fn is_valid(&self, i: usize) -> bool {
        self.outcomes.0.get(i).is_some_and(|o| *o != Outcome::Invalid)
    }
}

/// One side of a gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    pub format: String,
    pub suite: String,
    pub kind: String,
    pub run: String,
    pub variant: String,
    pub model: String,
    /// The variant's fingerprint: model, prompt and parameters.
    pub variant_fingerprint: String,
    pub started: Timestamp,
    /// Trials asked for per task.
    pub trials_per_task: u32,
    pub fingerprints: Fingerprints,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
    pub holdback: String,
    pub tasks: BTreeMap<String, TaskTrials>,
    /// What judges said, rubric by rubric and criterion by criterion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judged: Vec<Judged>,
}

impl Arm {
    /// Takes one variant out of a run; `variant` may be left out when there is only one.
    pub fn from_run(run: &RunRecord, variant: Option<&str>) -> Result<Self, GateError> {
        let has = || run.variants.iter().map(|v| v.name.clone()).collect::<Vec<_>>();
        let chosen = match (variant, run.variants.as_slice()) {
            (Some(name), all) => all.iter().find(|v| v.name == name),
            (None, [only]) => Some(only),
            (None, _) => return Err(GateError::SeveralVariants { run: run.id.clone(), has: has() }),
        };
        let Some(chosen) = chosen else {
            let name = variant.unwrap_or_default().to_owned();
            return Err(GateError::NoVariant { run: run.id.clone(), name, has: has() });
        };
        let mut by_task: BTreeMap<&str, Vec<&Trial>> = run.tasks.iter().map(|t| (t.as_str(), Vec::new())).collect();
        for trial in run.trials.iter().filter(|t| t.variant == chosen.name) {
            by_task.entry(&trial.task).or_default().push(trial);
        }
        let tasks = by_task.into_iter().map(|(task, trials)| (task.to_owned(), gather(trials))).collect();
        Ok(Arm {
            format: FORMAT.to_owned(),
            suite: run.suite.clone(),
            kind: run.kind.clone(),
            run: run.id.clone(),
            variant: chosen.name.clone(),
            model: chosen.model.clone(),
            variant_fingerprint: chosen.fingerprint.clone(),
            started: run.started,
            trials_per_task: run.trials_per_task,
            fingerprints: run.fingerprints.clone(),
            git_commit: run.git_commit.clone(),
            holdback: run.holdback.clone(),
            tasks,
            judged: judged(run, &chosen.name),
        })
    }

    /// All variants of a run, by name.
    pub fn all_of(run: &RunRecord) -> BTreeMap<String, Arm> {
        let one = |name: &String| Some((name.clone(), Arm::from_run(run, Some(name)).ok()?));
        run.variants.iter().filter_map(|variant| one(&variant.name)).collect()
    }

    /// A baseline file's text: stable, one task a line's worth of change, with a newline at the end.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("an arm is plain data, which always becomes JSON");
        text.push('\n');
        text
    }

    /// Reads a baseline file.
    pub fn from_json(text: &str) -> Result<Self, GateError> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
        }
        let head: Head = serde_json::from_str(text).map_err(|e| GateError::NotABaseline(e.to_string()))?;
        if head.format != FORMAT {
            return Err(GateError::UnknownFormat(head.format));
        }
        serde_json::from_str(text).map_err(|e| GateError::NotABaseline(e.to_string()))
    }

    /// Labels of all graders that graded a trial.
    pub fn graders(&self) -> BTreeSet<&str> {
        self.tasks.values().flat_map(|t| t.graders.keys().map(String::as_str)).collect()
    }

    /// Only the first `n` trials of every task: what a look in the middle of a run has seen.
    pub fn first_trials(&self, n: usize) -> Arm {
        let mut arm = self.clone();
        for task in arm.tasks.values_mut() {
            task.outcomes.0.truncate(n);
            task.scores.truncate(n);
            task.graders.values_mut().for_each(|g| g.0.truncate(n));
            task.duration_ms.truncate(n);
            task.cost_usd.truncate(n);
            task.tokens.truncate(n);
        }
        arm
    }

    /// Only the tasks whose name is wanted.
    pub fn only_tasks(&self, wanted: impl Fn(&String) -> bool) -> Arm {
        let mut arm = self.clone();
        arm.tasks.retain(|name, _| wanted(name));
        arm
    }

    /// What differs between two baselines, most telling first.
    pub fn diff(&self, other: &Arm) -> Vec<ArmChange> {
        let mut changes = Vec::new();
        let mut say = |what: &str, before: &str, after: &str| {
            if before != after {
                let (before, after) = (before.to_owned(), after.to_owned());
                changes.push(ArmChange { what: what.to_owned(), before, after });
            }
        };
        let (a, b) = (&self.fingerprints, &other.fingerprints);
        say("suite", &self.suite, &other.suite);
        let taken = |prints: &Fingerprints| format!("version {}", prints.version);
        say("measurement: how fingerprints are taken", &taken(a), &taken(b));
        say("measurement: tasks", &a.suite, &b.suite);
        say("measurement: graders", &a.graders, &b.graders);
        say("measurement: judge", &a.judge, &b.judge);
        say("measurement: prices", &a.prices, &b.prices);
        say("loop: command and files", &a.target, &b.target);
        say("loop: model", &self.model, &other.model);
        say("loop: variant", &self.variant_fingerprint, &other.variant_fingerprint);
        say("run", &self.run, &other.run);
        let names: BTreeSet<&String> = self.tasks.keys().chain(other.tasks.keys()).collect();
        for name in names {
            let word = |arm: &Arm| arm.tasks.get(name).map_or_else(|| "(not there)".to_owned(), counts_in_words);
            say(&format!("task {name}"), &word(self), &word(other));
        }
        changes
    }
}

fn counts_in_words(task: &TaskTrials) -> String {
    let count = |wanted: Outcome| task.outcomes.0.iter().filter(|o| **o == wanted).count();
    let (pass, fail, invalid) = (count(Outcome::Pass), count(Outcome::Fail), count(Outcome::Invalid));
    let broken = if invalid > 0 { format!(", {invalid} invalid") } else { String::new() };
    format!("{pass}/{}{broken}", pass + fail)
}

/// One difference between two baselines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArmChange {
    pub what: String,
    pub before: String,
    pub after: String,
}

fn gather(mut trials: Vec<&Trial>) -> TaskTrials {
    trials.sort_by_key(|t| (t.attempt, t.started, t.id.as_str()));
    let labels: BTreeSet<&str> = trials.iter().flat_map(|t| t.grades.iter().map(|g| g.label.as_str())).collect();
    let mut out = TaskTrials::default();
    let mut seen = BTreeSet::new();
    let mut answers = BTreeMap::<&str, u32>::new();
    let originals: BTreeSet<&str> = trials.iter().map(|t| t.id.as_str()).collect();
    for trial in &trials {
        // A copy counts through its original; when that is elsewhere, the first copy stands for it.
        let original = trial.copy_of.as_deref().unwrap_or(&trial.id);
        let represented = trial.copy_of.is_some() && originals.contains(original);
        if represented || !seen.insert(original) {
            out.copies += 1;
            continue;
        }
        out.outcomes.0.push(trial.outcome);
        // NaN and numbers out of range are no scores.
        out.scores.push(trial.score.filter(|s| (0.0..=1.0).contains(s) && trial.outcome != Outcome::Invalid));
        for label in &labels {
            let grade = trial.grades.iter().find(|g| g.label == **label).map(|g| &g.grade);
            out.graders.entry((*label).to_owned()).or_default().0.push(match grade {
                Some(Grade::Scored { pass: true, .. }) => Outcome::Pass,
                Some(Grade::Scored { pass: false, .. }) => Outcome::Fail,
                Some(Grade::Abstained { .. } | Grade::Broken { .. }) | None => Outcome::Invalid,
            });
        }
        out.duration_ms.push(trial.duration_us.div_ceil(1000));
        out.cost_usd.push(trial.cost_usd.filter(|c| c.is_finite()));
        out.tokens.push(trial.usage.is_known().then(|| trial.usage.total()));
        out.stuck += u32::from(trial.stuck);
        if let Some(hash) = &trial.answer_hash {
            *answers.entry(hash).or_default() += 1;
        }
    }
    out.same_answer = answers.into_values().max().filter(|n| *n > 1).unwrap_or(0);
    out
}
