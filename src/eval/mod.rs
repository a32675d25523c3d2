//! A suite becomes trials, trials become grades, grades a [`crate::trial::RunRecord`].

mod ask;
mod gate;
mod keep;
mod needs;
mod plan;
mod progress;
mod run;
mod sandbox;
mod target;
mod trial;
mod witness;
mod workspace;

pub use plan::{Plan, PlanError, Select, Slot};
pub use progress::{Event, Keeper, Tally};
pub use run::{End, EvalError, Finished, Hooks, Setup, run};
pub use sandbox::NoSandbox;
pub use trial::{NoTraces, Recorded, Traces, trial_id};
pub use workspace::fingerprint as folder_fingerprint;
