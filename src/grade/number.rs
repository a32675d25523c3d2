//! The number in the text is the right one, give or take.

use std::sync::LazyLock;

use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::text::Subject;
use super::{Config, ConfigError, Evidence, Graded, Grader, Need, clip};

static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?")
        .expect("a pattern of our own, held by the tests")
});

/// The number in the text is the right one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Number {
    /// The right number; the task's `expected` when neither this nor min nor max is given.
    #[serde(default)]
    equals: Option<f64>,
    /// How far off it may be.
    #[serde(default)]
    tolerance: f64,
    /// How far off it may be, as a share of the right number.
    #[serde(default)]
    relative: f64,
    #[serde(default)]
    min: Option<f64>,
    #[serde(default)]
    max: Option<f64>,
    /// Which number of the text counts.
    #[serde(default)]
    pick: Pick,
    #[serde(default)]
    of: Subject,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Pick {
    First,
    #[default]
    Last,
    /// There must be exactly one.
    Only,
}

impl Config for Number {
    const NAME: &'static str = "number";
    const ABOUT: &'static str = "The number in the text is the right one, give or take.";
    const EXAMPLE: &'static str = "{type: number, equals: 3.14, tolerance: 0.01}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        if self.tolerance < 0.0 || self.relative < 0.0 {
            return Err(ConfigError::new("tolerance and relative can't be below 0"));
        }
        Ok(Box::new(self))
    }
}

impl Grader for Number {
    fn needs(&self, _: &Evidence) -> Vec<Need> {
        self.of.needs()
    }

    fn grade(&self, evidence: &Evidence) -> Graded {
        let bounded = self.min.is_some() || self.max.is_some();
        let expected = evidence.expected.as_ref().filter(|_| !bounded).and_then(of_value);
        let want = self.equals.or(expected);
        if want.is_none() && !bounded {
            return Graded::abstained("neither the grader nor the task says which number is right");
        }
        let text = match self.of.text(evidence) {
            Ok(text) => text,
            Err(graded) => return graded,
        };
        let found: Vec<f64> = NUMBER.find_iter(&text).filter_map(|found| read(found.as_str())).collect();
        let number = match (self.pick, found.as_slice()) {
            (_, []) => return Graded::fail(format!("{} has no number: {:?}", self.of.name(), clip(text.trim()))),
            (Pick::Only, [_, _, ..]) => return Graded::fail(format!("{} has {} numbers", self.of.name(), found.len())),
            (Pick::First, [first, ..]) => *first,
            (_, [.., last]) => *last,
        };
        let mut faults = Vec::new();
        if let Some(want) = want {
            let room = self.tolerance.max(self.relative * want.abs());
            // Decimal fractions are off by a hair in binary: 0.1 + 0.2 counts as 0.3.
            let hair = 1e-12 * want.abs().max(number.abs());
            if (number - want).abs() > room + hair {
                faults.push(format!("the number should be {want}, it is {number}"));
            }
        }
        if let Some(min) = self.min.filter(|min| number < *min) {
            faults.push(format!("{number} is below {min}"));
        }
        if let Some(max) = self.max.filter(|max| number > *max) {
            faults.push(format!("{number} is above {max}"));
        }
        let checks = faults.len();
        Graded::faults(faults, checks)
    }
}

fn of_value(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => read(text.trim()),
        _ => None,
    }
}

fn read(text: &str) -> Option<f64> {
    text.replace(',', "").parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::{grade, graded};
    use super::*;

    #[test]
    fn numbers_are_found_and_compared() {
        for (config, answer, pass) in [
            (json!({"type": "number", "equals": 42}), "6 times 7 is 42.", Some(true)),
            (json!({"type": "number", "equals": 6, "pick": "first"}), "6 times 7 is 42.", Some(true)),
            (json!({"type": "number", "equals": 42, "pick": "only"}), "6 times 7 is 42.", Some(false)),
            (json!({"type": "number", "equals": 1234567.5}), "1,234,567.5", Some(true)),
            (json!({"type": "number", "equals": -0.5}), "-.5", Some(true)),
            (json!({"type": "number", "equals": 1e6}), "1e6", Some(true)),
            (json!({"type": "number", "equals": 2.5, "tolerance": 0.01}), "2.51", Some(true)),
            (json!({"type": "number", "equals": 2.5, "tolerance": 0.01}), "2.52", Some(false)),
            (json!({"type": "number", "equals": 100, "relative": 0.05}), "104", Some(true)),
            (json!({"type": "number", "min": 1, "max": 3}), "4", Some(false)),
            (json!({"type": "number", "min": 1}), "none", Some(false)),
            (json!({"type": "number"}), "4", None),
        ] {
            assert_eq!(graded(config.clone(), answer).grade.pass(), pass, "{config} {answer}");
        }
        let mut evidence = Evidence::new("t", "It is 7");
        evidence.expected = Some(json!("7"));
        assert_eq!(grade(json!({"type": "number"}), &evidence).grade.pass(), Some(true));
    }
}
