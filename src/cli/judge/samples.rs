//! What the store knows of judging: evidence, labels, calibrations.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::eval::Calibrated;
use crate::grade::rubric::{Reading, criteria_fingerprint};
use crate::grade::{Evidence, Got};
use crate::store::log::{Reader, Writer};
use crate::suite::{Rubric, hash_hex};
use crate::trace::Timestamp;

/// Kinds of records.
const LABEL: &str = "label";
const CALIBRATION: &str = "calibration";

/// One person's word on one criterion of one trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    pub run: String,
    pub trial: String,
    pub task: String,
    pub variant: String,
    pub rubric: String,
    /// Of the rubric's criteria, without the judge.
    pub criteria: String,
    pub criterion: String,
    /// `yes`, `no`, a level, or `unknown`.
    pub word: Value,
    pub by: String,
}

impl Label {
    /// The same person's later word on the same thing takes the place of the earlier one.
    fn id(&self) -> String {
        hash_hex(format!("{}\n{}\n{}\n{}", self.trial, self.rubric, self.criterion, self.by).as_bytes())
    }

    /// Keeps it.
    ///
    /// # Errors
    /// When the store can't take it.
    pub fn keep(&self, writer: &mut Writer, at: Timestamp) -> anyhow::Result<()> {
        Ok(writer.record(LABEL, &self.id(), at, &serde_json::to_value(self)?)?)
    }
}

/// The labels by a rubric as it is now.
///
/// # Errors
/// When the store can't be read.
pub fn labels(reader: &Reader, rubric: &Rubric) -> anyhow::Result<Vec<Label>> {
    let criteria = criteria_fingerprint(rubric);
    let all = reader.records(LABEL)?.into_iter();
    let read = all.filter_map(|record| serde_json::from_value::<Label>(record.data).ok());
    Ok(read.filter(|label| label.rubric == rubric.rubric && label.criteria == criteria).collect())
}

/// The evidence of trials, by trial.
///
/// # Errors
/// When the store can't be read.
pub fn evidence(reader: &Reader, wanted: &HashSet<&str>) -> anyhow::Result<HashMap<String, Evidence>> {
    let mut found = HashMap::new();
    for record in reader.records_named("evidence", wanted)? {
        if let Ok(evidence) = serde_json::from_value(record.data) {
            found.insert(record.id, evidence);
        }
    }
    Ok(found)
}

/// The judge's reading of a trial by a rubric of that name.
pub fn reading<'a>(evidence: &'a Evidence, rubric: &str) -> Option<&'a Reading> {
    evidence.got.iter().find_map(|(_, got)| match got {
        Got::Judge { reading } if reading.rubric == rubric => Some(&**reading),
        _ => None,
    })
}

/// Keeps a calibration under its rubric's fingerprint, in the place of an older one.
///
/// # Errors
/// When the store can't take it.
pub fn keep_calibration(writer: &mut Writer, calibrated: &Calibrated, at: Timestamp) -> anyhow::Result<()> {
    Ok(writer.record(CALIBRATION, &calibrated.fingerprint, at, &serde_json::to_value(calibrated)?)?)
}

/// All calibrations, by fingerprint.
///
/// # Errors
/// When the store can't be read.
pub fn calibrations(reader: &Reader) -> anyhow::Result<BTreeMap<String, Calibrated>> {
    let all = reader.records(CALIBRATION)?.into_iter();
    let read = all.filter_map(|record| serde_json::from_value::<Calibrated>(record.data).ok());
    Ok(read.map(|calibrated| (calibrated.fingerprint.clone(), calibrated)).collect())
}
