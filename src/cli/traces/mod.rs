//! `holdback traces`: list and look at what was recorded.

mod conversation;
mod list;
mod show;

use clap::{Args, Subcommand};

use super::{Exit, Global, Misuse};
use crate::store::log::{LogError, Reader};
use crate::trace::TraceId;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "A trace is named by its id, the beginning of it, its name, or `last`.\n\nExamples:\n  \
                  holdback traces\n  holdback traces show last\n  holdback traces ls --failed --json"
)]
pub struct Traces {
    #[command(subcommand)]
    command: Option<TracesCommand>,
    #[command(flatten)]
    list: list::List,
}

#[derive(Debug, Subcommand)]
enum TracesCommand {
    /// List traces, the newest first
    Ls(list::List),
    /// Show a trace as the conversation it was
    Show(show::Show),
}

/// Does what was asked of the traces.
pub fn run(global: &Global, args: Traces) -> anyhow::Result<Exit> {
    match args.command {
        None => list::run(global, &args.list),
        Some(TracesCommand::Ls(list)) => list::run(global, &list),
        Some(TracesCommand::Show(show)) => show::run(global, &show),
    }
}

/// The trace a word means; a word that means none or several is the caller's mistake.
pub fn resolve(reader: &Reader, word: &str) -> anyhow::Result<TraceId> {
    reader.resolve(word).map_err(|error| match error {
        LogError::NotFound(_) | LogError::Ambiguous { .. } => Misuse(error.to_string()).into(),
        other => other.into(),
    })
}
