//! What a report is made of: the view gathers it in the same way; here are files and policies besides.

use std::collections::HashMap;

use super::Report;
use crate::cli::arms::{self, Policies};
use crate::cli::{Global, Misuse, index};
use crate::gate::{Arm, Policy};
use crate::report::overview::{Held, Overview};
use crate::view::{Error, gather};

/// Reads everything and puts it together. The index is opened, asked and let go.
pub fn overview(global: &Global, args: &Report) -> anyhow::Result<Overview> {
    let store = global.existing_store()?;
    let index = index::open(&store, "report")?;
    let chosen = args.words().into_iter().map(|word| gather::chosen(&index, &word).map_err(misuse_or_not));
    let runs = chosen.collect::<anyhow::Result<Vec<_>>>()?;
    for run in runs.iter().map(|chosen| &chosen.run).filter(|run| run.finished.is_none()) {
        eprintln!("holdback: run {} has not finished, or was killed: only what it did is counted", run.id);
    }
    let mut baselines = Vec::new();
    for word in &args.baseline {
        match arms::is_file(word) {
            true => baselines.push(Held { arm: arms::read(word.as_ref())?, run: None }),
            false => baselines.extend(gather::held(&index, word).map_err(misuse_or_not)?),
        }
    }
    let history = gather::history(&index, &runs)?;
    drop(index);
    let policies = Policies::read(args.policy.as_deref())?;
    let mut known: HashMap<(String, String), Policy> = HashMap::new();
    for arm in runs.iter().flat_map(|chosen| &chosen.arms) {
        known.insert((arm.suite.clone(), arm.kind.clone()), policies.of(arm)?);
    }
    let policy = |arm: &Arm| known[&(arm.suite.clone(), arm.kind.clone())].clone();
    let gate = gather::gate(&baselines, &runs, &policy).map_err(misuse_or_not)?;
    let title = args.title.as_deref().unwrap_or("");
    Ok(gather::put_together(&store.reader()?, title, &runs, &baselines, gate, &history))
}

/// What a person wrote wrong exits with 2; what failed on its own with 4.
fn misuse_or_not(error: Error) -> anyhow::Error {
    match error {
        Error::Index(error) => index::misuse_or_not(error),
        // Its own kind is told apart by whoever prints it.
        Error::Gate(error) => error.into(),
        Error::Log(error) => error.into(),
        Error::Missing(words) | Error::Asked(words) | Error::Forbidden(words) => Misuse(words).into(),
    }
}
