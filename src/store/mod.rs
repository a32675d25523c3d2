//! Disk: the append-only trace log, which is the truth, and the DuckDB index made from it.

pub mod index;
pub mod log;
