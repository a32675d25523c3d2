//! Token counts in everybody's spelling, brought to one: what was read fresh, what the cache gave, what was written.

use serde_json::Value;

use crate::trace::Usage;

/// Whether a count of what was read holds what the cache gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cached {
    /// OpenAI, Gemini, OpenTelemetry, ATIF.
    Inside,
    /// Anthropic, pi.
    Beside,
}

fn count(value: &Value, paths: &[&str]) -> Option<u64> {
    paths.iter().find_map(|path| {
        let mut at = value;
        for key in path.split('/') {
            at = at.get(key)?;
        }
        at.as_u64()
            .or_else(|| at.as_f64().filter(|n| *n >= 0.0 && *n < 9e15).map(|n| n as u64))
            .or_else(|| at.as_str()?.parse().ok())
    })
}

const INPUT: &[&str] = &[
    "input_tokens",
    "prompt_tokens",
    "inputTokens",
    "promptTokens",
    "promptTokenCount",
    "input",
    "prompt",
    "prompt_token_count",
];
const OUTPUT: &[&str] = &[
    "output_tokens",
    "completion_tokens",
    "outputTokens",
    "completionTokens",
    "candidatesTokenCount",
    "output",
    "completion",
    "candidates_token_count",
];
const READ: &[&str] = &[
    "cached_input_tokens",
    "cache_read_input_tokens",
    "cache_read_tokens",
    "cached_tokens",
    "cacheRead",
    "cacheReadTokens",
    "cacheReadInputTokens",
    "input_tokens_cache_read",
    "prompt_tokens_details/cached_tokens",
    "input_tokens_details/cached_tokens",
    "input_token_details/cache_read",
    "input_cache_read",
    "prompt_details.cache_read",
    "cachedContentTokenCount",
    "cached",
    "cachedInputTokens",
    "input_cached_tokens",
    "cache/read",
    "original_usage.prompt_tokens_details.cached_tokens",
];
const WRITE: &[&str] = &[
    "cache_write_input_tokens",
    "cache_creation_input_tokens",
    "cache_write_tokens",
    "cacheWrite",
    "cacheWriteTokens",
    "cacheCreationInputTokens",
    "input_tokens_cache_write",
    "input_token_details/cache_creation",
    "input_cache_creation",
    "input_cache_write",
    "prompt_details.cache_write",
    "prompt_tokens_details/cache_write_tokens",
    "cache/write",
];
const REASONING: &[&str] = &[
    "reasoning_output_tokens",
    "reasoning_tokens",
    "thinking_tokens",
    "reasoningTokens",
    "reasoning",
    "thoughts",
    "thoughtsTokenCount",
    "completion_tokens_details/reasoning_tokens",
    "output_tokens_details/reasoning_tokens",
    "output_tokens_details/thinking_tokens",
    "output_token_details/reasoning",
    "output_reasoning",
    "completion_details.reasoning",
];

/// Reads a usage object of any spelling.
pub fn read(value: &Value, cached: Cached) -> Usage {
    let (cache_read, cache_write) = (count(value, READ), count(value, WRITE));
    let mut input = count(value, INPUT);
    if cached == Cached::Inside {
        let inside = cache_read.unwrap_or(0).saturating_add(cache_write.unwrap_or(0));
        input = input.map(|input| input.saturating_sub(inside));
    }
    let reasoning = count(value, REASONING);
    let mut output = count(value, OUTPUT);
    // Gemini counts thoughts beside the answer.
    if ["thoughtsTokenCount", "thoughts"].iter().any(|key| value.get(key).is_some()) {
        output = output.map(|output| output.saturating_add(reasoning.unwrap_or(0)));
    }
    Usage { input, output, cache_read, cache_write, reasoning }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_cache_is_counted_once() {
        for (value, cached, expected) in [
            (json!({"input_tokens": 10, "cached_input_tokens": 4, "output_tokens": 2}), Cached::Inside, [6, 2, 4]),
            (json!({"input": 10, "output": 2, "cacheRead": 4, "cacheWrite": 0}), Cached::Beside, [10, 2, 4]),
            (json!({"prompt_tokens": 10, "completion_tokens": 2, "cached_tokens": 4}), Cached::Inside, [6, 2, 4]),
            (json!({"input": 10, "output": 2, "cached": 4, "thoughts": 5, "tool": 0}), Cached::Inside, [6, 7, 4]),
            (json!({"input": 3, "output": 1, "prompt_details.cache_read": 9}), Cached::Inside, [0, 1, 9]),
            (json!({"inputTokens": "7", "outputTokens": 1.0, "cachedInputTokens": 0}), Cached::Inside, [7, 1, 0]),
        ] {
            let usage = read(&value, cached);
            assert_eq!([usage.input, usage.output, usage.cache_read].map(Option::unwrap), expected, "{value}");
        }
        assert_eq!(read(&json!({"input_tokens": -1}), Cached::Inside), Usage::default());
        assert_eq!(read(&json!(null), Cached::Beside), Usage::default());
    }
}
