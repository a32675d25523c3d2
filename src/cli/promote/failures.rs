//! `holdback failures`: what failed, grouped by its likely cause.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use clap::Args;
use rayon::prelude::*;
use serde_json::json;

use super::cases;
use crate::capture::clock;
use crate::cli::{Exit, Global, Misuse, out, tapes};
use crate::promote::{Failure, Group, Groups};
use crate::store::log::{Reader, TraceSummary};
use crate::trace::{Source, Timestamp, TraceId};

/// Of more traces than this only those that say themselves that they failed are read.
const READ_ALL: usize = 2_000;

#[derive(Debug, Args)]
#[command(
    after_help = "A trace fails by its exit code, a signal, a brake, an error, a bad score, or what its answers show (a call that \
                  had failed asked for again, a refusal at the end). Replays and trials of `eval` are left out.\n\nExamples:\n  \
                  holdback failures --since 7d\n  holdback promote GROUP --yes"
)]
pub struct FailuresArgs {
    /// Only traces of so long ago at most: 12h, 7d, 4w
    #[arg(long, value_name = "AGE")]
    since: Option<String>,
    /// Read every trace, whatever it says of itself, however many there are
    #[arg(long)]
    all: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Groups with the traces in them.
pub struct Found {
    pub groups: Vec<Group>,
    /// Which group a trace is in.
    pub of: HashMap<TraceId, String>,
    /// Failing traces by time, the newest last.
    pub failed: Vec<TraceId>,
}

/// Looks for failures.
pub fn find(reader: &Arc<Reader>, since: Option<Timestamp>, all: bool) -> anyhow::Result<Found> {
    let own = |trace: &TraceSummary| {
        trace.source != Source::Derived && !trace.tags.iter().any(|(key, _)| key == "run" || key == "ask")
    };
    let mut traces: Vec<TraceSummary> = reader.traces().into_iter().filter(own).collect();
    traces.retain(|trace| since.is_none_or(|since| trace.last >= since));
    if traces.len() > READ_ALL && !all {
        traces.retain(TraceSummary::went_wrong);
    }
    traces.sort_by_key(|trace| trace.started);
    let mut groups = Groups::default();
    let (mut numbers, mut failed) = (Vec::new(), Vec::new());
    // In portions, so that memory holds a few traces at a time.
    for portion in traces.chunks(64) {
        let read: Vec<Option<Failure>> = portion
            .par_iter()
            .map(|trace| tapes::read(reader, trace.id).ok().and_then(|stored| Failure::of(&tapes::told(stored))))
            .collect();
        for (trace, failure) in portion.iter().zip(read) {
            if let Some(failure) = failure {
                failed.push(trace.id);
                numbers.push((trace.id, groups.add(trace.id, trace.last, failure)));
            }
        }
    }
    let ids = groups.ids();
    let of = numbers.into_iter().map(|(trace, number)| (trace, ids[number].clone())).collect();
    Ok(Found { groups: groups.finish(), of, failed })
}

/// Prints the groups.
pub fn run(global: &Global, args: &FailuresArgs) -> anyhow::Result<Exit> {
    let store = global.existing_store()?;
    let reader = Arc::new(store.reader()?);
    let since = args.since.as_deref().map(age).transpose()?;
    let mut found = find(&reader, since, args.all)?;
    let cases: BTreeMap<String, String> =
        cases::read(&reader)?.into_iter().filter_map(|case| Some((case.group?, case.id))).collect();
    for group in &mut found.groups {
        group.case = cases.get(&group.id).cloned();
    }
    if args.json {
        out::json(&json!({ "groups": found.groups, "failing": found.failed.len() }))?;
        return Ok(Exit::Pass);
    }
    if found.groups.is_empty() {
        eprintln!("holdback: no trace failed");
        return Ok(Exit::Pass);
    }
    let paint = global.paint();
    let mut table =
        out::table(&["group", "count", "kind", "tool", "first seen", "last seen", "newest", "case", "what was said"]);
    for group in &found.groups {
        table.add_row(vec![
            paint.name(&group.id),
            group.count.to_string(),
            group.kind.clone(),
            out::printable(group.tool.as_deref().unwrap_or("-")),
            group.first_seen.to_string()[..16].to_owned(),
            group.last_seen.to_string()[..16].to_owned(),
            paint.name(&group.newest.to_string()[..8]),
            group.case.clone().unwrap_or_else(|| "-".to_owned()),
            out::printable(&out::shorten(&group.says, 70)),
        ]);
    }
    out::print_table(&table)?;
    eprintln!("make one a regression case with: holdback promote GROUP");
    Ok(Exit::Pass)
}

/// `7d`: the time so long ago.
fn age(text: &str) -> anyhow::Result<Timestamp> {
    let bad = || Misuse(format!("--since {text:?}: expected an age like 12h, 7d or 4w"));
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(bad().into()),
    };
    let number: i64 = number.parse().map_err(|_| bad())?;
    let micros = number.checked_mul(seconds * 1_000_000).ok_or_else(bad)?;
    Ok(Timestamp(clock::now().0.saturating_sub(micros)))
}
