//! Several graders as one: all of them must pass. A fail decides, whatever the others say; without one, a grader that has
//! no verdict leaves the whole without.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Bound, Config, ConfigError, Evidence, Graded, Grader, Need};
use crate::suite::GraderSpec;
use crate::trial::{Grade, GradeRecord};

/// All of several graders must pass.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct All {
    graders: Vec<GraderSpec>,
}

#[derive(Debug)]
struct Inner(Vec<Bound>);

impl Config for All {
    const NAME: &'static str = "all";
    const ABOUT: &'static str = "Passes when all of several graders pass.";
    const EXAMPLE: &'static str = "{type: all, graders: [{type: contains, all: [yes]}, {type: refusal}]}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        Ok(Box::new(Inner(inner(self.graders)?)))
    }
}

/// The graders inside a combinator.
pub(super) fn inner(specs: Vec<GraderSpec>) -> Result<Vec<Bound>, ConfigError> {
    if specs.is_empty() {
        return Err(ConfigError::at("graders", "the list of graders is empty"));
    }
    let bound = |(index, spec): (usize, GraderSpec)| {
        Bound::read(spec.0).map_err(|error| error.within(["graders".into(), index.into()]))
    };
    specs.into_iter().enumerate().map(bound).collect()
}

/// Weighted mean of what was scored.
pub(super) fn mean(records: &[GradeRecord]) -> f64 {
    let scored = records.iter().filter_map(|record| match record.grade {
        Grade::Scored { score, .. } => Some((score * record.weight, record.weight)),
        _ => None,
    });
    let (sum, weight) = scored.fold((0.0, 0.0), |(sum, all), (score, weight)| (sum + score, all + weight));
    if weight > 0.0 { sum / weight } else { 0.0 }
}

/// Every reason, with the grader it is from.
pub(super) fn reasons(records: &[GradeRecord]) -> Vec<String> {
    let of = |record: &GradeRecord| {
        let label = record.label.clone();
        record.reasons.clone().into_iter().map(move |reason| format!("{label}: {reason}"))
    };
    records.iter().flat_map(of).collect()
}

impl Grader for Inner {
    fn needs(&self, evidence: &Evidence) -> Vec<Need> {
        self.0.iter().flat_map(|grader| grader.needs(evidence)).collect()
    }

    fn grade(&self, evidence: &Evidence) -> Graded {
        let records: Vec<GradeRecord> = self.0.iter().map(|grader| grader.grade(evidence)).collect();
        let required = || records.iter().filter(|record| record.required);
        if required().any(|record| record.grade.pass() == Some(false)) {
            let failed: Vec<GradeRecord> =
                records.iter().filter(|record| record.grade.pass() == Some(false)).cloned().collect();
            return Graded { grade: Grade::Scored { score: mean(&records), pass: false }, reasons: reasons(&failed) };
        }
        match required().find(|record| record.grade.pass().is_none()) {
            Some(open) => Graded { grade: open.grade.clone(), reasons: reasons(&records) },
            None => Graded { grade: Grade::Scored { score: mean(&records), pass: true }, reasons: Vec::new() },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::graded;
    use crate::trial::Grade;

    #[test]
    fn a_fail_decides_and_an_open_question_stays_open() {
        let yes = json!({"type": "contains", "all": "a"});
        let no = json!({"type": "contains", "all": "z"});
        let open = json!({"type": "equals"});
        for (graders, pass) in [
            (json!([yes, yes]), Some(true)),
            (json!([yes, no]), Some(false)),
            (json!([open, no]), Some(false)),
            (json!([yes, open]), None),
            (json!([yes, {"type": "contains", "all": "z", "required": false}]), Some(true)),
        ] {
            assert_eq!(graded(json!({"type": "all", "graders": graders}), "a").grade.pass(), pass, "{graders}");
        }
        let record =
            graded(json!({"type": "all", "graders": [yes, {"type": "contains", "all": "z", "weight": 3}]}), "a");
        assert_eq!(record.grade, Grade::Scored { score: 0.25, pass: false });
        assert_eq!(record.reasons, ["contains: the answer lacks \"z\""]);
    }
}
