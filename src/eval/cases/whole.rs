//! A case of a whole run: the loop is run again with its recorded tools and answers up to the call that failed, and the model
//! under test goes on from there. Proven red by running it against the whole tape, failing answer included.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::make::{as_trial, case_id, refused, whole_name, with_text};
use super::suite_text::{self, Fresh};
use super::{Case, CaseError, Models, Wish, case, disk, tape_file};
use crate::capture::clock;
use crate::eval::tapes::{self, Stored};
use crate::promote::{self, Personal, Picked, Size, Told};
use crate::replay::{Match, Tape};
use crate::store::log::Reader;
use crate::trace::{TraceId, TraceStarted};
use crate::trial::{Grade, Outcome, RunRecord};

/// The label of the grader that holds a run to its recorded way.
const PATH: &str = "keeps-to-its-path";

/// A case of a whole run, ready to be written.
pub struct Whole {
    pub case: Case,
    pub task: String,
    pub graders: Vec<Value>,
    pub tape: PathBuf,
    pub picked: Picked,
    pub size: Size,
    pub red: String,
    /// Store and suite have it already.
    pub present: bool,
    command: Vec<String>,
    workspace: Option<String>,
}

impl Whole {
    /// The suite such a case goes into.
    pub fn fresh(&self) -> Fresh<'_> {
        Fresh::Loop { command: &self.command, workspace: self.workspace.as_deref(), model: &self.case.model }
    }
}

/// Makes a case of the whole run.
pub fn run(
    reader: &Arc<Reader>,
    wish: &Wish,
    models: &mut dyn Models,
    trace: TraceId,
    group: Option<String>,
) -> Result<Whole, CaseError> {
    let about = runnable(with_text(reader, trace)?)?;
    let mut told = tapes::told_of(&mut reader.browse(), trace)?;
    let trial = as_trial(reader, &about, trace)?;
    let group = group.or_else(|| trial.as_ref().map(|trial| trial.group.clone()));
    told.scores.extend(trial.map(|trial| trial.score));
    let picked = promote::pick(&told, Some(&wish.hint)).map_err(|why| refused(why.to_string()))?;
    let turn = &told.turns[picked.at];
    let id = format!("{}-loop", case_id(&picked, group.as_deref(), told.trace));
    let suite = suite_text::name(&wish.suite)?;
    let known = case::read(reader)?.iter().any(|known| known.id == id && known.suite == suite);
    let present = known && suite_text::has(&wish.suite, &id)?;
    if !wish.keep_personal {
        nobodys(&told)?;
    }
    let graders = graders(&picked, &told, turn.number);
    let tape = suite_text::beside(&wish.suite, "traces").join(format!("{id}.trace.zst"));
    let details = json!({
        "kind": picked.kind, "reason": picked.reason, "call": turn.number, "call_id": turn.call, "model": turn.request.model,
        "wire": turn.asked.wire, "agent": about.agent, "commit": about.git_commit, "command": about.command,
    });
    let case = Case {
        id,
        suite,
        file: wish.suite.display().to_string(),
        level: "loop".to_owned(),
        group,
        reason: picked.says.clone(),
        trace,
        call: turn.number,
        model: whole_name(turn),
        opened: clock::now(),
        details,
    };
    let named = suite_text::relative(&wish.suite, "traces", &tape);
    let task = suite_text::loop_task(&case, &named, Some(turn.number), &picked.kind, &graders);
    let size = turn_size(&told, picked.at);
    let workspace = wish.workspace.as_deref().map(|folder| seen_from(&wish.suite, folder));
    let mut whole = Whole {
        case,
        task,
        graders,
        tape,
        size,
        picked,
        red: String::new(),
        present,
        command: about.command.clone(),
        workspace,
    };
    if !present {
        whole.red = prove(reader, wish, models, &whole)?;
    }
    Ok(whole)
}

fn turn_size(told: &Told, at: usize) -> Size {
    let turn = &told.turns[at];
    let body: Value = serde_json::from_slice(&turn.body).unwrap_or_default();
    promote::size(turn.asked.wire, &body)
}

/// What is known of a trace that can answer its own loop.
fn runnable(stored: Stored) -> Result<TraceStarted, CaseError> {
    let Stored { about, reel, .. } = stored;
    if about.command.is_empty() {
        return Err(refused(
            "which command the loop was is not known (it was recorded by a proxy, or imported): only runs of `holdback record -- \
             COMMAND` can be run again; --level step needs none",
        ));
    }
    if about.command.iter().any(|word| word.contains("{{")) {
        return Err(refused(
            "its command has {{ in it, which a suite would read as a variable; --level step needs no command",
        ));
    }
    let tape = Tape::new(reel, Match::Normal, Vec::new(), false);
    tape.map(|_| about).map_err(|why| refused(format!("the run can't be played again: {why}; --level step may do")))
}

/// A loop asks what it asked: personal data in it can't be replaced without its requests being other ones than those on the tape.
fn nobodys(told: &Told) -> Result<(), CaseError> {
    let mut personal = Personal::new();
    for turn in &told.turns {
        let body: Value = serde_json::from_slice(&turn.body).unwrap_or_default();
        let said = serde_json::to_value(&turn.response.message).unwrap_or_default();
        for mut value in [body, said] {
            personal.learn(&value);
            personal.value(&mut value);
        }
    }
    match personal.count() {
        0 => Ok(()),
        count => Err(refused(format!(
            "{count} pieces of personal data stand in the run, and a loop would not ask what is on its tape any more if they were \
             replaced: make the case a step (--level step), or say --keep-personal if they may be kept"
        ))),
    }
}

/// The graders of the case: the run keeps to its way up to the failing call, and then does something else.
fn graders(picked: &Picked, told: &Told, number: usize) -> Vec<Value> {
    let mut graders = promote::loop_graders(picked, told);
    // What the failing call asks is still what was recorded; what comes after its answer may be anything.
    graders.push(json!({"type": "divergence", "label": PATH, "from": number + 1}));
    graders
}

/// Runs the loop against the whole tape: it has to go its recorded way, and the graders have to be red for their reason.
fn prove(reader: &Arc<Reader>, wish: &Wish, models: &mut dyn Models, whole: &Whole) -> Result<String, CaseError> {
    let folder = tempfile::tempdir().map_err(disk::at(Path::new("a folder of its own")))?;
    let suite = folder.path().join("suites/proof.yaml");
    let tape = suite_text::beside(&suite, "traces").join("proof.trace.zst");
    export(reader, whole, &tape)?;
    let workspace = match &wish.workspace {
        Some(folder) => Some(std::path::absolute(folder).map_err(disk::at(folder))?.display().to_string()),
        None => None,
    };
    let fresh = Fresh::Loop { command: &whole.command, workspace: workspace.as_deref(), model: &whole.case.model };
    let named = suite_text::relative(&suite, "traces", &tape);
    suite_text::add(
        &suite,
        &suite_text::loop_task(&whole.case, &named, None, &whole.picked.kind, &whole.graders),
        &fresh,
    )?;
    let record = models.run(&suite).map_err(CaseError::Unanswered)?;
    verdict(&record).map_err(|why| {
        refused(format!(
            "it can't be proven red by running it again: {why} (--workspace DIR gives it the files it had; --level step needs no run)"
        ))
    })
}

/// What the run against the whole tape says.
fn verdict(record: &RunRecord) -> Result<String, String> {
    let trial = record.trials.first().ok_or("no trial was made")?;
    let why = || trial.why.clone().unwrap_or_else(|| "nothing was measured".to_owned());
    if trial.outcome == Outcome::Invalid {
        return Err(why());
    }
    let failed = |grade: &Grade| matches!(grade, Grade::Scored { pass: false, .. });
    if let Some(left) = trial.grades.iter().find(|grade| grade.label == PATH && failed(&grade.grade)) {
        return Err(left.reasons.first().cloned().unwrap_or_else(why));
    }
    let red = trial.grades.iter().find(|grade| grade.label != PATH && failed(&grade.grade));
    let red = red.ok_or_else(|| {
        format!(
            "its graders find nothing wrong with the recorded run{}",
            match trial.outcome {
                Outcome::Pass => String::new(),
                _ => format!(", it failed by itself: {}", why()),
            }
        )
    })?;
    Ok(format!("{}: {}", red.label, red.reasons.first().cloned().unwrap_or_default()))
}

/// The recorded run as a file, with where it comes from.
pub fn export(reader: &Reader, whole: &Whole, to: &Path) -> Result<u64, CaseError> {
    let mut provenance = whole.case.details.clone();
    provenance["trace"] = json!(whole.case.trace);
    provenance["proven_red"] = json!(whole.red);
    tape_file::copy(reader, &whole.case.id, whole.case.trace, whole.case.opened, provenance, to)
}

/// A folder as the suite's own folder sees it.
fn seen_from(suite: &Path, folder: &Path) -> String {
    if folder.is_absolute() {
        return folder.display().to_string();
    }
    let up = suite.parent().into_iter().flat_map(Path::components).filter(|part| matches!(part, Component::Normal(_)));
    let up: PathBuf = up.map(|_| Component::ParentDir).collect();
    up.join(folder).display().to_string()
}
