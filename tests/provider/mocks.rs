//! Mock models speak every wire format, and the documented script is one.

use std::path::Path;

use holdback::provider::mock::{Model, is_mock};
use holdback::provider::{request, response};
use holdback::trace::{Headers, Stop, Wire};
use serde_json::{Value, json};

use super::TALKING;

/// The YAML in the documentation.
fn documented() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, yaml) = text.split_once("```yaml\n").unwrap();
    yaml.split_once("```").unwrap().0.to_owned()
}

/// A conversation as it stands on the wire after `said` was answered `results` times.
fn body(wire: Wire, turns: usize, last: &str) -> String {
    let called = |wire: Wire| match wire {
        Wire::OpenaiChat => vec![
            json!({ "role": "assistant", "tool_calls": [{ "id": "c", "function": { "name": "shell", "arguments": "{}" } }] }),
            json!({ "role": "tool", "tool_call_id": "c", "content": last }),
        ],
        Wire::OpenaiResponses => vec![
            json!({ "type": "reasoning", "summary": [] }),
            json!({ "type": "function_call", "call_id": "c", "name": "shell", "arguments": "{}" }),
            json!({ "type": "function_call_output", "call_id": "c", "output": last }),
        ],
        Wire::AnthropicMessages => vec![
            json!({ "role": "assistant", "content": [{ "type": "tool_use", "id": "c", "name": "shell", "input": {} }] }),
            json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "c", "content": last }] }),
        ],
        _ => vec![
            json!({ "role": "model", "parts": [{ "functionCall": { "name": "shell", "args": {} } }] }),
            json!({ "role": "user", "parts": [{ "functionResponse": { "name": "shell", "response": { "output": last } } }] }),
        ],
    };
    let start = match wire {
        Wire::Gemini => json!({ "role": "user", "parts": [{ "text": "go" }] }),
        _ => json!({ "role": "user", "content": "go" }),
    };
    let mut list = vec![start];
    (0..turns).for_each(|_| list.extend(called(wire)));
    let field = match wire {
        Wire::OpenaiResponses => "input",
        Wire::Gemini => "contents",
        _ => "messages",
    };
    let mut body = json!({ "model": "mock/script:demo.yaml" });
    body[field] = Value::Array(list);
    body.to_string()
}

#[test]
fn the_documented_script_plays_on_every_wire() {
    let script = documented();
    let mut read = |file: &str| if file == "demo.yaml" { Ok(script.clone()) } else { Err("no such file".to_owned()) };
    let model = Model::parse("mock/script:demo.yaml", &mut read).unwrap();
    for wire in TALKING {
        for stream in [true, false] {
            let target = "/v1beta/models/mock%2Fscript%3Ademo.yaml:generateContent";
            let answered = |turns: usize, last: &str| {
                let asked = request(wire, target, body(wire, turns, last).as_bytes()).unwrap();
                assert_eq!(asked.model, "mock/script:demo.yaml");
                assert!(is_mock(&asked.model));
                let reply = model.reply(&asked, "task/1");
                let (status, headers, chunks) = reply.encode(wire, stream);
                (status, response(wire, status, &headers, &chunks.concat()), reply)
            };
            let (status, first, reply) = answered(0, "");
            assert_eq!((status, reply.delay_ms, first.stop), (200, 20, Some(Stop::Tools)), "{wire:?} {stream}");
            assert_eq!(first.message, reply.response.message);
            assert_eq!((first.usage, first.id), (reply.response.usage, reply.response.id));
            let (_, second, _) = answered(1, "ls: No such file or directory");
            assert_eq!(second.message.unwrap().plain_text(), "There is nothing.", "{wire:?} {stream}");
            let (status, third, _) = answered(1, "all fine");
            assert_eq!((status, third.error.unwrap().message.as_str()), (529, "Overloaded"));
            let (_, cut, _) = answered(2, "");
            assert!(!stream || !cut.complete, "{wire:?}");
            let (_, later, _) = answered(7, "");
            assert_eq!(later.message.unwrap().plain_text(), "I have said all I know.");
        }
    }
}

#[test]
fn words_are_counted_on_every_wire() {
    let echo = Model::parse("mock/echo", &mut |_| Err(String::new())).unwrap();
    for wire in TALKING {
        let asked = request(wire, "/", body(wire, 0, "").as_bytes()).unwrap();
        let (status, _, chunks) = echo.reply(&asked, "").encode(wire, true);
        let read = response(wire, status, &Headers::new(), &chunks.concat());
        assert_eq!((read.usage.input, read.usage.output), (Some(1), Some(1)), "{wire:?}");
        assert_eq!(read.message.unwrap().plain_text(), "go");
    }
}
