//! Anything may come over a wire: nothing panics, and nothing strange is called whole.

use holdback::provider::{Reader, block_messages, block_tools, detect, request, response};
use holdback::trace::{Headers, Message, Wire};
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::WIRES;

/// The words wire formats are made of, so that generated JSON gets past the first look.
const KEYS: &[&str] = &[
    "type",
    "role",
    "content",
    "parts",
    "text",
    "messages",
    "input",
    "contents",
    "system",
    "instructions",
    "tools",
    "function",
    "name",
    "arguments",
    "id",
    "call_id",
    "tool_calls",
    "index",
    "choices",
    "delta",
    "message",
    "finish_reason",
    "usage",
    "prompt_tokens",
    "prompt_tokens_details",
    "cached_tokens",
    "output",
    "item",
    "response",
    "status",
    "error",
    "code",
    "output_index",
    "content_block",
    "partial_json",
    "thinking",
    "signature",
    "candidates",
    "functionCall",
    "functionResponse",
    "args",
    "partialArgs",
    "jsonPath",
    "willContinue",
    "thought",
    "finishReason",
    "usageMetadata",
    "systemInstruction",
    "generationConfig",
    "model",
    "stream",
    "functionDeclarations",
    "summary",
    "encrypted_content",
    "tool_use_id",
    "is_error",
    "data",
    "refusal",
    "reasoning_content",
    "function_call",
    "request",
];
const WORDS: &[&str] = &[
    "message",
    "text",
    "tool_use",
    "tool_result",
    "thinking",
    "redacted_thinking",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "reasoning",
    "output_text",
    "user",
    "assistant",
    "system",
    "tool",
    "model",
    "response.completed",
    "response.output_item.added",
    "response.output_item.done",
    "response.output_text.delta",
    "response.function_call_arguments.delta",
    "message_start",
    "content_block_start",
    "content_block_delta",
    "message_delta",
    "message_stop",
    "error",
    "stop",
    "STOP",
    "$.a[3].b",
    "{\"a\":1}",
    "",
];

fn odd() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => prop::sample::select(WORDS).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(6, 60, 8, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::vec((prop::sample::select(KEYS), inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        ]
    })
}

fn odd_object() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec((prop::sample::select(KEYS), odd()), 0..8)
        .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn read_all(body: &[u8]) {
    for wire in WIRES {
        for status in [200, 500] {
            let _ = response(wire, status, &Headers::new(), body);
        }
        let _ = request(wire, "/v1/x", body);
        for array in ["messages", "system", "input", "instructions", "contents", "systemInstruction", "other"] {
            let _ = block_messages(wire, array, body);
        }
        let _ = block_tools(wire, body);
    }
    let _ = detect("POST", "/x", &Headers::new(), body);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), target: String) {
        read_all(&bytes);
        let _ = detect("POST", &target, &Headers::new(), &bytes);
        let _ = request(Wire::Gemini, &target, &bytes);
    }

    #[test]
    fn any_json_is_read_without_a_panic(values in prop::collection::vec(odd(), 0..6)) {
        let texts: Vec<String> = values.iter().map(Value::to_string).collect();
        read_all(format!("[{}]", texts.join(",")).as_bytes());
        for text in &texts {
            read_all(text.as_bytes());
        }
        let events: String = texts.iter().map(|text| format!("data: {text}\n\n")).collect();
        read_all(events.as_bytes());
        for wire in WIRES {
            let mut reader = Reader::new(wire, 200, &Headers::new());
            for text in &texts {
                reader.feed_event(text);
            }
            let _ = reader.finish();
        }
    }

    #[test]
    fn blocks_agree_with_the_whole(object in odd_object()) {
        let text = Value::Object(object).to_string();
        for wire in WIRES {
            let Ok(whole) = request(wire, "/v1/x", text.as_bytes()) else { continue };
            let fields: std::collections::BTreeMap<String, &RawValue> = serde_json::from_str(&text).unwrap();
            let names: &[&str] = match wire {
                Wire::OpenaiChat => &["messages"],
                Wire::OpenaiResponses => &["instructions", "input"],
                Wire::AnthropicMessages => &["system", "messages"],
                Wire::Gemini => &["systemInstruction", "contents"],
                Wire::Embeddings | Wire::Raw => &[],
            };
            // Wrapped requests are read from inside their wrapper.
            if fields.contains_key("request") || fields.contains_key("response") {
                continue;
            }
            let mut messages: Vec<Message> = Vec::new();
            for name in names {
                for block in blocks(fields.get(*name).copied()) {
                    messages.extend(block_messages(wire, name, block.as_bytes()));
                }
            }
            prop_assert_eq!(&whole.messages, &messages);
            let tools: Vec<_> =
                blocks(fields.get("tools").copied()).iter().flat_map(|tool| block_tools(wire, tool.as_bytes())).collect();
            if wire != Wire::Raw {
                prop_assert_eq!(&whole.tools, &tools);
            }
        }
    }
}

fn blocks(raw: Option<&RawValue>) -> Vec<String> {
    let Some(raw) = raw else { return Vec::new() };
    match serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
        Ok(list) => list.into_iter().map(|element| element.get().to_owned()).collect(),
        Err(_) if raw.get() == "null" => Vec::new(),
        Err(_) => vec![raw.get().to_owned()],
    }
}

#[test]
fn deep_nesting_costs_nothing_but_itself() {
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    for wire in WIRES {
        let body = format!(
            "{{\"model\":\"m\",\"deep\":{deep},\"contents\":[{deep}],\"input\":[{deep}],\
             \"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}},{{\"role\":\"assistant\",\"content\":{deep}}}]}}"
        );
        let read = request(wire, "/v1beta/models/m:generateContent", body.as_bytes()).unwrap();
        if matches!(wire, Wire::OpenaiChat | Wire::AnthropicMessages) {
            assert_eq!((read.messages.len(), read.messages[0].plain_text().as_str()), (2, "hi"));
        }
        for body in
            [deep.clone(), format!("data: {deep}\n\ndata: {{\"a\":{deep}}}\n\n"), format!("{{\"output\":{deep}}}")]
        {
            assert!(
                !response(wire, 200, &Headers::new(), body.as_bytes()).complete
                    || wire == Wire::Raw
                    || wire == Wire::Embeddings
            );
        }
    }
}
