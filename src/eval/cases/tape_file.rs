//! Tapes of cases as files: a trace file (docs/trace-format.md) with one call, the frozen request and the answer that failed.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use serde_json::Value;

use super::{CaseError, disk};
use crate::eval::{Frozen, Recorded};
use crate::grade::Step;
use crate::promote::Turn;
use crate::provider;
use crate::store::log::{Durability, ImportError, Reader, Store, TraceFile};
use crate::trace::{
    CallEnded, CallId, CallStarted, CallSummary, Chunk, Headers, Message, Note, Response, Sink, Timestamp, TraceEnded,
    TraceEvent, TraceId, TraceOutcome, TraceStarted, What, Wire,
};
use crate::trial::Ending;

/// What a tape of a case is made of.
pub struct Frost<'a> {
    pub name: &'a str,
    pub trace: TraceId,
    pub call: CallId,
    pub at: Timestamp,
    pub about: TraceStarted,
    pub wire: Wire,
    pub target: &'a str,
    pub body: &'a Value,
    pub answer: &'a Response,
    pub ended: Option<TraceEnded>,
    /// Where it comes from and why it is a case.
    pub provenance: Value,
}

/// Writes a tape; says how large it became.
pub fn write(path: &Path, frost: Frost<'_>) -> Result<u64, CaseError> {
    let folder = tempfile::tempdir().map_err(disk::at(Path::new("a folder of its own")))?;
    let store = Store::open(folder.path().join("store"), Durability::Os)?;
    let mut writer = store.writer()?;
    let (headers, pieces) = provider::answer(frost.wire, false, frost.answer);
    let body = Bytes::from(pieces.concat());
    let asked = CallStarted {
        wire: frost.wire,
        upstream: "case".to_owned(),
        method: "POST".to_owned(),
        target: frost.target.to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Bytes::from(frost.body.to_string()),
        ..CallStarted::default()
    };
    let summary =
        CallSummary { model: frost.answer.model.clone(), usage: frost.answer.usage, ..CallSummary::default() };
    let answered = CallEnded {
        status: Some(200),
        headers,
        chunks: vec![Chunk { at: 0, len: body.len() as u64 }],
        body,
        summary,
        ..CallEnded::default()
    };
    let about = TraceStarted { name: Some(frost.name.to_owned()), ..frost.about };
    let note = Note { kind: "case".to_owned(), call: Some(frost.call), data: frost.provenance };
    let mut events = vec![
        What::TraceStarted(about),
        What::CallStarted(frost.call, asked),
        What::CallEnded(frost.call, answered),
        What::Noted(note),
    ];
    events.extend(frost.ended.map(What::TraceEnded));
    for what in events {
        writer.accept(&TraceEvent { trace: frost.trace, at: frost.at, what })?;
    }
    drop(writer);
    let reader = store.reader()?;
    let mut file = Vec::new();
    reader.export(frost.trace, &mut file)?;
    disk::publish(path, &file)
}

/// Writes a recorded trace as it is, with where it comes from; says how large it became.
pub fn copy(
    reader: &Reader,
    name: &str,
    trace: TraceId,
    at: Timestamp,
    provenance: Value,
    to: &Path,
) -> Result<u64, CaseError> {
    let unreadable = |error: ImportError| CaseError::Refused(format!("trace {trace} can't be written down: {error}"));
    let mut recorded = Vec::new();
    reader.export(trace, &mut recorded)?;
    let folder = tempfile::tempdir().map_err(disk::at(Path::new("a folder of its own")))?;
    let store = Store::open(folder.path().join("store"), Durability::Os)?;
    let mut writer = store.writer()?;
    TraceFile::open(recorded.as_slice()).map_err(unreadable)?.pour(trace, &mut writer).map_err(unreadable)?;
    let about = TraceStarted { name: Some(name.to_owned()), ..TraceStarted::default() };
    let note = Note { kind: "case".to_owned(), call: None, data: provenance };
    for what in [What::TraceStarted(about), What::Noted(note)] {
        writer.accept(&TraceEvent { trace, at, what })?;
    }
    drop(writer);
    let mut file = Vec::new();
    store.reader()?.export(trace, &mut file)?;
    disk::publish(to, &file)
}

/// Collects what a file holds.
#[derive(Default)]
struct Collected {
    calls: Vec<(CallId, CallStarted, Option<CallEnded>)>,
    ended: Option<TraceEnded>,
}

impl Sink for Collected {
    type Error = std::convert::Infallible;

    fn accept(&mut self, event: &TraceEvent) -> Result<(), Self::Error> {
        match &event.what {
            What::CallStarted(call, asked) => self.calls.push((*call, asked.clone(), None)),
            What::CallEnded(call, ended) => {
                if let Some(known) = self.calls.iter_mut().find(|(known, ..)| known == call) {
                    known.2 = Some(ended.clone());
                }
            }
            What::TraceEnded(ended) => self.ended = Some(ended.clone()),
            _ => {}
        }
        Ok(())
    }
}

/// Reads a trace from its file, as evidence and as something to ask again.
///
/// # Errors
/// When it is no trace file, or damaged.
pub fn read(path: &Path) -> Result<Recorded, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let file = TraceFile::open(file).map_err(|error| error.to_string())?;
    let trace = file.trace;
    let mut collected = Collected::default();
    file.pour(trace, &mut collected).map_err(|error| error.to_string())?;
    let frozen = collected.calls.last().map(|(_, asked, _)| Frozen {
        wire: asked.wire,
        target: asked.target.clone(),
        headers: telling(&asked.headers),
        body: asked.body.clone(),
    });
    let turns: Vec<Turn> = (1..)
        .zip(collected.calls)
        .map(|(number, (call, asked, ended))| {
            let body = asked.body.clone();
            Turn::new(number, call, asked, body, ended.as_ref())
        })
        .collect();
    let opening: Vec<Message> = turns.first().map(|turn| turn.request.messages.clone()).unwrap_or_default();
    let ending = collected.ended.as_ref().map(ending);
    Ok(Recorded { trace: None, opening, steps: turns.into_iter().map(step).collect(), ending, frozen })
}

fn telling(headers: &Headers) -> Headers {
    let kept = ["content-type", "anthropic-version", "anthropic-beta", "openai-beta"];
    headers.iter().filter(|(name, _)| kept.contains(&name.to_ascii_lowercase().as_str())).cloned().collect()
}

fn step(turn: Turn) -> Step {
    Step {
        call: Some(turn.call),
        results: turn.results().cloned().collect(),
        model: turn.response.model.clone(),
        usage: turn.response.usage,
        said: turn.response.message.filter(|_| turn.response.error.is_none()),
        error: turn.step.error,
        ..Step::default()
    }
}

/// How a trace ended, as a trial's ending.
pub fn ending(ended: &TraceEnded) -> Ending {
    let reason = || ended.reason.clone().unwrap_or_else(|| ended.outcome.as_str().to_owned());
    match (ended.outcome, ended.exit_code, ended.signal) {
        (TraceOutcome::Braked, ..) => Ending::Braked { brake: reason() },
        (_, Some(code), _) => Ending::Exited { code },
        (_, None, Some(signal)) => Ending::Signalled { signal },
        (TraceOutcome::Ok, None, None) => Ending::Exited { code: 0 },
        // It failed, and nobody said with which code.
        (_, None, None) => Ending::Exited { code: 1 },
    }
}
