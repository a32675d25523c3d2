//! The text matches a regular expression.

use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::text::{Subject, compile};
use super::{Config, ConfigError, Evidence, Graded, Grader, Need, clip};

/// The text matches a regular expression somewhere.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegexMatch {
    /// The expression, in the syntax of Rust's regex crate: linear time, no look-around.
    pattern: String,
    #[serde(default)]
    of: Subject,
    #[serde(default)]
    ignore_case: bool,
    /// How many matches there must be at least.
    #[serde(default = "one")]
    at_least: usize,
    /// How many there may be at most.
    #[serde(default)]
    at_most: Option<usize>,
}

fn one() -> usize {
    1
}

#[derive(Debug)]
struct Compiled {
    config: RegexMatch,
    regex: Regex,
}

impl Config for RegexMatch {
    const NAME: &'static str = "regex";
    const ABOUT: &'static str = "The text matches a regular expression.";
    const EXAMPLE: &'static str = "{type: regex, pattern: \"order [A-Z]-[0-9]+\"}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        let regex = compile(&self.pattern, self.ignore_case).map_err(|error| error.within(["pattern".into()]))?;
        Ok(Box::new(Compiled { config: self, regex }))
    }
}

impl Grader for Compiled {
    fn needs(&self, _: &Evidence) -> Vec<Need> {
        self.config.of.needs()
    }

    fn grade(&self, evidence: &Evidence) -> Graded {
        let text = match self.config.of.text(evidence) {
            Ok(text) => text,
            Err(graded) => return graded,
        };
        let (least, most) = (self.config.at_least, self.config.at_most);
        let enough = most.map_or(least, |most| most + 1);
        let found = self.regex.find_iter(&text).take(enough.max(1)).count();
        let (name, pattern) = (self.config.of.name(), clip(&self.config.pattern));
        match most {
            Some(most) if found > most => Graded::fail(format!("{name} matches /{pattern}/ more than {most} times")),
            _ if found < least => Graded::fail(format!("{name} matches /{pattern}/ {found} of {least} times")),
            _ => Graded::pass(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::graded;

    #[test]
    fn matches_are_counted() {
        for (config, answer, pass) in [
            (json!({"type": "regex", "pattern": "A-\\d+"}), "order A-17", true),
            (json!({"type": "regex", "pattern": "^A"}), "order A-17", false),
            (json!({"type": "regex", "pattern": "ORDER", "ignore_case": true}), "order", true),
            (json!({"type": "regex", "pattern": "a", "at_least": 2}), "a", false),
            (json!({"type": "regex", "pattern": "a", "at_most": 1}), "aa", false),
            (json!({"type": "regex", "pattern": "z", "at_least": 0, "at_most": 0}), "aa", true),
        ] {
            assert_eq!(graded(config.clone(), answer).grade.pass(), Some(pass), "{config} {answer}");
        }
    }
}
