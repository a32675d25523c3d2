//! The demo, and everything a person does with what it stored.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use predicates::prelude::*;

use super::{demo, holdback, json, stdout};

#[test]
fn the_demo_tells_its_story_and_leaves_its_traces() {
    let folder = tempfile::tempdir().unwrap();
    holdback(folder.path())
        .arg("demo")
        .assert()
        .success()
        .stdout(predicate::str::contains("I have refunded the 12.50 you paid"))
        .stdout(predicate::str::contains("failed (exit 1)"))
        .stdout(predicate::str::contains("→ refund_order"))
        .stdout(predicate::str::contains("Regression: "));
    let page = fs::read_to_string(folder.path().join("reports/demo.html")).unwrap();
    assert!(page.contains("is-regress") && page.contains("no-discount") && !page.contains("src=\"http"), "{page}");
    let traces = json(folder.path(), &["traces", "ls", "--json", "--tag", "demo=yes"]);
    let names: Vec<_> = traces.as_array().unwrap().iter().map(|trace| trace["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["demo-stuck", "demo-refund"], "newest first");
    let refund = &traces[1];
    assert_eq!((refund["calls"].as_u64(), refund["outcome"].as_str()), (Some(3), Some("ok")));
    assert!(refund["cost_usd"].as_f64().unwrap() > 0.0);
    assert_eq!(traces[0]["exit_code"], 1);
}

#[test]
fn the_store_is_for_its_owner_only() {
    let folder = demo();
    let mut waiting = vec![folder.path().join(".holdback")];
    while let Some(path) = waiting.pop() {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            assert_eq!(mode & 0o077, 0, "{} is {mode:o}", path.display());
        }
    }
}

#[test]
fn a_trace_is_shown_as_the_conversation_it_was() {
    let folder = demo();
    let shown = json(folder.path(), &["traces", "show", "demo-refund", "--json"]);
    let calls = shown["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 3);
    let relations: Vec<_> = calls.iter().map(|call| call["relation"].as_str().unwrap()).collect();
    assert_eq!(relations, ["root", "extend", "extend"]);
    let roles: Vec<_> =
        calls[0]["new_messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user"]);
    assert_eq!(calls[0]["answer"]["parts"][1]["name"], "lookup_order");
    assert_eq!(calls[1]["new_messages"][0]["parts"][0]["type"], "tool_result");
    for call in calls {
        assert!(call["first_byte_us"].as_u64().unwrap() <= call["took_us"].as_u64().unwrap());
        assert_eq!(call["end"], "complete");
    }
    // By the beginning of its id, by `last`, and its raw bytes.
    let id = shown["id"].as_str().unwrap();
    assert_eq!(json(folder.path(), &["traces", "show", &id[..6], "--json"])["id"], shown["id"]);
    assert_eq!(json(folder.path(), &["traces", "show", "last", "--json"])["name"], "demo-stuck");
    let request = json(folder.path(), &["traces", "show", id, "--call", "2", "--request"]);
    assert_eq!(request["messages"].as_array().unwrap().len(), 4);
    let response = stdout(folder.path(), &["traces", "show", id, "--call", "2", "--response"]);
    assert!(response.starts_with("data: ") && response.trim_end().ends_with("data: [DONE]"), "{response}");
}

#[test]
fn listing_never_opens_the_index() {
    let folder = demo();
    let index = folder.path().join(".holdback/index.duckdb");
    fs::remove_file(&index).unwrap();
    stdout(folder.path(), &["traces"]);
    stdout(folder.path(), &["traces", "show", "last"]);
    assert!(!index.exists(), "traces ls and show need no DuckDB");
}

#[test]
fn sql_answers_as_table_json_csv_and_parquet() {
    let folder = demo();
    let query = "SELECT name, count(*) AS calls FROM calls JOIN traces USING (trace_id) GROUP BY ALL ORDER BY name";
    let rows = json(folder.path(), &["sql", "--json", query]);
    assert_eq!(rows, serde_json::json!([{"name": "demo-refund", "calls": 3}, {"name": "demo-stuck", "calls": 8}]));
    assert_eq!(stdout(folder.path(), &["sql", "--csv", query]), "name,calls\ndemo-refund,3\ndemo-stuck,8\n");
    assert!(stdout(folder.path(), &["sql", query]).contains("demo-stuck"));
    stdout(folder.path(), &["sql", "--parquet", "calls.parquet", query]);
    assert!(fs::read(folder.path().join("calls.parquet")).unwrap().starts_with(b"PAR1"));
    assert_eq!(json(folder.path(), &["sql", "--json", "SELECT 1 AS one WHERE false"]), serde_json::json!([]));
}

#[test]
fn sql_cannot_write_and_says_what_is_wrong() {
    let folder = demo();
    for (query, words) in [
        ("SELECT nonsense FROM calls", "nonsense"),
        ("DELETE FROM calls", ""),
        ("COPY calls TO 'out.csv'", ""),
        ("SELECT * FROM read_csv('/etc/passwd')", ""),
        ("SELECT 1; SELECT 2", "one statement"),
    ] {
        holdback(folder.path())
            .args(["sql", query])
            .assert()
            .code(2)
            .stdout("")
            .stderr(predicate::str::contains(words));
    }
    assert!(!folder.path().join("out.csv").exists());
}

#[test]
fn an_index_made_anew_has_the_same_rows() {
    let folder = demo();
    let query = "SELECT * FROM calls ORDER BY call_id";
    let before = stdout(folder.path(), &["sql", "--json", query]);
    let folded = json(folder.path(), &["index", "--rebuild", "--json"]);
    assert_eq!(folded["calls"], 11);
    assert_eq!(stdout(folder.path(), &["sql", "--json", query]), before);
}

#[test]
fn the_doctor_finds_a_flipped_byte_and_names_it() {
    let folder = demo();
    let healthy = json(folder.path(), &["doctor", "--verify", "--json"]);
    assert_eq!((healthy["sound"].as_bool(), healthy["checkup"]["bodies"].as_u64()), (Some(true), Some(11)));
    let log = folder.path().join(".holdback/log");
    let segment = fs::read_dir(&log)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "hblog"))
        .expect("a segment");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&segment, bytes).unwrap();
    holdback(folder.path())
        .args(["doctor", "--verify"])
        .assert()
        .code(1)
        .stdout(predicate::str::contains("NOT sound").and(predicate::str::contains("byte ")));
}

#[test]
fn traces_leave_and_come_back_byte_for_byte() {
    let folder = demo();
    stdout(folder.path(), &["traces", "export", "demo-refund", "-o", "out/refund.trace.zst"]);
    let there = ["--store", "there", "import", "out/refund.trace.zst"];
    stdout(folder.path(), &there);
    stdout(folder.path(), &there);
    let list = json(folder.path(), &["--store", "there", "traces", "ls", "--json"]);
    assert_eq!(list.as_array().unwrap().len(), 1, "importing twice adds nothing");
    for call in ["1", "2", "3"] {
        let body = ["traces", "show", "demo-refund", "--call", call, "--request"];
        let copy: Vec<&str> = ["--store", "there"].into_iter().chain(body).collect();
        assert_eq!(stdout(folder.path(), &body), stdout(folder.path(), &copy), "call {call}");
    }
}

#[test]
fn traces_go_when_told_and_not_before() {
    let folder = demo();
    stdout(folder.path(), &["traces", "rm", "demo-stuck"]);
    assert_eq!(json(folder.path(), &["traces", "ls", "--json"]).as_array().unwrap().len(), 2, "--yes was not given");
    stdout(folder.path(), &["traces", "rm", "demo-stuck", "--yes"]);
    let left = json(folder.path(), &["traces", "ls", "--json"]);
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(json(folder.path(), &["sql", "--json", "SELECT count(*) AS n FROM traces"])[0]["n"], 1);
    let none = json(folder.path(), &["prune", "--older-than", "1d", "--dry-run", "--json"]);
    assert_eq!(none["pruned"]["traces"], serde_json::json!([]));
    let all = json(folder.path(), &["prune", "--max-size", "0B", "--json"]);
    assert_eq!(all["pruned"]["traces"].as_array().unwrap().len(), 1);
    assert_eq!(json(folder.path(), &["doctor", "--verify", "--json"])["sound"], true);
}

#[test]
fn record_passes_the_exit_code_on_and_leaves_output_alone() {
    let folder = tempfile::tempdir().unwrap();
    holdback(folder.path())
        .args(["record", "--name", "seven", "--tag", "team=shop", "--", "sh", "-c", "echo out; echo err >&2; exit 7"])
        .assert()
        .code(7)
        .stdout("out\n")
        .stderr(predicate::str::starts_with("err\n").and(predicate::str::contains("failed (exit 7)")));
    let traces = json(folder.path(), &["traces", "ls", "--json", "--tag", "team=shop"]);
    assert_eq!((traces[0]["name"].as_str(), traces[0]["exit_code"].as_i64()), (Some("seven"), Some(7)));
}

#[test]
fn a_brake_stops_a_loop_and_says_so() {
    let folder = demo();
    let agent = assert_cmd::cargo::cargo_bin("holdback");
    fs::write(folder.path().join("orders.json"), "{}").unwrap();
    holdback(folder.path())
        .args(["record", "--name", "braked", "--max-calls", "2", "--"])
        .arg(agent)
        .args(["demo", "agent", "Refund order B-99."])
        .assert()
        .failure()
        .stderr(predicate::str::contains("brake max-calls"));
    let shown = json(folder.path(), &["traces", "show", "braked", "--json"]);
    assert_eq!(shown["outcome"], "braked");
}
