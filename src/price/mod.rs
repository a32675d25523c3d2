//! Usage to cost.
