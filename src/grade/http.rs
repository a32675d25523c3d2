//! A service of the user's says whether it is right.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Config, ConfigError, Evidence, Got, Graded, Grader, Need, clip};
use crate::trial::Grade;

/// A service of the user's says whether it is right.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    /// Where the trial is sent to, as a POST of JSON: task, prompt, vars, expected, answer, output, tool_calls.
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Sent along as `config`.
    #[serde(default)]
    config: Value,
    #[serde(default = "half_a_minute")]
    seconds: f64,
}

fn half_a_minute() -> f64 {
    30.0
}

/// What the service must answer; anything else makes it broken, never a pass.
#[derive(Debug, Deserialize)]
struct Answer {
    pass: bool,
    #[serde(default)]
    score: Option<f64>,
    #[serde(default)]
    reasons: Vec<String>,
}

impl Config for Http {
    const NAME: &'static str = "http";
    const ABOUT: &'static str = "A service of yours is sent the trial and answers {pass, score, reasons}.";
    const EXAMPLE: &'static str = "{type: http, url: \"http://localhost:9000/grade\", seconds: 10}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        if !(self.url.starts_with("http://") || self.url.starts_with("https://")) {
            return Err(ConfigError::at(
                "url",
                format!("{:?} is no address: it begins with http:// or https://", self.url),
            ));
        }
        if !(self.seconds.is_finite() && self.seconds > 0.0) {
            return Err(ConfigError::at("seconds", "the time must be above 0"));
        }
        Ok(Box::new(self))
    }
}

impl Http {
    fn need(&self, evidence: &Evidence) -> Need {
        let tools: Vec<Value> =
            evidence.tool_calls().map(|call| json!({"name": call.name, "arguments": call.arguments})).collect();
        let body = json!({"task": evidence.task, "prompt": evidence.prompt, "vars": evidence.vars,
            "expected": evidence.expected, "answer": evidence.answer, "output": evidence.stdout,
            "tool_calls": tools, "config": self.config});
        Need::Http { url: self.url.clone(), headers: self.headers.clone(), body, seconds: self.seconds }
    }
}

impl Grader for Http {
    fn needs(&self, evidence: &Evidence) -> Vec<Need> {
        vec![self.need(evidence)]
    }

    fn grade(&self, evidence: &Evidence) -> Graded {
        let (status, body) = match evidence.got(&self.need(evidence)) {
            Some(Got::Http { status, body }) => (*status, body),
            Some(Got::Unmet { reason }) => return Graded::broken(reason.clone()),
            _ => return Graded::abstained(format!("{} was not asked", self.url)),
        };
        if !(200..300).contains(&status) {
            return Graded::broken(format!("{} answered {status}: {}", self.url, clip(body.trim())));
        }
        match serde_json::from_str::<Answer>(body) {
            Err(error) => Graded::broken(format!("{} must answer {{\"pass\": true or false}}: {error}", self.url)),
            Ok(Answer { pass, score, mut reasons }) => {
                let score = score.unwrap_or(if pass { 1.0 } else { 0.0 });
                if !(0.0..=1.0).contains(&score) {
                    return Graded::broken(format!("{} gave the score {score}, which is not from 0 to 1", self.url));
                }
                if !pass && reasons.is_empty() {
                    reasons.push(format!("{} says no", self.url));
                }
                Graded { grade: Grade::Scored { score, pass }, reasons }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bound;
    use super::*;
    use crate::suite::GraderSpec;

    #[test]
    fn only_a_clear_word_counts() {
        let spec = GraderSpec(json!({"type": "http", "url": "http://localhost:1/g"}));
        let grader = Bound::compile(&spec, &Default::default()).unwrap();
        let mut evidence = Evidence::new("t", "Paris");
        let needs = grader.needs(&evidence);
        assert!(matches!(&needs[0], Need::Http { body, .. } if body["answer"] == "Paris"));
        for (status, body, pass) in [
            (200, "{\"pass\": true}", Some(true)),
            (200, "{\"pass\": false, \"score\": 0.5, \"reasons\": [\"too long\"]}", Some(false)),
            (200, "{\"score\": 1}", None),
            (200, "{\"pass\": true, \"score\": 7}", None),
            (200, "", None),
            (500, "{\"pass\": true}", None),
        ] {
            evidence.got = vec![(needs[0].clone(), Got::Http { status, body: body.to_owned() })];
            assert_eq!(grader.grade(&evidence).grade.pass(), pass, "{status} {body}");
        }
    }
}
