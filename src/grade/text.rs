//! Which text a grader looks at, and simple checks of texts that several graders share.

use std::borrow::Cow;

use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::config::ConfigError;
use super::evidence::Evidence;
use super::need::{Got, Need};
use super::{Graded, clip};

/// Which text a grader looks at: `answer` (unless said otherwise), `output`, `errors`, `transcript` or `file:PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject(Which);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Which {
    #[default]
    Answer,
    Output,
    Errors,
    Transcript,
    File(String),
}

const SUBJECTS: &[&str] = &["answer", "output", "errors", "transcript", "file:PATH"];

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(Subject(match word.as_str() {
            "answer" => Which::Answer,
            "output" => Which::Output,
            "errors" => Which::Errors,
            "transcript" => Which::Transcript,
            other => match other.strip_prefix("file:") {
                Some(path) if !path.is_empty() => Which::File(path.to_owned()),
                _ => return Err(de::Error::unknown_variant(other, SUBJECTS)),
            },
        }))
    }
}

impl JsonSchema for Subject {
    fn schema_name() -> Cow<'static, str> {
        "Subject".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "answer, output, errors, transcript or file:PATH",
            "anyOf": [{"enum": ["answer", "output", "errors", "transcript"]}, {"pattern": "^file:.+"}]})
    }
}

impl Subject {
    /// What must be fetched before the text can be looked at.
    pub fn needs(&self) -> Vec<Need> {
        match &self.0 {
            Which::File(path) => vec![Need::File { path: path.clone() }],
            _ => Vec::new(),
        }
    }

    /// The text, or the grade that its absence means.
    pub fn text<'a>(&self, evidence: &'a Evidence) -> Result<Cow<'a, str>, Graded> {
        Ok(match &self.0 {
            Which::Answer => Cow::Borrowed(evidence.answer.as_str()),
            Which::Output => Cow::Borrowed(evidence.stdout.as_str()),
            Which::Errors => Cow::Borrowed(evidence.stderr.as_str()),
            Which::Transcript => Cow::Owned(evidence.transcript()),
            Which::File(path) => return file(path, evidence),
        })
    }

    /// What to call it in a reason.
    pub fn name(&self) -> Cow<'static, str> {
        match &self.0 {
            Which::Answer => "the answer".into(),
            Which::Output => "the output".into(),
            Which::Errors => "the error output".into(),
            Which::Transcript => "the transcript".into(),
            Which::File(path) => path.clone().into(),
        }
    }
}

/// The text of a file the loop left, or the grade that its absence means: a file that isn't there is the loop's failure.
pub(super) fn file<'a>(path: &str, evidence: &'a Evidence) -> Result<Cow<'a, str>, Graded> {
    match evidence.got(&Need::File { path: path.to_owned() }) {
        Some(Got::Missing) => Err(Graded::fail(format!("there is no file {path}"))),
        Some(Got::Unmet { reason }) => match evidence.file_text(path) {
            Some(text) => Ok(text),
            None => Err(Graded::abstained(format!("{path} can't be read: {reason}"))),
        },
        _ => match evidence.file_text(path) {
            Some(text) => Ok(text),
            None => Err(Graded::abstained(format!("{path} was not kept with this trial"))),
        },
    }
}

/// The text of a file beside the suite.
pub(super) fn fixture<'a>(path: &str, evidence: &'a Evidence) -> Result<&'a str, Graded> {
    match evidence.got(&Need::Fixture { path: path.to_owned() }) {
        Some(Got::Text { text }) => Ok(text),
        Some(Got::Unmet { reason }) => Err(Graded::broken(format!("{path} can't be read: {reason}"))),
        _ => Err(Graded::broken(format!("there is no file {path} beside the suite"))),
    }
}

/// A text or several, where one is the usual case.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema)]
#[schemars(with = "TextsSchema")]
pub struct Texts(pub Vec<String>);

#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum TextsSchema {
    One(String),
    Many(Vec<String>),
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let plain = |value: Value| match value {
            Value::String(text) => Ok(text),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(truth) => Ok(truth.to_string()),
            other => Err(de::Error::custom(format!("expected a text or a list of texts, found {other}"))),
        };
        match Value::deserialize(deserializer)? {
            Value::Array(items) => Ok(Texts(items.into_iter().map(plain).collect::<Result<_, D::Error>>()?)),
            one => Ok(Texts(vec![plain(one)?])),
        }
    }
}

/// Checks of a text that several graders share.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextCheck {
    /// The text, but for white space at its ends.
    #[serde(default)]
    pub equals: Option<String>,
    /// Texts that must all be in it.
    #[serde(default)]
    pub contains: Texts,
    /// Texts that must not be in it.
    #[serde(default)]
    pub lacks: Texts,
    /// A regular expression that must match somewhere.
    #[serde(default)]
    pub regex: Option<String>,
}

impl TextCheck {
    /// Whether the check can be made at all.
    pub fn check(&self) -> Result<(), ConfigError> {
        match &self.regex {
            Some(pattern) => compile(pattern, false).map(drop).map_err(|error| error.within(["regex".into()])),
            None => Ok(()),
        }
    }

    /// What is wrong with the text, in sentences; empty when nothing is.
    pub fn faults(&self, name: &str, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(want) = &self.equals
            && want.trim() != text.trim()
        {
            faults.push(format!("{name} should be {:?}, it is {:?}", clip(want.trim()), clip(text.trim())));
        }
        for want in self.contains.0.iter().filter(|want| !text.contains(want.as_str())) {
            faults.push(format!("{name} lacks {:?}", clip(want)));
        }
        for bad in self.lacks.0.iter().filter(|bad| text.contains(bad.as_str())) {
            faults.push(format!("{name} contains {:?}", clip(bad)));
        }
        if let Some(pattern) = &self.regex
            && compile(pattern, false).is_ok_and(|regex| !regex.is_match(text))
        {
            faults.push(format!("{name} doesn't match /{pattern}/"));
        }
        faults
    }
}

/// A regular expression, or what is wrong with it.
pub(super) fn compile(pattern: &str, ignore_case: bool) -> Result<Regex, ConfigError> {
    regex::RegexBuilder::new(pattern).case_insensitive(ignore_case).build().map_err(|error| {
        let words = error.to_string();
        let last = words.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        ConfigError::new(format!("{pattern:?} is not a regular expression: {last}"))
            .help("look-around and back references are not supported")
    })
}

/// The JSON in a text: the whole of it, or what stands in its first fenced block, or from its first brace on.
pub(super) fn json(text: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    if let Some(start) = text.find("```") {
        let inner = &text[start + 3..];
        let inner = inner.split_once('\n').map_or(inner, |(_, rest)| rest);
        if let Some(end) = inner.find("```")
            && let Ok(value) = serde_json::from_str(&inner[..end])
        {
            return Some(value);
        }
    }
    let start = text.find(['{', '['])?;
    serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>().next()?.ok()
}
