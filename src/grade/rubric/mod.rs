//! A model reads the trial by a rubric. Pure like every grader: the questions are put together and the answers read here;
//! asking is eval's.

mod answer;
mod exhibit;
mod injection;
mod labels;
mod lint;
mod question;
mod reading;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Config, ConfigError, Evidence, Got, Graded, Grader, Need};

pub use answer::{Heard, Ruling, Word, hear};
pub use exhibit::{Exhibit, Piece};
pub use injection::instructions;
pub use labels::{Item, Labels, Told, ToldCall, ToldStep, criteria_fingerprint};
pub use lint::{Remark, lint};
pub use question::{FENCE, How, Question, question, reminder};
pub use reading::{CriterionReading, Reading, Said, Vote, combined, weighed};

/// A model reads the trial by a rubric.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rubric {
    /// The rubric's file, beside the suite.
    rubric: String,
}

impl Config for Rubric {
    const NAME: &'static str = "rubric";
    const ABOUT: &'static str = "A model reads the trial by a rubric.";
    const EXAMPLE: &'static str = "{type: rubric, rubric: rubrics/support.yaml, required: false}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        match self.rubric.trim().is_empty() {
            true => Err(ConfigError::at("rubric", "the rubric's file name is empty")),
            false => Ok(Box::new(self)),
        }
    }
}

impl Rubric {
    fn need(&self) -> Need {
        Need::Judge { rubric: self.rubric.clone() }
    }
}

impl Grader for Rubric {
    fn needs(&self, _: &Evidence) -> Vec<Need> {
        vec![self.need()]
    }

    /// Without a judge there is no verdict, and no verdict is never a pass.
    fn grade(&self, evidence: &Evidence) -> Graded {
        match evidence.got(&self.need()) {
            Some(Got::Judge { reading }) => reading.grade(),
            Some(Got::Unmet { reason }) => Graded::abstained(reason.clone()),
            _ => Graded::abstained("no judge has read this trial"),
        }
    }

    fn parts(&self, evidence: &Evidence) -> Vec<(String, Graded)> {
        match evidence.got(&self.need()) {
            Some(Got::Judge { reading }) => reading.parts(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::graded;
    use crate::trial::Grade;

    #[test]
    fn without_a_judge_there_is_no_verdict() {
        let record = graded(json!({"type": "rubric", "rubric": "r.yaml", "required": false}), "x");
        assert!(matches!(record.grade, Grade::Abstained { .. }));
        assert!(!record.required);
    }
}
