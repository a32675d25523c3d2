//! Stored traces, and those in files, read so that they can be played, compared, or told for promotion.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::capture::restore::State;
use crate::context::{Blocks, outline};
use crate::eval::Reeled;
use crate::promote::{Told, Turn};
use crate::replay::{Bodies, KeptTool, Recorded, Reel, TOOL_NOTE};
use crate::store::log::{Browse, Entry, ImportError, Kept, LogError, Outlines, Place, Reader, TraceFile};
use crate::trace::{
    CallEnded, CallId, CallStarted, Content, Provenance, Score, Sink, TraceEnded, TraceEvent, TraceId, TraceStarted,
    What,
};

/// A stored trace, ready to be made a tape.
pub struct Stored {
    pub about: TraceStarted,
    /// The state of the work tree before the first call, where it was noted.
    pub state: Option<State>,
    pub ended: Option<TraceEnded>,
    pub scores: Vec<Score>,
    /// What an imported trace rests on.
    pub origin: Option<Provenance>,
    /// What stand-ins kept of tools.
    pub tools: Vec<KeptTool>,
    pub reel: Reel,
}

/// Reads a trace. The reader is kept by the tape, which puts bodies together when somebody wants to read them.
///
/// # Errors
/// When the log can't be read.
pub fn read(reader: &Arc<Reader>, trace: TraceId) -> Result<Stored, LogError> {
    let (outlines, entries) = rayon::join(|| reader.outlines(trace), || reader.entries(trace));
    let entries = entries?;
    let bodies = bodies(reader, &entries);
    Ok(gather(trace, entries, outlines?, bodies))
}

/// Reads a trace without what only a tape needs: its calls can be read, not matched.
///
/// # Errors
/// As [`read`].
pub fn read_plain(reader: &Arc<Reader>, trace: TraceId) -> Result<Stored, LogError> {
    let entries = reader.entries(trace)?;
    let bodies = bodies(reader, &entries);
    Ok(gather(trace, entries, Outlines::default(), bodies))
}

/// Requests, put together when somebody wants to read them.
fn bodies(reader: &Arc<Reader>, entries: &[Entry]) -> Box<Bodies> {
    let places: HashMap<CallId, Place> = requests(entries).collect();
    let reader = Arc::clone(reader);
    Box::new(move |call| reader.request_at(places.get(&call)?).ok())
}

/// A trace as promotion reads it, without what only a tape needs, by somebody who reads many.
///
/// # Errors
/// As [`read`].
pub fn told_of(browse: &mut Browse<'_>, trace: TraceId) -> Result<Told, LogError> {
    let entries = browse.entries(trace)?;
    let read = |(call, place): (CallId, Place)| Some((call, browse.request_at(&place).ok()?));
    let bodies: HashMap<CallId, Bytes> = requests(&entries).filter_map(read).collect();
    Ok(told(gather(trace, entries, Outlines::default(), Box::new(move |call| bodies.get(&call).cloned()))))
}

/// Where the requests of a trace stand.
fn requests(entries: &[Entry]) -> impl Iterator<Item = (CallId, Place)> {
    entries.iter().filter_map(|entry| match &entry.what {
        Kept::CallStarted(_, started) => Some((started.call, entry.place.clone())),
        _ => None,
    })
}

fn gather(trace: TraceId, entries: Vec<Entry>, mut outlines: Outlines, bodies: Box<Bodies>) -> Stored {
    let mut about = TraceStarted::default();
    let mut state = None;
    let mut lost_calls = 0;
    let mut ended = None;
    let (mut scores, mut tools) = (Vec::new(), Vec::new());
    let mut calls: indexmap::IndexMap<CallId, Recorded> = indexmap::IndexMap::new();
    let mut origin = None;
    for entry in entries {
        match entry.what {
            Kept::TraceStarted(_, later) => learn(&mut about, later),
            Kept::TraceEnded(_, end) => {
                lost_calls += end.lost_calls;
                ended = Some(end);
            }
            Kept::Scored(_, score) => scores.push(score),
            Kept::CallStarted(_, started) => {
                let outline = outlines.calls.remove(&started.call).unwrap_or_default();
                let recorded = Recorded { call: started.call, request: started.request, outline, ended: None };
                calls.insert(started.call, recorded);
            }
            Kept::CallEnded(_, call, ended) => {
                if let Some(recorded) = calls.get_mut(&call) {
                    recorded.ended = Some(ended);
                }
            }
            Kept::Noted(_, note) if note.kind == "files" && state.is_none() => state = state_of(&note.data, &about),
            Kept::Noted(_, note) if note.kind == Provenance::KIND => origin = serde_json::from_value(note.data).ok(),
            Kept::Noted(_, note) if note.kind == TOOL_NOTE => tools.extend(serde_json::from_value(note.data)),
            _ => {}
        }
    }
    if let Some(state) = &mut state {
        state.commit.clone_from(&about.git_commit);
    }
    let reel = Reel {
        trace,
        content: about.content,
        source: about.source,
        lost_calls,
        calls: calls.into_values().collect(),
        blocks: Arc::new(outlines.blocks),
        bodies,
    };
    Stored { about, state, ended, scores, origin, tools, reel }
}

/// A trace in a file of its own, read whole: nothing of it has to be in a store.
///
/// # Errors
/// When the file can't be read or is no trace.
pub fn read_file(path: &Path) -> Result<Stored, ImportError> {
    let file = File::open(path).map_err(|error| ImportError::Keep(Box::new(error)))?;
    let file = TraceFile::open(file)?;
    let trace = file.trace;
    let mut poured = Poured::default();
    file.pour(trace, &mut poured)?;
    let Poured { about, state, ended, scores, tools, calls } = poured;
    let blocks = RefCell::new(Blocks::new());
    let mut bodies = HashMap::new();
    let calls = calls.into_iter().map(|(call, (mut request, ended))| {
        let body = std::mem::take(&mut request.body);
        let known = |id: &_, _: &_| blocks.borrow().contains_key(id);
        let (outline, _) =
            outline(&body, None, known, |id, _, bytes| drop(blocks.borrow_mut().insert(id, bytes.into())));
        bodies.insert(call, body);
        Recorded { call, request, outline, ended: ended.map(Box::new) }
    });
    let calls = calls.collect();
    let reel = Reel {
        trace,
        content: about.content,
        source: about.source,
        lost_calls: ended.as_ref().map_or(0, |ended| ended.lost_calls),
        calls,
        blocks: Arc::new(blocks.into_inner()),
        bodies: Box::new(move |call| bodies.get(&call).cloned()),
    };
    Ok(Stored { about, state, ended, scores, origin: None, tools, reel })
}

/// What stands in a trace file.
#[derive(Default)]
struct Poured {
    about: TraceStarted,
    state: Option<State>,
    ended: Option<TraceEnded>,
    scores: Vec<Score>,
    tools: Vec<KeptTool>,
    calls: indexmap::IndexMap<CallId, (CallStarted, Option<CallEnded>)>,
}

impl Sink for Poured {
    type Error = std::convert::Infallible;

    fn accept(&mut self, event: &TraceEvent) -> Result<(), Self::Error> {
        match &event.what {
            What::TraceStarted(later) => learn(&mut self.about, later.clone()),
            What::TraceEnded(ended) => self.ended = Some(ended.clone()),
            What::Scored(score) => self.scores.push(score.clone()),
            What::CallStarted(call, asked) => drop(self.calls.insert(*call, (asked.clone(), None))),
            What::CallEnded(call, ended) => {
                if let Some(known) = self.calls.get_mut(call) {
                    known.1 = Some(ended.clone());
                }
            }
            What::Noted(note) if note.kind == "files" && self.state.is_none() => {
                self.state = state_of(&note.data, &self.about);
            }
            What::Noted(note) if note.kind == TOOL_NOTE => self.tools.extend(serde_json::from_value(note.data.clone())),
            _ => {}
        }
        Ok(())
    }
}

fn state_of(data: &serde_json::Value, about: &TraceStarted) -> Option<State> {
    let text = |name: &str| data[name].as_str().map(str::to_owned);
    let (root, tree) = text("root").zip(text("tree"))?;
    Some(State { root: root.into(), tree, commit: about.git_commit.clone() })
}

/// A trace as the tape of a trial.
pub fn reeled(stored: Stored, in_store: bool) -> Reeled {
    let Stored { about, reel, tools, .. } = stored;
    let trial = about.tags.iter().any(|(name, _)| name == "trial");
    Reeled { reel, tools, cwd: about.cwd, trial, stored: in_store }
}

/// Later words win where they say something.
fn learn(about: &mut TraceStarted, later: TraceStarted) {
    let known = std::mem::take(about);
    *about = TraceStarted {
        name: later.name.or(known.name),
        command: if later.command.is_empty() { known.command } else { later.command },
        agent: later.agent.or(known.agent),
        cwd: later.cwd.or(known.cwd),
        git_commit: later.git_commit.or(known.git_commit),
        git_dirty: later.git_dirty.or(known.git_dirty),
        parent: later.parent.or(known.parent),
        content: if later.content == Content::default() { known.content } else { later.content },
        ..later
    };
}

/// A trace as promotion reads it.
pub fn told(stored: Stored) -> Told {
    let Stored { ended, scores, reel, .. } = stored;
    let turns = (1..)
        .zip(reel.calls)
        .map(|(number, recorded)| {
            let body = (reel.bodies)(recorded.call).unwrap_or_default();
            Turn::new(number, recorded.call, recorded.request, body, recorded.ended.as_deref())
        })
        .collect();
    Told { trace: Some(reel.trace), turns, ended, scores }
}
