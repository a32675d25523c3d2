//! Function calls of Gemini whose arguments come in pieces: each names the place it belongs to by a JSON path.

use serde_json::{Map, Value};

use super::parts::text_of;
use crate::trace::ToolCall;

/// A function call coming in by pieces.
#[derive(Debug, Default)]
pub struct PartialArgs {
    id: String,
    name: String,
    arguments: Value,
}

/// A list is grown to the place a piece names, but not to any length a broken stream may ask for.
const LONGEST_LIST: usize = 10_000;

enum Step {
    Key(String),
    At(usize),
}

impl PartialArgs {
    /// Takes one `functionCall` object.
    pub fn add(&mut self, call: &Value) {
        for (field, key) in [(&mut self.id, "id"), (&mut self.name, "name")] {
            if field.is_empty() {
                field.push_str(text_of(call, key));
            }
        }
        if let Some(args) = call.get("args").filter(|args| args.is_object()) {
            self.arguments = args.clone();
        }
        for piece in call.get("partialArgs").and_then(Value::as_array).into_iter().flatten() {
            let Some(steps) = steps(text_of(piece, "jsonPath")) else { continue };
            let given = ["stringValue", "numberValue", "boolValue", "nullValue"].iter().find_map(|key| piece.get(*key));
            if let Some(place) = place(&mut self.arguments, &steps) {
                match (place, given) {
                    (Value::String(text), Some(Value::String(more))) => text.push_str(more),
                    (_, None) => {}
                    (place, Some(value)) => *place = value.clone(),
                }
            }
        }
    }

    /// The call with what came of its arguments.
    pub fn into_call(self) -> ToolCall {
        let arguments = if self.arguments.is_null() { Value::Object(Map::new()) } else { self.arguments };
        ToolCall { id: self.id, name: self.name, arguments }
    }
}

/// Reads `$.files[0].name` or `$['files'][0]`.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            steps.push(Step::Key(after[..end].to_owned()));
            rest = &after[end..];
        } else {
            let (inside, after) = rest.strip_prefix('[')?.split_once(']')?;
            steps.push(match inside.parse() {
                Ok(at) => Step::At(at),
                Err(_) => Step::Key(inside.trim_matches(['\'', '"']).to_owned()),
            });
            rest = after;
        }
    }
    Some(steps)
}

fn place<'a>(mut value: &'a mut Value, steps: &[Step]) -> Option<&'a mut Value> {
    for step in steps {
        value = match step {
            Step::Key(key) => {
                if value.is_null() {
                    *value = Value::Object(Map::new());
                }
                value.as_object_mut()?.entry(key.as_str()).or_insert(Value::Null)
            }
            Step::At(at) => {
                if value.is_null() {
                    *value = Value::Array(Vec::new());
                }
                let list = value.as_array_mut()?;
                if *at >= list.len() {
                    if *at > LONGEST_LIST {
                        return None;
                    }
                    list.resize(at + 1, Value::Null);
                }
                list.get_mut(*at)?
            }
        };
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pieces_find_their_places() {
        let mut args = PartialArgs::default();
        args.add(&json!({ "name": "write", "id": "c1", "willContinue": true }));
        args.add(&json!({ "partialArgs": [
            { "jsonPath": "$.path", "stringValue": "a/", "willContinue": true },
            { "jsonPath": "$.path", "stringValue": "b" },
            { "jsonPath": "$.lines[1].n", "numberValue": 7 },
            { "jsonPath": "$['ok']", "boolValue": true },
            { "jsonPath": "$.lines[99999999]", "boolValue": true },
            { "jsonPath": "nonsense", "boolValue": true },
            { "jsonPath": "$.path.deeper", "boolValue": true },
        ] }));
        let arguments = json!({ "path": "a/b", "lines": [null, { "n": 7 }], "ok": true });
        assert_eq!(args.into_call(), ToolCall { id: "c1".into(), name: "write".into(), arguments });
    }
}
