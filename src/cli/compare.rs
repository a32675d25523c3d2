//! `holdback compare`: runs, or the variants of one, side by side.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::arms::Arms;
use super::gate::judged::Calibrations;
use super::{Exit, Global, Misuse, out};
use crate::gate::judges::Judges;
use crate::gate::{Arm, compare};
use crate::report;

#[derive(Debug, Args)]
#[command(
    after_help = "The first is compared with each of the others. A run of several variants, named without one, stands for all \
                  of them. Comparing decides nothing; `holdback gate` does.\n\nExamples:\n  holdback compare main last\n  \
                  holdback compare last --html models.html"
)]
pub struct Compare {
    /// Runs, variants of runs, or baseline files
    #[arg(value_name = "RUN[:VARIANT]|FILE", required = true)]
    arms: Vec<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Write Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write one HTML page that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Compares and prints.
pub fn run(global: &Global, args: &Compare) -> anyhow::Result<Exit> {
    let mut source = Arms::new(global);
    let mut arms: Vec<Arm> = Vec::new();
    for word in &args.arms {
        arms.extend(source.all(word)?);
    }
    drop(source);
    let Some((first, others)) = arms.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Err(Misuse("there is only one variant here: name two to compare".to_owned()).into());
    };
    let mut comparison = compare(first, &others.iter().collect::<Vec<_>>());
    let calibrations = Calibrations::read(global, &arms)?;
    for (pair, other) in comparison.others.iter_mut().zip(others) {
        pair.judges = calibrations.rows(first, other, Judges::Any);
    }
    if let Some(path) = &args.markdown {
        out::publish(path, |file| Ok(file.write_all(report::compare::markdown(&comparison).as_bytes())?))?;
    }
    if let Some(path) = &args.html {
        out::publish(path, |file| Ok(file.write_all(report::compare::html(&comparison).as_bytes())?))?;
    }
    if args.json {
        out::text(report::json::document("holdback-comparison/1", &comparison))?;
    } else {
        out::text(out::printable(&report::compare::text(&comparison)))?;
    }
    Ok(Exit::Pass)
}
