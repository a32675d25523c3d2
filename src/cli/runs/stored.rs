//! Runs as the log keeps them: a record each, and one for every trial.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::Misuse;
use crate::eval::{Keeper, RESULTS, Select, results};
use crate::gate::{Arm, Policy};
use crate::store::log::{Reader, Store, Writer};
use crate::suite::Sandbox;
use crate::trace::Timestamp;
use crate::trial::{RunRecord, Trial};

/// The kind of record that says what was asked of a run.
pub const REQUEST: &str = "request";

/// What a run was asked for, kept so that it can go on in the same way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    pub suite: PathBuf,
    pub asked: Asked,
    pub budget: Option<f64>,
    pub tags: BTreeMap<String, String>,
    /// The tasks that `failing` meant when the run began.
    pub only: Option<Vec<String>>,
    /// Ends as soon as it is decided against a baseline.
    pub until: Option<Until>,
}

/// When a run in rounds ends. All of it was settled before the first trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Until {
    /// A baseline file, or RUN:VARIANT.
    pub baseline: String,
    /// The baseline's hash: looks at another one would not fit together.
    pub hash: String,
    pub rounds: u32,
    /// Trials of each task at most.
    pub trials: u32,
    pub policy: Policy,
}

/// Which part of a suite, and how.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    pub models: Vec<String>,
    pub trials: Option<u32>,
    pub filter: Vec<String>,
    pub tasks: Vec<String>,
    pub failing: Option<String>,
    pub limit: Option<usize>,
    pub shard: Option<(u32, u32)>,
    pub seed: Option<u64>,
    pub sandbox: Option<Sandbox>,
}

impl Request {
    /// The part of the suite that is meant.
    pub fn select(&self) -> Select {
        Select {
            filter: self.asked.filter.clone(),
            tasks: self.asked.tasks.clone(),
            models: self.asked.models.clone(),
            trials: self.until.as_ref().map(|until| until.trials).or(self.asked.trials),
            limit: self.asked.limit,
            only: self.only.as_ref().map(|only| only.iter().cloned().collect()),
            shard: self.asked.shard,
        }
    }
}

/// All runs of a store, the oldest first. Their trials are read when they are asked for, run by run.
#[derive(Debug, Default)]
pub struct Runs {
    /// Without the trials that are records of their own.
    pub all: Vec<RunRecord>,
    requests: HashMap<String, Request>,
    reader: Option<Reader>,
}

impl Runs {
    /// Reads what there is to know of them without their trials.
    pub fn read(reader: Reader) -> anyhow::Result<Runs> {
        let mut all: Vec<RunRecord> = Vec::new();
        for record in reader.records("run")? {
            match serde_json::from_value(record.data) {
                Ok(run) => all.push(run),
                Err(error) => eprintln!("holdback: run {} can't be read: {error}", record.id),
            }
        }
        if all.is_empty() {
            return Ok(Runs::default());
        }
        all.sort_by_key(|run| run.started);
        let requests = reader.records(REQUEST)?.into_iter();
        let requests = requests.filter_map(|record| Some((record.id, serde_json::from_value(record.data).ok()?)));
        Ok(Runs { all, requests: requests.collect(), reader: Some(reader) })
    }

    /// Reads those of a store, when there is one.
    pub fn of(store: Option<&Store>) -> anyhow::Result<Runs> {
        store.map_or_else(|| Ok(Runs::default()), |store| Runs::read(store.reader()?))
    }

    /// The log they were read from; `None` when there are none.
    pub fn reader(&self) -> Option<&Reader> {
        self.reader.as_ref()
    }

    /// A run with its trials, by task, variant and attempt.
    pub fn whole(&self, head: &RunRecord) -> anyhow::Result<RunRecord> {
        let mut run = head.clone();
        let Some(reader) = &self.reader else { return Ok(run) };
        let belonging = reader.records_of::<Trial>("trial", &run.id)?;
        for id in &belonging.unreadable {
            eprintln!("holdback: trial {id} can't be read");
        }
        if !run.trials.is_empty() {
            // Kept whole by another program: a record of its own tells later of a trial.
            let apart: HashSet<&str> = belonging.found.iter().map(|trial| trial.id.as_str()).collect();
            run.trials.retain(|trial| !apart.contains(trial.id.as_str()));
        }
        run.trials.extend(belonging.found);
        let tasks: HashMap<&str, usize> = (0..).zip(&run.tasks).map(|(at, task)| (task.as_str(), at)).collect();
        let place = |trial: &Trial| tasks.get(trial.task.as_str()).copied();
        run.trials
            .sort_by(|a, b| (place(a), &a.variant, a.attempt, &a.id).cmp(&(place(b), &b.variant, b.attempt, &b.id)));
        Ok(run)
    }

    /// What was asked of a run.
    pub fn request(&self, run: &str) -> Option<&Request> {
        self.requests.get(run)
    }

    /// The run meant by a name (the newest that has it), an id, the beginning of one, or `last`, among those that fit.
    pub fn find(&self, word: &str, fits: impl Fn(&RunRecord) -> bool) -> anyhow::Result<Option<&RunRecord>> {
        let newest = || self.all.iter().rev().filter(|run| fits(run));
        let exact = newest().find(|run| run.name.as_deref() == Some(word) || run.id == word);
        if let Some(run) = exact.or_else(|| newest().next().filter(|_| word == "last")) {
            return Ok(Some(run));
        }
        let begin: Vec<&RunRecord> = newest().filter(|run| !word.is_empty() && run.id.starts_with(word)).collect();
        match begin.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            many => {
                let ids: Vec<&str> = many.iter().take(3).map(|run| run.id.as_str()).collect();
                let (count, ids) = (many.len(), ids.join(", "));
                Err(Misuse(format!("{count} runs begin with {word:?}: {ids}, …; write more of the id")).into())
            }
        }
    }

    /// A run's results in short; `None` where there are none, or none of all the trials it has by now.
    pub fn results(&self, run: &str) -> anyhow::Result<Option<BTreeMap<String, Arm>>> {
        #[derive(Deserialize)]
        struct Results {
            trials: usize,
            arms: BTreeMap<String, Arm>,
        }
        let Some(reader) = &self.reader else { return Ok(None) };
        let mut found = reader.records_of::<Results>(RESULTS, run)?.found;
        let Some(results) = found.pop() else { return Ok(None) };
        Ok((reader.count_of("trial", run)? == results.trials).then_some(results.arms))
    }

    /// As [`Runs::get`], with its trials.
    pub fn get_whole(&self, word: &str) -> anyhow::Result<RunRecord> {
        self.whole(self.get(word)?)
    }

    /// As [`Runs::find`] among all; no run is the caller's mistake.
    pub fn get(&self, word: &str) -> anyhow::Result<&RunRecord> {
        let hint = match self.all.is_empty() {
            true => ": this store has no runs yet (`holdback eval` makes them)".to_owned(),
            false => {
                let newest =
                    self.all.iter().rev().take(3).map(|run| run.name.clone().unwrap_or_else(|| run.id.clone()));
                format!("; the newest are {}", newest.collect::<Vec<_>>().join(", "))
            }
        };
        self.find(word, |_| true)?.ok_or_else(|| Misuse(format!("there is no run {word:?}{hint}")).into())
    }
}

/// Keeps a run's records in the log.
pub struct InLog(pub Writer);

impl Keeper for InLog {
    fn keep(&mut self, kind: &str, id: &str, at: Timestamp, data: &Value) -> Result<(), String> {
        self.0.record(kind, id, at, data).map_err(|error| error.to_string())
    }
}

/// Keeps a whole run that was not made trial by trial: the trials first, so that a run that is there is whole.
pub fn keep_whole(writer: &mut Writer, run: &RunRecord, at: Timestamp) -> anyhow::Result<()> {
    for trial in &run.trials {
        writer.record("trial", &trial.id, at, &serde_json::to_value(trial)?)?;
    }
    writer.record(RESULTS, &run.id, at, &results(run))?;
    let bare = RunRecord { trials: Vec::new(), ..run.clone() };
    writer.record("run", &run.id, at, &serde_json::to_value(&bare)?)?;
    Ok(())
}
