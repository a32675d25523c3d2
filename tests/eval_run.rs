//! Runs of suites with mock models and small shell loops: what is counted, what is kept, what survives.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_macros)]

mod common;

use common::Bench;
use holdback::eval::{End, Event};
use holdback::trial::{Ending, Grade, Outcome};

fn looped(command: &str, more: &str) -> String {
    format!("suite: s\ntarget:\n  loop:\n    command: {command}\nmodels: [mock/echo]\n{more}")
}

const TASK: &str = "graders: [{type: stops}]\ntasks: [{id: a, prompt: Hello}]\n";

#[test]
fn a_prompt_suite_on_a_mock_model_is_counted_and_kept() {
    let bench = Bench::new();
    let suite = "suite: s\ntarget: {prompt: {system: Be kind.}}\nmodels: [mock/echo, 'mock/flaky?p=0.5&seed=3']\ntrials: 10\n\
        graders: [{type: contains, all: ['{{word}}']}, {type: refusal}]\n\
        tasks:\n  - {id: a, prompt: 'Say {{word}}.', vars: {word: apple}}\n  - {id: b, prompt: 'Say {{word}}.', vars: {word: pear}}\n";
    let (finished, events) = bench.run(suite).unwrap();
    assert_eq!(finished.end, End::Complete);
    let trials = &finished.record.trials;
    assert_eq!(trials.len(), 40);
    let passed = |variant: &str| {
        trials.iter().filter(|trial| trial.variant.starts_with(variant) && trial.outcome == Outcome::Pass).count()
    };
    assert_eq!(passed("mock/echo"), 20);
    assert!((1..20).contains(&passed("mock/flaky")), "{}", passed("mock/flaky"));
    assert!(trials.iter().all(|trial| trial.calls == 1 && trial.trace.is_some() && trial.usage.is_known()));
    assert!(trials.iter().all(|trial| trial.copy_of.is_none()), "a mock's answers are no copies of each other");
    let kept = bench.kept.lock().unwrap();
    let count = |kind: &str| kept.iter().filter(|(known, ..)| known == kind).count();
    assert_eq!((count("run"), count("trial"), count("evidence")), (2, 40, 40));
    assert!(finished.record.finished.is_some());
    assert_eq!(events.iter().filter(|event| matches!(event, Event::TrialDone { .. })).count(), 40);
}

#[test]
fn a_run_goes_on_where_it_was_called_off_and_makes_no_trial_twice() {
    let mut bench = Bench::new();
    bench.interrupt_after = Some(7);
    let tasks: String = (0..10).map(|n| format!("  - {{id: t{n}, prompt: word}}\n")).collect();
    let suite = format!(
        "suite: s\ntarget: {{prompt: {{}}}}\nmodels: [mock/echo]\ntrials: 3\ngraders: [{{type: contains, all: word}}]\ntasks:\n{tasks}"
    );
    let (first, _) = bench.run(&suite).unwrap();
    assert_eq!(first.end, End::Interrupted);
    assert!(first.record.finished.is_none());
    let made = first.record.trials.len();
    assert!((7..30).contains(&made), "{made}");
    bench.interrupt_after = None;
    bench.before = Some(first.record);
    let (second, events) = bench.run(&suite).unwrap();
    assert_eq!((second.end, second.record.trials.len(), second.tally.done), (End::Complete, 30, 30));
    assert_eq!(events.iter().filter(|event| matches!(event, Event::TrialDone { .. })).count(), 30 - made);
    let ids: std::collections::BTreeSet<&str> = second.record.trials.iter().map(|trial| trial.id.as_str()).collect();
    assert_eq!(ids.len(), 30);
    // A finished run has nothing left to do, and a changed suite is said.
    bench.before = Some(second.record);
    let (third, events) = bench.run(&suite).unwrap();
    assert_eq!(third.record.trials.len(), 30);
    assert!(!events.iter().any(|event| matches!(event, Event::TrialStarted { .. })));
    let error = bench.run(&suite.replace("prompt: word", "prompt: other word")).unwrap_err().to_string();
    assert!(error.contains("the measurement: the suite's tasks"), "{error}");
    let error = bench.run(&suite.replace("all: word", "any: word")).unwrap_err().to_string();
    assert!(error.contains("the measurement: the graders"), "{error}");
    let error = bench.run(&suite.replace("prompt: {}", "prompt: {max_turns: 2}")).unwrap_err().to_string();
    assert!(error.contains("the loop: its command") && !error.contains("the measurement"), "{error}");
}

#[test]
fn loops_have_a_workspace_of_their_own_and_only_the_environment_they_are_allowed() {
    let bench = Bench::new();
    let fixture = bench.dir.path().join("fix");
    std::fs::create_dir(&fixture).unwrap();
    std::fs::write(fixture.join("in.txt"), "one\n").unwrap();
    let command = "'cat in.txt > out.txt; echo two >> out.txt; echo \"[$SECRET_OF_MINE] $HOLDBACK_TASK $1\"'";
    let suite = format!(
        "suite: s\ntarget:\n  loop: {{command: [sh, -c, {command}, x, '{{{{prompt}}}}'], workspace: fix}}\ntrials: 2\ntasks:\n  \
         - id: a\n    prompt: Hello\n    graders:\n      - {{type: files, content: [{{path: out.txt, equals: \"one\\ntwo\"}}], unchanged: [in.txt]}}\n      \
         - {{type: equals, of: output, to: '[] a Hello'}}\n      \
         - {{type: command, run: 'test $(wc -l < out.txt) = 2'}}\n"
    );
    for trial in bench.trials(&suite) {
        assert_eq!(trial.outcome, Outcome::Pass, "{:?} {:?}", trial.why, trial.grades);
    }
    assert_eq!(std::fs::read_to_string(fixture.join("in.txt")).unwrap(), "one\n");
    let left: Vec<_> = std::fs::read_dir(bench.dir.path().join("work")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn loops_that_misbehave_end_and_count_as_what_they_are() {
    let bench = Bench::new();
    let short = format!("budget: {{trial: {{seconds: 1}}}}\n{TASK}");
    for (command, more, outcome, why) in [
        ("'exit 0'", TASK, Outcome::Pass, ""),
        ("'echo oh no >&2; exit 3'", TASK, Outcome::Fail, "exit code 3: oh no"),
        ("'kill -SEGV $$'", TASK, Outcome::Fail, "signal 11"),
        ("'trap \"\" TERM; while :; do sleep 1; done'", short.as_str(), Outcome::Fail, "still running after 1 s"),
        ("'(sleep 600 &) ; exit 0'", TASK, Outcome::Pass, ""),
        // A daemon in a session of its own, its output closed, as daemons do.
        (
            "'setsid sh -c \"setsid sleep 600 </dev/null >/dev/null 2>&1 &\" </dev/null >/dev/null 2>&1; exit 0'",
            TASK,
            Outcome::Pass,
            "",
        ),
        ("'head -c 1000000000 /dev/zero | tr \"\\\\0\" x; exit 0'", TASK, Outcome::Pass, ""),
        ("[no-such-program-here]", TASK, Outcome::Invalid, "could not be run"),
    ] {
        let trials = bench.trials(&looped(command, more));
        assert_eq!((trials.len(), trials[0].outcome), (1, outcome), "{command} {:?}", trials[0].why);
        let got = trials[0].why.clone().unwrap_or_default();
        assert!(got.contains(why), "{command}: {got}");
    }
}

/// Where a small file system can be had, which takes root.
#[test]
fn a_loop_that_fills_the_disk_is_stopped_before_it_is_full() {
    let bench = Bench::new();
    let work = bench.dir.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=270m,mode=0700", "tmpfs"]).arg(&work).stderr(std::process::Stdio::null());
    if !mount.status().is_ok_and(|status| status.success()) {
        println!("skipped: no small file system can be mounted here");
        return;
    }
    let endless = "'while :; do head -c 4000000 /dev/zero >> big || exit 9; sleep 0.02; done'";
    let trials = bench.trials(&looped(endless, TASK));
    let _ = std::process::Command::new("umount").arg("-l").arg(&work).status();
    assert_eq!(trials[0].outcome, Outcome::Fail, "{:?}", trials[0]);
    assert!(
        matches!(&trials[0].ending, Ending::Braked { brake } if brake.starts_with("disk")),
        "{:?}",
        trials[0].ending
    );
}

#[test]
fn graders_that_crash_or_hang_are_broken_and_the_trial_is_invalid() {
    let bench = Bench::new();
    for grader in [
        "{type: command, run: 'sleep 60', seconds: 0.3}",
        "{type: command, run: 'kill -9 $$'}",
        "{type: command, run: 'no-such-checker'}",
        "{type: http, url: 'http://127.0.0.1:1/grade'}",
    ] {
        let trials = bench.trials(&looped("'exit 0'", &format!("tasks: [{{id: a, graders: [{grader}]}}]\n")));
        assert_eq!(trials[0].outcome, Outcome::Invalid, "{grader} {:?}", trials[0]);
        assert!(matches!(trials[0].grades[0].grade, Grade::Broken { .. }), "{grader}");
    }
}

#[test]
fn what_the_provider_breaks_is_tried_again_and_never_a_fail() {
    let mut bench = Bench::new();
    std::fs::write(
        bench.dir.path().join("down.yaml"),
        "turns:\n  - error: {status: 529, type: overloaded_error, message: Overloaded}\n",
    )
    .unwrap();
    let suite = "suite: s\ntarget: {prompt: {}}\nmodels: ['mock/script:down.yaml']\ngraders: [{type: refusal}]\ntasks: [{id: a, prompt: Hi}]\n";
    let (finished, events) = bench.run(suite).unwrap();
    let trial = &finished.record.trials[0];
    assert_eq!((trial.outcome, trial.infra_retries), (Outcome::Invalid, 1));
    assert!(matches!(&trial.ending, Ending::Broken { reason } if reason.contains("Overloaded")), "{:?}", trial.ending);
    assert!(events.iter().any(|event| matches!(event, Event::Slowed { provider, .. } if provider.contains("mock"))));
    assert_eq!(finished.tally.broken, 1);
    bench.max_broken = 0.05;
    let (finished, _) = bench.run(suite).unwrap();
    assert!(matches!(finished.end, End::Broken(_)), "{:?}", finished.end);
}

#[test]
fn brakes_stop_a_trial_and_budgets_a_run() {
    let bench = Bench::new();
    std::fs::write(
        bench.dir.path().join("on.yaml"),
        "turns: [{tools: [{name: look, arguments: {}}]}]\notherwise: {tools: [{name: look, arguments: {}}]}\n",
    )
    .unwrap();
    let suite = |more: &str| {
        format!(
            "suite: s\ntarget: {{prompt: {{max_turns: 5, tools: [{{name: look, answer: nothing}}]}}}}\n\
             models: ['mock/script:on.yaml']\n{more}graders: [{{type: stops}}]\ntasks: [{{id: a, prompt: Hi}}]\n"
        )
    };
    let trials = bench.trials(&suite(""));
    assert!(
        matches!(&trials[0].ending, Ending::Braked { brake } if brake.contains("max_turns")),
        "{:?}",
        trials[0].ending
    );
    assert_eq!((trials[0].calls, trials[0].outcome), (5, Outcome::Fail));
    let trials = bench.trials(&suite("budget: {trial: {calls: 2}}\n"));
    assert!(
        matches!(&trials[0].ending, Ending::Braked { brake } if brake.starts_with("max-calls")),
        "{:?}",
        trials[0].ending
    );
}
