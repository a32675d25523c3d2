//! Help, completions, man pages, and how wrong command lines are answered.

use predicates::prelude::*;

use super::{holdback, stdout};

/// Every command that has options of its own, as it is called.
fn commands() -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let help = stdout(folder.path(), &["--help"]);
    let list = help.split_once("Commands:").expect("a list of commands").1.split_once("Options:").expect("options").0;
    let names = list.lines().filter_map(|line| line.split_whitespace().next().map(str::to_owned));
    names.filter(|name| name != "help").collect()
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let commands = commands();
    assert!(commands.len() >= 10, "{commands:?}");
    for command in commands {
        let help = stdout(folder.path(), &[&command, "--help"]);
        assert!(help.contains("Example"), "`holdback {command} --help` has no example:\n{help}");
    }
}

#[test]
fn completions_and_man_pages_are_made_for_all() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(stdout(folder.path(), &["completions", shell]).contains("traces"), "{shell}");
    }
    assert!(stdout(folder.path(), &["man"]).contains(".TH holdback 1"));
    stdout(folder.path(), &["man", "pages"]);
    assert!(folder.path().join("pages/holdback-traces-show.1").is_file());
}

#[test]
fn wrong_command_lines_exit_with_2_and_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for (args, words) in [
        (&["nonsense"][..], "nonsense"),
        (&["traces", "show", "last"], "there is no store at .holdback"),
        (&["sql", "SELECT 1"], "holdback demo"),
        (&["prune"], "--older-than 30d"),
        (&["record"], "CMD"),
        (&["record", "--upstream", "openai", "--", "true"], "NAME=URL"),
        (&["record", "--tag", "x", "--", "true"], "KEY=VALUE"),
        (&["proxy", "--listen", "0.0.0.0:0"], "token"),
        (&["attach", "--trace", "xyz"], "32 hex digits"),
    ] {
        holdback(folder.path()).args(args).assert().code(2).stdout("").stderr(predicate::str::contains(words));
    }
    assert!(stdout(folder.path(), &["traces"]).is_empty(), "an empty store has nothing to list");
}

#[test]
fn a_word_that_fits_no_trace_is_named() {
    let folder = super::demo();
    holdback(folder.path()).args(["traces", "show", "nope"]).assert().code(2).stderr(predicate::str::contains("nope"));
    holdback(folder.path())
        .args(["traces", "show", "last", "--call", "99"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("there is no call 99"));
}

#[test]
fn the_config_file_is_read_and_its_mistakes_are_placed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("holdback.yaml"), "content: none\nupstreem: {}\n").unwrap();
    holdback(folder.path())
        .args(["record", "--", "true"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("holdback.yaml").and(predicate::str::contains("upstreem")));
    std::fs::write(
        folder.path().join("holdback.yaml"),
        "brakes: {max_calls: 3}\nredact: [{name: badge, regex: 'B-\\d{6}'}]\n",
    )
    .unwrap();
    holdback(folder.path()).args(["record", "--", "true"]).assert().success();
}

#[test]
fn colours_are_for_terminals_and_whoever_asks() {
    let folder = super::demo();
    assert!(!stdout(folder.path(), &["traces"]).contains('\u{1b}'));
    let coloured = stdout(folder.path(), &["traces", "--color", "always"]);
    assert!(coloured.contains("\u{1b}["));
    let plain = regex::Regex::new("\u{1b}\\[[0-9;]*m").unwrap().replace_all(&coloured, "").into_owned();
    assert_eq!(plain, stdout(folder.path(), &["traces"]), "colours take no room in a column");
}

#[test]
fn attach_prints_what_to_export() {
    let folder = tempfile::tempdir().unwrap();
    let lines = stdout(folder.path(), &["attach", "--to", "http://10.0.0.5:4141/"]);
    assert!(lines.contains("export ANTHROPIC_BASE_URL='http://10.0.0.5:4141"), "{lines}");
    assert!(lines.lines().all(|line| line.starts_with("export ")), "{lines}");
}
