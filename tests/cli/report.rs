//! `holdback report` and `holdback mcp` as they are typed.

#![allow(clippy::disallowed_methods)]

use std::fs;
use std::path::Path;
use std::process::Command;

use predicates::prelude::*;
use serde_json::Value;

use super::{holdback, json as asked, stdout};

/// Two runs of one small suite: a model that always passes, and one that does sometimes.
fn measured() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("s.yaml"),
        "suite: small\nkind: capability\ntarget: {prompt: {}}\nmodels: [mock/echo]\ntrials: 4\ngraders: [{type: contains, all: [word]}]\n\
         tasks: [{id: one, prompt: A word.}, {id: two, prompt: Another word.}]\n",
    )
    .unwrap();
    for (name, model) in [("before", "mock/echo"), ("after", "mock/flaky?p=0.4&seed=3")] {
        holdback(folder.path())
            .args(["eval", "s.yaml", "--quiet", "--name", name, "--model", model])
            .assert()
            .success();
    }
    folder
}

#[test]
fn a_report_is_written_in_every_form() {
    let folder = measured();
    let at = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    for name in ["out/r.html", "out/r.md", "out/r.json", "out/r.csv", "out/r.parquet"] {
        stdout(folder.path(), &["report", "after", "--baseline", "before", "-o", name]);
    }
    let page = at("out/r.html");
    assert!(
        page.starts_with("<!DOCTYPE html>") && page.contains("mock/flaky") && page.contains("Every trial"),
        "{page}"
    );
    assert!(at("out/r.md").contains("mock/echo (baseline) | 100.0 %"), "{}", at("out/r.md"));
    let document: Value = serde_json::from_str(&at("out/r.json")).unwrap();
    assert_eq!(
        (document["format"].as_str(), document["arms"][0]["trials"].as_u64()),
        (Some("holdback-report/1"), Some(8))
    );
    assert_eq!(at("out/r.csv").lines().count(), 17, "a heading and sixteen trials");
    assert!(fs::read(folder.path().join("out/r.parquet")).unwrap().starts_with(b"PAR1"));
    // Without a file: Markdown on stdout, or the document.
    assert!(stdout(folder.path(), &["report"]).contains("Measured, not compared"));
    assert_eq!(asked(folder.path(), &["report", "before", "--json"])["arms"][0]["passed"], 8);
    fs::write(folder.path().join("house.html.j2"), "<p>{{ headline.word }} {{ arms[0].label }}</p>").unwrap();
    assert_eq!(
        stdout(folder.path(), &["report", "before", "--template", "house.html.j2"]),
        "<p>Measured, not compared mock&#x2f;echo</p>"
    );
}

#[test]
fn what_is_asked_wrong_is_said() {
    let folder = measured();
    fs::write(folder.path().join("bad.md"), "{{ nothing }}").unwrap();
    for (args, words) in [
        (vec!["report", "nosuch"], "there is no run"),
        (vec!["report", "-o", "r.pdf"], "expected .html, .md, .json, .csv or .parquet"),
        (vec!["report", "--baseline", "nosuch"], "there is no run"),
        (vec!["report", "--baseline", "nosuch.json"], "nosuch.json"),
        (vec!["report", "--template", "bad.md"], "bad.md:1"),
        (vec!["report", "--policy", "p.yaml"], "--baseline"),
        (vec!["report", "--production", "--since", "soon"], "30d, 12h or 2w"),
        (vec!["report", "--production", "-o", "x.csv"], ".html, .md or .json"),
        (vec!["report", "--production", "--repo", "/"], "no git repository"),
        (vec!["view", "--listen", "0.0.0.0:0"], "this machine only"),
    ] {
        holdback(folder.path()).args(&args).assert().code(2).stderr(predicate::str::contains(words));
    }
    let empty = tempfile::tempdir().unwrap();
    holdback(empty.path()).arg("report").assert().code(2).stderr(predicate::str::contains("there is no store"));
}

fn git(folder: &Path, args: &[&str]) {
    let done = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@example.com"])
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn production_says_how_loops_did_and_what_they_left() {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "-q"]);
    fs::write(folder.path().join(".gitignore"), ".holdback\n").unwrap();
    git(folder.path(), &["add", "."]);
    git(folder.path(), &["commit", "-q", "-m", "before", "--date", "2020-01-01T00:00:00"]);
    let work = "printf 'one\\ntwo\\n' > new.txt && git add . && git -c user.name=a -c user.email=a@example.com commit -q -m work";
    holdback(folder.path()).args(["record", "--name", "good", "--", "sh", "-c", work]).assert().success();
    holdback(folder.path()).args(["record", "--name", "bad", "--", "sh", "-c", "exit 3"]).assert().code(3);
    let report = asked(folder.path(), &["report", "--production", "--repo", ".", "--json"]);
    let all = report["groups"].as_array().unwrap().iter().find(|group| group["what"] == "all").unwrap();
    assert_eq!((all["what"].as_str(), all["ok"].as_u64(), all["failed"].as_u64()), (Some("all"), Some(1), Some(1)));
    let left = &report["delivered"];
    assert_eq!((left["merged"].as_u64() >= Some(1), left["lines_added"].as_u64() >= Some(2)), (true, true), "{left}");
    stdout(folder.path(), &["report", "--production", "--since", "1d", "-o", "p.html"]);
    assert!(fs::read_to_string(folder.path().join("p.html")).unwrap().contains("ended well"));
}
