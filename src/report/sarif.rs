//! SARIF 2.1.0, for tools that show findings beside code.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::gate::{GateReport, ReasonKind, SuiteReport, Verdict, task_in_words};

/// Rules, in the order of their index: id, what it means.
const RULES: [(&str, &str); 5] = [
    ("regression", "The candidate is worse than the baseline, beyond noise."),
    ("task-regression", "One task got worse by itself, beyond noise."),
    ("limit-exceeded", "The candidate costs more money, time or tokens than the policy allows, or gets stuck."),
    ("undecided", "The data can't tell whether the candidate is as good as the baseline."),
    ("invalid-run", "Too much of the run could not be measured for a verdict."),
];

/// The report as SARIF. `files` says which file a suite was read from, so that findings show up there.
pub fn gate(report: &GateReport, files: &BTreeMap<String, String>) -> String {
    let rules: Vec<Value> = RULES
        .iter()
        .map(|(id, text)| json!({"id": id, "shortDescription": {"text": text}, "helpUri": "https://docs.rs/holdback"}))
        .collect();
    let results: Vec<Value> =
        report.suites.iter().flat_map(|s| findings(s).into_iter().map(|f| f.result(s, files))).collect();
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "holdback",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "informationUri": "https://docs.rs/holdback",
                "rules": rules,
            }},
            "results": results,
            "properties": {"verdict": report.verdict.as_str(), "why": report.why},
        }],
    });
    let mut text = serde_json::to_string_pretty(&document).expect("a JSON value always becomes text");
    text.push('\n');
    text
}

struct Finding {
    rule: usize,
    level: &'static str,
    text: String,
    /// What makes it the same finding tomorrow.
    about: String,
}

fn findings(suite: &SuiteReport) -> Vec<Finding> {
    let mut findings = Vec::new();
    for reason in &suite.reasons {
        let (rule, level) = match reason.kind {
            ReasonKind::WithinMargin | ReasonKind::TaskRegression => continue,
            ReasonKind::Drop => (0, "error"),
            ReasonKind::LimitExceeded | ReasonKind::NewStuck => (2, "error"),
            ReasonKind::NotDecided
            | ReasonKind::DependsOnInvalid
            | ReasonKind::NothingGraded
            | ReasonKind::LimitUnclear => (3, "warning"),
            ReasonKind::TooManyInvalid | ReasonKind::InvalidDiffers | ReasonKind::MissingTrials => (4, "error"),
        };
        let about = serde_json::to_value(reason.kind).ok().and_then(|v| v.as_str().map(str::to_owned));
        findings.push(Finding { rule, level, text: reason.text.clone(), about: about.unwrap_or_default() });
    }
    for metric in &suite.metrics {
        for task in metric.per_task.iter().filter(|t| t.regressed) {
            let text = format!("{}: {} got worse beyond noise", metric.name, task_in_words(task));
            let level = if suite.verdict == Verdict::Regress { "error" } else { "warning" };
            findings.push(Finding { rule: 1, level, text, about: format!("{}/{}", metric.name, task.task) });
        }
    }
    findings
}

impl Finding {
    fn result(self, suite: &SuiteReport, files: &BTreeMap<String, String>) -> Value {
        let logical = json!({"name": suite.suite, "fullyQualifiedName": format!("{}/{}", suite.suite, self.about), "kind": "module"});
        let mut location = json!({"logicalLocations": [logical]});
        if let Some(file) = files.get(&suite.suite) {
            location["physicalLocation"] = json!({"artifactLocation": {"uri": uri(file)}, "region": {"startLine": 1}});
        }
        json!({
            "ruleId": RULES[self.rule].0,
            "ruleIndex": self.rule,
            "level": self.level,
            "message": {"text": self.text},
            "locations": [location],
            "partialFingerprints": {"holdback/v1": format!("{}:{}:{}", RULES[self.rule].0, suite.suite, self.about)},
        })
    }
}

/// A relative path as a URI reference.
fn uri(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    path.replace('\\', "/")
        .bytes()
        .map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the SARIF 2.1.0 schema requires of the parts that are written.
    fn check(text: &str) -> Vec<Value> {
        let sarif: Value = serde_json::from_str(text).unwrap();
        assert_eq!(sarif["version"], "2.1.0");
        let run = &sarif["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        assert!(run["tool"]["driver"]["name"].is_string());
        let results = run["results"].as_array().unwrap();
        for result in results {
            assert!(result["message"]["text"].as_str().is_some_and(|t| !t.is_empty()));
            assert!(["none", "note", "warning", "error"].contains(&result["level"].as_str().unwrap()));
            let index = result["ruleIndex"].as_u64().unwrap() as usize;
            assert_eq!(rules[index]["id"], result["ruleId"]);
            for location in result["locations"].as_array().unwrap() {
                let physical = &location["physicalLocation"];
                assert!(physical.is_null() || physical["artifactLocation"]["uri"].is_string());
                assert!(physical.is_null() || physical["region"]["startLine"].as_u64() >= Some(1));
            }
            assert!(result["partialFingerprints"].as_object().unwrap().values().all(Value::is_string));
        }
        results.clone()
    }

    #[test]
    fn every_verdict_is_valid_sarif() {
        let files = BTreeMap::from([("billing".to_owned(), "suites/billing & co.yaml".to_owned())]);
        for (name, report) in super::super::samples::all() {
            let results = check(&gate(&report, &files));
            let ids: Vec<&str> = results.iter().map(|r| r["ruleId"].as_str().unwrap()).collect();
            let expected: &[&str] = match name {
                "pass" | "judged" => &[],
                "regress" => &["limit-exceeded", "task-regression"],
                "undecided" => &["undecided"],
                _ => &["invalid-run", "invalid-run"],
            };
            assert_eq!(ids, expected, "{name}");
        }
    }

    #[test]
    fn a_finding_reads_well() {
        let files = BTreeMap::from([("billing".to_owned(), "suites/billing.yaml".to_owned())]);
        let text = gate(&super::super::samples::regress(), &files);
        insta::with_settings!({filters => vec![(r#""semanticVersion": "[0-9.]+""#, r#""semanticVersion": "VERSION""#)]}, {
            insta::assert_snapshot!(text);
        });
        assert_eq!(uri("a b\\c.yaml"), "a%20b/c.yaml");
    }
}
