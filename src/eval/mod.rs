//! A suite becomes trials, trials become grades, grades a [`crate::trial::RunRecord`].

mod ask;
mod check;
mod conclude;
mod draft;
mod estimate;
mod gate;
mod harbor;
mod keep;
mod needs;
mod plan;
mod progress;
mod promptfoo;
mod reask;
mod regrade;
mod rounds;
mod run;
mod sandbox;
mod target;
mod trial;
mod witness;
mod workspace;

pub use check::{CheckError, Checked, check};
pub use conclude::{Conclusion, MergeError, conclude, failed_tasks, merge};
pub use draft::{EXAMPLE, from_traces};
pub use estimate::{Estimate, estimate};
pub use harbor::from_harbor;
pub use plan::{OnDisk, Plan, PlanError, Select, Slot};
pub use progress::{Event, Keeper, Tally};
pub use promptfoo::{Translated, from_promptfoo};
pub use reask::{Question, Reanswer, Reask, reask};
pub use regrade::{Moved, Regraded, Stored, regrade};
pub use rounds::{Decided, Rounds, RoundsError, full_trials, usual_rounds};
pub use run::{End, EvalError, Finished, Hooks, Setup, empty_record, run};
pub use sandbox::NoSandbox;
pub use trial::{NoTraces, Recorded, Traces, trial_id};
pub use workspace::fingerprint as folder_fingerprint;
