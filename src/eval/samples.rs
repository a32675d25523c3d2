//! What the store knows of judging: evidence, labels, calibrations, and in which order trials are labelled.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Calibrated, Labelled};
use crate::grade::rubric::{Reading, criteria_fingerprint};
use crate::grade::{Evidence, Got};
use crate::store::log::{LogError, Reader, Writer};
use crate::suite::{Rubric, hash_hex};
use crate::trace::Timestamp;
use crate::trial::Trial;

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
    /// `yes`, `no`, a level, or `unknown`; null where the person has taken it back.
    pub word: Value,
    /// Whether that passes; `None` for unknown, and in labels of the first versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes: Option<bool>,
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
    pub fn keep(&self, writer: &mut Writer, at: Timestamp) -> Result<(), LogError> {
        writer.record(LABEL, &self.id(), at, &serde_json::to_value(self).expect("texts are always JSON"))
    }
}

/// The labels by a rubric as it is now.
///
/// # Errors
/// When the store can't be read.
pub fn labels(reader: &Reader, rubric: &Rubric) -> Result<Vec<Label>, LogError> {
    let criteria = criteria_fingerprint(rubric);
    let mut labels = all_labels(reader)?;
    labels.retain(|label| label.rubric == rubric.rubric && label.criteria == criteria);
    Ok(labels)
}

/// The labels by all rubrics, whatever these say by now.
///
/// # Errors
/// When the store can't be read.
pub fn all_labels(reader: &Reader) -> Result<Vec<Label>, LogError> {
    let all = reader.records(LABEL)?.into_iter();
    let read = all.filter_map(|record| serde_json::from_value::<Label>(record.data).ok());
    Ok(read.filter(|label| !label.word.is_null()).collect())
}

/// Trials that the judge passed, failed and could not judge in turn, each kind in the run's own order: a label on a rare kind
/// says most. Within a turn their ids decide, so that the order doesn't tell what the judge said. `passed` does.
pub fn in_turn(trials: &[Trial], passed: impl Fn(&Trial) -> Option<bool>) -> Vec<&Trial> {
    let mut kinds: BTreeMap<Option<bool>, Vec<&Trial>> = BTreeMap::new();
    for trial in trials.iter().filter(|trial| trial.copy_of.is_none()) {
        kinds.entry(passed(trial)).or_default().push(trial);
    }
    let most = kinds.values().map(Vec::len).max().unwrap_or(0);
    let turn = |at: usize| {
        let mut turn: Vec<&Trial> = kinds.values().filter_map(|kind| kind.get(at).copied()).collect();
        turn.sort_by_cached_key(|trial| hash_hex(trial.id.as_bytes()));
        turn
    };
    (0..most).flat_map(turn).collect()
}

/// What people say of the trials they labelled, beside what the judge said of them when they were graded: an item for each trial
/// and person.
///
/// # Errors
/// When the store can't be read.
pub fn labelled(reader: &Reader, rubric: &Rubric) -> Result<Vec<Labelled>, LogError> {
    let mut items: BTreeMap<(String, String), Vec<Label>> = BTreeMap::new();
    for label in labels(reader, rubric)? {
        items.entry((label.trial.clone(), label.by.clone())).or_default().push(label);
    }
    let evidence = evidence(reader, &items.keys().map(|(trial, _)| trial.as_str()).collect())?;
    let item = |((trial, _), labels): ((String, String), Vec<Label>)| {
        let evidence = evidence.get(&trial)?;
        let short: String = trial.chars().take(8).collect();
        Some(Labelled {
            id: format!("{} {short}", labels.first()?.task),
            length: evidence.answer.chars().count(),
            read: reading(evidence, &rubric.rubric).cloned(),
            human: labels
                .into_iter()
                .filter_map(|label| Some((rubric.criterion(&label.criterion)?.level(&label.word), label.criterion)))
                .map(|(level, criterion)| (criterion, level))
                .collect(),
            ..Labelled::default()
        })
    };
    Ok(items.into_iter().filter_map(item).collect())
}

/// The evidence of trials, by trial.
///
/// # Errors
/// When the store can't be read.
pub fn evidence(reader: &Reader, wanted: &HashSet<&str>) -> Result<HashMap<String, Evidence>, LogError> {
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
pub fn keep_calibration(writer: &mut Writer, calibrated: &Calibrated, at: Timestamp) -> Result<(), LogError> {
    let data = serde_json::to_value(calibrated).expect("numbers and texts are always JSON");
    writer.record(CALIBRATION, &calibrated.fingerprint, at, &data)
}

/// All calibrations, by fingerprint.
///
/// # Errors
/// When the store can't be read.
pub fn calibrations(reader: &Reader) -> Result<BTreeMap<String, Calibrated>, LogError> {
    let all = reader.records(CALIBRATION)?.into_iter();
    let read = all.filter_map(|record| serde_json::from_value::<Calibrated>(record.data).ok());
    Ok(read.map(|calibrated| (calibrated.fingerprint.clone(), calibrated)).collect())
}
