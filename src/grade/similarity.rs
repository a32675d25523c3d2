//! The text is like another, by a share from 0 to 1.

use schemars::JsonSchema;
use serde::Deserialize;
use similar::TextDiff;

use super::text::Subject;
use super::{Config, ConfigError, Evidence, Graded, Grader, Need};
use crate::suite::distance;
use crate::trial::Grade;

/// Comparing takes time with the product of both lengths, so texts beyond this are not compared letter by letter.
const MOST: usize = 20_000;

/// The text is like another.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Similarity {
    /// The other text; the task's `expected` when left out.
    #[serde(default)]
    to: Option<String>,
    /// The least share of likeness that passes, from 0 to 1.
    #[serde(default = "most")]
    at_least: f64,
    /// What is compared.
    #[serde(default)]
    by: By,
    #[serde(default)]
    of: Subject,
    #[serde(default)]
    ignore_case: bool,
}

fn most() -> f64 {
    0.8
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum By {
    /// Words both have in the same order.
    #[default]
    Words,
    /// Letters both have in the same order.
    Letters,
    /// One minus the edits from one to the other, as a share of the longer one.
    Edits,
}

impl Config for Similarity {
    const NAME: &'static str = "similarity";
    const ABOUT: &'static str = "The text is like another, by words, letters or edits.";
    const EXAMPLE: &'static str = "{type: similarity, to: \"the order was refunded\", at_least: 0.7}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        if !(0.0..=1.0).contains(&self.at_least) {
            return Err(ConfigError::at("at_least", "likeness goes from 0 to 1"));
        }
        Ok(Box::new(self))
    }
}

impl Grader for Similarity {
    fn needs(&self, _: &Evidence) -> Vec<Need> {
        self.of.needs()
    }

    fn grade(&self, evidence: &Evidence) -> Graded {
        let expected =
            evidence.expected.as_ref().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let Some(want) = self.to.clone().or(expected) else {
            return Graded::abstained("neither the grader nor the task says what to compare with");
        };
        let text = match self.of.text(evidence) {
            Ok(text) => text,
            Err(graded) => return graded,
        };
        let fold = |text: &str| if self.ignore_case { text.to_lowercase() } else { text.to_owned() };
        let (want, text) = (fold(want.trim()), fold(text.trim()));
        if self.by != By::Words && want.len().max(text.len()) > MOST {
            return Graded::broken(format!("texts of more than {MOST} bytes are only compared by words"));
        }
        let score = match self.by {
            By::Words => f64::from(TextDiff::from_words(want.as_str(), text.as_str()).ratio()),
            By::Letters => f64::from(TextDiff::from_chars(want.as_str(), text.as_str()).ratio()),
            By::Edits => {
                let longer = want.chars().count().max(text.chars().count()).max(1);
                1.0 - distance(&want, &text) as f64 / longer as f64
            }
        };
        let pass = score >= self.at_least;
        let reason = format!("likeness is {score:.2}, {:.2} is needed", self.at_least);
        Graded { grade: Grade::Scored { score, pass }, reasons: if pass { Vec::new() } else { vec![reason] } }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::graded;
    use crate::trial::Grade;

    #[test]
    fn likeness_is_a_share() {
        for (config, answer, pass, least, most) in [
            (json!({"type": "similarity", "to": "a b c d"}), "a b c d", true, 1.0, 1.0),
            (json!({"type": "similarity", "to": "a b c d"}), "x y z", false, 0.0, 0.5),
            (
                json!({"type": "similarity", "to": "kitten", "by": "edits", "at_least": 0.5}),
                "sitting",
                true,
                0.57,
                0.58,
            ),
            (
                json!({"type": "similarity", "to": "KITTEN", "by": "letters", "ignore_case": true}),
                "kitten",
                true,
                1.0,
                1.0,
            ),
            (json!({"type": "similarity", "to": "", "by": "edits"}), "", true, 1.0, 1.0),
        ] {
            let Grade::Scored { score, pass: got } = graded(config.clone(), answer).grade else { panic!("{config}") };
            assert_eq!(got, pass, "{config} {score}");
            assert!((least..=most).contains(&score), "{config} {score}");
        }
        let long = "x".repeat(30_000);
        let record = graded(json!({"type": "similarity", "to": "x", "by": "edits"}), &long);
        assert!(matches!(record.grade, Grade::Broken { .. }));
    }
}
