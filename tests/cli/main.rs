//! The command line as a person or a script meets it: the built binary, real files, real child processes.
#![allow(clippy::unwrap_used)] // a test that can't set itself up may panic

mod demo;
mod import;
mod import_bad;
mod mcp;
mod report;
mod words;

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

/// The binary, in a folder of its own and with nothing of the caller's environment that it would listen to.
fn holdback(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("holdback").unwrap();
    command.current_dir(folder);
    for name in ["HOLDBACK_STORE", "HOLDBACK_TOKEN", "OPENAI_BASE_URL", "HOLDBACK_DEMO_MODEL", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

/// What a command that goes well prints.
fn stdout(folder: &Path, args: &[&str]) -> String {
    let output = holdback(folder).args(args).assert().success().get_output().stdout.clone();
    String::from_utf8(output).unwrap()
}

/// The one JSON document that a command prints.
fn json(folder: &Path, args: &[&str]) -> Value {
    let text = stdout(folder, args);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?} printed no JSON document: {error}\n{text}"))
}

/// A folder with a store that the demo has filled.
fn demo() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    holdback(folder.path()).args(["demo", "--no-eval"]).assert().success();
    folder
}
