//! What came out: variants, trials, their grades, and the record of a run.

mod flat;
mod grade;
mod run;

pub use grade::{Grade, GradeRecord};
pub use run::{Departure, Ending, Fingerprints, Outcome, Replayed, RunRecord, Trial, Variant};
