//! From a call on another model answers, whatever format it speaks.

use super::{Provider, Stage};

#[test]
fn a_fork_goes_live_at_its_call_and_only_there() {
    let stage = Stage::set();
    stage.record("refund", "Order A-17 came late, refund it.");
    let (code, report) = stage.json(&["replay", "refund", "--from", "2", "--model", "mock/echo", "--json"]);
    assert_eq!((code, report["matched"].as_u64(), report["live"].as_u64()), (0, Some(2), Some(1)), "{report:#}");
    let (_, shown) = stage.json(&["traces", "show", "last", "--json"]);
    let upstreams: Vec<_> =
        shown["calls"].as_array().unwrap().iter().map(|call| call["upstream"].as_str().unwrap()).collect();
    assert_eq!(upstreams, ["tape", "mock/echo"], "the echo says no tool, so the loop ends there");
    let (code, report) = stage.json(&["replay", "refund", "--from", "4", "--model", "mock/echo", "--json"]);
    assert_eq!((code, report["live"].as_u64()), (0, Some(0)), "{report:#}");
}

#[test]
fn another_provider_is_asked_in_its_own_format_and_answers_in_the_loops() {
    let stage = Stage::set();
    stage.record("refund", "Order A-17 came late, refund it.");
    let provider = Provider::start(stage.folder.path());
    for (model, upstream, wire) in [
        ("anthropic/mock/script:demo", "anthropic", "anthropic_messages"),
        ("gemini/mock/script:demo", "gemini", "gemini"),
        ("openai-responses/mock/script:demo", "openai", "openai_responses"),
    ] {
        let address = format!("{upstream}={}", provider.url);
        let args = [
            "replay",
            "refund",
            "--from",
            "1",
            "--model",
            model,
            "--upstream",
            &address,
            "--set",
            "temperature=0",
            "--json",
        ];
        let (code, report) = stage.json(&args);
        assert_eq!(
            (code, report["live"].as_u64(), report["exit_code"].as_i64()),
            (0, Some(3), Some(0)),
            "{model} {report:#}"
        );
        let (_, shown) = stage.json(&["traces", "show", "last", "--json"]);
        let last = shown["calls"].as_array().unwrap().last().unwrap();
        assert_eq!(last["wire"], "openai_chat");
        assert!(
            last["answer"]["parts"][0]["text"].as_str().unwrap().contains("refunded the 12.50"),
            "{model} {shown:#}"
        );
        let note = shown["notes"].as_array().unwrap().iter().find(|note| note[1]["data"]["live"] == true).unwrap();
        assert_eq!(note[1]["data"]["asked_in"], wire);
    }
}

#[test]
fn a_model_that_is_refused_and_an_upstream_nobody_knows_are_told() {
    let stage = Stage::set();
    stage.record("refund", "Order A-17 came late, refund it.");
    let (_, text) = stage.says(&["replay", "refund", "--from", "2", "--model", "mock/nobody"]);
    assert!(text.contains("there is no mock model"), "{text}");
    let (_, text) = stage.says(&["replay", "refund", "--from", "2", "--model", "nowhere/model"]);
    assert!(text.contains("no upstream is called"), "{text}");
    let provider = Provider::start(stage.folder.path());
    let address = format!("anthropic={}", provider.url);
    let (_, text) =
        stage.says(&["replay", "refund", "--from", "2", "--model", "anthropic/mock/nobody", "--upstream", &address]);
    assert!(text.contains("there is no mock model"), "{text}");
    let patch = stage.shop.join("p.yaml");
    std::fs::write(&patch, "replace: [{find: no such words, with: x}]").unwrap();
    let (_, text) = stage.says(&["replay", "refund", "--from", "2", "--prompt-patch", "p.yaml"]);
    assert!(text.contains("no such words"), "{text}");
}
