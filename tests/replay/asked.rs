//! Recorded calls asked again, one by one.

use super::{Provider, Stage};

#[test]
fn every_recorded_call_is_asked_again_and_compared() {
    let stage = Stage::set();
    stage.record("refund", "Order A-17 came late, refund it.");
    let (code, same) = stage.json(&["ask", "refund", "--model", "mock/script:demo", "-k", "2", "--json"]);
    assert_eq!(code, 0);
    assert_eq!(
        (same["summary"]["asked"].as_u64(), same["summary"]["answered"].as_u64()),
        (Some(6), Some(6)),
        "{same:#}"
    );
    assert_eq!(same["summary"]["same_decision"]["value"], 1.0);
    assert_eq!(same["summary"]["same_arguments"]["value"], 1.0);
    let (_, other) = stage.json(&["ask", "refund", "--model", "mock/echo", "--json"]);
    let steps = other["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 3);
    assert_eq!(
        (steps[0]["compared"]["same_decision"].as_bool(), steps[0]["compared"]["new"].as_str()),
        (Some(false), Some("words"))
    );
    let interval = &other["summary"]["same_decision"]["interval"];
    assert!(interval["lower"].as_f64().unwrap() <= interval["upper"].as_f64().unwrap(), "{other:#}");
    let (code, text) = stage.says(&["ask", "refund", "--model", "mock/echo"]);
    assert_eq!(code, 0);
    for word in ["CALL", "lookup_order", "same move", "tokens", "intervals are 95 %"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let (_, kept) = stage.json(&["traces", "ls", "--tag", "ask=mock/echo", "--json"]);
    assert_eq!((kept.as_array().unwrap().len(), kept[0]["source"].as_str()), (2, Some("derived")));
}

#[test]
fn a_second_provider_format_gives_the_same_table() {
    let stage = Stage::set();
    stage.record("refund", "Order A-17 came late, refund it.");
    let provider = Provider::start(stage.folder.path());
    let address = format!("anthropic={}", provider.url);
    let args = ["ask", "refund", "--model", "anthropic/mock/script:demo", "--upstream", &address, "--json"];
    let (code, report) = stage.json(&args);
    assert_eq!((code, report["summary"]["same_decision"]["value"].as_f64()), (0, Some(1.0)), "{report:#}");
    let (code, report) =
        stage.json(&["ask", "refund", "--model", "anthropic/mock/nobody", "--upstream", &address, "--json"]);
    assert_eq!((code, report["summary"]["answered"].as_u64()), (4, Some(0)), "{report:#}");
    assert!(report["steps"][0]["error"].as_str().unwrap().contains("no mock model"));
}
