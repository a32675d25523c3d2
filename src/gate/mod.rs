//! The gate: two arms and a policy give a verdict, and the same records give the same verdict on every machine.
//!
//! A verdict uses no random numbers. `calibrate` and `plan` simulate, seeded; they advise and never decide.

mod anytime;
mod arm;
mod calibrate;
mod checks;
mod compare;
mod decide;
mod error;
mod figures;
pub mod judges;
mod limits;
mod looks;
mod plan;
mod policy;
mod score;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod units;
mod verdict;
mod words;

pub use anytime::{Anytime, AnytimeState, anytime};
pub use arm::{Arm, ArmChange, FORMAT, Outcomes, TaskTrials};
pub use calibrate::{Calibration, calibrate};
pub use checks::comparable;
pub use compare::{Comparison, GraderMove, Moved, Pair, Standing, TaskMove, compare};
pub use decide::{decide, decide_all};
pub use error::{Differs, GateError};
pub use figures::{Measured, extrapolated, measure};
pub use looks::{Look, Looks, Saved, look, task_batches};
pub use plan::{Plan, PlanRow, Planned, plan};
pub use policy::{InvalidPolicy, Limit, Limits, Metric, OnFinding, Policy, PolicyFile, PolicySchema, Spread};
pub use score::{Scored, score};
pub use units::{Side, What};
pub use verdict::{
    FailedTrial, FigureRow, GateReport, InvalidReport, LimitReport, MetricReport, Reason, ReasonKind, Scenario, Source,
    SuiteReport, TaskReport, ToDecide, Verdict,
};
pub use words::{p_value, percent, points, size, task_in_words};
