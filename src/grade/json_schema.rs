//! The JSON in the text satisfies a JSON Schema.

use jsonschema::Validator;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::text::{Subject, fixture, json};
use super::{Config, ConfigError, Evidence, Graded, Grader, Need, clip};

/// The JSON in the text satisfies a JSON Schema.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonSchemaCheck {
    /// The schema itself.
    #[serde(default)]
    schema: Option<Value>,
    /// A file with the schema, beside the suite.
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    of: Subject,
}

#[derive(Debug)]
struct Compiled {
    config: JsonSchemaCheck,
    validator: Option<Validator>,
}

impl Config for JsonSchemaCheck {
    const NAME: &'static str = "json_schema";
    const ABOUT: &'static str = "The JSON in the text satisfies a JSON Schema.";
    const EXAMPLE: &'static str = "{type: json_schema, schema: {type: object, required: [order]}}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        let validator = match (&self.schema, &self.file) {
            (Some(schema), None) => Some(compile(schema).map_err(|why| ConfigError::at("schema", why))?),
            (None, Some(_)) => None,
            _ => return Err(ConfigError::new("it takes either schema: or file:, and one of them is needed")),
        };
        Ok(Box::new(Compiled { config: self, validator }))
    }
}

pub(super) fn compile(schema: &Value) -> Result<Validator, String> {
    jsonschema::validator_for(schema).map_err(|error| format!("not a JSON Schema: {error}"))
}

/// What is wrong with a value, each fault with its place.
pub(super) fn faults(validator: &Validator, value: &Value) -> Vec<String> {
    let place = |path: String| if path.is_empty() { String::new() } else { format!(" at {path}") };
    let errors = validator.iter_errors(value).take(5);
    errors.map(|error| format!("{}{}", clip(&error.to_string()), place(error.instance_path().to_string()))).collect()
}

impl Grader for Compiled {
    fn needs(&self, _: &Evidence) -> Vec<Need> {
        let file = self.config.file.iter().map(|path| Need::Fixture { path: path.clone() });
        self.config.of.needs().into_iter().chain(file).collect()
    }

    fn grade(&self, evidence: &Evidence) -> Graded {
        let text = match self.config.of.text(evidence) {
            Ok(text) => text,
            Err(graded) => return graded,
        };
        let Some(value) = json(&text) else {
            return Graded::fail(format!("{} holds no JSON: {:?}", self.config.of.name(), clip(text.trim())));
        };
        let read;
        let validator = match (&self.validator, &self.config.file) {
            (Some(validator), _) => validator,
            (None, Some(path)) => {
                let text = match fixture(path, evidence) {
                    Ok(text) => text,
                    Err(graded) => return graded,
                };
                let schema = serde_json::from_str(text).map_err(|error| error.to_string());
                read = match schema.and_then(|schema| compile(&schema)) {
                    Ok(validator) => validator,
                    Err(why) => return Graded::broken(format!("{path}: {why}")),
                };
                &read
            }
            (None, None) => return Graded::broken("there is no schema"),
        };
        let faults = faults(validator, &value);
        let checks = faults.len();
        Graded::faults(faults, checks)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::{grade, graded};
    use super::*;
    use crate::grade::Got;

    #[test]
    fn json_in_the_answer_is_held_against_the_schema() {
        let config = json!({"type": "json_schema", "schema": {"type": "object", "required": ["n"],
            "properties": {"n": {"type": "integer", "minimum": 1}}}});
        for (answer, pass) in [
            ("{\"n\": 2}", true),
            ("Here you are:\n```json\n{\"n\": 2}\n```\nDone.", true),
            ("The result is {\"n\": 2}, as asked", true),
            ("{\"n\": 0}", false),
            ("{}", false),
            ("no json", false),
        ] {
            assert_eq!(graded(config.clone(), answer).grade.pass(), Some(pass), "{answer}");
        }
        assert!(graded(config, "{\"n\": 0}").reasons[0].ends_with("at /n"));
    }

    #[test]
    fn a_schema_may_stand_in_a_file() {
        let config = json!({"type": "json_schema", "file": "s.json"});
        let mut evidence = Evidence::new("t", "3");
        assert_eq!(grade(config.clone(), &evidence).grade.pass(), None);
        evidence.got =
            vec![(Need::Fixture { path: "s.json".to_owned() }, Got::Text { text: "{\"type\":\"string\"}".to_owned() })];
        assert_eq!(grade(config, &evidence).grade.pass(), Some(false));
    }
}
