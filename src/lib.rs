//! holdback: the harness for agent loops. It records every model call of any loop, replays a trace, grades behaviour,
//! measures pass^k with honest intervals, gates on it, and keeps it all in DuckDB.
//!
//! The rooms and the arrows between them are in ARCHITECTURE.md; `tests/architecture.rs` holds them.

// floor 0: nouns
pub mod suite;
pub mod trace;
pub mod trial;
pub mod view;
// floor 1: thought
pub mod context;
pub mod gate;
pub mod grade;
pub mod import;
pub mod price;
pub mod promote;
pub mod provider;
pub mod redact;
pub mod replay;
pub mod report;
pub mod signal;
pub mod stats;
// floor 2: hands
pub mod capture;
pub mod store;
// floor 3: stories
pub mod eval;
// floor 4: door
pub mod cli;
