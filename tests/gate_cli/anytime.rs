//! `gate --anytime`: reruns add to what is known, and never roll the dice anew.

use serde_json::Value;

use super::common::{Bench, code, run, said, times};

fn gate(bench: &Bench, baseline: &str, candidate: &str, more: &[&str]) -> (i32, Value) {
    let args = ["gate", "--anytime", "--baseline", baseline, "--candidate", candidate, "--json"];
    let output = bench.holdback(&[&args[..], more].concat());
    let shown = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    (code(&output), shown)
}

#[test]
fn evidence_adds_up_over_reruns_and_a_run_counts_once() {
    let bench = Bench::new();
    bench.write("policy.yaml", "margin: 0.1");
    let policy = ["--policy", "policy.yaml"];
    bench.keep(&run("base", &times(20, "pppppp")));
    let (mut last, mut decided) = (1.0, false);
    for (rerun, id) in ["one", "two", "three"].into_iter().enumerate() {
        if decided {
            break;
        }
        bench.keep(&run(id, &times(20, "pp")));
        let (exit, shown) = gate(&bench, "base", id, &policy);
        let evidence = shown["evidence_pass"].as_f64().unwrap();
        assert!(evidence > last, "{shown}");
        last = evidence;
        decided = evidence >= 20.0;
        assert_eq!(exit, if decided { 0 } else { 3 }, "{shown}");
        assert_eq!(shown["series"]["gates"].as_array().unwrap().len(), rerun + 1);
        if exit == 3 {
            let (_, again) = gate(&bench, "base", id, &policy);
            assert_eq!((&again["counted_before"], again["evidence_pass"].as_f64()), (&true.into(), Some(evidence)));
            assert!(again["why"].as_str().unwrap().contains("counted before"), "{again}");
        }
    }
    assert!(decided, "120 ties at a margin of ten points decide: {last}");
    // Decided is decided: a bad run afterwards takes nothing back, and a new policy is a new question.
    bench.keep(&run("late", &times(20, "ff")));
    let (exit, shown) = gate(&bench, "base", "late", &policy);
    assert_eq!((exit, &shown["counted_before"]), (0, &true.into()), "{shown}");
    let (_, shown) = gate(&bench, "base", "one", &[]);
    assert_eq!(shown["series"]["state"]["evidence"]["units"], 40, "{shown}");
}

#[test]
fn a_baselines_luck_counts_once_and_a_fresh_one_goes_on() {
    let bench = Bench::new();
    for (id, trials) in [("base", "pp"), ("more", "pp"), ("one", "pp"), ("two", "pp")] {
        bench.keep(&run(id, &times(10, trials)));
    }
    assert_eq!(gate(&bench, "base", "one", &[]).1["fresh_units"], 20);
    let (exit, shown) = gate(&bench, "base", "two", &[]);
    assert_eq!((exit, &shown["fresh_units"]), (3, &0.into()));
    assert!(shown["why"].as_str().unwrap().contains("no trials left"), "{shown}");
    let (_, shown) = gate(&bench, "more", "two", &[]);
    assert_eq!(shown["series"]["state"]["evidence"]["units"], 40, "{shown}");
}

#[test]
fn bad_loops_broken_runs_and_wrong_words() {
    let bench = Bench::new();
    bench.keep(&run("base", &times(20, "pppp")));
    bench.keep(&run("bad", &times(20, "ffff")));
    bench.keep(&run("broken", &times(20, "ppii")));
    let mut going_on = run("going-on", &times(20, "pppp"));
    going_on.finished = None;
    bench.keep(&going_on);
    let (exit, shown) = gate(&bench, "base", "broken", &[]);
    assert_eq!((exit, &shown["fresh_units"]), (4, &0.into()), "nothing of a broken run is added: {shown}");
    let output = bench.holdback(&["gate", "--anytime", "--baseline", "base", "--candidate", "bad"]);
    assert_eq!(code(&output), 1);
    assert!(said(&output).starts_with("Regression: evidence after 80 units"), "{}", said(&output));
    for (args, word) in [
        (&["--baseline", "base", "--candidate", "going-on"][..], "has not finished"),
        (&["--baseline", "base", "--candidate", "base", "--baseline", "base", "--candidate", "bad"], "one suite"),
        (&["--baseline", "base", "--candidate", "bad", "--junit", "x.xml"], "--junit"),
    ] {
        let output = bench.holdback(&[&["gate", "--anytime"], args].concat());
        assert_eq!(code(&output), 2, "{}", said(&output));
        assert!(said(&output).contains(word), "{args:?}: {}", said(&output));
    }
}
