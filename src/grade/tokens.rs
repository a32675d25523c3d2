//! The trial used no more tokens than this.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Config, ConfigError, Evidence, Graded, Grader};

/// The trial used no more tokens than this.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tokens {
    /// Read and written together, cached ones too.
    #[serde(default)]
    total: Option<u64>,
    /// Written.
    #[serde(default)]
    output: Option<u64>,
    /// Read, cached ones too.
    #[serde(default)]
    input: Option<u64>,
}

impl Config for Tokens {
    const NAME: &'static str = "tokens";
    const ABOUT: &'static str = "The trial's calls used no more tokens than this.";
    const EXAMPLE: &'static str = "{type: tokens, total: 20000, output: 2000}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        match (self.total, self.output, self.input) {
            (None, None, None) => {
                Err(ConfigError::new("there is nothing to check").help("give it total:, output: or input:"))
            }
            _ => Ok(Box::new(self)),
        }
    }
}

impl Grader for Tokens {
    fn grade(&self, evidence: &Evidence) -> Graded {
        if evidence.steps.iter().any(|step| step.said.is_some() && !step.usage.is_known()) {
            return Graded::abstained("a provider did not say how many tokens were used");
        }
        let usage = evidence.usage();
        let input = [usage.input, usage.cache_read, usage.cache_write].into_iter().flatten().sum();
        let mut faults = Vec::new();
        for (what, used, most) in [
            ("tokens", usage.total(), self.total),
            ("tokens of output", usage.output.unwrap_or(0), self.output),
            ("tokens of input", input, self.input),
        ] {
            if let Some(most) = most.filter(|most| used > *most) {
                faults.push(format!("it used {used} {what}, {most} are allowed"));
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
    use crate::trace::Usage;

    #[test]
    fn tokens_are_added_up_over_calls() {
        let mut evidence = with_tools(&[("a", json!({})), ("b", json!({}))]);
        assert_eq!(grade(json!({"type": "tokens", "total": 1}), &evidence).grade.pass(), None);
        for step in &mut evidence.steps {
            step.usage = Usage { input: Some(10), output: Some(5), cache_read: Some(100), ..Usage::default() };
        }
        for (config, pass) in [
            (json!({"total": 230}), true),
            (json!({"total": 229}), false),
            (json!({"output": 9}), false),
            (json!({"input": 220, "output": 10}), true),
        ] {
            let mut spec = config.clone();
            spec["type"] = json!("tokens");
            assert_eq!(grade(spec, &evidence).grade.pass(), Some(pass), "{config}");
        }
    }
}
