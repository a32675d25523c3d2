//! The thin door: see `holdback::cli`.

use std::process::ExitCode;

/// Traces are read by one thread and freed by another all the time, which the system's allocator is slow at: folding the log into
/// the index takes a quarter longer with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    holdback::cli::main()
}
