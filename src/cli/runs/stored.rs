//! Runs as the log keeps them: a record each, and one for every trial.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::Misuse;
use crate::eval::{Keeper, Select};
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
            trials: self.asked.trials,
            limit: self.asked.limit,
            only: self.only.as_ref().map(|only| only.iter().cloned().collect()),
            shard: self.asked.shard,
        }
    }
}

/// All runs of a store, the oldest first.
#[derive(Debug, Default)]
pub struct Runs {
    pub all: Vec<RunRecord>,
    requests: HashMap<String, Request>,
}

impl Runs {
    /// Reads them.
    pub fn read(reader: &Reader) -> anyhow::Result<Runs> {
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
        let places: HashMap<String, usize> = (0..).zip(&all).map(|(at, run)| (run.id.clone(), at)).collect();
        for record in reader.records("trial")? {
            let Ok(trial) = serde_json::from_value::<Trial>(record.data) else {
                eprintln!("holdback: trial {} can't be read", record.id);
                continue;
            };
            if let Some(at) = places.get(&trial.run) {
                all[*at].trials.push(trial);
            }
        }
        for run in &mut all {
            let tasks: HashMap<String, usize> = (0..).zip(&run.tasks).map(|(at, task)| (task.clone(), at)).collect();
            run.trials
                .sort_by_cached_key(|trial| (tasks.get(&trial.task).copied(), trial.variant.clone(), trial.attempt));
        }
        let requests = reader.records(REQUEST)?.into_iter();
        let requests = requests.filter_map(|record| Some((record.id, serde_json::from_value(record.data).ok()?)));
        Ok(Runs { all, requests: requests.collect() })
    }

    /// Reads those of a store, when there is one.
    pub fn of(store: Option<&Store>) -> anyhow::Result<Runs> {
        store.map_or_else(|| Ok(Runs::default()), |store| Runs::read(&store.reader()?))
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
    let bare = RunRecord { trials: Vec::new(), ..run.clone() };
    writer.record("run", &run.id, at, &serde_json::to_value(&bare)?)?;
    Ok(())
}
