//! The YAML of a rubric: principles, the criteria they come down to, and who judges them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fingerprint::hash_hex;

/// Raised when the same rubric is put to a judge in other words than before.
const JUDGING: u32 = 1;

/// How a judge reads a trial: principles, broken down into questions that each have an answer in the evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rubric {
    /// The rubric's name.
    pub rubric: String,
    /// What it is for, in a sentence or two.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    #[serde(default)]
    pub judge: JudgeSpec,
    /// Asks all criteria that see the same evidence in one question. Cheaper, and the answers colour each other.
    #[serde(default)]
    pub grouped: bool,
    /// The weighted mean of the criteria that is good enough, from 0 to 1.
    #[serde(default = "usual_pass")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub pass: f64,
    pub principles: Vec<Principle>,
}

/// Something the agent should hold to, and what can be seen of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Principle {
    /// The principle, in a sentence.
    pub principle: String,
    pub criteria: Vec<Criterion>,
}

/// One question with a yes or a no, or with levels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// A short name, unique in the rubric: small letters, digits and dashes.
    pub id: String,
    /// The question. `yes` must mean that all is well.
    pub ask: String,
    /// What the judge is shown.
    #[serde(default = "usual_sight")]
    pub see: Vec<See>,
    /// How much it counts in the mean.
    #[serde(default = "one")]
    #[schemars(range(min = 0.0))]
    pub weight: f64,
    /// A veto: when this fails, everything fails.
    #[serde(default)]
    pub required: bool,
    /// What a yes looks like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yes: Option<Level>,
    /// What a no looks like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no: Option<Level>,
    /// Instead of yes and no: the levels from 1 on, the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<Level>,
    /// The lowest level that is good enough; the upper half when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass_at: Option<u32>,
}

/// An answer in words, with an example of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// What this answer means.
    pub means: String,
    /// What evidence for it looks like.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub example: String,
}

/// A part of the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum See {
    /// What the user asked for.
    Prompt,
    /// The final answer.
    Answer,
    /// Everything that was said and done, step by step.
    Transcript,
    /// The tools that were called, with what came back.
    ToolCalls,
    /// What changed in files.
    Diff,
    /// The text of the changed files, whole.
    Files,
}

/// Who judges, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JudgeSpec {
    /// The judge, as `provider/model`. `--judge` on the command line wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Several judges instead of one; prefer different families, none of them the candidate's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub panel: Vec<String>,
    /// How often each judge is asked.
    #[schemars(range(min = 1))]
    pub repeats: u32,
    /// How several votes become one.
    pub combine: Combine,
    /// A stronger judge that is asked when the first are not sure: they say so, they disagree, or they have no verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cascade: Option<String>,
    /// Sent when given; some models refuse to be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// More parameters, under the names of the provider.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Value>,
    /// Evidence of more characters than this is shown as a digest, and the judge asks for steps by number.
    #[schemars(range(min = 500))]
    pub max_chars: usize,
}

impl Default for JudgeSpec {
    fn default() -> Self {
        JudgeSpec {
            model: None,
            panel: Vec::new(),
            repeats: 1,
            combine: Combine::Majority,
            cascade: None,
            temperature: None,
            params: BTreeMap::new(),
            max_chars: 24_000,
        }
    }
}

/// How several votes become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// More than half must pass it; a tie is no verdict.
    #[default]
    Majority,
    /// The mean of the levels.
    Mean,
}

fn usual_pass() -> f64 {
    0.7
}

fn one() -> f64 {
    1.0
}

fn usual_sight() -> Vec<See> {
    vec![See::Prompt, See::Answer]
}

impl JudgeSpec {
    /// The judges that are asked first: a panel, or one.
    pub fn members(&self) -> Vec<&str> {
        match self.panel.is_empty() {
            true => self.model.iter().map(String::as_str).collect(),
            false => self.panel.iter().map(String::as_str).collect(),
        }
    }

    /// Every model that may be asked.
    pub fn models(&self) -> Vec<&str> {
        self.members().into_iter().chain(self.cascade.as_deref()).collect()
    }
}

impl Criterion {
    /// How many levels it has; yes and no are two.
    pub fn scale(&self) -> u32 {
        u32::try_from(self.levels.len()).unwrap_or(u32::MAX).max(2)
    }

    /// Whether the answer is yes or no.
    pub fn is_yes_no(&self) -> bool {
        self.levels.is_empty()
    }

    /// The lowest level that is good enough.
    pub fn pass_at(&self) -> u32 {
        let scale = self.scale();
        self.pass_at.unwrap_or(scale / 2 + 1).clamp(1, scale)
    }

    /// A level as a score from 0 to 1.
    pub fn score(&self, level: u32) -> f64 {
        (f64::from(level) - 1.0) / f64::from(self.scale() - 1)
    }

    /// A level in the words of the answer: `yes`, `no`, or its number.
    pub fn word(&self, level: u32) -> String {
        match (self.is_yes_no(), level) {
            (true, 1) => "no".to_owned(),
            (true, _) => "yes".to_owned(),
            (false, level) => level.to_string(),
        }
    }

    /// The level that a word means; `None` for words that mean none.
    pub fn level(&self, word: &Value) -> Option<u32> {
        match (self.is_yes_no(), word) {
            (true, Value::String(word)) if word == "yes" => Some(2),
            (true, Value::String(word)) if word == "no" => Some(1),
            (false, Value::Number(number)) => {
                number.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=self.scale()).contains(n))
            }
            _ => None,
        }
    }
}

impl Rubric {
    /// All criteria with their principles.
    pub fn criteria(&self) -> impl Iterator<Item = (&Principle, &Criterion)> {
        self.principles.iter().flat_map(|principle| principle.criteria.iter().map(move |c| (principle, c)))
    }

    /// A criterion by its id.
    pub fn criterion(&self, id: &str) -> Option<&Criterion> {
        self.criteria().map(|(_, criterion)| criterion).find(|criterion| criterion.id == id)
    }

    /// The hash of everything that may change a verdict: criteria, judges, and the words they are asked with.
    pub fn fingerprint(&self) -> String {
        let bare = Rubric { about: String::new(), ..self.clone() };
        let text = serde_json::to_string(&bare).expect("a rubric is plain data, which always becomes JSON");
        hash_hex(format!("{JUDGING} {text}").as_bytes())
    }
}
