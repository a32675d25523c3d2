//! What a gate writes: one JSON document, JUnit, SARIF, Markdown, GitHub's files, and the record in the store.

use std::process::Stdio;

use serde_json::Value;

use super::common::{Bench, code, run, said, times};

/// A regression of one task, with an awkward name.
fn regressed() -> Bench {
    let bench = Bench::new();
    let name = "pay | <b>now</b> & \"::error::x";
    for (id, letters) in [("base", "pppppppp"), ("cand", "ffffffff")] {
        let mut trials = times(10, "pppppppp");
        trials[3] = letters.to_owned();
        let mut record = run(id, &trials);
        record.tasks[3] = name.to_owned();
        record.trials.iter_mut().filter(|t| t.task == "t003").for_each(|t| t.task = name.to_owned());
        bench.keep(&record);
    }
    bench.write("checkout.yaml", "suite: checkout\n");
    bench
}

#[test]
fn json_is_one_document_and_the_only_thing_on_stdout() {
    let bench = regressed();
    let output = bench.gate(&["--json", "--github", "--junit", "out/gate.xml"]);
    assert_eq!(code(&output), 1);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["format"], &report["verdict"]), (&"holdback-gate/1".into(), &"regress".into()));
    assert_eq!(report["suites"][0]["policy_hash"].as_str().unwrap().len(), 64);
    assert!(String::from_utf8_lossy(&output.stderr).contains("::error title=holdback%3A checkout regress::"));
    assert!(bench.path("out/gate.xml").exists(), "folders are made");
    assert_eq!(report, serde_json::from_slice::<Value>(&bench.gate(&["--json"]).stdout).unwrap(), "the same again");
}

#[test]
fn junit_parses_and_adds_up() {
    let bench = regressed();
    bench.gate(&["--junit", "gate.xml"]);
    let report = quick_junit::Report::deserialize_from_str(&bench.read("gate.xml")).unwrap();
    assert_eq!((report.tests, report.failures, report.errors), (11, 2, 0));
    let suite = &report.test_suites[0];
    assert_eq!((suite.name.as_str(), suite.test_cases.len()), ("checkout", 11));
    assert!(suite.test_cases.iter().any(|case| case.name.as_str().starts_with("pay | <b>now</b> & \"")));
}

#[test]
fn sarif_has_what_its_readers_need() {
    let bench = regressed();
    bench.gate(&["--sarif", "gate.sarif", "--suite-file", "checkout.yaml"]);
    let sarif: Value = serde_json::from_str(&bench.read("gate.sarif")).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    assert!(sarif["$schema"].as_str().unwrap().contains("sarif-2.1.0"));
    let run = &sarif["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "holdback");
    let results = run["results"].as_array().unwrap();
    assert!(!results.is_empty());
    for result in results {
        let rule = &run["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
        assert_eq!(rule["id"], result["ruleId"]);
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "checkout.yaml");
    }
}

#[test]
fn github_gets_annotations_and_a_summary_that_is_added_to() {
    let bench = regressed();
    bench.write("summary.md", "before\n");
    let args = ["gate", "--baseline", "base", "--candidate", "cand", "--github", "--suite-file", "checkout.yaml"];
    let output = bench.command(&args).env("GITHUB_STEP_SUMMARY", bench.path("summary.md")).output().unwrap();
    assert_eq!(code(&output), 1);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let commands: Vec<&str> = stdout.lines().filter(|line| line.trim_start().starts_with("::")).collect();
    assert_eq!(commands.len(), 1, "no task's name is a command: {stdout}");
    assert!(commands[0].starts_with("::error file=checkout.yaml,line=1,title="), "{commands:?}");
    let summary = bench.read("summary.md");
    assert!(summary.starts_with("before\n<!-- holdback-gate -->"), "{summary}");
    assert!(summary.contains("got worse beyond noise: pay \\| &lt;b&gt;now&lt;/b&gt;"), "{summary}");
    // without the runner's file there are annotations only
    assert!(said(&bench.gate(&["--github"])).contains("::error "));
}

#[test]
fn markdown_can_be_posted_as_it_is() {
    let bench = regressed();
    bench.gate(&["--markdown", "gate.md"]);
    let text = bench.read("gate.md");
    assert!(text.starts_with("<!-- holdback-gate -->\n## ❌ Regression\n"), "{text}");
}

#[test]
fn the_verdict_is_kept_and_can_be_asked_for() {
    let bench = regressed();
    bench.gate(&[]);
    bench.gate(&["--bisect"]);
    let rows = bench.sql("select verdict, baseline_run, candidate_run, record->>'why' as why from verdicts");
    assert_eq!(rows.as_array().unwrap().len(), 2, "each gate is a verdict of its own");
    assert_eq!((&rows[0]["verdict"], &rows[0]["baseline_run"]), (&"regress".into(), &"base".into()));
    assert_eq!(rows[1]["candidate_run"], "cand");
    assert!(rows[0]["why"].as_str().unwrap().contains("got worse beyond noise"));
}

#[test]
fn the_same_gate_again_and_again_says_the_same() {
    let bench = regressed();
    // Each verdict is folded into the index by the next gate.
    for round in 0..10 {
        let output = bench.gate(&[]);
        assert_eq!(code(&output), 1, "round {round}: {}", said(&output));
    }
    assert_eq!(bench.sql("select count(*) as n from verdicts")[0]["n"], 10);
}

#[test]
fn a_file_that_can_not_be_written_hides_no_verdict() {
    let bench = regressed();
    bench.write("file", "");
    let output = bench.gate(&["--junit", "file/gate.xml"]);
    assert_eq!(code(&output), 4);
    let said = said(&output);
    assert!(said.starts_with("Regression: ") && said.contains("writing file/gate.xml"), "{said}");
}

#[test]
fn a_reader_that_goes_away_changes_no_verdict() {
    let bench = regressed();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_holdback"))
        .args(["gate", "--baseline", "base", "--candidate", "cand"])
        .current_dir(bench.dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
