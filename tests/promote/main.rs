//! From a failed trace to a case, as a person goes the way; docs/walk.md as it stands.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod artefact;
mod hostile;
mod life;
mod live;
mod loops;
mod traces;

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

fn holdback(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("holdback").unwrap();
    command.current_dir(folder);
    for name in ["HOLDBACK_STORE", "HOLDBACK_TOKEN", "OPENAI_BASE_URL", "HOLDBACK_DEMO_MODEL", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = holdback(folder).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(folder: &Path, args: &[&str]) -> Value {
    let (_, stdout, stderr) = run(folder, args);
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{args:?}: {error}\n{stdout}\n{stderr}"))
}

fn demo() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    holdback(folder.path()).arg("demo").assert().success();
    folder
}

#[test]
fn the_documented_walk_goes_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/walk.md")).unwrap();
    let mut said = String::new();
    for line in text.split("```sh\n").skip(1).filter_map(|block| block.split("```").next()).flat_map(str::lines) {
        let (command, comment) = line.split_once('#').unwrap_or((line, ""));
        let args: Vec<&str> = command.split_whitespace().skip(1).collect();
        let (code, stdout, stderr) = run(folder.path(), &args);
        let expected = i32::from(comment.contains("exits with 1"));
        assert_eq!(code, expected, "{line}\n{stdout}\n{stderr}");
        said.push_str(&stdout);
    }
    for word in ["proven red: does-not-repeat", "#8: does-not-repeat", "fixed"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let tapes: Vec<_> = std::fs::read_dir(folder.path().join("traces")).unwrap().flatten().collect();
    assert_eq!(tapes.len(), 1);
    assert!(tapes[0].metadata().unwrap().len() < 10_000, "a tape is small");
    let cases = json(folder.path(), &["cases", "--json"]);
    let case = &cases["cases"][0];
    assert_eq!(case["state"], "fixed", "{case:#}");
    assert_eq!(case["history"][1]["model"], "mock/script:demo-fixed");
    let groups = json(folder.path(), &["failures", "--json"]);
    assert_eq!(
        (groups["groups"][0]["case"].clone(), groups["groups"][0]["count"].as_u64()),
        (case["id"].clone(), Some(1))
    );
}

#[test]
fn a_case_is_small_and_made_once() {
    let folder = demo();
    let dir = folder.path();
    let groups = json(dir, &["failures", "--json"]);
    let group = groups["groups"][0]["id"].as_str().unwrap().to_owned();
    let (code, stdout, _) = run(dir, &["promote", &group]);
    assert_eq!(code, 0, "{stdout}");
    assert!(dir.join("suites/regressions.review.yaml").exists() && !dir.join("suites/regressions.yaml").exists());
    let made = json(dir, &["promote", &group, "--yes", "--fixed", "mock/script:demo-fixed", "--json"]);
    let made = &made["cases"][0];
    assert!(made["after"]["messages"].as_u64().unwrap() <= 4, "{made:#}");
    assert!(made["after"]["tools"].as_u64().unwrap() == 1, "{made:#}");
    let again = json(dir, &["promote", "last-failed", "--yes", "--json"]);
    assert_eq!(again["cases"][0]["present"], true, "{again:#}");
    let suite = std::fs::read_to_string(dir.join("suites/regressions.yaml")).unwrap();
    assert_eq!(suite.matches("- id:").count(), 1, "{suite}");
    let unfixed = json(
        dir,
        &[
            "promote",
            "demo-stuck",
            "--call",
            "4",
            "--suite",
            "suites/other.yaml",
            "--yes",
            "--fixed",
            "mock/script:demo",
            "--json",
        ],
    );
    assert!(unfixed["cases"][0]["refused"].as_str().unwrap().contains("red there too"), "{unfixed:#}");
    assert!(!dir.join("suites/other.yaml").exists());
}

#[test]
fn what_makes_no_case_says_why() {
    let folder = demo();
    let dir = folder.path();
    let agent = assert_cmd::cargo::cargo_bin("holdback").display().to_string();
    run(
        dir,
        &["record", "-q", "--name", "hollow", "--content", "none", "--", &agent, "demo", "agent", "Refund order B-99."],
    );
    for (args, word) in [
        (vec!["promote", "hollow"], "--content none"),
        (vec!["promote", "demo-refund"], "nothing in the trace says that it failed"),
        (vec!["promote", "demo-stuck", "--call", "99"], "call 99"),
        (vec!["promote", "demo-stuck", "--never", "delete_order"], "nothing in the trace says"),
    ] {
        let (code, _, stderr) = run(dir, &args);
        assert_eq!(code, 1, "{args:?} {stderr}");
        assert!(stderr.contains(word), "{args:?} {stderr}");
    }
    let (code, ..) = run(dir, &["promote", "nobody"]);
    assert_eq!(code, 2);
    let (code, stdout, stderr) = run(dir, &["promote", "demo-refund", "--never", "refund_order", "--yes"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("proven red: forbidden-tool"), "{stdout}");
    // A suite of another kind is left as it was.
    std::fs::write(dir.join("mine.yaml"), "suite: mine\ntarget: {prompt: {}}\nmodels: [mock/echo]\ngraders: [{type: contains, any: [x]}]\ntasks:\n  - {id: a, prompt: x}\n").unwrap();
    let before = std::fs::read_to_string(dir.join("mine.yaml")).unwrap();
    let (code, _, stderr) = run(dir, &["promote", "last-failed", "--suite", "mine.yaml", "--yes"]);
    assert_ne!(code, 0, "{stderr}");
    assert_eq!(std::fs::read_to_string(dir.join("mine.yaml")).unwrap(), before);
}

#[test]
fn personal_data_is_gone_from_tape_and_suite() {
    let folder = demo();
    let dir = folder.path();
    std::fs::write(dir.join("orders.json"), "{}").unwrap();
    let agent = assert_cmd::cargo::cargo_bin("holdback").display().to_string();
    let prompt = "I am ada@lovelace.org, phone 555-123-4567. Refund order B-99.";
    run(dir, &["record", "-q", "--name", "ada", "--", &agent, "demo", "agent", prompt]);
    let made = json(dir, &["promote", "ada", "--yes", "--json"]);
    assert_eq!(made["cases"][0]["personal"], 2, "{made:#}");
    let tape = std::fs::read_dir(dir.join("traces")).unwrap().flatten().next().unwrap().path();
    let (_, _, _) = run(dir, &["--store", "other", "import", tape.to_str().unwrap()]);
    let (_, shown, stderr) = run(dir, &["--store", "other", "traces", "show", "last", "--full"]);
    assert!(shown.contains("person1@example.com"), "{shown} {stderr}");
    assert!(!shown.contains("lovelace") && !shown.contains("4567"), "{shown}");
}
