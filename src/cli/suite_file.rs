//! A suite, opened from its file: what is wrong with it is shown where it stands.

use std::path::{Component, Path, PathBuf};

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report};

use super::Misuse;
use crate::eval::OnDisk;
pub use crate::eval::cases::Beside;
use crate::suite::{self, Files, Loaded, SuiteErrors, Target, hash_hex};

/// A suite that is in order, and where it stands.
pub struct Opened {
    pub loaded: Loaded,
    pub path: PathBuf,
    /// All its paths start there.
    pub dir: PathBuf,
}

/// Opens a suite; says everything that is wrong with it at once, and what may surprise.
pub fn open(path: &Path) -> anyhow::Result<Opened> {
    let opened = open_quietly(path)?;
    for warning in &opened.loaded.warnings {
        eprintln!("holdback: {}: {warning}", shown(&opened.path));
    }
    Ok(opened)
}

/// Opens a suite; keeps what may surprise to itself.
pub fn open_quietly(path: &Path) -> anyhow::Result<Opened> {
    let unreadable = |error: std::io::Error| Misuse(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let path = path.canonicalize().map_err(unreadable)?;
    let dir = path.parent().unwrap_or(Path::new("/")).to_owned();
    let name = shown(&path);
    let wrong = |errors: SuiteErrors| Misuse(rendered(&errors, &name, &text, &dir));
    let loaded = suite::load(&name, &text, &Beside(&dir)).map_err(wrong)?;
    crate::grade::check(&loaded).map_err(wrong)?;
    Ok(Opened { loaded, path, dir })
}

/// The path as short as it can be said from here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().and_then(|dir| dir.canonicalize()).unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

/// The errors as a person reads them: the line, what is wrong there, and what would help.
fn rendered(errors: &SuiteErrors, name: &str, text: &str, dir: &Path) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(120);
    let mut out = match errors.0.len() {
        1 => format!("{name} has an error\n"),
        count => format!("{name} has {count} errors\n"),
    };
    for error in &errors.0 {
        let source = if error.file == name { Ok(text.to_owned()) } else { Beside(dir).read(&error.file) };
        let mut diagnostic = MietteDiagnostic::new(error.message.clone());
        diagnostic.help.clone_from(&error.help);
        let report = match source.ok().filter(|source| error.line > 0 && error.offset <= source.len()) {
            Some(source) => {
                let len = error.len.max(1).min(source.len() - error.offset);
                diagnostic = diagnostic.with_label(LabeledSpan::underline(error.offset..error.offset + len));
                Report::new(diagnostic).with_source_code(NamedSource::new(&error.file, source))
            }
            None => {
                diagnostic.message = format!("{}: {}", error.file, error.message);
                Report::new(diagnostic)
            }
        };
        // Writing to a String cannot fail.
        let _ = handler.render_report(&mut out, report.as_ref());
    }
    out.trim_end().to_owned()
}

/// The hash of what a suite's target is made of on disk: its workspace, its scripts, and the programs of its command that stand
/// beside it. That is the loop's own version.
pub fn target_fingerprint(opened: &Opened, models: &[String]) -> anyhow::Result<String> {
    let suite = &opened.loaded.suite;
    let mut names: Vec<String> = Vec::new();
    if let Target::Loop(target) = &suite.target {
        names.extend(target.workspace.clone());
        names.extend(target.command.0.iter().map(|word| word.replace("{{suite_dir}}/", "")));
    }
    let models = if models.is_empty() { &suite.models } else { models };
    names.extend(models.iter().filter_map(|model| model.strip_prefix("mock/script:")).map(str::to_owned));
    Ok(hash_hex(hashes(&opened.dir, names)?.join("\n").as_bytes()))
}

/// Hashes of the files that tasks begin with and that graders use: with these it is the measurement that changes.
pub fn files(opened: &Opened) -> anyhow::Result<OnDisk> {
    let suite = &opened.loaded.suite;
    let begin_with = suite.tasks.iter().flat_map(|task| [&task.workspace, &task.tape]).flatten().cloned().collect();
    let specs = suite.graders.iter().chain(suite.tasks.iter().flat_map(|task| &task.graders));
    let mut words = Vec::new();
    specs.for_each(|spec| words_in(&spec.0, &mut words));
    let all = |names| -> anyhow::Result<String> {
        let hashes = hashes(&opened.dir, names)?;
        Ok(if hashes.is_empty() { String::new() } else { hash_hex(hashes.join("\n").as_bytes()) })
    };
    Ok(OnDisk { tasks: all(begin_with)?, graders: all(words)? })
}

/// Every word of every text in a grader's configuration: a command's words may be files.
fn words_in(value: &serde_json::Value, words: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => {
            // What is named as standing beside the suite may lie above it; a bare word is a file's only below it: not that folder
            // itself, which may hold a store, and nothing of the system's.
            words.extend(text.split_whitespace().filter_map(|word| {
                match word.strip_prefix("{{suite_dir}}/") {
                    Some(named) => Some(named.to_owned()),
                    None => Path::new(word)
                        .components()
                        .all(|part| matches!(part, Component::Normal(_)))
                        .then(|| word.to_owned()),
                }
            }));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| words_in(item, words)),
        serde_json::Value::Object(map) => map.values().for_each(|item| words_in(item, words)),
        _ => {}
    }
}

/// A line for each of the names that is a file or folder beside the suite.
fn hashes(dir: &Path, mut names: Vec<String>) -> anyhow::Result<Vec<String>> {
    names.sort();
    names.dedup();
    let mut hashes = Vec::new();
    for name in names.iter().filter(|name| !name.is_empty() && !name.contains("{{")) {
        let path = dir.join(name);
        let unreadable = |error: std::io::Error| Misuse(format!("{}: {error}", path.display()));
        // A program from the PATH is not ours to look into.
        if path.is_dir() {
            hashes.push(format!("{name} {}", crate::eval::folder_fingerprint(&path).map_err(unreadable)?));
        } else if path.is_file() {
            hashes.push(format!("{name} {}", hash_hex(&std::fs::read(&path).map_err(unreadable)?)));
        }
    }
    Ok(hashes)
}

/// The suite meant when none is named: the only one in `suites/`.
pub fn only_one() -> anyhow::Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("suites")
        .map(|entries| entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
        .unwrap_or_default();
    found.retain(|path| path.extension().is_some_and(|end| end == "yaml" || end == "yml"));
    found.sort();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            Err(Misuse("name a suite: holdback eval suites/first.yaml (`holdback init` drafts one)".to_owned()).into())
        }
        many => {
            let names: Vec<String> = many.iter().map(|path| path.display().to_string()).collect();
            Err(Misuse(format!("name one of the suites: {}", names.join(", "))).into())
        }
    }
}
