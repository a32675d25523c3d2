//! Keeping the shape of a body without what it says.

use serde_json::Value;

use super::scan::Scanner;

/// Fields whose text is a label of the wire format's own and not something said.
const LABELS: &[&str] = &[
    "call_id",
    "cache_control",
    "encoding_format",
    "event",
    "finishReason",
    "finish_reason",
    "id",
    "index",
    "item_id",
    "model",
    "modelVersion",
    "name",
    "object",
    "phase",
    "previous_response_id",
    "responseId",
    "role",
    "service_tier",
    "status",
    "stop_reason",
    "tool_call_id",
    "tool_use_id",
    "type",
];

/// A JSON value with every text that was said replaced by its length and a keyed hash.
pub fn value(scanner: &Scanner, value: &mut Value, label: bool) {
    match value {
        Value::String(text) if !label => *text = shape(scanner, text.as_bytes()),
        Value::Array(items) => items.iter_mut().for_each(|item| self::value(scanner, item, label)),
        Value::Object(map) => {
            for (key, item) in map {
                self::value(scanner, item, LABELS.contains(&key.as_str()) && item.is_string());
            }
        }
        _ => {}
    }
}

/// What stands for a text: its length and a hash that is the same for the same text in the same store.
pub fn shape(scanner: &Scanner, text: &[u8]) -> String {
    if text.is_empty() { String::new() } else { format!("[hollow:{}:{}]", text.len(), scanner.hash(text, 6)) }
}
