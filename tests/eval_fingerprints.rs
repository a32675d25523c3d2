//! What changed, the loop or the measurement: told apart by the gate, by baselines and on resuming.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::Path;
use std::process::Command;

const SUITE: &str = "suite: s\ntarget: {loop: {command: [sh, '{{suite_dir}}/agent.sh'], sandbox: none}}\nmodels: [mock/echo]\ntrials: 2\n\
    graders: [{type: command, run: 'sh {{suite_dir}}/check.sh'}]\ntasks: [{id: a, prompt: x}, {id: b, prompt: y.md}]\n";

fn run(dir: &Path, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdback"));
    let output = command.args(args).current_dir(dir).env_remove("HOLDBACK_STORE").output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), said)
}

#[test]
fn a_changed_measurement_is_told_from_a_changed_loop() {
    let here = tempfile::tempdir().unwrap();
    let dir = here.path();
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    let original = || {
        write("s.yaml", SUITE);
        write("agent.sh", "echo done > out.txt\n");
        write("check.sh", "test -f out.txt\n");
        write("y.md", "Do it.\n");
    };
    original();
    let (code, said) = run(dir, &["eval", "s.yaml", "-q", "--name", "base"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(run(dir, &["baseline", "save", "base", "base.json"]).0, 0);
    // File, its content, and what the gate says of it: the loop's, or the measurement's.
    for (name, text, gate, changed) in [
        (
            "agent.sh",
            "echo finished > out.txt\n",
            "changed    the loop's command, or files",
            "the loop changed, the measurement is the same",
        ),
        (
            "s.yaml",
            &SUITE.replace("mock/echo", "mock/flaky"),
            "changed    model mock/echo -> mock/flaky",
            "the loop changed, the measurement is the same",
        ),
        (
            "check.sh",
            "test -s out.txt\n",
            "the fingerprint of graders differs",
            "the measurement changed, the loop did not",
        ),
        ("y.md", "Do it well.\n", "the fingerprint of suite differs", "the measurement changed, the loop did not"),
        ("s.yaml", &SUITE.replace("trials: 2", "trials: 3"), "Undecided", "neither measurement nor loop changed"),
    ] {
        original();
        write(name, text);
        let (code, said) = run(dir, &["eval", "s.yaml", "-q"]);
        assert_eq!(code, 0, "{said}");
        let (code, said) = run(dir, &["gate", "--baseline", "base.json", "--candidate", "last"]);
        assert!(said.contains(gate), "{name}: {said}");
        assert_eq!(code, if gate.contains("fingerprint") { 2 } else { 3 }, "{name}: {said}");
        let (_, said) = run(dir, &["baseline", "diff", "base.json", "last"]);
        assert!(said.starts_with(changed), "{name}: {said}");
    }
    // A baseline of a version that took fingerprints otherwise is refused for that, and not for a change nobody made.
    original();
    assert_eq!(run(dir, &["eval", "s.yaml", "-q"]).0, 0);
    let old = std::fs::read_to_string(dir.join("base.json")).unwrap().replace("    \"version\": 2,\n", "");
    write("old.json", &old);
    let (code, said) = run(dir, &["gate", "--baseline", "old.json", "--candidate", "last"]);
    assert!(code == 2 && said.contains("were taken in different ways"), "{code} {said}");
    // Going on with a run that was begun with another agent.
    write("slow.yaml", &SUITE.replace("suite: s", "suite: slow").replace("trials: 2", "trials: 40"));
    assert_eq!(run(dir, &["eval", "slow.yaml", "-q", "--budget", "0"]).0, 3);
    write("agent.sh", "echo other > out.txt\n");
    let (code, said) = run(dir, &["eval", "--resume", "last"]);
    assert!(code == 2 && said.contains("the loop: its command or the files it is made of"), "{code} {said}");
    assert!(!said.contains("the measurement"), "{said}");
}
