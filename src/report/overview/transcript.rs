//! A conversation, short enough to be read in a report.

use serde::{Deserialize, Serialize};

use crate::trace::{Message, Part};

/// Characters of one thing said.
const ONE: usize = 1_200;
/// Characters of the whole.
const ALL: usize = 9_000;

/// One thing said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// `system`, `user`, `assistant`, `tool`, or `error`.
    pub who: String,
    /// `text`, `thinking`, `call`, `result`, `failed`, `other`.
    pub kind: String,
    pub text: String,
}

impl Said {
    /// Who and what, in words.
    pub fn label(&self) -> &str {
        match self.kind.as_str() {
            "thinking" => "thinks",
            "call" => "calls",
            "result" => "tool",
            "failed" => "tool failed",
            _ => &self.who,
        }
    }
}

/// A conversation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    pub said: Vec<Said>,
    /// Things said that are left out for want of room.
    #[serde(default)]
    pub left_out: usize,
}

impl Transcript {
    /// Adds a message.
    pub fn add(&mut self, message: &Message) {
        let who = message.role.as_str();
        for part in &message.parts {
            match part {
                Part::Text { text } | Part::Refusal { text } => self.say(who, "text", text),
                Part::Thinking { text, .. } if text.is_empty() => {}
                Part::Thinking { text, .. } => self.say(who, "thinking", text),
                Part::ToolCall(call) => self.say(who, "call", &format!("{} {}", call.name, call.arguments)),
                Part::ToolResult(result) if result.is_error => self.say("tool", "failed", &result.text),
                Part::ToolResult(result) => self.say("tool", "result", &result.text),
                Part::Other { value } => self.say(who, "other", &value.to_string()),
            }
        }
    }

    /// Adds an error.
    pub fn fail(&mut self, error: &str) {
        self.say("error", "text", error);
    }

    fn say(&mut self, who: &str, kind: &str, text: &str) {
        if self.said.iter().map(|said| said.text.len()).sum::<usize>() >= ALL {
            self.left_out += 1;
            return;
        }
        let mut short: String = text.chars().take(ONE).collect();
        let more = text.chars().count().saturating_sub(ONE);
        if more > 0 {
            short.push_str(&format!("… ({more} characters more)"));
        }
        self.said.push(Said { who: who.to_owned(), kind: kind.to_owned(), text: short });
    }

    /// As lines, to be compared with another's.
    pub fn lines(&self) -> Vec<String> {
        let one = |said: &Said| -> Vec<String> {
            let mut lines = said.text.lines();
            let first = format!("{}: {}", said.label(), lines.next().unwrap_or(""));
            std::iter::once(first).chain(lines.map(|line| format!("  {line}"))).collect()
        };
        self.said.iter().flat_map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Role;

    #[test]
    fn a_long_conversation_is_cut_and_says_so() {
        let mut transcript = Transcript::default();
        for _ in 0..20 {
            transcript.add(&Message::text(Role::User, "x".repeat(5_000)));
        }
        assert_eq!((transcript.said.len(), transcript.left_out), (8, 12));
        assert!(transcript.said[0].text.ends_with("(3800 characters more)"));
    }
}
