//! A regression suite as text: cases are added at its end, and nothing a person wrote in it is touched.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::disk::{self, Beside};
use super::{Case, CaseError};
use crate::suite::{Loaded, Target, load};

/// Reads a suite as `eval` will read it.
fn open(path: &Path) -> Result<Loaded, CaseError> {
    let name = path.display().to_string();
    let text = disk::text(path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let wrong = |errors: crate::suite::SuiteErrors| CaseError::Asked(errors.to_string());
    let loaded = load(&name, &text, &Beside(dir)).map_err(wrong)?;
    crate::grade::check(&loaded).map_err(wrong)?;
    Ok(loaded)
}

/// The suite's name: what the file says, or what a new one will be called.
pub fn name(path: &Path) -> Result<String, CaseError> {
    if path.exists() {
        return Ok(open(path)?.suite.suite);
    }
    Ok(path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("regressions").to_owned())
}

/// Whether it has a case already.
pub fn has(path: &Path, id: &str) -> Result<bool, CaseError> {
    if !path.exists() {
        return Ok(false);
    }
    Ok(open(path)?.suite.tasks.iter().any(|task| task.id == id))
}

/// The folder of tapes or rubrics: it stands beside `suites/`, else beside the suite.
pub fn beside(suite: &Path, name: &str) -> PathBuf {
    let folder = suite.parent().unwrap_or(Path::new(""));
    match folder.file_name().is_some_and(|name| name == "suites") {
        true => folder.parent().unwrap_or(Path::new("")).join(name),
        false => folder.join(name),
    }
}

/// A file in such a folder as its suite names it.
pub fn relative(suite: &Path, name: &str, file: &Path) -> String {
    let file = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = suite.parent().unwrap_or(Path::new(""));
    let up = if folder.file_name().is_some_and(|name| name == "suites") { "../" } else { "" };
    format!("{up}{name}/{file}")
}

/// A case as a task of a suite.
pub fn task(case: &Case, tape: &str, kind: &str, graders: &[Value]) -> String {
    // A comment ends with its line, and what a terminal would obey has no place in a file that people look at.
    let line = |text: &str| -> String {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        words
            .chars()
            .filter(|c| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
            .collect()
    };
    let commit =
        case.details["commit"].as_str().map_or_else(String::new, |commit| format!(", commit {}", line(commit)));
    let mut text = format!(
        "  # {}\n  # from trace {}, call {}, model {}{commit}\n  - id: {}\n    trace: {}\n    tags: {}\n    graders:\n",
        line(&case.reason),
        case.trace,
        case.call,
        line(&case.model),
        json!(case.id),
        json!(tape),
        json!(["promoted", kind]),
    );
    for grader in graders {
        if grader["type"] == "rubric" {
            text.push_str("      # a draft: read it, reword it, and measure its judge before it may block\n");
        }
        text.push_str(&format!("      - {grader}\n"));
    }
    text
}

/// A case of a whole run as a task. Without `live_from` everything is answered from the tape.
pub fn loop_task(case: &Case, tape: &str, live_from: Option<usize>, kind: &str, graders: &[Value]) -> String {
    let text = task(case, tape, kind, graders);
    let from = live_from.map_or_else(String::new, |from| format!("\n    live_from: {from}"));
    text.replacen(&format!("    trace: {}", json!(tape)), &format!("    tape: {}{from}", json!(tape)), 1)
}

/// What a suite for such cases looks like when it is new, and what an old one must be like.
pub enum Fresh<'a> {
    /// Frozen requests, asked again of a model.
    Step { model: &'a str },
    /// Whole runs of a loop.
    Loop { command: &'a [String], workspace: Option<&'a str>, model: &'a str },
}

impl Fresh<'_> {
    fn fits(&self, target: &Target) -> bool {
        match self {
            Fresh::Step { .. } => matches!(target, Target::Trace(target) if target.ask),
            Fresh::Loop { command, .. } => {
                matches!(target, Target::Loop(target) if target.command.0 == *command)
            }
        }
    }

    fn wants(&self) -> &'static str {
        match self {
            Fresh::Step { .. } => {
                "such cases go into a suite with target: {trace: {ask: true}}; name another with --suite"
            }
            Fresh::Loop { .. } => {
                "such cases go into a suite whose loop is the command that was recorded; name another with --suite"
            }
        }
    }
}

fn new_suite(name: &str, fresh: &Fresh<'_>) -> String {
    let model = match fresh {
        Fresh::Step { model } => model,
        Fresh::Loop { command, workspace, model } => {
            let workspace = workspace.map_or_else(String::new, |folder| format!("\n    workspace: {}", json!(folder)));
            return format!(
                "# Regression cases of whole runs, made by `holdback promote --level loop`: the loop is answered from its tape up to the\n\
                 # call that failed, and from there on by the model under test.\nsuite: {}\nkind: regression\ntarget:\n  loop:\n    \
                 command: {}{workspace}\nmodels: {}\ntrials: 1\ntasks:\n",
                json!(name),
                json!(command),
                json!([model]),
            );
        }
    };
    format!(
        "# Regression cases, made by `holdback promote`: each asks the frozen request of its tape again and grades the next move.\n\
         suite: {}\nkind: regression\ntarget:\n  trace: {{ask: true}}\nmodels: {}\ntrials: 1\ntasks:\n",
        json!(name),
        json!([model]),
    )
}

/// Adds a task at the end; the suite is as it was when that doesn't work out.
pub fn add(path: &Path, task: &str, fresh: &Fresh<'_>) -> Result<(), CaseError> {
    let before = if path.exists() { Some(disk::text(path)?) } else { None };
    let mut text = match &before {
        Some(text) => text.clone(),
        None => new_suite(&name(path)?, fresh),
    };
    let mut keys = text.lines().rev().filter(|line| line.starts_with(|c: char| c.is_ascii_alphabetic()));
    if !keys.next().is_some_and(|line| line.starts_with("tasks:")) {
        let place = path.display();
        return Err(CaseError::Asked(format!("{place}: put tasks: last, so that cases can be added at its end")));
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(task);
    disk::publish(path, text.as_bytes())?;
    let opened = open(path);
    let fits = opened.as_ref().is_ok_and(|loaded| fresh.fits(&loaded.suite.target));
    if !fits {
        match before {
            Some(before) => drop(disk::publish(path, before.as_bytes())?),
            None => std::fs::remove_file(path).unwrap_or_default(),
        }
        opened?;
        return Err(CaseError::Asked(format!("{}: {}", path.display(), fresh.wants())));
    }
    Ok(())
}
