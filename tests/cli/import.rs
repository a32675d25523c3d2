//! `holdback import` and `holdback otlp` as a user types them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{holdback, json, stdout};

fn seed(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/import").join(name)).unwrap()
}

#[test]
fn a_folder_of_many_formats_comes_in_once_and_one_bad_file_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("traces");
    fs::create_dir_all(&dir).unwrap();
    for name in ["claude-code.jsonl", "codex.jsonl", "pi.jsonl", "langfuse.json", "wire-log.jsonl"] {
        fs::write(dir.join(name), seed(name)).unwrap();
    }
    fs::write(dir.join("codex-packed.jsonl.zst"), zstd::encode_all(&seed("gemini-cli.jsonl")[..], 3).unwrap()).unwrap();
    fs::write(dir.join("SHA256SUMS"), "x").unwrap();
    fs::write(dir.join("broken.json"), b"{\"trace\":{\"id\":\"x\"},\"observations\":[").unwrap();
    let run = |arguments: &[&str]| holdback(folder.path()).args(arguments).output().unwrap();
    let first = run(&["import", "traces", "--json"]);
    assert_eq!(first.status.code(), Some(1), "{}", String::from_utf8_lossy(&first.stderr));
    let done: Vec<Value> = serde_json::from_slice(&first.stdout).unwrap();
    let of = |name: &str| done.iter().find(|one| one["file"].as_str().unwrap().ends_with(name)).unwrap();
    assert_eq!(of("SHA256SUMS")["skipped"], "checksums");
    assert!(of("broken.json")["error"].as_str().unwrap().contains("whole JSON"));
    assert_eq!(
        (&of("codex-packed.jsonl.zst")["format"], &of("claude-code.jsonl")["added_calls"]),
        (&"gemini-cli".into(), &2.into())
    );
    fs::remove_file(dir.join("broken.json")).unwrap();
    let traces = json(folder.path(), &["traces", "ls", "--json"]);
    assert_eq!(traces.as_array().unwrap().len(), 6);
    assert!(traces.as_array().unwrap().iter().all(|trace| trace["source"] == "imported"));
    let again = stdout(folder.path(), &["import", "traces"]);
    assert!(again.contains(" 0 new calls"), "{again}");
    let shown = stdout(folder.path(), &["traces", "show", "A talk"]);
    assert!(shown.contains("claude-code, ") && shown.contains("no: transcripts keep what was said"), "{shown}");
}

#[test]
fn a_file_that_has_grown_adds_only_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let whole = seed("pi.jsonl");
    let half = whole.len() - whole.iter().rev().skip(1).position(|byte| *byte == b'\n').unwrap() - 1;
    let path = folder.path().join("session.jsonl");
    fs::write(&path, &whole[..half]).unwrap();
    stdout(folder.path(), &["import", "session.jsonl"]);
    let more = [&whole[..], br#"{"type":"message","id":"f","parentId":"e","timestamp":"2026-01-02T03:04:10Z","message":{"role":"assistant","provider":"p","model":"m","content":[],"usage":{"input":1,"output":1},"stopReason":"stop"}}"#].concat();
    fs::write(&path, more).unwrap();
    let out = stdout(folder.path(), &["import", "session.jsonl"]);
    assert!(out.contains(" 1 new calls"), "{out}");
    let trace = json(folder.path(), &["traces", "ls", "--json"]);
    assert_eq!((trace.as_array().unwrap().len(), &trace[0]["calls"]), (1, &2.into()));
}

#[test]
fn secrets_in_a_foreign_file_never_reach_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let key = ["sk-ant-api03-", "Zk3vQ9xLm2Rt7Yb4Nc8Wd1Hf6Js5Gp0Ka3Te7Uo2Xi9Vq4Bz8Mn1Cy6Dw5Er0Fg-Hj3Kl7Pa"].concat();
    let text =
        String::from_utf8(seed("claude-code.jsonl")).unwrap().replace("\"look\"", &format!("\"use {key} to look\""));
    fs::write(folder.path().join("s.jsonl"), text).unwrap();
    stdout(folder.path(), &["import", "s.jsonl"]);
    let shown = stdout(folder.path(), &["traces", "show", "last", "--full"]);
    assert!(shown.contains("[redacted:"), "{shown}");
    let exported = holdback(folder.path()).args(["traces", "export", "last"]).output().unwrap().stdout;
    let exported = zstd::decode_all(&exported[..]).unwrap();
    assert!(!String::from_utf8_lossy(&exported).contains(&key[20..60]));
}

#[test]
fn results_of_other_harnesses_are_runs_that_can_be_compared() {
    let folder = tempfile::tempdir().unwrap();
    let rows = |good: usize| -> String {
        (0..8)
            .flat_map(|task| {
                (0..4).map(move |repeat| {
                    format!("{{\"task\":\"t{task}\",\"model\":\"m\",\"repeat\":{repeat},\"pass\":{}}}\n", task < good)
                })
            })
            .collect()
    };
    fs::create_dir_all(folder.path().join("a")).unwrap();
    fs::create_dir_all(folder.path().join("b")).unwrap();
    fs::write(folder.path().join("a/bench.jsonl"), rows(8)).unwrap();
    fs::write(folder.path().join("b/bench.jsonl"), rows(2)).unwrap();
    stdout(folder.path(), &["import", "a/bench.jsonl"]);
    stdout(folder.path(), &["import", "b/bench.jsonl"]);
    stdout(folder.path(), &["import", "b/bench.jsonl"]);
    let runs = json(folder.path(), &["runs", "--json"]);
    assert_eq!(runs.as_array().unwrap().len(), 2, "{runs}");
    let ids: Vec<&str> = runs.as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap()).collect();
    let gate = |baseline: &str, candidate: &str| {
        let output =
            holdback(folder.path()).args(["gate", "--baseline", baseline, "--candidate", candidate]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let verdicts = [gate(ids[0], ids[1]), gate(ids[1], ids[0])];
    assert!(
        verdicts.iter().any(|(code, _)| *code == Some(1)) && verdicts.iter().all(|(code, _)| *code != Some(2)),
        "{verdicts:?}"
    );
}

#[test]
fn a_trace_goes_out_as_otlp_and_comes_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("o.json"), seed("langfuse.json")).unwrap();
    stdout(folder.path(), &["import", "o.json"]);
    let body = stdout(folder.path(), &["traces", "export", "last", "--format", "otlp-json"]);
    assert!(body.contains("gen_ai.evaluation.result") && body.contains("gen_ai.input.messages"), "{body}");
    fs::write(folder.path().join("back.json"), &body).unwrap();
    let there = ["--store", "there", "import", "back.json"];
    stdout(folder.path(), &there);
    let traces = json(folder.path(), &["--store", "there", "traces", "ls", "--json"]);
    let here = json(folder.path(), &["traces", "ls", "--json"]);
    assert_eq!(
        (&traces[0]["id"], &traces[0]["calls"], &traces[0]["usage"]["input"]),
        (&here[0]["id"], &1.into(), &here[0]["usage"]["input"])
    );
}
