//! `holdback completions` and `holdback man`: made from the same definitions that read the command line.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Exit, out};

#[derive(Debug, Args)]
#[command(after_help = "Example: holdback completions bash > ~/.local/share/bash-completion/completions/holdback")]
pub struct Completions {
    /// The shell to complete in
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints a completion script.
pub fn completions(args: &Completions) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "holdback", &mut script);
    out::bytes(&script)?;
    Ok(Exit::Pass)
}

#[derive(Debug, Args)]
#[command(after_help = "Example: holdback man ~/.local/share/man/man1")]
pub struct Man {
    /// The folder to write holdback.1, holdback-traces.1, … into; the main page goes to stdout without it
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the main man page, or writes all of them into a folder.
pub fn man(args: &Man) -> anyhow::Result<Exit> {
    match &args.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
            clap_mangen::generate_to(Cli::command(), dir)
                .with_context(|| format!("writing man pages into {}", dir.display()))?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            out::bytes(&page)?;
        }
    }
    Ok(Exit::Pass)
}
