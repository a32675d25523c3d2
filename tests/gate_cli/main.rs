//! The gate from its command line: runs in a real store, the real binary, its exit codes and everything it writes.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests that panic have said what they had to say")]

mod anytime;
mod baselines;
mod ci;
mod common;
mod outputs;
mod policy;
mod schemas;
mod verdicts;
