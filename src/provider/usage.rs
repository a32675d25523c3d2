//! Token counts of every provider, brought to the one rule of [`Usage`]: nothing is counted twice.

use serde_json::{Map, Value, json};

use crate::trace::Usage;

fn count(value: &Value, path: &[&str]) -> Option<u64> {
    path.iter().try_fold(value, |value, key| value.get(key)).and_then(Value::as_u64)
}

fn first(value: &Value, paths: &[&[&str]]) -> Option<u64> {
    paths.iter().find_map(|path| count(value, path))
}

/// What is left of `whole` without the parts that are counted by themselves.
fn without(whole: Option<u64>, parts: [Option<u64>; 2]) -> Option<u64> {
    whole.map(|whole| parts.into_iter().flatten().fold(whole, u64::saturating_sub))
}

fn plus(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
    }
}

/// OpenAI, both APIs: the input count includes what the cache gave and took, the output count includes reasoning.
/// Some compatible servers leave reasoning out of the output; their total gives them away.
pub fn read_openai(raw: &Value) -> Usage {
    let whole = first(raw, &[&["prompt_tokens"], &["input_tokens"]]);
    let cache_read = first(
        raw,
        &[
            &["prompt_tokens_details", "cached_tokens"],
            &["input_tokens_details", "cached_tokens"],
            &["prompt_cache_hit_tokens"],
        ],
    );
    let cache_write = first(
        raw,
        &[&["prompt_tokens_details", "cache_write_tokens"], &["input_tokens_details", "cache_write_tokens"]],
    );
    let reasoning = first(
        raw,
        &[&["completion_tokens_details", "reasoning_tokens"], &["output_tokens_details", "reasoning_tokens"]],
    );
    let mut output = first(raw, &[&["completion_tokens"], &["output_tokens"]]);
    let total = count(raw, &["total_tokens"]);
    if reasoning.is_some_and(|count| count > 0) && total.is_some() && total == plus(plus(whole, output), reasoning) {
        output = plus(output, reasoning);
    }
    Usage { input: without(whole, [cache_read, cache_write]), output, cache_read, cache_write, reasoning }
}

/// Anthropic: the counts stand side by side already.
pub fn read_anthropic(raw: &Value) -> Usage {
    Usage {
        input: count(raw, &["input_tokens"]),
        output: count(raw, &["output_tokens"]),
        cache_read: count(raw, &["cache_read_input_tokens"]),
        cache_write: count(raw, &["cache_creation_input_tokens"]),
        reasoning: first(raw, &[&["output_tokens_details", "thinking_tokens"], &["thinking_tokens"]]),
    }
}

/// Gemini: the prompt includes what the cache gave, what tools put into it stands beside, and so do thoughts.
pub fn read_gemini(raw: &Value) -> Usage {
    let cache_read = count(raw, &["cachedContentTokenCount"]);
    let reasoning = count(raw, &["thoughtsTokenCount"]);
    let prompt = plus(count(raw, &["promptTokenCount"]), count(raw, &["toolUsePromptTokenCount"]));
    let output = plus(count(raw, &["candidatesTokenCount"]), reasoning);
    Usage { input: without(prompt, [cache_read, None]), output, cache_read, cache_write: None, reasoning }
}

/// Embeddings and rerank: there is only input.
pub fn read_embeddings(raw: &Value) -> Usage {
    let paths: &[&[&str]] = &[
        &["prompt_tokens"],
        &["input_tokens"],
        &["billed_units", "input_tokens"],
        &["tokens", "input_tokens"],
        &["promptTokenCount"],
        &["total_tokens"],
    ];
    Usage { input: first(raw, paths), ..Usage::default() }
}

fn put(object: &mut Map<String, Value>, key: &str, value: Option<u64>) {
    if let Some(value) = value {
        object.insert(key.to_owned(), value.into());
    }
}

/// The usage object as OpenAI writes it; null when nothing is known. `chat` tells the older names from the newer.
pub fn write_openai(usage: &Usage, chat: bool) -> Value {
    if !usage.is_known() {
        return Value::Null;
    }
    let names = if chat { ["prompt", "completion"] } else { ["input", "output"] };
    let whole = usage
        .input
        .map(|input| [usage.cache_read, usage.cache_write].into_iter().flatten().fold(input, u64::saturating_add));
    let mut object = Map::new();
    put(&mut object, &format!("{}_tokens", names[0]), whole);
    put(&mut object, &format!("{}_tokens", names[1]), usage.output);
    put(&mut object, "total_tokens", plus(whole, usage.output));
    let mut details = Map::new();
    put(&mut details, "cached_tokens", usage.cache_read);
    put(&mut details, "cache_write_tokens", usage.cache_write);
    object.insert(format!("{}_tokens_details", names[0]), Value::Object(details));
    let mut details = Map::new();
    put(&mut details, "reasoning_tokens", usage.reasoning);
    object.insert(format!("{}_tokens_details", names[1]), Value::Object(details));
    Value::Object(object)
}

/// The usage object as Anthropic writes it.
pub fn write_anthropic(usage: &Usage) -> Value {
    let mut object = Map::new();
    put(&mut object, "input_tokens", usage.input);
    put(&mut object, "cache_creation_input_tokens", usage.cache_write);
    put(&mut object, "cache_read_input_tokens", usage.cache_read);
    put(&mut object, "output_tokens", usage.output);
    if let Some(reasoning) = usage.reasoning {
        object.insert("output_tokens_details".to_owned(), json!({ "thinking_tokens": reasoning }));
    }
    Value::Object(object)
}

/// The usage object as Gemini writes it; null when nothing is known. What was written to a cache has no place in it.
pub fn write_gemini(usage: &Usage) -> Value {
    if !usage.is_known() {
        return Value::Null;
    }
    let prompt = usage.input.map(|input| input.saturating_add(usage.cache_read.unwrap_or(0)));
    let mut object = Map::new();
    put(&mut object, "promptTokenCount", prompt);
    put(&mut object, "cachedContentTokenCount", usage.cache_read);
    put(&mut object, "candidatesTokenCount", without(usage.output, [usage.reasoning, None]));
    put(&mut object, "thoughtsTokenCount", usage.reasoning);
    put(&mut object, "totalTokenCount", plus(prompt, usage.output));
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(counts: [i64; 5]) -> Usage {
        let [input, output, cache_read, cache_write, reasoning] = counts.map(|count| u64::try_from(count).ok());
        Usage { input, output, cache_read, cache_write, reasoning }
    }

    #[test]
    fn nothing_is_counted_twice() {
        type Read = fn(&Value) -> Usage;
        let (openai, anthropic, gemini): (Read, Read, Read) = (read_openai, read_anthropic, read_gemini);
        let cases = [
            (openai, json!({ "prompt_tokens": 10, "completion_tokens": 3 }), [10, 3, -1, -1, -1]),
            (
                openai,
                json!({ "prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 19,
                    "prompt_tokens_details": { "cached_tokens": 6, "cache_write_tokens": 1 },
                    "completion_tokens_details": { "reasoning_tokens": 5 } }),
                [3, 9, 6, 1, 5],
            ),
            // A total that only adds up with the reasoning beside the output.
            (
                openai,
                json!({ "prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 19,
                    "completion_tokens_details": { "reasoning_tokens": 5 } }),
                [10, 9, -1, -1, 5],
            ),
            (
                openai,
                json!({ "input_tokens": 10, "output_tokens": 2, "input_tokens_details": { "cached_tokens": 4 } }),
                [6, 2, 4, -1, -1],
            ),
            (
                openai,
                json!({ "prompt_tokens": 1, "prompt_tokens_details": { "cached_tokens": 4 } }),
                [0, -1, 4, -1, -1],
            ),
            (openai, json!({ "prompt_tokens": "ten" }), [-1; 5]),
            (
                anthropic,
                json!({ "input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 100,
                    "cache_creation_input_tokens": 50 }),
                [3, 2, 100, 50, -1],
            ),
            (
                gemini,
                json!({ "promptTokenCount": 71, "candidatesTokenCount": 33, "thoughtsTokenCount": 93,
                    "cachedContentTokenCount": 70, "toolUsePromptTokenCount": 2 }),
                [3, 126, 70, -1, 93],
            ),
            (gemini, Value::Null, [-1; 5]),
        ];
        for (read, raw, expected) in cases {
            assert_eq!(read(&raw), usage(expected), "{raw}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for counts in [[7, 3, 5, 2, 1], [7, 3, -1, -1, -1], [0, 0, 0, 0, 0], [9, 4, 0, 0, 0]] {
            let all = usage(counts);
            assert_eq!(read_openai(&write_openai(&all, true)), all);
            assert_eq!(read_openai(&write_openai(&all, false)), all);
            assert_eq!(read_anthropic(&write_anthropic(&all)), all);
            let all = Usage { cache_write: None, ..all };
            assert_eq!(read_gemini(&write_gemini(&all)), all);
        }
        assert_eq!(write_openai(&Usage::default(), true), Value::Null);
    }
}
