//! What people say of trials, as a file: what judges are measured against.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::grade::{Change, Evidence, FileSeen, Step};
use crate::suite::{Rubric, yaml};
use crate::trace::{Message, Part, Role, ToolCall, ToolResult};

/// Labels by one rubric. Written as YAML or JSON.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// The rubric's name.
    pub rubric: String,
    /// The rubric as it was when people labelled by it; its judge doesn't matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criteria: Option<String>,
    pub items: Vec<Item>,
}

/// A trial, or evidence written down, and what a person says of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Item {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// A trial in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<String>,
    /// Evidence that is in no store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Told>,
    /// By criterion: `yes`, `no`, a level, or `unknown`.
    pub labels: BTreeMap<String, Value>,
    /// Who says so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

/// Evidence, written down shortly.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Told {
    pub prompt: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<ToldStep>,
    pub answer: String,
    /// Files that were left, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

/// A step: what the assistant said or called, and what came back.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ToldStep {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<ToldCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Whether the result is an error.
    pub error: bool,
}

/// A tool that was called.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToldCall {
    pub name: String,
    #[serde(default)]
    pub arguments: Value,
}

impl Told {
    /// As evidence of a trial.
    pub fn evidence(&self, id: &str) -> Evidence {
        let mut evidence = Evidence::new(id, &self.answer);
        evidence.prompt.clone_from(&self.prompt);
        let mut came_back: Vec<ToolResult> = Vec::new();
        for told in &self.steps {
            let mut parts = Vec::new();
            if !told.says.is_empty() {
                parts.push(Part::Text { text: told.says.clone() });
            }
            let name = told.call.as_ref().map(|call| call.name.clone()).unwrap_or_default();
            if let Some(call) = &told.call {
                let (name, arguments) = (call.name.clone(), call.arguments.clone());
                parts.push(Part::ToolCall(ToolCall { id: String::new(), name, arguments }));
            }
            let said = (!parts.is_empty()).then_some(Message { role: Role::Assistant, parts });
            evidence.steps.push(Step { said, results: std::mem::take(&mut came_back), ..Step::default() });
            came_back = told
                .result
                .iter()
                .map(|text| ToolResult {
                    id: String::new(),
                    name: name.clone(),
                    text: text.clone(),
                    is_error: told.error,
                })
                .collect();
        }
        if !came_back.is_empty() {
            evidence.steps.push(Step { results: came_back, ..Step::default() });
        }
        let file = |(path, text): (&String, &String)| FileSeen {
            path: path.clone(),
            len: text.len() as u64,
            change: Change::Added,
            text: Some(text.clone()),
            diff: None,
        };
        evidence.files = self.files.iter().map(file).collect();
        evidence
    }
}

impl Labels {
    /// Reads a file of labels for a rubric.
    ///
    /// # Errors
    /// When it is none, is for another rubric, or has a label that the rubric doesn't know.
    pub fn read(file: &str, text: &str, rubric: &Rubric) -> Result<Labels, String> {
        let labels: Labels = yaml(text).map_err(|error| {
            let place = error.location().map(|place| format!(":{}:{}", place.line(), place.column()));
            let message = error.without_snippet().to_string();
            format!("{file}{}: {}", place.unwrap_or_default(), message.lines().next().unwrap_or_default())
        })?;
        if labels.rubric != rubric.rubric {
            return Err(format!("{file}: these are labels by the rubric {:?}, not {:?}", labels.rubric, rubric.rubric));
        }
        for (at, item) in labels.items.iter().enumerate() {
            let who = if item.id.is_empty() { format!("item {}", at + 1) } else { item.id.clone() };
            if item.trial.is_none() && item.told.is_none() {
                return Err(format!("{file}: {who} has neither a trial nor told evidence"));
            }
            for (id, word) in &item.labels {
                let Some(criterion) = rubric.criterion(id) else {
                    return Err(format!("{file}: {who}: the rubric has no criterion {id:?}"));
                };
                if word != "unknown" && criterion.level(word).is_none() {
                    return Err(format!("{file}: {who}: {word} is no answer to {id:?}"));
                }
            }
        }
        Ok(labels)
    }
}

/// The hash of what people label by: the criteria without the judge.
pub fn criteria_fingerprint(rubric: &Rubric) -> String {
    Rubric { judge: Default::default(), grouped: false, ..rubric.clone() }.fingerprint()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::grade::rubric::Exhibit;
    use crate::suite::{See, load_rubric};

    #[test]
    fn labels_are_read_and_wrong_ones_refused() {
        let rubric = "rubric: r\nprinciples: [{principle: p, criteria: [{id: a, ask: x?}]}]\n";
        let rubric = load_rubric("r.yaml", rubric).unwrap();
        let read = |text: &str| Labels::read("l.yaml", text, &rubric);
        let good = "rubric: r\nitems: [{id: i, told: {answer: hi, steps: [{says: s, call: {name: c, arguments: {x: 1}}, result: r}]}, labels: {a: yes}}]\n";
        let labels = read(good).unwrap();
        assert_eq!(labels.items[0].labels["a"], json!("yes"));
        let evidence = labels.items[0].told.as_ref().unwrap().evidence("i");
        let seen = Exhibit::of(&evidence, &[See::Transcript, See::Answer]);
        let titles: Vec<&str> = seen.pieces.iter().map(|piece| piece.title.as_str()).collect();
        assert_eq!(
            titles,
            ["the assistant said", "the assistant called c", "the result came back of c", "the final answer"]
        );
        let written = serde_json::to_string(&labels).unwrap();
        assert_eq!(read(&written).unwrap(), labels);
        for (from, to, want) in [
            ("rubric: r", "rubric: q", "labels by the rubric \"q\""),
            ("a: yes", "b: yes", "no criterion \"b\""),
            ("a: yes", "a: 3", "no answer to \"a\""),
            (
                "told: {answer: hi, steps: [{says: s, call: {name: c, arguments: {x: 1}}, result: r}]}, ",
                "",
                "neither a trial",
            ),
            ("id: i", "idd: i", "l.yaml:2"),
        ] {
            let error = read(&good.replace(from, to)).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }
}
