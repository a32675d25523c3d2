//! What `--baseline`, `--candidate` and their like name: one variant of a stored run, or a baseline file.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use super::runs::stored::Runs;
use super::{Global, Misuse};
use crate::gate::{Arm, FailedTrial, Policy, PolicyFile};
use crate::trial::{Outcome, RunRecord, Trial};

/// Finds arms, opening the store only when one is asked for that is no file. Runs come straight from the log: a gate needs no index,
/// and right after a run there is none that knows it.
pub struct Arms<'a> {
    global: &'a Global,
    known: OnceCell<Runs>,
    /// Runs whose trials had to be read.
    whole: HashMap<String, RunRecord>,
    told: HashSet<String>,
}

impl<'a> Arms<'a> {
    pub fn new(global: &'a Global) -> Self {
        Arms { global, known: OnceCell::new(), whole: HashMap::new(), told: HashSet::new() }
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
        let head = self.head(run)?;
        self.arm(&head, variant)
    }

    /// As [`Arms::one`], but only from a run that has ended: what counts once must be all there.
    ///
    /// # Errors
    /// As [`Arms::one`], and when the run goes on.
    pub fn finished(&mut self, word: &str) -> anyhow::Result<Arm> {
        if !is_file(word) {
            let head = self.head(split(word).0)?;
            if head.finished.is_none() {
                return Err(Misuse(format!(
                    "run {} has not finished, and its trials can be counted only once: finish it with `holdback eval --resume {}`",
                    head.id, head.id
                ))
                .into());
            }
        }
        self.one(word)
    }

    /// The arms that are meant: all variants of a run when none is named.
    ///
    /// # Errors
    /// As [`Arms::one`].
    pub fn all(&mut self, word: &str) -> anyhow::Result<Vec<Arm>> {
        if is_file(word) || split(word).1.is_some() {
            return Ok(vec![self.one(word)?]);
        }
        let head = self.head(word)?;
        head.variants.iter().map(|variant| self.arm(&head, Some(&variant.name))).collect()
    }

    /// As [`Arms::one`] of a run, with the verdicts of judges that may not block taken out of the outcomes.
    ///
    /// # Errors
    /// As [`Arms::one`].
    pub fn with_judges(&mut self, word: &str, may_block: &dyn Fn(&str) -> bool) -> anyhow::Result<Arm> {
        let (run, variant) = split(word);
        let head = self.head(run)?;
        let (run, silenced) = crate::gate::judges::without(&self.known()?.whole(&head)?, may_block);
        for label in silenced {
            eprintln!(
                "holdback: {word}: the judge of {label:?} has no valid calibration: it informs, and doesn't count (holdback judge \
                 calibrate)"
            );
        }
        Ok(Arm::from_run(&run, variant)?)
    }

    /// Trials of an arm that failed and left a trace, so many at the most; none of what is known from a file only.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn failing(&mut self, word: &str, variant: &str, most: usize) -> anyhow::Result<Vec<FailedTrial>> {
        if is_file(word) {
            return Ok(Vec::new());
        }
        let head = self.head(split(word).0)?;
        let run = match self.whole.get(&head.id) {
            Some(run) => run.clone(),
            None => self.known()?.whole(&head)?,
        };
        // What is a case already is none to be made.
        let reader = self.known()?.reader();
        let cases = reader.map(crate::eval::cases::read).transpose()?.unwrap_or_default();
        let is_case = |task: &str| cases.iter().any(|case| case.suite == head.suite && case.id == task);
        let failed = |trial: &Trial| {
            !is_case(&trial.task)
                && trial.variant == variant
                && trial.outcome == Outcome::Fail
                && trial.copy_of.is_none()
        };
        let mut failing: Vec<FailedTrial> = run
            .trials
            .into_iter()
            .filter(failed)
            .filter_map(|trial| {
                Some(FailedTrial { trace: trial.trace?, task: trial.task, attempt: trial.attempt, why: trial.why })
            })
            .collect();
        // One of each task before a second of any.
        let mut seen: HashMap<String, usize> = HashMap::new();
        let turn = |failed: &FailedTrial| {
            let seen = seen.entry(failed.task.clone()).or_default();
            *seen += 1;
            *seen
        };
        let turns: Vec<usize> = failing.iter().map(turn).collect();
        let mut order: Vec<usize> = (0..failing.len()).collect();
        order.sort_by_key(|at| (turns[*at], *at));
        order.truncate(most);
        order.sort_unstable();
        failing = order.into_iter().map(|at| failing[at].clone()).collect();
        Ok(failing)
    }

    fn known(&self) -> anyhow::Result<&Runs> {
        if self.known.get().is_none() {
            let runs = Runs::read(self.global.existing_store()?.reader()?)?;
            let _ = self.known.set(runs);
        }
        Ok(self.known.get().expect("it was read a line above"))
    }

    /// A run without its trials.
    fn head(&mut self, word: &str) -> anyhow::Result<RunRecord> {
        let head = self.known()?.get(word)?.clone();
        if head.finished.is_none() && self.told.insert(head.id.clone()) {
            eprintln!("holdback: run {} has not finished, or was killed: only what it did is counted", head.id);
        }
        Ok(head)
    }

    /// From the run's results in short, where it left them; else from its trials.
    fn arm(&mut self, head: &RunRecord, variant: Option<&str>) -> anyhow::Result<Arm> {
        if !self.whole.contains_key(&head.id) {
            let name = variant.or(match head.variants.as_slice() {
                [only] => Some(&only.name),
                _ => None,
            });
            let short = self.known()?.results(&head.id)?;
            if let Some(arm) = short.zip(name).and_then(|(mut arms, name)| arms.remove(name)) {
                return Ok(arm);
            }
            let whole = self.known()?.whole(head)?;
            self.whole.insert(head.id.clone(), whole);
        }
        Ok(Arm::from_run(&self.whole[&head.id], variant)?)
    }
}

/// `RUN:VARIANT`, taken apart. Names of variants may hold colons, names of runs may not.
pub fn split(word: &str) -> (&str, Option<&str>) {
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

/// Reads a baseline file.
///
/// # Errors
/// When it is none.
pub fn read(path: &Path) -> anyhow::Result<Arm> {
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
