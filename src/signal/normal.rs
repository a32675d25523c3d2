//! Takes out of arguments and results what differs from run to run though nothing happened.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// Clocks, durations, process numbers, addresses, chunk ids. Percentages and counts stay: they are progress.
static VOLATILE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?x)
        \b\d{4}-\d{2}-\d{2}(?:[T\ ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?
        | \b\d{1,2}:\d{2}:\d{2}(?:[.,]\d+)?\b
        | \b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\ {1,2}\d{1,2}\ \d{2}:\d{2}\b
        | \b\d+(?:\.\d+)?\ ?(?:ns|us|µs|ms|s|sec|secs|second|seconds)\b
        | \b(?:Chunk\ ID|chunk_id):\ [0-9a-f]{4,}
        | \b(?i:pgid|pid|process\ group\ pgid|process\ id)\b[:=\ ]{1,3}\d+
        | \b0x[0-9a-fA-F]{4,}\b
        ",
    )
    .expect("a pattern of our own, held by the tests")
});

/// A tool result without what is different every time.
pub fn result(text: &str) -> Cow<'_, str> {
    VOLATILE.replace_all(text, "~")
}

/// Arguments as text: keys sorted, so that spelling them in another order changes nothing.
pub fn arguments(arguments: &Value) -> String {
    match arguments {
        // Cut-off or malformed JSON is kept as the text it is; well-formed JSON in a string is read first.
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => sorted(&value),
            _ => text.clone(),
        },
        value => sorted(value),
    }
}

/// Compact JSON with its keys in order.
fn sorted(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            let fields = entries.into_iter().map(|(key, value)| format!("{key:?}:{}", sorted(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(sorted).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_changes_at_every_run_is_gone_and_progress_stays() {
        let same = [
            ("Chunk ID: 11caf0\nWall time: 0.0000 seconds\nok", "Chunk ID: 9f7061\nWall time: 0.0513 seconds\nok"),
            ("[2026-11-21T11:27:03.123Z] pending", "[2026-11-21T11:28:44Z] pending"),
            ("-rw-r--r-- 1 a a 3 Nov 21 11:27 x", "-rw-r--r-- 1 a a 3 Nov 21 11:30 x"),
            ("Process Group PGID: 4711", "Process Group PGID: 4799"),
            ("panic at 0x7ffe01, 12 ms", "panic at 0x7ffe99, 9.5 ms"),
        ];
        for (one, other) in same {
            assert_eq!(result(one), result(other));
        }
        for (one, other) in [("45%", "46%"), ("12 of 60 done", "13 of 60 done"), ("line 3", "line 4")] {
            assert_ne!(result(one), result(other));
        }
    }

    #[test]
    fn arguments_are_the_same_in_any_order_and_as_text() {
        let one = json!({"path": "a", "range": {"from": 1, "to": 2}});
        let other = json!(r#"{ "range": {"to": 2, "from": 1}, "path": "a" }"#);
        assert_eq!(arguments(&one), arguments(&other));
        assert_ne!(arguments(&one), arguments(&json!({"path": "b"})));
        assert_eq!(arguments(&json!("{\"cmd\": \"ls")), "{\"cmd\": \"ls");
    }
}
