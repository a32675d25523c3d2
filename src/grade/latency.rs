//! The trial, or each of its calls, was fast enough.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Config, ConfigError, Evidence, Graded, Grader};

/// The trial was fast enough.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Latency {
    /// Seconds the whole trial may take.
    #[serde(default)]
    seconds: Option<f64>,
    /// Seconds each call may take.
    #[serde(default)]
    call_seconds: Option<f64>,
    /// Seconds until the first content of each call.
    #[serde(default)]
    first_content_seconds: Option<f64>,
}

impl Config for Latency {
    const NAME: &'static str = "latency";
    const ABOUT: &'static str = "The trial, its calls or their first words took no longer than this.";
    const EXAMPLE: &'static str = "{type: latency, seconds: 60, first_content_seconds: 2}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        match (self.seconds, self.call_seconds, self.first_content_seconds) {
            (None, None, None) => Err(ConfigError::new("there is nothing to check")
                .help("give it seconds:, call_seconds: or first_content_seconds:")),
            _ => Ok(Box::new(self)),
        }
    }
}

impl Grader for Latency {
    fn grade(&self, evidence: &Evidence) -> Graded {
        let seconds = |micros: u64| micros as f64 / 1e6;
        let mut faults = Vec::new();
        let total = seconds(evidence.duration_us);
        if let Some(most) = self.seconds.filter(|most| total > *most) {
            faults.push(format!("it took {total:.3} s, {most} are allowed"));
        }
        let slowest = evidence.steps.iter().map(|step| seconds(step.latency_us)).fold(0.0, f64::max);
        if let Some(most) = self.call_seconds.filter(|most| slowest > *most) {
            faults.push(format!("the slowest call took {slowest:.3} s, {most} are allowed"));
        }
        if let Some(most) = self.first_content_seconds {
            let firsts: Vec<f64> =
                evidence.steps.iter().filter_map(|step| step.first_content_us).map(seconds).collect();
            let slowest = firsts.iter().copied().fold(0.0, f64::max);
            if firsts.is_empty() {
                return Graded::abstained("no call says when its first content came");
            }
            if slowest > most {
                faults.push(format!("the first content of a call took {slowest:.3} s, {most} are allowed"));
            }
        }
        let checks = faults.len();
        Graded::faults(faults, checks)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::{grade, with_tools};

    #[test]
    fn times_are_held_against_their_limits() {
        let mut evidence = with_tools(&[("a", json!({}))]);
        evidence.duration_us = 3_000_000;
        evidence.steps[0].latency_us = 2_000_000;
        for (config, pass) in [
            (json!({"seconds": 3}), Some(true)),
            (json!({"seconds": 2.9}), Some(false)),
            (json!({"call_seconds": 1}), Some(false)),
            (json!({"first_content_seconds": 1}), None),
        ] {
            let mut spec = config.clone();
            spec["type"] = json!("latency");
            assert_eq!(grade(spec, &evidence).grade.pass(), pass, "{config}");
        }
        evidence.steps[0].first_content_us = Some(1_500_000);
        assert_eq!(grade(json!({"type": "latency", "first_content_seconds": 1}), &evidence).grade.pass(), Some(false));
    }
}
