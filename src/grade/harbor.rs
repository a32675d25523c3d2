//! A Harbor task's verifier says what the work is worth.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Config, ConfigError, Evidence, Got, Graded, Grader, Need, clip};
use crate::trial::Grade;

/// A Harbor task's `tests/test.sh`, run in the trial's workspace; the reward it writes is the score.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Harbor {
    /// The folder with test.sh.
    tests: String,
    /// Where the container's loop would have worked; the tests' paths into it lead to the workspace instead.
    #[serde(default = "app")]
    workdir: String,
    /// The reward that passes.
    #[serde(default = "one")]
    at_least: f64,
    /// How long it may take.
    #[serde(default = "minutes")]
    seconds: f64,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

fn app() -> String {
    "/app".to_owned()
}

fn one() -> f64 {
    1.0
}

fn minutes() -> f64 {
    600.0
}

/// The tests are copied beside the work, and there the container's folders they name (/tests, /logs, the working directory) become the
/// workspace's. Only whole path components are taken, and only in text.
const SCRIPT: &str = r#"set -eu
here=$PWD/.harbor
rm -rf "$here"
mkdir -p "$here/logs/verifier" "$here/logs/agent"
cp -R "$1" "$here/tests"
find "$here/tests" -type f | while IFS= read -r file; do
  if LC_ALL=C grep -qI . "$file" 2>/dev/null; then
    LC_ALL=C sed -E -e "s#(^|[^A-Za-z0-9_./~-])$2([^A-Za-z0-9_.-]|\$)#\1$PWD\2#g" \
      -e "s#(^|[^A-Za-z0-9_./~-])/(tests|logs)([^A-Za-z0-9_.-]|\$)#\1$here/\2\3#g" "$file" > "$here/rewritten"
    cat "$here/rewritten" > "$file"
  fi
done
rm -f "$here/rewritten"
exec bash "$here/tests/test.sh"
"#;

const REWARDS: [&str; 2] = [".harbor/logs/verifier/reward.json", ".harbor/logs/verifier/reward.txt"];

impl Config for Harbor {
    const NAME: &'static str = "harbor";
    const ABOUT: &'static str = "The verifier of a Harbor task rewards the work.";
    const EXAMPLE: &'static str = "{type: harbor, tests: \"{{suite_dir}}/hello/tests\", workdir: /app}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        let plain = |c: char| c.is_alphanumeric() || "/_.-".contains(c);
        if !self.workdir.starts_with('/')
            || self.workdir.trim_matches('/').is_empty()
            || !self.workdir.chars().all(plain)
        {
            return Err(ConfigError::at("workdir", "expected a folder of the container, /app say"));
        }
        if !(self.seconds.is_finite() && self.seconds > 0.0) {
            return Err(ConfigError::at("seconds", "the time must be above 0"));
        }
        if !self.at_least.is_finite() {
            return Err(ConfigError::at("at_least", "expected a number"));
        }
        Ok(Box::new(self))
    }
}

impl Harbor {
    fn need(&self) -> Need {
        let workdir = self.workdir.trim_end_matches('/').replace('.', "\\.");
        Need::Command {
            run: ["bash", "-c", SCRIPT, "harbor", &self.tests, &workdir].map(ToOwned::to_owned).to_vec(),
            env: self.env.clone(),
            stdin: None,
            seconds: self.seconds,
            collect: REWARDS.map(ToOwned::to_owned).to_vec(),
        }
    }
}

impl Grader for Harbor {
    fn needs(&self, _: &Evidence) -> Vec<Need> {
        vec![self.need()]
    }

    fn grade(&self, evidence: &Evidence) -> Graded {
        let (exit, timed_out, stdout, stderr, files) = match evidence.got(&self.need()) {
            Some(Got::Command { exit, timed_out, stdout, stderr, files }) => (exit, *timed_out, stdout, stderr, files),
            Some(Got::Unmet { reason }) => return Graded::broken(reason.clone()),
            _ => return Graded::abstained("the verifier was not run, and the trial's workspace is gone"),
        };
        let said = [stdout, stderr].into_iter().flat_map(|text| text.lines()).rfind(|line| !line.trim().is_empty());
        let said = said.map(|line| format!(": {}", clip(line.trim()))).unwrap_or_default();
        if timed_out {
            return Graded::broken(format!("the verifier was still running after {} s", self.seconds));
        }
        let Some(reward) = REWARDS.iter().find_map(|path| files.get(*path).map(|text| reward(text))) else {
            let code = exit.map_or("a signal".to_owned(), |code| format!("exit code {code}"));
            return Graded::broken(format!("the verifier ended with {code} and wrote no reward{said}"));
        };
        match reward {
            Err(why) => Graded::broken(why),
            Ok(reward) => {
                let pass = reward >= self.at_least;
                let reasons = if pass { Vec::new() } else { vec![format!("the verifier's reward is {reward}{said}")] };
                Graded { grade: Grade::Scored { score: reward.clamp(0.0, 1.0), pass }, reasons }
            }
        }
    }
}

/// A number; or of several named ones the one called reward, or their mean.
fn reward(text: &str) -> Result<f64, String> {
    let number = match serde_json::from_str::<Value>(text.trim()) {
        Ok(Value::Number(number)) => number.as_f64(),
        Ok(Value::Object(named)) => match named.get("reward") {
            Some(reward) => reward.as_f64(),
            None => {
                let all: Option<Vec<f64>> = named.values().map(Value::as_f64).collect();
                all.filter(|all| !all.is_empty()).map(|all| all.iter().sum::<f64>() / all.len() as f64)
            }
        },
        _ => text.trim().parse::<f64>().ok(),
    };
    number
        .filter(|number| number.is_finite())
        .ok_or_else(|| format!("the verifier's reward is no number: {}", clip(text.trim())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::grade;
    use super::*;

    fn graded(exit: Option<i32>, file: &str, text: Option<&str>) -> crate::trial::GradeRecord {
        let grader: Harbor = serde_json::from_value(json!({"tests": "/t"})).unwrap();
        let files = text.map(|text| (file.to_owned(), text.to_owned())).into_iter().collect();
        let mut evidence = Evidence::new("t", "");
        let (stdout, stderr) = ("1 failed\n".to_owned(), String::new());
        evidence.got = vec![(grader.need(), Got::Command { exit, timed_out: false, stdout, stderr, files })];
        grade(json!({"type": "harbor", "tests": "/t"}), &evidence)
    }

    #[test]
    fn rewards_become_scores() {
        let [json, text] = REWARDS;
        for (file, reward, score, pass) in [
            (text, "1\n", 1.0, true),
            (text, "0", 0.0, false),
            (text, "0.25", 0.25, false),
            (text, "3", 1.0, true),
            (json, "{\"reward\": 1.0, \"style\": 0.2}", 1.0, true),
            (json, "{\"a\": 1, \"b\": 0}", 0.5, false),
        ] {
            assert_eq!(graded(Some(0), file, Some(reward)).grade, Grade::Scored { score, pass }, "{reward}");
        }
        assert_eq!(graded(Some(1), text, Some("0")).reasons, ["the verifier's reward is 0: 1 failed"]);
    }

    #[test]
    fn a_verifier_that_says_nothing_is_broken_and_no_failure_of_the_loop() {
        let [json, text] = REWARDS;
        for (file, reward) in [
            (text, None),
            (text, Some("")),
            (text, Some("NaN")),
            (text, Some("good")),
            (json, Some("{}")),
            (json, Some("[1]")),
        ] {
            let record = graded(Some(1), file, reward);
            assert!(matches!(record.grade, Grade::Broken { .. }), "{reward:?}: {:?}", record.grade);
        }
        let bad = |value| serde_json::from_value::<Harbor>(value).unwrap().build().is_err();
        assert!(
            bad(json!({"tests": "t", "workdir": "app"}))
                && bad(json!({"tests": "t", "workdir": "/a#b"}))
                && bad(json!({"tests": "t", "seconds": 0}))
        );
    }
}
