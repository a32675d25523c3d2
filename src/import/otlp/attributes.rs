//! Attributes as OpenTelemetry flattens them (`llm.input_messages.0.message.role`), put together again.

use serde_json::{Map, Value};

/// Steps of a path, at most.
const DEEPEST: usize = 12;
/// Places of a list, at most: an index is a number somebody wrote.
const LONGEST: usize = 4096;

/// Everything under a prefix, nested: numbers in the path are places of lists.
pub fn nested(attributes: &Map<String, Value>, prefix: &str) -> Value {
    if let Some(value) = attributes.get(prefix) {
        return value.clone();
    }
    let mut root = Value::Null;
    for (key, value) in attributes {
        let Some(rest) = key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')) else { continue };
        let steps: Vec<&str> = rest.split('.').collect();
        if steps.len() <= DEEPEST {
            put(&mut root, &steps, value);
        }
    }
    root
}

fn put(at: &mut Value, steps: &[&str], value: &Value) {
    let Some((first, rest)) = steps.split_first() else {
        *at = value.clone();
        return;
    };
    match first.parse::<usize>() {
        Ok(place) if place < LONGEST => {
            if !at.is_array() {
                *at = Value::Array(Vec::new());
            }
            if let Value::Array(list) = at {
                if list.len() <= place {
                    list.resize(place + 1, Value::Null);
                }
                put(&mut list[place], rest, value);
            }
        }
        _ => {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            if let Value::Object(map) = at {
                put(map.entry(*first).or_insert(Value::Null), rest, value);
            }
        }
    }
}

/// The first of these that is a text.
pub fn text<'a>(attributes: &'a Map<String, Value>, keys: &[&str]) -> &'a str {
    keys.iter().find_map(|key| attributes.get(*key)?.as_str()).unwrap_or_default()
}

/// The first of these that is a count.
pub fn count(attributes: &Map<String, Value>, keys: &[&str]) -> Option<u64> {
    keys.iter().find_map(|key| {
        let value = attributes.get(*key)?;
        value
            .as_u64()
            .or_else(|| value.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64))
            .or_else(|| value.as_str()?.parse().ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn flat_keys_become_what_they_were() {
        let Value::Object(flat) = json!({
            "m.0.message.role": "user", "m.0.message.content": "hi", "m.1.message.tool_calls.0.tool_call.id": "c", "mm.0": 1, "m.99999999999.x": 1,
        }) else {
            unreachable!()
        };
        let all = nested(&flat, "m");
        // A number too big for a list makes it an object; what stood there before is gone, and nothing grew.
        assert!(all.is_object() || all[0]["message"]["role"] == "user", "{all}");
        let Value::Object(flat) = json!({ "m.0.message.role": "user", "m.2.x": 1, "n": "[1]" }) else { unreachable!() };
        assert_eq!(nested(&flat, "m"), json!([{ "message": { "role": "user" } }, null, { "x": 1 }]));
        assert_eq!(nested(&flat, "n"), json!("[1]"));
        assert_eq!(nested(&flat, "q"), Value::Null);
    }
}
