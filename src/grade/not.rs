//! The opposite of another grader. What has no verdict has none the other way round either.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Bound, Config, ConfigError, Evidence, Graded, Grader, Need};
use crate::suite::GraderSpec;
use crate::trial::Grade;

/// The opposite of another grader.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Not {
    grader: GraderSpec,
}

#[derive(Debug)]
struct Inner(Bound);

impl Config for Not {
    const NAME: &'static str = "not";
    const ABOUT: &'static str = "Passes when another grader fails.";
    const EXAMPLE: &'static str = "{type: not, grader: {type: contains, any: [sorry]}}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        let bound = Bound::read(self.grader.0).map_err(|error| error.within(["grader".into()]))?;
        Ok(Box::new(Inner(bound)))
    }
}

impl Grader for Inner {
    fn needs(&self, evidence: &Evidence) -> Vec<Need> {
        self.0.needs(evidence)
    }

    fn grade(&self, evidence: &Evidence) -> Graded {
        let record = self.0.grade(evidence);
        match record.grade {
            Grade::Scored { score, pass: true } => Graded {
                grade: Grade::Scored { score: 1.0 - score, pass: false },
                reasons: vec![format!("{} passed, and should not have", self.0.label)],
            },
            Grade::Scored { score, pass: false } => {
                Graded { grade: Grade::Scored { score: 1.0 - score, pass: true }, reasons: Vec::new() }
            }
            other => Graded { grade: other, reasons: record.reasons },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::graded;

    #[test]
    fn yes_is_no_and_nothing_is_nothing() {
        let not = |grader| json!({"type": "not", "grader": grader});
        assert_eq!(graded(not(json!({"type": "equals", "to": "x"})), "x").grade.pass(), Some(false));
        assert_eq!(graded(not(json!({"type": "equals", "to": "x"})), "y").grade.pass(), Some(true));
        assert_eq!(graded(not(json!({"type": "equals"})), "y").grade.pass(), None);
        assert_eq!(graded(not(json!({"type": "rubric", "rubric": "r"})), "y").grade.pass(), None);
    }
}
