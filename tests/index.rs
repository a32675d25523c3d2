//! The index over a real log, as the command line uses it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use holdback::store::index::{Caller, Error, Folded, Index, Waiting};
use holdback::store::log::{Durability, Store, Writer};
use holdback::trace::{
    CallEnded, CallId, CallStarted, CallSummary, Note, Score, Sink, Timestamp, TraceEnded, TraceEvent, TraceId,
    TraceOutcome, TraceStarted, Usage, What, Wire,
};
use serde_json::{Value, json};

const START: i64 = 1_760_000_000_000_000;

fn with_caller<T>(run: impl FnOnce(&mut Caller<'_>) -> T) -> T {
    run(&mut Caller {
        purpose: "test",
        waiting: &mut |waiting: &Waiting| panic!("nobody should be waited for: {waiting:?}"),
        folding: &mut |_: &Folded| {},
    })
}

fn open(store: &Store) -> Index {
    with_caller(|caller| Index::open(store, caller)).unwrap()
}

fn fold(store: &Store) -> Folded {
    with_caller(|caller| Index::fold(store, caller)).unwrap()
}

fn rows(index: &Index, sql: &str) -> Value {
    serde_json::from_str(&index.sql(sql).unwrap().json()).unwrap()
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store"), Durability::Os).unwrap();
    (dir, store)
}

fn accept(writer: &mut Writer, trace: u128, at: i64, what: What) {
    writer.accept(&TraceEvent { trace: TraceId(trace), at: Timestamp(START + at), what }).unwrap();
}

fn ask(writer: &mut Writer, trace: u128, call: u64, at: i64, messages: &[Value]) {
    let body = json!({"model": "mock/m", "messages": messages, "tools": [
        {"type": "function", "function": {"name": "ls", "description": "Lists files", "parameters": {"type": "object"}}}]});
    let request = CallStarted {
        wire: Wire::OpenaiChat,
        upstream: "mock".to_owned(),
        method: "POST".to_owned(),
        target: "/v1/chat/completions".to_owned(),
        body: Bytes::from(body.to_string()),
        ..CallStarted::default()
    };
    accept(writer, trace, at, What::CallStarted(CallId(call), request));
}

fn answer(writer: &mut Writer, trace: u128, call: u64, at: i64, message: &Value) {
    let body = json!({"id": format!("r-{call}"), "object": "chat.completion", "model": "mock/m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}]});
    let ended = CallEnded {
        status: Some(200),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Bytes::from(body.to_string()),
        first_content: Some(1_500),
        summary: CallSummary {
            model: "mock/m".to_owned(),
            usage: Usage { input: Some(10), output: Some(5), ..Usage::default() },
            cost_usd: Some(0.5),
            ..CallSummary::default()
        },
        ..CallEnded::default()
    };
    accept(writer, trace, at, What::CallEnded(CallId(call), ended));
}

fn system() -> Value {
    json!({"role": "system", "content": "Be brief."})
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn uses_ls(id: &str) -> Value {
    json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": id, "type": "function", "function": {"name": "ls", "arguments": "{\"path\":\".\"}"}}]})
}

fn result(id: &str, text: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": text})
}

/// A trace of two calls with a tool in between, and a fork of it.
fn write_trace(writer: &mut Writer, trace: u128, first_call: u64) {
    let started = TraceStarted {
        name: Some("tidy up".to_owned()),
        tags: vec![("env".into(), "ci".into())],
        ..Default::default()
    };
    accept(writer, trace, 0, What::TraceStarted(started));
    let mut said = vec![system(), user("What is here?")];
    ask(writer, trace, first_call, 1_000, &said);
    answer(writer, trace, first_call, 5_000, &uses_ls("t1"));
    said.extend([uses_ls("t1"), result("t1", "a.txt b.txt")]);
    ask(writer, trace, first_call + 1, 6_000, &said);
    answer(writer, trace, first_call + 1, 9_000, &json!({"role": "assistant", "content": "Two files."}));
    said.pop();
    said.push(result("t1", "no such folder"));
    ask(writer, trace, first_call + 2, 10_000, &said);
    let note = Note { kind: "file_changed".to_owned(), call: None, data: json!({"path": "a.txt"}) };
    accept(writer, trace, 11_000, What::Noted(note));
    let score =
        Score { name: "helpful".into(), by: "human".into(), value: Some(1.0), label: None, comment: None, call: None };
    accept(writer, trace, 12_000, What::Scored(score));
}

fn end_trace(writer: &mut Writer, trace: u128) {
    let ended = TraceEnded { outcome: TraceOutcome::Ok, exit_code: Some(0), signal: None, reason: None, lost_calls: 0 };
    accept(writer, trace, 20_000, What::TraceEnded(ended));
}

/// Every row of every table but the index's own state.
fn everything(store: &Store) -> Vec<(String, Vec<String>)> {
    let index = open(store);
    let tables =
        rows(&index, "SELECT table_name AS t FROM duckdb_tables() WHERE table_name <> 'index_state' ORDER BY 1");
    let tables = tables.as_array().unwrap().iter().map(|row| row["t"].as_str().unwrap().to_owned());
    tables
        .map(|table| {
            let answer = index.sql(&format!("SELECT r::VARCHAR AS r FROM {table} AS r ORDER BY 1")).unwrap();
            (table, answer.texts().map(|row| row[0].clone().unwrap()).collect())
        })
        .collect()
}

fn assert_rebuild_changes_nothing(store: &Store) {
    let grown = everything(store);
    let rebuilt = with_caller(|caller| Index::rebuild(store, caller)).unwrap();
    assert_eq!(rebuilt.rebuilt.as_deref(), Some("as asked"));
    for (grown, fresh) in grown.into_iter().zip(everything(store)) {
        assert_eq!(grown, fresh);
    }
}

#[test]
fn a_conversation_becomes_rows_an_analyst_can_read() {
    let (_dir, store) = store();
    let mut writer = store.writer().unwrap();
    write_trace(&mut writer, 7, 1);
    let index = open(&store);
    let calls = rows(
        &index,
        "SELECT call_id, state, relation, kept_messages AS kept, messages, tools_called AS tools, model, duration_ms AS ms, cost_usd AS usd FROM calls ORDER BY call_id",
    );
    assert_eq!(
        calls,
        json!([
            {"call_id": "0000000000000001", "state": "complete", "relation": "root", "kept": 0, "messages": 1, "tools": 1, "model": "mock/m", "ms": 4.0, "usd": 0.5},
            {"call_id": "0000000000000002", "state": "complete", "relation": "extend", "kept": 1, "messages": 3, "tools": 0, "model": "mock/m", "ms": 3.0, "usd": 0.5},
            {"call_id": "0000000000000003", "state": "open", "relation": "fork", "kept": 2, "messages": 3, "tools": 0, "model": null, "ms": null, "usd": null},
        ])
    );
    let said = rows(&index, "SELECT position, role, text, is_answer FROM call_messages('0000000000000003')");
    assert_eq!(
        said,
        json!([
            {"position": 0, "role": "system", "text": "Be brief.", "is_answer": false},
            {"position": 1, "role": "user", "text": "What is here?", "is_answer": false},
            {"position": 2, "role": "assistant", "text": null, "is_answer": false},
            {"position": 3, "role": "tool", "text": "no such folder", "is_answer": false},
        ])
    );
    let uses = rows(&index, "SELECT tool, arguments, result_bytes, is_error, took_ms FROM tool_uses");
    assert_eq!(
        uses,
        json!([{"tool": "ls", "arguments": {"path": "."}, "result_bytes": 11, "is_error": false, "took_ms": 1.0}])
    );
    assert_eq!(
        rows(&index, "SELECT tool, description, parameters FROM tools"),
        json!([{"tool": "ls", "description": "Lists files", "parameters": {"type": "object"}}])
    );
    assert_eq!(
        rows(&index, "SELECT name, state, tags->>'env' AS env FROM traces"),
        json!([{"name": "tidy up", "state": "live", "env": "ci"}])
    );
    assert_eq!(
        rows(&index, "SELECT kind, data FROM events"),
        json!([{"kind": "file_changed", "data": {"path": "a.txt"}}])
    );
    assert_eq!(rows(&index, "SELECT scored_by, value FROM scores"), json!([{"scored_by": "human", "value": 1.0}]));
    let traces = index.recent_traces(5).unwrap();
    assert_eq!((traces.len(), traces[0].calls, traces[0].cost_usd), (1, 3, Some(1.0)));
    assert_eq!(index.trace_calls(&traces[0].trace_id).unwrap().len(), 3);
    assert_eq!(index.cost_by_day().unwrap()[0].day.to_string(), "2025-10-09");
    assert_eq!(index.latency().unwrap()[0].calls, 2);
    assert_eq!(index.tool_errors().unwrap()[0].error_rate, Some(0.0));
}

#[test]
fn an_index_that_follows_recorders_equals_one_made_anew() {
    let (_dir, store) = store();
    let mut one = store.writer().unwrap();
    let mut two = store.writer().unwrap().rolling_at(2_000);
    write_trace(&mut one, 1, 100);
    assert!(fold(&store).calls >= 2);
    write_trace(&mut two, 2, 200);
    fold(&store);
    answer(&mut one, 1, 102, 15_000, &json!({"role": "assistant", "content": "It is gone."}));
    end_trace(&mut one, 1);
    for trace in 3..20 {
        write_trace(&mut two, trace, u64::try_from(trace).unwrap() * 100);
        if trace % 5 == 0 {
            fold(&store);
            end_trace(&mut two, trace);
        }
    }
    assert_rebuild_changes_nothing(&store);
    drop((one, two));
    let index = open(&store);
    assert_eq!(
        rows(&index, "SELECT DISTINCT state FROM calls ORDER BY ALL"),
        json!([{"state": "complete"}, {"state": "lost"}])
    );
    assert_eq!(
        rows(&index, "SELECT DISTINCT state FROM traces ORDER BY ALL"),
        json!([{"state": "cut_off"}, {"state": "ended"}])
    );
    drop(index);
    assert_rebuild_changes_nothing(&store);
    assert_eq!(fold(&store), Folded::default());
}

#[test]
fn a_broken_index_is_made_anew_and_says_so() {
    let (_dir, store) = store();
    write_trace(&mut store.writer().unwrap(), 1, 1);
    assert_eq!(fold(&store).rebuilt, None);
    let before = everything(&store);
    let file = store.dir().join("index.duckdb");
    for damage in [b"not a database".as_slice(), b""] {
        fs::write(&file, damage).unwrap();
        let reason = fold(&store).rebuilt.unwrap();
        assert!(reason.contains("DuckDB could not use it"), "{reason}");
        assert_eq!(everything(&store), before);
    }
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(everything(&store), before);
}

#[test]
fn an_index_of_a_newer_holdback_is_left_alone() {
    let (_dir, store) = store();
    write_trace(&mut store.writer().unwrap(), 1, 1);
    fold(&store);
    let file = store.dir().join("index.duckdb");
    set_version(&file, 99);
    let before = fs::read(&file).unwrap();
    let refused = with_caller(|caller| Index::open(&store, caller)).unwrap_err();
    assert!(
        matches!(refused, Error::Newer { found: 99, .. }) && refused.to_string().contains("newer holdback"),
        "{refused}"
    );
    assert_eq!(fs::read(&file).unwrap(), before);
    with_caller(|caller| Index::rebuild(&store, caller)).unwrap();
    set_version(&file, 0);
    assert!(fold(&store).rebuilt.unwrap().contains("older schema"));
}

#[test]
fn a_removed_trace_leaves_nothing_behind_and_takes_nothing_along() {
    let (_dir, store) = store();
    let mut writer = store.writer().unwrap();
    // The second trace says what the first one said, so the log keeps the words with the first.
    write_trace(&mut writer, 1, 100);
    ask(&mut writer, 1, 110, 13_000, &[system(), user("Something private.")]);
    end_trace(&mut writer, 1);
    write_trace(&mut writer, 2, 200);
    end_trace(&mut writer, 2);
    drop(writer);
    let before = open(&store);
    let said = "SELECT position, role, text FROM call_messages('00000000000000c9')";
    let whole = rows(&before, said);
    assert_eq!(whole.as_array().unwrap().len(), 5);
    drop(before);
    store.remove(&[TraceId(1)], Timestamp(START + 30_000)).unwrap();
    assert_eq!(fold(&store).removed, 1);
    let after = open(&store);
    assert_eq!(
        rows(&after, "SELECT DISTINCT trace_id[-1:] AS t FROM calls UNION SELECT trace_id[-1:] FROM contexts"),
        json!([{"t": "2"}])
    );
    assert_eq!(rows(&after, "SELECT count(*) AS n FROM messages WHERE text LIKE '%private%'"), json!([{"n": 0}]));
    assert_eq!(rows(&after, said), whole);
    drop(after);
    assert_rebuild_changes_nothing(&store);
    assert_eq!(rows(&open(&store), said), whole);
}

fn set_version(file: &Path, version: i64) {
    let connection = duckdb::Connection::open(file).unwrap();
    connection.execute("UPDATE index_state SET schema_version = ?", [version]).unwrap();
    connection.execute_batch("CHECKPOINT").unwrap();
}

#[test]
fn who_holds_the_index_is_named_to_those_who_wait() {
    let (_dir, store) = store();
    write_trace(&mut store.writer().unwrap(), 1, 1);
    let held = open(&store);
    let second = open(&store);
    assert_eq!(rows(&second, "SELECT count(*) AS n FROM traces"), json!([{"n": 1}]), "readers share");
    let mut heard = String::new();
    let mut caller = Caller {
        purpose: "index",
        waiting: &mut |waiting: &Waiting| {
            heard = waiting.holder.clone();
            ControlFlow::Break(())
        },
        folding: &mut |_: &Folded| {},
    };
    let refused = Index::fold(&store, &mut caller).unwrap_err();
    assert!(matches!(refused, Error::Busy { .. }), "{refused}");
    assert_eq!(heard, format!("process {} (test)", std::process::id()));
    // Recording needs none of this.
    write_trace(&mut store.writer().unwrap(), 2, 10);
    drop((held, second));
    assert_eq!(rows(&open(&store), "SELECT count(*) AS n FROM traces"), json!([{"n": 2}]));
}

#[test]
fn a_persons_sql_reads_and_nothing_else() {
    let (dir, store) = store();
    write_trace(&mut store.writer().unwrap(), 1, 1);
    let index = open(&store);
    let secret = dir.path().join("secret.csv");
    fs::write(&secret, "a\n1\n").unwrap();
    let secret = secret.display();
    for (sql, words) in [
        (format!("SELECT * FROM read_csv('{secret}')"), "the index only"),
        (format!("FROM '{secret}'"), "the index only"),
        (format!("SELECT * FROM read_text('{secret}')"), "the index only"),
        (format!("COPY calls TO '{secret}.2'"), "--parquet"),
        ("SELECT mdoel FROM calls".to_owned(), "\"model\""),
        ("SELECT * FROM cals".to_owned(), "calls"),
        ("SELECT 1 FROM WHERE calls".to_owned(), "LINE 1"),
        ("WITH x AS (SELECT 1) DELETE FROM calls".to_owned(), "only reads"),
        ("EXPLAIN ANALYZE DELETE FROM calls".to_owned(), "only reads"),
        ("DROP TABLE calls".to_owned(), "only reads"),
        ("SET enable_external_access = true".to_owned(), "locked"),
    ] {
        let error = index.sql(&sql).unwrap_err().to_string();
        assert!(error.contains(words), "{sql}\n{error}");
    }
    assert_eq!(rows(&index, "SELECT count(*) AS n FROM calls;"), json!([{"n": 3}]));
    assert!(!dir.path().join("secret.csv.2").exists());
}

#[test]
fn an_answer_is_written_as_parquet_and_only_there() {
    let (dir, store) = store();
    write_trace(&mut store.writer().unwrap(), 1, 1);
    let file = dir.path().join("it's calls.parquet");
    let rows = open(&store)
        .sql_to_parquet("SELECT call_id, started_at, cost_usd FROM calls ORDER BY 1; -- all", &file)
        .unwrap();
    assert_eq!(rows, 3);
    let connection = duckdb::Connection::open_in_memory().unwrap();
    let sql = format!("SELECT count(*), sum(cost_usd) FROM '{}'", file.to_str().unwrap().replace('\'', "''"));
    let read: (i64, f64) = connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(read, (3, 1.0));
    let error = open(&store).sql_to_parquet("SELECT nope FROM calls", &file).unwrap_err().to_string();
    assert!(error.contains("nope"), "{error}");
    let sneaky = format!("SELECT * FROM read_text('{}')", store.dir().join("index.lock").display());
    let error = open(&store).sql_to_parquet(&sneaky, &dir.path().join("out.parquet")).unwrap_err().to_string();
    assert!(error.contains("the index only"), "{error}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "no half-written files stay: {left:?}");
}

fn write_run(writer: &mut Writer, run: &str, name: &str, at: i64, finished: Option<i64>) {
    let record = json!({"id": run, "name": name, "suite": "support", "kind": "regression", "started": START + at, "finished": finished,
        "trials_per_task": 2, "tasks": ["a"], "variants": [{"name": "m", "model": "mock/m", "fingerprint": "f"}],
        "fingerprints": {"suite": "1", "graders": "2"}, "holdback": "0.1.0"});
    writer.record("run", run, Timestamp(START + at), &record).unwrap();
}

fn write_trial(writer: &mut Writer, run: &str, attempt: u32, at: i64, pass: bool) {
    let id = format!("{run}-a-m-{attempt}");
    let trial = json!({"id": id, "run": run, "task": "a", "variant": "m", "attempt": attempt, "started": START + at, "duration_us": 2_500,
        "outcome": if pass { "pass" } else { "fail" }, "ending": "exited", "code": 0, "cost_usd": 0.25,
        "grades": [
            {"label": "contains", "kind": "contains", "fingerprint": "f", "required": true, "weight": 1.0, "grade": "scored", "score": 1.0, "pass": pass},
            {"label": "judge", "kind": "rubric", "fingerprint": "f", "required": false, "weight": 1.0, "grade": "abstained", "reason": "no answer"}]});
    writer.record("trial", &id, Timestamp(START + at), &trial).unwrap();
}

#[test]
fn a_run_comes_back_as_it_was_recorded() {
    let (_dir, store) = store();
    let mut writer = store.writer().unwrap();
    let none = open(&store).load_run("last").unwrap_err().to_string();
    assert!(none.contains("no runs yet"), "{none}");
    write_run(&mut writer, "run-aa1", "nightly", 0, None);
    write_trial(&mut writer, "run-aa1", 2, 10, true);
    write_trial(&mut writer, "run-aa1", 1, 11, false);
    fold(&store);
    write_trial(&mut writer, "run-aa1", 1, 12, true);
    write_run(&mut writer, "run-aa1", "nightly", 20, Some(START + 99));
    write_run(&mut writer, "run-ab2", "nightly", 30, None);
    write_run(&mut writer, "run-ac3", "other", 25, None);
    let index = open(&store);
    let run = index.load_run("run-aa").unwrap();
    assert_eq!((run.id.as_str(), run.finished, run.trials.len()), ("run-aa1", Some(Timestamp(START + 99)), 2));
    assert_eq!(run.trials.iter().map(|trial| trial.attempt).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(run.trials[0].grades.len(), 2);
    assert_eq!(serde_json::to_value(&run.trials[0]).unwrap()["outcome"], "pass", "the latest record counts");
    assert_eq!(index.load_run("nightly").unwrap().id, "run-ab2", "the newest of a name");
    assert_eq!(index.load_run("last").unwrap().id, "run-ab2");
    let many = index.load_run("run-a").unwrap_err().to_string();
    assert!(many.contains("3 runs") && many.contains("run-ab2 (nightly)"), "{many}");
    let none = index.load_run("weekly").unwrap_err().to_string();
    assert!(none.contains("the newest are nightly, other, nightly"), "{none}");
    let rates = index.pass_rate().unwrap();
    assert_eq!((rates.len(), rates[0].trials, rates[0].passed, rates[0].pass_rate), (1, 2, 2, Some(1.0)));
    assert_eq!(
        rows(&index, "SELECT grade, count(*) AS n FROM grades GROUP BY ALL ORDER BY ALL"),
        json!([{"grade": "abstained", "n": 2}, {"grade": "scored", "n": 2}])
    );
    drop(index);
    assert_rebuild_changes_nothing(&store);
}

#[cfg(unix)]
#[test]
fn the_files_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, store) = store();
    write_trace(&mut store.writer().unwrap(), 1, 1);
    drop(open(&store));
    for file in ["index.duckdb", "index.lock"] {
        let mode = fs::metadata(store.dir().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}
