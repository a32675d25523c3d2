//! Suites whose loops are answered from tapes: the whole run against a recording, with a verdict on whether it kept to it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const SHOP: &str = r#"{"A-17": {"item": "kettle", "late": true, "paid": 12.5}}"#;
const PROMPT: &str = "Order A-17 came late, refund it.";

/// A shop, its recorded run under the name `refund`, and suites beside it.
struct Here {
    folder: tempfile::TempDir,
}

impl Here {
    fn new() -> Self {
        let here = Here { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(here.path("shop")).unwrap();
        here.open_shop(SHOP);
        let (code, _, err) =
            here.run("shop", &["record", "-q", "--name", "refund", "--", &binary(), "demo", "agent", PROMPT]);
        assert_eq!(code, 0, "{err}");
        here.open_shop(SHOP);
        here
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open_shop(&self, orders: &str) {
        std::fs::write(self.path("shop/orders.json"), orders).unwrap();
    }

    fn run(&self, within: &str, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(binary());
        command.args(args).current_dir(self.path(within)).env("HOLDBACK_STORE", self.path("store"));
        for name in ["OPENAI_BASE_URL", "OPENAI_API_KEY", "HOLDBACK_DEMO_MODEL"] {
            command.env_remove(name);
        }
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// Runs a suite of one task, whose own lines are given; the exit code and the whole document.
    fn eval(&self, top: &str, task: &str) -> (i32, Value) {
        let suite = format!(
            "suite: taped\ntarget:\n  loop:\n    command: ['{{{{holdback}}}}', demo, agent, '{{{{prompt}}}}']\n    workspace: shop\n\
             {top}\ntasks:\n  - id: refund\n    prompt: {PROMPT}\n{task}\n"
        );
        std::fs::write(self.path("s.yaml"), suite).unwrap();
        let (code, out, err) = self.run(".", &["eval", "s.yaml", "--json", "-q"]);
        let document = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {code}\n{out}\n{err}"));
        (code, document)
    }
}

fn binary() -> String {
    env!("CARGO_BIN_EXE_holdback").to_owned()
}

fn trial(document: &Value) -> &Value {
    &document["run"]["trials"][0]
}

#[test]
fn a_loop_runs_against_its_tape_and_every_trial_counts() {
    let here = Here::new();
    let (code, document) = here.eval(
        "trials: 3\ngraders: [{type: tool_calls, must: [{name: refund_order}]}, {type: contains, all: [refunded], ignore_case: true}]",
        "    tape: refund",
    );
    assert_eq!(code, 0, "{document:#}");
    let trials = document["run"]["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 3);
    for trial in trials {
        let replayed = &trial["replayed"];
        assert_eq!((trial["outcome"].as_str(), replayed["divergences"].as_u64()), (Some("pass"), Some(0)), "{trial:#}");
        assert_eq!((replayed["calls"].as_u64(), replayed["matched"].as_u64()), (Some(3), Some(3)));
        assert!(trial["copy_of"].is_null(), "a tape gives everybody the same answers: {trial:#}");
        assert_eq!(trial["cost_usd"].as_f64(), Some(0.0));
        let kinds: Vec<&str> =
            trial["grades"].as_array().unwrap().iter().map(|grade| grade["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["tool_calls", "contains", "divergence"], "nobody has to ask for it");
    }
    let trace = trial(&document)["trace"].as_str().unwrap();
    let (_, shown, _) = here.run(".", &["traces", "show", trace, "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((shown["source"].as_str(), shown["calls"][0]["upstream"].as_str()), (Some("derived"), Some("tape")));
    assert_eq!(std::fs::read_to_string(here.path("shop/orders.json")).unwrap(), SHOP);
}

#[test]
fn a_loop_that_leaves_its_tape_fails_with_the_place_where_it_did() {
    let here = Here::new();
    // A tool answers otherwise than it did: the second request is another one.
    here.open_shop(&SHOP.replace("12.5", "99.0"));
    let (code, document) = here.eval("", "    tape: refund");
    assert_eq!(code, 1, "{document:#}");
    let replayed = &trial(&document)["replayed"];
    assert_eq!(
        (replayed["divergences"].as_u64(), replayed["first"]["number"].as_u64()),
        (Some(1), Some(2)),
        "{replayed:#}"
    );
    assert_eq!(replayed["first"]["tool"], "lookup_order");
    assert_eq!(trial(&document)["ending"], "exited", "a refusal is the loop's to deal with, not the provider's fault");
    let reasons = trial(&document)["grades"].as_array().unwrap().last().unwrap()["reasons"].to_string();
    assert!(reasons.contains("lookup_order answered otherwise"), "{reasons}");
    // What doesn't count is said by the suite, and so is how alike they have to be.
    let ignore = "ignore: ['$.messages[3].content', 'messages[5].content']";
    for top in [ignore, "match: lenient"] {
        let (code, document) = here.eval(top, "    tape: refund");
        assert_eq!((code, trial(&document)["replayed"]["matched"].as_u64()), (0, Some(3)), "{top}: {document:#}");
    }
    // Leaving it late enough may be all right.
    let (_, document) = here.eval("", "    tape: refund\n    graders: [{type: divergence, from: 2}]");
    assert_eq!(trial(&document)["grades"][0]["pass"], true, "{document:#}");
}

#[test]
fn a_tape_in_a_file_needs_no_store_and_is_part_of_the_measurement() {
    let here = Here::new();
    let (code, _, err) = here.run(".", &["traces", "export", "refund", "-o", "refund.trace.zst"]);
    assert_eq!(code, 0, "{err}");
    std::fs::remove_dir_all(here.path("store")).unwrap();
    let (code, first) = here.eval("", "    tape: refund.trace.zst");
    assert_eq!((code, trial(&first)["replayed"]["matched"].as_u64()), (0, Some(3)), "{first:#}");
    let (_, live) = here.eval("", "    tape: refund.trace.zst\n    live_from: 3");
    let print = |document: &Value| document["run"]["fingerprints"]["suite"].as_str().unwrap().to_owned();
    assert_ne!(print(&first), print(&live));
}

#[test]
fn from_a_call_on_the_model_under_test_answers() {
    let here = Here::new();
    let top = "models: [mock/echo, 'mock/script:fin.yaml']\ngraders: [{type: stops}]";
    std::fs::write(here.path("fin.yaml"), "turns: [{text: Done.}]\notherwise: {text: Done and refunded.}\n").unwrap();
    let (code, document) = here.eval(top, "    tape: refund\n    live_from: 3");
    assert_eq!(code, 0, "{document:#}");
    for trial in document["run"]["trials"].as_array().unwrap() {
        let replayed = &trial["replayed"];
        assert_eq!(
            (replayed["matched"].as_u64(), replayed["live"].as_u64(), replayed["divergences"].as_u64()),
            (Some(3), Some(1), Some(0)),
            "{trial:#}"
        );
        let trace = trial["trace"].as_str().unwrap();
        let (_, shown, _) = here.run(".", &["traces", "show", trace, "--json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let upstreams: Vec<&str> =
            shown["calls"].as_array().unwrap().iter().map(|call| call["upstream"].as_str().unwrap()).collect();
        assert_eq!(upstreams[..2], ["tape", "tape"]);
        assert!(upstreams[2].starts_with("mock/"), "{upstreams:?}");
    }
}

#[test]
fn what_is_wrong_with_a_tape_is_said_where_it_stands() {
    let here = Here::new();
    for (top, task, word) in [
        ("", "    tape: no.trace.zst", "there is no file \"no.trace.zst\""),
        ("", "    live_from: 2", "add tape:"),
        ("", "    tape: refund\n    live_from: 0", "counted from 1"),
        ("ignore: ['a[']", "    tape: refund", "$.metadata.user_id"),
        ("match: strikt", "    tape: refund", "did you mean \"strict\"?"),
    ] {
        let suite = format!("suite: s\ntarget: {{loop: {{command: 'true'}}}}\n{top}\ntasks:\n  - id: a\n{task}\n");
        std::fs::write(here.path("s.yaml"), suite).unwrap();
        let (code, _, err) = here.run(".", &["eval", "s.yaml"]);
        assert!(code == 2 && err.contains(word), "{task}: {code} {err}");
    }
    let prompt = "suite: s\ntarget: {prompt: {}}\nmodels: [mock/echo]\ntasks: [{id: a, prompt: hi, tape: refund}]\n";
    std::fs::write(here.path("s.yaml"), prompt).unwrap();
    let (code, _, err) = here.run(".", &["eval", "s.yaml"]);
    assert!(code == 2 && err.contains("a tape answers a loop"), "{err}");
    // A trace that isn't there, or has fewer calls, is nobody's failure.
    for (task, word) in [("    tape: nobody", "nobody"), ("    tape: refund\n    live_from: 9", "it has calls 1 to 3")]
    {
        let (code, document) = here.eval("", task);
        assert_eq!((code, trial(&document)["outcome"].as_str()), (3, Some("invalid")), "{document:#}");
        assert!(trial(&document)["why"].as_str().unwrap().contains(word), "{document:#}");
    }
}

#[test]
fn a_loop_that_asks_for_ever_is_ended() {
    let here = Here::new();
    let suite = "suite: s\ntarget:\n  loop:\n    command: \"while :; do '{{holdback}}' demo agent 'Another question'; done\"\n    workspace: shop\n\
                 tasks: [{id: a, tape: refund, seconds: 120}]\n";
    std::fs::write(here.path("s.yaml"), suite).unwrap();
    let (code, out, err) = here.run(".", &["eval", "s.yaml", "--json", "-q"]);
    let document: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error} {err}"));
    assert_eq!((code, trial(&document)["ending"].as_str()), (1, Some("braked")), "{document:#}");
    assert!(trial(&document)["brake"].as_str().unwrap().starts_with("tape: "), "{document:#}");
}

#[test]
fn a_trial_can_be_the_tape_of_the_next() {
    let here = Here::new();
    let top = "models: ['mock/script:demo']\ngraders: [{type: stops}]";
    let (code, first) = here.eval(top, "    tags: [first]");
    assert_eq!(code, 0, "{first:#}");
    let trace = trial(&first)["trace"].as_str().unwrap();
    let (code, second) = here.eval(top, &format!("    tape: {trace}"));
    assert_eq!((code, trial(&second)["replayed"]["divergences"].as_u64()), (0, Some(0)), "{second:#}");
    assert!(Path::new(&here.path("store")).is_dir());
}
