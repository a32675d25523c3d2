//! The rows of traces: made of all that was ever said of them, so that the order of folding leaves no mark.

use std::collections::{BTreeMap, HashSet};

use super::Error;
use super::database::Database;
use super::fold::{delete, hex_list};
use super::intake::hex;
use super::rows::{Hex16, Hex32, PartRow, TableRow, Time, TraceRow, Word, big};
use crate::store::log::Cursor;
use crate::trace::{Content, Source, TraceEnded, TraceId, TraceStarted};

/// Takes in what was said of traces and makes their rows anew.
pub(super) fn update(database: &Database, mut parts: Vec<PartRow>) -> Result<(), Error> {
    if parts.is_empty() {
        return Ok(());
    }
    let touched: HashSet<Hex32> = parts.iter().map(|part| part.trace_id).collect();
    let list = hex_list(touched.iter().copied());
    let mut by_trace: BTreeMap<Hex32, Vec<PartRow>> = BTreeMap::new();
    let mut statement = database.connection().prepare(
        "SELECT trace_id, segment, recorded_at, kind, part FROM trace_parts WHERE trace_id IN (SELECT unnest(string_split(?, ',')))",
    )?;
    let mut rows = statement.query([&list])?;
    while let Some(row) = rows.next()? {
        let part = PartRow::read(row)?;
        by_trace.entry(part.trace_id).or_default().push(part);
    }
    parts.retain(|part| part.part.is_some() || !sighted(by_trace.get(&part.trace_id), part));
    database.append(&parts)?;
    let known = !by_trace.is_empty();
    for part in parts {
        by_trace.entry(part.trace_id).or_default().push(part);
    }
    if known {
        delete(database, "traces", "trace_id", &list)?;
    }
    database.append(&by_trace.into_iter().map(|(trace, parts)| trace_row(trace, parts)).collect::<Vec<_>>())
}

fn sighted(known: Option<&Vec<PartRow>>, part: &PartRow) -> bool {
    known.is_some_and(|known| known.iter().any(|one| one.part.is_none() && one.segment == part.segment))
}

/// Later values win, empty ones change nothing. Of two parts of the same instant, the one that sorts last is the later.
fn trace_row(trace: Hex32, mut parts: Vec<PartRow>) -> TraceRow {
    parts.sort_by(|a, b| (a.recorded_at, &a.kind.0, &a.part).cmp(&(b.recorded_at, &b.kind.0, &b.part)));
    let started_at = parts.first().map_or(Time(0), |part| part.recorded_at);
    let mut row = TraceRow {
        trace_id: trace,
        name: None,
        agent: None,
        source: word(&Source::default()),
        content: word(&Content::default()),
        state: "live".into(),
        outcome: None,
        reason: None,
        exit_code: None,
        signal: None,
        started_at,
        ended_at: None,
        lost_calls: 0,
        command: None,
        cwd: None,
        git_commit: None,
        git_dirty: None,
        parent_trace_id: None,
        parent_call_id: None,
        tags: String::new(),
    };
    let mut tags = serde_json::Map::new();
    for part in &parts {
        let Some(json) = &part.part else { continue };
        if part.kind.0 == "started" {
            if let Ok(started) = serde_json::from_str::<TraceStarted>(json) {
                begin(&mut row, &mut tags, started);
            }
        } else if let Ok(ended) = serde_json::from_str::<TraceEnded>(json) {
            row.state = "ended".into();
            row.outcome = Some(ended.outcome.as_str().into());
            row.reason = ended.reason;
            row.exit_code = ended.exit_code;
            row.signal = ended.signal;
            row.lost_calls = big(ended.lost_calls);
            row.ended_at = Some(part.recorded_at);
        }
    }
    row.tags = serde_json::Value::Object(tags).to_string();
    row
}

fn begin(row: &mut TraceRow, tags: &mut serde_json::Map<String, serde_json::Value>, started: TraceStarted) {
    let TraceStarted { name, tags: more, source, content, agent, command, cwd, git_commit, git_dirty, parent } =
        started;
    row.name = name.or(row.name.take());
    row.agent = agent.or(row.agent.take());
    row.cwd = cwd.or(row.cwd.take());
    row.git_commit = git_commit.or(row.git_commit.take());
    row.git_dirty = git_dirty.or(row.git_dirty);
    row.source = word(&source);
    row.content = word(&content);
    if !command.is_empty() {
        row.command = Some(serde_json::to_string(&command).expect("texts are always JSON"));
    }
    if let Some((trace, call)) = parent {
        row.parent_trace_id = Some(hex(trace));
        row.parent_call_id = call.map(|call| Hex16::from(call.0));
    }
    tags.extend(more.into_iter().map(|(key, value)| (key, value.into())));
}

/// The word a noun is stored by.
fn word(noun: &impl serde::Serialize) -> Word {
    let word = serde_json::to_value(noun).ok().and_then(|value| value.as_str().map(str::to_owned));
    Word(word.unwrap_or_default().into())
}

/// Traces whose every recorder is gone without a word of how they ended.
pub(super) fn mark_cut_off(database: &Database, cursor: &Cursor) -> Result<(), Error> {
    let done: Vec<&str> =
        cursor.segments.iter().filter(|(_, mark)| mark.done).map(|(segment, _)| segment.as_str()).collect();
    database.connection().execute(
        "UPDATE traces SET state = 'cut_off' WHERE state = 'live' AND trace_id NOT IN (
             SELECT trace_id FROM trace_parts
             WHERE part IS NULL AND segment NOT IN (SELECT unnest(string_split(?, chr(10)))))",
        [done.join("\n")],
    )?;
    Ok(())
}

/// Removes all rows of traces, and what only they had said.
pub(super) fn remove(database: &Database, traces: &HashSet<TraceId>) -> Result<u64, Error> {
    let list = hex_list(traces.iter().map(|trace| hex(*trace)));
    let removed = delete(database, "traces", "trace_id", &list)?;
    for table in ["calls", "contexts", "tool_calls", "events", "scores", "trace_parts"] {
        delete(database, table, "trace_id", &list)?;
    }
    database.connection().execute_batch(include_str!("../sql/forget_orphans.sql"))?;
    Ok(removed)
}
