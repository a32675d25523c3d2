//! `holdback import suite`: promptfoo's configurations and Harbor's task folders, and Harbor tasks run where they stand.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

fn run(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdback"));
    let output = command.args(args).current_dir(dir).env_remove("HOLDBACK_STORE").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

const PROMPTFOO: &str = r#"
description: Greetings
prompts: ["Say {{word}}."]
providers: [echo, "exec:python agent.py"]
tests:
  - vars: {word: hello}
    assert: [{type: icontains, value: HELLO}, {type: javascript, value: "output.length < 9"}]
  - vars: {word: bye}
    assert: [{type: contains, value: bye}]
"#;

#[test]
fn a_promptfoo_configuration_becomes_a_suite_that_runs() {
    let here = tempfile::tempdir().unwrap();
    let dir = here.path();
    write(dir, "shop/promptfooconfig.yaml", PROMPTFOO);
    let (code, out, err) = run(dir, &["import", "suite", "shop/promptfooconfig.yaml"]);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    for words in [
        "not carried over: provider \"exec:python agent.py\"",
        "javascript has no counterpart",
        "suites/shop.yaml (2 tasks",
    ] {
        assert!(err.contains(words), "{words}\n{err}");
    }
    let suite = std::fs::read_to_string(dir.join("suites/shop.yaml")).unwrap();
    assert!(
        suite.starts_with("# yaml-language-server: $schema=./suite.schema.json\n#\n# Not carried over:\n"),
        "{suite}"
    );
    let (code, out, err) = run(dir, &["eval", "suites/shop.yaml", "-q", "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error} {out} {err}"));
    assert_eq!((code, &told["summary"]["totals"][0]["passed"]), (0, &json!(2)), "{told}");
    let (code, _, err) = run(dir, &["import", "suite", "shop/promptfooconfig.yaml"]);
    assert!(code == 2 && err.contains("is there already"), "{err}");
    write(dir, "none.yaml", "tests: []\n");
    for (from, words) in [("none.yaml", "no prompt"), ("gone.yaml", "gone.yaml: "), ("shop", "no Harbor task")] {
        let (code, _, err) = run(dir, &["import", "suite", from, "-o", "x.yaml"]);
        assert!(code == 2 && err.contains(words) && !dir.join("x.yaml").exists(), "{from}: {code} {err}");
    }
}

/// Two tasks as Harbor's own tools make them; the second one's verifier rewards by halves.
fn harbor(dir: &Path) {
    for (name, reward) in [("hello", "1"), ("half", "0.5")] {
        let file = |of: &str| format!("tasks/{name}/{of}");
        let config = "version = \"1.0\"\n[metadata]\ndifficulty = \"easy\"\n[agent]\ntimeout_sec = 60.0\n[verifier]\ntimeout_sec = 60.0\n";
        write(dir, &file("task.toml"), config);
        write(dir, &file("instruction.md"), "Write hello to the file out.txt. Not {{this}}.\n");
        write(dir, &file("environment/Dockerfile"), "FROM scratch\nWORKDIR /app\n");
        write(dir, &file("environment/seed.txt"), "seed\n");
        write(dir, &file("tests/expected.txt"), "hello\n");
        write(
            dir,
            &file("tests/test.sh"),
            &format!(
                "#!/bin/bash\nset -u\ncd /app\nif cmp -s /app/out.txt \"/tests/expected.txt\" && test -f seed.txt && ! test -e tests; then\n  \
                 echo {reward} > /logs/verifier/reward.txt\nelse\n  echo 'out.txt is wrong'\n  echo 0 > /logs/verifier/reward.txt\nfi\n"
            ),
        );
        write(dir, &file("solution/solve.sh"), "echo hello > /app/out.txt\n");
    }
}

#[test]
fn harbor_tasks_run_where_they_stand() {
    let here = tempfile::tempdir().unwrap();
    let dir = here.path();
    harbor(dir);
    // The agent must see the instruction, the environment, and neither tests nor solution.
    write(
        dir,
        "agent.sh",
        "test -f seed.txt && test ! -e solution && case \"$1\" in *'Not {{this}}.') echo hello > out.txt;; esac\n",
    );
    let agent = "sh {{suite_dir}}/../agent.sh \"$HOLDBACK_PROMPT\"";
    let (code, _, err) = run(dir, &["import", "suite", "tasks", "--loop", agent]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("environment/Dockerfile is not built") && err.contains("suites/tasks.yaml (2 tasks"), "{err}");
    let suite = std::fs::read_to_string(dir.join("suites/tasks.yaml")).unwrap();
    assert!(suite.contains("../tasks") && !suite.contains("instruction"), "{suite}");
    let suite = suite.replace("command:", "env: {HOLDBACK_PROMPT: '{{prompt}}'}\n    command:");
    write(dir, "suites/tasks.yaml", &suite);
    let (code, out, err) = run(dir, &["eval", "suites/tasks.yaml", "-q", "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error} {out} {err}"));
    assert_eq!(code, 0, "{told}");
    let trials = told["run"]["trials"].as_array().unwrap();
    let of = |task: &str| trials.iter().find(|trial| trial["task"] == task).unwrap();
    assert_eq!((&of("hello")["outcome"], &of("hello")["score"]), (&json!("pass"), &json!(1.0)), "{}", of("hello"));
    assert_eq!((&of("half")["outcome"], &of("half")["score"]), (&json!("fail"), &json!(0.5)), "{}", of("half"));
    // An agent that does nothing is told why it failed.
    write(dir, "agent.sh", "true\n");
    let (_, out, _) = run(dir, &["eval", "suites/tasks.yaml", "-q"]);
    assert!(out.contains("the verifier's reward is 0: out.txt is wrong"), "{out}");
    // Without a loop the suite says what is missing.
    let (code, _, err) = run(dir, &["import", "suite", "tasks/hello", "-o", "one.yaml", "--json"]);
    assert_eq!(code, 0, "{err}");
    let (code, out, _) = run(dir, &["eval", "one.yaml", "-q"]);
    assert!(code == 0 && out.contains("write the command of your agent"), "{code} {out}");
}
