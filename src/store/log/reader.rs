//! Reading the log: a view of all segments as they are now.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rayon::prelude::*;

use super::LogError;
use super::entry::{Cursor, Entry, Kept, Place, Stats, TraceSummary};
use super::feed::Feed;
use super::files;
use super::record::{Meta, kept};
use super::segment::{Framed, Frames};
use super::shelf::Shelf;
use super::side::starts_call;
use crate::context::{Broken, Loaded, Plan, rebuild};
use crate::trace::{CallId, Timestamp, TraceId};

/// A view of the log.
#[derive(Debug)]
pub struct Reader {
    /// In the order they were begun.
    pub(super) shelves: Vec<Shelf>,
    pub(super) live_writers: HashSet<String>,
    /// Removed traces, and when: what was begun later is another life of the same trace.
    pub(super) removed: HashMap<TraceId, Timestamp>,
    /// Calls that ended in another segment than they began in.
    pub(super) ended_elsewhere: HashSet<CallId>,
    pub(super) leftovers: Vec<PathBuf>,
}

impl Reader {
    pub(super) fn open(store: &Path) -> Result<Self, LogError> {
        const TRIES: usize = 5;
        let log = files::log_dir(store);
        let mut tries = 0;
        // Pruning may replace a segment between listing and opening it.
        let (mut shelves, leftovers) = loop {
            let listing = files::list(&log)?;
            let opened: Result<Vec<_>, _> =
                listing.segments.par_iter().map(|(name, generation)| Shelf::open(&log, name, *generation)).collect();
            match opened {
                Err(LogError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound && tries < TRIES => {
                    tries += 1;
                }
                opened => break (opened?, listing.leftovers),
            }
        };
        shelves.sort_by(|a, b| (a.short.started, &a.name).cmp(&(b.short.started, &b.name)));
        let live_writers = shelves.iter().filter(|shelf| shelf.live).map(|shelf| shelf.short.writer.clone()).collect();
        let mut removed = HashMap::new();
        let mut ended_elsewhere = HashSet::new();
        for shelf in &shelves {
            for (trace, _) in &shelf.short.removed {
                removed.insert(*trace, shelf.short.started);
            }
            ended_elsewhere.extend(shelf.short.parts.iter().flat_map(|part| &part.strays));
        }
        Ok(Reader { shelves, live_writers, removed, ended_elsewhere, leftovers })
    }

    /// Whether what a segment holds of a trace has been removed.
    pub(super) fn is_removed(&self, trace: TraceId, shelf: &Shelf) -> bool {
        self.removed.get(&trace).is_some_and(|at| shelf.short.started <= *at)
    }

    pub(super) fn writer_lives(&self, shelf: &Shelf) -> bool {
        shelf.live || self.live_writers.contains(&shelf.short.writer)
    }

    /// All traces, the newest first.
    pub fn traces(&self) -> Vec<TraceSummary> {
        let mut found: HashMap<TraceId, usize> = HashMap::new();
        let mut traces: Vec<TraceSummary> = Vec::new();
        for shelf in &self.shelves {
            let lives = self.writer_lives(shelf);
            for part in &shelf.short.parts {
                if self.is_removed(part.trace, shelf) {
                    continue;
                }
                let at = *found.entry(part.trace).or_insert_with(|| {
                    traces.push(TraceSummary::new(part.trace));
                    traces.len() - 1
                });
                traces[at].merge(part, lives);
                let open = part.open.iter().filter(|call| !self.ended_elsewhere.contains(call)).count();
                traces[at].open_calls += open as u64;
            }
        }
        traces.sort_by_key(|trace| std::cmp::Reverse((trace.started, trace.id)));
        traces
    }

    /// One trace's summary.
    ///
    /// # Errors
    /// When there is no such trace.
    pub fn trace(&self, trace: TraceId) -> Result<TraceSummary, LogError> {
        let mut summary = TraceSummary::new(trace);
        let mut seen = false;
        for shelf in self.shelves.iter().filter(|shelf| !self.is_removed(trace, shelf)) {
            if let Some(part) = shelf.part_of(trace) {
                seen = true;
                summary.merge(part, self.writer_lives(shelf));
                let open = part.open.iter().filter(|call| !self.ended_elsewhere.contains(call)).count();
                summary.open_calls += open as u64;
            }
        }
        seen.then_some(summary).ok_or_else(|| no_trace(&trace.to_string()))
    }

    /// The trace meant by an id, the beginning of one, a name, or `last`. Of several with one name the newest is meant.
    ///
    /// # Errors
    /// When there is none, or several begin like that.
    pub fn resolve(&self, word: &str) -> Result<TraceId, LogError> {
        let traces = self.traces();
        if word == "last" {
            return traces.first().map(|trace| trace.id).ok_or_else(|| {
                LogError::NotFound("there is no trace yet: record one with `holdback record -- COMMAND`".to_owned())
            });
        }
        if let Some(named) = traces.iter().find(|trace| trace.name.as_deref() == Some(word)) {
            return Ok(named.id);
        }
        let lower = word.to_ascii_lowercase();
        let begins = |trace: &&TraceSummary| !lower.is_empty() && trace.id.to_string().starts_with(&lower);
        let fits: Vec<_> = traces.iter().filter(begins).collect();
        match fits[..] {
            [] => Err(no_trace(word)),
            [one] => Ok(one.id),
            _ => Err(LogError::Ambiguous {
                word: word.to_owned(),
                found: fits.iter().take(8).map(|trace| trace.id.to_string()).collect(),
            }),
        }
    }

    /// Everything kept of a trace, in the order it happened. Calls whose recorder died come with a
    /// [`Kept::CallLost`] at the end.
    ///
    /// # Errors
    /// When there is no such trace, or its segments cannot be read. Damaged records are passed over.
    pub fn entries(&self, trace: TraceId) -> Result<Vec<Entry>, LogError> {
        self.browse().entries(trace)
    }

    /// Reads many traces one after the other, for less than one by one.
    pub fn browse(&self) -> Browse<'_> {
        Browse { reader: self, open: HashMap::new() }
    }

    /// The body of the request at the place of a [`Kept::CallStarted`], byte for byte.
    ///
    /// # Errors
    /// When a record it is built from is damaged.
    pub fn request_at(&self, place: &Place) -> Result<Bytes, LogError> {
        let shelf = self.shelves.iter().find(|shelf| shelf.name == place.segment);
        let shelf = shelf.ok_or_else(|| LogError::NotFound(format!("there is no segment {}", place.segment)))?;
        Bodies::new(shelf)?.body(place.offset)
    }

    /// The body of a call's request, byte for byte.
    ///
    /// # Errors
    /// When there is no such call or a record it is built from is damaged.
    pub fn request(&self, call: CallId) -> Result<Bytes, LogError> {
        let place = self.place_of(call)?;
        self.request_at(&place)
    }

    /// Where a call's request stands.
    ///
    /// # Errors
    /// When there is no such call.
    pub fn place_of(&self, call: CallId) -> Result<Place, LogError> {
        for shelf in self.shelves.iter().rev() {
            let side = shelf.side()?;
            let row = side.rows.iter().find(|row| starts_call(row) && row.call == call);
            let trace = row.and_then(|row| side.parts.get(row.part as usize)).map(|part| part.trace);
            if let (Some(row), Some(trace)) = (row, trace)
                && !self.is_removed(trace, shelf)
            {
                return Ok(place(shelf, row.offset));
            }
        }
        Err(LogError::NotFound(format!("there is no call {call}")))
    }

    /// Everything that has come since a cursor, segment by segment.
    ///
    /// # Errors
    /// When a segment cannot be opened.
    pub fn since(&self, cursor: &Cursor) -> Result<Feed<'_>, LogError> {
        Feed::new(self, cursor)
    }

    /// Figures of the whole log.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { traces: self.traces().len() as u64, ..Stats::default() };
        for shelf in &self.shelves {
            stats.segments += 1;
            stats.live_segments += u64::from(shelf.live);
            stats.bytes += shelf.bytes();
            for part in shelf.short.parts.iter().filter(|part| !self.is_removed(part.trace, shelf)) {
                stats.calls += part.calls;
                stats.request_bytes += part.request_bytes;
                stats.response_bytes += part.response_bytes;
            }
        }
        stats
    }
}

fn no_trace(word: &str) -> LogError {
    LogError::NotFound(format!(
        "no trace is called {word:?}, and none has an id that begins so (`holdback traces ls` lists them)"
    ))
}

pub(super) fn place(shelf: &Shelf, offset: u64) -> Place {
    Place { segment: Arc::clone(&shelf.name), offset }
}

/// A frame as an entry; `None` when there is nothing in it for readers of traces, or it makes no sense.
pub(super) fn entry(shelf: &Shelf, frame: &Framed) -> Option<Entry> {
    let meta = Meta::read(frame.kind, &frame.parts.meta)?;
    let at = match &meta {
        Meta::Record(record) => record.at,
        Meta::Removed(removed) => removed.at,
        meta => meta.stamp()?.1,
    };
    let what = kept(meta, &frame.parts, frame.stored)?;
    Some(Entry { place: place(shelf, frame.offset), at, what })
}

/// Reads many traces one after the other: what it has of a segment in memory serves the next trace too.
pub struct Browse<'a> {
    reader: &'a Reader,
    open: HashMap<Arc<str>, Bodies<'a>>,
}

impl<'a> Browse<'a> {
    fn bodies(&mut self, shelf: &'a Shelf) -> Result<&mut Bodies<'a>, LogError> {
        match self.open.entry(shelf.name.clone()) {
            MapEntry::Occupied(open) => Ok(open.into_mut()),
            MapEntry::Vacant(place) => Ok(place.insert(Bodies::new(shelf)?)),
        }
    }

    /// As [`Reader::request_at`].
    ///
    /// # Errors
    /// As [`Reader::request_at`].
    pub fn request_at(&mut self, place: &Place) -> Result<Bytes, LogError> {
        let shelf = self.reader.shelves.iter().find(|shelf| shelf.name == place.segment);
        let shelf = shelf.ok_or_else(|| LogError::NotFound(format!("there is no segment {}", place.segment)))?;
        self.bodies(shelf)?.body(place.offset)
    }

    /// As [`Reader::entries`].
    ///
    /// # Errors
    /// As [`Reader::entries`].
    pub fn entries(&mut self, trace: TraceId) -> Result<Vec<Entry>, LogError> {
        let reader = self.reader;
        // What one trace's requests are made of is seldom wanted by the next.
        self.open.values_mut().for_each(Bodies::forget);
        let mut entries = Vec::new();
        let mut lost = Vec::new();
        let mut segments = 0;
        for shelf in reader.shelves.iter().filter(|shelf| !reader.is_removed(trace, shelf)) {
            let Some(part) = shelf.part_of(trace) else { continue };
            segments += 1;
            let bodies = self.bodies(shelf)?;
            for row in shelf.rows_of(trace)? {
                if let Ok(frame) = bodies.frames.must(row.offset) {
                    entries.extend(entry(shelf, &frame));
                }
            }
            if !reader.writer_lives(shelf) {
                let gone = part.open.iter().filter(|call| !reader.ended_elsewhere.contains(call));
                lost.extend(gone.map(|call| (place(shelf, shelf.len), part.last, *call)));
            }
        }
        if segments == 0 {
            return Err(no_trace(&trace.to_string()));
        }
        if segments > 1 {
            entries.sort_by_key(|entry: &Entry| entry.at);
        }
        let lost = lost.into_iter().map(|(place, at, call)| Entry { place, at, what: Kept::CallLost(trace, call) });
        entries.extend(lost);
        Ok(entries)
    }
}

/// Puts bodies together from one segment's records, remembering the records it has read.
pub(super) struct Bodies<'a> {
    frames: Frames<'a>,
    read: HashMap<u64, Arc<Loaded>>,
    weight: usize,
}

/// Records are forgotten, all at once, when they take more than this.
const MOST_READ: usize = 256 << 20;

impl<'a> Bodies<'a> {
    pub(super) fn new(shelf: &'a Shelf) -> Result<Self, LogError> {
        Ok(Bodies { frames: shelf.segment()?.frames()?, read: HashMap::new(), weight: 0 })
    }

    fn forget(&mut self) {
        self.read.clear();
        self.weight = 0;
    }

    /// The body of the request at an offset.
    pub(super) fn body(&mut self, offset: u64) -> Result<Bytes, LogError> {
        let frame = self.frames.must(offset)?;
        let len = match Meta::read(frame.kind, &frame.parts.meta) {
            Some(Meta::CallStarted(meta)) => meta.what.body_len,
            _ => return Err(self.frames.segment.damaged(offset, "the record here is no request")),
        };
        // The length is only a hint for the allocator: nonsense must not be allocated.
        let hint = usize::try_from(len).unwrap_or(0).min(1 << 27);
        let segment = self.frames.segment;
        rebuild(offset, hint, |at| self.load(at)).map(Bytes::from).map_err(|broken| match broken {
            Broken::Load(error) => error,
            Broken::Record(at) => segment.damaged(at, "the record points to what isn't there"),
        })
    }

    pub(super) fn load(&mut self, offset: u64) -> Result<Arc<Loaded>, LogError> {
        if let Some(loaded) = self.read.get(&offset) {
            return Ok(Arc::clone(loaded));
        }
        let frame = self.frames.must(offset)?;
        let parts = frame.parts;
        let loaded = Plan::decode(&parts.plan).and_then(|(plan, _)| Loaded::new(plan, parts.data));
        let loaded = loaded.ok_or_else(|| self.frames.segment.damaged(offset, "the record makes no sense"))?;
        let loaded = Arc::new(loaded);
        self.weight += parts.plan.len() + loaded.data_len();
        if self.weight > MOST_READ {
            self.read.clear();
            self.weight = 0;
        }
        self.read.insert(offset, Arc::clone(&loaded));
        Ok(loaded)
    }
}
