//! A command run in the trial's workspace says whether it is right.

use std::collections::BTreeMap;

use quick_junit::{NonSuccessKind, Report, TestCaseStatus};
use schemars::JsonSchema;
use serde::Deserialize;

use super::text::TextCheck;
use super::{Config, ConfigError, Evidence, Got, Graded, Grader, Need, clip};
use crate::suite::CommandLine;
use crate::trial::Grade;

/// A command run in the trial's workspace.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Command {
    /// What is run; a plain text is run by `sh -c`.
    run: CommandLine,
    /// The exit code that passes.
    #[serde(default)]
    exit: i32,
    /// What must stand in its output.
    #[serde(default)]
    stdout: TextCheck,
    /// A JUnit file it writes: the share of tests that passed becomes the score.
    #[serde(default)]
    junit: Option<String>,
    /// How long it may take.
    #[serde(default = "minutes")]
    seconds: f64,
    /// What it means when it takes longer: `broken` (the grader's fault) or `fail` (the loop's).
    #[serde(default)]
    on_timeout: OnTimeout,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    stdin: Option<String>,
}

fn minutes() -> f64 {
    120.0
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OnTimeout {
    #[default]
    Broken,
    Fail,
}

impl Config for Command {
    const NAME: &'static str = "command";
    const ABOUT: &'static str = "A command run in the trial's workspace ends and prints as it should.";
    const EXAMPLE: &'static str = "{type: command, run: \"pytest -q tests/\", seconds: 60}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        if !(self.seconds.is_finite() && self.seconds > 0.0) {
            return Err(ConfigError::at("seconds", "the time must be above 0"));
        }
        self.stdout.check().map_err(|error| error.within(["stdout".into()]))?;
        Ok(Box::new(self))
    }
}

impl Command {
    fn need(&self) -> Need {
        Need::Command {
            run: self.run.0.clone(),
            env: self.env.clone(),
            stdin: self.stdin.clone(),
            seconds: self.seconds,
            collect: self.junit.iter().cloned().collect(),
        }
    }
}

impl Grader for Command {
    fn needs(&self, _: &Evidence) -> Vec<Need> {
        vec![self.need()]
    }

    fn grade(&self, evidence: &Evidence) -> Graded {
        let (exit, timed_out, stdout, stderr, files) = match evidence.got(&self.need()) {
            Some(Got::Command { exit, timed_out, stdout, stderr, files }) => (exit, *timed_out, stdout, stderr, files),
            Some(Got::Unmet { reason }) => return Graded::broken(reason.clone()),
            _ => return Graded::abstained("the command was not run, and the trial's workspace is gone"),
        };
        let shown = clip(self.run.0.last().map_or("", String::as_str));
        if timed_out {
            let words = format!("`{shown}` was still running after {} s", self.seconds);
            return if self.on_timeout == OnTimeout::Fail { Graded::fail(words) } else { Graded::broken(words) };
        }
        let last = last_words(stderr, stdout);
        let code = match exit {
            None => return Graded::broken(format!("`{shown}` was ended by a signal{last}")),
            // What shells answer when there is no such program, or it may not be run.
            Some(126 | 127) if self.exit == 0 => return Graded::broken(format!("`{shown}` could not be run{last}")),
            Some(code) => *code,
        };
        let mut faults = Vec::new();
        if code != self.exit {
            faults.push(format!("`{shown}` ended with exit code {code}{last}"));
        }
        faults.extend(self.stdout.faults("its output", stdout));
        let Some(path) = &self.junit else {
            let checks = faults.len();
            return Graded::faults(faults, checks);
        };
        match files.get(path).map(|text| Report::deserialize_from_str(text)) {
            None => Graded::broken(format!("`{shown}` left no {path}{last}")),
            Some(Err(error)) => Graded::broken(format!("{path} is not a JUnit file: {error}")),
            Some(Ok(report)) => from_junit(&report, path, faults),
        }
    }
}

/// Skipped tests count neither way.
fn from_junit(report: &Report, path: &str, mut faults: Vec<String>) -> Graded {
    let (mut passed, mut failed) = (0_u32, 0_u32);
    for case in report.test_suites.iter().flat_map(|suite| &suite.test_cases) {
        match &case.status {
            TestCaseStatus::Success { .. } => passed += 1,
            TestCaseStatus::Skipped { .. } => {}
            TestCaseStatus::NonSuccess { kind, message, .. } => {
                failed += 1;
                let what = if *kind == NonSuccessKind::Error { "broke" } else { "failed" };
                let why = message.as_ref().map(|text| format!(": {}", clip(text.as_str()))).unwrap_or_default();
                if failed <= 20 {
                    faults.push(format!("the test {} {what}{why}", case.name.as_str()));
                }
            }
        }
    }
    if passed + failed == 0 {
        return Graded::broken(format!("{path} has no test that ran"));
    }
    let score = f64::from(passed) / f64::from(passed + failed);
    let pass = faults.is_empty();
    // A bad exit code with all tests passed is still no full score.
    let score = if pass { score } else { score.min(0.99) };
    Graded { grade: Grade::Scored { score, pass }, reasons: faults }
}

fn last_words(stderr: &str, stdout: &str) -> String {
    let line = |text: &str| text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(clip);
    line(stderr).or_else(|| line(stdout)).map(|line| format!(": {line}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::test::grade;
    use super::*;

    fn outcome(
        config: Value,
        exit: Option<i32>,
        timed_out: bool,
        stdout: &str,
        junit: Option<&str>,
    ) -> crate::trial::GradeRecord {
        let mut spec = config;
        spec["type"] = json!("command");
        spec["run"] = json!("make test");
        let need = Need::Command {
            run: ["sh", "-c", "make test"].map(ToOwned::to_owned).to_vec(),
            env: BTreeMap::new(),
            stdin: None,
            seconds: 120.0,
            collect: spec.get("junit").and_then(Value::as_str).map(ToOwned::to_owned).into_iter().collect(),
        };
        let files = junit.map(|text| ("r.xml".to_owned(), text.to_owned())).into_iter().collect();
        let mut evidence = Evidence::new("t", "");
        evidence.got =
            vec![(need, Got::Command { exit, timed_out, stdout: stdout.to_owned(), stderr: String::new(), files })];
        grade(spec, &evidence)
    }

    #[test]
    fn exit_codes_output_and_time() {
        for (config, exit, late, stdout, pass) in [
            (json!({}), Some(0), false, "", Some(true)),
            (json!({}), Some(1), false, "boom", Some(false)),
            (json!({"exit": 1}), Some(1), false, "", Some(true)),
            (json!({"stdout": {"contains": "3 passed"}}), Some(0), false, "3 passed", Some(true)),
            (json!({"stdout": {"contains": "3 passed"}}), Some(0), false, "2 passed", Some(false)),
            (json!({}), None, false, "", None),
            (json!({}), Some(127), false, "", None),
            (json!({}), None, true, "", None),
            (json!({"on_timeout": "fail"}), None, true, "", Some(false)),
        ] {
            assert_eq!(outcome(config.clone(), exit, late, stdout, None).grade.pass(), pass, "{config} {exit:?}");
        }
        assert_eq!(
            outcome(json!({}), Some(1), false, "a\nboom\n\n", None).reasons,
            ["`make test` ended with exit code 1: boom"]
        );
        let unmet = grade(json!({"type": "command", "run": "x"}), &Evidence::new("t", ""));
        assert!(matches!(unmet.grade, Grade::Abstained { .. }));
    }

    #[test]
    fn a_junit_file_gives_the_score() {
        let xml = r#"<testsuites name="t" tests="3" failures="1" errors="0"><testsuite name="s" tests="3" failures="1" errors="0" disabled="0">
            <testcase name="a" classname="c" time="0.1"/><testcase name="b"><failure message="1 != 2" type="x"/></testcase>
            <testcase name="c"><skipped/></testcase></testsuite></testsuites>"#;
        let record = outcome(json!({"junit": "r.xml"}), Some(1), false, "", Some(xml));
        assert_eq!(record.grade, Grade::Scored { score: 0.5, pass: false });
        assert!(record.reasons[1].contains("the test b failed: 1 != 2"), "{:?}", record.reasons);
        for junit in [None, Some("no xml"), Some(r#"<testsuites name="t"></testsuites>"#)] {
            let record = outcome(json!({"junit": "r.xml"}), Some(0), false, "", junit);
            assert!(matches!(record.grade, Grade::Broken { .. }), "{junit:?} {:?}", record.grade);
        }
    }
}
