//! GitHub Actions: a step summary (Markdown) and workflow commands that become annotations.

use std::collections::BTreeMap;

use crate::gate::{GateReport, Verdict};

/// What goes into `$GITHUB_STEP_SUMMARY`.
pub fn summary(report: &GateReport) -> String {
    super::markdown::gate(report)
}

/// One annotation per suite: `::error`, `::warning` for undecided, `::notice` for a pass. `files` says where suites are.
pub fn annotations(report: &GateReport, files: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    for suite in &report.suites {
        let command = match suite.verdict {
            Verdict::Pass => "notice",
            Verdict::Undecided => "warning",
            Verdict::Regress | Verdict::Invalid => "error",
        };
        let title = format!("holdback: {} {}", suite.suite, suite.verdict);
        let place = files.get(&suite.suite).map(|file| format!("file={},line=1,", property(file))).unwrap_or_default();
        out.push_str(&format!("::{command} {place}title={}::{}\n", property(&title), data(&suite.why)));
        for warning in &suite.warnings {
            out.push_str(&format!(
                "::warning title={}::{}\n",
                property(&format!("holdback: {}", suite.suite)),
                data(warning)
            ));
        }
    }
    out
}

/// The escapes of a command's message.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The escapes of a command's property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_not_become_a_command() {
        let mut report = super::super::samples::pass();
        report.suites[0].suite = "a\n::set-env name=X::y".into();
        report.suites[0].why = "50 %\n::error::gotcha".into();
        let text = annotations(&report, &BTreeMap::new());
        assert_eq!(text.lines().count(), 1);
        assert_eq!(text, "::notice title=holdback%3A a%0A%3A%3Aset-env name=X%3A%3Ay pass::50 %25%0A::error::gotcha\n");
    }

    #[test]
    fn every_verdict_has_its_annotation() {
        let files = BTreeMap::from([("checkout".to_owned(), "suites/checkout.yaml".to_owned())]);
        let all: Vec<String> = super::super::samples::all().iter().map(|(_, r)| annotations(r, &files)).collect();
        insta::assert_snapshot!(all.join("=====\n"));
    }
}
