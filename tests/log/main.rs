//! The trace log from outside: what goes in comes out, whatever happens in between.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod basics;
mod common;
mod corpus;
mod faults;
mod hostile;
mod prune;
