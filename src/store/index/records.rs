//! Runs, trials, verdicts and cases: the latest record of each id is the one that counts.

use std::collections::HashMap;

use duckdb::params;
use serde_json::Value;

use super::Error;
use super::database::Database;
use super::rows::{CaseRow, GradeRow, RunRow, Time, TrialRow, VariantRow, VerdictRow, big, int};
use crate::store::log::Record;
use crate::trace::Timestamp;
use crate::trial::{Ending, Grade, GradeRecord, Outcome, RunRecord, Trial};

/// Records of one fold, the latest of each id.
#[derive(Default)]
pub(super) struct Records {
    runs: Latest,
    trials: Latest,
    verdicts: Latest,
    cases: Latest,
}

/// By id: when, and what. Of two records of the same instant, the one whose text sorts last is the later.
type Latest = HashMap<String, (Time, String)>;

impl Records {
    pub(super) fn take(&mut self, record: Record, at: Timestamp) {
        let Record { kind, id, mut data } = record;
        match kind.as_str() {
            "run" => {
                // A run's trials are kept as records of their own, wherever they came from.
                let trials = data.get_mut("trials").map(Value::take);
                for trial in trials.into_iter().flat_map(|trials| match trials {
                    Value::Array(trials) => trials,
                    _ => Vec::new(),
                }) {
                    let id = trial.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
                    later(&mut self.trials, id, at, &trial);
                }
                if let Some(run) = data.as_object_mut() {
                    run.remove("trials");
                }
                later(&mut self.runs, id, at, &data);
            }
            "trial" => later(&mut self.trials, id, at, &data),
            "verdict" => later(&mut self.verdicts, id, at, &data),
            "case" => later(&mut self.cases, id, at, &data),
            // Other kinds have no table.
            _ => {}
        }
    }

    /// Puts them into their tables, in the place of older ones. Says how many could not be read.
    pub(super) fn store(self, database: &Database) -> Result<u64, Error> {
        let mut unreadable = 0;
        let (mut runs, mut variants) = (Vec::new(), Vec::new());
        for (id, (at, text)) in newer(database, "runs", "run_id", self.runs)? {
            match serde_json::from_str::<RunRecord>(&text) {
                Ok(run) => {
                    variants.extend(run.variants.iter().map(|variant| VariantRow {
                        run_id: id.clone(),
                        variant: variant.name.clone(),
                        model: variant.model.clone(),
                        prompt: variant.prompt.clone(),
                        params: serde_json::to_string(&variant.params).expect("parameters are always JSON"),
                        fingerprint: variant.fingerprint.clone(),
                    }));
                    runs.push(run_row(id, run, at, text));
                }
                Err(_) => unreadable += 1,
            }
        }
        delete_texts(database, "runs", "run_id", runs.iter().map(|run| &run.run_id))?;
        delete_texts(database, "variants", "run_id", runs.iter().map(|run| &run.run_id))?;
        database.append(&runs)?;
        database.append(&variants)?;
        let (mut trials, mut grades) = (Vec::new(), Vec::new());
        for (id, (at, text)) in newer(database, "trials", "trial_id", self.trials)? {
            match serde_json::from_str::<Trial>(&text) {
                Ok(trial) => {
                    grades.extend(trial.grades.iter().map(|grade| grade_row(&id, &trial.run, grade)));
                    trials.push(trial_row(id, trial, at, text));
                }
                Err(_) => unreadable += 1,
            }
        }
        delete_texts(database, "trials", "trial_id", trials.iter().map(|trial| &trial.trial_id))?;
        delete_texts(database, "grades", "trial_id", trials.iter().map(|trial| &trial.trial_id))?;
        database.append(&trials)?;
        database.append(&grades)?;
        let verdicts = newer(database, "verdicts", "verdict_id", self.verdicts)?;
        let verdicts: Vec<VerdictRow> =
            verdicts.into_iter().map(|(id, (at, text))| verdict_row(id, at, text)).collect();
        delete_texts(database, "verdicts", "verdict_id", verdicts.iter().map(|verdict| &verdict.verdict_id))?;
        database.append(&verdicts)?;
        unreadable += store_cases(database, self.cases)?;
        Ok(unreadable)
    }
}

fn later(latest: &mut Latest, id: String, at: Timestamp, data: &Value) {
    let new = (Time::from(at), data.to_string());
    match latest.get_mut(&id) {
        Some(old) if *old >= new => {}
        Some(old) => *old = new,
        None => {
            latest.insert(id, new);
        }
    }
}

/// Those that are newer than what the table has, by id.
fn newer(
    database: &Database,
    table: &str,
    column: &str,
    mut records: Latest,
) -> Result<std::collections::BTreeMap<String, (Time, String)>, Error> {
    if records.is_empty() {
        return Ok(std::collections::BTreeMap::new());
    }
    let ids = serde_json::to_string(&records.keys().collect::<Vec<_>>()).expect("texts are always JSON");
    let sql = format!(
        "SELECT {column}, recorded_at, record FROM {table} WHERE {column} IN (SELECT unnest(from_json(?, '[\"VARCHAR\"]')))"
    );
    let mut statement = database.connection().prepare(&sql)?;
    let mut rows = statement.query(params![ids])?;
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let old: (Time, String) = (row.get(1)?, row.get(2)?);
        if records.get(&id).is_some_and(|new| *new <= old) {
            records.remove(&id);
        }
    }
    Ok(records.into_iter().collect())
}

fn delete_texts<'a>(
    database: &Database,
    table: &str,
    column: &str,
    ids: impl Iterator<Item = &'a String>,
) -> Result<(), Error> {
    let ids: Vec<&String> = ids.collect();
    if ids.is_empty() {
        return Ok(());
    }
    let list = serde_json::to_string(&ids).expect("texts are always JSON");
    let sql = format!("DELETE FROM {table} WHERE {column} IN (SELECT unnest(from_json(?, '[\"VARCHAR\"]')))");
    database.connection().execute(&sql, params![list])?;
    Ok(())
}

fn run_row(run_id: String, run: RunRecord, recorded_at: Time, record: String) -> RunRow {
    RunRow {
        run_id,
        name: run.name,
        suite: run.suite,
        kind: run.kind,
        started_at: run.started.into(),
        finished_at: run.finished.map(Time::from),
        trials_per_task: int(run.trials_per_task),
        tasks: int(run.tasks.len()),
        git_commit: run.git_commit,
        holdback_version: run.holdback,
        suite_fingerprint: run.fingerprints.suite,
        graders_fingerprint: run.fingerprints.graders,
        judge_fingerprint: run.fingerprints.judge,
        prices_fingerprint: run.fingerprints.prices,
        target_fingerprint: run.fingerprints.target,
        recorded_at,
        record,
    }
}

fn trial_row(trial_id: String, trial: Trial, recorded_at: Time, record: String) -> TrialRow {
    TrialRow {
        trial_id,
        run_id: trial.run,
        task: trial.task,
        variant: trial.variant,
        attempt: int(trial.attempt),
        seed: trial.seed,
        trace_id: trial.trace.map(super::intake::hex),
        started_at: trial.started.into(),
        duration_ms: trial.duration_us as f64 / 1000.0,
        outcome: match trial.outcome {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::Invalid => "invalid",
        }
        .into(),
        ending: match trial.ending {
            Ending::Exited { .. } => "exited",
            Ending::Signalled { .. } => "signalled",
            Ending::TimedOut { .. } => "timed_out",
            Ending::Braked { .. } => "braked",
            Ending::Broken { .. } => "broken",
        }
        .into(),
        score: trial.score,
        why: trial.why,
        calls: int(trial.calls),
        input_tokens: trial.usage.input.map(big),
        output_tokens: trial.usage.output.map(big),
        cache_read_tokens: trial.usage.cache_read.map(big),
        cache_write_tokens: trial.usage.cache_write.map(big),
        reasoning_tokens: trial.usage.reasoning.map(big),
        cost_usd: trial.cost_usd,
        infra_retries: int(trial.infra_retries),
        copy_of: trial.copy_of,
        stuck: trial.stuck,
        answer_hash: trial.answer_hash,
        recorded_at,
        record,
    }
}

fn grade_row(trial: &str, run: &str, grade: &GradeRecord) -> GradeRow {
    let (word, score, pass, reason) = match &grade.grade {
        Grade::Scored { score, pass } => ("scored", Some(*score), Some(*pass), None),
        Grade::Abstained { reason } => ("abstained", None, None, Some(reason.clone())),
        Grade::Broken { reason } => ("broken", None, None, Some(reason.clone())),
    };
    GradeRow {
        run_id: run.to_owned(),
        trial_id: trial.to_owned(),
        label: grade.label.clone(),
        kind: grade.kind.clone(),
        grade: word.into(),
        score,
        pass,
        required: grade.required,
        weight: grade.weight,
        reason: reason.or_else(|| (!grade.reasons.is_empty()).then(|| grade.reasons.join("\n"))),
        fingerprint: grade.fingerprint.clone(),
    }
}

/// A verdict's record is the gate's own; only what a list shows is read here.
fn verdict_row(verdict_id: String, recorded_at: Time, record: String) -> VerdictRow {
    let data: Value = serde_json::from_str(&record).unwrap_or_default();
    let text =
        |names: [&str; 2]| names.iter().find_map(|name| data.get(name).and_then(Value::as_str)).map(str::to_owned);
    VerdictRow {
        verdict: text(["verdict", "outcome"]),
        baseline_run: text(["baseline_run", "baseline"]),
        candidate_run: text(["candidate_run", "candidate"]),
        verdict_id,
        recorded_at,
        record,
    }
}

/// Puts cases into their table; says how many could not be read.
fn store_cases(database: &Database, cases: Latest) -> Result<u64, Error> {
    let cases = newer(database, "cases", "record_id", cases)?;
    let known = cases.len();
    let rows: Vec<CaseRow> = cases.into_iter().filter_map(|(id, (at, text))| case_row(id, at, text)).collect();
    delete_texts(database, "cases", "record_id", rows.iter().map(|case| &case.record_id))?;
    database.append(&rows)?;
    Ok((known - rows.len()) as u64)
}

/// What makes a case is its suite, its name and when it was opened; the rest is for reading.
fn case_row(record_id: String, recorded_at: Time, record: String) -> Option<CaseRow> {
    let data: Value = serde_json::from_str(&record).ok()?;
    let text = |place: &str| data.pointer(place).and_then(Value::as_str).map(str::to_owned);
    let number = |place: &str| data.pointer(place).and_then(Value::as_u64).map(int);
    let opened: Timestamp = serde_json::from_value(data.get("opened")?.clone()).ok()?;
    Some(CaseRow {
        suite: text("/suite")?,
        case_id: text("/id")?,
        level: text("/level").unwrap_or_else(|| "step".to_owned()),
        kind: text("/details/kind"),
        reason: text("/reason"),
        group_id: text("/group"),
        trace_id: text("/trace"),
        call_number: number("/call"),
        model: text("/model"),
        git_commit: text("/details/commit"),
        opened_at: opened.into(),
        failed: number("/details/failed_again/failed"),
        asked: number("/details/failed_again/asked"),
        record_id,
        recorded_at,
        record,
    })
}
