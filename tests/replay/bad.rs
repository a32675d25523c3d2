//! What can't be played, and providers that won't: each is told by name, and nothing runs in circles.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};

use predicates::prelude::*;

use super::{Stage, binary, holdback};

/// A provider that refuses every request with this status and body, for as long as the test runs.
fn refusing(status: u16, body: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let _ = reader.read_exact(&mut vec![0; length]);
            let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n");
            let _ = write!(reader.into_inner(), "{head}Content-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    address
}

#[test]
fn an_imported_trace_says_why_it_is_no_tape() {
    let stage = Stage::set();
    let talk = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/import/claude-code.jsonl");
    holdback(&stage.shop).arg("import").arg(talk).assert().success();
    let refused = holdback(&stage.shop).args(["replay", "A talk", "--", "true"]).assert().code(4);
    refused.stderr(
        predicate::str::contains("cannot be replayed")
            .and(predicate::str::contains("it was imported"))
            .and(predicate::str::contains("transcripts keep what was said"))
            .and(predicate::str::contains("--loose")),
    );
}

#[test]
fn a_tape_of_a_newer_holdback_is_refused_by_name() {
    let stage = Stage::set();
    stage.record("refund", "Order A-17 came late, refund it.");
    let log = stage.folder.path().join("store/log");
    for path in std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()) {
        match path.extension().is_some_and(|extension| extension == "hblog") {
            true => std::fs::write(&path, "holdback trace log, format 7\nsomething else").unwrap(),
            false => std::fs::remove_file(&path).unwrap(),
        }
    }
    let refused = holdback(&stage.shop).args(["replay", "refund"]).assert().code(4);
    refused.stderr(predicate::str::contains("format 7").and(predicate::str::contains("update holdback")));
}

#[test]
fn a_loop_that_asks_in_another_order_is_answered_and_one_that_asks_less_is_told() {
    let stage = Stage::set();
    let agent = binary();
    // Two tasks in one trace, then the other way round.
    let both = |first: &str, second: &str| {
        format!("'{agent}' demo agent '{first}' >/dev/null && '{agent}' demo agent '{second}' >/dev/null")
    };
    let (one, other) = ("Order A-17 came late, refund it.", "Where is order Z-99?");
    let forth = both(other, one);
    let words = ["record", "-q", "--name", "both", "--", "sh", "-c", &forth];
    holdback(&stage.shop).args(words).output().unwrap();
    stage.open_shop(super::SHOP);
    let (code, forth) = stage.json(&["replay", "both", "--json"]);
    assert_eq!((code, forth["divergences"].as_u64()), (0, Some(0)), "{forth:#}");
    let back = both(one, other);
    let (code, back) = stage.json(&["replay", "both", "--json", "--", "sh", "-c", &back]);
    assert_eq!((code, back["divergences"].as_u64(), &back["matched"]), (0, Some(0), &forth["matched"]), "{back:#}");
    let only = format!("'{agent}' demo agent '{one}'");
    let (code, less) = stage.json(&["replay", "both", "--json", "--", "sh", "-c", &only]);
    assert_eq!((code, less["first"]["kind"].as_str()), (1, Some("missing")), "{less:#}");
}

#[test]
fn a_provider_that_refuses_the_forks_model_or_a_parameter_is_heard_in_the_loops_own_words() {
    let stage = Stage::set();
    stage.record("refund", "Order A-17 came late, refund it.");
    for (status, body, word) in [
        (
            404,
            r#"{"type":"error","error":{"type":"not_found_error","message":"model: no-such-model"}}"#,
            "model: no-such-model",
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"wibble: Extra inputs are not permitted"}}"#,
            "wibble: Extra inputs are not permitted",
        ),
    ] {
        let address = format!("anthropic=http://{}", refusing(status, body));
        let fork = ["replay", "refund", "--from", "2", "--model", "anthropic/no-such-model", "--set", "wibble=1"];
        let (_, said) = stage.says(&[&fork[..], &["--upstream", &address]].concat());
        assert!(said.contains(word), "the loop heard: {said}");
        let (_, shown) = stage.json(&["traces", "show", "last", "--json"]);
        let calls = shown["calls"].as_array().unwrap();
        assert_eq!((calls.len(), calls[0]["upstream"].as_str()), (2, Some("tape")), "asked once, not again: {shown:#}");
        assert_eq!(
            (calls[1]["status"].as_u64(), calls[1]["wire"].as_str()),
            (Some(u64::from(status)), Some("openai_chat")),
            "{shown:#}"
        );
        assert!(calls[1]["error"].as_str().unwrap().contains(word), "{shown:#}");
        // Asked again one by one, every step says the same.
        let ask = ["ask", "refund", "--model", "anthropic/no-such-model", "--set", "wibble=1", "--json"];
        let (code, report) = stage.json(&[&ask[..], &["--upstream", &address]].concat());
        assert_eq!((code, report["summary"]["answered"].as_u64()), (4, Some(0)), "{report:#}");
        let steps = report["steps"].as_array().unwrap();
        assert!(steps.iter().all(|step| step["error"].as_str().unwrap().contains(word)), "{report:#}");
    }
}
