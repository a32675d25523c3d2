//! A regression suite as text: cases are added at its end, and nothing a person wrote in it is touched.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use super::cases::Case;
use crate::cli::{Misuse, out, suite_file};

/// The suite's name: what the file says, or what a new one will be called.
pub fn name(path: &Path) -> anyhow::Result<String> {
    if path.exists() {
        return Ok(suite_file::open(path)?.loaded.suite.suite);
    }
    Ok(path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("regressions").to_owned())
}

/// Whether it has a case already.
pub fn has(path: &Path, id: &str) -> anyhow::Result<bool> {
    if !path.exists() {
        return Ok(false);
    }
    Ok(suite_file::open(path)?.loaded.suite.tasks.iter().any(|task| task.id == id))
}

/// Tapes stand in `traces/`, beside `suites/`.
pub fn traces_folder(suite: &Path) -> PathBuf {
    let folder = suite.parent().unwrap_or(Path::new(""));
    match folder.file_name().is_some_and(|name| name == "suites") {
        true => folder.parent().unwrap_or(Path::new("")).join("traces"),
        false => folder.join("traces"),
    }
}

/// A tape as its suite names it.
pub fn relative(suite: &Path, tape: &Path) -> String {
    let file = tape.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = suite.parent().unwrap_or(Path::new(""));
    let up = if folder.file_name().is_some_and(|name| name == "suites") { "../" } else { "" };
    format!("{up}traces/{file}")
}

/// A case as a task of a suite.
pub fn task(case: &Case, tape: &str, kind: &str, graders: &[Value]) -> String {
    let line = |text: &str| out::printable(&text.split_whitespace().collect::<Vec<_>>().join(" "));
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
        text.push_str(&format!("      - {grader}\n"));
    }
    text
}

fn new_suite(name: &str, model: &str) -> String {
    format!(
        "# Regression cases, made by `holdback promote`: each asks the frozen request of its tape again and grades the next move.\n\
         suite: {}\nkind: regression\ntarget:\n  trace: {{ask: true}}\nmodels: {}\ntrials: 1\ntasks:\n",
        json!(name),
        json!([model]),
    )
}

/// Adds a task at the end; the suite is as it was when that doesn't work out.
pub fn add(path: &Path, task: &str, model: &str) -> anyhow::Result<()> {
    let before = match path.exists() {
        true => Some(std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?),
        false => None,
    };
    let mut text = match &before {
        Some(text) => text.clone(),
        None => new_suite(&name(path)?, model),
    };
    let mut keys = text.lines().rev().filter(|line| line.starts_with(|c: char| c.is_ascii_alphabetic()));
    if !keys.next().is_some_and(|line| line.starts_with("tasks:")) {
        return Err(
            Misuse(format!("{}: put tasks: last, so that cases can be added at its end", path.display())).into()
        );
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(task);
    publish(path, &text)?;
    let target = suite_file::open(path).map(|opened| opened.loaded.suite.target);
    let asks = matches!(&target, Ok(crate::suite::Target::Trace(target)) if target.ask);
    if !asks {
        match before {
            Some(before) => publish(path, &before)?,
            None => std::fs::remove_file(path).unwrap_or_default(),
        }
        target?;
        return Err(
            Misuse(format!("{}: cases go into a suite with target: {{trace: {{ask: true}}}}", path.display())).into()
        );
    }
    Ok(())
}

fn publish(path: &Path, text: &str) -> anyhow::Result<()> {
    out::publish(path, |file| Ok(std::io::Write::write_all(file, text.as_bytes())?))?;
    // What belongs in git is for everybody who has the repository.
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))?)
}
