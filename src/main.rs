//! The thin door: see `holdback::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdback::cli::main()
}
