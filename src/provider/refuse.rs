//! Errors of our own in the provider's words, shaped so that no client tries again.

use bytes::Bytes;
use serde_json::json;

use crate::trace::{Headers, Wire};

/// The refusal every client takes as final: what a brake or a tape without a match answers. `kind` is our own word for
/// the reason (`brake_max_cost`, `no_match`) and stands in front of the message, where it survives every client's own
/// wording.
///
/// The status is 400 on every wire: 401 makes clients renew their keys, 403 and 404 make some change the model, 408, 409,
/// 429 and 5xx are retried. `x-should-retry: false` is what the OpenAI and Anthropic SDKs obey above all.
pub fn refusal(wire: Wire, kind: &str, message: &str) -> (u16, Headers, Bytes) {
    let message = if kind.is_empty() { message.to_owned() } else { format!("{kind}: {message}") };
    refuse(wire, 400, "", &message)
}

/// A well-formed error of the wire's provider. An empty `kind` means the type the provider documents for that status.
pub fn refuse(wire: Wire, status: u16, kind: &str, message: &str) -> (u16, Headers, Bytes) {
    let kind = if kind.is_empty() { documented_kind(wire, status) } else { kind };
    let body = match wire {
        Wire::AnthropicMessages => json!({ "type": "error", "error": { "type": kind, "message": message } }),
        Wire::Gemini => json!({ "error": { "code": status, "message": message, "status": kind } }),
        Wire::OpenaiChat | Wire::OpenaiResponses | Wire::Embeddings | Wire::Raw => {
            json!({ "error": { "message": message, "type": kind, "param": null, "code": kind } })
        }
    };
    let headers = [("content-type", "application/json"), ("x-should-retry", "false")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    (status, headers, Bytes::from(body.to_string()))
}

fn documented_kind(wire: Wire, status: u16) -> &'static str {
    match (wire, status) {
        (Wire::AnthropicMessages, 401) => "authentication_error",
        (Wire::AnthropicMessages, 402) => "billing_error",
        (Wire::AnthropicMessages, 403) => "permission_error",
        (Wire::AnthropicMessages, 404) => "not_found_error",
        (Wire::AnthropicMessages, 413) => "request_too_large",
        (Wire::AnthropicMessages, 429) => "rate_limit_error",
        (Wire::AnthropicMessages, 529) => "overloaded_error",
        (Wire::AnthropicMessages, 500..) => "api_error",
        (Wire::Gemini, 401) => "UNAUTHENTICATED",
        (Wire::Gemini, 403) => "PERMISSION_DENIED",
        (Wire::Gemini, 404) => "NOT_FOUND",
        (Wire::Gemini, 429) => "RESOURCE_EXHAUSTED",
        (Wire::Gemini, 503) => "UNAVAILABLE",
        (Wire::Gemini, 504) => "DEADLINE_EXCEEDED",
        (Wire::Gemini, 500..) => "INTERNAL",
        (Wire::Gemini, _) => "INVALID_ARGUMENT",
        (_, 429) => "rate_limit_exceeded",
        (Wire::AnthropicMessages, _) | (_, ..500) => "invalid_request_error",
        (_, 500..) => "server_error",
    }
}
