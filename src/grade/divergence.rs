//! The loop kept to the tape that answered it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Config, ConfigError, Evidence, Graded, Grader};
use crate::trial::{Departure, Grade};

/// The loop kept to its tape.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Divergence {
    /// How often it may leave the recorded way.
    #[serde(default)]
    at_most: usize,
    /// The first request that may differ from the recording; those before it have to be as recorded.
    #[serde(default)]
    #[schemars(range(min = 1))]
    from: Option<usize>,
}

impl Config for Divergence {
    const NAME: &'static str = "divergence";
    const ABOUT: &'static str = "The loop kept to the recording that its task names as `tape`.";
    const EXAMPLE: &'static str = "{type: divergence, at_most: 0}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        if self.from == Some(0) {
            return Err(ConfigError::new("from: requests are counted from 1"));
        }
        Ok(Box::new(self))
    }
}

impl Grader for Divergence {
    fn grade(&self, evidence: &Evidence) -> Graded {
        let Some(replayed) = &evidence.replayed else {
            return Graded::abstained("no tape answered this trial: its task has no `tape`");
        };
        let Some(first) = &replayed.first else { return Graded::pass() };
        let early = match (self.from, first.number) {
            (Some(from), Some(number)) => number < from,
            (Some(_), None) => false,
            (None, _) => replayed.divergences > self.at_most,
        };
        if !early {
            return Graded::pass();
        }
        let score = replayed.matched as f64 / replayed.calls.max(1) as f64;
        // A run that differs in anything has not done all that was recorded, whatever else it did.
        let score = score.min(1.0 - 1.0 / (replayed.calls.max(1) as f64 + 1.0));
        Graded { grade: Grade::Scored { score, pass: false }, reasons: vec![reason(replayed.divergences, first)] }
    }
}

fn reason(count: usize, first: &Departure) -> String {
    let times = if count == 1 { "once".to_owned() } else { format!("{count} times, first") };
    let cause = first.tool.as_ref().map(|tool| format!(" (the tool {tool} answered otherwise)")).unwrap_or_default();
    format!("it left the tape {times}: {}{cause}", first.says)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::grade;
    use super::*;
    use crate::trace::TraceId;
    use crate::trial::Replayed;

    #[test]
    fn a_trial_is_told_by_where_it_left_its_tape() {
        let at = |number: Option<usize>, divergences: usize| {
            let says = "request 3 differs from recorded call 3 in message 5".to_owned();
            let tool = Some("bash".to_owned());
            let first = Departure { kind: "changed".to_owned(), number, recorded_number: Some(3), says, tool };
            let first = (divergences > 0).then_some(first);
            let mut evidence = Evidence::new("t", "");
            evidence.replayed = Some(Replayed { of: TraceId(1), calls: 4, matched: 2, live: 0, divergences, first });
            evidence
        };
        for (config, evidence, pass) in [
            (json!({}), at(None, 0), Some(true)),
            (json!({}), at(Some(3), 1), Some(false)),
            (json!({"at_most": 2}), at(Some(3), 2), Some(true)),
            (json!({"at_most": 1}), at(Some(3), 2), Some(false)),
            (json!({"from": 3}), at(Some(3), 9), Some(true)),
            (json!({"from": 4}), at(Some(3), 1), Some(false)),
            (json!({"from": 4}), at(None, 1), Some(true)),
            (json!({}), Evidence::new("t", ""), None),
        ] {
            let mut spec = config.clone();
            spec["type"] = json!("divergence");
            let graded = grade(spec, &evidence);
            assert_eq!(graded.grade.pass(), pass, "{config} {:?}", evidence.replayed);
            if pass == Some(false) {
                assert!(graded.reasons[0].contains("message 5 (the tool bash"), "{:?}", graded.reasons);
            }
        }
    }
}
