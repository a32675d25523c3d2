//! pass^1 and pass^k over the runs there were, a line for each suite and model.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ArmView;
use super::arms::point;
use crate::gate::Arm;
use crate::stats::Estimate;
use crate::trace::Timestamp;

/// Runs on one line.
const MOST: usize = 40;

/// One run on a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dot {
    pub run: String,
    pub started: Timestamp,
    pub git_commit: Option<String>,
    pub pass_1: Option<Estimate>,
    /// pass^k for the line's k.
    pub pass_k: Option<Estimate>,
}

/// One model's runs of one suite, the oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub suite: String,
    pub model: String,
    pub variant: String,
    pub k: u32,
    pub dots: Vec<Dot>,
}

/// The lines of the suites that are reported; a suite that was run once has no history.
pub fn lines(history: &[Arm], arms: &[ArmView]) -> Vec<Line> {
    let mut by: BTreeMap<(&str, &str, &str), Vec<&Arm>> = BTreeMap::new();
    for arm in history.iter().filter(|arm| arms.iter().any(|shown| shown.suite == arm.suite)) {
        by.entry((&arm.suite, &arm.model, &arm.variant)).or_default().push(arm);
    }
    let line = |((suite, model, variant), mut runs): ((&str, &str, &str), Vec<&Arm>)| {
        runs.sort_by_key(|arm| arm.started);
        let runs = &runs[runs.len().saturating_sub(MOST)..];
        let k = runs.iter().map(|arm| arm.trials_per_task).min().unwrap_or(1).max(1);
        let dot = |arm: &&Arm| Dot {
            run: arm.run.clone(),
            started: arm.started,
            git_commit: arm.git_commit.clone(),
            pass_1: point(arm, 1).estimate,
            pass_k: point(arm, k).estimate,
        };
        let dots = runs.iter().map(dot).collect();
        Line { suite: suite.to_owned(), model: model.to_owned(), variant: variant.to_owned(), k, dots }
    };
    let lines: Vec<Line> = by.into_iter().map(line).collect();
    let mut runs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for one in &lines {
        runs.entry(&one.suite).or_default().extend(one.dots.iter().map(|dot| dot.run.as_str()));
    }
    let often: BTreeSet<String> =
        runs.into_iter().filter(|(_, runs)| runs.len() > 1).map(|(suite, _)| suite.to_owned()).collect();
    lines.into_iter().filter(|line| often.contains(&line.suite)).collect()
}
