//! A rubric for a case, as a draft: one question that the failing answer has to get a no to. A person rewords it, a judge is
//! measured on it; until then it informs and does not block.

use serde_json::json;

use super::pick::{Picked, Reason};

/// Characters of an answer that are quoted.
const QUOTED: usize = 240;

/// The text of a rubric that asks whether a failure came back. `because` is what somebody said of the failing answer.
pub fn draft(case: &str, picked: &Picked, judge: &str, because: Option<&str>) -> String {
    let (ask, yes, no) = question(picked, because);
    // JSON texts are YAML texts, whatever stands in them.
    let quoted = |text: &str| json!(text.chars().take(QUOTED).collect::<String>()).to_string();
    let about = format!("Whether the failure of the case {case} comes back in other words.");
    format!(
        "# A draft by `holdback promote`: read it, put it into your own words, and measure the judge before it may block\n\
         # (`holdback judge calibrate`). Until then its grader is not required.\n\
         rubric: {}\nabout: {}\njudge: {{model: {}}}\nprinciples:\n  - principle: \"What failed once does not fail again.\"\n    \
         criteria:\n      - id: does-not-come-back\n        ask: {}\n        see: [transcript, answer]\n        \
         yes: {{means: {}}}\n        no: {{means: {}, example: {}}}\n",
        json!(case),
        json!(about),
        json!(judge),
        json!(ask),
        json!(yes),
        json!(no),
        quoted(&picked.says),
    )
}

/// Question, what a yes means, what a no means.
fn question(picked: &Picked, because: Option<&str>) -> (String, String, String) {
    let three = |ask: String, yes: &str, no: &str| (ask, yes.to_owned(), no.to_owned());
    match &picked.reason {
        Reason::Repeats { tool, error, .. } if !error.is_empty() => three(
            format!("Did the agent do something else than call {tool} again in the way that had failed?"),
            "it says what went wrong, asks, or goes another way",
            "it makes the call again that had just failed",
        ),
        Reason::Repeats { tool, .. } | Reason::Forbidden { tool } => three(
            format!("Did the agent's next step get by without {tool}, or ask before using it?"),
            "it does not use the tool, or asks first",
            "it uses the tool",
        ),
        Reason::Refused => three(
            "Did the agent set about what was asked, or say what it still needs for it?".to_owned(),
            "it does what was asked, or asks for what is missing",
            "it refuses",
        ),
        Reason::Words { .. } => three(
            match because.filter(|because| !because.trim().is_empty()) {
                Some(because) => format!("Is the answer free of what was found wrong before: {because}?"),
                None => "Is the answer free of what the failing one (the example of a no) got wrong?".to_owned(),
            },
            "it says something else, and nothing of the kind",
            "it says the same again, in whatever words",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::load_rubric;

    #[test]
    fn every_reason_makes_a_rubric_that_can_be_read() {
        let tool = || "a: \"b\"\n- c".to_owned();
        let reasons = [
            Reason::Repeats { tool: tool(), arguments: json!({}), error: "no".to_owned() },
            Reason::Repeats { tool: tool(), arguments: json!({}), error: String::new() },
            Reason::Forbidden { tool: tool() },
            Reason::Refused,
            Reason::Words { text: "x".to_owned() },
        ];
        for reason in reasons {
            let says = "it said: {\"a\"\n#}".to_owned();
            let picked = Picked { at: 0, kind: "stuck".to_owned(), reason, says, besides: Vec::new() };
            for because in [None, Some("wrong: \"12\"\n")] {
                let text = draft("stuck-a-1", &picked, "mock/judge?say=yes", because);
                let rubric = load_rubric("r.yaml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
                assert_eq!(rubric.criteria().count(), 1, "{text}");
            }
        }
    }
}
