//! What a trace says of itself, one file per signal.
//!
//! A signal looks at [`Step`]s: calls boiled down to hashes and counts. [`Stuck`] does the same while the loop runs.

mod compaction;
mod cost;
mod drift;
mod false_success;
mod intent;
mod normal;
mod refusal;
mod retries;
mod runaway;
mod step;
mod stuck;
mod tool_errors;
mod unhappy;

use serde::{Deserialize, Serialize};

pub use drift::{Drift, LEAST, drift};
pub use intent::{BadTaxonomy, Taxonomy, labels};
pub use step::{Answered, Asked, Mark, Step};
pub use stuck::{Limits, Stuck};
pub use unhappy::{Mood, mood};

use crate::trace::{CallId, TraceEnded};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warning,
    /// Something went wrong.
    Bad,
}

impl Level {
    /// The word stored in the index.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Bad => "bad",
        }
    }
}

/// Something that a trace says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The signal's name: `stuck`, `tool_errors`, …
    pub signal: &'static str,
    pub level: Level,
    /// Which step it was seen at, from 0, and the call that is.
    pub at: usize,
    pub call: Option<CallId>,
    /// How often, how many, what share: what the signal counts.
    pub value: f64,
    /// In a sentence a person can act on.
    pub says: String,
}

/// A trace as the signals see it.
#[derive(Debug, Clone, Copy)]
pub struct Story<'a> {
    /// Its calls in the order in which they ended.
    pub steps: &'a [Step],
    /// How it ended, once it has.
    pub ended: Option<&'a TraceEnded>,
}

/// A signal: a name, and what it finds.
type Signal = (&'static str, fn(&Story<'_>) -> Vec<Found>);

/// What a signal hands back; its name and the call are added here.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    level: Level,
    at: usize,
    value: f64,
    says: String,
}

/// All signals. A new one is a file and a line here.
const SIGNALS: &[Signal] = &[
    ("stuck", stuck::signal),
    ("runaway", runaway::signal),
    ("tool_errors", tool_errors::signal),
    ("retries", retries::signal),
    ("refusal", refusal::signal),
    ("compaction", compaction::signal),
    ("false_success", false_success::signal),
    ("unhappy", unhappy::signal),
    ("cost", cost::signal),
];

/// Everything that the signals find in a trace, in the order of its steps.
pub fn read(story: &Story<'_>) -> Vec<Finding> {
    let named = |(signal, look): &Signal| {
        let signal = *signal;
        look(story).into_iter().map(move |Found { level, at, value, says }| {
            let call = story.steps.get(at).and_then(|step| step.call);
            Finding { signal, level, at, call, value, says }
        })
    };
    let mut findings: Vec<Finding> = SIGNALS.iter().flat_map(named).collect();
    findings.sort_by_key(|finding| finding.at);
    findings
}

/// The names of all signals.
pub fn names() -> impl Iterator<Item = &'static str> {
    SIGNALS.iter().map(|(name, _)| *name)
}

/// Counts as numbers that a report can show.
#[expect(clippy::cast_precision_loss, reason = "counts of a trace stay far below 2^53")]
fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod made {
    //! Made-up traces.

    use serde_json::json;

    use super::Step;
    use crate::trace::{
        Message, Part, ProviderError, Request, Response, Role, Stop, ToolCall, ToolDef, ToolResult, Usage,
    };

    /// A loop that is told what happens call by call.
    #[derive(Default)]
    pub struct Loop {
        pub history: Vec<Message>,
        pub steps: Vec<Step>,
        calls: usize,
    }

    impl Loop {
        pub fn new() -> Self {
            Loop { history: vec![Message::text(Role::User, "do it")], ..Loop::default() }
        }

        fn step(&mut self, response: &Response) {
            let tools = vec![ToolDef { name: "bash".into(), description: String::new(), parameters: json!({}) }];
            let request = Request { model: "m".into(), messages: self.history.clone(), tools, ..Request::default() };
            self.steps.push(Step::of(&request, response));
            self.history.extend(response.message.clone());
        }

        /// The model asks for tools; then their results come, `Err` being an error.
        pub fn tools(&mut self, tool: &str, calls: &[(&str, Result<&str, &str>)]) -> &mut Self {
            let ids: Vec<String> = calls.iter().zip(1..).map(|(_, n)| format!("call_{}", self.calls + n)).collect();
            self.calls += calls.len();
            let asked = calls.iter().zip(&ids).map(|((command, _), id)| {
                Part::ToolCall(ToolCall { id: id.clone(), name: tool.into(), arguments: json!({"command": command}) })
            });
            let message = Message { role: Role::Assistant, parts: asked.collect() };
            self.step(&Response {
                message: Some(message),
                stop: Some(Stop::Tools),
                complete: true,
                ..Response::default()
            });
            let results = calls.iter().zip(&ids).map(|((_, result), id)| {
                let (text, is_error) = match result {
                    Ok(text) => (*text, false),
                    Err(text) => (*text, true),
                };
                Part::ToolResult(ToolResult { id: id.clone(), name: String::new(), text: text.into(), is_error })
            });
            self.history.push(Message { role: Role::Tool, parts: results.collect() });
            self
        }

        pub fn bash(&mut self, command: &str, result: &str) -> &mut Self {
            self.tools("bash", &[(command, Ok(result))])
        }

        /// The model says something; the user says something back, if anything.
        pub fn says(&mut self, text: &str, back: &str) -> &mut Self {
            let message = Some(Message::text(Role::Assistant, text));
            self.step(&Response { message, stop: Some(Stop::End), complete: true, ..Response::default() });
            if !back.is_empty() {
                self.history.push(Message::text(Role::User, back));
            }
            self
        }

        pub fn refuses(&mut self, text: &str) -> &mut Self {
            let message = Some(Message { role: Role::Assistant, parts: vec![Part::Refusal { text: text.into() }] });
            self.step(&Response { message, stop: Some(Stop::Refusal), complete: true, ..Response::default() });
            self
        }

        /// A call that fails, or whose answer breaks off.
        pub fn fails(&mut self, kind: &str) -> &mut Self {
            let error = (!kind.is_empty()).then(|| ProviderError { kind: kind.into(), message: "try later".into() });
            self.step(&Response { error, ..Response::default() });
            self
        }

        pub fn reads(&mut self, tokens: u64) -> &mut Self {
            let step = self.steps.last_mut().expect("a step");
            let usage = Usage { input: Some(tokens), ..Usage::default() };
            step.read_tokens = usage.input;
            self
        }

        /// The history is thrown away for a summary.
        pub fn compacts(&mut self) -> &mut Self {
            self.history = vec![Message::text(Role::User, "do it; so far: things were done")];
            self
        }
    }
}
