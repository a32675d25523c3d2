//! What a grader sees of a trial: what was said, what was done, what was left behind.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::need::{Got, Need};
use crate::trace::{CallId, Message, Part, ToolCall, ToolResult, Usage};
use crate::trial::{Ending, Replayed};

/// One call of a model within a trial.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Step {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    #[serde(default)]
    pub model: String,
    /// Results of tools that went in with this call.
    #[serde(default)]
    pub results: Vec<ToolResult>,
    /// The answer; `None` when none came.
    #[serde(default)]
    pub said: Option<Message>,
    #[serde(default)]
    pub usage: Usage,
    #[serde(default)]
    pub cost_usd: Option<f64>,
    #[serde(default)]
    pub latency_us: u64,
    #[serde(default)]
    pub first_content_us: Option<u64>,
    #[serde(default)]
    pub error: Option<String>,
    /// Secrets the recorder took out of the answer.
    #[serde(default)]
    pub redactions: u32,
}

/// A file in the workspace after the trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSeen {
    /// From the workspace's top, with `/` between folders.
    pub path: String,
    pub len: u64,
    pub change: Change,
    /// The content of a changed file, where it is text and small enough to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// How a modified file differs from what it was, where both are text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// What became of a file during a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Same,
    Added,
    Modified,
    Deleted,
}

/// Everything a grader may look at. It does no I/O itself: what it needs beyond this it asks for as a [`Need`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    pub task: String,
    #[serde(default)]
    pub prompt: String,
    #[serde(default)]
    pub vars: BTreeMap<String, Value>,
    #[serde(default)]
    pub expected: Option<Value>,
    /// The conversation the first call began with.
    #[serde(default)]
    pub opening: Vec<Message>,
    #[serde(default)]
    pub steps: Vec<Step>,
    /// The final answer.
    #[serde(default)]
    pub answer: String,
    #[serde(flatten)]
    pub ending: Ending,
    #[serde(default)]
    pub stdout: String,
    #[serde(default)]
    pub stderr: String,
    #[serde(default)]
    pub files: Vec<FileSeen>,
    #[serde(default)]
    pub duration_us: u64,
    /// Stuck patterns and the like that the signals saw, each in a sentence.
    #[serde(default)]
    pub stuck: Vec<String>,
    /// The tool calls of the task's reference trace, where it has one.
    #[serde(default)]
    pub reference: Option<Vec<ToolCall>>,
    /// How the loop kept to the tape that answered it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Replayed>,
    /// What the graders asked for, and what became of it.
    #[serde(default)]
    pub got: Vec<(Need, Got)>,
}

impl Evidence {
    /// Evidence of a task that answered and ended well; the rest is filled in by whoever has it.
    pub fn new(task: &str, answer: &str) -> Self {
        Evidence {
            task: task.to_owned(),
            prompt: String::new(),
            vars: BTreeMap::new(),
            expected: None,
            opening: Vec::new(),
            steps: Vec::new(),
            answer: answer.to_owned(),
            ending: Ending::Exited { code: 0 },
            stdout: String::new(),
            stderr: String::new(),
            files: Vec::new(),
            duration_us: 0,
            stuck: Vec::new(),
            reference: None,
            replayed: None,
            got: Vec::new(),
        }
    }

    /// The tools that were asked for, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.steps.iter().filter_map(|step| step.said.as_ref()).flat_map(Message::tool_calls)
    }

    /// What became of a need; `None` when nobody has fulfilled it yet.
    pub fn got(&self, need: &Need) -> Option<&Got> {
        self.got.iter().find(|(asked, _)| asked == need).map(|(_, got)| got)
    }

    /// Tokens of all calls together; a count that any call left out is unknown.
    pub fn usage(&self) -> Usage {
        let sum = |of: fn(&Usage) -> Option<u64>| -> Option<u64> {
            let known: Vec<u64> = self.steps.iter().filter_map(|step| of(&step.usage)).collect();
            (!known.is_empty()).then(|| known.iter().sum())
        };
        Usage {
            input: sum(|usage| usage.input),
            output: sum(|usage| usage.output),
            cache_read: sum(|usage| usage.cache_read),
            cache_write: sum(|usage| usage.cache_write),
            reasoning: sum(|usage| usage.reasoning),
        }
    }

    /// US dollars of all calls together; `None` as soon as one answered call has no price.
    pub fn cost_usd(&self) -> Option<f64> {
        self.steps.iter().filter(|step| step.said.is_some() || step.usage.is_known()).map(|step| step.cost_usd).sum()
    }

    /// The whole course of the trial as a person would read it.
    pub fn transcript(&self) -> String {
        let mut out = String::new();
        let mut line = |who: &str, text: &str| {
            if !text.is_empty() {
                out.push_str(who);
                out.push_str(": ");
                out.push_str(text);
                out.push('\n');
            }
        };
        for message in &self.opening {
            line(message.role.as_str(), &message.plain_text());
        }
        for step in &self.steps {
            for result in &step.results {
                line("tool", &result.text);
            }
            for part in step.said.iter().flat_map(|message| &message.parts) {
                match part {
                    Part::Text { text } | Part::Refusal { text } => line("assistant", text),
                    Part::ToolCall(call) => line("assistant calls", &format!("{} {}", call.name, call.arguments)),
                    Part::Thinking { .. } | Part::ToolResult(_) | Part::Other { .. } => {}
                }
            }
        }
        out
    }

    /// The text of a file the loop left behind, as far as the evidence itself holds it.
    pub fn file_text(&self, path: &str) -> Option<Cow<'_, str>> {
        if let Some(Got::Text { text }) = self.got(&Need::File { path: path.to_owned() }) {
            return Some(Cow::Borrowed(text));
        }
        let seen = self.files.iter().find(|file| file.path == path && file.change != Change::Deleted)?;
        seen.text.as_deref().map(Cow::Borrowed)
    }
}
