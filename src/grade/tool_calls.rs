//! The loop called the tools it should, and none it shouldn't.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::json_schema;
use super::{Config, ConfigError, Evidence, Graded, Grader, clip};
use crate::trace::ToolCall;

/// The loop called the tools it should, and none it shouldn't.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ToolCalls {
    /// Calls that must have been made.
    #[serde(default)]
    must: Vec<Wanted>,
    /// Calls that must not have been made: a name, or a name with arguments.
    #[serde(default)]
    never: Vec<Unwanted>,
    /// Whether the calls of `must` have to come in their order.
    #[serde(default)]
    order: bool,
    /// How many tool calls there may be in all.
    #[serde(default)]
    at_most: Option<usize>,
    /// How many there must be at least.
    #[serde(default)]
    at_least: Option<usize>,
}

/// A call that must have been made.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    name: String,
    /// What its arguments must be; any, when left out.
    #[serde(default)]
    args: Option<Value>,
    /// How the arguments are compared: `subset` allows more than is asked for, `schema` reads args as a JSON Schema.
    #[serde(default, rename = "match")]
    by: Match,
    /// How often it must have been made at least.
    #[serde(default = "one")]
    at_least: usize,
    /// How often it may have been made.
    #[serde(default)]
    at_most: Option<usize>,
}

fn one() -> usize {
    1
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Unwanted {
    Name(String),
    Call(NameAndArgs),
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NameAndArgs {
    name: String,
    args: Value,
}

/// How arguments are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Match {
    Exact,
    #[default]
    Subset,
    Schema,
}

impl Config for ToolCalls {
    const NAME: &'static str = "tool_calls";
    const ABOUT: &'static str = "The loop called the tools it should, with the right arguments, and none it shouldn't.";
    const EXAMPLE: &'static str =
        "{type: tool_calls, must: [{name: lookup_order, args: {id: A-17}}], never: [delete_order], at_most: 10}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        if self.must.is_empty() && self.never.is_empty() && self.at_most.is_none() && self.at_least.is_none() {
            return Err(
                ConfigError::new("there is nothing to check").help("give it must:, never:, at_most: or at_least:")
            );
        }
        for (index, wanted) in self.must.iter().enumerate().filter(|(_, wanted)| wanted.by == Match::Schema) {
            let schema = wanted.args.clone().unwrap_or_default();
            if let Err(why) = json_schema::compile(&schema) {
                return Err(ConfigError::at("args", why).within(["must".into(), index.into()]));
            }
        }
        Ok(Box::new(self))
    }
}

/// Whether everything asked for is there: maps may hold more, lists and all else must be equal.
pub(super) fn is_subset(want: &Value, got: &Value) -> bool {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            want.iter().all(|(key, value)| got.get(key).is_some_and(|got| is_subset(value, got)))
        }
        (Value::Array(want), Value::Array(got)) => {
            want.len() == got.len() && want.iter().zip(got).all(|(want, got)| is_subset(want, got))
        }
        (Value::Number(want), Value::Number(got)) => want == got || want.as_f64() == got.as_f64(),
        (want, got) => want == got,
    }
}

impl Wanted {
    fn fits(&self, call: &ToolCall) -> bool {
        let Some(args) = self.args.as_ref().filter(|_| call.name == self.name) else {
            return call.name == self.name;
        };
        match self.by {
            Match::Exact => is_subset(args, &call.arguments) && is_subset(&call.arguments, args),
            Match::Subset => is_subset(args, &call.arguments),
            Match::Schema => json_schema::compile(args).is_ok_and(|schema| schema.is_valid(&call.arguments)),
        }
    }

    fn shown(&self) -> String {
        self.args
            .as_ref()
            .map_or_else(|| self.name.clone(), |args| format!("{}({})", self.name, clip(&args.to_string())))
    }
}

impl Unwanted {
    fn fits(&self, call: &ToolCall) -> bool {
        match self {
            Unwanted::Name(name) => call.name == *name,
            Unwanted::Call(unwanted) => call.name == unwanted.name && is_subset(&unwanted.args, &call.arguments),
        }
    }
}

impl Grader for ToolCalls {
    fn grade(&self, evidence: &Evidence) -> Graded {
        let calls: Vec<&ToolCall> = evidence.tool_calls().collect();
        let mut faults = Vec::new();
        for wanted in &self.must {
            let made = calls.iter().filter(|call| wanted.fits(call)).count();
            if made < wanted.at_least {
                faults.push(missing(wanted, made, &calls));
            } else if let Some(most) = wanted.at_most.filter(|most| made > *most) {
                faults.push(format!("{} was called {made} times, at most {most} are allowed", wanted.shown()));
            }
        }
        if self.order && faults.is_empty() {
            let mut rest = calls.iter();
            if let Some(late) = self.must.iter().find(|wanted| !rest.any(|call| wanted.fits(call))) {
                faults.push(format!("{} was not called in its order", late.shown()));
            }
        }
        for unwanted in &self.never {
            if let Some(call) = calls.iter().find(|call| unwanted.fits(call)) {
                faults.push(format!("{} was called with {}", call.name, clip(&call.arguments.to_string())));
            }
        }
        if let Some(most) = self.at_most.filter(|most| calls.len() > *most) {
            faults.push(format!("{} tool calls, at most {most} are allowed", calls.len()));
        }
        if let Some(least) = self.at_least.filter(|least| calls.len() < *least) {
            faults.push(format!("{} tool calls, at least {least} are needed", calls.len()));
        }
        let limits =
            usize::from(self.at_most.is_some()) + usize::from(self.at_least.is_some()) + usize::from(self.order);
        Graded::faults(faults, self.must.len() + self.never.len() + limits)
    }
}

/// Why a call that must be there isn't, with the nearest that is.
fn missing(wanted: &Wanted, made: usize, calls: &[&ToolCall]) -> String {
    let times = if wanted.at_least > 1 { format!(" {} times, only {made}", wanted.at_least) } else { String::new() };
    match calls.iter().rev().find(|call| call.name == wanted.name) {
        Some(call) if made == 0 => {
            let arguments = clip(&call.arguments.to_string());
            format!("{} was not called{times}; {} was called with {arguments}", wanted.shown(), call.name)
        }
        _ => format!("{} was not called{times}", wanted.shown()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::{grade, with_tools};

    #[test]
    fn calls_are_held_against_what_is_asked() {
        let evidence = with_tools(&[
            ("lookup", json!({"id": "A-17", "fields": ["x"]})),
            ("refund", json!({"id": "A-17", "amount": 12.0})),
        ]);
        for (config, pass, reason) in [
            (json!({"must": [{"name": "lookup"}]}), true, ""),
            (json!({"must": [{"name": "lookup", "args": {"id": "A-17"}}]}), true, ""),
            (
                json!({"must": [{"name": "lookup", "args": {"id": "A-17"}, "match": "exact"}]}),
                false,
                "lookup({\"id\":\"A-17\"}) was not called; lookup was called with",
            ),
            (json!({"must": [{"name": "refund", "args": {"amount": 12, "id": "A-17"}, "match": "exact"}]}), true, ""),
            (
                json!({"must": [{"name": "refund", "match": "schema", "args": {"properties": {"amount": {"maximum": 10}}}}]}),
                false,
                "was not called",
            ),
            (json!({"must": [{"name": "nope"}, {"name": "lookup"}]}), false, "nope was not called"),
            (json!({"must": [{"name": "lookup", "at_least": 2}]}), false, "lookup was not called 2 times, only 1"),
            (
                json!({"must": [{"name": "lookup", "at_most": 0, "at_least": 0}]}),
                false,
                "lookup was called 1 times, at most 0",
            ),
            (json!({"must": [{"name": "lookup"}, {"name": "refund"}], "order": true}), true, ""),
            (
                json!({"must": [{"name": "refund"}, {"name": "lookup"}], "order": true}),
                false,
                "lookup was not called in its order",
            ),
            (json!({"never": ["delete"]}), true, ""),
            (json!({"never": ["refund"]}), false, "refund was called with"),
            (json!({"never": [{"name": "refund", "args": {"amount": 13}}]}), true, ""),
            (json!({"at_most": 1}), false, "2 tool calls, at most 1"),
            (json!({"at_least": 3}), false, "2 tool calls, at least 3"),
        ] {
            let mut spec = config.clone();
            spec["type"] = json!("tool_calls");
            let record = grade(spec, &evidence);
            assert_eq!(record.grade.pass(), Some(pass), "{config} {:?}", record.reasons);
            let reasons = record.reasons.join("; ");
            assert!(reasons.contains(reason), "{config} {reasons}");
        }
    }
}
