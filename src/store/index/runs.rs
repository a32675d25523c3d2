//! Runs, loaded whole: what a gate compares and a report shows.

use rayon::prelude::*;

use super::{Error, Index};
use crate::trial::{RunRecord, Trial};

impl Index {
    /// The run meant by a name (the newest that has it), the beginning of an id, or `last`, with all its trials.
    ///
    /// # Errors
    /// When no run or more than one is meant, or a record can't be read.
    pub fn load_run(&self, word: &str) -> Result<RunRecord, Error> {
        let (id, record) = self.find_run(word)?;
        let unreadable = |source| Error::Record { what: format!("run {id}"), source };
        let mut run: RunRecord = serde_json::from_str(&record).map_err(unreadable)?;
        let mut statement = self.connection.prepare(include_str!("../sql/run_trials.sql"))?;
        let records: Vec<String> = statement.query_map([&id], |row| row.get(0))?.collect::<duckdb::Result<_>>()?;
        run.trials = records
            .par_iter()
            .map(|record| serde_json::from_str::<Trial>(record))
            .collect::<Result<_, _>>()
            .map_err(|source| Error::Record { what: format!("a trial of run {id}"), source })?;
        Ok(run)
    }

    /// Id and record of the run a word means.
    fn find_run(&self, word: &str) -> Result<(String, String), Error> {
        struct Found {
            id: String,
            name: Option<String>,
            record: String,
            named: bool,
        }
        let mut statement = self.connection.prepare(include_str!("../sql/runs_named.sql"))?;
        let found = statement.query_map([word], |row| {
            Ok(Found {
                id: row.get("run_id")?,
                name: row.get("name")?,
                record: row.get("record")?,
                named: row.get::<_, Option<bool>>("named")?.unwrap_or(false),
            })
        })?;
        let mut found = found.collect::<duckdb::Result<Vec<_>>>()?;
        let exact = found.iter().position(|run| run.named).or_else(|| found.iter().position(|run| run.id == word));
        let at = match (exact, found.len()) {
            (Some(at), _) => at,
            (None, 0) => return Err(self.no_run(word)),
            (None, 1) => 0,
            (None, _) if word == "last" => 0,
            (None, count) => {
                let examples = found.iter().take(3).map(|run| match &run.name {
                    Some(name) => format!("{} ({name})", run.id),
                    None => run.id.clone(),
                });
                let examples = examples.collect::<Vec<_>>().join(", ");
                return Err(Error::ManyRuns { asked: word.to_owned(), count, examples });
            }
        };
        let run = found.swap_remove(at);
        Ok((run.id, run.record))
    }

    fn no_run(&self, word: &str) -> Error {
        let newest = || -> duckdb::Result<Vec<String>> {
            let mut statement = self.connection.prepare(include_str!("../sql/newest_runs.sql"))?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        let hint = match newest() {
            Ok(newest) if newest.is_empty() => ": this store has no runs yet (`holdback eval` makes them)".to_owned(),
            Ok(newest) => format!("; the newest are {}", newest.join(", ")),
            Err(_) => String::new(),
        };
        Error::NoRun { asked: word.to_owned(), hint }
    }
}
