//! Recorded traces as evidence: what graders compare with, and what suites with target `trace` grade.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::traces::conversation::{self, ShownCall};
use crate::eval::cases::{ending, tape_file};
use crate::eval::{Frozen, Recorded, Reeled, Traces, tapes};
use crate::grade::Step;
use crate::store::log::{Kept, Reader, Store};
use crate::suite::TRACE_FILE;
use crate::trace::{Part, TraceId};

/// The traces of a store, as they are when the first one is asked for.
pub struct InStore {
    store: Store,
    reader: Mutex<Option<Arc<Reader>>>,
    /// Where files of traces are looked for.
    beside: PathBuf,
}

impl InStore {
    pub fn new(store: Store, beside: PathBuf) -> Self {
        InStore { store, reader: Mutex::new(None), beside }
    }
}

impl InStore {
    fn reader(&self) -> Result<Arc<Reader>, String> {
        let mut known = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = Some(Arc::new(self.store.reader().map_err(|error| error.to_string())?));
        }
        Ok(Arc::clone(known.as_ref().expect("it was just opened")))
    }
}

impl Traces for InStore {
    fn find(&self, word: &str) -> Result<Recorded, String> {
        if word.ends_with(TRACE_FILE) {
            return tape_file::read(&self.beside.join(word)).map_err(|error| format!("{word}: {error}"));
        }
        let reader = self.reader()?;
        let trace = reader.resolve(word).map_err(|error| error.to_string())?;
        recorded(&reader, trace).map_err(|error| error.to_string())
    }

    fn tape(&self, word: &str) -> Result<Reeled, String> {
        if word.ends_with(TRACE_FILE) {
            let read = tapes::read_file(&self.beside.join(word)).map_err(|error| format!("{word}: {error}"))?;
            return Ok(tapes::reeled(read, false));
        }
        let reader = self.reader()?;
        let trace = reader.resolve(word).map_err(|error| error.to_string())?;
        let stored = tapes::read(&reader, trace).map_err(|error| error.to_string())?;
        Ok(tapes::reeled(stored, true))
    }
}

/// A trace as evidence.
pub fn recorded(reader: &Reader, trace: TraceId) -> anyhow::Result<Recorded> {
    let conversation = conversation::read(reader, trace)?;
    let opening = conversation.calls.first().map(|call| call.new_messages.clone()).unwrap_or_default();
    let mut found_ending = None;
    for entry in reader.entries(trace)? {
        if let Kept::TraceEnded(_, ended) = entry.what {
            found_ending = Some(ending(&ended));
        }
    }
    let frozen = conversation.calls.last().map(|call| frozen(reader, call)).transpose()?;
    let steps = conversation.calls.into_iter().map(step).collect();
    Ok(Recorded { trace: Some(trace), opening, steps, ending: found_ending, frozen })
}

fn frozen(reader: &Reader, call: &ShownCall) -> anyhow::Result<Frozen> {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Ok(Frozen { wire: call.wire, target: call.target.clone(), headers, body: reader.request(call.call)? })
}

fn step(call: ShownCall) -> Step {
    let parts = call.new_messages.into_iter().flat_map(|message| message.parts);
    let results = parts.filter_map(|part| if let Part::ToolResult(result) = part { Some(result) } else { None });
    Step {
        call: Some(call.call),
        model: call.model,
        results: results.collect(),
        said: call.answer.filter(|_| call.error.is_none() && call.status.is_none_or(|status| status < 400)),
        usage: call.usage,
        cost_usd: call.cost_usd,
        latency_us: call.took_us.unwrap_or(0),
        first_content_us: call.first_content_us,
        error: call.error,
        redactions: call.redactions,
    }
}
