//! The JSON Schema of a suite, graders and all, so that editors complete and check it.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{KINDS, Kind};
use crate::suite::Suite;

/// The schema that `schemas/suite.schema.json` holds.
pub fn suite_schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let graders: Vec<Value> = KINDS.iter().map(|kind| one(kind, (kind.schema)(&mut generator).to_value())).collect();
    let mut root = generator.into_root_schema_for::<Suite>().to_value();
    root["title"] = json!("A holdback suite");
    root["$defs"]["GraderSpec"] = json!({
        "description": "A grader: its type, what the type takes, and label, required and weight.",
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>()}},
        "oneOf": graders,
    });
    root
}

/// A grader's schema with the keys all graders have.
fn one(kind: &Kind, mut schema: Value) -> Value {
    let no_properties = || Value::Object(Map::new());
    let map = match &mut schema {
        Value::Object(map) => map,
        _ => return schema,
    };
    map.insert("description".to_owned(), json!(format!("{} For example: {}", kind.about, kind.example)));
    let properties = map.entry("properties").or_insert_with(no_properties);
    properties["type"] = json!({"const": kind.name});
    properties["label"] = json!({"type": "string", "description": "A name of its own, unique in the task."});
    properties["required"] = json!({"type": "boolean", "default": true,
        "description": "Whether the trial can only pass when this passes."});
    properties["weight"] = json!({"type": "number", "minimum": 0, "default": 1,
        "description": "How much it moves the score; never the verdict."});
    let required = map.entry("required").or_insert_with(|| json!([]));
    if let Value::Array(names) = required {
        names.insert(0, json!("type"));
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `HOLDBACK_BLESS=1 cargo test suite_schema` writes the file anew.
    #[test]
    fn the_suite_schema_in_the_repository_is_the_one_the_types_make() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/suite.schema.json");
        let made = serde_json::to_string_pretty(&suite_schema()).unwrap() + "\n";
        if option_env!("HOLDBACK_BLESS").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == made, "schemas/suite.schema.json is old: run the test with HOLDBACK_BLESS=1 to write it anew");
    }

    #[test]
    fn the_examples_of_all_graders_satisfy_the_schema() {
        let schema = suite_schema();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for kind in KINDS {
            let grader: Value = crate::suite::yaml(kind.example).unwrap();
            let suite = json!({"suite": "s", "target": {"prompt": {}}, "models": ["mock/echo"],
                "graders": [grader], "tasks": [{"id": "a"}]});
            let errors: Vec<String> = validator.iter_errors(&suite).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{}: {errors:?}", kind.name);
        }
    }
}
