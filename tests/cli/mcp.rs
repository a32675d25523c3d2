//! `holdback mcp`, spoken to as an agent would: a line in, a line out.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{demo, holdback};

fn call(id: u32, name: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, "arguments": arguments}})
}

/// Says these lines to a server and gives its answers.
fn talk(folder: &Path, flags: &[&str], lines: &[String]) -> Vec<Value> {
    let mut command = holdback(folder);
    command.arg("mcp").args(flags).write_stdin(lines.join("\n"));
    let out = command.assert().success().get_output().stdout.clone();
    String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ask(folder: &Path, flags: &[&str], asked: &[Value]) -> Vec<Value> {
    talk(folder, flags, &asked.iter().map(Value::to_string).collect::<Vec<_>>())
}

fn text(answer: &Value) -> &str {
    assert_eq!(answer["result"]["content"][0]["type"], "text", "{answer}");
    answer["result"]["content"][0]["text"].as_str().unwrap_or_default()
}

/// What a tool said that did its work, as JSON.
fn data(answer: &Value) -> Value {
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    serde_json::from_str(text(answer)).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// A suite of which one task of two passes, measured once.
fn measured() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("s.yaml"),
        "suite: small\nkind: capability\ntarget: {prompt: {}}\nmodels: [mock/echo]\ntrials: 2\ngraders: [{type: contains, all: [word]}]\n\
         tasks: [{id: one, prompt: A word.}, {id: two, prompt: Nothing.}]\n",
    )
    .unwrap();
    holdback(folder.path()).args(["eval", "s.yaml", "--quiet", "--name", "first"]).assert().success();
    folder
}

#[test]
fn a_version_is_agreed_on() {
    let folder = tempfile::tempdir().unwrap();
    let hello = |version: Value| {
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": version,
        "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}})
    };
    for (asked, agreed) in [
        (json!("2024-11-05"), "2024-11-05"),
        (json!("2025-03-26"), "2025-03-26"),
        (json!("2025-06-18"), "2025-06-18"),
        (json!("2025-11-25"), "2025-11-25"),
        // Of a version that is not known here the newest that is: the client may hang up then.
        (json!("2099-01-01"), "2025-11-25"),
        (Value::Null, "2025-11-25"),
    ] {
        let answers = ask(folder.path(), &[], &[hello(asked)]);
        let result = &answers[0]["result"];
        assert_eq!(result["protocolVersion"], agreed);
        assert_eq!((&answers[0]["jsonrpc"], &answers[0]["id"]), (&json!("2.0"), &json!(1)));
        assert!(result["capabilities"]["tools"].is_object() && result["serverInfo"]["name"] == "holdback", "{result}");
    }
}

#[test]
fn every_tool_is_described_and_does_its_work() {
    let folder = demo();
    let demo = folder.path();
    let answers = ask(
        demo,
        &[],
        &[
            json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
            json!({"jsonrpc": "2.0", "id": "two", "method": "tools/list"}),
            json!({"jsonrpc": "2.0", "id": 3, "method": "ping"}),
            call(4, "list_traces", json!({"tool": "refund_order"})),
            call(5, "list_traces", json!({"text": "B-99", "limit": 1})),
            call(6, "show_trace", json!({"trace": "demo-refund"})),
            call(7, "show_trace", json!({"trace": "demo-refund", "call": 1})),
            call(8, "diff_traces", json!({"a": "demo-refund", "b": "demo-stuck"})),
            call(9, "sql", json!({"query": "SELECT count(*) AS n FROM traces"})),
            call(10, "failures", json!({})),
        ],
    );
    assert_eq!(answers.len(), 9, "a notification has no answer");
    assert_eq!(answers[0]["id"], "two");
    let tools = answers[0]["result"]["tools"].as_array().unwrap();
    for tool in tools {
        let (name, schema) = (&tool["name"], &tool["inputSchema"]);
        assert!(!tool["description"].as_str().unwrap().is_empty() && schema["type"] == "object", "{tool}");
        assert_eq!(
            (schema["additionalProperties"].as_bool(), tool["annotations"]["readOnlyHint"].as_bool()),
            (Some(false), Some(true)),
            "{name}"
        );
        for required in schema["required"].as_array().unwrap() {
            assert!(schema["properties"][required.as_str().unwrap()].is_object(), "{name}");
        }
    }
    let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["list_traces", "show_trace", "diff_traces", "list_runs", "show_run", "failures", "sql"]);
    assert_eq!(answers[1]["result"], json!({}));
    let found = data(&answers[2]);
    assert_eq!((found.as_array().unwrap().len(), found[0]["name"].as_str()), (1, Some("demo-refund")));
    assert_eq!(data(&answers[3]).as_array().unwrap().len(), 1);
    assert!(text(&answers[4]).contains("calls: refund_order"), "{}", text(&answers[4]));
    assert_eq!(data(&answers[5])["number"], 1);
    assert!(text(&answers[6]).contains("+user: Refund order B-99."), "{}", text(&answers[6]));
    assert_eq!(data(&answers[7])[0]["n"], 2);
    let failures = data(&answers[8]);
    assert_eq!(
        (failures["failing"].as_u64(), failures["groups"][0]["kind"].as_str()),
        (Some(1), Some("stuck")),
        "{failures}"
    );
}

#[test]
fn runs_are_listed_shown_and_explained() {
    let folder = measured();
    let answers = ask(
        folder.path(),
        &[],
        &[
            call(1, "list_runs", json!({})),
            call(2, "show_run", json!({"run": "first"})),
            call(3, "show_run", json!({"run": "first", "baseline": "last"})),
            call(4, "failures", json!({"run": "first"})),
        ],
    );
    assert_eq!(
        (data(&answers[0])[0]["name"].as_str(), data(&answers[0])[0]["passed"].as_i64()),
        (Some("first"), Some(2))
    );
    assert!(text(&answers[1]).contains("Measured, not compared"), "{}", text(&answers[1]));
    assert!(text(&answers[2]).contains("Undecided"), "{}", text(&answers[2]));
    let failures = data(&answers[3]);
    assert_eq!(
        (failures["failures"][0]["task"].as_str(), failures["more"].as_u64()),
        (Some("two"), Some(0)),
        "{failures}"
    );
    assert_eq!(failures["failures"][0]["trace"].as_str().map(str::len), Some(32), "{failures}");
}

#[test]
fn a_suite_is_run_only_where_that_is_allowed_and_within_its_budget() {
    let folder = measured();
    let run = |arguments: Value| [call(1, "run_suite", arguments)];
    let within = json!({"suite": "s.yaml", "budget_usd": 0.5, "trials": 1, "name": "again"});
    let answers = ask(folder.path(), &[], &run(within.clone()));
    assert_eq!(answers[0]["error"]["code"], -32602, "{}", answers[0]);
    let answers = ask(folder.path(), &["--allow-run"], &run(within));
    assert!(text(&answers[0]).contains("| mock/echo | 50.0 %"), "{}", text(&answers[0]));
    for (arguments, words) in [
        (json!({"suite": "s.yaml"}), "budget_usd is missing"),
        (json!({"suite": "s.yaml", "budget_usd": -1}), "expected number"),
        (json!({"suite": "nosuch.yaml", "budget_usd": 1}), "nosuch.yaml"),
        (json!({"suite": "--help", "budget_usd": 1}), "--help"),
    ] {
        let answers = ask(folder.path(), &["--allow-run"], &run(arguments));
        assert!(
            answers[0]["result"]["isError"] == true && text(&answers[0]).contains(words),
            "{words}: {}",
            answers[0]
        );
    }
}

#[test]
fn what_is_asked_wrong_is_answered_and_the_server_goes_on() {
    let folder = demo();
    let lines = [
        "not json".to_owned(),
        "[]".to_owned(),
        "5".to_owned(),
        json!({"jsonrpc": "2.0", "id": 4}).to_string(),
        json!({"jsonrpc": "2.0", "id": 5, "method": "resources/list"}).to_string(),
        call(6, "nosuch", json!({})).to_string(),
        String::new(),
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call"}).to_string(),
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}).to_string(),
    ];
    let answers = talk(folder.path(), &[], &lines);
    let codes: Vec<i64> = answers.iter().map(|answer| answer["error"]["code"].as_i64().unwrap()).collect();
    assert_eq!(codes, [-32700, -32600, -32600, -32600, -32601, -32602, -32602]);
    assert!(answers[..3].iter().all(|answer| answer["id"].is_null()) && answers[4]["id"] == 5);
    // What a tool can't do is for the model to read: it can do better then.
    for (name, arguments, words) in [
        ("show_trace", json!({"trace": "nosuch"}), "nosuch"),
        ("show_trace", json!({"trace": 5}), "expected string"),
        ("show_trace", json!({}), "trace is missing"),
        ("show_trace", json!({"trace": "last", "colour": "red"}), "there is no argument"),
        ("show_trace", json!({"trace": "demo-refund", "call": 99}), "no call 99"),
        ("show_trace", json!("last"), "expected an object"),
        ("list_traces", json!({"tag": "team"}), "KEY=VALUE"),
        ("list_traces", json!({"limit": "many"}), "expected integer"),
        ("show_run", json!({"run": "nosuch"}), "nosuch"),
        ("failures", json!({"run": "last"}), "there is no run"),
        ("failures", json!({"baseline": "last"}), "name the run"),
        ("sql", json!({"query": "DELETE FROM calls"}), ""),
        ("sql", json!({"query": "SELECT * FROM nosuch"}), "nosuch"),
    ] {
        let answers =
            ask(folder.path(), &[], &[call(1, name, arguments), call(2, "sql", json!({"query": "SELECT 1 AS one"}))]);
        assert!(answers[0]["result"]["isError"] == true && text(&answers[0]).contains(words), "{name}: {}", answers[0]);
        assert_eq!(data(&answers[1])[0]["one"], 1);
    }
    // Without a store every tool says so.
    let empty = tempfile::tempdir().unwrap();
    let answers = ask(empty.path(), &[], &[call(1, "list_traces", json!({}))]);
    assert!(
        answers[0]["result"]["isError"] == true && text(&answers[0]).contains("there is no store"),
        "{}",
        answers[0]
    );
}
