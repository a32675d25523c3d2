//! The suites that ship: they load, and those that run offline pass as they say.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::{Bench, repository};
use holdback::eval::{Conclusion, End, conclude};
use holdback::trial::Outcome;

fn read(name: &str) -> String {
    std::fs::read_to_string(repository().join("suites").join(name)).unwrap()
}

#[test]
fn every_suite_loads_names_its_schema_and_has_good_graders() {
    let mut suites = 0;
    for entry in std::fs::read_dir(repository().join("suites")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("# yaml-language-server: $schema=../schemas/suite.schema.json\n"), "{path:?}");
            let loaded = common::load(&text, &repository().join("suites"));
            holdback::grade::check(&loaded).unwrap_or_else(|errors| panic!("{errors}"));
            suites += 1;
        }
    }
    assert!(suites >= 4, "{suites}");
}

#[test]
fn the_prompt_suite_shows_a_steady_and_a_flaky_model() {
    let (finished, _) = Bench::shipped().run(&read("echo.yaml")).unwrap();
    assert_eq!((finished.end.clone(), finished.record.trials.len()), (End::Complete, 6 * 2 * 8));
    for trial in finished.record.trials.iter().filter(|trial| trial.variant == "mock/echo") {
        assert_eq!(trial.outcome, Outcome::Pass, "{} {:?}", trial.task, trial.why);
    }
    let flaky = finished.record.trials.iter().filter(|trial| trial.variant != "mock/echo");
    let passed = flaky.filter(|trial| trial.outcome == Outcome::Pass).count();
    assert!((30..48).contains(&passed), "{passed} of 48");
    assert_eq!(conclude(&finished, 0.05), Conclusion::Done);
}

#[test]
fn the_coding_suite_runs_the_code() {
    let (finished, _) = Bench::shipped().run(&read("coding.yaml")).unwrap();
    for trial in &finished.record.trials {
        assert_eq!(trial.outcome, Outcome::Pass, "{:?} {:?}", trial.why, trial.grades);
    }
    // Another answer fails, and says which test.
    let bench = Bench::shipped();
    let broken = read("coding.yaml").replace("mock/script:fixtures/coder.script.yaml", "mock/echo");
    let (finished, _) = bench.run(&broken).unwrap();
    assert!(matches!(conclude(&finished, 0.05), Conclusion::TaskFailed(_)), "{:?}", finished.record.trials[0]);
}

#[test]
fn the_scripted_loop_refunds_the_order() {
    let binary = env!("CARGO_BIN_EXE_holdback");
    let help = std::process::Command::new(binary).args(["demo", "agent", "--help"]).output().unwrap();
    if !help.status.success() || help.stdout.is_empty() {
        eprintln!("skipped: this build has no `holdback demo agent`");
        return;
    }
    let mut bench = Bench::shipped();
    bench.holdback = binary.into();
    let (finished, _) = bench.run(&read("scripted-tools.yaml")).unwrap();
    assert_eq!(finished.record.trials.len(), 4);
    for trial in &finished.record.trials {
        assert_eq!((trial.outcome, trial.calls), (Outcome::Pass, 3), "{:?} {:?}", trial.why, trial.grades);
    }
}

#[test]
fn the_real_agent_writes_its_file() {
    let home = std::env::var("HOME").unwrap_or_default();
    let loops = std::env::var("LOOPS_HOME").unwrap_or_else(|_| format!("{home}/.cache/holdback-loops"));
    let pi = std::path::Path::new(&loops).join("pi/pkg/node_modules/.bin/pi");
    if !pi.exists() {
        eprintln!("skipped: pi is not installed");
        return;
    }
    let mut bench = Bench::shipped();
    bench.env.push(("PI".to_owned(), pi.to_string_lossy().into_owned()));
    let (finished, _) = bench.run(&read("real-agent.yaml")).unwrap();
    for trial in &finished.record.trials {
        assert_eq!(trial.outcome, Outcome::Pass, "{:?} {:?}", trial.why, trial.grades);
    }
}
