//! Verdicts and their exit codes: the reference cases, and every kind of bad input.

use serde_json::Value;

use super::common::{Bench, code, run, said, times, variant};

fn letters(tasks: &Value) -> Vec<String> {
    let one = |t: &Value| t.as_array().unwrap().iter().map(|v| if *v == 1 { 'p' } else { 'f' }).collect();
    tasks.as_array().unwrap().iter().map(one).collect()
}

#[test]
fn the_five_reference_verdicts_come_out_of_the_command_line() {
    let all: Vec<Value> = serde_json::from_str(include_str!("../fixtures/stats_reference.json")).unwrap();
    let cases: Vec<&Value> = all.iter().filter(|c| c["name"].as_str().unwrap().starts_with("gate_e2e/")).collect();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let (name, inputs, expected) = (&case["name"], &case["inputs"], &case["expected"]);
        let bench = Bench::new();
        bench.pair(&letters(&inputs["baseline"]), &letters(&inputs["candidate"]));
        bench.write("policy.json", &format!("{{\"k\": {}, \"margin\": {}}}", inputs["k"], inputs["delta"]));
        let output = bench.gate(&["--policy", "policy.json", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let (verdict, exit) = match expected["verdict"].as_str().unwrap() {
            "pass" => ("pass", 0),
            "regress" => ("regress", 1),
            other => (other, 3),
        };
        assert_eq!((report["verdict"].as_str(), code(&output)), (Some(verdict), exit), "{name}");
        let metric = &report["suites"][0]["metrics"][0];
        for (ours, theirs) in [("difference", "delta_hat"), ("p_pass", "p_pass"), ("p_regress", "p_regress")] {
            let apart = (metric[ours].as_f64().unwrap() - expected[theirs].as_f64().unwrap()).abs();
            assert!(apart <= case["tolerance"].as_f64().unwrap(), "{name} {ours}: {apart} off");
        }
        assert_eq!(metric["units"], expected["n_units"], "{name}");
    }
}

#[test]
fn simple_runs() {
    let good = times(20, "pppppppp");
    Bench::expect(&good, &good, "", 0, "Pass: pass^1 100.0 % -> 100.0 %");
    Bench::expect(&good, &times(20, "ffffffff"), "", 1, "Regression: tasks got worse beyond noise");
    Bench::expect(&times(20, "ffffffff"), &times(20, "ffffffff"), "", 0, "Pass: pass^1 0.0 % -> 0.0 %");
    let mut broken = good.clone();
    broken[7] = "ffffffff".to_owned();
    Bench::expect(&good, &broken, "", 1, "Regression: a task got worse beyond noise: t007 (8/8 -> 0/8)");
    Bench::expect(&good, &broken, "task_regressions: warn\nmargin: 0.1", 0, "warning: a task got worse");
}

#[test]
fn too_little_to_tell() {
    // one task, one trial
    Bench::expect(&times(1, "p"), &times(1, "p"), "", 3, "more rounds of all tasks in both arms");
    Bench::expect(&times(1, "p"), &times(1, "f"), "", 3, "Undecided");
    // nothing graded at all
    Bench::expect(&times(20, "pppp"), &times(20, "iiii"), "", 3, "nothing was graded in the candidate");
    Bench::expect(&times(20, "pppp"), &times(20, ""), "", 3, "nothing was graded in the candidate");
    // what undecided must say: estimate, both bounds, the margin that passes, the rounds that decide
    for word in ["+0.0 points", "anywhere from", "pass at a margin of", "with 80 % chance"] {
        Bench::expect(&times(5, "pp"), &times(5, "pp"), "", 3, word);
    }
}

#[test]
fn ragged_and_unequal_trials() {
    // a baseline with more trials than the candidate, tasks with different numbers of trials
    Bench::expect(&times(20, "pppppppppppppppp"), &times(20, "pppppppp"), "", 0, "Pass");
    let mut ragged = times(20, "pppppppp");
    ragged[3] = "ppppp".to_owned();
    ragged[9] = "pppppp".to_owned();
    Bench::expect(&times(20, "pppppppp"), &ragged, "", 0, "Pass");
    // a task the candidate never got to
    ragged[4] = String::new();
    Bench::expect(&times(20, "pppppppp"), &ragged, "", 4, "fewer than 1 valid trials in t004");
    // fewer trials than k in one task only, and in all
    let mut short = times(20, "pppppppp");
    short[2] = "ppp".to_owned();
    Bench::expect(&times(20, "pppppppp"), &short, "k: 4", 4, "fewer than 4 valid trials in t002");
    Bench::expect(&times(20, "pppp"), &times(20, "pppp"), "k: 8", 2, "ran at most 4 trials per task");
}

#[test]
fn six_percent_unmeasured_is_no_verdict() {
    let good = times(20, "pppppppp");
    let mut six = good.clone();
    six[..10].iter_mut().for_each(|t| *t = "pppppppi".to_owned());
    Bench::expect(&good, &six, "", 4, "6.2 % of the candidate's trials could not be measured");
    let mut five = good.clone();
    five[..6].iter_mut().for_each(|t| *t = "pppppppi".to_owned());
    Bench::expect(&good, &five, "margin: 0.1", 0, "6 trials not measured");
}

#[test]
fn different_measurements_and_tasks_are_refused_by_name() {
    let trials = times(20, "pppp");
    let refused = |change: &dyn Fn(&mut holdback::trial::RunRecord), words: &[&str]| {
        let bench = Bench::new();
        let mut candidate = run("cand", &trials);
        change(&mut candidate);
        bench.keep(&run("base", &trials));
        bench.keep(&candidate);
        let output = bench.gate(&[]);
        let said = said(&output);
        assert_eq!(code(&output), 2, "{said}");
        assert!(output.stdout.is_empty(), "{said}");
        words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in {said}"));
        // for git such a commit is neither good nor bad
        assert_eq!(code(&bench.gate(&["--bisect"])), 125);
    };
    refused(&|c| c.fingerprints.graders = "g2".into(), &["fingerprint of graders differs", "g1", "g2"]);
    refused(
        &|c| (c.fingerprints.suite, c.fingerprints.judge) = ("s2".into(), "j".into()),
        &["fingerprint of suite", "fingerprint of judge"],
    );
    refused(
        &|c| (c.suite, c.fingerprints.suite) = ("billing".into(), "s2".into()),
        &["suite \"checkout\"", "suite \"billing\""],
    );
    // renamed, and missing
    let rename = |c: &mut holdback::trial::RunRecord| {
        c.tasks[3] = "pay".into();
        c.trials.iter_mut().filter(|t| t.task == "t003").for_each(|t| t.task = "pay".into());
    };
    refused(&rename, &["only the baseline has t003", "only the candidate has pay", "renamed"]);
    let lose = |c: &mut holdback::trial::RunRecord| {
        c.tasks.truncate(18);
        c.trials.retain(|t| t.task.as_str() < "t018");
    };
    refused(&lose, &["only the baseline has t018, t019"]);
}

#[test]
fn undecided_and_bisection_change_the_code_and_nothing_else() {
    let bench = Bench::new();
    bench.pair(&times(5, "pp"), &times(5, "pp"));
    for (flags, expected) in [
        (&["--undecided", "pass"][..], 0),
        (&["--undecided", "fail"], 1),
        (&["--undecided", "code"], 3),
        (&["--bisect"], 125),
        (&["--bisect", "--undecided", "pass"], 0),
    ] {
        let output = bench.gate(flags);
        assert_eq!(code(&output), expected, "{flags:?}");
        assert!(said(&output).starts_with("Undecided: "), "{}", said(&output));
    }
    let invalid = Bench::new();
    invalid.pair(&times(5, "pppp"), &times(5, "ppii"));
    assert_eq!((code(&invalid.gate(&[])), code(&invalid.gate(&["--bisect"]))), (4, 125));
    assert_eq!(code(&invalid.gate(&["--undecided", "pass"])), 4, "an invalid run is no undecided one");
}

#[test]
fn wrong_words_are_named_and_exit_with_2() {
    let bench = Bench::new();
    let mut two = run("base", &times(3, "pp"));
    two.variants.push(variant("other"));
    bench.keep(&two);
    bench.write("policy.yaml", "margn: 0.1");
    bench.write("wrong.json", "{\"format\": \"holdback-baseline/99\"}");
    let good = ["gate", "--baseline", "base:main", "--candidate", "base:main"];
    for (args, word) in [
        (&["gate", "--baseline", "base"][..], "--candidate"),
        (&["gate", "--baseline", "base", "--candidate", "base"], "has several variants"),
        (&["gate", "--baseline", "base:nope", "--candidate", "base:main"], "no variant \"nope\""),
        (&["gate", "--baseline", "nowhere", "--candidate", "base:main"], "no run \"nowhere\""),
        (&["gate", "--baseline", "gone.json", "--candidate", "base:main"], "gone.json: "),
        (&["gate", "--baseline", "wrong.json", "--candidate", "base:main"], "holdback-baseline/99"),
        (&[&good[..], &["--policy", "policy.yaml"]].concat(), "margn"),
        (&[&good[..], &["--candidate", "base:other"]].concat(), "1 baselines and 2 candidates"),
        (&[&good[..], &["--suite-file", "policy.yaml"]].concat(), "no `suite:`"),
    ] {
        let output = bench.holdback(args);
        let said = said(&output);
        assert_eq!(code(&output), 2, "{args:?}: {said}");
        assert!(said.contains(word), "{args:?}: {said}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn variants_of_one_run_are_gated_against_each_other() {
    let bench = Bench::new();
    let mut both = run("base", &times(20, "pppppppp"));
    both.variants.push(variant("other"));
    let mut more = both.trials.clone();
    for trial in &mut more {
        trial.variant = "other".to_owned();
        trial.id += "-other";
        trial.outcome = holdback::trial::Outcome::Fail;
    }
    both.trials.extend(more);
    bench.keep(&both);
    let output = bench.holdback(&["gate", "--baseline", "last:main", "--candidate", "last:other"]);
    assert_eq!(code(&output), 1);
    assert!(said(&output).contains("model mock/main -> mock/other"), "{}", said(&output));
    let output = bench.holdback(&["gate", "--baseline", "base:main", "--candidate", "base:main"]);
    assert_eq!(code(&output), 0);
}

#[test]
fn several_suites_are_decided_together() {
    let bench = Bench::new();
    let good = times(20, "pppppppp");
    bench.pair(&good, &good);
    for (id, trials) in [("bill-1", times(20, "pppppppp")), ("bill-2", times(20, "ffffffff"))] {
        let mut other = run(id, &trials);
        (other.suite, other.fingerprints.suite) = ("billing".into(), "s9".into());
        bench.keep(&other);
    }
    // in any order: suites are matched by name
    let pairs = ["--baseline", "bill-1", "--candidate", "bill-2"];
    let output = bench.gate(&pairs);
    assert_eq!(code(&output), 1, "{}", said(&output));
    assert!(said(&output).starts_with("Regression: billing: "), "{}", said(&output));
    let output = bench.gate(&["--baseline", "bill-1", "--candidate", "cand"]);
    assert!(code(&output) == 2 && said(&output).contains("no baseline (left) for suite"), "{}", said(&output));
}

#[test]
fn the_provable_bound_can_be_asked_for() {
    let bench = Bench::new();
    bench.pair(&times(20, "pppp"), &times(20, "pppp"));
    assert_eq!(code(&bench.gate(&[])), 0);
    let output = bench.gate(&["--bound", "betting"]);
    assert_eq!(code(&output), 3, "80 units are too few for it");
    assert!(said(&output).contains("betting bounds"), "{}", said(&output));
}

#[test]
fn scores_that_are_no_numbers_are_never_counted() {
    let bench = Bench::new();
    bench.write("policy.yaml", "metric: score\n");
    for (id, broken) in [("base", 0), ("cand", 40)] {
        let mut record = run(id, &times(20, "pppppppp"));
        for trial in record.trials.iter_mut().take(broken) {
            trial.score = Some(f64::NAN);
            trial.grades[0].grade = holdback::trial::Grade::Scored { score: f64::NAN, pass: true };
        }
        bench.keep(&record);
    }
    let output = bench.gate(&["--policy", "policy.yaml"]);
    assert_eq!(code(&output), 4, "{}", said(&output));
    assert!(said(&output).contains("40 of 160"), "{}", said(&output));
    // Nor are they in a file that somebody wrote by hand.
    bench.holdback(&["baseline", "save", "base", "base.json"]);
    for (number, word) in [("NaN", "not a baseline file"), ("7.5", "not a baseline file")] {
        bench.write("odd.json", &bench.read("base.json").replacen("\"pppppppp\"", number, 1));
        let output = bench.holdback(&["gate", "--baseline", "odd.json", "--candidate", "cand"]);
        assert!(code(&output) == 2 && said(&output).contains(word), "{number}: {}", said(&output));
    }
}

#[test]
fn runs_of_other_harnesses_are_gated_like_our_own() {
    let bench = Bench::new();
    for id in ["base", "cand"] {
        let mut record = run(id, &times(20, "pppp"));
        // What an importer may know: outcomes, and nothing of traces, seeds, tokens, cost or answers.
        record.fingerprints = holdback::trial::Fingerprints { suite: "tau2".into(), ..Default::default() };
        for trial in &mut record.trials {
            (trial.trace, trial.seed, trial.cost_usd, trial.answer_hash) = (None, None, None, None);
            (trial.usage, trial.calls, trial.duration_us) = (Default::default(), 0, 0);
            trial.grades.clear();
        }
        bench.keep(&record);
    }
    assert_eq!(code(&bench.gate(&[])), 0);
    bench.write("policy.yaml", "limits: {cost_usd: {p50: {max: 1}}}");
    let output = bench.gate(&["--policy", "policy.yaml"]);
    assert!(code(&output) == 3 && said(&output).contains("cost_usd p50: unknown"), "{}", said(&output));
    for args in [&["compare", "base", "cand"][..], &["runs", "show", "cand"], &["baseline", "show", "base"]] {
        let output = bench.holdback(args);
        assert_eq!(code(&output), 0, "{args:?}: {}", said(&output));
    }
    // A run that its importer kept as one record, trials and all.
    let store = holdback::store::log::Store::open(bench.path(".holdback"), Default::default()).unwrap();
    let whole = run("whole", &times(20, "pppp"));
    store.writer().unwrap().record("run", "whole", whole.started, &serde_json::to_value(&whole).unwrap()).unwrap();
    let output = bench.holdback(&["gate", "--baseline", "whole", "--candidate", "whole"]);
    assert_eq!(code(&output), 0, "{}", said(&output));
}
