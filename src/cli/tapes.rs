//! Stored traces as tapes: what `replay`, `ask` and `traces diff` play and compare.

use std::sync::Arc;

pub use crate::eval::tapes::{read, read_plain};
use crate::replay::{Ignore, Match, Reel, Roots, Tape};
use crate::store::log::Reader;
use crate::trace::TraceId;

/// Two traces as tapes, to be held against each other: folders and sessions aside.
pub fn pair(
    reader: &Arc<Reader>,
    one: TraceId,
    other: TraceId,
    how: Match,
    ignore: &[Ignore],
) -> anyhow::Result<(Tape, Tape)> {
    let (one, other) = (read(reader, one)?, read(reader, other)?);
    let mut roots = Roots::none();
    if let (Some(then), Some(now)) = (&one.about.cwd, &other.about.cwd) {
        roots = Roots::moved(then, now);
    }
    // What the second says is read as if it had been said where the first was.
    let bodies = other.reel.bodies;
    let reel = Reel { bodies: Box::new(move |call| bodies(call).map(|body| roots.back(body))), ..other.reel };
    let (before, _) = Tape::new(one.reel, how, ignore.to_vec(), true)?;
    let (after, _) = Tape::with_bodies(reel, how, ignore.to_vec())?;
    Ok((before, after))
}
