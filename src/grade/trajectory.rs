//! The loop took the way of a reference: the tools of another trace, or of a list.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::tool_calls::is_subset;
use super::{Config, ConfigError, Evidence, Graded, Grader, clip};
use crate::trace::ToolCall;
use crate::trial::Grade;

/// The tool calls go the way of a reference.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Trajectory {
    /// How the calls are compared with the reference.
    mode: Mode,
    /// How arguments are compared.
    #[serde(default)]
    args: Args,
    /// The reference as a list of calls; the tool calls of the task's `trace` when left out.
    #[serde(default)]
    steps: Option<Vec<StepSpec>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StepSpec {
    name: String,
    #[serde(default)]
    args: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// The same calls in the same order.
    Strict,
    /// The same calls in any order.
    Unordered,
    /// Nothing that is not in the reference.
    Subset,
    /// Everything that is in the reference, and perhaps more.
    Superset,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Args {
    #[default]
    Exact,
    /// The call has at least the arguments of the reference.
    Subset,
    Ignore,
}

impl Config for Trajectory {
    const NAME: &'static str = "trajectory";
    const ABOUT: &'static str = "The tool calls go the way of a reference trace or list.";
    const EXAMPLE: &'static str =
        "{type: trajectory, mode: superset, args: ignore, steps: [{name: search}, {name: answer}]}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        Ok(Box::new(self))
    }
}

impl Trajectory {
    fn same(&self, want: &ToolCall, got: &ToolCall) -> bool {
        want.name == got.name
            && match self.args {
                Args::Ignore => true,
                Args::Subset => is_subset(&want.arguments, &got.arguments),
                Args::Exact => is_subset(&want.arguments, &got.arguments) && is_subset(&got.arguments, &want.arguments),
            }
    }

    /// Calls of `these` that find no partner of their own in `those`.
    fn unmatched<'a>(&self, these: &'a [ToolCall], those: &[ToolCall], these_want: bool) -> Vec<&'a ToolCall> {
        let mut free: Vec<&ToolCall> = those.iter().collect();
        let mut left = Vec::new();
        for call in these {
            let fits = |other: &&ToolCall| if these_want { self.same(call, other) } else { self.same(other, call) };
            match free.iter().position(fits) {
                Some(at) => drop(free.swap_remove(at)),
                None => left.push(call),
            }
        }
        left
    }
}

impl Grader for Trajectory {
    fn grade(&self, evidence: &Evidence) -> Graded {
        let listed = self.steps.as_ref().map(|steps| {
            let call = |step: &StepSpec| {
                let arguments = if step.args.is_null() { Value::Object(Default::default()) } else { step.args.clone() };
                ToolCall { id: String::new(), name: step.name.clone(), arguments }
            };
            steps.iter().map(call).collect::<Vec<_>>()
        });
        let Some(want) = listed.or_else(|| evidence.reference.clone()) else {
            return Graded::broken("there is no reference: give the grader steps: or the task a trace:");
        };
        let got: Vec<ToolCall> = evidence.tool_calls().cloned().collect();
        let lacking = self.unmatched(&want, &got, true);
        let extra = self.unmatched(&got, &want, false);
        let mut faults = Vec::new();
        if self.mode != Mode::Subset {
            faults.extend(lacking.iter().map(|call| format!("{} of the reference is missing", shown(call))));
        }
        if self.mode != Mode::Superset {
            faults.extend(extra.iter().map(|call| format!("{} is not in the reference", shown(call))));
        }
        if self.mode == Mode::Strict && faults.is_empty() {
            let off = want.iter().zip(&got).position(|(want, got)| !self.same(want, got));
            faults.extend(
                off.map(|at| format!("call {} should be {}, it is {}", at + 1, shown(&want[at]), shown(&got[at]))),
            );
        }
        let matched = (want.len() - lacking.len()) as f64;
        let all = (want.len() + extra.len()).max(1) as f64;
        match faults.is_empty() {
            true => Graded::pass(),
            // One order fault still costs something when every call has its partner.
            false => Graded { grade: Grade::Scored { score: (matched / all).min(0.99), pass: false }, reasons: faults },
        }
    }
}

fn shown(call: &ToolCall) -> String {
    format!("{}({})", call.name, clip(&call.arguments.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::{grade, with_tools};
    use super::*;

    #[test]
    fn the_four_ways_to_compare() {
        let a = || ("a", json!({"x": 1}));
        let b = || ("b", json!({"y": 2}));
        let table = [
            (vec![a(), b()], [true, true, true, true]),
            (vec![b(), a()], [false, true, true, true]),
            (vec![a()], [false, false, true, false]),
            (vec![a(), b(), b()], [false, false, false, true]),
            (vec![("c", json!({}))], [false, false, false, false]),
            (vec![], [false, false, true, false]),
        ];
        for (calls, want) in table {
            let mut evidence = with_tools(&calls);
            evidence.reference = Some(with_tools(&[a(), b()]).tool_calls().cloned().collect());
            for (mode, pass) in ["strict", "unordered", "subset", "superset"].into_iter().zip(want) {
                let record = grade(json!({"type": "trajectory", "mode": mode}), &evidence);
                assert_eq!(record.grade.pass(), Some(pass), "{mode} {calls:?} {:?}", record.reasons);
            }
        }
    }

    #[test]
    fn arguments_may_be_compared_loosely() {
        let evidence = with_tools(&[("a", json!({"x": 1, "z": 3}))]);
        for (args, pass) in [("exact", false), ("subset", true), ("ignore", true)] {
            let spec = json!({"type": "trajectory", "mode": "strict", "args": args, "steps": [{"name": "a", "args": {"x": 1}}]});
            assert_eq!(grade(spec, &evidence).grade.pass(), Some(pass), "{args}");
        }
        let record = grade(json!({"type": "trajectory", "mode": "strict"}), &evidence);
        assert!(matches!(record.grade, Grade::Broken { .. }));
    }
}
