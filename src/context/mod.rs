//! From a request's bytes to blocks and back: split, normalise, delta, and the tree of contexts.
