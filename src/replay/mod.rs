//! A recorded trace as a tape: which recorded answer a request gets, and where a new run leaves the recorded way.
//!
//! Nothing here opens a socket or a file. [`Player`] is asked for every request and says which recorded call answers it;
//! [`Divergence`] is what it says where none does. `capture` puts a player behind the proxy.

mod align;
mod canon;
mod changes;
mod compare;
mod divergence;
mod edit;
mod ignore;
mod patch;
mod player;
mod roots;
mod shape;
mod socket;
mod tape;
mod tools;

pub use align::align;
pub use canon::settled;
pub use compare::{Compared, Decision, compare};
pub use divergence::{Cause, Change, Divergence, How, Kind, Report};
pub use edit::{Edited, Edits, Unfit};
pub use ignore::{BadPath, Ignore};
pub use patch::{BadPatch, Patch};
pub use player::{Asking, Played, Player};
pub use roots::Roots;
pub use shape::{Match, is_per_run};
pub use tape::{Bodies, NotATape, Recorded, Reel, Tape, TapeCall};
pub use tools::{CALL, HttpAnswer, KeptTool, Said, TOOL_NOTE, ToolAsked, ToolMode, ToolModes, ToolPlayed, ToolTape};
