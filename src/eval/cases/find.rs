//! What failed in a store, grouped by its likely cause.

use std::collections::HashMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::{CaseError, case};
use crate::eval::tapes;
use crate::promote::{Failure, Group, Groups, Marked};
use crate::store::log::{LogError, Reader, TraceSummary};
use crate::trace::{Source, Timestamp, TraceId};

/// Of more traces than this only those that say themselves that they failed are read.
const READ_ALL: usize = 2_000;
/// Traces in memory at a time, and those of them that one thread reads in a row.
const PORTION: usize = 128;
const NEIGHBOURS: usize = 16;

/// Groups with the traces in them.
pub struct Found {
    pub groups: Vec<Group>,
    /// Which group a trace is in, by its place in `ids`.
    of: HashMap<TraceId, u32>,
    ids: Vec<String>,
    /// Failing traces by time, the newest last.
    pub failed: Vec<TraceId>,
}

impl Found {
    /// The group that a trace is in.
    pub fn group_of(&self, trace: TraceId) -> Option<&str> {
        self.of.get(&trace).and_then(|group| self.ids.get(*group as usize)).map(String::as_str)
    }
}

/// Whether a trace is one of a loop that worked for somebody: no replay, no `ask`, no trial of `eval`.
pub fn of_its_own(trace: &TraceSummary) -> bool {
    trace.source != Source::Derived && !trace.tags.iter().any(|(key, _)| key == "run" || key == "ask")
}

/// Looks for failures. Replays, `ask` and trials of `eval` are left out.
///
/// # Errors
/// When the log can't be read.
pub fn find(reader: &Arc<Reader>, since: Option<Timestamp>, all: bool) -> Result<Found, CaseError> {
    let mut traces: Vec<TraceSummary> = reader.traces().into_iter().filter(of_its_own).collect();
    traces.retain(|trace| since.is_none_or(|since| trace.last >= since));
    if traces.len() > READ_ALL && !all {
        traces.retain(TraceSummary::went_wrong);
    }
    traces.sort_by_key(|trace| trace.started);
    let mut groups = Groups::default();
    let (mut of, mut failed) = (HashMap::new(), Vec::new());
    // In portions, so that memory holds a few traces at a time.
    for portion in traces.chunks(PORTION) {
        let read: Vec<Option<Marked>> =
            portion.par_chunks(NEIGHBOURS).flat_map_iter(|some| marked(reader, some)).collect();
        for (trace, failure) in portion.iter().zip(read) {
            if let Some(failure) = failure {
                failed.push(trace.id);
                let group = groups.add(trace.id, trace.last, failure);
                of.insert(trace.id, u32::try_from(group).unwrap_or(u32::MAX));
            }
        }
    }
    let ids = groups.ids();
    let mut groups = groups.finish();
    let cases: HashMap<String, String> =
        case::read(reader)?.into_iter().filter_map(|case| Some((case.group?, case.id))).collect();
    for group in &mut groups {
        group.case = cases.get(&group.id).cloned();
    }
    Ok(Found { groups, of, ids, failed })
}

/// How each of some traces failed.
fn marked(reader: &Reader, traces: &[TraceSummary]) -> Vec<Option<Marked>> {
    let mut browse = reader.browse();
    let mut one = |trace: &TraceSummary| {
        let told = tapes::told_of(&mut browse, trace.id).ok()?;
        Failure::of(&told).map(Marked::from)
    };
    traces.iter().map(&mut one).collect()
}

/// The trace meant by a word, and the group it is in.
pub(super) fn which(reader: &Arc<Reader>, word: &str) -> Result<(TraceId, Option<String>), CaseError> {
    let found = find(reader, None, false)?;
    let group_of = |trace| found.group_of(trace).map(str::to_owned);
    if word == "last-failed" {
        let last = found.failed.last().copied();
        let nothing = || CaseError::Asked("no trace failed: `holdback failures` would show it".to_owned());
        let last = last.ok_or_else(nothing)?;
        return Ok((last, group_of(last)));
    }
    if let Some(group) = found.groups.iter().find(|group| group.id == word) {
        return Ok((group.newest, Some(group.id.clone())));
    }
    let trace = resolve(reader, word)?;
    Ok((trace, group_of(trace)))
}

/// The trace a word means.
pub(super) fn resolve(reader: &Reader, word: &str) -> Result<TraceId, CaseError> {
    reader.resolve(word).map_err(|error| match error {
        LogError::NotFound(_) | LogError::Ambiguous { .. } => CaseError::Asked(error.to_string()),
        other => other.into(),
    })
}
