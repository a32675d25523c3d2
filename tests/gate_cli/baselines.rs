//! `baseline`, `compare`, `plan` and `gate calibrate`.

use serde_json::Value;

use super::common::{Bench, code, run, said, times, variant};

fn json(bench: &Bench, args: &[&str]) -> Value {
    let output = bench.holdback(args);
    assert_eq!(code(&output), 0, "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn good() -> Bench {
    let bench = Bench::new();
    let good = times(20, "pppppppp");
    bench.pair(&good, &good);
    bench
}

#[test]
fn a_baseline_is_a_file_that_gates_without_a_store() {
    let bench = good();
    let output = bench.holdback(&["baseline", "save", "base"]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let text = bench.read("baselines/checkout.json");
    assert!(text.len() < 20_000 && text.ends_with("}\n") && text.contains("\"pppppppp\""), "{text}");
    bench.holdback(&["baseline", "save", "cand", "cand.json"]);
    let files = ["gate", "--baseline", "baselines/checkout.json", "--candidate", "cand.json"];
    let elsewhere = [&["--store", "nowhere"], &files[..]].concat();
    assert_eq!(code(&bench.holdback(&elsewhere)), 0);
    assert!(!bench.path("nowhere").exists(), "gating files makes no store");
    // the same verdict from the file and from the store
    let [file, stored] = [&files[..], &["gate", "--baseline", "base", "--candidate", "cand"]]
        .map(|args| json(&bench, &[args, &["--json"]].concat()));
    assert_eq!(file, stored);
    let output = bench.holdback(&["baseline", "show", "baselines/checkout.json"]);
    assert!(said(&output).contains("pass^8     100.0 %") && said(&output).contains("8/8"), "{}", said(&output));
    let shown = json(&bench, &["baseline", "show", "base", "--json"]);
    assert_eq!(shown["baseline"]["tasks"]["t003"]["outcomes"], "pppppppp");
}

#[test]
fn a_run_without_a_graded_trial_is_no_baseline() {
    let bench = Bench::new();
    bench.keep(&run("base", &times(3, "ii")));
    let output = bench.holdback(&["baseline", "save", "base", "b.json"]);
    assert!(code(&output) == 2 && !bench.path("b.json").exists(), "{}", said(&output));
}

#[test]
fn diff_tells_a_changed_measurement_from_a_changed_loop() {
    let bench = Bench::new();
    let trials = times(3, "pppp");
    bench.keep(&run("base", &trials));
    let mut loop_changed = run("new-loop", &trials);
    loop_changed.fingerprints.target = "t2".into();
    loop_changed.variants[0] = variant("other");
    loop_changed.trials.iter_mut().for_each(|t| t.variant = "other".into());
    bench.keep(&loop_changed);
    let mut measured_otherwise = run("new-graders", &times(3, "ppff"));
    measured_otherwise.fingerprints.graders = "g2".into();
    bench.keep(&measured_otherwise);
    for (with, first, line) in [
        ("base", "no difference", ""),
        ("new-loop", "the loop changed, the measurement is the same", "loop: model: mock/main -> mock/other"),
        ("new-graders", "the measurement changed, the loop did not", "task t001: 4/4 -> 2/4"),
    ] {
        let output = bench.holdback(&["baseline", "diff", "base", with]);
        let said = said(&output);
        assert!(said.starts_with(first) && said.contains(line), "{with}: {said}");
    }
    let changes = json(&bench, &["baseline", "diff", "base", "new-graders", "--json"]);
    assert_eq!(changes["changes"][0]["what"], "measurement: graders");
}

#[test]
fn compare_shows_flips_flaky_tasks_and_writes_pages() {
    let bench = Bench::new();
    let (mut base, mut cand) = (times(6, "pppppppp"), times(6, "pppppppp"));
    (base[1], cand[1]) = ("pppppppp".into(), "ffffffff".into());
    (base[2], cand[2]) = ("pfpfpfpf".into(), "pfpfpfff".into());
    bench.pair(&base, &cand);
    let output = bench.holdback(&["compare", "base", "cand", "--markdown", "c.md", "--html", "c.html"]);
    assert_eq!(code(&output), 0, "comparing decides nothing: {}", said(&output));
    let text = said(&output);
    let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("no {word:?} in {text}"));
    assert!(at("beyond noise") < at("t001") && at("t001") < at("Flaky") && at("Flaky") < at("t002"));
    assert!(bench.read("c.md").starts_with("## Comparison") && bench.read("c.html").starts_with("<!doctype html>"));
    let document = json(&bench, &["compare", "base", "cand", "base", "--json"]);
    assert_eq!(
        (&document["format"], document["others"].as_array().unwrap().len()),
        (&"holdback-comparison/1".into(), 2)
    );
    assert_eq!(code(&bench.holdback(&["compare", "base"])), 2, "one arm is nothing to compare");
    // a run named without a variant stands for all of its variants
    let mut both = run("both", &times(4, "pp"));
    both.variants.push(variant("other"));
    bench.keep(&both);
    let document = json(&bench, &["compare", "both", "--json"]);
    assert_eq!(document["others"][0]["other"]["variant"], "other");
}

#[test]
fn plans_are_laid_out_from_nothing_and_from_a_run() {
    let bench = good();
    let planned = json(&bench, &["plan", "--margin", "0.1", "--power", "0.8", "--simulations", "100", "--json"]);
    let needed: Vec<u64> =
        planned["rows"].as_array().unwrap().iter().map(|r| r["tasks_needed"].as_u64().unwrap()).collect();
    assert_eq!(needed, [200, 100, 50, 25, 13]);
    assert_eq!(planned["least_units"], 29);
    let from = json(&bench, &["plan", "--from", "base", "--trials", "8", "--simulations", "50", "--json"]);
    let row = &from["rows"][0];
    assert_eq!((&row["tasks"], &row["total_trials"]), (&20.into(), &320.into()));
    assert!((row["cost_usd"].as_f64().unwrap() - 3.2).abs() < 1e-9);
    let output = bench.holdback(&["plan", "--from", "base", "--simulations", "20"]);
    assert!(said(&output).contains("TASKS NEEDED") && said(&output).contains("$3.20"), "{}", said(&output));
    for args in
        [&["plan", "--margin", "2"][..], &["plan", "--power", "1"], &["plan", "--expect", "1"], &["plan", "-k", "0"]]
    {
        assert_eq!(code(&bench.holdback(args)), 2, "{args:?}");
    }
}

#[test]
fn calibration_repeats_itself_and_cries_wolf_seldom() {
    let bench = Bench::new();
    // rates between 1 of 16 and 16 of 16, scattered
    let trials: Vec<String> = (0..20_u32)
        .map(|task| (0..16_u32).map(|i| if (i * 7 + task) % 16 < 8 + task % 9 { 'p' } else { 'f' }).collect())
        .collect();
    bench.keep(&run("base", &trials));
    let args = ["gate", "calibrate", "--baseline", "base", "--splits", "300", "--json"];
    let first = json(&bench, &args);
    assert_eq!(first, json(&bench, &args));
    assert!(first["blocked"].as_f64().unwrap() <= 0.1, "{first}");
    assert_eq!((&first["trials_per_half"], &first["splits"]), (&8.into(), &300.into()));
    assert!(said(&bench.holdback(&args[..6])).contains("false alarms"));
    bench.keep(&run("few", &times(4, "p")));
    assert_eq!(code(&bench.holdback(&["gate", "calibrate", "--baseline", "few"])), 2);
}

#[test]
fn results_in_short_say_what_the_trials_say_and_are_left_when_these_have_gone_on() {
    let bench = Bench::new();
    let tasks: String = (0..12).map(|n| format!("  - {{id: t{n}, prompt: word}}\n")).collect();
    let suite = "suite: s\ntarget: {prompt: {}}\nmodels: ['mock/flaky?p=0.7', mock/echo]\ntrials: 3\nkind: capability\n\
                 graders: [{type: contains, all: word}]\ntasks:\n";
    bench.write("s.yaml", &format!("{suite}{tasks}"));
    assert_eq!(code(&bench.holdback(&["eval", "s.yaml", "-q"])), 0);
    let args = [
        "gate",
        "--baseline",
        "last:mock/flaky?p=0.7",
        "--candidate",
        "last:mock/echo",
        "--json",
        "--undecided",
        "pass",
    ];
    let short = json(&bench, &args);
    let store = holdback::store::log::Store::open(bench.path(".holdback"), Default::default()).unwrap();
    let reader = store.reader().unwrap();
    let trials = reader.records("trial").unwrap();
    assert_eq!(trials.len(), 72);
    // One trial is kept once more: now the trials themselves are read, and they say the same.
    store.writer().unwrap().record("trial", &trials[0].id, holdback::trace::Timestamp(1), &trials[0].data).unwrap();
    let whole = json(&bench, &args);
    assert_eq!(short, whole);
}
