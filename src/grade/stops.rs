//! The loop ended by itself, in time, and did not go round in circles.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Config, ConfigError, Evidence, Graded, Grader};
use crate::trial::Ending;

/// The loop ended by itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Stops {
    /// How many model calls it may have taken.
    #[serde(default)]
    within: Option<usize>,
    /// Exit codes that count as a good end; any, when left out.
    #[serde(default)]
    exit: Option<Vec<i32>>,
    /// Whether a stuck pattern is let through.
    #[serde(default)]
    allow_stuck: bool,
}

impl Config for Stops {
    const NAME: &'static str = "stops";
    const ABOUT: &'static str = "The loop ended by itself, within so many calls, and never went round in circles.";
    const EXAMPLE: &'static str = "{type: stops, within: 20}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        Ok(Box::new(self))
    }
}

impl Grader for Stops {
    fn grade(&self, evidence: &Evidence) -> Graded {
        let mut faults = Vec::new();
        match &evidence.ending {
            Ending::Exited { code } => {
                if self.exit.as_ref().is_some_and(|codes| !codes.contains(code)) {
                    faults.push(format!("it ended with exit code {code}"));
                }
            }
            Ending::Signalled { signal } => faults.push(format!("it was ended by signal {signal}")),
            Ending::TimedOut { seconds } => faults.push(format!("it was still running after {seconds} s")),
            Ending::Braked { brake } => faults.push(format!("a brake stopped it: {brake}")),
            Ending::Broken { reason } => return Graded::broken(reason.clone()),
        }
        if let Some(most) = self.within.filter(|most| evidence.steps.len() > *most) {
            faults.push(format!("it took {} calls, {most} are allowed", evidence.steps.len()));
        }
        if !self.allow_stuck {
            faults.extend(evidence.stuck.iter().map(|what| format!("it was stuck: {what}")));
        }
        let checks = faults.len();
        Graded::faults(faults, checks)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::{grade, with_tools};
    use super::*;
    use crate::trial::Grade;

    #[test]
    fn ends_are_told_apart() {
        let at = |ending: Ending, stuck: &[&str], calls: usize| {
            let mut evidence = with_tools(&vec![("a", json!({})); calls]);
            evidence.ending = ending;
            evidence.stuck = stuck.iter().map(|text| (*text).to_owned()).collect();
            evidence
        };
        let exit = |code| Ending::Exited { code };
        for (evidence, config, pass) in [
            (at(exit(0), &[], 3), json!({}), Some(true)),
            (at(exit(1), &[], 3), json!({}), Some(true)),
            (at(exit(1), &[], 3), json!({"exit": [0]}), Some(false)),
            (at(exit(0), &[], 3), json!({"within": 2}), Some(false)),
            (at(exit(0), &[], 2), json!({"within": 2}), Some(true)),
            (at(exit(0), &["ls again"], 3), json!({}), Some(false)),
            (at(exit(0), &["ls again"], 3), json!({"allow_stuck": true}), Some(true)),
            (at(Ending::TimedOut { seconds: 9.0 }, &[], 3), json!({}), Some(false)),
            (at(Ending::Braked { brake: "calls".to_owned() }, &[], 3), json!({}), Some(false)),
            (at(Ending::Signalled { signal: 9 }, &[], 3), json!({}), Some(false)),
        ] {
            let mut spec = config.clone();
            spec["type"] = json!("stops");
            assert_eq!(grade(spec, &evidence).grade.pass(), pass, "{config} {:?}", evidence.ending);
        }
        let broken = at(Ending::Broken { reason: "529".to_owned() }, &[], 0);
        assert!(matches!(grade(json!({"type": "stops"}), &broken).grade, Grade::Broken { .. }));
    }
}
