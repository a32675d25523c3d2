//! What a span says of a model call, in every spelling on the wire: the GenAI conventions now and before, OpenInference,
//! OpenLLMetry, the Vercel AI SDK, and what Claude Code, Codex and Gemini CLI send.

use serde_json::{Map, Value, json};

use super::attributes::{count, nested, text};
use super::{Event, Span};
use crate::import::said;
use crate::import::spans::{Seen, json_of};
use crate::trace::{Timestamp, ToolDef, Usage};

/// A span in the common shape.
pub fn seen(span: &Span) -> Seen {
    let a = &span.attributes;
    let finish = [
        "gen_ai.response.finish_reasons",
        "llm.finish_reason",
        "ai.response.finishReason",
        "gen_ai.completion.0.finish_reason",
        "anthropic.message.stop_reason",
        "stop_reason",
    ];
    let finish = finish.iter().find_map(|key| first_text(a.get(*key)?)).unwrap_or_default();
    let (input, output) = (input(span), output(span));
    Seen {
        id: format!("{:016x}", span.id),
        parent: if span.parent == 0 { String::new() } else { format!("{:016x}", span.parent) },
        name: span.name.clone(),
        kind: "span".to_owned(),
        is_call: is_call(span),
        start: span.start,
        end: Some(span.end.max(span.start)),
        first_token: first_token(a).map(|after| Timestamp(span.start.0.saturating_add(after))),
        model: text(
            a,
            &[
                "gen_ai.response.model",
                "ai.response.model",
                "llm.response.model_name",
                "gen_ai.request.model",
                "llm.model_name",
                "llm.request.model_name",
                "ai.model.id",
                "model",
            ],
        )
        .to_owned(),
        provider: text(
            a,
            &["gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "ai.model.provider"],
        )
        .to_owned(),
        params: params(a),
        input,
        output,
        tools: tools(a),
        response_id: text(a, &["gen_ai.response.id", "ai.response.id", "llm.response.id", "response_id"]).to_owned(),
        finish,
        usage: usage(span),
        cost: ["gen_ai.usage.cost", "llm.cost.total", "operation.cost", "cost_usd"]
            .iter()
            .find_map(|key| a.get(*key)?.as_f64()),
        error: span
            .error
            .clone()
            .or_else(|| Some(text(a, &["error.type"])).filter(|e| !e.is_empty()).map(str::to_owned)),
        agent: Some(text(a, &["gen_ai.agent.name", "agent.name"])).filter(|name| !name.is_empty()).map(str::to_owned),
        raw: raw(span),
    }
}

/// A span as an event keeps it.
fn raw(span: &Span) -> Value {
    let event = |event: &Event| json!({ "at": event.at, "name": event.name, "attributes": event.attributes });
    json!({
        "span": format!("{:016x}", span.id), "parent": format!("{:016x}", span.parent), "name": span.name, "scope": &*span.scope,
        "start": span.start, "end": span.end, "attributes": span.attributes, "error": span.error,
        "events": span.events.iter().map(event).collect::<Vec<_>>(),
    })
}

fn first_text(value: &Value) -> Option<String> {
    match json_of(value) {
        Value::String(text) if !text.is_empty() => Some(text),
        Value::Array(list) => list.first()?.as_str().map(str::to_owned),
        _ => None,
    }
}

/// Whether a span is one call of a model, rather than a loop, a tool or a step around one.
pub fn is_call(span: &Span) -> bool {
    let a = &span.attributes;
    match text(a, &["openinference.span.kind"]) {
        "" => {}
        kind => return kind.eq_ignore_ascii_case("LLM"),
    }
    let operation = text(a, &["ai.operationId"]);
    if !operation.is_empty() {
        return operation.ends_with(".doGenerate") || operation.ends_with(".doStream");
    }
    match text(a, &["gen_ai.operation.name"]) {
        "" => {}
        "chat" | "text_completion" | "generate_content" | "completion" | "llm_call" | "message" | "messages"
        | "responses" => return true,
        _ => return false,
    }
    if a.contains_key("llm.request.type") {
        return matches!(text(a, &["llm.request.type"]), "chat" | "completion");
    }
    if a.contains_key("traceloop.span.kind") || span.name.starts_with("ai.") {
        return false;
    }
    let counted = usage(span).is_known();
    matches!(span.name.as_str(), "claude_code.llm_request" | "llm_call")
        || (counted && span.name == "handle_responses")
        || (counted && !text(a, &["gen_ai.request.model", "gen_ai.response.model", "llm.model_name"]).is_empty())
}

fn usage(span: &Span) -> Usage {
    let a = &span.attributes;
    let input = count(
        a,
        &[
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.prompt_tokens",
            "llm.token_count.prompt",
            "llm.usage.prompt_tokens",
            "ai.usage.inputTokens",
            "ai.usage.promptTokens",
            "input_tokens",
        ],
    );
    let output = count(
        a,
        &[
            "gen_ai.usage.output_tokens",
            "gen_ai.usage.completion_tokens",
            "llm.token_count.completion",
            "llm.usage.completion_tokens",
            "ai.usage.outputTokens",
            "ai.usage.completionTokens",
            "output_tokens",
        ],
    );
    let cache_read = count(
        a,
        &[
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.usage.cache_read_input_tokens",
            "gen_ai.usage.details.cache_read_tokens",
            "gen_ai.usage.details.cached_tokens",
            "llm.token_count.prompt_details.cache_read",
            "ai.usage.inputTokenDetails.cacheReadTokens",
            "ai.usage.cachedInputTokens",
            "cache_read_tokens",
        ],
    );
    let cache_write = count(
        a,
        &[
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.usage.cache_write.input_tokens",
            "gen_ai.usage.cache_creation_input_tokens",
            "gen_ai.usage.details.cache_write_tokens",
            "llm.token_count.prompt_details.cache_write",
            "ai.usage.inputTokenDetails.cacheWriteTokens",
            "cache_creation_tokens",
        ],
    );
    let reasoning = count(
        a,
        &[
            "gen_ai.usage.reasoning.output_tokens",
            "gen_ai.usage.reasoning_tokens",
            "gen_ai.usage.details.reasoning_tokens",
            "llm.token_count.completion_details.reasoning",
            "ai.usage.outputTokenDetails.reasoningTokens",
            "ai.usage.reasoningTokens",
            "codex.usage.reasoning_output_tokens",
        ],
    );
    let cached = cache_read.unwrap_or(0).saturating_add(cache_write.unwrap_or(0));
    // The conventions count the cache in; Anthropic's own programs send what the wire said, which counts it beside.
    let beside = span.scope.starts_with("com.anthropic") || input.is_some_and(|input| cached > input);
    let input = if beside { input } else { input.map(|input| input - cached) };
    Usage { input, output, cache_read, cache_write, reasoning }
}

/// Microseconds until the first token.
fn first_token(a: &Map<String, Value>) -> Option<i64> {
    let seconds = a
        .get("gen_ai.response.time_to_first_chunk")
        .or_else(|| a.get("gen_ai.server.time_to_first_token"))
        .and_then(Value::as_f64);
    let millis = a.get("ai.response.msToFirstChunk").or_else(|| a.get("ttft_ms")).and_then(Value::as_f64);
    let micros = seconds.map(|s| s * 1e6).or(millis.map(|ms| ms * 1e3))?;
    (0.0..1e12).contains(&micros).then_some(micros as i64)
}

fn params(a: &Map<String, Value>) -> Map<String, Value> {
    let mut found = Map::new();
    for (key, value) in a {
        if let Some(name) = key.strip_prefix("gen_ai.request.").filter(|name| !matches!(*name, "model")) {
            found.insert(name.to_owned(), value.clone());
        }
    }
    for key in ["llm.invocation_parameters", "model_request_parameters"] {
        if let Some(Value::Object(more)) = a.get(key).map(json_of) {
            let extra =
                more.into_iter().filter(|(key, _)| !matches!(key.as_str(), "model" | "messages" | "tools" | "input"));
            found.extend(extra);
        }
    }
    found
}

fn tools(a: &Map<String, Value>) -> Vec<ToolDef> {
    for prefix in ["gen_ai.tool.definitions", "ai.prompt.tools", "llm.request.functions"] {
        let found = said::tools(&nested(a, prefix));
        if !found.is_empty() {
            return found;
        }
    }
    let offered = nested(a, "llm.tools");
    let schemas = offered.as_array().into_iter().flatten().map(|tool| json_of(&tool["tool"]["json_schema"]));
    schemas.flat_map(|schema| said::tools(&schema)).collect()
}

/// What was said to the model.
fn input(span: &Span) -> Value {
    let a = &span.attributes;
    let orders = a.get("gen_ai.system_instructions").map(json_of);
    let mut said = Vec::new();
    if let Some(orders) = orders.filter(|orders| !orders.is_null()) {
        said.push(json!({ "role": "system", "content": orders }));
    }
    for prefix in [
        "gen_ai.input.messages",
        "gen_ai.prompt",
        "llm.input_messages",
        "ai.prompt.messages",
        "gen_ai.content.prompt",
        "ai.prompt",
    ] {
        match json_of(&nested(a, prefix)) {
            Value::Null => {}
            Value::Array(list) => {
                return Value::Array(said.into_iter().chain(list.into_iter().filter(|one| !one.is_null())).collect());
            }
            other => return Value::Array(said.into_iter().chain([other]).collect()),
        }
    }
    said.extend(span.events.iter().filter_map(|event| message_event(&event.name, &event.attributes)));
    if !said.is_empty() {
        return Value::Array(said);
    }
    for key in ["request_data", "input.value", "user_prompt", "prompt", "traceloop.entity.input"] {
        if let Some(value) = a.get(key).map(json_of) {
            return value;
        }
    }
    Value::Null
}

/// What the model answered.
fn output(span: &Span) -> Value {
    let a = &span.attributes;
    for prefix in ["gen_ai.output.messages", "gen_ai.completion", "llm.output_messages", "gen_ai.content.completion"] {
        match json_of(&nested(a, prefix)) {
            Value::Null => {}
            other => return other,
        }
    }
    let mut parts = Vec::new();
    for (key, kind) in
        [("ai.response.reasoning", "reasoning"), ("ai.response.text", "text"), ("ai.response.object", "text")]
    {
        if let Some(text) = a.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()) {
            parts.push(json!({ "type": kind, "text": text }));
        }
    }
    if let Some(Value::Array(calls)) = a.get("ai.response.toolCalls").map(json_of) {
        parts.extend(calls);
    }
    if !parts.is_empty() {
        return json!({ "role": "assistant", "content": parts });
    }
    if let Some(choice) = span.events.iter().find_map(|event| choice_event(&event.name, &event.attributes)) {
        return choice;
    }
    for key in ["response_data", "output.value", "traceloop.entity.output"] {
        if let Some(value) = a.get(key).map(json_of) {
            return value;
        }
    }
    Value::Null
}

/// A message told by an event, on a span or as a log.
pub fn message_event(name: &str, body: &Map<String, Value>) -> Option<Value> {
    let role = match name {
        "gen_ai.system.message" => "system",
        "gen_ai.user.message" => "user",
        "gen_ai.assistant.message" => "assistant",
        "gen_ai.tool.message" => "tool",
        _ => return None,
    };
    let mut message: Map<String, Value> = body.iter().map(|(key, value)| (key.clone(), json_of(value))).collect();
    message.insert("role".to_owned(), role.into());
    if role == "tool"
        && let Some(id) = message.remove("id")
    {
        message.insert("tool_call_id".to_owned(), id);
    }
    if !message.contains_key("content") {
        message.insert("content".to_owned(), Value::Null);
    }
    Some(Value::Object(message))
}

/// The answer told by an event.
pub fn choice_event(name: &str, body: &Map<String, Value>) -> Option<Value> {
    if name != "gen_ai.choice" {
        return None;
    }
    let mut message = body.get("message").map_or_else(|| Value::Object(body.clone()), json_of);
    if !message.is_object() {
        message = json!({ "content": message });
    }
    message["role"] = "assistant".into();
    if message.get("content").is_none() {
        message["content"] = Value::Null;
    }
    Some(message)
}
