//! `holdback doctor` and `holdback prune`: the health of the store, and its size.

use clap::Args;
use jiff::SignedDuration;
use serde_json::json;

use super::{Exit, Global, Misuse, out};
use crate::capture::clock;
use crate::store::log::{Finding, Policy};
use crate::trace::Timestamp;

#[derive(Debug, Args)]
#[command(
    after_help = "Exits with 1 when something that was kept is damaged. Records cut off by a crash, and calls whose recorder \
                  died, are told but are no damage.\n\nExample: holdback doctor --verify"
)]
pub struct Doctor {
    /// Also rebuild every request body and compare it with its SHA-256
    #[arg(long)]
    verify: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Checks the store.
pub fn run(global: &Global, args: &Doctor) -> anyhow::Result<Exit> {
    let store = global.existing_store()?;
    let reader = store.reader()?;
    let bar = out::progress(None, "checking records");
    bar.enable_steady_tick(std::time::Duration::from_millis(250));
    let checkup = reader.check(args.verify)?;
    bar.finish_and_clear();
    let stats = reader.stats();
    let lost: u64 = reader.traces().iter().map(|trace| trace.lost_calls).sum();
    let exit = if checkup.is_sound() { Exit::Pass } else { Exit::Regression };
    if args.json {
        out::json(
            &json!({"sound": checkup.is_sound(), "verified": args.verify, "checkup": checkup, "stats": stats, "lost_calls": lost}),
        )?;
        return Ok(exit);
    }
    let paint = global.paint();
    let mut text = format!(
        "{}: {} traces, {} calls, {} records in {} segments ({} being written), {}\n",
        global.store.display(),
        stats.traces,
        stats.calls,
        checkup.records,
        stats.segments,
        stats.live_segments,
        out::size(stats.bytes),
    );
    if args.verify {
        text.push_str(&format!(
            "{} request bodies ({}) rebuilt, each compared with its SHA-256\n",
            checkup.bodies,
            out::size(checkup.body_bytes)
        ));
    }
    for finding in &checkup.findings {
        let word = if finding.is_damage() { paint.bad("damaged") } else { paint.dim("told   ") };
        text.push_str(&format!("{word} {}\n", out::printable(&worded(finding))));
    }
    if lost > 0 {
        text.push_str(&paint.bad(&format!("{lost} calls were made and could not be stored\n")));
    }
    text.push_str(&match checkup.is_sound() {
        true => paint.good("sound: nothing that was kept is lost\n"),
        false => paint.bad("NOT sound: the records named above can't be read any more; all others can\n"),
    });
    out::text(text)?;
    Ok(exit)
}

/// A finding in words: what, and where.
fn worded(finding: &Finding) -> String {
    match finding {
        Finding::BadStart { segment } => format!("segment {segment}: its first line; its records are read without it"),
        Finding::BadRecord { segment, offset, bytes } => {
            format!("segment {segment}, byte {offset}: {bytes} bytes are no record any more")
        }
        Finding::Unreadable { segment, offset } => {
            format!("segment {segment}, byte {offset}: a record that makes no sense")
        }
        Finding::WrongBody { segment, offset, trace, call, why } => {
            format!("segment {segment}, byte {offset}: the request of call {call} in trace {trace}: {why}")
        }
        Finding::TornTail { segment, offset, bytes } => {
            format!(
                "segment {segment}, byte {offset}: a writer died over its last record ({bytes} bytes, never acknowledged)"
            )
        }
        Finding::LostCall { trace, call } => format!("call {call} in trace {trace}: its recorder died before it ended"),
        Finding::Leftover { path } => format!("{}: nobody needs it, `holdback prune` takes it away", path.display()),
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Traces being recorded are never touched. What other traces share stays.\n\nExamples:\n  \
                  holdback prune --older-than 30d --keep-failed --dry-run\n  holdback prune --max-size 10GB")]
pub struct Prune {
    /// Remove traces whose last record is older than this: 12h, 30d, 8w
    #[arg(long, value_name = "TIME")]
    older_than: Option<String>,
    /// Then remove the oldest until the log is no bigger than this: 500MB, 10GB
    #[arg(long, value_name = "SIZE")]
    max_size: Option<String>,
    /// Keep traces that failed, were cut off, or have failed calls
    #[arg(long)]
    keep_failed: bool,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Removes old traces.
pub fn prune(global: &Global, args: &Prune) -> anyhow::Result<Exit> {
    if args.older_than.is_none() && args.max_size.is_none() {
        return Err(Misuse("say what may go: --older-than 30d, --max-size 10GB, or both".to_owned()).into());
    }
    let now = clock::now();
    let before = args.older_than.as_deref().map(|text| ago(now, text)).transpose()?;
    let max_bytes = args.max_size.as_deref().map(bytes).transpose()?;
    let store = global.existing_store()?;
    let policy = Policy { before, max_bytes, keep_failed: args.keep_failed };
    let pruned = store.prune(&policy, now, args.dry_run)?;
    if args.json {
        out::json(&json!({"dry_run": args.dry_run, "pruned": pruned}))?;
        return Ok(Exit::Pass);
    }
    let (verb, rest) = if args.dry_run { ("would remove", "at most ") } else { ("removed", "") };
    out::text(format!(
        "{verb} {} traces: {} -> {rest}{}\n",
        pruned.traces.len(),
        out::size(pruned.bytes_before),
        out::size(pruned.bytes_after)
    ))?;
    Ok(Exit::Pass)
}

/// The point in time so long ago.
fn ago(now: Timestamp, text: &str) -> anyhow::Result<Timestamp> {
    let wrong = || Misuse(format!("--older-than {text:?}: expected a number and a unit, like 90m, 12h, 30d or 8w"));
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: i64 = text[..digits].parse().map_err(|_| wrong())?;
    let hours = |hours: i64| number.checked_mul(hours).map(SignedDuration::from_hours).ok_or_else(wrong);
    let time = match text[digits..].trim() {
        "m" => SignedDuration::from_mins(number),
        "h" => hours(1)?,
        "d" => hours(24)?,
        "w" => hours(24 * 7)?,
        _ => return Err(wrong().into()),
    };
    let micros = i64::try_from(time.as_micros()).map_err(|_| wrong())?;
    Ok(Timestamp(now.0.saturating_sub(micros)))
}

/// A size as people write it.
fn bytes(text: &str) -> anyhow::Result<u64> {
    let wrong = || Misuse(format!("--max-size {text:?}: expected a number and a unit, like 500MB or 10GB"));
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit: u64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        _ => return Err(wrong().into()),
    };
    Ok(number.checked_mul(unit).ok_or_else(wrong)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_as_people_write_them() {
        let now = Timestamp(100 * 86_400_000_000);
        for (text, days) in [("30d", 70), ("1w", 93), ("24h", 99), ("1440m", 99)] {
            assert_eq!(ago(now, text).unwrap(), Timestamp(days * 86_400_000_000), "{text}");
        }
        for (text, size) in [("10GB", 10_000_000_000), ("500 mb", 500_000_000), ("7", 7), ("1k", 1000)] {
            assert_eq!(bytes(text).unwrap(), size, "{text}");
        }
        for bad in ["", "d", "3 fortnights", "-1d", "99999999999999999999d"] {
            assert!(ago(now, bad).is_err() && bytes(bad).is_err(), "{bad}");
        }
    }
}
