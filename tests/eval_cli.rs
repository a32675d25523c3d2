//! `holdback eval` and what belongs to it, from the command line: what is printed, what is kept, and the exit codes.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// How often a run is killed; many more when this is set.
const KILLS: &str = "HOLDBACK_TEST_KILLS";

struct Here(tempfile::TempDir);

impl Here {
    fn new() -> Self {
        Here(tempfile::tempdir().unwrap())
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdback"));
        command.args(args).current_dir(self.dir()).env_remove("HOLDBACK_STORE");
        command
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        told(self.command(args).output().unwrap())
    }

    fn json(&self, args: &[&str]) -> Value {
        let (code, out, err) = self.run(args);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: exit {code}\n{out}\n{err}"))
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.dir().join(name), text).unwrap();
        name.to_owned()
    }

    fn sql(&self, query: &str) -> Value {
        self.json(&["sql", "--json", query])
    }
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn suite(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("suites").join(name);
    path.to_str().unwrap().to_owned()
}

/// The words of the line that begins with these.
fn line<'a>(text: &'a str, begins: &[&str]) -> Vec<&'a str> {
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.into_iter().find(|words| words.starts_with(begins)).unwrap_or_else(|| panic!("no {begins:?} in\n{text}"))
}

#[test]
fn the_suites_that_ship_run_offline_from_the_command_line() {
    let here = Here::new();
    let (code, out, err) = here.run(&["eval", &suite("coding.yaml")]);
    assert_eq!(code, 0, "{out}\n{err}");
    assert_eq!(line(&out, &["TASK"]), ["TASK", "MODEL", "PASSED", "PASS^3", "COST", "TIME", "BROKEN"]);
    assert_eq!(line(&out, &["slugify"])[2..4], ["3/3", "1.00"]);
    let (code, out, err) = here.run(&["eval", &suite("scripted-tools.yaml"), "--name", "tools"]);
    assert_eq!(code, 0, "{out}\n{err}");
    assert_eq!(line(&out, &["refund-late-order"])[2..4], ["4/4", "1.00"]);
    let (code, out, err) = here.run(&["eval", &suite("echo.yaml")]);
    assert_eq!(code, 0, "a capability suite may fail: {out}\n{err}");
    assert_eq!(line(&out, &["order", "mock/echo"])[2..4], ["8/8", "1.00"]);
    assert!(out.contains("mock/echo: 48 of 48 passed · pass^1 1.00"), "{out}");
    assert!(out.contains("not passed:\n"), "{out}");
    // What was kept can be listed, shown and asked.
    let runs = here.json(&["runs", "--json"]);
    let suites: Vec<&str> = runs.as_array().unwrap().iter().map(|run| run["suite"].as_str().unwrap()).collect();
    assert_eq!(suites, ["echo", "scripted-tools", "coding"]);
    assert_eq!(here.json(&["runs", "show", "tools", "--json"])["run"]["trials"].as_array().unwrap().len(), 4);
    let counted = here.sql("select suite, count(*) as n from trials join runs using (run_id) group by 1 order by 1");
    let counts: Vec<i64> = counted.as_array().unwrap().iter().map(|row| row["n"].as_i64().unwrap()).collect();
    assert_eq!(counts, [3, 96, 4]);
    let traced = here.sql("select count(*) as n from trials join traces using (trace_id)");
    assert_eq!(traced[0]["n"], 103);
}

const FAILING: &str = "suite: bad\ntarget: {prompt: {}}\nmodels: [mock/echo]\ntrials: 2\ntasks:\n  \
    - {id: good, prompt: apple, graders: [{type: contains, all: apple}]}\n  \
    - {id: bad, prompt: apple, graders: [{type: contains, all: pear}]}\n";

#[test]
fn a_regression_suite_with_a_failing_task_exits_with_1_and_says_why() {
    let here = Here::new();
    here.write("s.yaml", FAILING);
    let (code, out, _) = here.run(&["eval", "s.yaml"]);
    assert_eq!(code, 1);
    assert!(out.contains("failed bad mock/echo #1 #2: ") && out.contains("pear"), "{out}");
    assert!(out.contains("1 task failed: bad"), "{out}");
    // Only what failed is asked again.
    let again = here.json(&["eval", "s.yaml", "--failing", "last", "--json"]);
    assert_eq!((again["exit"].as_i64(), again["conclusion"].as_str()), (Some(1), Some("task_failed")));
    assert_eq!(again["run"]["tasks"], serde_json::json!(["bad"]));
    // Other graders move the measurement, and nothing else.
    here.write("s.yaml", &FAILING.replace("all: pear", "any: [pear, apple]"));
    let graded = here.json(&["grade", "last", "--json"]);
    assert_eq!((graded["passed_before"].as_i64(), graded["passed"].as_i64()), (Some(0), Some(2)));
    assert_eq!(graded["moved"].as_array().unwrap().len(), 2);
    assert_eq!(here.sql("select count(*) as n from runs")[0]["n"], 3);
    let asked = here.sql("select count(*) as n from calls");
    assert_eq!(asked[0]["n"], 6, "grading again asks no model");
}

#[test]
fn a_dry_run_says_what_would_be_made_and_makes_nothing() {
    let here = Here::new();
    let (code, out, _) = here.run(&["eval", &suite("echo.yaml"), "--dry-run", "-k", "2", "--task", "order"]);
    assert_eq!(code, 0);
    assert!(
        out.contains("echo: 4 trials of 1 tasks\n") && out.contains("estimated cost: unknown, without 4 trials"),
        "{out}"
    );
    let priced = ["eval", &suite("echo.yaml"), "--dry-run", "--model", "anthropic/claude-sonnet-4-5"];
    let (_, out, _) = here.run(&priced);
    assert!(out.contains("estimated cost: unknown, without 48 trials"), "{out}");
    assert!(!here.dir().join(".holdback").exists(), "nothing is made, not even a store");
}

#[test]
fn what_is_wrong_with_a_suite_is_shown_where_it_stands() {
    let here = Here::new();
    let base = "suite: s\ntarget: {prompt: {}}\nmodels: [mock/echo]\n";
    for (more, place, words) in [
        ("tasks:\n  - {id: a, promt: Hi}\n", "s.yaml:5:", vec!["promt", "did you mean \"prompt\"?"]),
        ("tasks:\n  - {id: a, prompt: Hi}\n  - {id: a, prompt: Ho}\n", "s.yaml:6:", vec!["\"a\""]),
        ("vars: {order: x}\ntasks:\n  - {id: a, prompt: 'Say {{ordr}}'}\n", "s.yaml:6:", vec!["ordr", "order"]),
        (
            "tasks:\n  - {id: a, prompt: Hi, graders: [{type: contain, all: x}]}\n",
            "s.yaml:5:",
            vec!["contain", "did you mean \"contains\"?"],
        ),
    ] {
        here.write("s.yaml", &format!("{base}{more}"));
        for command in [vec!["eval", "s.yaml"], vec!["check", "--suite", "s.yaml", "--task", "a"]] {
            let (code, out, err) = here.run(&command);
            assert_eq!((code, out.as_str()), (2, ""), "{err}");
            assert!(err.contains(place), "{place} in\n{err}");
            assert!(words.iter().all(|word| err.contains(word)), "{words:?} in\n{err}");
        }
    }
    for (args, word) in [
        (vec!["eval", "none.yaml"], "none.yaml"),
        (vec!["eval"], "holdback init"),
        (vec!["eval", &suite("echo.yaml"), "--task", "ordre"], "order"),
        (vec!["eval", &suite("echo.yaml"), "--shard", "5/4"], "1/4"),
        (vec!["eval", "--resume", "last"], "no run"),
        (vec!["eval", &suite("echo.yaml"), "--failing", "nightly"], "nightly"),
    ] {
        let (code, _, err) = here.run(&args);
        assert!(code == 2 && err.contains(word), "{args:?}: {code} {err}");
    }
}

#[test]
fn nothing_measured_is_never_green() {
    let here = Here::new();
    here.write("none.yaml", "suite: s\ntarget: {prompt: {}}\nmodels: [mock/echo]\ntasks: []\n");
    assert_eq!(here.run(&["eval", "none.yaml"]).0, 3);
    let tasks = "tasks: [{id: a, prompt: Hi, graders: [{type: contains, all: Hi}]}]\n";
    // Nobody listens there.
    let broken = format!("suite: s\ntarget: {{prompt: {{}}}}\nmodels: [openai/gpt]\n{tasks}");
    here.write("broken.yaml", &broken);
    let gone = ["--upstream", "openai=http://127.0.0.1:9", "--infra-retries", "0"];
    let (code, _, err) = here.run(&[["eval", "broken.yaml"].as_slice(), &gone].concat());
    assert_eq!(code, 3, "{err}");
    let both = broken.replace("[openai/gpt]", "[mock/echo, openai/gpt]").replace("models", "trials: 3\nmodels");
    here.write("both.yaml", &both);
    let told = here.json(&[["eval", "both.yaml", "--json", "-j", "1"].as_slice(), &gone].concat());
    assert_eq!((told["exit"].as_i64(), told["conclusion"].as_str()), (Some(4), Some("broken")), "{told}");
    let told = here.json(&[["eval", "both.yaml", "--json", "--max-broken", "60%"].as_slice(), &gone].concat());
    assert_eq!(told["exit"].as_i64(), Some(0), "{told}");
}

fn many() -> String {
    let tasks: String =
        (0..8).map(|n| format!("  - {{id: t{n}, prompt: word, graders: [{{type: contains, all: word}}]}}\n")).collect();
    format!(
        "suite: many\nkind: capability\ntarget: {{prompt: {{}}}}\nmodels: [mock/echo, mock/flaky?p=0.5]\ntrials: 5\ntasks:\n{tasks}"
    )
}

#[test]
fn kill_9_at_any_point_and_resume_gives_every_trial_exactly_once() {
    let kills: u32 = std::env::var(KILLS).ok().and_then(|count| count.parse().ok()).unwrap_or(10);
    let mut luck = 0x9e37_79b9_7f4a_7c15_u64;
    let mut killed = 0;
    while killed < kills {
        let here = Here::new();
        here.write("s.yaml", &many());
        loop {
            let mut command = here.command(&["eval", "s.yaml", "--resume", "last", "-j", "3", "-q"]);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            if killed < kills {
                luck = luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                std::thread::sleep(Duration::from_millis(30 + (luck >> 33) % 400));
                killed += u32::from(child.try_wait().unwrap().is_none());
                child.kill().unwrap();
            }
            if child.wait().unwrap().success() {
                break;
            }
        }
        let runs = here.json(&["runs", "--json"]);
        assert_eq!(runs.as_array().unwrap().len(), 1, "it went on with the one run");
        let shown = here.json(&["runs", "show", "last", "--json"]);
        let trials = shown["run"]["trials"].as_array().unwrap();
        let seen: BTreeSet<String> =
            trials.iter().map(|trial| format!("{} {} {}", trial["task"], trial["variant"], trial["attempt"])).collect();
        assert_eq!((trials.len(), seen.len()), (80, 80));
        let counted = here.sql("select count(*) as n, count(distinct trial_id) as d from trials");
        assert_eq!((counted[0]["n"].as_i64(), counted[0]["d"].as_i64()), (Some(80), Some(80)));
        // A finished run is left as it is, and so is every record of it.
        let before = here.sql("select recorded_at from runs");
        let (code, out, err) = here.run(&["eval", "--resume", "last"]);
        assert!(code == 0 && err.contains("nothing is left to do") && out.contains("mock/echo"), "{code} {out} {err}");
        assert_eq!(here.sql("select recorded_at from runs"), before);
    }
}

#[test]
fn ctrl_c_keeps_what_is_finished_and_says_how_to_go_on() {
    let here = Here::new();
    here.write(
        "s.yaml",
        "suite: slow\ntarget: {loop: {command: sleep 0.2}}\ntrials: 200\ngraders: [{type: latency, seconds: 60}]\ntasks: [{id: a, prompt: x}]\n",
    );
    let mut command = here.command(&["eval", "s.yaml", "-j", "2"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let (code, _, err) = told(child.wait_with_output().unwrap());
    assert_eq!(code, 130, "{err}");
    assert!(err.contains("go on with: holdback eval --resume "), "{err}");
    let changed = std::fs::read_to_string(here.dir().join("s.yaml")).unwrap().replace("prompt: x", "prompt: y");
    here.write("s.yaml", &changed);
    let (code, _, err) = here.run(&["eval", "--resume", "last"]);
    assert!(code == 2 && err.contains("the measurement: the suite's tasks"), "{code} {err}");
}

#[test]
fn shards_are_put_together_again() {
    let here = Here::new();
    here.write("s.yaml", &many());
    for (shard, name) in [("1/2", "one"), ("2/2", "two")] {
        assert_eq!(here.run(&["eval", "s.yaml", "--shard", shard, "--name", name, "-q"]).0, 0);
    }
    let whole = here.json(&["runs", "merge", "one", "two", "--name", "whole", "--json"]);
    assert_eq!(whole["run"]["trials"].as_array().unwrap().len(), 80);
    assert_eq!(here.json(&["grade", "whole", "--dry-run", "--json"])["left"], serde_json::json!([]));
    assert_eq!(here.run(&["runs", "merge", "one", "one"]).0, 2);
}

#[test]
fn a_loop_in_flight_can_be_checked() {
    let here = Here::new();
    here.write(
        "s.yaml",
        "suite: s\ntarget: {loop: {command: 'true'}}\ntasks:\n  - id: hello\n    graders:\n      \
         - {type: files, content: [{path: hello.txt, contains: Hello}]}\n      - {type: command, run: test -s hello.txt}\n      \
         - {type: stops}\n",
    );
    let work = here.dir().join("work");
    std::fs::create_dir(&work).unwrap();
    let args = ["check", "--suite", "s.yaml", "--task", "hello", "--workspace", "work"];
    let (code, out, err) = here.run(&args);
    assert_eq!(code, 1, "{err}");
    assert!(out.starts_with("The work is not done yet.") && out.contains("hello.txt"), "{out}");
    std::fs::write(work.join("hello.txt"), "Hello\n").unwrap();
    assert_eq!(here.run(&args), (0, String::new(), String::new()));
    let told = here.json(&[args.as_slice(), &["--json"]].concat());
    assert_eq!((told["done"].as_bool(), &told["left_out"]), (Some(true), &serde_json::json!(["stops"])));
    assert_eq!(here.run(&["check", "--suite", "s.yaml", "--task", "helo"]).0, 2);
}

#[test]
fn a_first_suite_is_drafted_and_runs_as_it_is() {
    let here = Here::new();
    assert_eq!(here.run(&["init"]).0, 0);
    let (code, out, err) = here.run(&["eval"]);
    assert_eq!(code, 0, "{out}\n{err}");
    assert_eq!(line(&out, &["capital"])[2], "4/4");
    let (code, _, err) = here.run(&["init"]);
    assert!(code == 2 && err.contains("--force"), "{err}");
    // Traces become tasks, and traces can be graded as they are.
    assert_eq!(here.run(&["init", "--from", "last", "-o", "suites/drafted.yaml"]).0, 0);
    let (code, out, err) = here.run(&["eval", "suites/drafted.yaml", "--dry-run"]);
    assert!(code == 0 && out.contains("drafted: 4 trials of 1 tasks"), "{out}\n{err}");
    here.write(
        "t.yaml",
        "suite: t\ntarget: {trace: {}}\ntasks: [{id: a, trace: last, graders: [{type: contains, all: Paris}, {type: stops, within: 1}]}]\n",
    );
    let (code, out, err) = here.run(&["eval", "t.yaml"]);
    assert_eq!(code, 0, "{out}\n{err}");
}

#[test]
fn the_page_on_suites_knows_every_grader_and_shows_a_suite_that_is_in_order() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/eval.md")).unwrap();
    for kind in holdback::grade::KINDS {
        let row = format!("| `{}` | {} | `{}` |", kind.name, kind.about, kind.example);
        assert!(page.contains(&row), "docs/eval.md should have\n{row}");
    }
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    let here = Here::new();
    let fixtures = here.dir().join("fixtures/shop");
    std::fs::create_dir_all(&fixtures).unwrap();
    std::fs::copy(root.join("suites/fixtures/shop/orders.json"), fixtures.join("orders.json")).unwrap();
    let script = "refund.script.yaml";
    std::fs::copy(root.join("suites/fixtures").join(script), here.dir().join("fixtures").join(script)).unwrap();
    here.write("s.yaml", shown);
    let (code, out, err) = here.run(&["eval", "s.yaml"]);
    assert_eq!(code, 0, "{out}\n{err}");
}
