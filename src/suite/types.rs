//! The YAML of a suite, as types. What a field is for is said here once: the JSON Schema carries the same words.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// What to ask, of whom, how often, and how to tell right from wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// The suite's name.
    pub suite: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `regression` must stay near 100 %; `capability` may fail and is watched.
    #[serde(default)]
    pub kind: Kind,
    /// What is run for each trial: one of `loop`, `prompt`, `http`, `trace`.
    pub target: Target,
    /// The models to ask, as `provider/model`; `mock/echo` and its kin need no key and no network.
    #[serde(default)]
    pub models: Vec<String>,
    /// Prompts to compare: a name and a text, or a name and a file. They take the place of the target's system prompt;
    /// loops read them as `{{system}}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prompts: BTreeMap<String, String>,
    /// Sets of parameters to compare, such as `{temperature: 0}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<BTreeMap<String, Value>>,
    /// How often each task is asked of each model.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub trials: u32,
    /// Where the order of trials and their seeds come from.
    #[serde(default)]
    pub seed: u64,
    #[serde(default)]
    pub budget: Budget,
    /// Variables for every task; a task's own win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Value>,
    /// Graders for every task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub graders: Vec<GraderSpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<Task>,
    /// More tasks: files, `.jsonl` with one task a line or `.csv` with one task a row; and folders of Harbor tasks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks_from: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// How alike a request of a loop and the one on its task's `tape` have to be.
    #[serde(default, rename = "match", skip_serializing_if = "Likeness::is_usual")]
    pub likeness: Likeness,
    /// JSON paths of requests that don't count when they are held against a `tape`: `$.metadata.run`, `..timestamp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
}

/// How alike a request and the one on the tape have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Likeness {
    /// The same bytes, cache marks aside.
    Strict,
    /// The same to the model: ids, times, process numbers, the order of parallel results aside.
    #[default]
    Normal,
    /// The same course: who spoke and which tools were called.
    Lenient,
}

impl Likeness {
    fn is_usual(&self) -> bool {
        *self == Likeness::default()
    }
}

fn one() -> u32 {
    1
}

/// What a failing task means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A task that fails is news, and `holdback eval` exits with 1.
    #[default]
    Regression,
    /// A task may fail; the rate is watched.
    Capability,
}

impl Kind {
    /// The word stored in the run's record.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Regression => "regression",
            Kind::Capability => "capability",
        }
    }
}

/// What is run for each trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Any program that talks to a model: an agent loop, a script, a test.
    Loop(LoopTarget),
    /// A single model call, or tool turns with canned answers.
    Prompt(PromptTarget),
    /// A service that answers one HTTP request per task.
    Http(HttpTarget),
    /// Traces that exist already: nothing runs, they are graded.
    Trace(TraceTarget),
}

/// A program that talks to a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoopTarget {
    /// Program and arguments, as a list; a plain text is run by `sh -c`.
    pub command: CommandLine,
    /// A folder each trial gets its own copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Variables set for the loop.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Names of variables passed on from your own environment; everything else is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pass_env: Vec<String>,
    /// Exit codes of a loop that ended well; any other is a failed trial.
    #[serde(default = "zero")]
    pub ok_exit: Vec<i32>,
    /// Text for the loop's standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Whether the loop may reach the network beyond the recording proxy.
    #[serde(default)]
    pub network: bool,
    /// How the loop is kept in its workspace.
    #[serde(default)]
    pub sandbox: Sandbox,
    /// The image, where the sandbox is docker or podman.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Folders outside the workspace that the loop may write to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writable: Vec<String>,
}

fn zero() -> Vec<i32> {
    vec![0]
}

/// How a loop is kept in its workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// Landlock where the system has it, otherwise none, and it is said which.
    #[default]
    Auto,
    None,
    Landlock,
    Bubblewrap,
    Docker,
    Podman,
}

/// One model call, or a few with canned tools.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptTarget {
    /// The system prompt: a text, or a file's name ending in .md or .txt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The conversation; when it is left out, the task's prompt is the only message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<PromptMessage>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<PromptTool>,
    /// How many calls a trial may make while the model asks for tools.
    #[serde(default = "eight")]
    #[schemars(range(min = 1))]
    pub max_turns: u32,
}

fn eight() -> u32 {
    8
}

/// A message of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptMessage {
    pub role: Speaker,
    pub text: String,
}

/// Who speaks in a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    User,
    Assistant,
}

/// A tool the model may ask for, and what it is told when it does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptTool {
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// JSON Schema of the arguments.
    #[serde(default)]
    pub parameters: Value,
    /// What the tool answers. Tools without an answer end the trial when they are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// A service that answers one request per task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpTarget {
    pub url: String,
    #[serde(default = "post")]
    pub method: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The request's body; texts in it may hold `{{variables}}`.
    #[serde(default)]
    pub body: Value,
    /// Where the answer stands in the response, as a JSON path; the whole body when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

fn post() -> String {
    "POST".to_owned()
}

/// Traces that exist already.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceTarget {
    /// Ask the last request of each trace again, of the models named, and grade the next move: what `holdback promote`
    /// writes. Without it nothing is asked and the recorded answers are graded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ask: bool,
}

/// Limits. What is left out is not limited.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// US dollars for the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    #[serde(default)]
    pub trial: TrialBudget,
}

/// Limits of one trial.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialBudget {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
}

/// One thing to ask.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Unique in its suite.
    pub id: String,
    /// What is asked; `{{prompt}}` in the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Graders of this task, after the suite's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub graders: Vec<GraderSpec>,
    /// A workspace of its own instead of the target's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// The right answer, for graders that compare: `{{expected}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Value>,
    /// A recorded trace (id, prefix or name, or a file `NAME.trace.zst` beside the suite): what is graded with target `trace`, what `trajectory` compares with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// For loops: a recorded trace (named as for `trace`) that answers the loop's model calls in place of a model. The trial passes
    /// only while the loop keeps to it, unless a grader `divergence` says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tape: Option<String>,
    /// The first call that is asked live, of the model under test; the calls before it are answered from `tape`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub live_from: Option<usize>,
    /// Which tools the tape answers too: `[strict]`, `[fifo]`, `[strict, search=live]`. MCP servers of the loop stand behind
    /// `holdback tool-tape`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tape_tools: Vec<String>,
    /// More or fewer trials than the suite says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trials: Option<u32>,
    /// How long a trial may take, instead of the budget's seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// A grader's configuration, kept as it was written: what it means is the grader's business.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct GraderSpec(pub Value);

impl GraderSpec {
    /// The grader's type, when one is given.
    pub fn kind(&self) -> Option<&str> {
        self.0.get("type").and_then(Value::as_str)
    }
}

/// A command: program and arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(with = "OneOrMany")]
pub struct CommandLine(pub Vec<String>);

#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum OneOrMany {
    Shell(String),
    Words(Vec<String>),
}

impl<'de> Deserialize<'de> for CommandLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = CommandLine;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of program and arguments, or a text for sh -c")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<CommandLine, E> {
                Ok(CommandLine(vec!["sh".to_owned(), "-c".to_owned(), text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<CommandLine, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = seq.next_element::<String>()? {
                    words.push(word);
                }
                if words.is_empty() {
                    return Err(de::Error::custom("the command is empty: it needs at least a program"));
                }
                Ok(CommandLine(words))
            }
        }
        deserializer.deserialize_any(Words)
    }
}
