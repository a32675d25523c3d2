//! The same run again, and what is said when it isn't.

use predicates::prelude::*;

use super::{Stage, binary, holdback};

#[test]
fn a_recorded_loop_replays_exactly_any_number_of_times_and_touches_nothing() {
    let stage = Stage::set();
    stage.record("refund", "Order A-17 came late, refund it.");
    for _ in 0..2 {
        let (code, report) = stage.json(&["replay", "refund", "--json"]);
        assert_eq!((code, report["divergences"].as_u64()), (0, Some(0)), "{report:#}");
        assert_eq!((report["matched"].as_u64(), report["calls"].as_u64()), (Some(3), Some(3)));
        assert_eq!((report["first"].is_null(), report["exit_code"].as_i64()), (true, Some(0)));
        let orders = std::fs::read_to_string(stage.shop.join("orders.json")).unwrap();
        assert_eq!(orders, super::SHOP, "the user's own files are as they were");
    }
    let (_, shown) = stage.json(&["traces", "show", "last", "--json"]);
    assert_eq!(shown["source"], "derived", "a replay is a trace of its own: {shown:#}");
    assert_eq!(shown["calls"][0]["upstream"], "tape");
    let (_, before) = stage.json(&["traces", "show", "refund", "--json"]);
    let tag = shown["tags"].as_array().unwrap().iter().find(|tag| tag[0] == "replay_of").unwrap();
    assert_eq!(tag[1], before["id"], "and knows what it replays");
    let (code, report) = stage.json(&["traces", "diff", "refund", "last", "--json"]);
    assert_eq!((code, report["divergences"].as_u64()), (0, Some(0)), "{report:#}");
}

#[test]
fn a_changed_prompt_is_reported_at_the_right_call_with_the_right_difference() {
    let stage = Stage::set();
    stage.record("refund", "Order A-17 came late, refund it.");
    let agent = binary();
    let command = ["--", agent.as_str(), "demo", "agent", "Order A-17 came late, refund it twice."];
    let mut args = vec!["replay", "refund", "--json", "--html", "report.html"];
    args.extend(command);
    let (code, report) = stage.json(&args);
    assert_eq!((code, report["divergences"].as_u64()), (1, Some(1)), "{report:#}");
    let first = &report["first"];
    assert_eq!(
        (first["kind"].as_str(), first["number"].as_u64(), first["recorded_number"].as_u64()),
        (Some("changed"), Some(1), Some(1))
    );
    let change = &first["changes"][0];
    assert_eq!(change["place"], "message 1: user");
    assert!(change["diff"].as_str().unwrap().contains("+Order A-17 came late, refund it twice."), "{change:#}");
    assert!(std::fs::read_to_string(stage.shop.join("report.html")).unwrap().contains("refund it twice"));
    let mut args = vec!["replay", "refund"];
    args.extend(command);
    let (code, text) = stage.says(&args);
    assert_eq!(code, 1);
    for word in
        ["no_match", "request 1 differs from recorded call 1 in message 1: user", "-Order A-17 came late, refund it."]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn a_tool_that_answers_differently_is_named_as_the_cause() {
    let stage = Stage::set();
    stage.record("refund", "Order A-17 came late, refund it.");
    stage.open_shop(r#"{"A-17": {"item": "kettle", "late": true, "paid": 99.0}}"#);
    let (code, report) = stage.json(&["replay", "refund", "--json"]);
    assert_eq!(code, 1, "{report:#}");
    let first = &report["first"];
    assert_eq!(
        (first["number"].as_u64(), first["cause"]["tool"].as_str()),
        (Some(2), Some("lookup_order")),
        "{first:#}"
    );
    assert!(first["cause"]["after"].as_str().unwrap().contains("99.0"));
    assert!(first["cause"]["arguments"].as_str().unwrap().contains("A-17"));
    // The course is the same all the same, and the user may say what doesn't count.
    let (code, report) = stage.json(&["replay", "refund", "--match", "lenient", "--json"]);
    assert_eq!((code, report["matched"].as_u64()), (0, Some(3)), "{report:#}");
    let paths = ["--ignore", "$.messages[3].content", "--ignore", "messages[5].content"];
    let (code, report) = stage.json(&[&["replay", "refund", "--json"], &paths[..]].concat());
    assert_eq!(code, 0, "{report:#}");
}

#[test]
fn a_trace_that_is_no_tape_says_what_it_lacks() {
    let stage = Stage::set();
    let agent = binary();
    let words = ["record", "-q", "--name", "hollow", "--content", "none", "--", &agent, "demo", "agent", "Order A-17"];
    holdback(&stage.shop).args(words).output().unwrap();
    let hollow = holdback(&stage.shop).args(["replay", "hollow"]).assert().code(4);
    hollow.stderr(predicate::str::contains("--content none"));
    holdback(&stage.shop).args(["replay", "nobody"]).assert().code(2);
    stage.record("refund", "Order A-17 came late, refund it.");
    for (args, word) in [
        (vec!["replay", "refund", "--model", "mock/echo"], "--from"),
        (vec!["replay", "refund", "--from", "9"], "calls 1 to 3"),
        (vec!["replay", "refund", "--ignore", "a["], "$.metadata.user_id"),
        (vec!["replay", "refund", "--from", "2", "--set", "x"], "KEY=VALUE"),
    ] {
        holdback(&stage.shop).args(&args).assert().code(2).stderr(predicate::str::contains(word));
    }
}

#[test]
fn a_loop_that_never_ends_is_ended() {
    let stage = Stage::set();
    stage.record("refund", "Order A-17 came late, refund it.");
    let agent = binary();
    let forever =
        format!("trap 'exit 9' TERM; while :; do '{agent}' demo agent 'Another question' >/dev/null 2>&1; done");
    let (code, report) = stage.json(&["replay", "refund", "--json", "--", "sh", "-c", &forever]);
    assert_eq!(code, 1, "{report:#}");
    assert!(report["divergences"].as_u64().unwrap() >= 40);
    // A brake holds too.
    let (code, report) = stage.json(&["replay", "refund", "--max-calls", "1", "--json"]);
    assert_eq!((code, report["matched"].as_u64()), (1, Some(1)), "{report:#}");
}

#[test]
fn what_is_not_on_the_tape_goes_through_when_asked_to() {
    let stage = Stage::set();
    stage.record("refund", "Order A-17 came late, refund it.");
    let agent = binary();
    let (code, report) = stage.json(&[
        "replay",
        "refund",
        "--loose",
        "--json",
        "--",
        &agent,
        "demo",
        "agent",
        "Order A-17 was late, refund it.",
    ]);
    assert_eq!((code, report["live"].as_u64(), report["exit_code"].as_i64()), (1, Some(3), Some(0)), "{report:#}");
    assert_eq!(report["first"]["let_through"], true);
}
