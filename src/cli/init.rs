//! `holdback init`: the first suite, for a person to edit.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::eval::traces::recorded;
use super::{Exit, Global, Misuse, out, traces};
use crate::eval::{EXAMPLE, from_traces};

/// What editors complete and check suites with.
pub const SCHEMA: &str = include_str!("../../schemas/suite.schema.json");

#[derive(Debug, Args)]
#[command(
    after_help = "Without --from it writes an example that runs without a key and without a network. The JSON Schema of suites is \
                  written beside it.\n\nExamples:\n  holdback init\n  holdback init --from last --output suites/shop.yaml"
)]
pub struct Init {
    /// Make tasks from these traces: ids, beginnings of ids, names, or `last`
    #[arg(long, value_name = "TRACE", num_args = 1..)]
    from: Vec<String>,
    /// The file to write
    #[arg(short, long, value_name = "FILE", default_value = "suites/first.yaml")]
    output: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

/// Drafts a suite.
pub fn run(global: &Global, args: &Init) -> anyhow::Result<Exit> {
    if args.output.exists() && !args.force {
        return Err(
            Misuse(format!("{} is there already: name another file, or say --force", args.output.display())).into()
        );
    }
    let text = match args.from.as_slice() {
        [] => EXAMPLE.to_owned(),
        words => {
            let reader = global.existing_store()?.reader()?;
            let mut found = Vec::new();
            for word in words {
                let trace = traces::resolve(&reader, word)?;
                found.push((trace.to_string(), recorded(&reader, trace)?));
            }
            let name = args.output.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let header = "# yaml-language-server: $schema=./suite.schema.json\n";
            format!("{header}{}", from_traces(&name, &found))
        }
    };
    out::publish(&args.output, |file| Ok(file.write_all(text.as_bytes())?))?;
    let schema = args.output.parent().unwrap_or(Path::new(".")).join("suite.schema.json");
    out::publish(&schema, |file| Ok(file.write_all(SCHEMA.as_bytes())?))?;
    let next = match args.from.is_empty() {
        true => format!("try it: holdback eval {}", args.output.display()),
        false => format!("read it, edit it, then: holdback eval {}", args.output.display()),
    };
    eprintln!("wrote {} ({next})", args.output.display());
    Ok(Exit::Pass)
}
