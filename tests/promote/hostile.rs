//! Traces that are no good, or good for more than one thing.

use serde_json::json;

use super::traces::{Script, asks, named, result, says, short, store, user};
use super::{json, run};
use holdback::trace::{Note, Provenance, Source, TraceOutcome, TraceStarted, What};

#[test]
fn a_trace_that_broke_off_makes_a_case_of_what_is_whole_or_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let store = store(dir);
    let deploy = json!({"region": "eu-1"});
    let mut script = Script::begin(&store, 1, named("cut"));
    let mut messages = vec![user("Release it.")];
    script.call(&messages, &asks("a", "deploy", &deploy));
    messages.extend([asks("a", "deploy", &deploy), result("a", "error: the quota is used up")]);
    script.ask(&messages);
    drop(script);
    let (code, _, stderr) = run(dir, &["promote", "cut"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("nothing in the trace says that it failed"), "{stderr}");
    let (code, _, stderr) = run(dir, &["promote", "cut", "--call", "2"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("call 2 was not answered"), "{stderr}");
    // Whole up to the failing answer, and broken off behind it: that is enough.
    let mut script = Script::begin(&store, 2, named("late"));
    script.call(&messages, &asks("b", "deploy", &deploy));
    messages.extend([asks("b", "deploy", &deploy), result("b", "error: the quota is used up")]);
    script.call(&messages, &asks("c", "deploy", &deploy));
    script.call(&messages, &asks("d", "deploy", &deploy));
    script.ask(&messages);
    drop(script);
    let (code, stdout, stderr) = run(dir, &["promote", "late", "--call", "1"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("proven red: does-not-repeat"), "{stdout}");
}

#[test]
fn a_trace_that_is_not_replay_grade_says_so_in_the_case() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut script = Script::begin(&store(dir), 1, TraceStarted { source: Source::Imported, ..named("transcript") });
    let origin = Provenance {
        format: "claude-code".to_owned(),
        from: "session.jsonl".to_owned(),
        replay_grade: false,
        why_not: "requests are rebuilt from what was said".to_owned(),
        ..Provenance::default()
    };
    let data = serde_json::to_value(origin).unwrap();
    script.accept(What::Noted(Note { kind: Provenance::KIND.to_owned(), call: None, data }));
    let deploy = json!({"region": "eu-1"});
    let mut messages = vec![user("Release it.")];
    script.call(&messages, &asks("a", "deploy", &deploy));
    messages.extend([asks("a", "deploy", &deploy), result("a", "error: the quota is used up")]);
    script.call(&messages, &asks("b", "deploy", &deploy));
    script.end(TraceOutcome::Failed);
    drop(script);
    let made = json(dir, &["promote", "transcript", "--yes", "--json"]);
    let note = made["cases"][0]["notes"][0].as_str().unwrap();
    assert!(note.contains("not replay-grade (requests are rebuilt"), "{made:#}");
    let cases = json(dir, &["cases", "--json"]);
    assert_eq!(cases["cases"][0]["details"]["imported"]["replay_grade"], false, "{cases:#}");
}

#[test]
fn of_two_causes_the_first_is_proven_and_the_other_told() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut script = Script::begin(&store(dir), 1, named("both"));
    let deploy = json!({"region": "eu-1"});
    let mut messages = vec![user("Release it.")];
    script.call(&messages, &asks("a", "deploy", &deploy));
    messages.extend([asks("a", "deploy", &deploy), result("a", "error: the quota is used up")]);
    script.call(&messages, &asks("b", "deploy", &deploy));
    messages.extend([asks("b", "deploy", &deploy), result("b", "error: the quota is used up")]);
    script.call(&messages, &says("All is released, enjoy!"));
    script.end(TraceOutcome::Failed);
    script.score(0.0, "nothing was released");
    drop(script);
    let made = json(dir, &["promote", "both", "--json"]);
    let case = &made["cases"][0];
    assert!(case["proven_red"].as_str().unwrap().starts_with("does-not-repeat"), "{made:#}");
    assert!(case["besides"].to_string().contains("All is released"), "{made:#}");
    // A person may name the other.
    let other = json(dir, &["promote", "both", "--call", "3", "--json"]);
    assert!(other["cases"][0]["proven_red"].as_str().unwrap().contains("says-something-else"), "{other:#}");
}

#[test]
fn a_redaction_that_would_destroy_the_failure_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut script = Script::begin(&store(dir), 1, named("odd"));
    let deploy = json!({"region": "eu-1"});
    // Somebody's family name is what the tool's errors begin with.
    let mut messages = vec![user("Release it. {\"surname\": \"error\"}")];
    script.call(&messages, &asks("a", "deploy", &deploy));
    messages.extend([asks("a", "deploy", &deploy), result("a", "error: the quota is used up")]);
    script.call(&messages, &asks("b", "deploy", &deploy));
    script.end(TraceOutcome::Failed);
    drop(script);
    let (code, _, stderr) = run(dir, &["promote", "odd", "--yes"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains("without personal data the failure is gone") && stderr.contains("--keep-personal"),
        "{stderr}"
    );
    assert!(!dir.join("suites").exists() && !dir.join("traces").exists(), "nothing is left lying about");
    let (code, stdout, stderr) = run(dir, &["promote", "odd", "--yes", "--keep-personal"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
}

#[test]
fn names_of_suites_and_words_of_traces_stay_words() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut script = Script::begin(&store(dir), 1, named("evil"));
    let evil = json!({"region": "x\n  - id: injected\n    trace: /etc/passwd"});
    let mut messages = vec![user("Release it.")];
    script.tools.push("deploy\n- id: more".to_owned());
    script.call(&messages, &asks("a", "deploy\n- id: more", &evil));
    messages.extend([asks("a", "deploy\n- id: more", &evil), result("a", "error: \u{1b}[2J\n- id: injected")]);
    script.call(&messages, &asks("b", "deploy\n- id: more", &evil));
    script.end(TraceOutcome::Failed);
    drop(script);
    let (code, stdout, stderr) = run(dir, &["promote", "evil", "--yes"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(!stdout.contains('\u{1b}'), "{stdout}");
    let suite = std::fs::read_to_string(dir.join("suites/regressions.yaml")).unwrap();
    assert!(!suite.contains('\u{1b}'), "{suite}");
    let (_, stdout, stderr) =
        run(dir, &["eval", "suites/regressions.yaml", "--dry-run", "--json", "--model", "mock/echo"]);
    let plan: serde_json::Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}"));
    assert_eq!(plan["tasks"].as_array().unwrap().len(), 1, "{plan:#}");
    short(&store(dir), 2, "fine");
    let (code, ..) = run(dir, &["promote", "fine", "--suite", "../outside/../x.yaml", "--yes"]);
    assert!(code <= 2, "a path of the caller's own is theirs");
}
