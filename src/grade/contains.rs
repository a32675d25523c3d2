//! The text contains these words, or none of those.

use schemars::JsonSchema;
use serde::Deserialize;

use super::text::{Subject, Texts};
use super::{Config, ConfigError, Evidence, Graded, Grader, Need, clip};

/// The text contains all of these, any of those, none of the others.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Contains {
    /// Every one of these.
    #[serde(default)]
    all: Texts,
    /// At least one of these.
    #[serde(default)]
    any: Texts,
    /// Not a single one of these.
    #[serde(default)]
    none: Texts,
    #[serde(default)]
    of: Subject,
    #[serde(default)]
    ignore_case: bool,
}

impl Config for Contains {
    const NAME: &'static str = "contains";
    const ABOUT: &'static str = "The text contains all of these, any of those, none of the others.";
    const EXAMPLE: &'static str = "{type: contains, all: [refund, A-17], none: [sorry], ignore_case: true}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        if self.all.0.is_empty() && self.any.0.is_empty() && self.none.0.is_empty() {
            return Err(ConfigError::new("there is nothing to look for").help("give it all:, any: or none:"));
        }
        Ok(Box::new(self))
    }
}

impl Grader for Contains {
    fn needs(&self, _: &Evidence) -> Vec<Need> {
        self.of.needs()
    }

    fn grade(&self, evidence: &Evidence) -> Graded {
        let text = match self.of.text(evidence) {
            Ok(text) => text,
            Err(graded) => return graded,
        };
        let fold = |text: &str| if self.ignore_case { text.to_lowercase() } else { text.to_owned() };
        let text = fold(&text);
        let has = |word: &&String| text.contains(&fold(word));
        let name = self.of.name();
        let mut faults = Vec::new();
        for word in self.all.0.iter().filter(|word| !has(word)) {
            faults.push(format!("{name} lacks {:?}", clip(word)));
        }
        if !self.any.0.is_empty() && !self.any.0.iter().any(|word| has(&word)) {
            faults.push(format!("{name} has none of {}", clip(&format!("{:?}", self.any.0))));
        }
        for word in self.none.0.iter().filter(has) {
            faults.push(format!("{name} contains {:?}", clip(word)));
        }
        Graded::faults(faults, self.all.0.len() + usize::from(!self.any.0.is_empty()) + self.none.0.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::graded;
    use crate::trial::Grade;

    #[test]
    fn all_any_and_none() {
        let config = json!({"type": "contains", "all": ["a", "b"], "any": ["x", "y"], "none": "z"});
        for (answer, score) in
            [("a b x", 1.0), ("a x", 0.75), ("a b", 0.75), ("a b y z", 0.75), ("z", 0.0), ("A B X", 0.25)]
        {
            let pass = score >= 1.0;
            assert_eq!(graded(config.clone(), answer).grade, Grade::Scored { score, pass }, "{answer}");
        }
        let config = json!({"type": "contains", "all": ["ÄPFEL"], "ignore_case": true});
        assert_eq!(graded(config, "drei äpfel").grade, Grade::of(true));
    }

    #[test]
    fn with_nothing_to_look_for_it_is_refused() {
        let spec = crate::suite::GraderSpec(json!({"type": "contains"}));
        let error = super::super::Bound::compile(&spec, &Default::default()).unwrap_err().to_string();
        assert!(error.contains("all:, any: or none:"), "{error}");
    }
}
