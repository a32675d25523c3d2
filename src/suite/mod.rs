//! What we ask: suites, tasks, targets, graders' configurations, and how a suite is read from YAML.
//!
//! A suite is text first: [`load`] turns it into a [`Suite`], or into [`SuiteErrors`] that say which line is wrong, what was
//! expected there and which word was probably meant. Nothing here touches a disk: files come through [`Files`].

mod error;
mod fingerprint;
mod harbor;
mod load;
mod locate;
mod near;
mod rows;
mod rubric;
mod rubric_load;
mod template;
mod types;

pub use error::{SuiteError, SuiteErrors};
pub use fingerprint::{fingerprint, hash_hex};
pub use harbor::is_folder as is_harbor_folder;
pub use load::{Files, Loaded, TRACE_FILE, load, yaml};
pub use locate::{Located, Step};
pub use near::{distance, nearest};
pub use rubric::{Combine, Criterion, JudgeSpec, Level, Principle, Rubric, See};
pub use rubric_load::{load_rubric, rubric_schema};
pub use template::{TRIAL_VARIABLES, Unknown, is_file, names, render, render_value};
pub use types::{
    Budget, CommandLine, GraderSpec, HttpTarget, Kind, Likeness, LoopTarget, PromptMessage, PromptTarget, PromptTool,
    Sandbox, Speaker, Suite, Target, Task, TraceTarget, TrialBudget,
};
