//! What a JSON value means, and a hash of it, blind to key order, spacing and cache marks.

use serde_json::Value;

use super::ids::BlockId;

/// A JSON value with its keys sorted, written compactly, `cache_control` members left out at every depth.
pub fn normal_bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

/// Names a JSON value by its [`normal_bytes`].
pub fn normal_hash(value: &Value) -> BlockId {
    BlockId::of([&normal_bytes(value)[..]])
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().filter(|(key, _)| *key != "cache_control").collect();
            members.sort_by_key(|(key, _)| *key);
            out.push(b'{');
            for (at, (key, member)) in members.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(Value::from(key.as_str()).to_string().as_bytes());
                out.push(b':');
                write(member, out);
            }
            out.push(b'}');
        }
        scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_and_cache_marks_make_no_difference_and_everything_else_does() {
        let a: Value = serde_json::from_str(r#"{"b":[1,{"x":2,"cache_control":{"type":"e"}}],"a":"t"}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{ "a":"t", "b":[1, {"x":2}], "cache_control":null }"#).unwrap();
        assert_eq!(normal_hash(&a), normal_hash(&b));
        for other in [json!({"a": "t"}), json!({"a": "t", "b": [{"x": 2}, 1]}), json!(null), json!("t")] {
            assert_ne!(normal_hash(&a), normal_hash(&other));
        }
    }
}
