//! The text is exactly this.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::text::{Subject, json};
use super::{Config, ConfigError, Evidence, Graded, Grader, Need, clip};

/// The text, or the JSON in it, is exactly this.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Equals {
    /// What it should be; the task's `expected` when left out. A text is compared as text, anything else as JSON.
    #[serde(default)]
    to: Option<Value>,
    #[serde(default)]
    of: Subject,
    #[serde(default)]
    ignore_case: bool,
}

impl Config for Equals {
    const NAME: &'static str = "equals";
    const ABOUT: &'static str = "The text is exactly this, but for white space at its ends.";
    const EXAMPLE: &'static str = "{type: equals, to: \"42\", ignore_case: true}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        Ok(Box::new(self))
    }
}

impl Grader for Equals {
    fn needs(&self, _: &Evidence) -> Vec<Need> {
        self.of.needs()
    }

    fn grade(&self, evidence: &Evidence) -> Graded {
        let Some(want) = self.to.as_ref().or(evidence.expected.as_ref()) else {
            return Graded::abstained("neither the grader nor the task says what is expected");
        };
        let text = match self.of.text(evidence) {
            Ok(text) => text,
            Err(graded) => return graded,
        };
        let text = text.trim();
        let (same, shown) = match want {
            Value::String(want) => {
                let want = want.trim();
                let same = want == text || self.ignore_case && want.to_lowercase() == text.to_lowercase();
                (same, want.to_owned())
            }
            want => (json(text).as_ref() == Some(want), want.to_string()),
        };
        match same {
            true => Graded::pass(),
            false => Graded::fail(format!("{} should be {:?}, it is {:?}", self.of.name(), clip(&shown), clip(text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::{grade, graded};
    use super::*;

    #[test]
    fn texts_and_json_are_compared() {
        for (config, answer, pass) in [
            (json!({"type": "equals", "to": "42"}), " 42\n", Some(true)),
            (json!({"type": "equals", "to": "Yes"}), "yes", Some(false)),
            (json!({"type": "equals", "to": "Yes", "ignore_case": true}), "yES", Some(true)),
            (json!({"type": "equals", "to": {"a": [1]}}), "```json\n{ \"a\": [1] }\n```", Some(true)),
            (json!({"type": "equals", "to": 42}), "43", Some(false)),
            (json!({"type": "equals"}), "x", None),
        ] {
            assert_eq!(graded(config.clone(), answer).grade.pass(), pass, "{config} {answer}");
        }
        let mut evidence = Evidence::new("t", "Paris");
        evidence.expected = Some(json!("Paris"));
        assert_eq!(grade(json!({"type": "equals"}), &evidence).grade.pass(), Some(true));
        evidence.expected = Some(json!("Rome"));
        let record = grade(json!({"type": "equals"}), &evidence);
        assert_eq!(record.reasons, ["the answer should be \"Rome\", it is \"Paris\""]);
    }
}
