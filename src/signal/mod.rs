//! What a trace says of itself, one file per signal.
