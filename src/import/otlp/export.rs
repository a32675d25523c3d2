//! A trace as OTLP JSON, in the GenAI conventions of today, so that results flow back into the tool a team already looks at.

use serde_json::{Value, json};

use crate::trace::{Message, Part, Request, Response, Role, Score, Timestamp, TraceId};

/// A call to write.
pub struct ExportCall {
    pub id: u64,
    pub at: Timestamp,
    pub end: Timestamp,
    pub provider: String,
    pub request: Request,
    pub response: Response,
    pub error: Option<String>,
    pub first_content_us: Option<u64>,
    pub agent: Option<String>,
    pub cost_usd: Option<f64>,
}

/// A trace to write.
pub struct ExportTrace {
    pub id: TraceId,
    pub name: String,
    pub agent: Option<String>,
    pub at: Timestamp,
    pub end: Timestamp,
    pub error: Option<String>,
    pub calls: Vec<ExportCall>,
    pub scores: Vec<(Timestamp, Score)>,
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn number(key: &str, value: u64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

fn double(key: &str, value: f64) -> Value {
    json!({ "key": key, "value": { "doubleValue": value } })
}

fn nanos(at: Timestamp) -> String {
    (i128::from(at.0) * 1000).max(0).to_string()
}

/// A message in the shape of the conventions.
fn message(message: &Message) -> Value {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let parts = message.parts.iter().map(|part| match part {
        Part::Text { text } | Part::Refusal { text } => json!({ "type": "text", "content": text }),
        Part::Thinking { text, .. } => json!({ "type": "reasoning", "content": text }),
        Part::ToolCall(call) => {
            json!({ "type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments })
        }
        Part::ToolResult(result) => json!({ "type": "tool_call_response", "id": result.id, "response": result.text }),
        Part::Other { value } => json!({ "type": "other", "content": value }),
    });
    json!({ "role": role, "parts": parts.collect::<Vec<_>>() })
}

/// The span that everything else hangs under.
fn root(trace: TraceId) -> u64 {
    let id = (trace.0 >> 64) as u64 ^ trace.0 as u64;
    if id == 0 { 1 } else { id }
}

fn span(trace: &ExportTrace, call: &ExportCall) -> Value {
    let (asked, answered) = (&call.request, &call.response);
    let mut attributes = vec![text("gen_ai.operation.name", "chat"), text("gen_ai.provider.name", &call.provider)];
    attributes.push(text("gen_ai.request.model", &asked.model));
    if !answered.model.is_empty() {
        attributes.push(text("gen_ai.response.model", &answered.model));
    }
    if !answered.id.is_empty() {
        attributes.push(text("gen_ai.response.id", &answered.id));
    }
    if let Some(stop) = &answered.stop {
        let reasons = json!({ "values": [{ "stringValue": stop.as_str() }] });
        attributes.push(json!({ "key": "gen_ai.response.finish_reasons", "value": { "arrayValue": reasons } }));
    }
    let usage = &answered.usage;
    let read = [usage.input, usage.cache_read, usage.cache_write];
    if read.iter().any(Option::is_some) {
        // The conventions count what the cache gave as a part of what was read.
        attributes.push(number("gen_ai.usage.input_tokens", read.iter().flatten().sum()));
    }
    let counts = [
        ("output_tokens", usage.output),
        ("cache_read.input_tokens", usage.cache_read),
        ("cache_creation.input_tokens", usage.cache_write),
        ("reasoning.output_tokens", usage.reasoning),
    ];
    attributes.extend(counts.iter().filter_map(|(key, count)| Some(number(&format!("gen_ai.usage.{key}"), (*count)?))));
    if let Some(first) = call.first_content_us {
        attributes.push(double("gen_ai.response.time_to_first_chunk", first as f64 / 1e6));
    }
    if let Some(cost) = call.cost_usd {
        attributes.push(double("gen_ai.usage.cost", cost));
    }
    if let Some(agent) = &call.agent {
        attributes.push(text("gen_ai.agent.name", agent));
    }
    let said: Vec<Value> = asked.messages.iter().map(message).collect();
    attributes.push(text("gen_ai.input.messages", &Value::from(said).to_string()));
    if let Some(answer) = &answered.message {
        attributes.push(text("gen_ai.output.messages", &Value::from(vec![message(answer)]).to_string()));
    }
    let status = call.error.as_ref().map_or_else(|| json!({}), |error| json!({ "code": 2, "message": error }));
    json!({
        "traceId": trace.id.to_string(), "spanId": format!("{:016x}", call.id), "parentSpanId": format!("{:016x}", root(trace.id)),
        "name": format!("chat {}", asked.model), "kind": 3, "startTimeUnixNano": nanos(call.at), "endTimeUnixNano": nanos(call.end),
        "attributes": attributes, "status": status,
    })
}

/// A grade as the conventions have it: an event of the span it judges.
fn evaluation(trace: &ExportTrace, at: Timestamp, score: &Score) -> Value {
    let mut attributes = vec![text("gen_ai.evaluation.name", &score.name)];
    attributes.extend(score.value.map(|value| double("gen_ai.evaluation.score.value", value)));
    attributes.extend(score.label.as_deref().map(|label| text("gen_ai.evaluation.score.label", label)));
    attributes.extend(score.comment.as_deref().map(|comment| text("gen_ai.evaluation.explanation", comment)));
    let judged = score.call.and_then(|call| trace.calls.iter().find(|known| known.id == call.0));
    attributes.extend(
        judged.filter(|call| !call.response.id.is_empty()).map(|call| text("gen_ai.response.id", &call.response.id)),
    );
    json!({ "timeUnixNano": nanos(at), "name": "gen_ai.evaluation.result", "attributes": attributes })
}

/// The body of an `ExportTraceServiceRequest`, as JSON.
pub fn otlp_json(trace: &ExportTrace, version: &str) -> Value {
    let mut spans = Vec::with_capacity(trace.calls.len() + 1);
    let events_of = |call: Option<u64>| -> Vec<Value> {
        let of = trace.scores.iter().filter(|(_, score)| score.call.map(|call| call.0) == call);
        of.map(|(at, score)| evaluation(trace, *at, score)).collect()
    };
    let agent = trace.agent.as_deref().unwrap_or("loop");
    let status = trace.error.as_ref().map_or_else(|| json!({}), |error| json!({ "code": 2, "message": error }));
    spans.push(json!({
        "traceId": trace.id.to_string(), "spanId": format!("{:016x}", root(trace.id)), "name": trace.name, "kind": 1,
        "startTimeUnixNano": nanos(trace.at), "endTimeUnixNano": nanos(trace.end.max(trace.at)),
        "attributes": [text("gen_ai.operation.name", "invoke_agent"), text("gen_ai.agent.name", agent)],
        "events": events_of(None), "status": status,
    }));
    for call in &trace.calls {
        let mut one = span(trace, call);
        one["events"] = events_of(Some(call.id)).into();
        spans.push(one);
    }
    json!({ "resourceSpans": [{
        "resource": { "attributes": [text("service.name", agent)] },
        "scopeSpans": [{ "scope": { "name": "holdback", "version": version }, "spans": spans }],
    }] })
}
