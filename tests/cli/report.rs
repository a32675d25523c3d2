//! `holdback report` and `holdback mcp` as they are typed.

#![allow(clippy::disallowed_methods)]

use std::fs;
use std::path::Path;
use std::process::Command;

use predicates::prelude::*;
use serde_json::{Value, json};

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

/// A session of Claude Code that ran in a folder for ten minutes, as it stands in its file.
fn session(id: &str, folder: &Path, began: jiff::Timestamp) -> String {
    let at = |minutes: i64| began + jiff::SignedDuration::from_mins(minutes);
    let line = |kind: &str, uuid: &str, parent: Value, minutes: i64, message: Value| {
        json!({"type": kind, "uuid": uuid, "parentUuid": parent, "sessionId": id, "isSidechain": false, "timestamp": at(minutes).to_string(),
            "version": "2", "cwd": folder, "message": message})
        .to_string()
    };
    let answer = |id: &str, words: &str| {
        json!({"id": id, "role": "assistant", "model": "claude-x", "content": [{"type": "text", "text": words}], "stop_reason": "end_turn",
            "usage": {"input_tokens": 10, "output_tokens": 4}})
    };
    let asked = |words: &str| json!({"role": "user", "content": words});
    let lines = [
        line("user", "u1", Value::Null, 0, asked("write it")),
        line("assistant", "a1", "u1".into(), 1, answer("m1", "written")),
        line("user", "u2", "a1".into(), 9, asked("thanks")),
        line("assistant", "a2", "u2".into(), 10, answer("m2", "done")),
    ];
    lines.join("\n") + "\n"
}

/// A commit of what stands there, made so long ago.
fn commit(folder: &Path, words: &str, at: jiff::Timestamp) {
    let date = format!("{} +0000", at.as_second());
    for args in
        [vec!["add", "-A"], vec!["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", words]]
    {
        let done = Command::new("git")
            .args(&args)
            .env("GIT_COMMITTER_DATE", &date)
            .env("GIT_AUTHOR_DATE", &date)
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn what_loops_left_is_told_from_what_others_did_and_what_did_not_last() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    fs::create_dir(&repo).unwrap();
    let repo = repo.canonicalize().unwrap();
    let days = |days: i64| jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * days);
    let minutes = |at: jiff::Timestamp, minutes: i64| at + jiff::SignedDuration::from_mins(minutes);
    let write = |name: &str, lines: std::ops::Range<u32>| {
        fs::write(repo.join(name), lines.map(|n| format!("{name} {n}\n")).collect::<String>()).unwrap();
    };
    let (old, young) = (days(40), days(2));
    git(&repo, &["init", "-q", "-b", "main"]);
    write("base.txt", 0..3);
    commit(&repo, "by hand, before", days(45));
    // While the first loop runs: ten lines and one taken away; and on a branch of its own three that nobody merged.
    write("work.txt", 0..10);
    write("base.txt", 0..2);
    commit(&repo, "by the loop", minutes(old, 5));
    git(&repo, &["checkout", "-q", "-b", "aside"]);
    write("aside.txt", 0..3);
    commit(&repo, "by the loop, aside", minutes(old, 6));
    git(&repo, &["checkout", "-q", "main"]);
    // Ten days later somebody takes four of them away again, and much later the rest.
    write("work.txt", 4..10);
    commit(&repo, "by hand, after", days(30));
    write("work.txt", 9..10);
    commit(&repo, "by hand, when it no longer counts", days(5));
    write("new.txt", 0..5);
    commit(&repo, "by the second loop", minutes(young, 5));
    fs::write(folder.path().join("one.jsonl"), session("s-1", &repo, old)).unwrap();
    fs::write(folder.path().join("two.jsonl"), session("s-2", &repo, young)).unwrap();
    fs::write(folder.path().join("elsewhere.jsonl"), session("s-3", folder.path(), minutes(young, 3))).unwrap();
    stdout(folder.path(), &["import", "one.jsonl", "two.jsonl", "elsewhere.jsonl"]);
    let report = asked(folder.path(), &["report", "--production", "--since", "60d", "--repo", "repo", "--json"]);
    let left = &report["delivered"];
    let counts =
        ["traces", "commits", "merged", "lines_added", "lines_removed", "judged_lines", "churned_lines", "too_young"];
    let found = counts.map(|name| left[name].as_u64().unwrap());
    assert_eq!(found, [2, 3, 2, 18, 1, 10, 4, 1], "{left}");
    let text = stdout(folder.path(), &["report", "--production", "--since", "60d", "--repo", "repo"]);
    assert!(text.contains("3 commits made while one of 2 traces ran here; 2 of them on the branch"), "{text}");
    assert!(text.contains("40.0 % of 10 added lines were gone within 21 days"), "{text}");
}

#[test]
fn groups_of_failures_lead_to_their_cases() {
    let folder = super::demo();
    let groups = || asked(folder.path(), &["report", "--production", "--json"])["failures"].clone();
    let before = groups();
    let group = before["groups"][0].clone();
    assert!(before["looked_at"] == 2 && before["failed"] == 1 && group["case"].is_null(), "{before}");
    let text = stdout(folder.path(), &["report", "--production"]);
    assert!(text.contains(&format!("holdback promote {}", group["id"].as_str().unwrap())), "{text}");
    holdback(folder.path()).args(["promote", "demo-stuck", "--yes"]).assert().success();
    let after = groups();
    let case = after["groups"][0]["case"].as_str().unwrap_or_else(|| panic!("{after}"));
    assert_eq!(
        (after["cases"][0]["id"].as_str(), after["groups"][0]["id"] == group["id"]),
        (Some(case), true),
        "{after}"
    );
    stdout(folder.path(), &["report", "--production", "-o", "p.html"]);
    let page = fs::read_to_string(folder.path().join("p.html")).unwrap();
    let link = page.split("href=\"#case-").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert!(page.contains(&format!("id=\"case-{link}\"")), "the link leads somewhere");
    assert!(stdout(folder.path(), &["report", "--production"]).contains(case));
}

#[test]
fn production_counts_what_the_tables_count() {
    let shared = std::env::var_os("HOLDBACK_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), std::path::PathBuf::from);
    if !shared.join("corpus").is_dir() {
        eprintln!("skipped: there is no corpus at {}", shared.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for part in ["langfuse", "openhands", "atif", "wire"] {
        let path = shared.join("corpus").join(part);
        if path.is_dir() {
            let _ = holdback(folder.path()).arg("import").arg(path).assert();
        }
    }
    let report = asked(folder.path(), &["report", "--production", "--since", "2015-01-01", "--json"]);
    let groups = report["groups"].as_array().unwrap();
    let sum = |what: &str, figure: &str| -> f64 {
        groups.iter().filter(|group| group["what"] == what).filter_map(|group| group[figure].as_f64()).sum()
    };
    let counted = asked(
        folder.path(),
        &[
            "sql",
            "--json",
            "SELECT count(*) AS traces, count(*) FILTER (outcome = 'ok') AS ok, count(*) FILTER (outcome = 'failed') AS failed, \
             count(*) FILTER (outcome IS NULL AND state = 'cut_off') AS cut_off, \
             (SELECT count(*) FROM calls) AS calls, (SELECT sum(cost_usd) FROM calls) AS cost_usd, \
             (SELECT count(*) FROM tool_calls) AS asked FROM traces",
        ],
    );
    assert!(counted[0]["traces"].as_f64() > Some(10.0), "{counted}");
    for figure in ["traces", "ok", "failed", "cut_off", "calls", "cost_usd"] {
        let wanted = counted[0][figure].as_f64().unwrap_or(0.0);
        for what in ["all", "model", "agent", "day"] {
            let found = sum(what, figure);
            assert!((found - wanted).abs() < 1e-6, "{what}: {figure} is {found}, and the tables say {wanted}");
        }
    }
    let tools = report["tools"].as_array().unwrap();
    let asked_for: f64 = tools.iter().filter_map(|tool| tool["asked"].as_f64()).sum();
    assert!(tools.len() >= 25 || (asked_for - counted[0]["asked"].as_f64().unwrap()).abs() < 0.5, "{tools:?}");
    let reasons: f64 = report["reasons"].as_array().unwrap().iter().filter_map(|one| one["traces"].as_f64()).sum();
    assert!((reasons - sum("all", "failed") - sum("all", "cut_off")).abs() < 0.5, "{}", report["reasons"]);
}
