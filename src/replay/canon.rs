//! What a message says, without what differs between two identical runs: ids, times, process numbers, temporary names, cache
//! marks, the spelling of content as a string or a list.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::provider;
use crate::trace::{Message, Part, Role, Wire};

/// Times, durations, process numbers, random names, ports, hashes, and the tails of redaction placeholders. Counts and
/// percentages stay: they are what a run is about.
static VOLATILE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?x)
        \b\d{4}-\d{2}-\d{2}(?:[T\ ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\ ?Z|\ ?[+-]\d{2}:?\d{2})?)?
        | \b\d{4}/\d{2}/\d{2}\b
        | \b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,?\ (?:\d{1,2}\ )?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*[\ \d:,UTCGMT]*
        | \b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\ {1,2}\d{1,2}(?:,?\ {1,2}(?:\d{4}|\d{1,2}:\d{2}))?\b
        | \b\d{1,2}:\d{2}:\d{2}(?:[.,]\d+)?(?:\ ?[AP]M)?\b
        | \b\d+(?:\.\d+)?\ ?(?:ns|us|µs|ms|s|sec|secs|second|seconds)\b
        | \b(?i:\w*(?:duration|elapsed)\w*)\x22?\ ?[:=>]\ ?\d+(?:\.\d+)?
        | \b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b
        | \b(?:Chunk\ ID|chunk_id):\ [0-9a-f]{4,}
        | \b(?i:pgid|pid|process\ group\ pgid|process\ id|session\ id|nonce|cch)\b[:=\ ]{1,3}[\w-]+
        | \b0x[0-9a-fA-F]{4,}\b
        | \b(?:toolu|call|chatcmpl|resp|msg|fc|rs|req|item)_[A-Za-z0-9_-]{6,}\b
        | \b(?:127\.0\.0\.1|localhost|0\.0\.0\.0|\[::1\]):\d{2,5}\b(?:/hb/[0-9a-f]{32})?
        | (?:/private)?(?:/tmp|/var/tmp|/var/folders/\w+/\w+/T)/[^/\s'\x22\\]+
        | \[redacted:[\w-]+:[0-9a-f]+\]
        | \b[0-9a-f]{7,40}\b
        # what `ls -la` says of the folder itself and the one above it
        | (?m:^d[rwxsStT-]{9}[.+@]?\ +\d+\ +\S+\ +\S+\ +\d+\ +\S.{0,16}\ \.\.?$)
        ",
    )
    .expect("a pattern of our own, held by the tests")
});

/// A text without what is different at every run.
pub fn settled(text: &str) -> Cow<'_, str> {
    VOLATILE.replace_all(text, |found: &regex::Captures<'_>| {
        let word = &found[0];
        if word.starts_with("[redacted:") {
            return word.rsplit_once(':').map_or(word, |(kind, _)| kind).to_owned();
        }
        // A bare hash has figures and letters; a plain number or a word like `defaced` stays.
        let bare = word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mixed = word.bytes().any(|byte| byte.is_ascii_digit()) && word.bytes().any(|byte| !byte.is_ascii_digit());
        if bare && !mixed { word.to_owned() } else { "~".to_owned() }
    })
}

/// A hash that is the same in every run of the program.
pub(super) fn mark(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// The mark of a text, settled.
pub(super) fn text_mark(text: &str) -> u64 {
    mark(&settled(text).trim())
}

/// A JSON value as text: keys sorted, strings settled, cache marks and ids left out.
pub(super) fn value_text(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut members: Vec<_> =
                map.iter().filter(|(key, _)| !matches!(key.as_str(), "cache_control" | "id")).collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (key, member) in members {
                out.push_str(key);
                out.push(':');
                write_value(member, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            items.iter().for_each(|item| {
                write_value(item, out);
                out.push(',');
            });
            out.push(']');
        }
        Value::String(text) => {
            out.push('"');
            out.push_str(&settled(text));
            out.push('"');
        }
        // 1 and 1.0 are the same to everyone but a printer.
        Value::Number(number) => match number.as_f64() {
            Some(float) => out.push_str(&float.to_string()),
            None => out.push_str(&number.to_string()),
        },
        other => out.push_str(&other.to_string()),
    }
}

/// Arguments as text: JSON in a string is read first. An id among them is an argument, so it counts.
pub(super) fn arguments_text(arguments: &Value) -> String {
    fn write(value: &Value, out: &mut String) {
        match value {
            Value::Object(map) => {
                let mut members: Vec<_> = map.iter().collect();
                members.sort_unstable_by_key(|(key, _)| *key);
                for (key, member) in members {
                    out.push_str(key);
                    out.push('=');
                    write(member, out);
                    out.push(';');
                }
            }
            other => write_value(other, out),
        }
    }
    let mut out = String::new();
    match arguments {
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => write(&value, &mut out),
            _ => out.push_str(&settled(text)),
        },
        value => write(value, &mut out),
    }
    out
}

/// A message, boiled down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub role: Role,
    pub parts: Vec<SaidPart>,
}

/// A part of it. Ids are only good for finding which call a result answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SaidPart {
    Words(u64),
    Call { id: u64, name: u64, mark: u64 },
    Result { id: u64, name: u64, mark: u64 },
}

/// Reads a block of a request's conversation.
pub(super) fn read_block(wire: Wire, member: &str, raw: &[u8]) -> Vec<Said> {
    provider::block_messages(wire, member, raw).iter().map(said).collect()
}

/// Boils a message down. Reasoning is left out: clients send it back, cut it or drop it as they like.
pub(super) fn said(message: &Message) -> Said {
    let mut parts = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    let flush = |words: &mut Vec<&str>, parts: &mut Vec<SaidPart>| {
        if !words.is_empty() {
            let text = words.join("\n");
            words.clear();
            if !text.trim().is_empty() {
                parts.push(SaidPart::Words(text_mark(&text)));
            }
        }
    };
    for part in &message.parts {
        if let Part::Text { text } | Part::Refusal { text } = part {
            words.push(text);
            continue;
        }
        flush(&mut words, &mut parts);
        match part {
            Part::ToolCall(call) => parts.push(SaidPart::Call {
                id: mark(&call.id),
                name: mark(&call.name),
                mark: mark(&(&call.name, arguments_text(&call.arguments))),
            }),
            Part::ToolResult(result) => parts.push(SaidPart::Result {
                id: mark(&result.id),
                name: mark(&result.name),
                mark: mark(&(text_mark(&result.text), result.is_error)),
            }),
            Part::Other { value } => parts.push(SaidPart::Words(mark(&value_text(value)))),
            Part::Text { .. } | Part::Refusal { .. } | Part::Thinking { .. } => {}
        }
    }
    flush(&mut words, &mut parts);
    Said { role: message.role, parts }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_two_identical_runs_do_not_share_is_settled_and_what_they_do_stays() {
        let same = [
            ("Chunk ID: 11caf0\nWall time: 0.0000 seconds\nok", "Chunk ID: 9f7061\nWall time: 0.0513 seconds\nok"),
            ("-rw-r--r-- 1 a a 3 Nov 21 11:27 x", "-rw-r--r-- 1 a a 3 Nov  2 09:30 x"),
            ("Process Group PGID: 4711", "Process Group PGID: 4799"),
            ("at http://127.0.0.1:4141/v1", "at http://127.0.0.1:39333/v1"),
            ("head is 4f2a91c0e", "head is 9bb1c2d3e"),
            ("session 01a1fdb0-31b1-7270-b026-58da6891e3e2", "session 99a1fdb0-31b1-7270-b026-58da6891e3e0"),
            ("saved to /tmp/tmp.a1B2/out", "saved to /tmp/tmp.zzzz/out"),
            ("key [redacted:openai-key:1f9a03]", "key [redacted:openai-key:88aa11]"),
            ("tool_uses: 3\nduration_ms: 4034</usage>", "tool_uses: 3\nduration_ms: 915</usage>"),
            ("<duration_ms>9796</duration_ms>", "<duration_ms>11380</duration_ms>"),
            ("{\"elapsed_seconds\": 0.5}", "{\"elapsed_seconds\": 12}"),
            ("Today is Sat Nov 21 2026", "Today is Sun Nov 22 2026"),
        ];
        for (one, other) in same {
            assert_eq!(settled(one), settled(other), "{one}");
        }
        for (one, other) in [
            ("45%", "46%"),
            ("12 of 60 done", "13 of 60 done"),
            ("order A-17", "order B-99"),
            ("duration of stay: 3 nights", "duration of stay: 4 nights"),
            ("total 1234567", "total 7654321"),
            ("[redacted:openai-key:1f9a03]", "[redacted:github-token:1f9a03]"),
        ] {
            assert_ne!(settled(one), settled(other), "{one}");
        }
    }

    #[test]
    fn spelling_is_no_difference_and_content_is() {
        let block = |value: Value| read_block(Wire::AnthropicMessages, "messages", value.to_string().as_bytes());
        let one = block(json!({"role": "user", "content": "hi"}));
        let marked =
            json!({"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "e"}}]});
        assert_eq!(one, block(marked));
        assert_ne!(one, block(json!({"role": "user", "content": "ho"})));
        assert_eq!(arguments_text(&json!({"a": 1, "b": "x"})), arguments_text(&json!(r#"{"b": "x", "a": 1.0}"#)));
        assert_ne!(arguments_text(&json!({"id": "A-17"})), arguments_text(&json!({"id": "A-18"})));
    }
}
