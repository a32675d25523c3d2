//! All requests of a trace in outline, without putting one of them together: what readying a tape needs.

use std::collections::HashMap;
use std::rc::Rc;

use super::LogError;
use super::reader::{Bodies, Reader};
use super::side::starts_call;
use crate::context::{Blocks, Outline, Outlined, Own};
use crate::trace::{CallId, TraceId};

/// The requests of a trace in outline, and the bytes of their blocks.
#[derive(Debug, Default)]
pub struct Outlines {
    pub calls: HashMap<CallId, Outline>,
    pub blocks: Blocks,
}

impl Reader {
    /// The requests of a trace in outline. A damaged one, and what goes on from it, is missing.
    ///
    /// # Errors
    /// When a segment cannot be opened.
    pub fn outlines(&self, trace: TraceId) -> Result<Outlines, LogError> {
        let mut all = Outlines::default();
        for shelf in self.shelves.iter().filter(|shelf| !self.is_removed(trace, shelf)) {
            let mut bodies: Option<Bodies<'_>> = None;
            let mut known: HashMap<u64, Rc<Outline>> = HashMap::new();
            if shelf.part_of(trace).is_none() {
                continue;
            }
            let mut here = Vec::new();
            for row in shelf.rows_of(trace)?.filter(|row| starts_call(row)) {
                if bodies.is_none() {
                    bodies = Some(Bodies::new(shelf)?);
                }
                let Some(bodies) = &mut bodies else { continue };
                if outline(bodies, row.offset, &mut known, &mut all.blocks).is_ok() {
                    here.push((row.call, row.offset));
                }
            }
            // An outline of a long conversation has thousands of pieces: they are handed on, not copied.
            let outlines = here.into_iter().filter_map(|(call, offset)| Some((call, known.remove(&offset)?)));
            all.calls.extend(outlines.map(|(call, outline)| (call, Rc::unwrap_or_clone(outline))));
        }
        Ok(all)
    }
}

/// One request in outline. Bases come before what is built on them, so the way back is short unless one is damaged.
fn outline(
    bodies: &mut Bodies<'_>,
    offset: u64,
    known: &mut HashMap<u64, Rc<Outline>>,
    blocks: &mut Blocks,
) -> Result<Rc<Outline>, LogError> {
    if let Some(outline) = known.get(&offset) {
        return Ok(outline.clone());
    }
    let loaded = bodies.load(offset)?;
    let base = match loaded.plan.base {
        Some(base) if base < offset => Some(outline(bodies, base, known, blocks)?),
        _ => None,
    };
    let mut pieces = Outline::new();
    for step in loaded.steps() {
        match step {
            Own::Copy { from, count } => {
                let copied = base.as_ref().and_then(|base| base.get(from..from.checked_add(count)?));
                let missing = || LogError::NotFound(format!("the record at byte {offset} copies what isn't there"));
                pieces.extend_from_slice(copied.ok_or_else(missing)?);
            }
            Own::Gap(bytes) => pieces.push(Outlined::Gap(bytes)),
            Own::Here { name, id, bytes } => {
                blocks.insert(id, bytes);
                pieces.push(Outlined::Block { name: name.clone(), id });
            }
            Own::There { name, id, record } => {
                if !blocks.contains_key(&id) {
                    let held = bodies.load(record)?;
                    blocks.extend(held.own_blocks().map(|(_, id, bytes)| (id, bytes)));
                }
                pieces.push(Outlined::Block { name: name.clone(), id });
            }
        }
    }
    let pieces = Rc::new(pieces);
    known.insert(offset, pieces.clone());
    Ok(pieces)
}
