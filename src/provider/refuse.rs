//! Errors of our own in the provider's words, shaped so that no client tries again.

use bytes::Bytes;
use serde_json::json;

use crate::trace::{Headers, Wire};

/// The refusal every client takes as final: what a brake or a tape without a match answers. `kind` is our own word for
/// the reason (`brake_max_cost`, `no_match`) and stands in front of the message, where it survives every client's own
/// wording.
///
/// Chosen by trying ten agents against a server that answers nothing else: with these, each asks once and ends with our
/// words on its screen. 400 it is, but for Anthropic's wire, where Claude Code asks six times on a 400 and once on a 403.
/// 401 makes clients renew their keys, 404 makes some change the model, 408, 409, 429 and 5xx are retried.
/// `x-should-retry: false` is what the OpenAI and Anthropic SDKs obey above all.
pub fn refusal(wire: Wire, kind: &str, message: &str) -> (u16, Headers, Bytes) {
    let message = if kind.is_empty() { message.to_owned() } else { format!("{kind}: {message}") };
    let status = if wire == Wire::AnthropicMessages { 403 } else { 400 };
    refuse(wire, status, "", &message)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::response;

    const WIRES: [Wire; 6] =
        [Wire::OpenaiChat, Wire::OpenaiResponses, Wire::AnthropicMessages, Wire::Gemini, Wire::Embeddings, Wire::Raw];

    #[test]
    fn a_refusal_reads_back_as_what_it_says_and_nobody_retries_it() {
        for wire in WIRES {
            let (status, headers, body) = refusal(wire, "brake_max_cost", "5 dollars are spent");
            assert!(matches!(status, 400 | 403), "{wire:?}");
            assert!(headers.contains(&("x-should-retry".to_owned(), "false".to_owned())));
            let error = response(wire, status, &headers, &body).error.unwrap();
            assert_eq!(error.message, "brake_max_cost: 5 dollars are spent", "{wire:?}");
            assert!(!error.kind.is_empty(), "{wire:?}");
        }
    }

    #[test]
    fn types_are_the_ones_the_providers_document() {
        let cases = [
            (Wire::AnthropicMessages, 400, "invalid_request_error"),
            (Wire::AnthropicMessages, 403, "permission_error"),
            (Wire::AnthropicMessages, 529, "overloaded_error"),
            (Wire::OpenaiChat, 400, "invalid_request_error"),
            (Wire::OpenaiResponses, 429, "rate_limit_exceeded"),
            (Wire::OpenaiResponses, 500, "server_error"),
            (Wire::Gemini, 400, "INVALID_ARGUMENT"),
            (Wire::Gemini, 429, "RESOURCE_EXHAUSTED"),
            (Wire::Raw, 404, "invalid_request_error"),
        ];
        for (wire, status, kind) in cases {
            let (status, headers, body) = refuse(wire, status, "", "no");
            assert_eq!(response(wire, status, &headers, &body).error.unwrap().kind, kind, "{wire:?} {status}");
        }
    }
}
