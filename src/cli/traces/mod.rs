//! `holdback traces`: list, look at, take out and remove what was recorded.

mod diff;
pub mod list;
mod otlp;
pub mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{Exit, Global, Misuse, out};
use crate::capture::clock;
use crate::store::log::{LogError, Reader};
use crate::trace::TraceId;
pub use crate::view::{agents, conversation};

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
    /// Hold two traces against each other, step by step
    Diff(diff::Diff),
    /// Write a trace into one file that can be read elsewhere
    Export(Export),
    /// Remove traces for good
    Rm(Remove),
}

#[derive(Debug, Args)]
#[command(after_help = "Example: holdback traces export last -o refund.trace.zst")]
struct Export {
    /// Id, beginning of an id, name, or `last`
    trace: String,
    /// What to write: our own file, which `holdback import` reads, or OpenTelemetry with the grades
    #[arg(long, value_enum, default_value_t = Format::Trace)]
    format: Format,
    /// The file to write; stdout without it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What a trace is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The whole trace, byte for byte
    Trace,
    /// The body of an OTLP request, as JSON, in the GenAI conventions; grades are gen_ai.evaluation.result events
    OtlpJson,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: holdback traces rm 3f2a91c0 --yes")]
struct Remove {
    /// Ids, beginnings of ids, names, or `last`
    #[arg(required = true)]
    traces: Vec<String>,
    /// Really do it; without this only says what would go
    #[arg(long)]
    yes: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Does what was asked of the traces.
pub fn run(global: &Global, args: Traces) -> anyhow::Result<Exit> {
    match args.command {
        None => list::run(global, &args.list),
        Some(TracesCommand::Ls(list)) => list::run(global, &list),
        Some(TracesCommand::Show(show)) => show::run(global, &show),
        Some(TracesCommand::Diff(diff)) => diff::run(global, &diff),
        Some(TracesCommand::Export(export)) => self::export(global, &export),
        Some(TracesCommand::Rm(remove)) => self::remove(global, &remove),
    }
}

/// The trace a word means; a word that means none or several is the caller's mistake.
pub fn resolve(reader: &Reader, word: &str) -> anyhow::Result<TraceId> {
    reader.resolve(word).map_err(|error| match error {
        LogError::NotFound(_) | LogError::Ambiguous { .. } => Misuse(error.to_string()).into(),
        other => other.into(),
    })
}

fn export(global: &Global, args: &Export) -> anyhow::Result<Exit> {
    let store = global.existing_store()?;
    let reader = store.reader()?;
    let trace = resolve(&reader, &args.trace)?;
    if args.format == Format::OtlpJson {
        let body = otlp::export(&store, &reader, trace)?;
        return match &args.output {
            Some(path) => {
                out::publish(path, |file| Ok(std::io::Write::write_all(file, &body)?))?;
                Ok(Exit::Pass)
            }
            None => out::bytes(&body).map(|()| Exit::Pass),
        };
    }
    match &args.output {
        Some(path) => {
            let file = out::publish(path, |file| Ok(reader.export(trace, file)?))?;
            eprintln!("wrote {} ({})", path.display(), out::size(file));
        }
        None => {
            let mut file = Vec::new();
            reader.export(trace, &mut file)?;
            out::bytes(&file)?;
        }
    }
    Ok(Exit::Pass)
}

fn remove(global: &Global, args: &Remove) -> anyhow::Result<Exit> {
    let store = global.existing_store()?;
    let reader = store.reader()?;
    let traces = args.traces.iter().map(|word| resolve(&reader, word)).collect::<anyhow::Result<Vec<_>>>()?;
    if args.yes {
        store.remove(&traces, clock::now())?;
    }
    if args.json {
        out::json(&json!({"removed": args.yes, "traces": traces}))?;
        return Ok(Exit::Pass);
    }
    for trace in &traces {
        out::text(format!("{} {trace}\n", if args.yes { "removed" } else { "would remove" }))?;
    }
    if !args.yes {
        eprintln!("nothing was removed: add --yes to do it");
    }
    Ok(Exit::Pass)
}
