//! Grades trials again from what was kept of them, with other graders perhaps: nothing is spent on loops, and what moves is
//! the measurement alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::judge::Judges;
use super::needs::{self, Court, Source};
use super::plan;
use super::sandbox::{Kept, Rules};
use super::trial::{Graders, grade_all};
use crate::capture::{Fetcher, Proxy};
use crate::grade::{self, Evidence, Need};
use crate::suite::{Loaded, Target};
use crate::trial::{Outcome, Trial};

/// A trial and what was kept of it; without evidence it stays as it is.
#[derive(Debug, Clone)]
pub struct Stored {
    pub trial: Trial,
    pub evidence: Option<Evidence>,
}

/// A trial whose outcome the measurement moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub task: String,
    pub variant: String,
    pub attempt: u32,
    pub before: Outcome,
    pub after: Outcome,
    pub why: Option<String>,
}

/// What grading again came to.
#[derive(Debug, Clone, Default)]
pub struct Regraded {
    pub trials: Vec<Trial>,
    pub moved: Vec<Moved>,
    /// Graders whose configuration is another than before, as `task/label`.
    pub changed_graders: Vec<String>,
    /// Trials that could not be graded again, and why.
    pub left: Vec<String>,
    /// What is now known of each trial that was graded again, by its id: what judges said is part of it.
    pub evidence: BTreeMap<String, Evidence>,
}

/// Grades trials again with the graders a suite has now. With judges, rubrics are read again: what a judge has answered
/// already it is not asked again.
///
/// # Errors
/// When a grader of the suite can't be made.
pub async fn regrade(
    loaded: &Loaded,
    suite_dir: &Path,
    stored: Vec<Stored>,
    judges: Option<(&Proxy, &Judges)>,
) -> Result<Regraded, String> {
    let mut result = Regraded::default();
    let source = Source {
        workspace: None,
        suite_dir: suite_dir.to_owned(),
        env: Vec::new(),
        kept: Kept::No,
        rules: Rules { write: Vec::new(), hidden: suite_dir.to_owned(), only_port: None, image: None },
        fetcher: Fetcher::default(),
    };
    let mut graders: BTreeMap<usize, Graders> = BTreeMap::new();
    for Stored { trial, evidence } in stored {
        let place = loaded.suite.tasks.iter().position(|task| task.id == trial.task);
        let (Some(place), Some(evidence)) = (place, evidence) else {
            let why = if place.is_none() { "the suite has no such task any more" } else { "its evidence was not kept" };
            result.left.push(format!("{} #{}: {why}", trial.task, trial.attempt));
            result.trials.push(trial);
            continue;
        };
        if let std::collections::btree_map::Entry::Vacant(entry) = graders.entry(place) {
            entry.insert(Graders::of(loaded, &loaded.suite.tasks[place])?);
        }
        let new = one(loaded, &source, &graders[&place], place, &trial, evidence, judges).await;
        let (new, evidence) = new;
        result.evidence.insert(new.id.clone(), evidence);
        note_changes(&mut result, &trial, &new);
        result.trials.push(new);
    }
    result.changed_graders.sort();
    result.changed_graders.dedup();
    Ok(result)
}

async fn one(
    loaded: &Loaded,
    source: &Source,
    graders: &Graders,
    place: usize,
    trial: &Trial,
    mut evidence: Evidence,
    judges: Option<(&Proxy, &Judges)>,
) -> (Trial, Evidence) {
    let task = &loaded.suite.tasks[place];
    evidence.expected.clone_from(&task.expected);
    evidence.vars.clone_from(&task.vars);
    let mut vars = plan::task_vars(loaded, task);
    vars.insert("answer".to_owned(), Value::from(evidence.answer.clone()));
    vars.insert("trial".to_owned(), Value::from(trial.attempt.to_string()));
    vars.insert("seed".to_owned(), Value::from(trial.seed.unwrap_or(0).to_string()));
    let bound = graders.for_trial(loaded, task, &vars);
    let mut new = trial.clone();
    if !matches!(evidence.ending, crate::trial::Ending::Broken { .. }) {
        if judges.is_some() {
            evidence.got.retain(|(need, _)| !matches!(need, Need::Judge { .. }));
        }
        let name = format!("judge {}/{}#{} {}", loaded.suite.suite, task.id, trial.attempt, trial.variant);
        let tags: Vec<(String, String)> = [("run", &trial.run), ("task", &trial.task), ("variant", &trial.variant)]
            .map(|(tag, value)| (tag.to_owned(), value.clone()))
            .into();
        let rubrics = &loaded.rubrics;
        let court = judges.map(|(proxy, judges)| Court { proxy, judges, rubrics, name: &name, tags: &tags });
        needs::fulfil(&bound, &mut evidence, source, court).await;
        new.grades = grade_all(Arc::clone(&bound), &evidence).await;
    }
    let ok_exit: &[i32] = match &loaded.suite.target {
        Target::Loop(target) => &target.ok_exit,
        _ => &[0],
    };
    let verdict = grade::verdict(&evidence.ending, ok_exit, &new.grades);
    (new.outcome, new.score, new.why) = (verdict.outcome, verdict.score, verdict.why);
    (new, evidence)
}

fn note_changes(result: &mut Regraded, old: &Trial, new: &Trial) {
    for grade in &new.grades {
        let same =
            old.grades.iter().any(|before| before.label == grade.label && before.fingerprint == grade.fingerprint);
        if !same {
            result.changed_graders.push(format!("{}/{}", new.task, grade.label));
        }
    }
    for grade in old.grades.iter().filter(|before| !new.grades.iter().any(|grade| grade.label == before.label)) {
        result.changed_graders.push(format!("{}/{} (gone)", new.task, grade.label));
    }
    if old.outcome != new.outcome {
        result.moved.push(Moved {
            task: new.task.clone(),
            variant: new.variant.clone(),
            attempt: new.attempt,
            before: old.outcome,
            after: new.outcome,
            why: new.why.clone(),
        });
    }
}
