//! JUnit XML: a suite is a test suite, its gate is a test case, and so is each of its tasks.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::gate::{GateReport, SuiteReport, TaskReport, Verdict, task_in_words};

/// The report as JUnit XML. A regression and an undecided gate are failures (of type `regress` and `undecided`), an invalid run is
/// an error; a task fails only when it got worse beyond noise.
pub fn gate(report: &GateReport) -> String {
    let mut junit = Report::new("holdback gate");
    for suite in &report.suites {
        junit.add_test_suite(test_suite(suite));
    }
    let mut text = without_skipped(junit.to_string().expect("writing XML to memory can't fail"));
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// The schema has this count for a test suite, and not for all of them together.
fn without_skipped(mut text: String) -> String {
    let head = text.find("<testsuites ").and_then(|start| Some(start..start + text[start..].find('>')?));
    if let Some(head) = head
        && let Some(at) = text[head.clone()].find(" skipped=\"").map(|at| head.start + at)
        && let Some(len) = text[at + 10..head.end].find('"').map(|len| len + 11)
    {
        text.replace_range(at..at + len, "");
    }
    text
}

fn test_suite(suite: &SuiteReport) -> TestSuite {
    let mut out = TestSuite::new(suite.suite.as_str());
    out.add_property(("verdict", suite.verdict.as_str()));
    out.add_property(("baseline", super::source(&suite.baseline).as_str()));
    out.add_property(("candidate", super::source(&suite.candidate).as_str()));
    out.add_property(("policy", suite.policy_hash.as_str()));
    let mut gate = TestCase::new("gate", status(suite));
    gate.set_classname(suite.suite.as_str());
    gate.set_system_out(super::text::suite(suite));
    out.add_test_case(gate);
    if let Some(metric) = suite.metrics.first() {
        for task in &metric.per_task {
            let mut case = TestCase::new(task.task.as_str(), task_status(task));
            case.set_classname(suite.suite.as_str());
            case.set_system_out(task_in_words(task));
            out.add_test_case(case);
        }
    }
    out
}

fn status(suite: &SuiteReport) -> TestCaseStatus {
    let kind = match suite.verdict {
        Verdict::Pass => return TestCaseStatus::success(),
        Verdict::Regress | Verdict::Undecided => NonSuccessKind::Failure,
        Verdict::Invalid => NonSuccessKind::Error,
    };
    let mut status = TestCaseStatus::non_success(kind);
    let reasons: Vec<&str> = suite.reasons.iter().map(|r| r.text.as_str()).collect();
    status.set_message(suite.why.as_str()).set_type(suite.verdict.as_str()).set_description(reasons.join("\n"));
    status
}

fn task_status(task: &TaskReport) -> TestCaseStatus {
    if !task.regressed {
        return TestCaseStatus::success();
    }
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_message(format!("got worse beyond noise: {}", task_in_words(task))).set_type("task_regression");
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the common JUnit schema asks for: counts that add up, names everywhere, at most one outcome per case.
    fn check(xml: &str) {
        let count = |needle: &str| xml.matches(needle).count();
        let attribute = |name: &str| -> Vec<usize> {
            let key = format!(" {name}=\"");
            xml.split(&key).skip(1).map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect()
        };
        assert!(xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"), "{xml}");
        assert_eq!((count("<testsuites "), count("</testsuites>")), (1, 1));
        for (name, element) in [("tests", "<testcase "), ("failures", "<failure "), ("errors", "<error ")] {
            let found = attribute(name);
            assert_eq!(found[0], found[1..].iter().sum::<usize>(), "{name} add up");
            assert_eq!(found[0], count(element), "{name} are what is there");
        }
        assert_eq!(count("<testcase "), count("classname=\""));
    }

    #[test]
    fn every_verdict_is_valid_junit() {
        for (name, report) in super::super::samples::all() {
            let xml = gate(&report);
            check(&xml);
            assert_eq!(xml.contains("type=\"invalid\""), name == "invalid");
            assert_eq!(xml.contains("type=\"undecided\""), name == "undecided");
        }
    }

    #[test]
    fn every_verdict_reads_well() {
        let all = super::super::samples::all().map(|(name, report)| format!("<!-- {name} -->\n{}", gate(&report)));
        insta::assert_snapshot!(all.join("\n"));
    }
}
