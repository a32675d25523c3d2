//! Replacing pieces of a body, and keeping its chunks in step.

use std::ops::Range;

use crate::trace::Chunk;

/// A piece of a body and what comes in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub range: Range<usize>,
    pub with: String,
    /// Whether this is where a secret begins: one that is spread over a stream is edited in many places and counted once.
    pub counts: bool,
}

/// The body with the edits made; they are in order and don't overlap.
pub fn apply(body: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut new = Vec::with_capacity(body.len());
    let mut from = 0;
    for edit in edits {
        new.extend_from_slice(&body[from..edit.range.start]);
        new.extend_from_slice(edit.with.as_bytes());
        from = edit.range.end;
    }
    new.extend_from_slice(&body[from..]);
    new
}

/// The chunks of the edited body: what replaces bytes of several chunks belongs to the first of them.
pub fn rechunk(chunks: &[Chunk], edits: &[Edit]) -> Vec<Chunk> {
    let mut edits = edits.iter().peekable();
    let (mut old_end, mut new_end, mut grown) = (0_u64, 0_u64, 0_i64);
    let mut rechunked = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        old_end += chunk.len;
        // How much the edits that lie wholly before this chunk's end made the body longer.
        while let Some(edit) = edits.next_if(|edit| edit.range.end as u64 <= old_end) {
            grown += edit.with.len() as i64 - edit.range.len() as i64;
        }
        let end = match edits.peek() {
            Some(edit) if (edit.range.start as u64) < old_end => {
                (edit.range.start as u64).saturating_add_signed(grown) + edit.with.len() as u64
            }
            _ => old_end.saturating_add_signed(grown),
        };
        rechunked.push(Chunk { at: chunk.at, len: end - new_end });
        new_end = end;
    }
    rechunked
}

/// How many secrets the edits replace.
pub fn count(edits: &[Edit]) -> u32 {
    edits.iter().filter(|edit| edit.counts).count().try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edit(range: Range<usize>, with: &str) -> Edit {
        Edit { range, with: with.to_owned(), counts: true }
    }

    fn chunks(lens: &[u64]) -> Vec<Chunk> {
        lens.iter().map(|len| Chunk { at: 0, len: *len }).collect()
    }

    #[test]
    fn a_placeholder_belongs_to_the_first_chunk_it_touches() {
        let edits = [edit(2..9, "[x]")];
        assert_eq!(apply(b"ab1234567c", &edits), b"ab[x]c");
        let lens: Vec<u64> = rechunk(&chunks(&[4, 3, 3]), &edits).iter().map(|c| c.len).collect();
        assert_eq!(lens, [5, 0, 1]);
    }

    proptest! {
        #[test]
        fn chunks_always_add_up(
            lens in proptest::collection::vec(0_u64..9, 0..12),
            cuts in proptest::collection::btree_set(0_usize..60, 0..12),
            with in "[a-z]{0,12}",
        ) {
            let total = usize::try_from(lens.iter().sum::<u64>()).unwrap();
            let cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= total).collect();
            let edits: Vec<Edit> = cuts.chunks_exact(2).map(|c| edit(c[0]..c[1], &with)).collect();
            let new = apply(&vec![b'.'; total], &edits);
            let sum: u64 = rechunk(&chunks(&lens), &edits).iter().map(|c| c.len).sum();
            prop_assert_eq!(sum, new.len() as u64);
        }
    }
}
