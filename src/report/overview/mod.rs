//! What a report says of runs, as data: every format is a reading of it.

mod arms;
mod failures;
mod history;
mod judges;
mod tasks;
mod transcript;

use serde::{Deserialize, Serialize};

use crate::gate::{Arm, GateReport, SuiteReport, Verdict};
use crate::trace::{Timestamp, TraceId};
use crate::trial::RunRecord;

pub use arms::{ArmView, Point, Role, Spend, Spread};
pub use failures::{Failure, wanted};
pub use history::{Dot, Line};
pub use judges::{Agreement, Calibrated, Hearsay, Label, Rate, Share, Source};
pub use tasks::{Cell, Mark, Strip, TaskView};
pub use transcript::{Said, Transcript};

/// The format's name; the number grows when a reader of the old one would read the new one wrongly.
pub const FORMAT: &str = "holdback-report/1";

/// What a report is made of.
#[derive(Debug, Default)]
pub struct Material<'a> {
    pub title: String,
    /// When it is made.
    pub made: Timestamp,
    /// The runs that are reported, each with the variants that are meant.
    pub runs: &'a [Chosen],
    /// What they are held against.
    pub baselines: &'a [Held],
    /// The verdict, where there is a baseline.
    pub gate: Option<GateReport>,
    /// Earlier runs of the same suites, as arms of their outcomes; the oldest first.
    pub history: &'a [Arm],
    /// What is known of judges.
    pub hearsay: Hearsay,
    /// Conversations of [`wanted`] trials.
    pub transcripts: Vec<(TraceId, Transcript)>,
}

/// A run, and those of its variants that are meant.
#[derive(Debug, Clone)]
pub struct Chosen {
    pub run: RunRecord,
    pub arms: Vec<Arm>,
}

/// A baseline: an arm, and its run where it is not only a file.
#[derive(Debug, Clone)]
pub struct Held {
    pub arm: Arm,
    pub run: Option<RunRecord>,
}

/// What stands at the top.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Headline {
    /// The gate's verdict; `None` where nothing was compared.
    pub verdict: Option<Verdict>,
    pub word: String,
    pub why: String,
}

/// Everything that a report says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    pub title: String,
    pub made: Timestamp,
    pub headline: Headline,
    /// Suites in the order in which they are shown.
    pub suites: Vec<String>,
    /// The baselines first.
    pub arms: Vec<ArmView>,
    pub tasks: Vec<TaskView>,
    /// Trials that did not pass, those of regressed tasks first.
    pub failures: Vec<Failure>,
    /// Failures that are counted and not listed.
    pub more_failures: usize,
    pub history: Vec<Line>,
    /// Pass rates by judges, where there are any, and judges held against people.
    #[serde(default)]
    pub judged: Vec<Rate>,
    pub agreement: Vec<Agreement>,
    pub gate: Option<GateReport>,
}

impl Overview {
    /// Puts together what there is to say.
    pub fn of(material: Material<'_>) -> Overview {
        let arms = arms::all(&material);
        let mut suites: Vec<String> = Vec::new();
        for arm in &arms {
            if !suites.contains(&arm.suite) {
                suites.push(arm.suite.clone());
            }
        }
        let mut tasks = tasks::all(&material, &arms, &suites);
        let (failures, more_failures) = failures::all(&material, &arms, &mut tasks);
        Overview {
            headline: headline(&material, &arms),
            history: history::lines(material.history, &arms),
            judged: judges::rates(&material),
            agreement: judges::agreement(&material),
            title: material.title,
            made: material.made,
            suites,
            arms,
            tasks,
            failures,
            more_failures,
            gate: material.gate,
        }
    }

    /// Whether anything was measured at all.
    pub fn is_empty(&self) -> bool {
        self.arms.iter().all(|arm| arm.trials == 0)
    }

    /// As JSON, under its format's name.
    pub fn to_json(&self) -> String {
        super::json::document(FORMAT, self)
    }

    /// The number of an arm's colour and shape: the same for the same name in every suite.
    pub fn paint(&self, at: usize) -> usize {
        let mut names: Vec<&str> = Vec::new();
        for arm in &self.arms {
            if !names.contains(&arm.label.as_str()) {
                names.push(&arm.label);
            }
            if arm.label == self.arms[at].label {
                break;
            }
        }
        names.len().saturating_sub(1)
    }

    /// The arms of a suite, with the numbers of their colours.
    pub fn painted<'a>(&'a self, suite: &'a str) -> Vec<(usize, &'a ArmView)> {
        self.arms_of(suite).map(|(at, arm)| (self.paint(at), arm)).collect()
    }

    /// The arms of a suite, with their places in the list of all.
    pub fn arms_of<'a>(&'a self, suite: &'a str) -> impl Iterator<Item = (usize, &'a ArmView)> {
        self.arms.iter().enumerate().filter(move |(_, arm)| arm.suite == suite)
    }
}

fn headline(material: &Material<'_>, arms: &[ArmView]) -> Headline {
    if let Some(gate) = &material.gate {
        let word = super::headline(gate.verdict).to_owned();
        return Headline { verdict: Some(gate.verdict), word, why: in_short(gate) };
    }
    let trials: u32 = arms.iter().map(|arm| arm.trials).sum();
    if trials == 0 {
        let why = "no trial of these runs could be measured, so there is nothing to say".to_owned();
        return Headline { verdict: None, word: "Nothing measured".to_owned(), why };
    }
    let several = arms.iter().any(|arm| arm.suite != arms[0].suite);
    let one = |arm: &ArmView| {
        let place = if several { format!(" in {}", arm.suite) } else { String::new() };
        match (arm.trials, arm.invalid) {
            (0, invalid) => format!("{}{place}: nothing measured ({invalid} trials could not be)", arm.label),
            (trials, 0) => format!("{}{place} passed {} of {trials}", arm.label, arm.passed),
            (trials, invalid) => {
                format!("{}{place} passed {} of {trials}, {invalid} not measured", arm.label, arm.passed)
            }
        }
    };
    let mut why: Vec<String> = arms.iter().take(4).map(one).collect();
    if arms.len() > 4 {
        why.push(format!("{} more", arms.len() - 4));
    }
    Headline { verdict: None, word: "Measured, not compared".to_owned(), why: why.join("; ") }
}

/// Why the verdict is what it is; of many questions how many say so, which, and the first one's reason.
fn in_short(gate: &GateReport) -> String {
    let same: Vec<&SuiteReport> = gate.suites.iter().filter(|suite| suite.verdict == gate.verdict).collect();
    let (Some(first), true) = (same.first(), gate.suites.len() > 2) else { return gate.why.clone() };
    let name = |suite: &&SuiteReport| format!("{} in {}", suite.candidate.variant, suite.suite);
    let mut names: Vec<String> = same.iter().take(4).map(name).collect();
    if same.len() > 4 {
        names.push(format!("{} more", same.len() - 4));
    }
    format!("{} of {} comparisons: {}. The first: {}", same.len(), gate.suites.len(), names.join(", "), first.why)
}

#[cfg(test)]
pub(super) mod samples;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_held_and_comes_back() {
        let overview = samples::regressed();
        let text = overview.to_json();
        let again: Overview = serde_json::from_str(&text).unwrap();
        assert!(again.to_json() == text, "it came back different");
        insta::with_settings!({filters => vec![(r#""holdback": "[0-9.]+""#, r#""holdback": "VERSION""#)]}, {
            insta::assert_snapshot!(samples::small().to_json());
            insta::assert_snapshot!("what_is_missing_broken_or_undecided_is_a_value", samples::ragged().to_json());
        });
    }

    #[test]
    fn nothing_is_dropped_and_nothing_is_turned_green() {
        let overview = samples::ragged();
        let arm = &overview.arms[0];
        assert_eq!((arm.trials, arm.passed, arm.invalid, arm.copies, arm.missing), (7, 5, 2, 1, 6));
        assert_eq!((arm.broken_grades, arm.abstained_grades, arm.stuck, arm.finished), (5, 3, 1, false));
        assert!(arm.pass_hat(1).is_none() && arm.curve[0].why.is_some(), "one task has no trial at all");
        let spend = arm.spend.unwrap();
        assert_eq!((spend.unpriced_trials, spend.usd.is_some()), (1, true));
        let on_these = overview.agreement.iter().find(|one| one.from == Source::TheseTrials).unwrap();
        assert_eq!((on_these.labels, on_these.unjudged), (3, 1));
    }

    #[test]
    fn nothing_measured_is_said_and_not_called_a_pass() {
        let overview = samples::broken();
        assert!(overview.is_empty());
        assert_eq!(overview.headline.word, "Nothing measured");
        assert_eq!(overview.arms[0].invalid, 4);
        assert!(overview.arms[0].curve.iter().all(|point| point.estimate.is_none()));
    }
}
