//! House rules that a compiler doesn't know. An allow-list only ever shrinks: an entry that is no longer needed fails too.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines in a file, its tests included.
const FILE_LINES: usize = 600;
/// Lines in a function.
const FUNCTION_LINES: usize = 70;

/// Files that are longer, with their length as it may be at most.
const LONG_FILES: &[(&str, usize)] = &[];
/// Functions that are longer: file, name.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.map(|entry| entry.expect("readable").path()) {
        if path.is_dir() {
            walk(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for dir in ["src", "tests", "benches"] {
        walk(&root.join(dir), &mut paths);
    }
    paths.sort();
    let name = |path: &Path| path.strip_prefix(root).expect("below root").to_string_lossy().replace('\\', "/");
    paths.into_iter().map(|path| (name(&path), fs::read_to_string(&path).expect("UTF-8"))).collect()
}

#[test]
fn files_stay_short() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let lines = text.lines().count();
        match LONG_FILES.iter().find(|(file, _)| *file == name) {
            Some((_, most)) if lines > *most => wrong.push(format!("{name}: {lines} lines, {most} at most")),
            Some(_) if lines <= FILE_LINES => wrong.push(format!("{name}: short again, take it off the list")),
            None if lines > FILE_LINES => wrong.push(format!("{name}: {lines} lines, {FILE_LINES} at most")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Functions of rustfmt'd code with their lengths: from the `fn` line to the closing brace of the same indentation.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        if code.ends_with(';') {
            continue; // a trait's promise of a function
        }
        let Some(name) = code.split_once("fn ").filter(|(before, _)| {
            before
                .split_whitespace()
                .all(|word| word.starts_with("pub") || ["async", "const", "unsafe", "extern"].contains(&word))
        }) else {
            continue;
        };
        let name: String = name.1.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let indent = line.len() - code.len();
        let closing = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[start..].iter().position(|later| *later == closing) {
            found.push((name, length + 1));
        }
    }
    found
}

#[test]
fn functions_stay_short() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let found = functions(&text);
        for (function, lines) in &found {
            let allowed = LONG_FUNCTIONS.contains(&(name.as_str(), function.as_str()));
            if *lines > FUNCTION_LINES && !allowed {
                wrong.push(format!("{name}: fn {function} has {lines} lines, {FUNCTION_LINES} at most"));
            }
        }
        for (_, function) in LONG_FUNCTIONS.iter().filter(|(file, _)| *file == name) {
            if !found.iter().any(|(other, lines)| other == function && *lines > FUNCTION_LINES) {
                wrong.push(format!("{name}: fn {function} is short again, take it off the list"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<String> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(name, _)| name).collect();
    assert!(silent.is_empty(), "files without a first line `//! …`: {silent:?}");
}

#[test]
fn nothing_unfinished_is_left_lying_about() {
    // Spelled apart so that this file doesn't find itself.
    let words = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME"), concat!("TO", "DO")];
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{name}:{}: {word}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sql_avoids_what_differs_between_builds_of_duckdb() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/sql");
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&root).into_iter().flatten() {
        let path = entry.expect("readable").path();
        let text = fs::read_to_string(&path).expect("UTF-8").to_lowercase();
        for word in ["timestamptz", "with time zone", "primary key", "create index", " unique"] {
            if text.contains(word) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "not the same in every build, or not crash-safe (see ARCHITECTURE.md): {wrong:?}");
}

#[test]
fn main_stays_thin() {
    let (_, text) = sources().into_iter().find(|(name, _)| name == "src/main.rs").expect("main.rs is there");
    assert!(text.lines().count() <= 30, "main.rs has more than 30 lines");
}
