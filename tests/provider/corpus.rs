//! Recorded traffic of real agents and providers: everything is read, and ends the way the capture says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use holdback::provider::{Reader, detect, request, response};
use holdback::trace::{Headers, Request, Response, ToolCall, Wire};
use serde_json::Value;

/// The folder of recorded traffic, when it is there.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where the shared folder is")]
fn corpus() -> Option<PathBuf> {
    let named = std::env::var_os("HOLDBACK_SHARED").map(PathBuf::from);
    let shared = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    let found = Some(shared.join("corpus")).filter(|path| path.is_dir());
    if found.is_none() {
        eprintln!("skipped: no corpus at {}", shared.display());
    }
    found
}

fn text(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    let bytes =
        if path.extension().is_some_and(|ext| ext == "zst") { zstd::decode_all(&bytes[..]).unwrap() } else { bytes };
    String::from_utf8(bytes).unwrap()
}

fn headers(value: &Value) -> Headers {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

struct Exchange {
    request: Request,
    status: u16,
    fault: String,
    response: Response,
}

/// Reads one line of a capture; the answer is read in the pieces it came in and whole.
fn exchange(line: &str) -> Option<Exchange> {
    let line: Value = serde_json::from_str(line).unwrap();
    let (asked, answered) = (&line["request"], &line["response"]);
    let target = asked["target"].as_str().unwrap();
    let body = asked["body_text"].as_str().unwrap_or_default().as_bytes();
    let wire = detect(asked["method"].as_str().unwrap(), target, &headers(&asked["headers"]), body);
    if wire == Wire::Raw || body.is_empty() {
        return None;
    }
    let status = u16::try_from(answered["status"].as_u64().unwrap()).unwrap();
    let mut reader = Reader::new(wire, status, &headers(&answered["headers"]));
    let mut whole = String::new();
    let chunks = answered["chunks"].as_array().cloned().unwrap_or_default();
    let cut = answered["cut_after_bytes"].as_u64().map_or(usize::MAX, |at| usize::try_from(at).unwrap());
    for piece in chunks.iter().map(|chunk| &chunk[1]).chain([&answered["body_text"]]).filter_map(Value::as_str) {
        let piece = piece.get(..cut).unwrap_or(piece);
        reader.feed(piece.as_bytes());
        whole.push_str(piece);
    }
    let read = reader.finish();
    assert_eq!(read, response(wire, status, &Headers::new(), whole.as_bytes()), "pieces read like the whole");
    let request = request(wire, target, body).ok();
    let fault = line["fault"].as_str().unwrap_or_default().to_owned();
    Some(Exchange { request: request.unwrap_or_default(), status, fault, response: read })
}

fn check(name: &str, at: usize, exchange: &Exchange) {
    let Exchange { request, status, fault, response } = exchange;
    let said = format!("{name}, request {at}, fault {fault:?}: {response:?}");
    assert!(!request.model.is_empty() && !request.messages.is_empty(), "{said}");
    match fault.as_str() {
        "cut" | "half" | "empty" | "stall" => assert!(!response.complete && response.stop.is_none(), "{said}"),
        "inband" => assert!(!response.complete && response.error.is_some(), "{said}"),
        _ if *status >= 400 => {
            let error = response.error.as_ref().expect(&said);
            assert!(!error.message.is_empty() && !error.kind.is_empty(), "{said}");
        }
        _ => {
            assert!(response.complete && response.error.is_none() && response.message.is_some(), "{said}");
            assert!(response.stop.is_some() && response.first_content_at.is_some(), "{said}");
        }
    }
}

#[test]
fn captures_of_real_agents_end_as_they_say() {
    let Some(corpus) = corpus() else { return };
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(corpus.join("wire")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let (mut exchanges, mut repeated) = (0, 0);
    let mut lost = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.contains(".wire.jsonl") {
            continue;
        }
        let all: Vec<Exchange> = text(&path).lines().filter_map(exchange).collect();
        for (at, one) in all.iter().enumerate() {
            check(&name, at, one);
        }
        exchanges += all.len();
        // smolagents writes its calls back as text; after a compaction the history is gone.
        if !name.starts_with("smolagents") && !name.contains("compaction") {
            for (at, one) in all.iter().enumerate().filter(|(_, one)| one.response.complete) {
                let found = calls_repeated(&one.response, &all[at + 1..]);
                repeated += found.0;
                lost.extend(found.1.into_iter().map(|call| format!("{name}, request {at}: {call:?}")));
            }
        }
    }
    assert!(lost.is_empty(), "calls that no later request repeats: {lost:#?}");
    assert!(exchanges > 250 && repeated > 100, "{exchanges} exchanges, {repeated} repeated calls");
}

/// How many of an answer's calls a later request repeats word for word, and which none does.
fn calls_repeated(answer: &Response, later: &[Exchange]) -> (usize, Vec<ToolCall>) {
    let said: Vec<&ToolCall> =
        later.iter().flat_map(|one| &one.request.messages).flat_map(|message| message.tool_calls()).collect();
    let calls: Vec<&ToolCall> = answer.message.iter().flat_map(|message| message.tool_calls()).collect();
    // The last answer of a loop may still ask for something: mini-swe-agent ends that way.
    let lost =
        calls.iter().filter(|call| !later.is_empty() && !said.contains(call)).map(|call| (*call).clone()).collect();
    (calls.iter().filter(|call| said.contains(call)).count(), lost)
}

#[test]
fn a_real_models_answers_are_read() {
    let Some(corpus) = corpus() else { return };
    let all: Vec<Exchange> = text(&corpus.join("smollm/wire.jsonl")).lines().filter_map(exchange).collect();
    assert_eq!(all.len(), 11);
    for (at, one) in all.iter().enumerate() {
        match at {
            8 => assert!(one.response.complete && one.response.message.is_none()),
            9 | 10 => assert!(one.response.error.is_some() && one.response.complete),
            _ => {
                assert!(one.response.complete && one.response.message.is_some(), "{at}: {:?}", one.response);
                assert!(one.response.usage.output.is_some() || at < 3, "{at}: {:?}", one.response);
            }
        }
    }
}

#[test]
fn websocket_events_are_read_one_by_one() {
    let Some(corpus) = corpus() else { return };
    let capture = text(&corpus.join("wire/codex-websocket.wire.jsonl"));
    let line: Value = serde_json::from_str(capture.lines().next().unwrap()).unwrap();
    let mut answers = Vec::new();
    let mut reader: Option<Reader> = None;
    for frame in line["ws_frames"].as_array().unwrap() {
        let text = frame[2].as_str().unwrap_or_default();
        match frame[1].as_str() {
            Some("client") => {
                let asked = request(Wire::OpenaiResponses, "/v1/responses", text.as_bytes()).unwrap();
                assert!(!asked.messages.is_empty() && asked.model == "gpt-5.3-codex");
                reader = Some(Reader::new(Wire::OpenaiResponses, 200, &Headers::new()));
            }
            Some("server") => {
                let complete = reader.as_mut().is_some_and(|reader| reader.feed_event(text).complete);
                answers.extend(complete.then(|| reader.take().unwrap().finish()));
            }
            _ => {}
        }
    }
    assert_eq!(answers.len(), 4);
    assert!(answers.iter().all(|answer| answer.complete && answer.usage.output.is_some()));
    let calls = |answer: &Response| answer.message.iter().flat_map(|message| message.tool_calls()).count();
    assert_eq!(answers.iter().map(calls).collect::<Vec<_>>(), [0, 2, 1, 0]);
}

#[test]
fn cassettes_of_providers_are_read() {
    let Some(corpus) = corpus() else { return };
    let mut kinds: BTreeMap<Wire, usize> = BTreeMap::new();
    for folder in ["cassettes", "openinference"] {
        for entry in std::fs::read_dir(corpus.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|ext| ext != "yaml") {
                continue;
            }
            let cassette: Value = serde_saphyr::from_str(&text(&path)).unwrap();
            for interaction in cassette["interactions"].as_array().unwrap() {
                let target = interaction["request"]["uri"].as_str().unwrap().splitn(4, '/').nth(3).unwrap();
                let target = format!("/{target}");
                let asked = interaction["request"]["body"].as_str().unwrap_or_default();
                let wire = detect("POST", &target, &Headers::new(), asked.as_bytes());
                let body = interaction["response"]["body"]["string"].as_str().unwrap_or_default();
                if wire == Wire::Raw {
                    continue;
                }
                let read_request = request(wire, &target, asked.as_bytes()).unwrap();
                let read = response(wire, 200, &Headers::new(), body.as_bytes());
                let said = format!("{}: {read:?}", path.display());
                assert!(!read_request.messages.is_empty() && read.complete && read.message.is_some(), "{said}");
                assert!(read.error.is_none() && read.first_content_at.is_some(), "{said}");
                *kinds.entry(wire).or_default() += 1;
            }
        }
    }
    assert_eq!(kinds.len(), 4, "{kinds:?}");
}

#[test]
fn a_real_thinking_stream_keeps_its_signature_and_cache_counts() {
    let Some(corpus) = corpus() else { return };
    let stream = |name: &str, at: usize| {
        let cassette: Value = serde_saphyr::from_str(&text(&corpus.join("cassettes").join(name))).unwrap();
        let body = cassette["interactions"][at]["response"]["body"]["string"].as_str().unwrap().to_owned();
        response(Wire::AnthropicMessages, 200, &Headers::new(), body.as_bytes())
    };
    let thinking = stream("test_anthropic_thinking_streaming_legacy.yaml", 0);
    let parts = thinking.message.unwrap().parts;
    assert!(
        matches!(&parts[0], holdback::trace::Part::Thinking { text, signature } if text.len() > 20 && signature.len() > 50),
        "{parts:?}"
    );
    let caching = "test_anthropic_prompt_caching_stream_legacy.yaml";
    let (first, second) = (stream(caching, 0).usage, stream(caching, 1).usage);
    assert!(first.cache_write.is_some_and(|count| count > 0) && first.cache_read == Some(0), "{first:?}");
    assert_eq!((second.cache_read, second.cache_write), (first.cache_write, Some(0)), "{second:?}");
}

#[test]
fn gemini_scripts_read_alike_as_events_and_as_array() {
    let Some(corpus) = corpus() else { return };
    for line in text(&corpus.join("gemini/browser-agent.persistent-session.responses")).lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let Some(chunks) = line["response"].as_array() else { continue };
        let events: String = chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect();
        let read = response(Wire::Gemini, 200, &Headers::new(), events.as_bytes());
        let mut array = response(Wire::Gemini, 200, &Headers::new(), line["response"].to_string().as_bytes());
        array.first_content_at = read.first_content_at;
        assert_eq!(read, array);
        assert!(read.complete && read.message.is_some() && read.usage.reasoning.is_some(), "{read:?}");
    }
}

#[test]
fn chat_chunks_of_a_function_call_are_read() {
    let Some(corpus) = corpus() else { return };
    let lines = text(&corpus.join("openai-sse/chat_completions_streaming_function_example.jsonl"));
    let events: String = lines.lines().map(|line| format!("data: {line}\n\n")).collect();
    let read = response(Wire::OpenaiChat, 200, &Headers::new(), events.as_bytes());
    let calls: Vec<ToolCall> = read.message.iter().flat_map(|message| message.tool_calls().cloned()).collect();
    assert_eq!((calls.len(), &calls[0].arguments), (1, &serde_json::json!({ "answer": "Boston" })));
    assert_eq!((read.usage.input, read.usage.cache_read, read.usage.reasoning), (Some(55), Some(2), Some(1)));
}
