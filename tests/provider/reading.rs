//! Bodies of every kind, and what is read from them.

use holdback::provider::{Unreadable, request, response};
use holdback::trace::{Headers, Message, Part, Response, Role, Stop, ToolCall, ToolResult, Usage, Wire};
use serde_json::{Value, json};

fn read(wire: Wire, body: &str) -> Response {
    response(wire, 200, &Headers::new(), body.as_bytes())
}

fn parts(response: &Response) -> &[Part] {
    response.message.as_ref().map(|message| message.parts.as_slice()).unwrap_or_default()
}

fn said(text: &str) -> Part {
    Part::Text { text: text.to_owned() }
}

fn thought(text: &str, signature: &str) -> Part {
    Part::Thinking { text: text.to_owned(), signature: signature.to_owned() }
}

fn call(id: &str, name: &str, arguments: Value) -> Part {
    Part::ToolCall(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments })
}

fn result(id: &str, text: &str) -> Part {
    Part::ToolResult(ToolResult { id: id.to_owned(), name: String::new(), text: text.to_owned(), is_error: false })
}

fn events(list: &[Value]) -> String {
    list.iter().map(|event| format!("data: {event}\n\n")).collect()
}

fn chat(delta: Value) -> Value {
    json!({ "choices": [{ "index": 0, "delta": delta }] })
}

#[test]
fn chat_tool_calls_are_told_apart() {
    let call_delta = |value: Value| chat(json!({ "tool_calls": [value] }));
    let cases = [
        // By index, in any order of arrival.
        vec![
            call_delta(json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{\"x\"" } })),
            call_delta(json!({ "index": 1, "id": "b", "function": { "name": "g", "arguments": "" } })),
            call_delta(json!({ "index": 0, "function": { "arguments": ":1}" } })),
        ],
        // Whole calls, every one under index 0.
        vec![
            call_delta(json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{\"x\":1}" } })),
            call_delta(json!({ "index": 0, "id": "b", "function": { "name": "g", "arguments": "{}" } })),
        ],
        // No index at all, arguments as an object, the id repeated.
        vec![
            call_delta(json!({ "id": "a", "function": { "name": "f", "arguments": "{\"x\"" } })),
            call_delta(json!({ "id": "a", "function": { "arguments": ":1}" } })),
            call_delta(json!({ "id": "b", "function": { "name": "g", "arguments": {} } })),
        ],
    ];
    for case in cases {
        let read = read(Wire::OpenaiChat, &events(&case));
        assert_eq!(parts(&read), [call("a", "f", json!({ "x": 1 })), call("b", "g", json!({}))], "{case:?}");
        assert!(!read.complete);
    }
    let broken =
        events(&[call_delta(json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{\"x" } }))]);
    assert_eq!(parts(&read(Wire::OpenaiChat, &broken)), [call("a", "f", json!("{\"x"))]);
}

#[test]
fn chat_ends_with_a_reason_or_with_done() {
    let text = chat(json!({ "content": "hi", "reasoning_content": "hm" }));
    let finish = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": 5, "completion_tokens": 2 } });
    let half = events(std::slice::from_ref(&text));
    let done = format!("{half}data: [DONE]\n\n");
    let cases = [
        (half.clone(), false, None),
        (done, true, None),
        (format!("{half}{}", events(&[finish.clone(), usage])), true, Some(Stop::End)),
        (format!("{half}data: {finish}"), true, Some(Stop::End)),
        (format!(": ping\r\n\r\n{}", events(&[text, finish]).replace('\n', "\r\n")), true, Some(Stop::End)),
    ];
    for (body, complete, stop) in cases {
        let read = read(Wire::OpenaiChat, &body);
        assert_eq!(parts(&read), [thought("hm", ""), said("hi")], "{body}");
        assert_eq!((read.complete, read.stop), (complete, stop), "{body}");
        assert!(read.first_content_at.is_some_and(|at| at < 100), "{body}");
    }
}

#[test]
fn a_json_body_is_read_where_a_stream_was_expected() {
    let body = json!({ "id": "c", "model": "m", "usage": { "prompt_tokens": 5, "completion_tokens": 2 }, "choices": [
        { "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": null, "refusal": "No." } }] });
    let read = response(
        Wire::OpenaiChat,
        200,
        &vec![("content-type".into(), "text/event-stream".into())],
        body.to_string().as_bytes(),
    );
    assert_eq!(parts(&read), [Part::Refusal { text: "No.".into() }]);
    assert_eq!((read.complete, read.stop, read.usage.input), (true, Some(Stop::Refusal), Some(5)));
    assert_eq!(read.usage_raw, json!({ "prompt_tokens": 5, "completion_tokens": 2 }));
}

#[test]
fn anthropic_streams_are_put_together() {
    let list = [
        json!({ "type": "message_start", "message": { "id": "m1", "model": "c", "content": [], "usage": {
            "input_tokens": 3, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 90, "output_tokens": 1 } } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "thinking", "thinking": "", "signature": "" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "thinking_delta", "thinking": "Let me" } }),
        json!({ "type": "ping" }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "signature_delta", "signature": "c2ln" } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "content_block_start", "index": 1, "content_block": { "type": "redacted_thinking", "data": "c2VhbA" } }),
        json!({ "type": "content_block_start", "index": 2, "content_block": { "type": "tool_use", "id": "t1", "name": "ls", "input": {} } }),
        json!({ "type": "content_block_start", "index": 3, "content_block": { "type": "tool_use", "id": "t2", "name": "cat", "input": {} } }),
        json!({ "type": "content_block_delta", "index": 3, "delta": { "type": "input_json_delta", "partial_json": "{\"f\":" } }),
        json!({ "type": "content_block_delta", "index": 3, "delta": { "type": "input_json_delta", "partial_json": "\"a\"}" } }),
        json!({ "type": "content_block_start", "index": 4, "content_block": { "type": "server_tool_use", "id": "s", "name": "web", "input": {} } }),
        json!({ "type": "content_block_delta", "index": 4, "delta": { "type": "input_json_delta", "partial_json": "{\"q\":1}" } }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use" }, "usage": { "output_tokens": 12, "input_tokens": null } }),
        json!({ "type": "message_delta", "delta": {}, "usage": { "output_tokens": 25 } }),
    ];
    let mut read_it = read(Wire::AnthropicMessages, &events(&list));
    let server = json!({ "type": "server_tool_use", "id": "s", "name": "web", "input": { "q": 1 } });
    let expected = [
        thought("Let me", "c2ln"),
        thought("", "c2VhbA"),
        call("t1", "ls", json!({})),
        call("t2", "cat", json!({ "f": "a" })),
        Part::Other { value: server },
    ];
    assert_eq!(parts(&read_it), expected);
    let usage = Usage { input: Some(3), output: Some(25), cache_read: Some(90), cache_write: Some(7), reasoning: None };
    assert_eq!((read_it.usage, read_it.stop.take(), read_it.complete), (usage, Some(Stop::Tools), false));
    let whole = read(
        Wire::AnthropicMessages,
        &format!("{}event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n", events(&list)),
    );
    assert!(whole.complete);
}

#[test]
fn responses_are_taken_whole_or_from_their_items() {
    let list = [
        json!({ "type": "response.created", "response": { "id": "r", "model": "g", "status": "in_progress", "output": [] } }),
        json!({ "type": "response.output_item.added", "output_index": 0, "item": { "type": "reasoning", "summary": [] } }),
        json!({ "type": "response.reasoning_summary_part.added", "output_index": 0 }),
        json!({ "type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "First" }),
        json!({ "type": "response.reasoning_summary_part.added", "output_index": 0 }),
        json!({ "type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "second" }),
        json!({ "type": "response.output_item.added", "output_index": 1, "item": { "type": "message", "role": "assistant", "content": [] } }),
        json!({ "type": "response.output_text.delta", "output_index": 1, "delta": "Hel", "obfuscation": "xyz" }),
        json!({ "type": "response.output_item.added", "output_index": 2, "item": { "type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "" } }),
        json!({ "type": "response.custom_tool_call_input.delta", "output_index": 2, "delta": "{}" }),
        json!({ "type": "response.output_text.delta", "output_index": 1, "delta": "lo" }),
    ];
    let half = read(Wire::OpenaiResponses, &events(&list));
    assert_eq!(parts(&half), [thought("First\nsecond", ""), said("Hello"), call("c", "patch", json!("{}"))]);
    assert_eq!((half.complete, &half.stop, half.id.as_str()), (false, &None, "r"));

    let output = json!([{ "type": "message", "content": [{ "type": "output_text", "text": "Whole." }] }]);
    for (status, stop, error) in
        [("completed", Some(Stop::End), false), ("incomplete", Some(Stop::Length), false), ("failed", None, true)]
    {
        let failure = json!({ "code": "server_error", "message": "m" });
        let end = json!({ "type": format!("response.{status}"), "response": { "id": "r", "status": status, "output": output,
            "incomplete_details": { "reason": "max_output_tokens" }, "error": if error { failure } else { Value::Null },
            "usage": { "input_tokens": 10, "input_tokens_details": { "cached_tokens": 4 }, "output_tokens": 2 } } });
        let whole = read(Wire::OpenaiResponses, &format!("{}{}", events(&list), events(&[end])));
        assert_eq!(parts(&whole), [said("Whole.")]);
        assert_eq!((whole.complete, whole.stop, whole.error.is_some()), (true, stop, error));
        assert_eq!((whole.usage.input, whole.usage.cache_read), (Some(6), Some(4)));
    }
}

#[test]
fn gemini_is_read_as_events_as_array_and_whole() {
    let chunks = [
        json!({ "candidates": [{ "content": { "parts": [{ "text": "Hm", "thought": true }] } }], "modelVersion": "g", "responseId": "r" }),
        json!({ "candidates": [{ "content": { "parts": [{ "text": "m", "thought": true }, { "text": "So: " }] } }] }),
        json!({ "candidates": [{ "content": { "parts": [{ "text": "go" },
            { "functionCall": { "name": "ls", "args": { "d": "." } }, "thoughtSignature": "c2ln" }] } }] }),
        json!({ "candidates": [{ "content": { "parts": [{ "text": "" }] }, "finishReason": "STOP" }],
            "usageMetadata": { "promptTokenCount": 9, "candidatesTokenCount": 2, "thoughtsTokenCount": 3 } }),
    ];
    let expected = [thought("Hmm", ""), said("So: go"), thought("", "c2ln"), call("", "ls", json!({ "d": "." }))];
    for body in [
        events(&chunks),
        json!(chunks).to_string(),
        format!("[{}\r\n,\r\n{}", chunks[0], json!(&chunks[1..]).to_string().trim_start_matches('[')),
    ] {
        let read = read(Wire::Gemini, &body);
        assert_eq!(parts(&read), expected, "{body}");
        assert_eq!((read.complete, read.stop, read.usage.output), (true, Some(Stop::Tools), Some(5)));
    }
    let first = json!(chunks).to_string();
    assert_eq!(read(Wire::Gemini, &first).first_content_at, Some(1 + chunks[0].to_string().len()));
    let blocked = read(Wire::Gemini, &json!({ "promptFeedback": { "blockReason": "SAFETY" } }).to_string());
    assert_eq!((blocked.complete, blocked.stop, blocked.message), (true, Some(Stop::Refusal), None));
    let wrapped = read(Wire::Gemini, &events(&[json!({ "response": chunks[1] }), json!({ "response": chunks[3] })]));
    assert_eq!((parts(&wrapped), wrapped.complete), ([thought("m", ""), said("So: ")].as_slice(), true));
}

#[test]
fn failures_say_what_the_provider_said_and_strange_bodies_are_not_complete() {
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let failed = response(Wire::AnthropicMessages, 529, &Headers::new(), overloaded.as_bytes());
    let error = failed.error.unwrap();
    assert_eq!(
        (error.kind.as_str(), error.message.as_str(), failed.complete),
        ("overloaded_error", "Overloaded", true)
    );
    for wire in super::TALKING {
        for body in [
            "",
            "<html>Bad gateway</html>",
            "{",
            "{}",
            "null",
            "data:",
            "data: {\n\n",
            "\u{0}\u{1}",
            "event: ping\n\n",
            "[]",
        ] {
            let read = read(wire, body);
            assert!(
                !read.complete && read.message.is_none() && read.first_content_at.is_none(),
                "{wire:?} {body:?} {read:?}"
            );
        }
        let gateway = response(wire, 502, &Headers::new(), b"<html>Bad gateway</html>");
        assert_eq!(gateway.error.unwrap().message, "<html>Bad gateway</html>");
        assert!(!gateway.complete);
    }
    let raw = read(Wire::Raw, "whatever");
    assert_eq!((raw.complete, raw.first_content_at), (true, Some(8)));
}

#[test]
fn counts_and_embeddings_are_whole_without_an_answer() {
    let counted = read(Wire::AnthropicMessages, r#"{"input_tokens":37}"#);
    assert_eq!((counted.complete, counted.usage, counted.message), (true, Usage::default(), None));
    assert!(read(Wire::Gemini, r#"{"totalTokens":37}"#).complete);
    let embedded = read(
        Wire::Embeddings,
        r#"{"object":"list","data":[{"embedding":[0.1]}],"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}"#,
    );
    assert_eq!((embedded.complete, embedded.usage.input, embedded.model.as_str()), (true, Some(8), "e"));
}

#[test]
fn requests_of_every_wire_read_alike() {
    let schema = json!({ "type": "object" });
    let bodies = [
        (
            Wire::OpenaiChat,
            "/v1/chat/completions",
            json!({ "model": "m", "stream": true, "temperature": 0.5, "messages": [
            { "role": "developer", "content": "Be kind." },
            { "role": "user", "content": [{ "type": "text", "text": "Look" }, { "type": "image_url", "image_url": { "url": "u" } }] },
            { "role": "assistant", "content": "", "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "ls", "arguments": "{\"d\":1}" } }] },
            { "role": "tool", "tool_call_id": "c", "content": "a.txt" }],
            "tools": [{ "type": "function", "function": { "name": "ls", "description": "d", "parameters": schema } }] }),
        ),
        (
            Wire::OpenaiResponses,
            "/v1/responses",
            json!({ "model": "m", "stream": true, "temperature": 0.5, "instructions": "Be kind.", "input": [
            { "role": "user", "content": [{ "type": "input_text", "text": "Look" }, { "type": "input_image", "image_url": "u" }] },
            { "type": "function_call", "call_id": "c", "name": "ls", "arguments": "{\"d\":1}" },
            { "type": "function_call_output", "call_id": "c", "output": [{ "type": "input_text", "text": "a.txt" }] }],
            "tools": [{ "type": "function", "name": "ls", "description": "d", "parameters": schema }] }),
        ),
        (
            Wire::AnthropicMessages,
            "/v1/messages",
            json!({ "model": "m", "stream": true, "temperature": 0.5, "messages": [
            { "role": "user", "content": [{ "type": "text", "text": "Look" }, { "type": "image", "source": {} }] },
            { "role": "assistant", "content": [{ "type": "tool_use", "id": "c", "name": "ls", "input": { "d": 1 } }] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "c", "content": "a.txt" }] }],
            "system": [{ "type": "text", "text": "Be kind.", "cache_control": { "type": "ephemeral" } }],
            "tools": [{ "name": "ls", "description": "d", "input_schema": schema }] }),
        ),
        (
            Wire::Gemini,
            "/v1beta/models/m:streamGenerateContent?alt=sse",
            json!({ "generationConfig": { "temperature": 0.5 }, "contents": [
            { "role": "user", "parts": [{ "text": "Look" }, { "inlineData": { "mimeType": "image/png", "data": "" } }] },
            { "role": "model", "parts": [{ "functionCall": { "id": "c", "name": "ls", "args": { "d": 1 } } }] },
            { "role": "user", "parts": [{ "functionResponse": { "id": "c", "response": { "output": "a.txt" } } }] }],
            "systemInstruction": { "parts": [{ "text": "Be kind." }] },
            "tools": [{ "functionDeclarations": [{ "name": "ls", "description": "d", "parametersJsonSchema": schema }] }] }),
        ),
    ];
    for (wire, target, body) in bodies {
        let read = request(wire, target, body.to_string().as_bytes()).unwrap();
        assert_eq!(
            (read.model.as_str(), read.stream, read.params["temperature"].as_f64()),
            ("m", true, Some(0.5)),
            "{wire:?}"
        );
        assert_eq!(read.messages[0], Message::text(Role::System, "Be kind."), "{wire:?}");
        assert_eq!(read.messages[1].parts[0], said("Look"));
        assert!(matches!(read.messages[1].parts[1], Part::Other { .. }), "{wire:?}");
        assert_eq!(read.messages[2].parts, [call("c", "ls", json!({ "d": 1 }))], "{wire:?}");
        assert_eq!(read.messages[3].parts, [result("c", "a.txt")], "{wire:?}");
        assert_eq!((read.tools.len(), &read.tools[0].parameters), (1, &schema));
        assert_eq!(read.params.len(), 1, "{:?}", read.params);
    }
}

#[test]
fn requests_that_cannot_be_read_say_so_and_strange_ones_are_read() {
    for wire in super::TALKING {
        assert!(matches!(request(wire, "/", b"{no"), Err(Unreadable::NotJson { .. })));
        assert_eq!(request(wire, "/", b"[1]"), Err(Unreadable::NotAnObject));
        assert!(request(wire, "/", b"{}").unwrap().messages.is_empty());
    }
    assert!(request(Wire::Raw, "/", b"\xff").unwrap().messages.is_empty());
    let twice = request(Wire::OpenaiChat, "/", br#"{"model":"a","messages":"hi","model":"b"}"#).unwrap();
    assert_eq!((twice.model.as_str(), twice.messages[0].plain_text().as_str()), ("b", "hi"));
    let latin =
        request(Wire::OpenaiChat, "/", b"{\"messages\":[{\"role\":\"user\",\"content\":\"gr\xfc\xdfe\"}]}").unwrap();
    assert_eq!(latin.messages[0].plain_text(), "gr\u{fffd}\u{fffd}e");
    let plain = request(Wire::OpenaiResponses, "/", br#"{"model":"m","input":"hi"}"#).unwrap();
    assert_eq!(plain.messages, [Message::text(Role::User, "hi")]);
    let azure =
        request(Wire::OpenaiChat, "/openai/deployments/my-gpt/chat/completions", br#"{"messages":[]}"#).unwrap();
    assert_eq!(azure.model, "my-gpt");
    let embedding =
        request(Wire::Embeddings, "/v1/embeddings", br#"{"model":"e","input":["a"],"dimensions":3}"#).unwrap();
    assert_eq!((embedding.messages.len(), embedding.params.len()), (0, 1));
    let wrapped = request(
        Wire::Gemini,
        "/v1internal:generateContent",
        br#"{"model":"g","request":{"contents":[{"parts":[{"text":"hi"}]}]}}"#,
    )
    .unwrap();
    assert_eq!((wrapped.model.as_str(), wrapped.messages[0].plain_text().as_str()), ("g", "hi"));
}
