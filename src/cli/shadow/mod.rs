//! `holdback shadow`: what the shadows of `holdback proxy` answered, held against production.

pub mod flag;

use std::collections::HashMap;

use clap::Args;
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::json;

use super::answers::{self, Summary};
use super::report::production;
use super::{Exit, Global, Misuse, out};
use crate::capture::clock;
use crate::eval::{COMPARISON, Reanswer, SHADOW, ShadowRecord};
use crate::store::log::{Kept, Reader, Status};
use crate::trace::TraceId;

#[derive(Debug, Args)]
#[command(
    after_help = "A shadow is asked by `holdback proxy --shadow model=M,sample=0.05`.\n\nExamples:\n  holdback shadow\n  \
                  holdback shadow --since 2d --model haiku --json\n  holdback shadow --different"
)]
pub struct ShadowArgs {
    /// Only shadows of models whose name contains this
    #[arg(long, value_name = "TEXT")]
    model: Option<String>,
    /// Only what began since then: a span like 7d or 12h, or a day like 2026-11-01
    #[arg(long, value_name = "WHEN", default_value = "30d")]
    since: String,
    /// Only calls that the shadow answered with another move
    #[arg(long)]
    different: bool,
    /// Show so many of the newest calls at most; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// A shadow as it is now.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    record: ShadowRecord,
    /// Its proxy is at work.
    live: bool,
    /// Chosen, and nothing came of it: the proxy was killed before.
    lost: u64,
}

/// All shadows of one model together.
#[derive(Debug, Serialize)]
struct OfModel {
    model: String,
    summary: Summary,
}

/// Prints what there is.
pub fn run(global: &Global, args: &ShadowArgs) -> anyhow::Result<Exit> {
    let since = production::since(&args.since, clock::now())?;
    let store = global.existing_store()?;
    let reader = store.reader()?;
    let records = reader.records(SHADOW)?.into_iter().filter_map(|record| serde_json::from_value(record.data).ok());
    let fits = |record: &ShadowRecord| {
        record.started >= since && args.model.as_deref().is_none_or(|text| record.model.contains(text))
    };
    let mut shadows = Vec::new();
    let mut by_model: IndexMap<String, Vec<Reanswer>> = IndexMap::new();
    for record in records.filter(fits) {
        let found = reader.records_of::<Reanswer>(COMPARISON, &record.id)?;
        by_model.entry(record.model.clone()).or_default().extend(found.found);
        shadows.push(shown(&reader, record));
    }
    if shadows.is_empty() {
        return Err(Misuse(format!(
            "no shadow was asked since {} here: `holdback proxy --shadow model=M,sample=0.05` asks one",
            args.since
        ))
        .into());
    }
    let models: Vec<OfModel> =
        by_model.iter().map(|(model, all)| OfModel { model: model.clone(), summary: answers::summary(all) }).collect();
    let mut steps: Vec<Reanswer> = by_model.into_values().flatten().rev().collect();
    steps.retain(|step| !args.different || step.compared.as_ref().is_some_and(|compared| !compared.same_decision));
    if args.limit > 0 {
        steps.truncate(args.limit);
    }
    number(&reader, &mut steps);
    let answered: usize = models.iter().map(|model| model.summary.answered).sum();
    if args.json {
        out::json(&json!({ "shadows": shadows, "models": models, "steps": steps }))?;
    } else {
        tell(&shadows, &models, &steps)?;
    }
    Ok(if answered == 0 { Exit::Undecided } else { Exit::Pass })
}

fn shown(reader: &Reader, record: ShadowRecord) -> Shown {
    let live = record.ended.is_none() && reader.trace(record.trace).is_ok_and(|trace| trace.status == Status::Live);
    let lost = if live { 0 } else { record.open() };
    Shown { record, live, lost }
}

/// Gives calls their numbers in their traces: the tap doesn't count, it would have to remember every trace.
fn number(reader: &Reader, steps: &mut [Reanswer]) {
    let mut known: HashMap<TraceId, HashMap<_, usize>> = HashMap::new();
    for step in steps {
        let calls = known.entry(step.trace).or_insert_with(|| {
            let entries = reader.entries(step.trace).unwrap_or_default().into_iter();
            let calls = entries.filter_map(|entry| match entry.what {
                Kept::CallStarted(_, started) => Some(started.call),
                _ => None,
            });
            calls.zip(1..).collect()
        });
        step.number = calls.get(&step.call).copied().unwrap_or(0);
    }
}

fn tell(shadows: &[Shown], models: &[OfModel], steps: &[Reanswer]) -> anyhow::Result<()> {
    let mut table = out::table(&[
        "shadow", "model", "since", "state", "calls", "sampled", "answered", "failed", "dropped", "withheld", "lost",
        "spent",
    ]);
    for Shown { record, live, lost } in shadows {
        let state = match (live, &record.stopped, record.ended) {
            (true, Some(_), _) => "stopped",
            (true, None, _) => "live",
            (false, _, Some(_)) => "ended",
            (false, _, None) => "cut off",
        };
        let limit = record.limit.budget_usd.map_or_else(String::new, |most| format!(" of ${most}"));
        let mut row = vec![
            record.id[..record.id.len().min(8)].to_owned(),
            out::printable(&record.model),
            record.started.to_string()[..16].to_owned(),
            state.to_owned(),
        ];
        let counts =
            [record.seen, record.sampled, record.answered, record.failed, record.dropped, record.withheld, *lost];
        row.extend(counts.map(|count| count.to_string()));
        row.push(format!("{}{limit}", out::dollars(Some(record.cost_usd))));
        table.add_row(row);
    }
    out::print_table(&table)?;
    for Shown { record, .. } in shadows {
        if let Some(why) = &record.stopped {
            out::text(format!("{} was asked no more: {}\n", out::printable(&record.model), out::printable(why)))?;
        }
    }
    if !steps.is_empty() {
        out::text("\n")?;
        out::print_table(&answers::table(steps, false))?;
    }
    for OfModel { model, summary } in models {
        out::text(format!("\n{}{}", out::printable(model), answers::words(summary)))?;
    }
    Ok(())
}
