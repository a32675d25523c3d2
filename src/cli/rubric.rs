//! `holdback rubric`: looks rubrics over before they judge anything.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Exit, Global, judging, out};
use crate::grade::rubric::lint;
use crate::grade::{Evidence, Got};
use crate::suite::Rubric;

#[derive(Debug, Args)]
#[command(after_help = "Example: holdback rubric lint rubrics/*.yaml")]
pub struct RubricArgs {
    #[command(subcommand)]
    command: RubricCommand,
}

#[derive(Debug, Subcommand)]
enum RubricCommand {
    /// Say what would make rubrics better: double questions, levels nobody uses, criteria that need no judge
    Lint(Lint),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exits with 0 when there is nothing to say, 1 when there are remarks, 2 when a file is no rubric. Where the \
                  store has verdicts by a rubric, levels that were never given are told too.\n\nExample: holdback rubric \
                  lint rubrics/*.yaml"
)]
struct Lint {
    /// Files of rubrics
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Does what was asked of rubrics.
pub fn run(global: &Global, args: &RubricArgs) -> anyhow::Result<Exit> {
    let RubricCommand::Lint(args) = &args.command;
    let mut rubrics = Vec::new();
    for path in &args.files {
        rubrics.push((path.display().to_string(), judging::open_rubric(path)?));
    }
    let used = used(global, &rubrics)?;
    let (mut documents, mut text, mut count) = (Vec::new(), String::new(), 0);
    for (file, rubric) in &rubrics {
        let own = used.get(&rubric.fingerprint());
        let remarks = lint(rubric, &|criterion| own.and_then(|own| own.get(criterion)).cloned());
        count += remarks.len();
        for remark in &remarks {
            let of = if remark.criterion.is_empty() { String::new() } else { format!(" {}", remark.criterion) };
            text.push_str(&format!("{file}:{of} {}: {}\n", global.paint().dim(remark.kind), remark.says));
        }
        if remarks.is_empty() {
            text.push_str(&format!("{file}: nothing to say\n"));
        }
        documents.push(json!({"file": file, "rubric": rubric.rubric, "remarks": remarks}));
    }
    if args.json {
        out::json(&documents)?;
    } else {
        out::text(out::printable(&text))?;
    }
    Ok(if count == 0 { Exit::Pass } else { Exit::Regression })
}

/// The levels given so far: by rubric's fingerprint and criterion.
fn used(global: &Global, rubrics: &[(String, Rubric)]) -> anyhow::Result<BTreeMap<String, BTreeMap<String, Vec<u32>>>> {
    let mut used: BTreeMap<String, BTreeMap<String, Vec<u32>>> = BTreeMap::new();
    let scales = rubrics.iter().any(|(_, rubric)| rubric.criteria().any(|(_, criterion)| !criterion.is_yes_no()));
    let Some(store) = global.store_if_any()?.filter(|_| scales) else { return Ok(used) };
    for record in store.reader()?.records("evidence")? {
        let Ok(evidence) = serde_json::from_value::<Evidence>(record.data) else { continue };
        for (_, got) in evidence.got {
            let Got::Judge { reading } = got else { continue };
            let own = used.entry(reading.fingerprint).or_default();
            for criterion in reading.criteria {
                let levels = criterion.votes.iter().filter_map(|vote| vote.level());
                own.entry(criterion.id).or_default().extend(levels);
            }
        }
    }
    Ok(used)
}
