//! Every file of the shared corpus through import: nothing fails, no line is left unexplained, and sums agree with what the
//! sources say of themselves.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::collections::{BTreeMap, HashSet};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use holdback::import::{self, Kind, Opened, Settings, Shape, Source, TakeError, Taker, Tally};
use holdback::price::Table;
use holdback::provider;
use holdback::redact::{Redactor, Rules};
use holdback::trace::{Content, Message, Part, Provenance, Role, Timestamp, TraceEvent, What, Wire};
use holdback::trial::{Outcome, RunRecord};
use serde_json::Value;

#[derive(Default)]
struct All {
    events: Vec<TraceEvent>,
    runs: Vec<RunRecord>,
}

impl Taker for All {
    fn event(&mut self, event: &TraceEvent) -> Result<(), TakeError> {
        self.events.push(event.clone());
        Ok(())
    }
    fn run(&mut self, run: RunRecord) -> Result<(), TakeError> {
        self.runs.push(run);
        Ok(())
    }
}

struct Imported {
    tally: Tally,
    all: All,
}

fn corpus() -> Option<PathBuf> {
    let named = std::env::var_os("HOLDBACK_SHARED").map(PathBuf::from);
    let shared = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    let corpus = shared.join("corpus");
    if !corpus.is_dir() {
        eprintln!("skipped: no corpus in {}", shared.display());
        return None;
    }
    Some(corpus)
}

fn head_of(path: &Path) -> Vec<u8> {
    match import::open(std::fs::File::open(path).unwrap()).unwrap() {
        Opened::Plain(from) => {
            let mut head = Vec::new();
            from.take(256 << 10).read_to_end(&mut head).unwrap();
            head
        }
        Opened::Zip => b"PK\x03\x04".to_vec(),
    }
}

fn kind(path: &Path) -> Kind {
    import::detect(&Shape::of(&path.to_string_lossy(), &head_of(path)))
}

/// Imports files that belong together; fails the test when one of them can't be.
fn import_all(paths: &[PathBuf]) -> Imported {
    let redactor = Redactor::new(&Rules::default()).unwrap();
    let prices = Table::embedded();
    let settings = Settings { redactor: &redactor, content: Content::Redacted, prices: &prices, settled: true };
    let mut found = Imported { tally: Tally::default(), all: All::default() };
    let mut job = import::Job::default();
    for path in paths {
        let Kind::Known(format) = kind(path) else { panic!("{}: not known", path.display()) };
        let name = path.to_string_lossy().into_owned();
        let Opened::Plain(from) = import::open(std::fs::File::open(path).unwrap()).unwrap() else { panic!("a zip") };
        let mut from = BufReader::new(from);
        let mut source = Source {
            path: &name,
            modified: Timestamp(1_700_000_000_000_000),
            from: &mut from,
            file: None,
            beside: None,
        };
        let (tally, done) = import::import(format, &mut source, &settings, &mut job, &mut found.all);
        done.unwrap_or_else(|error| panic!("{name}: {error}"));
        let explained = tally.used + tally.skipped.values().sum::<u64>();
        assert_eq!(tally.lines, explained, "{name}: {tally:?}");
        assert!(tally.unknown.is_empty() && tally.damaged == 0, "{name}: {tally:?}");
        import::add_usage(&mut found.tally.usage, &tally.usage);
        found.tally.calls += tally.calls;
        found.tally.cost_usd = match (found.tally.cost_usd, tally.cost_usd) {
            (Some(sum), Some(more)) => Some(sum + more),
            (sum, more) => sum.or(more),
        };
    }
    job.finish(&settings, &mut found.all).unwrap();
    found
}

fn files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, into) } else { into.push(path) }
    }
    into.sort();
}

#[test]
fn nothing_of_the_corpus_is_left_unexplained() {
    let Some(corpus) = corpus() else { return };
    let mut all = Vec::new();
    files(&corpus, &mut all);
    let mut formats: BTreeMap<&str, usize> = BTreeMap::new();
    for path in &all {
        match kind(path) {
            Kind::Known(format) => *formats.entry(format.name).or_default() += 1,
            Kind::Sidecar(_) => continue,
            Kind::Unknown => panic!("{}: neither a format nor a sidecar", path.display()),
        }
        let found = import_all(std::slice::from_ref(path));
        // Every call has its end, and every trace says what it rests on.
        let mut open = HashSet::new();
        let (mut traces, mut told) = (HashSet::new(), HashSet::new());
        for event in &found.all.events {
            match &event.what {
                What::TraceStarted(_) => drop(traces.insert(event.trace)),
                What::CallStarted(call, _) => assert!(open.insert(*call), "{}: {call} twice", path.display()),
                What::CallEnded(call, _) => assert!(open.remove(call), "{}: {call} was not begun", path.display()),
                What::Noted(note) if note.kind == Provenance::KIND => drop(told.insert(event.trace)),
                _ => {}
            }
        }
        assert!(open.is_empty() && traces == told, "{}", path.display());
    }
    eprintln!("{formats:?}");
    for format in [
        "wire-log",
        "codex",
        "pi",
        "qwen-code",
        "vcr",
        "langfuse",
        "atif",
        "swe-agent",
        "openhands",
        "otlp",
        "spans",
        "rows",
    ] {
        assert!(formats.contains_key(format), "{format}");
    }
}

#[test]
fn codex_sums_are_those_of_its_own_last_count() {
    let Some(corpus) = corpus() else { return };
    let mut all = Vec::new();
    files(&corpus.join("wire"), &mut all);
    let mut checked = 0;
    for path in all.iter().filter(|path| path.to_string_lossy().contains("/rollout-")) {
        let text = std::fs::read_to_string(path).unwrap();
        let mut counts = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let last = counts.rfind(|line| line["payload"]["type"] == "token_count");
        let Some(total) =
            last.map(|line| line["payload"]["info"]["total_token_usage"].clone()).filter(Value::is_object)
        else {
            continue;
        };
        let usage = import_all(std::slice::from_ref(path)).tally.usage;
        let read = usage.input.unwrap() + usage.cache_read.unwrap_or(0) + usage.cache_write.unwrap_or(0);
        assert_eq!(
            (Some(read), usage.output),
            (total["input_tokens"].as_u64(), total["output_tokens"].as_u64()),
            "{}",
            path.display()
        );
        checked += 1;
    }
    assert!(checked >= 8, "{checked}");
}

#[test]
fn pi_openhands_and_langfuse_cost_and_count_what_they_say() {
    let Some(corpus) = corpus() else { return };
    let path = corpus.join("pi/before-compaction.jsonl");
    let (mut input, mut output, mut cost) = (0, 0, 0.0);
    for line in std::fs::read_to_string(&path).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let usage = &line["message"]["usage"];
        input += usage["input"].as_u64().unwrap_or(0);
        output += usage["output"].as_u64().unwrap_or(0);
        cost += usage["cost"]["total"].as_f64().unwrap_or(0.0);
    }
    let found = import_all(&[path]).tally;
    assert_eq!((found.usage.input, found.usage.output), (Some(input), Some(output)));
    assert!((found.cost_usd.unwrap() - cost).abs() < 1e-6, "{found:?}");

    let path = corpus.join("openhands/multi_swe_bench_output.jsonl");
    let (mut input, mut output) = (0, 0);
    for line in std::fs::read_to_string(&path).unwrap().lines() {
        let sums = serde_json::from_str::<Value>(line).unwrap()["metrics"]["accumulated_token_usage"].clone();
        input += sums["prompt_tokens"].as_u64().unwrap();
        output += sums["completion_tokens"].as_u64().unwrap();
    }
    let found = import_all(&[path]).tally;
    assert_eq!((found.usage.input, found.usage.output), (Some(input), Some(output)));
}

#[test]
fn trajectories_cost_and_count_what_their_own_sums_say() {
    let Some(corpus) = corpus() else { return };
    let mut all = Vec::new();
    files(&corpus.join("atif"), &mut all);
    let mut checked = 0;
    for path in &all {
        let whole: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let sums = &whole["final_metrics"];
        let found = import_all(std::slice::from_ref(path)).tally;
        let read = found.usage.input.unwrap() + found.usage.cache_read.unwrap_or(0);
        let own = (Some(read), found.usage.output);
        let said = (sums["total_prompt_tokens"].as_u64(), sums["total_completion_tokens"].as_u64());
        let cost = (found.cost_usd.unwrap(), sums["total_cost_usd"].as_f64().unwrap());
        if whole.to_string().contains("\"subagent_trajectory_ref\":[{") {
            // Its sums hold those of sub-agents, whose trajectories lie in files that are not here.
            assert!(own.0 < said.0 && own.1 < said.1 && cost.0 < cost.1, "{}: {found:?}", path.display());
        } else {
            assert_eq!(own, said, "{}", path.display());
            assert!((cost.0 - cost.1).abs() < 1e-6, "{}: {cost:?}", path.display());
        }
        checked += 1;
    }
    assert!(checked >= 2, "{checked}");
}

/// What a message says, whatever its spelling: role, text, tool calls, results of tools.
fn gist(messages: &[Message]) -> Vec<(Role, String)> {
    let mut all = Vec::new();
    for message in messages {
        for part in &message.parts {
            match part {
                Part::Text { text } => {
                    let role = if message.role == Role::Tool { Role::User } else { message.role };
                    all.push((role, text.trim().to_owned()));
                }
                Part::ToolCall(call) => all.push((message.role, format!("call {} {}", call.name, call.arguments))),
                // The maintainers give some tool results to the user.
                Part::ToolResult(result) => all.push((Role::User, result.text.trim().to_owned())),
                _ => {}
            }
        }
    }
    all.retain(|(_, text)| !text.is_empty());
    all
}

/// The maintainers' ChatML, read as any chat request.
fn expected(side: &Value) -> Option<Vec<(Role, String)>> {
    let messages = side["data"].as_array().filter(|_| side["success"] == true)?;
    let mut all = Vec::new();
    for message in messages {
        let mut message = message.clone();
        if message["role"] == "model" {
            message["role"] = "assistant".into();
        }
        for call in message["tool_calls"].as_array_mut().into_iter().flatten() {
            *call = serde_json::json!({ "id": call["id"], "type": "function", "function": { "name": call["name"], "arguments": call["arguments"] } });
        }
        let anthropic =
            message["content"].as_array().is_some_and(|parts| parts.iter().any(|part| part["type"] == "tool_use"));
        let wire = if anthropic { Wire::AnthropicMessages } else { Wire::OpenaiChat };
        all.extend(provider::block_messages(wire, "messages", message.to_string().as_bytes()));
    }
    Some(gist(&all))
}

#[test]
fn langfuse_traces_convert_to_the_chatml_beside_them() {
    let Some(corpus) = corpus() else { return };
    let mut all = Vec::new();
    files(&corpus.join("langfuse"), &mut all);
    let (mut inputs, mut outputs) = (0, 0);
    for path in all.iter().filter(|path| path.to_string_lossy().ends_with(".trace.json")) {
        let golden = path.to_string_lossy().replace(".trace.json", ".chatml.json");
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
        let found = import_all(std::slice::from_ref(path));
        let trace = found.all.events[0].trace;
        for event in &found.all.events {
            let (call, body, is_request) = match &event.what {
                What::CallStarted(call, started) => (call, &started.body, true),
                What::CallEnded(call, ended) => (call, &ended.body, false),
                _ => continue,
            };
            let pair = golden.as_object().unwrap().iter().find(|(id, _)| import::call_id(trace, id) == *call);
            let (id, sides) = pair.unwrap_or_else(|| panic!("{}: {call}", path.display()));
            if is_request {
                let Some(expected) = expected(&sides["input"]) else { continue };
                let read = provider::request(Wire::OpenaiChat, "/v1/chat/completions", body).unwrap();
                assert_eq!(gist(&read.messages), expected, "{}: input of {id}", path.display());
                inputs += 1;
            } else {
                let Some(expected) = expected(&sides["output"]) else { continue };
                let read = provider::response(Wire::OpenaiChat, 200, &Vec::new(), body);
                assert_eq!(gist(read.message.as_slice()), expected, "{}: output of {id}", path.display());
                outputs += 1;
            }
        }
    }
    assert!(inputs >= 5 && outputs >= 8, "{inputs} {outputs}");
}

#[test]
fn spans_are_counted_once_however_often_they_are_told() {
    let Some(corpus) = corpus() else { return };
    for (folder, calls, input, output) in [
        ("otel-openai-v2", 5, 574, 125),
        ("otel-openai-v2-semconv", 5, 574, 125),
        // Its instrumentation counts one token more in the streamed answer than the SDK's own span says.
        ("traceloop-anthropic", 3, 544, 76),
        ("logfire", 3, 596, 75),
        // Spans and two kinds of logs tell the same three calls.
        ("codex", 3, 30383, 75),
    ] {
        let mut all = Vec::new();
        files(&corpus.join("otlp").join(folder), &mut all);
        all.retain(|path| matches!(kind(path), Kind::Known(_)));
        let found = import_all(&all);
        let calls_told: HashSet<_> = found
            .all
            .events
            .iter()
            .filter_map(|event| match &event.what {
                What::CallEnded(call, ended) => Some((*call, ended.summary.usage.input, ended.summary.usage.output)),
                _ => None,
            })
            .collect();
        let read: u64 = calls_told.iter().filter_map(|(_, input, _)| *input).sum();
        let written: u64 = calls_told.iter().filter_map(|(_, _, output)| *output).sum();
        assert_eq!((calls_told.len(), read, written), (calls, input, output), "{folder}");
    }
}

#[test]
fn rows_of_results_become_a_run_with_every_trial() {
    let Some(corpus) = corpus() else { return };
    let found = import_all(&[corpus.join("smollm/noisy.jsonl")]);
    let run = &found.all.runs[0];
    assert_eq!((run.tasks.len(), run.trials.len(), run.variants.len()), (25, 200, 2));
    let passed = |name: &str| {
        run.trials.iter().filter(|trial| trial.variant.contains(name) && trial.outcome == Outcome::Pass).count()
    };
    assert_eq!((passed("temperature=0.0"), passed("temperature=0.8")), (15, 82));
}
