//! Grades what stands in a workspace now, for a loop in flight that wants another pair of eyes before it stops.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::needs::{self, Source};
use super::plan;
use super::sandbox::{Kept, Rules};
use super::trial::{Graders, grade_all};
use super::workspace::Workspace;
use crate::capture::Fetcher;
use crate::grade::{Bound, Evidence, Need};
use crate::suite::{Loaded, Target, nearest};
use crate::trial::{Grade, GradeRecord};

/// Why nothing could be checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    #[error("the suite has no task {0:?}{1}")]
    NoTask(String, String),
    #[error("the workspace can't be read: {0}")]
    Workspace(String),
    #[error("the graders: {0}")]
    Graders(String),
    #[error(
        "no grader of this task looks at files or runs a command, so there is nothing to check before the end ({0})"
    )]
    Nothing(String),
}

/// What a check found.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    pub grades: Vec<GradeRecord>,
    /// Labels of graders that need the whole trial and were left out.
    pub left_out: Vec<String>,
}

impl Checked {
    /// Whether the loop may stop: every required grader that could look passes. One that broke has not said yes.
    pub fn is_done(&self) -> bool {
        self.grades.iter().filter(|grade| grade.required).all(|grade| grade.grade.pass() == Some(true))
    }

    /// What a maker should do next, as an instruction; empty when nothing is to do.
    pub fn instruction(&self) -> String {
        let mut lines = Vec::new();
        for record in self.grades.iter().filter(|record| record.required && record.grade.pass() != Some(true)) {
            match &record.grade {
                Grade::Broken { reason } | Grade::Abstained { reason } => {
                    lines.push(format!("- {} could not be checked: {reason}", record.label));
                }
                Grade::Scored { .. } if record.reasons.is_empty() => lines.push(format!("- {} fails", record.label)),
                Grade::Scored { .. } => {
                    lines.extend(record.reasons.iter().map(|reason| format!("- {}: {reason}", record.label)));
                }
            }
        }
        match lines.is_empty() {
            true => String::new(),
            false => format!("The work is not done yet. Fix this, then stop:\n{}\n", lines.join("\n")),
        }
    }
}

/// Checks a workspace against the graders of a task. `answer` is what the loop says so far, where there is something.
///
/// # Errors
/// When there is no such task, no such folder, or nothing that can be looked at before the end.
pub async fn check(
    loaded: &Loaded,
    suite_dir: &Path,
    task: &str,
    workspace: &Path,
    answer: Option<String>,
    env: Vec<(OsString, OsString)>,
) -> Result<Checked, CheckError> {
    let Some(found) = loaded.suite.tasks.iter().find(|known| known.id == task) else {
        let near = nearest(task, loaded.suite.tasks.iter().map(|task| task.id.as_str()));
        return Err(CheckError::NoTask(
            task.to_owned(),
            near.map(|near| format!(": did you mean {near:?}?")).unwrap_or_default(),
        ));
    };
    let fixture = found.workspace.clone().or_else(|| match &loaded.suite.target {
        Target::Loop(target) => target.workspace.clone(),
        _ => None,
    });
    let fixture = fixture.map(|fixture| suite_dir.join(fixture));
    let unreadable = |error: std::io::Error| CheckError::Workspace(format!("{}: {error}", workspace.display()));
    let files =
        Workspace::at(workspace, fixture.as_deref()).and_then(|workspace| workspace.look()).map_err(unreadable)?;
    let mut evidence = Evidence::new(task, answer.as_deref().unwrap_or_default());
    evidence.files = files;
    evidence.vars.clone_from(&found.vars);
    evidence.expected.clone_from(&found.expected);
    let mut vars = plan::task_vars(loaded, found);
    vars.insert("workspace".to_owned(), Value::from(workspace.to_string_lossy().into_owned()));
    vars.insert("suite_dir".to_owned(), Value::from(suite_dir.to_string_lossy().into_owned()));
    vars.insert("answer".to_owned(), Value::from(evidence.answer.clone()));
    let graders = Graders::of(loaded, found).map_err(CheckError::Graders)?.for_trial(loaded, found, &vars);
    let can_look = |grader: &Bound| looks_at_work(grader, &evidence) || answer.is_some() && reads_answers(grader.kind);
    let left_out: Vec<String> =
        graders.iter().filter(|grader| !can_look(grader)).map(|grader| grader.label.clone()).collect();
    if left_out.len() == graders.len() {
        return Err(CheckError::Nothing(left_out.join(", ")));
    }
    let source = Source {
        workspace: Some(workspace.to_owned()),
        suite_dir: suite_dir.to_owned(),
        env,
        kept: Kept::No,
        rules: Rules { write: Vec::new(), hidden: workspace.to_owned(), only_port: None, image: None },
        fetcher: Fetcher::default(),
    };
    needs::fulfil(&graders, &mut evidence, &source, None).await;
    let mut grades = grade_all(Arc::clone(&graders), &evidence).await;
    grades.retain(|grade| !left_out.contains(&grade.label));
    Ok(Checked { grades, left_out })
}

fn looks_at_work(grader: &Bound, evidence: &Evidence) -> bool {
    let needs = grader.needs(evidence);
    grader.kind == "files" || needs.iter().any(|need| matches!(need, Need::File { .. } | Need::Command { .. }))
}

fn reads_answers(kind: &str) -> bool {
    ["equals", "contains", "regex", "json_schema", "json_path", "number", "similarity", "refusal", "no_secrets"]
        .contains(&kind)
}
