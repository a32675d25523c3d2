//! The trial cost no more than this.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Config, ConfigError, Evidence, Graded, Grader};

/// The trial cost no more than this.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cost {
    /// US dollars.
    at_most: f64,
}

impl Config for Cost {
    const NAME: &'static str = "cost";
    const ABOUT: &'static str = "The trial's calls cost no more than this many US dollars.";
    const EXAMPLE: &'static str = "{type: cost, at_most: 0.05}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        match self.at_most >= 0.0 {
            true => Ok(Box::new(self)),
            false => Err(ConfigError::at("at_most", "a cost can't be below 0")),
        }
    }
}

impl Grader for Cost {
    fn grade(&self, evidence: &Evidence) -> Graded {
        match evidence.cost_usd() {
            None => Graded::abstained("a model that took part has no price"),
            Some(usd) if usd > self.at_most => {
                Graded::fail(format!("it cost {usd:.6} USD, {} are allowed", self.at_most))
            }
            Some(_) => Graded::pass(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::{grade, with_tools};

    #[test]
    fn an_unknown_price_is_no_price() {
        for (costs, pass) in
            [(vec![Some(0.01), Some(0.02)], Some(true)), (vec![Some(0.04)], Some(false)), (vec![Some(0.0), None], None)]
        {
            let mut evidence = with_tools(&vec![("a", json!({})); costs.len()]);
            for (step, cost) in evidence.steps.iter_mut().zip(&costs) {
                step.cost_usd = *cost;
            }
            assert_eq!(grade(json!({"type": "cost", "at_most": 0.03}), &evidence).grade.pass(), pass, "{costs:?}");
        }
    }
}
