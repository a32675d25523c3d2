//! What a report is made of: the view gathers it in the same way; here are files and policies besides.

use std::collections::HashMap;

use super::Report;
use crate::cli::arms::{self, Policies};
use crate::cli::gate::judged::{Calibrations, refuse_file};
use crate::cli::{Global, Misuse, index};
use crate::gate::judges::Judges;
use crate::gate::{Arm, Policy};
use crate::report::overview::{Chosen, Hearsay, Held, Overview};
use crate::view::Error;
use crate::view::gather::{self, Read};

/// Reads everything and puts it together. The index is opened, asked and let go.
pub fn overview(global: &Global, args: &Report) -> anyhow::Result<Overview> {
    let store = global.existing_store()?;
    let index = index::open(&store, "report")?;
    let chosen = args.words().into_iter().map(|word| gather::chosen(&index, &word).map_err(misuse_or_not));
    let mut runs = chosen.collect::<anyhow::Result<Vec<_>>>()?;
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
    let reader = store.reader()?;
    let hearsay = gather::hearsay(&reader, &runs, &baselines).map_err(misuse_or_not)?;
    if known.values().any(|policy| policy.judges == Judges::Calibrated) {
        listen_only(global, &hearsay, &mut runs, &mut baselines)?;
    }
    let policy = |arm: &Arm| known[&(arm.suite.clone(), arm.kind.clone())].clone();
    let gate = gather::gate(&baselines, &runs, &hearsay, &policy).map_err(misuse_or_not)?;
    let title = args.title.as_deref().unwrap_or("");
    let read = Read { runs: &runs, baselines: &baselines, gate, hearsay, history };
    Ok(gather::put_together(&reader, title, read))
}

/// Under a policy that counts on calibrated judges only, the others inform, as they do in the gate.
fn listen_only(global: &Global, hearsay: &Hearsay, runs: &mut [Chosen], baselines: &mut [Held]) -> anyhow::Result<()> {
    for chosen in runs {
        gather::without_hearsay(chosen, hearsay).map_err(misuse_or_not)?;
    }
    for held in baselines {
        let Some(run) = held.run.take() else {
            let calibrations = Calibrations::read(global, [&held.arm])?;
            refuse_file(&held.arm.run, &held.arm, &calibrations)?;
            continue;
        };
        let mut chosen = Chosen { run, arms: vec![held.arm.clone()] };
        gather::without_hearsay(&mut chosen, hearsay).map_err(misuse_or_not)?;
        held.arm = chosen.arms.swap_remove(0);
        held.run = Some(chosen.run);
    }
    Ok(())
}

/// What a person wrote wrong exits with 2; what failed on its own with 4.
fn misuse_or_not(error: Error) -> anyhow::Error {
    match error {
        Error::Index(error) => index::misuse_or_not(error),
        // Its own kind is told apart by whoever prints it.
        Error::Gate(error) => error.into(),
        Error::Log(error) => error.into(),
        Error::Case(error) => error.into(),
        Error::Missing(words) | Error::Asked(words) | Error::Forbidden(words) => Misuse(words).into(),
    }
}
