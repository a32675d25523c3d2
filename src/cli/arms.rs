//! What `--baseline`, `--candidate` and their like name: one variant of a stored run, or a baseline file.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::{Global, Misuse, index};
use crate::gate::{Arm, Policy, PolicyFile};
use crate::store::index::Index;
use crate::trial::RunRecord;

/// Finds arms, opening the store only when one is asked for that is no file.
pub struct Arms<'a> {
    global: &'a Global,
    index: Option<Index>,
    runs: HashMap<String, RunRecord>,
}

impl<'a> Arms<'a> {
    pub fn new(global: &'a Global) -> Self {
        Arms { global, index: None, runs: HashMap::new() }
    }

    /// The one arm that is meant.
    ///
    /// # Errors
    /// When there is no such file, run or variant, or the run has several variants and none is named.
    pub fn one(&mut self, word: &str) -> anyhow::Result<Arm> {
        if is_file(word) {
            return read(Path::new(word));
        }
        let (run, variant) = split(word);
        Ok(Arm::from_run(self.run(run)?, variant)?)
    }

    /// The arms that are meant: all variants of a run when none is named.
    ///
    /// # Errors
    /// As [`Arms::one`].
    pub fn all(&mut self, word: &str) -> anyhow::Result<Vec<Arm>> {
        if is_file(word) || split(word).1.is_some() {
            return Ok(vec![self.one(word)?]);
        }
        let run = self.run(word)?;
        let arms = run.variants.iter().map(|variant| Arm::from_run(run, Some(&variant.name)));
        Ok(arms.collect::<Result<_, _>>()?)
    }

    fn run(&mut self, word: &str) -> anyhow::Result<&RunRecord> {
        if !self.runs.contains_key(word) {
            if self.index.is_none() {
                self.index = Some(index::open(&self.global.existing_store()?, "gate")?);
            }
            let index = self.index.as_ref().expect("it was opened a line above");
            let run = index.load_run(word).map_err(index::misuse_or_not)?;
            if run.finished.is_none() {
                eprintln!("holdback: run {} has not finished, or was killed: only what it did is counted", run.id);
            }
            self.runs.insert(word.to_owned(), run);
        }
        Ok(&self.runs[word])
    }
}

/// `RUN:VARIANT`, taken apart. Names of variants may hold colons, names of runs may not.
fn split(word: &str) -> (&str, Option<&str>) {
    word.split_once(':').map_or((word, None), |(run, variant)| (run, Some(variant)))
}

/// A word that ends like a file or is one.
fn is_file(word: &str) -> bool {
    word.ends_with(".json") || Path::new(word).is_file()
}

/// A file that a person named: what is wrong with it is theirs to put right.
///
/// # Errors
/// When it can't be read as text.
pub fn text_of(path: &Path) -> anyhow::Result<String> {
    Ok(fs::read_to_string(path).map_err(|error| Misuse(format!("{}: {error}", path.display())))?)
}

fn read(path: &Path) -> anyhow::Result<Arm> {
    let text = text_of(path)?;
    Ok(Arm::from_json(&text).map_err(|error| Misuse(format!("{}: {error}", path.display())))?)
}

/// A policy file, or all defaults when none is named.
#[derive(Debug)]
pub struct Policies {
    file: PolicyFile,
    place: String,
}

impl Policies {
    /// Reads the file.
    ///
    /// # Errors
    /// When it can't be read, or holds what no policy has.
    pub fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Policies { file: PolicyFile::default(), place: "the defaults".to_owned() });
        };
        let place = path.display().to_string();
        let file = PolicyFile::parse(&text_of(path)?).map_err(|error| Misuse(format!("{place}: {error}")))?;
        Ok(Policies { file, place })
    }

    /// The policy for an arm's suite.
    ///
    /// # Errors
    /// When a value has no meaning.
    pub fn of(&self, arm: &Arm) -> anyhow::Result<Policy> {
        self.for_suite(&arm.suite, &arm.kind)
    }

    /// The policy for a suite of that name and kind.
    ///
    /// # Errors
    /// When a value has no meaning.
    pub fn for_suite(&self, suite: &str, kind: &str) -> anyhow::Result<Policy> {
        let policy = self.file.resolve(suite, kind);
        Ok(policy.map_err(|error| Misuse(format!("{}: {error}", self.place)))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_variants_or_files() {
        assert_eq!(split("last"), ("last", None));
        assert_eq!(split("r1:ollama/llama3:8b"), ("r1", Some("ollama/llama3:8b")));
        assert!(is_file("baselines/checkout.json") && !is_file("nightly") && is_file("Cargo.toml"));
    }
}
