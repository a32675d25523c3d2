//! `holdback traces export --format otlp-json`: a trace and its grades, for the tool a team already looks at.

use std::collections::HashMap;

use crate::cli::runs::stored::Runs;
use crate::import::otlp::{ExportCall, ExportTrace, otlp_json};
use crate::provider;
use crate::store::log::{Kept, Reader, Store};
use crate::trace::{CallId, Score, Timestamp, TraceId};
use crate::trial::Grade;

/// The trace as the body of an OTLP request.
pub fn export(store: &Store, reader: &Reader, trace: TraceId) -> anyhow::Result<Vec<u8>> {
    let summary = reader.trace(trace)?;
    let mut calls: Vec<ExportCall> = Vec::new();
    let mut places: HashMap<CallId, (usize, crate::trace::Wire)> = HashMap::new();
    let mut scores = Vec::new();
    for entry in reader.entries(trace)? {
        match entry.what {
            Kept::CallStarted(_, started) => {
                let wire = started.request.wire;
                let body = reader.request_at(&entry.place)?;
                places.insert(started.call, (calls.len(), wire));
                calls.push(ExportCall {
                    id: started.call.0,
                    at: entry.at,
                    end: entry.at,
                    provider: started.request.upstream.clone(),
                    request: provider::request(wire, &started.request.target, &body).unwrap_or_default(),
                    response: Default::default(),
                    error: None,
                    first_content_us: None,
                    agent: started.request.agent.clone(),
                    cost_usd: None,
                });
            }
            Kept::CallEnded(_, id, ended) => {
                let Some((at, wire)) = places.get(&id).copied() else { continue };
                let call = &mut calls[at];
                call.end = entry.at;
                call.response = ended
                    .status
                    .map(|status| provider::response(wire, status, &ended.headers, &ended.body))
                    .unwrap_or_default();
                call.response.usage = ended.summary.usage;
                call.error = ended.summary.error;
                call.cost_usd = ended.summary.cost_usd;
                call.first_content_us = ended.first_content;
            }
            Kept::Scored(_, score) => scores.push((entry.at, score)),
            _ => {}
        }
    }
    scores.extend(grades(store, trace, summary.last)?);
    let whole = ExportTrace {
        id: trace,
        name: summary.name.clone().unwrap_or_else(|| "trace".to_owned()),
        agent: summary.agent.clone(),
        at: summary.started,
        end: summary.last,
        error: summary
            .error
            .clone()
            .or(summary.reason.clone())
            .filter(|_| summary.outcome.is_some_and(|outcome| outcome.as_str() != "ok")),
        calls,
        scores,
    };
    let mut body = serde_json::to_vec(&otlp_json(&whole, env!("CARGO_PKG_VERSION")))?;
    body.push(b'\n');
    Ok(body)
}

/// What graders said of the trial that this trace is of.
fn grades(store: &Store, trace: TraceId, at: Timestamp) -> anyhow::Result<Vec<(Timestamp, Score)>> {
    let mut found = Vec::new();
    let runs = Runs::of(Some(store))?;
    for head in &runs.all {
        let run = runs.whole(head)?;
        for grade in run.trials.iter().filter(|trial| trial.trace == Some(trace)).flat_map(|trial| &trial.grades) {
            let (value, label) = match &grade.grade {
                Grade::Scored { score, pass } => (Some(*score), if *pass { "pass" } else { "fail" }),
                Grade::Abstained { .. } => (None, "abstained"),
                Grade::Broken { .. } => (None, "broken"),
            };
            let comment = (!grade.reasons.is_empty()).then(|| grade.reasons.join("\n"));
            let score = Score {
                name: grade.label.clone(),
                by: "grader".to_owned(),
                value,
                label: Some(label.to_owned()),
                comment,
                call: None,
            };
            found.push((at, score));
        }
    }
    Ok(found)
}
