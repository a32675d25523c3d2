//! A suite becomes trials, trials become grades, grades a [`crate::trial::RunRecord`].

mod agreement;
mod ask;
mod calibrate;
pub mod cases;
mod check;
mod conclude;
mod draft;
mod estimate;
mod gate;
mod harbor;
mod judge;
mod keep;
mod needs;
mod plan;
mod progress;
mod promptfoo;
mod reask;
mod recorded;
mod regrade;
mod rounds;
mod run;
pub mod samples;
mod sandbox;
mod shadow;
mod tape;
pub mod tapes;
mod target;
mod trial;
mod witness;
mod workspace;

pub use agreement::{Agreement, Bench, Figure, agreement, benches};
pub use calibrate::{Calibrated, Confusion, Held, Labelled, Probe, Report as CalibrationReport, Wrong, measure};
pub use check::{CheckError, Checked, check};
pub use conclude::{Conclusion, MergeError, conclude, failed_tasks, merge};
pub use draft::{EXAMPLE, from_traces};
pub use estimate::{Estimate, estimate};
pub use harbor::from_harbor;
pub use judge::{Judged, Judges, Judging, Sitting};
pub use keep::{RESULTS, results};
pub use needs::Court;
pub use plan::{OnDisk, Plan, PlanError, Select, Slot};
pub use progress::{Event, Keeper, Tally};
pub use promptfoo::{Translated, from_promptfoo};
pub use reask::{Question, Reanswer, Reask, reask};
pub use recorded::{Frozen, NoTraces, Recorded, Reeled, Traces};
pub use regrade::{Moved, Regraded, Stored, regrade};
pub use rounds::{Decided, Rounds, RoundsError, full_trials, usual_rounds};
pub use run::{End, EvalError, Finished, Hooks, Setup, empty_record, redacted, run};
pub use sandbox::NoSandbox;
pub use shadow::{
    COMPARISON, Figures, Limit, SHADOW, Sampling, Shadow, ShadowError, ShadowRecord, ShadowSettings, Tapped,
};
pub use trial::trial_id;
pub use workspace::fingerprint as folder_fingerprint;
