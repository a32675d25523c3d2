//! Which wire format a call speaks: by its path, and where the path is strange, by the shape of its body.

use serde_json::Value;

use super::lax::Fields;
use crate::trace::{Headers, Wire};

/// The wire format of a call. Any prefix in front of the provider's own path is fine.
pub fn detect(method: &str, target: &str, headers: &Headers, body: &[u8]) -> Wire {
    let path = path_of(target);
    let websocket = headers
        .iter()
        .any(|(name, value)| name.eq_ignore_ascii_case("upgrade") && value.to_ascii_lowercase().contains("websocket"));
    if !method.eq_ignore_ascii_case("POST") {
        return if websocket && path.ends_with("/responses") { Wire::OpenaiResponses } else { Wire::Raw };
    }
    if let Some(wire) = by_path(path) {
        return wire;
    }
    by_shape(headers, body).unwrap_or_default()
}

fn path_of(target: &str) -> &str {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    path.trim_end_matches('/')
}

fn by_path(path: &str) -> Option<Wire> {
    let ends = |tails: &[&str]| tails.iter().any(|tail| path.ends_with(tail));
    // Bedrock's own formats; also its Anthropic bodies come back in frames of their own.
    if path.contains("/model/") && ends(&["/converse", "/converse-stream", "/invoke", "/invoke-with-response-stream"]) {
        return Some(Wire::Raw);
    }
    let verb = path.rsplit('/').next().and_then(|last| last.rsplit_once(':')).map(|(_, verb)| verb);
    match verb {
        Some("generateContent" | "streamGenerateContent" | "countTokens") => return Some(Wire::Gemini),
        Some("rawPredict" | "streamRawPredict") if path.contains("/publishers/anthropic/") => {
            return Some(Wire::AnthropicMessages);
        }
        Some("embedContent" | "batchEmbedContents" | "predict") if path.contains("/models/") => {
            return Some(Wire::Embeddings);
        }
        _ => {}
    }
    if ends(&["/chat/completions"]) {
        Some(Wire::OpenaiChat)
    } else if ends(&["/responses", "/responses/compact", "/responses/input_tokens"]) {
        Some(Wire::OpenaiResponses)
    } else if ends(&["/messages", "/messages/count_tokens"]) && !path.contains("/threads/") {
        Some(Wire::AnthropicMessages)
    } else if ends(&["/embeddings", "/embed", "/rerank"]) {
        Some(Wire::Embeddings)
    } else if ends(&["/completions"]) {
        // Prompt in, text out: no conversation. Kept as it is.
        Some(Wire::Raw)
    } else {
        None
    }
}

fn by_shape(headers: &Headers, body: &[u8]) -> Option<Wire> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let fields: Fields<'_> = serde_json::from_slice(body).ok()?;
    let has = |name: &str| fields.get(&[name]).is_some();
    let is_list = |name: &str| fields.get(&[name]).is_some_and(|raw| raw.get().starts_with('['));
    let anthropic = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("anthropic-version"));
    if is_list("contents") {
        Some(Wire::Gemini)
    } else if is_list("messages") {
        // Only Anthropic has orders beside the messages and tools with an input_schema.
        let tools = fields.get(&["tools"]).is_some_and(|raw| raw.get().contains("\"input_schema\""));
        Some(if anthropic || has("system") || tools { Wire::AnthropicMessages } else { Wire::OpenaiChat })
    } else if has("query") && is_list("documents") {
        Some(Wire::Embeddings)
    } else if has("model") && has("input") {
        let input: Value = serde_json::from_str(fields.get(&["input"])?.get()).ok()?;
        let items = input.as_array().is_some_and(|list| list.iter().any(Value::is_object));
        let words =
            ["instructions", "tools", "stream", "store", "reasoning", "max_output_tokens", "previous_response_id"];
        if items || words.iter().any(|word| has(word)) {
            Some(Wire::OpenaiResponses)
        } else if has("encoding_format") || has("dimensions") || input.is_array() {
            Some(Wire::Embeddings)
        } else {
            None
        }
    } else {
        None
    }
}

/// The model that a path names, where the body doesn't: Gemini, Azure, Vertex.
pub fn model_in_path(target: &str) -> Option<String> {
    let path = path_of(target);
    let name = if let Some((_, after)) = path.split_once("/deployments/") {
        after.split('/').next()?
    } else {
        let (_, after) = path.split_once("/models/")?;
        after.rsplit_once(':').map_or(after, |(name, _)| name)
    };
    (!name.is_empty()).then(|| percent_decoded(name))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = (first == b'%').then(|| after.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_tell_the_wire() {
        use Wire::{AnthropicMessages, Embeddings, Gemini, OpenaiChat, OpenaiResponses, Raw};
        let cases = [
            ("/v1/chat/completions", OpenaiChat),
            ("/hb/0af7651916cd43dd8448eb211c80319c/v1/chat/completions", OpenaiChat),
            ("/openai/deployments/my-gpt/chat/completions?api-version=2026-01-01", OpenaiChat),
            ("/chat/completions/", OpenaiChat),
            ("/v1/responses", OpenaiResponses),
            ("/backend-api/codex/responses", OpenaiResponses),
            ("/openai/v1/responses?api-version=preview", OpenaiResponses),
            ("/v1/messages?beta=true", AnthropicMessages),
            ("/v1/messages/count_tokens", AnthropicMessages),
            ("/v1/projects/p/locations/l/publishers/anthropic/models/claude-x:streamRawPredict", AnthropicMessages),
            ("/v1beta/models/gemini-3:streamGenerateContent?alt=sse", Gemini),
            ("/v1internal:generateContent", Gemini),
            ("/v1beta/models/gemini-3:countTokens", Gemini),
            ("/v1/embeddings", Embeddings),
            ("/v2/rerank", Embeddings),
            ("/v1beta/models/e:batchEmbedContents", Embeddings),
            ("/model/anthropic.claude-x/converse-stream", Raw),
            ("/model/anthropic.claude-x/invoke", Raw),
            ("/v1/threads/t/messages", Raw),
            ("/v1/models", Raw),
            ("", Raw),
        ];
        for (target, wire) in cases {
            assert_eq!(detect("POST", target, &Vec::new(), b"{}"), wire, "{target}");
        }
        assert_eq!(detect("GET", "/v1/responses", &Vec::new(), b""), Raw);
        let upgrade = vec![("Upgrade".to_owned(), "websocket".to_owned())];
        assert_eq!(detect("GET", "/v1/responses", &upgrade, b""), OpenaiResponses);
    }

    #[test]
    fn strange_paths_are_told_by_the_shape_of_the_body() {
        let cases = [
            (r#"{"contents":[]}"#, Wire::Gemini),
            (r#"{"messages":[]}"#, Wire::OpenaiChat),
            (r#"{"messages":[],"system":"s"}"#, Wire::AnthropicMessages),
            (r#"{"messages":[],"tools":[{"name":"x","input_schema":{}}]}"#, Wire::AnthropicMessages),
            (r#"{"model":"m","input":[{"role":"user"}]}"#, Wire::OpenaiResponses),
            (r#"{"model":"m","input":"hi","stream":true}"#, Wire::OpenaiResponses),
            (r#"{"model":"m","input":["a","b"]}"#, Wire::Embeddings),
            (r#"{"model":"m","input":"a"}"#, Wire::Raw),
            (r#"{"query":"q","documents":[]}"#, Wire::Embeddings),
            (r#"{"messages":"no"}"#, Wire::Raw),
            ("[]", Wire::Raw),
            ("{", Wire::Raw),
        ];
        for (body, wire) in cases {
            assert_eq!(detect("POST", "/my/own/path", &Vec::new(), body.as_bytes()), wire, "{body}");
        }
        let version = vec![("Anthropic-Version".to_owned(), "2023-06-01".to_owned())];
        assert_eq!(detect("POST", "/x", &version, br#"{"messages":[]}"#), Wire::AnthropicMessages);
    }

    #[test]
    fn models_are_found_in_paths() {
        let cases = [
            ("/v1beta/models/gemini-3-pro:generateContent?key=k", Some("gemini-3-pro")),
            ("/v1beta/models/mock%2Fflaky%3Fp=0.8:generateContent", Some("mock/flaky?p=0.8")),
            ("/v1/projects/p/publishers/google/models/g:streamGenerateContent", Some("g")),
            ("/openai/deployments/my-gpt/chat/completions", Some("my-gpt")),
            ("/v1/chat/completions", None),
            ("/v1beta/models/", None),
            ("/models/100%", Some("100%")),
        ];
        for (target, model) in cases {
            assert_eq!(model_in_path(target).as_deref(), model, "{target}");
        }
    }
}
