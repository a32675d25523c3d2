//! The shell steps of action.yml and of the GitLab example, taken out of their files and run with the real binary.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use serde_json::Value;

use super::common::{Bench, code, repository, said, times};

fn yaml(path: &str) -> Value {
    holdback::suite::yaml(&std::fs::read_to_string(repository().join(path)).unwrap()).unwrap()
}

/// A command of that name that runs a script.
fn stub(bench: &Bench, name: &str, script: &str) {
    std::fs::create_dir_all(bench.path("bin")).unwrap();
    let path = format!("bin/{name}");
    bench.write(&path, &format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(bench.path(&path), std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A folder whose `bin/holdback` is the real binary; `eval` is left out, since the runs are there already.
fn runner(base: &str, cand: &str) -> Bench {
    let bench = Bench::new();
    bench.pair(&times(20, base), &times(20, cand));
    let binary = env!("CARGO_BIN_EXE_holdback");
    stub(
        &bench,
        "holdback",
        &format!("[ \"$1\" = eval ] && echo \"$@\" > evaluated && exit 0\nexec '{binary}' \"$@\""),
    );
    std::fs::create_dir_all(bench.path("suites")).unwrap();
    bench.write("suites/checkout.yaml", "suite: checkout\n");
    bench.holdback(&["baseline", "save", "base", "baselines/checkout.json"]);
    bench
}

/// Runs a script as CI does, with these variables and no others.
fn run(bench: &Bench, shell: &[&str], script: &str, env: &BTreeMap<String, String>, path: &str) -> Output {
    bench.write("step.sh", script);
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(bench.path("step.sh")).current_dir(bench.dir.path()).env_clear().envs(env);
    command.env("PATH", path).output().unwrap()
}

fn tools(bench: &Bench) -> String {
    format!("{}:/usr/local/bin:/usr/bin:/bin", bench.path("bin").display())
}

const BASH: [&str; 5] = ["bash", "--noprofile", "--norc", "-eo", "pipefail"];

/// Step `number` of the action with its inputs' defaults, changed by `inputs`.
fn step(bench: &Bench, number: usize, inputs: &[(&str, &str)], path: &str) -> Output {
    let action = yaml("action.yml");
    let step = &action["runs"]["steps"][number];
    assert_eq!(step["shell"], "bash");
    let input = |name: &str| -> String {
        let given = inputs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        given.unwrap_or_else(|| action["inputs"][name]["default"].as_str().unwrap_or_default().to_owned())
    };
    let mut env = BTreeMap::new();
    for (name, value) in step["env"].as_object().unwrap() {
        let expression = value.as_str().unwrap().trim_start_matches("${{ ").trim_end_matches(" }}");
        let value = match expression.strip_prefix("inputs.") {
            Some(name) => input(name),
            None if expression == "github.event.pull_request.number" => "7".to_owned(),
            None => bench.dir.path().display().to_string(),
        };
        env.insert(name.clone(), value);
    }
    for (name, file) in [("GITHUB_OUTPUT", "output"), ("GITHUB_STEP_SUMMARY", "summary"), ("GITHUB_PATH", "path")] {
        env.insert(name.to_owned(), bench.path(file).display().to_string());
    }
    env.insert("RUNNER_TEMP".to_owned(), bench.path("temp").display().to_string());
    env.insert("GITHUB_REPOSITORY".to_owned(), "me/mine".to_owned());
    run(bench, &BASH, step["run"].as_str().unwrap(), &env, path)
}

fn gate(bench: &Bench, inputs: &[(&str, &str)]) -> Output {
    let usual = [("baseline", "baselines/checkout.json"), ("candidate", "cand")];
    // what a test gives comes first, and the first one counts
    step(bench, 1, &[inputs, &usual].concat(), &tools(bench))
}

#[test]
fn the_action_puts_no_text_of_others_into_its_scripts() {
    let action = yaml("action.yml");
    assert_eq!(action["runs"]["using"], "composite");
    let steps = action["runs"]["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 3);
    for step in steps {
        assert!(!step["run"].as_str().unwrap().contains("${{"), "{}", step["name"]);
    }
    for output in ["verdict", "exit-code"] {
        let value = action["outputs"][output]["value"].as_str().unwrap();
        assert_eq!(value, format!("${{{{ steps.gate.outputs.{output} }}}}"));
    }
}

#[test]
fn the_action_gates() {
    for (cand, inputs, verdict, exit) in [
        ("pppppppp", &[][..], "pass", 0),
        ("pppppfff", &[("undecided", "code")], "regress", 1),
        ("pppppiii", &[], "invalid", 4),
    ] {
        let bench = runner("pppppppp", cand);
        let output = gate(&bench, inputs);
        let said = said(&output);
        assert_eq!(code(&output), exit, "{said}");
        assert_eq!(bench.read("output"), format!("verdict={verdict}\nexit-code={exit}\n"), "{said}");
        let report: Value = serde_json::from_str(&bench.read("holdback-gate/gate.json")).unwrap();
        assert_eq!(report["verdict"], verdict);
        assert!(bench.read("summary").starts_with("<!-- holdback-gate -->"));
        assert!(said.contains("title=holdback"), "{said}");
        for file in ["gate.md", "gate.xml", "gate.sarif"] {
            assert!(bench.path("holdback-gate").join(file).exists(), "{file}");
        }
    }
}

#[test]
fn the_action_hands_on_all_inputs_and_survives_awkward_ones() {
    let bench = runner("pp", "pp");
    assert_eq!(code(&gate(&bench, &[("undecided", "pass")])), 0);
    bench.write("a policy $(touch pwned).yaml", "margin: 0.2\n");
    let awkward = "a policy $(touch pwned).yaml";
    let inputs = [("policy", awkward), ("suite-file", "suites/checkout.yaml"), ("output", "out put")];
    let output = gate(&bench, &inputs);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("file=suites/checkout.yaml") && !bench.path("pwned").exists());
    assert!(bench.read("out put/gate.json").contains("\"margin\": 0.2"));
    // a gate that can't do its work has no verdict
    std::fs::remove_file(bench.path("output")).unwrap();
    let output = gate(&bench, &[("candidate", "nowhere")]);
    assert_eq!((code(&output), bench.read("output").as_str()), (2, "verdict=\nexit-code=2\n"));
}

#[test]
fn the_action_builds_holdback_only_where_there_is_none() {
    let bench = runner("pp", "pp");
    let output = step(&bench, 0, &[], &tools(&bench));
    assert!(code(&output) == 0 && said(&output).contains("holdback ") && !bench.path("path").exists());
    let bench = Bench::new();
    stub(&bench, "make", "echo \"$@\" > made");
    let output = step(&bench, 0, &[], &format!("{}:/usr/bin:/bin", bench.path("bin").display()));
    assert_eq!(code(&output), 0, "{}", said(&output));
    let prefix = bench.path("temp/holdback").display().to_string();
    assert_eq!(bench.read("made"), format!("-C {} install PREFIX={prefix}\n", bench.dir.path().display()));
    assert_eq!(bench.read("path"), format!("{prefix}/bin\n"));
}

#[test]
fn the_action_comments_once_and_then_brings_it_up_to_date() {
    let bench = runner("pppp", "pppp");
    gate(&bench, &[]);
    for (found, expected) in [
        ("", "--method POST repos/me/mine/issues/7/comments -F body=@holdback-gate/gate.md"),
        ("42", "--method PATCH repos/me/mine/issues/comments/42 -F body=@holdback-gate/gate.md"),
    ] {
        // as gh does: a listing prints the ids that its filter finds
        let listing = format!("case \"$*\" in *--jq*) printf '{found}\\n' ;; *) echo \"$@\" >> said ;; esac");
        stub(&bench, "gh", &listing);
        let output = step(&bench, 2, &[("token", "t")], &tools(&bench));
        assert_eq!(code(&output), 0, "{}", said(&output));
        // what it is told to print goes to /dev/null, so the stub writes it down
        assert_eq!(bench.read("said").lines().last().unwrap(), format!("api {expected}"));
    }
    let none = Bench::new();
    let output = step(&none, 2, &[], &tools(&none));
    assert!(code(&output) == 0 && said(&output).contains("no verdict to comment"), "{}", said(&output));
}

#[test]
fn the_gitlab_example_evaluates_and_gates() {
    let example = yaml("ci/gitlab.example.yml");
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in example["variables"].as_object().unwrap() {
        env.insert(name.clone(), value.as_str().unwrap().to_owned());
    }
    for (cand, exit) in [("pppppppp", 0), ("ffffffff", 1)] {
        let bench = runner("pppppppp", cand);
        for (job, expected) in [("evaluate", 0), ("gate", exit)] {
            for line in example[job]["script"].as_array().unwrap() {
                let output = run(&bench, &["sh", "-e"], line.as_str().unwrap(), &env, &tools(&bench));
                assert_eq!(code(&output), expected, "{job}: {}", said(&output));
            }
        }
        assert_eq!(bench.read("evaluated"), "eval suites/checkout.yaml\n");
        let report = example["gate"]["artifacts"]["reports"]["junit"].as_str().unwrap();
        assert!(bench.path(report).exists());
    }
    assert_eq!(example["gate"]["allow_failure"]["exit_codes"][0], 3, "undecided's exit code");
}
