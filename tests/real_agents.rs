//! Real agents, recorded: they do what they do unrecorded, on good days and on bad ones, and every call they make is kept.
//!
//! Runs where the shared loops and an installed agent are at hand (HOLDBACK_SHARED or ../shared, LOOPS_HOME); never installs one.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The shared folder of loops and where agents are installed, when both are there.
fn places(agent: &str) -> Option<(PathBuf, PathBuf)> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("HOLDBACK_SHARED").map_or(beside, PathBuf::from).join("loops");
    let home = std::env::var_os("HOME").map(PathBuf::from)?;
    let loops = std::env::var_os("LOOPS_HOME").map_or(home.join(".cache/holdback-loops"), PathBuf::from);
    let installed = fs::read_dir(loops.join(agent)).ok()?.flatten();
    let installed = installed.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(".installed-"));
    let shared = shared.canonicalize().ok().filter(|shared| shared.join("smoke.sh").exists())?;
    installed.then_some((shared, loops.join(agent)))
}

/// What a run of an agent came to.
struct Ran {
    ok: bool,
    line: String,
    stdout: String,
    hello: Option<String>,
    /// Model calls the upstream saw: target and status.
    wire: Vec<(String, Option<u64>)>,
}

struct Stage {
    folder: tempfile::TempDir,
    shared: PathBuf,
    installed: PathBuf,
    agent: &'static str,
}

impl Stage {
    /// A stage for an agent, or a word on why there is none.
    fn set(agent: &'static str) -> Option<Stage> {
        let Some((shared, installed)) = places(agent) else {
            println!("skipped: no shared loops, or {agent} is not installed");
            return None;
        };
        Some(Stage { folder: tempfile::tempdir().unwrap(), shared, installed, agent })
    }

    /// One smoke run in a home of its own, recorded into a store when one is named.
    fn run(&self, name: &str, faults: &str, store: Option<&Path>) -> Ran {
        let words = store.map(|store| {
            let binary = assert_cmd::cargo::cargo_bin("holdback");
            format!("{} --store {} record --name {name} --", binary.display(), store.display())
        });
        self.run_behind(name, faults, words)
    }

    /// The same with words of ours before the agent's own command.
    fn run_behind(&self, name: &str, faults: &str, words: Option<String>) -> Ran {
        let home = self.folder.path().join(name);
        fs::create_dir_all(home.join("home")).unwrap();
        let agent = home.join(self.agent);
        if !agent.exists() {
            std::os::unix::fs::symlink(&self.installed, agent).unwrap();
        }
        let mut command = Command::new(self.shared.join("smoke.sh"));
        command.arg(self.agent).env("LOOPS_HOME", &home).env("LOOPS_AGENT_HOME", home.join("home"));
        command.env("FAKE_FAULTS", faults).env_remove("LOOPS_WRAP").env_remove("LOOPS_PROMPT");
        if let Some(words) = words {
            command.env("LOOPS_WRAP", words);
        }
        let output = command.output().unwrap();
        let smoke = home.join("smoke").join(self.agent);
        let read = |file: &str| fs::read_to_string(smoke.join(file)).ok();
        let wire = read("wire.jsonl").unwrap_or_default();
        let wire =
            wire.lines().filter_map(|line| serde_json::from_str(line).ok()).filter_map(|seen: Value| model_call(&seen));
        let mut line = String::from_utf8_lossy(&output.stdout).into_owned();
        line.push_str(&read("stderr.log").unwrap_or_default());
        Ran {
            ok: output.status.success(),
            line,
            stdout: read("stdout.log").unwrap_or_default(),
            hello: read("work/hello.txt"),
            wire: wire.collect(),
        }
    }

    fn json(&self, store: &Path, args: &[&str]) -> Value {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("holdback"));
        let output = command.current_dir(self.folder.path()).arg("--store").arg(store).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// A line of the wire log, when it is a question to a model.
fn model_call(seen: &Value) -> Option<(String, Option<u64>)> {
    let request = &seen["request"];
    let target = request["target"].as_str().filter(|_| request["method"] == "POST")?;
    let asks = ["/messages", "/chat/completions", "/responses"].iter().any(|path| target.ends_with(path));
    asks.then(|| (target.to_owned(), seen["response"]["status"].as_u64()))
}

/// What an agent printed, without ids, times and the order the system gave its files.
fn plain(agent: &str, stdout: &str) -> Vec<String> {
    if agent != "codex" {
        return stdout.lines().map(str::to_owned).collect();
    }
    // Two commands at once end in either order.
    let mut lines: Vec<String> = Vec::new();
    let events = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| line.into()));
    lines.extend(events.map(|event| {
        let item = &event["item"];
        let facts = [
            &event["type"],
            &item["type"],
            &item["text"],
            &item["command"],
            &item["exit_code"],
            &event["usage"]["output_tokens"],
        ];
        facts.map(Value::to_string).join(" ")
    }));
    lines.sort();
    lines
}

/// Runs an agent twice, without and with us, and compares all that shows; gives the trace back.
fn same_recorded(stage: &Stage, name: &str, faults: &str) -> Value {
    let agent = stage.agent;
    let alone = stage.run(&format!("{name}-alone"), faults, None);
    let store = stage.folder.path().join(format!("{name}-store"));
    let recorded = stage.run(name, faults, Some(&store));
    assert_eq!(alone.ok, recorded.ok, "{agent} {faults}\n{}\n{}", alone.line, recorded.line);
    assert_eq!(alone.hello, recorded.hello, "{agent} {faults}");
    assert_eq!(plain(agent, &alone.stdout), plain(agent, &recorded.stdout), "{agent} {faults}");
    assert_eq!(alone.wire.len(), recorded.wire.len(), "{agent} {faults}: {:?} {:?}", alone.wire, recorded.wire);
    assert!(recorded.line.contains("holdback: "), "the summary line: {}", recorded.line);

    let shown = stage.json(&store, &["traces", "show", name, "--json"]);
    assert_eq!(shown["agent"], agent);
    let calls = shown["calls"].as_array().unwrap();
    let kept: Vec<_> = calls.iter().map(|call| call["status"].as_u64()).collect();
    let seen: Vec<_> = recorded.wire.iter().map(|(_, status)| *status).collect();
    assert_eq!(kept, seen, "every call is in the store: {shown:#}");
    for call in calls.iter().filter(|call| call["end"] == "complete" && call["status"] == 200) {
        assert!(call["answer"].is_object() && call["took_us"].is_u64() && call["usage"].is_object(), "{call}");
    }
    let health = stage.json(&store, &["doctor", "--verify", "--json"]);
    assert_eq!(health["sound"], true, "{health}");
    shown
}

fn on_good_and_bad_days(agent: &'static str) {
    let Some(stage) = Stage::set(agent) else { return };
    let good = same_recorded(&stage, "good", "");
    assert_eq!((good["outcome"].as_str(), good["failed_calls"].as_u64()), (Some("ok"), Some(0)), "{good:#}");

    let refused = same_recorded(&stage, "refused", "ok,529");
    let calls = refused["calls"].as_array().unwrap();
    assert_eq!(calls[1]["status"], 529);
    assert!(calls[1]["error"].is_string());
    assert_eq!(calls[2]["retry_of"], 2, "{refused:#}");

    let cut = same_recorded(&stage, "cut", "ok,cut");
    let calls = cut["calls"].as_array().unwrap();
    assert_eq!(calls[1]["end"], "cut", "{cut:#}");
    // Codex asks again with what it had got so far, which is another question.
    if agent == "pi" {
        assert_eq!(calls[2]["retry_of"], 2, "{cut:#}");
    }
}

/// Recorded once, replayed twice: the same run each time, and the provider that stands by is never asked.
fn replays_exactly(agent: &'static str) {
    let Some(stage) = Stage::set(agent) else { return };
    let store = stage.folder.path().join("store");
    let recorded = stage.run("loop", "", Some(&store));
    assert!(recorded.ok, "{}", recorded.line);
    for _ in 0..2 {
        let binary = assert_cmd::cargo::cargo_bin("holdback");
        // The agent's own folder is new and holds the same, as it would on another machine.
        let words = format!("{} --store {} replay loop --json --in-place --", binary.display(), store.display());
        let replayed = stage.run_behind("loop", "", Some(words));
        let report: Value = serde_json::from_str(&replayed.stdout)
            .unwrap_or_else(|error| panic!("{agent}: {error}: {}{}", replayed.stdout, replayed.line));
        assert_eq!(report["divergences"], 0, "{agent}: {report:#}");
        assert_eq!(report["matched"], report["calls"], "{agent}: {report:#}");
        assert_eq!(replayed.hello, recorded.hello, "{agent}: the tools ran");
        assert!(replayed.wire.is_empty(), "{agent} asked the provider: {:?}", replayed.wire);
    }
    // The recorded work tree, in a folder of our own, without a word of the agent's command.
    let words = format!(
        "{} --store {} replay loop --json --",
        assert_cmd::cargo::cargo_bin("holdback").display(),
        store.display()
    );
    let replayed = stage.run_behind("loop", "", Some(words));
    let report: Value = serde_json::from_str(&replayed.stdout).unwrap_or_default();
    assert_eq!(report["divergences"], 0, "{agent}: {report:#} {}", replayed.line);
    assert_eq!(replayed.hello, None, "{agent}: nothing was written into the user's own folder");
}

#[test]
fn pi_replays_exactly() {
    replays_exactly("pi");
}

#[test]
fn codex_replays_exactly() {
    replays_exactly("codex");
}

#[test]
fn pi_does_the_same_recorded() {
    on_good_and_bad_days("pi");
}

#[test]
fn codex_does_the_same_recorded() {
    on_good_and_bad_days("codex");
}
