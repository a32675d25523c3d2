//! Judges in a gate: who may block, and what their rates are worth.

use std::collections::BTreeMap;

use crate::cli::{Global, Misuse, judge};
use crate::eval::Calibrated;
use crate::gate::Arm;
use crate::gate::judges::{JudgeRow, Judges, Known, rows};

/// The calibrations of a store.
#[derive(Default)]
pub struct Calibrations(BTreeMap<String, Calibrated>);

impl Calibrations {
    /// Reads them, when some arm was judged and there is a store.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn read<'a>(global: &Global, arms: impl IntoIterator<Item = &'a Arm>) -> anyhow::Result<Self> {
        let any = arms.into_iter().any(|arm| !arm.judged.is_empty());
        match global.store_if_any()?.filter(|_| any) {
            Some(store) => Ok(Calibrations(judge::calibrations(&store.reader()?)?)),
            None => Ok(Calibrations::default()),
        }
    }

    /// Whether a judge has a valid calibration for its rubric as it is.
    pub fn is_valid(&self, fingerprint: &str) -> bool {
        self.0.get(fingerprint).is_some_and(|calibrated| calibrated.valid)
    }

    /// Judges' rates of two arms.
    pub fn rows(&self, baseline: &Arm, candidate: &Arm, judges: Judges) -> Vec<JudgeRow> {
        let known = |fingerprint: &str| {
            self.0.get(fingerprint).map(|calibrated| Known {
                whole: Some(calibrated.whole),
                criteria: calibrated.criteria.clone(),
                valid: calibrated.valid,
            })
        };
        rows(&baseline.judged, &candidate.judged, judges, &known)
    }
}

/// A baseline file holds outcomes that a judge had a part in, and can't be counted without it.
pub fn refuse_file(word: &str, arm: &Arm, calibrations: &Calibrations) -> anyhow::Result<()> {
    let open =
        arm.judged.iter().find(|judged| judged.criterion.is_none() && !calibrations.is_valid(&judged.fingerprint));
    match open {
        None => Ok(()),
        Some(judged) => Err(Misuse(format!(
            "{word}: its outcomes count the judge of {:?}, which has no valid calibration, and a file can't be counted without \
             it: name the run instead, or calibrate the judge (holdback judge calibrate)",
            judged.grader
        ))
        .into()),
    }
}
