//! `holdback failures`: what failed, grouped by its likely cause.

use std::sync::Arc;

use clap::Args;
use serde_json::json;

use crate::capture::clock;
use crate::cli::{Exit, Global, Misuse, out};
use crate::eval::cases::find;
use crate::trace::Timestamp;

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

/// Prints the groups.
pub fn run(global: &Global, args: &FailuresArgs) -> anyhow::Result<Exit> {
    let store = global.existing_store()?;
    let reader = Arc::new(store.reader()?);
    let since = args.since.as_deref().map(age).transpose()?;
    let found = find(&reader, since, args.all)?;
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
