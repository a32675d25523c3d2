//! Keys that clients refuse to start without: nothing leaves the machine, so any will do.

use crate::replay::TapeCall;
use crate::trace::Wire;

/// What a dummy key says.
const DUMMY: &str = "holdback-replay-needs-no-key";

/// Variables with dummy keys, for the providers that the tape speaks to and whose keys the environment does not have.
pub fn dummies(calls: &[TapeCall], agent: Option<&str>, environment: &[(String, String)]) -> Vec<(String, String)> {
    let has = |name: &str| environment.iter().any(|(known, value)| known == name && !value.is_empty());
    let mut names: Vec<String> = Vec::new();
    for call in calls {
        let keyed = call.request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-api-key"));
        let (name, others): (String, &[&str]) = match call.request.wire {
            // Claude Code, signed in, would turn from its own credentials to a key it is given.
            Wire::AnthropicMessages if agent == Some("claude-code") && !keyed => continue,
            Wire::AnthropicMessages => {
                ("ANTHROPIC_API_KEY".to_owned(), &["ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"])
            }
            Wire::Gemini => ("GEMINI_API_KEY".to_owned(), &["GOOGLE_API_KEY"]),
            Wire::OpenaiChat | Wire::OpenaiResponses => ("OPENAI_API_KEY".to_owned(), &[]),
            _ => continue,
        };
        if !has(&name) && !others.iter().any(|other| has(other)) && !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().map(|name| (name, DUMMY.to_owned())).collect()
}
