//! From a request's bytes to blocks and back: split, normalise, delta, and the tree of contexts.

mod block;
pub mod codec;
mod ids;
mod normal;
mod outline;
mod plan;
pub mod scan;
mod split;
mod tree;

pub use block::{Block, Cut, Name, Speaker, bare_parts};
pub use ids::{BadHash, BlockId, ContextId};
pub use normal::{normal_bytes, normal_hash};
pub use outline::{Blocks, Outline, Outlined, Own, outline};
pub use plan::{At, Broken, Extras, Loaded, Op, Plan, Rest, Source, rebuild};
pub use split::{Earlier, Piece, Split, What, split};
pub use tree::{Branch, Contexts, Conversation, Placed, Placement, Relation, tree};
