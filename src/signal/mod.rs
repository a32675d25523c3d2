//! What a trace says of itself, one file per signal.
//!
//! A signal looks at [`Step`]s: calls boiled down to hashes and counts. [`Stuck`] does the same while the loop runs.

mod normal;
mod step;
mod stuck;

pub use step::{Answered, Asked, Mark, Step};
pub use stuck::{Limits, Stuck};
