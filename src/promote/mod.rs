//! A failed trace becomes a case: what went wrong is found, the conversation up to it frozen, made small, freed of personal data,
//! and proven to fail for the reason it names.
//!
//! All of it is pure: whoever has a model to ask hands in what asks it.

mod draft;
mod group;
mod minimise;
mod personal;
mod pick;
mod prove;
mod story;

pub use draft::draft;
pub use group::{Failure, Group, Groups, Marked};
pub use minimise::{Minimised, Size, minimise, size};
pub use personal::Personal;
pub use pick::{Hint, NoCase, Picked, Reason, pick};
pub use prove::{Proof, evidence, graders, loop_graders, prove};
pub use story::{Told, Turn};
