//! `holdback traces diff`: two traces side by side, aligned by step.

use std::sync::Arc;

use clap::Args;

use crate::cli::replay::{How, paths};
use crate::cli::{Exit, Global, out, tapes};
use crate::replay::align;
use crate::report::replay as render;

#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 when they went the same way, 1 when they didn't.\n\nExamples:\n  \
                  holdback traces diff 3f2a91c0 last\n  holdback traces diff before after --json")]
pub struct Diff {
    /// The trace to compare with: id, beginning of an id, name, or `last`
    before: String,
    /// The trace to compare
    after: String,
    /// How alike two requests have to be
    #[arg(long = "match", value_name = "HOW", value_enum, default_value_t = How::Normal)]
    how: How,
    /// A JSON path of requests that doesn't count; any number of them
    #[arg(long, value_name = "PATH")]
    ignore: Vec<String>,
    /// Write the differences as a page
    #[arg(long, value_name = "FILE")]
    html: Option<std::path::PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Compares.
pub fn run(global: &Global, args: &Diff) -> anyhow::Result<Exit> {
    let store = global.existing_store()?;
    let reader = Arc::new(store.reader()?);
    let (before, after) = (super::resolve(&reader, &args.before)?, super::resolve(&reader, &args.after)?);
    let (before, after) = tapes::pair(&reader, before, after, args.how.into(), &paths(&args.ignore)?)?;
    let report = align(&before, &after);
    if let Some(path) = &args.html {
        out::publish(path, |file| Ok(std::io::Write::write_all(file, render::html(&report).as_bytes())?))?;
        eprintln!("wrote {}", path.display());
    }
    match args.json {
        true => out::json(&report)?,
        false => out::text(out::printable(&render::text(&report)))?,
    }
    Ok(if report.divergences == 0 { Exit::Pass } else { Exit::Regression })
}
