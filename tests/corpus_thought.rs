//! Recorded traffic of real agents through redaction and the signals: nothing is taken for a secret that is none, no
//! healthy loop is called stuck, and what went wrong is said.

#![expect(clippy::unwrap_used, reason = "a test may stop where something is not as it must be")]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use holdback::provider::{detect, request, response};
use holdback::redact::{Redactor, Rules};
use holdback::signal::{self, Finding, Limits, Step, Story, Stuck};
use holdback::trace::{Chunk, Headers, TraceEnded, TraceOutcome, Wire};
use serde_json::Value;

/// The folder of captures, when it is there.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where the shared folder is")]
fn captures() -> Vec<(String, Vec<Value>)> {
    let named = std::env::var_os("HOLDBACK_SHARED").map(PathBuf::from);
    let shared = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    let Ok(folder) = std::fs::read_dir(shared.join("corpus/wire")) else {
        eprintln!("skipped: no captures in {}", shared.display());
        return Vec::new();
    };
    let paths = folder.map(|entry| entry.unwrap().path());
    let wires = paths.filter(|path| path.to_string_lossy().contains(".wire.jsonl"));
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        let packed = path.extension().is_some_and(|end| end == "zst");
        let text = if packed { zstd::decode_all(&bytes[..]).unwrap() } else { bytes };
        let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let name = path.file_name().unwrap().to_string_lossy().split(".wire").next().unwrap().to_owned();
        (name, lines.map(|line| serde_json::from_slice(line).unwrap()).collect())
    };
    wires.map(read).collect()
}

fn headers(value: &Value) -> Headers {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

/// Bodies of one exchange: what was asked, and the pieces of the answer as they came.
fn bodies(line: &Value) -> (String, Vec<String>) {
    let (asked, answered) = (&line["request"], &line["response"]);
    let chunks = answered["chunks"].as_array().cloned().unwrap_or_default();
    let pieces = chunks.iter().map(|chunk| &chunk[1]).chain([&answered["body_text"]]).filter_map(Value::as_str);
    let cut = answered["cut_after_bytes"].as_u64().map_or(usize::MAX, |at| usize::try_from(at).unwrap());
    let pieces = pieces.map(|piece| piece.get(..cut).unwrap_or(piece).to_owned()).collect();
    (asked["body_text"].as_str().unwrap_or_default().to_owned(), pieces)
}

fn step(line: &Value) -> Option<Step> {
    let (asked, answered) = (&line["request"], &line["response"]);
    let (body, pieces) = bodies(line);
    let target = asked["target"].as_str()?;
    let wire = detect(asked["method"].as_str()?, target, &headers(&asked["headers"]), body.as_bytes());
    if wire == Wire::Raw || body.is_empty() {
        return None;
    }
    let status = u16::try_from(answered["status"].as_u64()?).unwrap();
    let read = response(wire, status, &headers(&answered["headers"]), pieces.concat().as_bytes());
    let mut step = Step::of(&request(wire, target, body.as_bytes()).ok()?, &read);
    step.status = Some(status);
    Some(step)
}

fn findings(lines: &[Value], exit_code: i32) -> Vec<Finding> {
    let steps: Vec<Step> = lines.iter().filter_map(step).collect();
    let outcome = if exit_code == 0 { TraceOutcome::Ok } else { TraceOutcome::Failed };
    let ended = TraceEnded { outcome, exit_code: Some(exit_code), signal: None, reason: None, lost_calls: 0 };
    signal::read(&Story { steps: &steps, ended: Some(&ended) })
}

#[test]
fn no_healthy_loop_is_called_stuck_however_long() {
    for (name, lines) in captures() {
        let mut watcher = Stuck::new(Limits::default());
        for (at, step) in lines.iter().filter_map(step).enumerate() {
            assert_eq!(watcher.feed(&step), None, "{name}, call {at}");
        }
    }
}

#[test]
fn the_same_loops_with_one_result_again_and_again_are() {
    let Some((_, lines)) = captures().into_iter().find(|(name, _)| name == "pi-60turns") else { return };
    let mut steps: Vec<Step> = lines.iter().filter_map(step).collect();
    let (asked, results) = (steps[3].asked[0].mark, steps[4].results[0].mark);
    for step in &mut steps[10..] {
        step.asked.iter_mut().for_each(|a| a.mark = asked);
        step.results.iter_mut().for_each(|r| r.mark = results);
    }
    let mut watcher = Stuck::new(Limits::default());
    let first = steps.iter().position(|step| watcher.feed(step).is_some());
    assert_eq!(first, Some(15));
}

#[test]
fn signals_say_what_went_wrong_in_the_captures() {
    for (name, lines) in captures() {
        // What the programs exited with, as the captures' list has it.
        let failed = ["codex-429", "codex-400", "openai-agents-cut", "langgraph-cut"].contains(&name.as_str());
        let found = findings(&lines, i32::from(failed));
        let has = |signal: &str| found.iter().filter(|f| f.signal == signal).count();
        assert_eq!(has("false_success"), usize::from(name == "qwen-code-cut"), "{name}: {found:?}");
        assert_eq!(has("stuck") + has("refusal") + has("tool_errors"), 0, "{name}: {found:?}");
        let compactions = [("codex-compaction", 2), ("qwen-code-compaction", 1)];
        let expected = compactions.iter().find(|(n, _)| *n == name).map_or(0, |(_, times)| *times);
        assert_eq!(has("compaction"), expected, "{name}: {found:?}");
        let faulty = ["500", "429", "400", "cut", "half", "empty", "inband"].iter().any(|fault| name.contains(fault));
        assert_eq!(has("retries"), usize::from(faulty), "{name}: {found:?}");
    }
}

#[test]
fn nothing_in_real_traffic_is_taken_for_a_secret() {
    let redactor = Redactor::new(&Rules { salt: b"test".to_vec(), patterns: Vec::new() }).unwrap();
    for (name, lines) in captures() {
        for line in &lines {
            let (asked, pieces) = bodies(line);
            let body = Bytes::from(asked);
            let (kept, count) = redactor.body(body.clone());
            assert!(count == 0 && kept.as_ptr() == body.as_ptr(), "{name}: {}", String::from_utf8_lossy(&kept));
            let chunks: Vec<Chunk> = pieces.iter().map(|p| Chunk { at: 0, len: p.len() as u64 }).collect();
            let whole = Bytes::from(pieces.concat());
            let (kept, rechunked, count) = redactor.stream(whole.clone(), &chunks);
            assert_eq!((count, rechunked), (0, chunks), "{name}: {}", String::from_utf8_lossy(&kept));
        }
    }
}

#[test]
fn a_hollow_trace_says_nothing_and_reads_the_same() {
    let redactor = Redactor::new(&Rules { salt: b"test".to_vec(), patterns: Vec::new() }).unwrap();
    for (name, lines) in captures() {
        for line in lines.iter().filter(|line| line["response"]["status"] == 200 && line["fault"].is_null()).take(4) {
            let (asked, pieces) = bodies(line);
            let hollow_request = redactor.hollow(asked.as_bytes());
            let (hollow_answer, _) = redactor.hollow_stream(pieces.concat().as_bytes(), &[]);
            for said in ["hello from the fake upstream", "You are", "buy milk"] {
                for kept in [&hollow_request, &hollow_answer] {
                    assert!(!String::from_utf8_lossy(kept).contains(said), "{name}: {said}");
                }
            }
            let mut hollow = line.clone();
            hollow["request"]["body_text"] = String::from_utf8(hollow_request.to_vec()).unwrap().into();
            hollow["response"] = serde_json::json!({
                "status": 200, "headers": line["response"]["headers"],
                "body_text": String::from_utf8(hollow_answer.to_vec()).unwrap(),
            });
            let (Some(full), Some(hollow)) = (step(line), step(&hollow)) else { continue };
            let shape = |step: &Step| {
                let tools: Vec<String> = step.asked.iter().map(|asked| asked.tool.clone()).collect();
                let ids: Vec<String> = step.results.iter().map(|result| result.id.clone()).collect();
                (tools, ids, step.messages, step.tools_offered, step.complete, step.read_tokens, step.model.clone())
            };
            assert_eq!(shape(&full), shape(&hollow), "{name}");
        }
    }
}
