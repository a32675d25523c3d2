//! A request body in outline: what its blocks are called, and the bytes between them. Enough to tell what a request says
//! without putting its bytes together.

use std::collections::HashMap;

use bytes::Bytes;

use super::block::{Name, bare_parts};
use super::ids::BlockId;
use super::plan::{Loaded, Op, Source};
use super::split::{Earlier, Split, What, split};

/// A piece of an outline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlined {
    /// Bytes in no block.
    Gap(Bytes),
    /// A block, by its name and by the member of the request it stands in.
    Block { name: Name, id: BlockId },
}

/// A body's pieces in order.
pub type Outline = Vec<Outlined>;

/// The bytes of blocks, `cache_control` members left out.
pub type Blocks = HashMap<BlockId, Bytes>;

/// Outlines a body. Of a block whose bytes are not `known` the bytes are handed to `fresh`; those of the earlier body are known.
/// The split is handed back, so that the next body of the same conversation is cut up faster.
pub fn outline(
    body: &[u8],
    earlier: Option<Earlier<'_>>,
    known: impl Fn(&BlockId, &Name) -> bool,
    mut fresh: impl FnMut(BlockId, &Name, Vec<u8>),
) -> (Outline, Split) {
    let split = split(body, earlier);
    let mut pieces = Vec::with_capacity(split.pieces.len());
    for (at, piece) in split.pieces.iter().enumerate() {
        pieces.push(match &piece.what {
            What::Gap(bytes) => Outlined::Gap(bytes.clone()),
            What::Block(block) => {
                if split.from[at].is_none() && !known(&block.id, &block.name) {
                    let bare = bare_parts(&body[split.range(at)], &block.cuts).collect::<Vec<_>>().concat();
                    fresh(block.id, &block.name, bare);
                }
                Outlined::Block { name: block.name.clone(), id: block.id }
            }
        });
    }
    (pieces, split)
}

/// A step of a record and what it brings along.
#[derive(Debug)]
pub enum Own<'a> {
    /// Pieces of the base.
    Copy {
        from: usize,
        count: usize,
    },
    Gap(Bytes),
    /// A block whose bytes are here.
    Here {
        name: &'a Name,
        id: BlockId,
        bytes: Bytes,
    },
    /// A block whose bytes another record has.
    There {
        name: &'a Name,
        id: BlockId,
        record: u64,
    },
}

impl Loaded {
    /// The record's steps with their bytes.
    pub fn steps(&self) -> impl Iterator<Item = Own<'_>> {
        self.plan.ops.iter().zip(&self.spots).map(|(op, (_, start))| match op {
            Op::Copy { from, count } => Own::Copy { from: *from as usize, count: *count as usize },
            Op::Gap { len } => Own::Gap(self.data.slice(*start..*start + *len)),
            Op::Block { name, id, source: Source::Here { len }, .. } => {
                Own::Here { name, id: *id, bytes: self.data.slice(*start..*start + *len) }
            }
            Op::Block { name, id, source: Source::There(at), .. } => Own::There { name, id: *id, record: at.record },
        })
    }
}
