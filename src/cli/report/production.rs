//! `holdback report --production`: how loops did in a span of time.

use std::path::Path;
use std::sync::Arc;

use super::delivered::delivered;
use crate::capture::clock;
use crate::cli::{Global, Misuse, index};
use crate::eval::cases::{self, find, of_its_own};
use crate::report::production::{Case, FailureGroup, Failures, Group, Production, Reason, Tool};
use crate::store::index::{Index, ProductionGroup};
use crate::store::log::Reader;
use crate::trace::Timestamp;

/// Traces that are read for their failures: the newest of the span.
const READ: usize = 400;
/// Groups of failures that are listed.
const GROUPS: usize = 20;

/// `30d`, `12h`, `2w`, or a day like `2026-11-01`, as a time before now.
pub fn since(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    let wrong = || Misuse(format!("--since {text:?}: expected a span like 30d, 12h or 2w, or a day like 2026-11-01"));
    if let Ok(day) = text.parse::<jiff::civil::Date>() {
        let start = day.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong())?;
        return Ok(Timestamp(start.timestamp().as_microsecond()));
    }
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let number: i64 = number.parse().ok().filter(|n| (1..=100_000).contains(n)).ok_or_else(wrong)?;
    let hours = match unit {
        "h" => 1,
        "d" => 24,
        "w" => 24 * 7,
        _ => return Err(wrong().into()),
    };
    Ok(Timestamp(now.0 - number * hours * 3_600_000_000))
}

/// Reads everything and puts it together. The index is opened, asked and let go.
pub fn gather(global: &Global, span: &str, repo: Option<&Path>) -> anyhow::Result<Production> {
    let now = clock::now();
    let since = since(span, now)?;
    let store = global.existing_store()?;
    let index = index::open(&store, "report")?;
    let groups = groups(&index, since, now)?;
    let earlier = Timestamp(since.0 - (now.0 - since.0));
    let before = groups_of(&index, earlier, since, "all")?.into_iter().next();
    let reasons = index.production_reasons(since, now)?.into_iter().map(|row| Reason {
        outcome: row.outcome.unwrap_or_default(),
        why: row.why,
        traces: whole(row.traces),
        newest_trace: row.newest_trace,
    });
    let reasons = reasons.collect();
    let tools = index.production_tools(since, now)?.into_iter().map(|row| Tool {
        tool: row.tool,
        asked: whole(row.asked),
        answered: whole(row.answered),
        failed: whole(row.failed),
        p50_ms: row.p50_ms,
        p95_ms: row.p95_ms,
    });
    let tools = tools.collect();
    let spans = if repo.is_some() { index.production_spans(since, now)? } else { Vec::new() };
    drop(index);
    let failures = failures(&Arc::new(store.reader()?), since, now)?;
    let delivered = repo.map(|repo| delivered(repo, &spans, since, now)).transpose()?;
    Ok(Production { made: now, since, until: now, groups, before, failures, reasons, tools, delivered })
}

/// Failures among the newest traces of the span, in groups.
fn failures(reader: &Arc<Reader>, since: Timestamp, until: Timestamp) -> anyhow::Result<Failures> {
    let mut lasts: Vec<Timestamp> = reader
        .traces()
        .iter()
        .filter(|trace| of_its_own(trace))
        .map(|trace| trace.last)
        .filter(|last| *last >= since)
        .collect();
    lasts.sort_unstable();
    let oldest = lasts.len().checked_sub(READ).map_or(since, |at| lasts[at]);
    let found = find(reader, Some(oldest), false)?;
    let known = cases::read(reader)?;
    let more = found.groups.len().saturating_sub(GROUPS);
    let groups: Vec<FailureGroup> = found
        .groups
        .into_iter()
        .take(GROUPS)
        .map(|group| FailureGroup {
            case: known.iter().find(|case| case.group.as_ref() == Some(&group.id)).map(|case| case.id.clone()),
            id: group.id,
            kind: group.kind,
            tool: group.tool,
            says: group.says,
            traces: group.count as u64,
            newest_trace: group.newest.to_string(),
        })
        .collect();
    let named = |id: &String| groups.iter().any(|group| group.case.as_ref() == Some(id));
    let cases = known.into_iter().filter(|case| named(&case.id) || (since..until).contains(&case.opened));
    let cases = cases.map(|case| Case {
        id: case.id,
        suite: case.suite,
        file: case.file,
        reason: case.reason,
        opened: case.opened,
        trace: case.trace.to_string(),
    });
    Ok(Failures {
        looked_at: lasts.len().min(READ) as u64,
        failed: found.failed.len() as u64,
        cases: cases.collect(),
        groups,
        more: more as u64,
    })
}

fn groups(index: &Index, since: Timestamp, until: Timestamp) -> anyhow::Result<Vec<Group>> {
    Ok(index.production_groups(since, until)?.into_iter().map(group).collect())
}

fn groups_of(index: &Index, since: Timestamp, until: Timestamp, what: &str) -> anyhow::Result<Vec<Group>> {
    Ok(groups(index, since, until)?.into_iter().filter(|group| group.what == what).collect())
}

fn group(row: ProductionGroup) -> Group {
    Group {
        what: row.what,
        word: row.word.unwrap_or_default(),
        traces: whole(row.traces),
        ok: whole(row.ok),
        failed: whole(row.failed),
        killed: whole(row.killed),
        braked: whole(row.braked),
        cut_off: whole(row.cut_off),
        unknown: whole(row.unknown),
        stuck: whole(row.stuck),
        calls: whole(row.calls.unwrap_or(0)),
        failed_calls: whole(row.failed_calls.unwrap_or(0)),
        tokens: whole(row.tokens.unwrap_or(0)),
        cost_usd: row.cost_usd,
        unpriced_calls: whole(row.unpriced_calls.unwrap_or(0)),
        p50_s: row.p50_s,
        p95_s: row.p95_s,
    }
}

/// A count is never negative.
fn whole(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        let now = Timestamp(1_700_000_000_000_000);
        let hours = |text| (now.0 - since(text, now).unwrap().0) / 3_600_000_000;
        assert_eq!([hours("12h"), hours("30d"), hours("2w")], [12, 720, 336]);
        assert_eq!(since("2023-11-14", now).unwrap(), Timestamp(1_699_920_000_000_000));
        for bad in ["", "d", "0d", "-3d", "5x", "30", "2023-13-40", "9ü"] {
            assert!(since(bad, now).is_err(), "{bad}");
        }
    }
}
