//! What `--baseline`, `--candidate` and their like name: one variant of a stored run, or a baseline file.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::runs::stored::Runs;
use super::{Global, Misuse};
use crate::gate::{Arm, Policy, PolicyFile};
use crate::trial::RunRecord;

/// Finds arms, opening the store only when one is asked for that is no file. Runs come straight from the log: a gate needs no index,
/// and right after a run there is none that knows it.
pub struct Arms<'a> {
    global: &'a Global,
    known: Option<Runs>,
    runs: HashMap<String, RunRecord>,
}

impl<'a> Arms<'a> {
    pub fn new(global: &'a Global) -> Self {
        Arms { global, known: None, runs: HashMap::new() }
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

    /// As [`Arms::one`], but only from a run that has ended: what counts once must be all there.
    ///
    /// # Errors
    /// As [`Arms::one`], and when the run goes on.
    pub fn finished(&mut self, word: &str) -> anyhow::Result<Arm> {
        let arm = self.one(word)?;
        let going_on = !is_file(word) && self.run(split(word).0)?.finished.is_none();
        match going_on {
            true => Err(Misuse(format!(
                "run {} has not finished, and its trials can be counted only once: finish it with `holdback eval --resume {}`",
                arm.run, arm.run
            ))
            .into()),
            false => Ok(arm),
        }
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
            if self.known.is_none() {
                self.known = Some(Runs::read(self.global.existing_store()?.reader()?)?);
            }
            let known = self.known.as_ref().expect("it was read a line above");
            let run = known.get_whole(word)?;
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
pub fn is_file(word: &str) -> bool {
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
