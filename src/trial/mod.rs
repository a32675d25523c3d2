//! What came out: variants, trials, their grades, and the record of a run.

mod flat;
mod grade;
mod run;

pub use grade::{Grade, GradeRecord};
pub use run::{Ending, Fingerprints, Outcome, RunRecord, Trial, Variant};
