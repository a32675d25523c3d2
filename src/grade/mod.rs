//! Evidence in, grade out. One file per grader, each pure: what it needs beyond the evidence it asks for as a [`Need`],
//! and eval goes and gets it.
//!
//! ```
//! use holdback::grade::{Bound, Evidence};
//! use holdback::suite::GraderSpec;
//!
//! let spec = GraderSpec(serde_json::json!({"type": "contains", "all": ["refund", "A-17"]}));
//! let grader = Bound::compile(&spec, &Default::default()).unwrap();
//! let record = grader.grade(&Evidence::new("refund", "The refund of A-17 is on its way."));
//! assert_eq!(record.grade.pass(), Some(true));
//! ```

mod all;
mod any;
mod bound;
mod command;
mod config;
mod contains;
mod cost;
mod divergence;
mod equals;
mod evidence;
mod files;
mod harbor;
mod http;
mod json_path;
mod json_schema;
mod latency;
mod need;
mod no_secrets;
mod not;
mod number;
mod outcome;
mod refusal;
mod regex_match;
pub mod rubric;
mod schema;
mod similarity;
mod stops;
#[cfg(test)]
mod test;
mod text;
mod tokens;
mod tool_calls;
mod trajectory;

use std::fmt::Debug;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use bound::{Bound, bind, check, fingerprint};
pub use config::ConfigError;
pub use evidence::{Change, Evidence, FileSeen, Step};
pub use json_path::{BadPath, Path};
pub use need::{Got, Need};
pub use outcome::{Verdict, verdict};
pub use schema::suite_schema;

use crate::trial::Grade;

/// A grade with its reasons, as a grader gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Graded {
    pub grade: Grade,
    pub reasons: Vec<String>,
}

impl Graded {
    /// All is well; nothing more to say.
    pub fn pass() -> Self {
        Graded { grade: Grade::of(true), reasons: Vec::new() }
    }

    /// A fail with its reason.
    pub fn fail(reason: impl Into<String>) -> Self {
        Graded { grade: Grade::of(false), reasons: vec![reason.into()] }
    }

    /// A pass when there are no faults, otherwise a fail with the share of what was right as its score.
    pub fn faults(faults: Vec<String>, checks: usize) -> Self {
        if faults.is_empty() {
            return Graded::pass();
        }
        let wrong = faults.len() as f64 / checks.max(faults.len()) as f64;
        Graded { grade: Grade::Scored { score: 1.0 - wrong, pass: false }, reasons: faults }
    }

    /// Nothing to say on this trial.
    pub fn abstained(reason: impl Into<String>) -> Self {
        Graded { grade: Grade::Abstained { reason: reason.into() }, reasons: Vec::new() }
    }

    /// The grader itself failed.
    pub fn broken(reason: impl Into<String>) -> Self {
        Graded { grade: Grade::Broken { reason: reason.into() }, reasons: Vec::new() }
    }
}

/// One way to tell right from wrong, its configuration already read.
pub trait Grader: Debug + Send + Sync {
    /// What it needs beyond the evidence.
    fn needs(&self, _evidence: &Evidence) -> Vec<Need> {
        Vec::new()
    }

    /// Its word on the trial.
    fn grade(&self, evidence: &Evidence) -> Graded;

    /// What its word is made of, by name, where the parts are worth a grade of their own.
    fn parts(&self, _evidence: &Evidence) -> Vec<(String, Graded)> {
        Vec::new()
    }
}

/// A grader's configuration: what stands in the suite besides type, label, required and weight.
pub trait Config: DeserializeOwned + JsonSchema {
    /// The type in the suite.
    const NAME: &'static str;
    /// What it checks, in one sentence.
    const ABOUT: &'static str;
    /// How it is written, as YAML.
    const EXAMPLE: &'static str;
    /// Raised when the same configuration may give another grade than before.
    const VERSION: u32 = 1;

    /// Checks the configuration and makes the grader.
    ///
    /// # Errors
    /// What is wrong, and under which key.
    fn build(self) -> Result<Box<dyn Grader>, ConfigError>;
}

/// A type of grader, as the table of all knows it.
#[derive(Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub about: &'static str,
    pub example: &'static str,
    pub version: u32,
    build: fn(&Value) -> Result<Box<dyn Grader>, ConfigError>,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

const fn kind<C: Config>() -> Kind {
    Kind {
        name: C::NAME,
        about: C::ABOUT,
        example: C::EXAMPLE,
        version: C::VERSION,
        build: |value| config::read::<C>(value)?.build(),
        schema: |generator| C::json_schema(generator),
    }
}

/// Every grader there is. A new one is a file and a line here.
pub const KINDS: &[Kind] = &[
    kind::<equals::Equals>(),
    kind::<contains::Contains>(),
    kind::<regex_match::RegexMatch>(),
    kind::<json_schema::JsonSchemaCheck>(),
    kind::<json_path::JsonPath>(),
    kind::<number::Number>(),
    kind::<similarity::Similarity>(),
    kind::<tool_calls::ToolCalls>(),
    kind::<trajectory::Trajectory>(),
    kind::<files::Files>(),
    kind::<command::Command>(),
    kind::<harbor::Harbor>(),
    kind::<stops::Stops>(),
    kind::<divergence::Divergence>(),
    kind::<cost::Cost>(),
    kind::<latency::Latency>(),
    kind::<tokens::Tokens>(),
    kind::<refusal::Refusal>(),
    kind::<no_secrets::NoSecrets>(),
    kind::<http::Http>(),
    kind::<rubric::Rubric>(),
    kind::<not::Not>(),
    kind::<all::All>(),
    kind::<any::Any>(),
];

/// A text cut to a length that fits a line of reasons.
pub(super) fn clip(text: &str) -> String {
    const MOST: usize = 200;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::suite::GraderSpec;

    /// Files of this room that are not graders.
    const COMMON: &[&str] = &["mod", "bound", "config", "evidence", "need", "outcome", "schema", "test", "text"];

    #[test]
    fn every_file_is_a_registered_grader() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/grade");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files: BTreeSet<String> = files
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .filter(|stem| !COMMON.contains(&stem.as_str()))
            .map(|stem| if stem == "regex_match" { "regex".to_owned() } else { stem })
            .collect();
        let registered: BTreeSet<String> = KINDS.iter().map(|kind| kind.name.to_owned()).collect();
        assert_eq!(files, registered, "each grader is one file in src/grade and one line in KINDS");
    }

    #[test]
    fn every_example_is_a_good_configuration() {
        for kind in KINDS {
            let value: Value = crate::suite::yaml(kind.example).unwrap();
            assert_eq!(value["type"], kind.name, "{}", kind.example);
            let vars = [("expected", "x"), ("suite_dir", "/s")]
                .map(|(name, value)| (name.to_owned(), Value::from(value)))
                .into();
            Bound::compile(&GraderSpec(value), &vars).unwrap_or_else(|error| panic!("{}: {error}", kind.name));
        }
    }
}
