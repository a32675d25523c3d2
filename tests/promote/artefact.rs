//! From what a gate leaves for a pull request to a case.

use super::{demo, json, run};

#[test]
fn failed_trials_of_a_gates_comment_become_cases() {
    let folder = demo();
    let dir = folder.path();
    std::fs::create_dir_all(dir.join("suites")).unwrap();
    std::fs::write(
        dir.join("suites/orders.yaml"),
        "suite: orders\ntarget: {prompt: {tools: [{name: lookup_order, answer: 'error: no order B-99'}], max_turns: 6}}\nmodels: [mock/script:demo]\n\
         graders: [{type: contains, any: [no such order]}]\ntasks:\n  - {id: missing, prompt: Refund order B-99.}\n",
    )
    .unwrap();
    std::fs::write(dir.join("good.yaml"), "turns:\n  - {text: 'There is no such order.'}\n").unwrap();
    let (code, stdout, stderr) =
        run(dir, &["eval", "suites/orders.yaml", "-k", "8", "--model", "mock/script:../good.yaml", "--name", "good"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    run(dir, &["eval", "suites/orders.yaml", "-k", "8", "--name", "bad"]);
    let gate = ["gate", "--baseline", "good", "--candidate", "bad", "--markdown", "gate.md", "--json"];
    let (code, report, stderr) = run(dir, &gate);
    assert_eq!(code, 1, "{report}{stderr}");
    std::fs::write(dir.join("gate.json"), &report).unwrap();
    let comment = std::fs::read_to_string(dir.join("gate.md")).unwrap();
    assert_eq!(comment.matches("`holdback promote ").count(), 9, "eight trials and a hint: {comment}");
    for file in ["gate.md", "gate.json"] {
        let made =
            json(dir, &["promote", "--from", file, "--json", "--suite", &format!("suites/{file}.yaml"), "--yes"]);
        let cases = made["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 8, "{made:#}");
        assert!(cases[0]["proven_red"].as_str().is_some_and(|red| red.starts_with("does-not-repeat")), "{made:#}");
        let added: Vec<bool> = cases.iter().map(|case| case["added"] == true).collect();
        assert_eq!(added.iter().filter(|added| **added).count(), 1, "eight trials of one task fail alike: {made:#}");
    }
    let (code, _, stderr) = run(dir, &["gate", "--baseline", "good", "--candidate", "good", "--markdown", "pass.md"]);
    assert_ne!(code, 1, "{stderr}");
    let (code, _, stderr) = run(dir, &["promote", "--from", "pass.md"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("no failed trial is named"), "{stderr}");
}
