//! What became of a case, and what was broken when.

use holdback::store::log::Writer;
use holdback::trace::Timestamp;
use serde_json::{Value, json};

use super::traces::store;
use super::{json, run};

/// Midnight of 2026-03-01.
const MARCH: i64 = 1_772_323_200_000_000;
const DAY: i64 = 86_400_000_000;

fn at(day: i64) -> Timestamp {
    Timestamp(MARCH + (day - 1) * DAY + DAY / 2)
}

fn case(writer: &mut Writer, id: &str, day: i64, model: &str) {
    let data = json!({"id": id, "suite": "regressions", "file": "suites/regressions.yaml", "level": "step", "group": null,
        "reason": "it asks again", "trace": "0".repeat(32), "call": 2, "model": model, "opened": at(day),
        "details": {"kind": "stuck", "commit": "c0"}});
    writer.record("case", &format!("regressions/{id}"), at(day), &data).unwrap();
}

/// A run in which some models pass and fail so often.
fn tried(writer: &mut Writer, id: &str, day: i64, models: &[(&str, u32, u32)]) {
    let run = format!("run{day}");
    let variants: Vec<Value> = models
        .iter()
        .map(|(model, ..)| json!({"name": model, "model": model, "prompt": "p1", "fingerprint": "f"}))
        .collect();
    let data = json!({"id": run, "suite": "regressions", "kind": "regression", "started": at(day), "finished": at(day),
        "trials_per_task": 2, "tasks": [id], "variants": variants, "fingerprints": {"suite": "1", "graders": "2"},
        "git_commit": format!("commit{day}"), "holdback": "0.1.0"});
    writer.record("run", &run, at(day), &data).unwrap();
    for (model, passed, failed) in models {
        for attempt in 0..passed + failed {
            let trial = format!("{run}-{id}-{model}-{attempt}");
            let outcome = if attempt < *passed { "pass" } else { "fail" };
            let data = json!({"id": trial, "run": run, "task": id, "variant": model, "attempt": attempt + 1, "started": at(day),
                "duration_us": 1, "outcome": outcome, "ending": "exited", "code": 0, "grades": []});
            writer.record("trial", &trial, at(day), &data).unwrap();
        }
    }
}

#[test]
fn a_case_is_open_fixed_reopened_flaky_and_stale_and_each_day_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut writer = store(dir).writer().unwrap();
    tried(&mut writer, "c", 1, &[("m", 2, 0)]);
    case(&mut writer, "c", 2, "m");
    case(&mut writer, "late", 9, "other");
    tried(&mut writer, "c", 3, &[("m", 0, 2)]);
    tried(&mut writer, "c", 4, &[("n", 2, 0)]);
    tried(&mut writer, "c", 6, &[("m", 0, 1), ("n", 1, 0)]);
    tried(&mut writer, "c", 8, &[("m", 1, 1)]);
    let states = |args: &[&str]| -> Vec<(String, String)> {
        let cases = json(dir, &[&["cases", "--json"], args].concat());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        cases["cases"].as_array().unwrap().iter().map(|case| (text(&case["id"]), text(&case["state"]))).collect()
    };
    let is = |id: &str, state: &str| (id.to_owned(), state.to_owned());
    assert_eq!(states(&[]), [is("c", "flaky"), is("late", "open")]);
    let cases = json(dir, &["cases", "--json"]);
    let history: Vec<&Value> = cases["cases"][0]["history"].as_array().unwrap().iter().collect();
    let told: Vec<&str> = history.iter().map(|stretch| stretch["state"].as_str().unwrap()).collect();
    assert_eq!(told, ["open", "fixed", "reopened", "flaky"]);
    assert_eq!(
        (&history[1]["commit"], &history[1]["model"], &history[1]["prompt"]),
        (&json!("commit4"), &json!("n"), &json!("p1"))
    );
    assert_eq!(history[1]["valid_to"], history[2]["valid_from"]);
    assert_eq!(history[3]["valid_to"], Value::Null);
    assert_eq!(cases["cases"][0]["runs"], 4, "the run before it was opened says nothing");
    // A day as it was, and one model's word.
    assert_eq!(states(&["--on", "2026-03-01"]), []);
    assert_eq!(states(&["--on", "2026-03-03"]), [is("c", "open")]);
    assert_eq!(states(&["--on", "2026-03-05"]), [is("c", "fixed")]);
    assert_eq!(states(&["--on", "2026-03-07"]), [is("c", "reopened")]);
    assert_eq!(states(&["--on", "2026-03-07", "--model", "n"]), [is("c", "fixed")]);
    assert_eq!(states(&["--on", "2026-03-07", "--model", "m"]), [is("c", "open")], "m was never seen to pass");
    assert_eq!(states(&["--model", "nobody"]), []);
    let (code, _, stderr) = run(dir, &["cases", "--on", "March 3"]);
    assert_eq!(code, 2, "{stderr}");
    // The query of docs/schema.md, with another model's name.
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema.md")).unwrap();
    let query = document.split("What was broken on March 3").nth(1).unwrap().split("```").nth(1).unwrap();
    let query = query.trim_start_matches("sql").replace("anthropic/claude-haiku-4-5", "m");
    let broken = json(dir, &["sql", "--json", &query]);
    assert_eq!(
        (&broken[0]["case_id"], &broken[0]["state"], broken.as_array().unwrap().len()),
        (&json!("c"), &json!("open"), 1)
    );
    // Twenty runs without a failure: offered for retirement, and still there.
    for day in 10..31 {
        tried(&mut writer, "c", day, &[("m", 1, 0), ("n", 1, 0)]);
    }
    assert_eq!(states(&[]), [is("c", "stale"), is("late", "open")]);
    let (_, stdout, stderr) = run(dir, &["cases"]);
    assert!(
        stdout.contains("stale") && stderr.contains("take them out of their suite if you like: c"),
        "{stdout}{stderr}"
    );
    // The same from an index that is made anew.
    let before = json(dir, &["sql", "--json", "from case_life order by all"]);
    run(dir, &["index", "--rebuild"]);
    assert_eq!(json(dir, &["sql", "--json", "from case_life order by all"]), before);
}
