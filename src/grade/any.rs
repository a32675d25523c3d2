//! Several graders as one: one of them must pass. A pass decides, whatever the others say; without one, a grader that has
//! no verdict leaves the whole without.

use schemars::JsonSchema;
use serde::Deserialize;

use super::all::{inner, reasons};
use super::{Bound, Config, ConfigError, Evidence, Graded, Grader, Need};
use crate::suite::GraderSpec;
use crate::trial::{Grade, GradeRecord};

/// One of several graders must pass.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Any {
    graders: Vec<GraderSpec>,
}

#[derive(Debug)]
struct Inner(Vec<Bound>);

impl Config for Any {
    const NAME: &'static str = "any";
    const ABOUT: &'static str = "Passes when one of several graders passes.";
    const EXAMPLE: &'static str = "{type: any, graders: [{type: equals, to: \"4\"}, {type: contains, all: [four]}]}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        Ok(Box::new(Inner(inner(self.graders)?)))
    }
}

impl Grader for Inner {
    fn needs(&self, evidence: &Evidence) -> Vec<Need> {
        self.0.iter().flat_map(|grader| grader.needs(evidence)).collect()
    }

    fn grade(&self, evidence: &Evidence) -> Graded {
        let records: Vec<GradeRecord> = self.0.iter().map(|grader| grader.grade(evidence)).collect();
        let best = records.iter().filter_map(|record| match record.grade {
            Grade::Scored { score, pass } => Some((pass, score)),
            _ => None,
        });
        let best = best.fold((false, 0.0), |(any, top), (pass, score)| match (any, pass) {
            (false, true) => (true, score),
            (true, false) => (any, top),
            _ => (any, f64::max(top, score)),
        });
        if best.0 {
            return Graded { grade: Grade::Scored { score: best.1, pass: true }, reasons: Vec::new() };
        }
        match records.iter().find(|record| record.grade.pass().is_none()) {
            Some(open) => Graded { grade: open.grade.clone(), reasons: reasons(&records) },
            None => Graded { grade: Grade::Scored { score: best.1, pass: false }, reasons: reasons(&records) },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::graded;

    #[test]
    fn a_pass_decides_and_an_open_question_stays_open() {
        let yes = json!({"type": "contains", "all": "a"});
        let no = json!({"type": "contains", "all": "z"});
        let open = json!({"type": "equals"});
        for (graders, pass) in [
            (json!([no, yes]), Some(true)),
            (json!([no, no]), Some(false)),
            (json!([open, yes]), Some(true)),
            (json!([no, open]), None),
        ] {
            assert_eq!(graded(json!({"type": "any", "graders": graders}), "a").grade.pass(), pass, "{graders}");
        }
    }
}
