//! From a request's bytes to blocks and back: split, normalise, delta, and the tree of contexts.

mod ids;
mod tree;

pub use ids::{BadHash, BlockId, ContextId};
pub use tree::{Branch, Contexts, Conversation, Placed, Placement, Relation, tree};
