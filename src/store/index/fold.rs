//! Folding: what has come into the log since the last time becomes rows.
//!
//! One thread reads the log and has rayon parse it, this one appends. Rows and the place in the log they reach are
//! committed together, so a fold that dies, or whose COMMIT fails after all, leaves nothing to be folded twice.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use rayon::prelude::*;

use super::Error;
use super::database::Database;
use super::intake::{Ended, Read, ReadMessage, Started, hex, read};
use super::mend::{self, Found, Wanted};
use super::records::Records;
use super::rows::{
    CallRow, ContextRow, EventRow, Hex16, Hex32, PartRow, ScoreRow, SetupRow, TableRow, ToolCallRow, ToolRow,
};
use super::traces;
use crate::store::log::{Cursor, Entry, Feed, Kept, LogError, Reader};
use crate::trace::{CallId, TraceId, Wire};

/// Entries, and bytes of them, that are parsed at a time.
const CHUNK_ENTRIES: usize = 8_192;
const CHUNK_BYTES: usize = 16 << 20;
/// Bytes of the log that become rows in one transaction.
const COMMIT_BYTES: usize = 256 << 20;
/// Messages whose ids are remembered, so that DuckDB need not be asked whether it has them.
const MOST_KNOWN: usize = 4 << 20;

/// What a fold did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Folded {
    /// Entries of the log that were read.
    pub entries: u64,
    /// Calls that were added or completed.
    pub calls: u64,
    /// Traces whose rows were removed, because the log says so.
    pub removed: u64,
    /// Records of a kind known here that could not be read.
    pub unreadable: u64,
    /// Why the index was made anew, when it was.
    pub rebuilt: Option<String>,
}

/// How a fold ended.
pub(super) enum Ending {
    Done(Folded),
    /// Pruning rewrote what had been read in part: only a rebuild tells the truth.
    StartOver,
}

/// Some entries, read, and the place in the log after them.
struct Chunk {
    reads: Vec<Read>,
    seen: Vec<PartRow>,
    entries: u64,
    bytes: usize,
    cursor: Cursor,
    /// Whether everything up to the place is in here or in chunks before.
    whole: bool,
}

/// What is folded: the log's entries from a place on, and the place after those handed out.
pub(super) trait Source: Iterator<Item = Result<Entry, LogError>> + Send {
    fn cursor(&self) -> Cursor;
}

impl Source for Feed<'_> {
    fn cursor(&self) -> Cursor {
        self.cursor()
    }
}

/// Folds everything that is there. `progress` is told after every chunk.
pub(super) fn fold(database: &Database, reader: &Reader, progress: &mut dyn FnMut(&Folded)) -> Result<Ending, Error> {
    let before = database.cursor()?;
    let feed = reader.since(&before)?;
    if feed.must_start_over() {
        return Ok(Ending::StartOver);
    }
    let body_of = |call| reader.request(call).ok();
    fold_feed(database, before, feed, &body_of, progress).map(Ending::Done)
}

/// Folds a feed that begins where the index ends.
pub(super) fn fold_feed(
    database: &Database,
    before: Cursor,
    feed: impl Source,
    body_of: &dyn Fn(CallId) -> Option<Bytes>,
    progress: &mut dyn FnMut(&Folded),
) -> Result<Folded, Error> {
    let mut folding = Folding::begin(database, &before)?;
    let wires = folding.open.iter().map(|(id, call)| (*id, wire_named(&call.wire.0))).collect();
    let (sender, receiver) = sync_channel(2);
    std::thread::scope(|scope| {
        scope.spawn(move || produce(feed, wires, &sender));
        folding.take_all(&receiver, progress)
    })?;
    folding.finish(&before, body_of)
}

fn wire_named(name: &str) -> Wire {
    serde_json::from_value(serde_json::Value::from(name)).unwrap_or(Wire::Raw)
}

/// Reads the log to its end, a chunk at a time.
fn produce(feed: impl Source, wires: HashMap<CallId, Wire>, sender: &SyncSender<Result<Chunk, LogError>>) {
    let mut producer = Producer { feed, wires, sightings: HashSet::new(), early: HashMap::new() };
    loop {
        let next = producer.chunk();
        let end = matches!(&next, Ok(chunk) if chunk.entries == 0) || next.is_err();
        // Sending fails when the other side has given up; it knows why.
        if sender.send(next).is_err() || end {
            return;
        }
    }
}

struct Producer<S> {
    feed: S,
    /// What the open calls were made in.
    wires: HashMap<CallId, Wire>,
    sightings: HashSet<(TraceId, Arc<str>)>,
    /// Ends that came before their beginnings, because a later segment was read first.
    early: HashMap<CallId, Entry>,
}

impl<S: Source> Producer<S> {
    fn chunk(&mut self) -> Result<Chunk, LogError> {
        let (mut entries, mut seen) = (Vec::new(), Vec::new());
        let (mut count, mut bytes) = (0, 0);
        while entries.len() < CHUNK_ENTRIES && bytes < CHUNK_BYTES {
            let Some(entry) = self.feed.next() else { break };
            let entry = entry?;
            count += 1;
            bytes += weight(&entry);
            seen.extend(sighting(&entry, &mut self.sightings));
            self.take(entry, &mut entries);
        }
        let reads = entries.into_par_iter().map(|(entry, wire)| read(entry, wire)).collect();
        Ok(Chunk { reads, seen, entries: count, bytes, cursor: self.feed.cursor(), whole: self.early.is_empty() })
    }

    fn take(&mut self, entry: Entry, entries: &mut Vec<(Entry, Wire)>) {
        match &entry.what {
            Kept::CallStarted(_, started) => {
                let (call, wire) = (started.call, started.request.wire);
                entries.push((entry, Wire::Raw));
                match self.early.remove(&call) {
                    Some(end) => entries.push((end, wire)),
                    None => {
                        self.wires.insert(call, wire);
                    }
                }
            }
            Kept::CallEnded(_, call, _) => match self.wires.remove(call) {
                Some(wire) => entries.push((entry, wire)),
                None => {
                    self.early.insert(*call, entry);
                }
            },
            _ => entries.push((entry, Wire::Raw)),
        }
    }
}

/// Bytes an entry brings, roughly.
fn weight(entry: &Entry) -> usize {
    256 + match &entry.what {
        Kept::CallStarted(_, started) => started.fresh.iter().map(|block| block.bytes.len()).sum(),
        Kept::CallEnded(_, _, ended) => ended.body.len(),
        _ => 0,
    }
}

/// A note that a trace is recorded in a segment, once for each: whether its recorder lives is asked of the segment.
fn sighting(entry: &Entry, known: &mut HashSet<(TraceId, Arc<str>)>) -> Option<PartRow> {
    let (Kept::TraceStarted(trace, _) | Kept::CallStarted(trace, _)) = &entry.what else { return None };
    let fresh = known.insert((*trace, Arc::clone(&entry.place.segment)));
    fresh.then(|| PartRow {
        trace_id: hex(*trace),
        segment: entry.place.segment.to_string(),
        recorded_at: entry.at.into(),
        kind: "seen".into(),
        part: None,
    })
}

/// Ids already in a table.
struct Known {
    ids: HashSet<[u8; 16]>,
    /// Whether `ids` are all there are, so that an unknown one is new.
    all: bool,
}

impl Known {
    fn in_table(database: &Database, table: &str) -> Result<Known, Error> {
        let empty =
            database.connection().query_row(&format!("SELECT NOT EXISTS (FROM {table})"), [], |row| row.get(0))?;
        Ok(Known { ids: HashSet::new(), all: empty })
    }

    fn add(&mut self, id: [u8; 16]) -> bool {
        if self.ids.len() >= MOST_KNOWN {
            self.ids.clear();
            self.all = false;
        }
        self.ids.insert(id)
    }
}

struct Folding<'a> {
    database: &'a Database,
    folded: Folded,
    /// Calls without an end.
    open: HashMap<CallId, CallRow>,
    /// Those of them that have a row.
    stored: HashSet<CallId>,
    /// Rows of open calls that have been overtaken.
    overtaken: Vec<Hex16>,
    messages: Known,
    setups: Known,
    tools: Known,
    parts: Vec<PartRow>,
    records: Records,
    removed: HashSet<TraceId>,
    wanted: Wanted,
    cursor: Cursor,
    /// Bytes of the log since the last commit.
    pending: usize,
    dirty: bool,
}

impl<'a> Folding<'a> {
    fn begin(database: &'a Database, cursor: &Cursor) -> Result<Self, Error> {
        let mut open = HashMap::new();
        let mut statement = database.connection().prepare("SELECT * FROM calls WHERE state = 'open'")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let call = CallRow::read(row)?;
            let id = u64::from_str_radix(call.call_id.as_str(), 16).unwrap_or_default();
            open.insert(CallId(id), call);
        }
        Ok(Folding {
            database,
            folded: Folded::default(),
            stored: open.keys().copied().collect(),
            open,
            overtaken: Vec::new(),
            messages: Known::in_table(database, "messages")?,
            setups: Known::in_table(database, "setups")?,
            tools: Known::in_table(database, "tools")?,
            parts: Vec::new(),
            records: Records::default(),
            removed: HashSet::new(),
            wanted: Wanted::default(),
            cursor: cursor.clone(),
            pending: 0,
            dirty: false,
        })
    }

    fn take_all(
        &mut self,
        receiver: &Receiver<Result<Chunk, LogError>>,
        progress: &mut dyn FnMut(&Folded),
    ) -> Result<(), Error> {
        while let Ok(chunk) = receiver.recv() {
            let chunk = chunk?;
            let whole = chunk.whole;
            self.take(chunk)?;
            if whole && self.pending >= COMMIT_BYTES {
                self.commit()?;
            }
            progress(&self.folded);
        }
        Ok(())
    }

    fn take(&mut self, chunk: Chunk) -> Result<(), Error> {
        if chunk.entries == 0 {
            self.cursor = chunk.cursor;
            return Ok(());
        }
        if !self.dirty {
            self.database.connection().execute_batch("BEGIN")?;
            self.dirty = true;
        }
        self.folded.entries += chunk.entries;
        self.pending += chunk.bytes;
        self.cursor = chunk.cursor;
        self.parts.extend(chunk.seen);
        let mut batch = Batch::default();
        for read in chunk.reads {
            match read {
                Read::Started(started) => self.started(*started, &mut batch),
                Read::Ended(ended) => self.ended(*ended, &mut batch),
                Read::Lost(call) => {
                    if let Some(mut row) = self.close(call) {
                        row.state = "lost".into();
                        batch.calls.push(row);
                    }
                }
                Read::Part(part) => self.parts.push(part),
                Read::Event(event) => batch.events.push(event),
                Read::Score(score) => batch.scores.push(score),
                Read::Record(record, at) => self.records.take(record, at),
                Read::Removed(trace) => {
                    self.removed.insert(trace);
                }
            }
        }
        self.folded.calls += batch.calls.len() as u64;
        self.append(batch)
    }

    fn started(&mut self, started: Started, batch: &mut Batch) {
        let Started { id, wire, call, said, messages, setup, tools } = started;
        batch.messages.extend(messages.into_iter().filter(|message| self.messages.add(message.id)));
        batch.tools.extend(tools.into_iter().filter(|(id, _)| self.tools.add(*id)));
        if let Some((setup_id, rows)) = setup.filter(|(id, _)| self.setups.add(*id)) {
            for row in &rows {
                let block = row.block_id.bytes();
                match row.part.as_str() {
                    "tools" if !self.tools.ids.contains(&block) => self.wanted.tools.insert(block, (id, wire)),
                    "tools" => None,
                    _ if !self.messages.ids.contains(&block) => self.wanted.messages.insert(block, (id, wire)),
                    _ => None,
                };
            }
            batch.setups.push((setup_id, rows));
        }
        let said_ids = said.iter().map(|said| said.message_id.bytes());
        let unknown = said_ids.filter(|said| !self.messages.ids.contains(said));
        self.wanted.messages.extend(unknown.map(|said| (said, (id, wire))));
        let setup_id = call.setup_id.bytes();
        if !self.setups.ids.contains(&setup_id) {
            self.wanted.setups.insert(setup_id, (id, wire));
        }
        self.open.insert(id, call);
        batch.contexts.extend(said);
    }

    fn ended(&mut self, ended: Ended, batch: &mut Batch) {
        let Some(mut row) = self.close(ended.id) else { return };
        let (answer, tool_calls) = ended.complete(&mut row);
        batch.calls.push(row);
        batch.messages.extend(answer.filter(|answer| self.messages.add(answer.id)));
        batch.tool_calls.extend(tool_calls);
    }

    /// The row of a call that is open no more.
    fn close(&mut self, call: CallId) -> Option<CallRow> {
        let row = self.open.remove(&call)?;
        if self.stored.remove(&call) {
            self.overtaken.push(row.call_id);
        }
        Some(row)
    }

    fn append(&mut self, batch: Batch) -> Result<(), Error> {
        let database = self.database;
        let messages = self.messages.not_in_table(database, "messages", "message_id", batch.messages, |new| new.id)?;
        let setups = self.setups.not_in_table(database, "setups", "setup_id", batch.setups, |new| new.0)?;
        let tools = self.tools.not_in_table(database, "tools", "tool_id", batch.tools, |new| new.0)?;
        let (mut rows, mut results) = (Vec::with_capacity(messages.len()), Vec::new());
        for message in messages {
            rows.push(message.row);
            results.extend(message.results);
        }
        database.append(&batch.calls)?;
        database.append(&rows)?;
        database.append(&results)?;
        database.append(&batch.contexts)?;
        database.append(&batch.tool_calls)?;
        database.append(&batch.events)?;
        database.append(&batch.scores)?;
        database.append(&setups.into_iter().flat_map(|(_, rows)| rows).collect::<Vec<_>>())?;
        database.append(&tools.into_iter().flat_map(|(_, rows)| rows).collect::<Vec<_>>())
    }

    /// Everything so far, and the place in the log it reaches, becomes true together.
    fn commit(&mut self) -> Result<(), Error> {
        let connection = self.database.connection();
        let overtaken = hex_list(std::mem::take(&mut self.overtaken));
        delete(self.database, "calls", "state = 'open' AND call_id", &overtaken)?;
        let fresh: Vec<CallId> = self.open.keys().filter(|call| !self.stored.contains(call)).copied().collect();
        self.database.append(&fresh.iter().map(|call| self.open[call].clone()).collect::<Vec<_>>())?;
        self.stored.extend(fresh);
        traces::update(self.database, std::mem::take(&mut self.parts))?;
        self.folded.unreadable += std::mem::take(&mut self.records).store(self.database)?;
        let cursor = serde_json::to_string(&self.cursor).expect("a cursor is always JSON");
        connection.execute("UPDATE index_state SET cursor = ?", [cursor])?;
        connection.execute_batch("COMMIT")?;
        self.pending = 0;
        self.dirty = false;
        Ok(())
    }

    /// Fetches what was said and has not come.
    fn mend(&mut self, body_of: &dyn Fn(CallId) -> Option<Bytes>) -> Result<(), Error> {
        let mut wanted = std::mem::take(&mut self.wanted);
        let messages = wanted.messages.into_iter().collect();
        let setups = wanted.setups.into_iter().collect();
        let tools = wanted.tools.into_iter().collect();
        let missing = self.messages.not_in_table(self.database, "messages", "message_id", messages, |said| said.0)?;
        wanted.messages = missing.into_iter().filter(|(id, _)| !self.messages.ids.contains(id)).collect();
        let missing = self.setups.not_in_table(self.database, "setups", "setup_id", setups, |setup| setup.0)?;
        wanted.setups = missing.into_iter().filter(|(id, _)| !self.setups.ids.contains(id)).collect();
        let missing = self.tools.not_in_table(self.database, "tools", "tool_id", tools, |tool| tool.0)?;
        wanted.tools = missing.into_iter().filter(|(id, _)| !self.tools.ids.contains(id)).collect();
        let Found { messages, setups, tools } = mend::find(wanted, body_of);
        let batch = Batch {
            messages: messages.into_iter().filter(|message| self.messages.add(message.id)).collect(),
            setups: setups.into_iter().filter(|setup| self.setups.add(setup.0)).collect(),
            tools: tools.into_iter().filter(|tool| self.tools.add(tool.0)).collect(),
            ..Batch::default()
        };
        self.append(batch)
    }

    fn finish(mut self, before: &Cursor, body_of: &dyn Fn(CallId) -> Option<Bytes>) -> Result<Folded, Error> {
        if !self.dirty && self.cursor == *before {
            return Ok(self.folded);
        }
        if !self.dirty {
            self.database.connection().execute_batch("BEGIN")?;
        }
        traces::update(self.database, std::mem::take(&mut self.parts))?;
        traces::mark_cut_off(self.database, &self.cursor)?;
        if !self.removed.is_empty() {
            self.folded.removed = traces::remove(self.database, &self.removed)?;
            let removed: HashSet<Hex32> = self.removed.iter().map(|trace| hex(*trace)).collect();
            self.open.retain(|_, call| !removed.contains(&call.trace_id));
        }
        self.mend(body_of)?;
        self.commit()?;
        Ok(self.folded)
    }
}

/// Rows on their way into their tables.
#[derive(Default)]
struct Batch {
    calls: Vec<CallRow>,
    contexts: Vec<ContextRow>,
    messages: Vec<ReadMessage>,
    setups: Vec<([u8; 16], Vec<SetupRow>)>,
    tools: Vec<([u8; 16], Vec<ToolRow>)>,
    tool_calls: Vec<ToolCallRow>,
    events: Vec<EventRow>,
    scores: Vec<ScoreRow>,
}

impl Known {
    /// Leaves out what the table has from folds before this one.
    fn not_in_table<T>(
        &self,
        database: &Database,
        table: &str,
        column: &str,
        rows: Vec<T>,
        id: impl Fn(&T) -> [u8; 16],
    ) -> Result<Vec<T>, Error> {
        if self.all || rows.is_empty() {
            return Ok(rows);
        }
        let list = hex_list(rows.iter().map(|row| Hex32::from(id(row))));
        let sql =
            format!("SELECT DISTINCT {column} FROM {table} WHERE {column} IN (SELECT unnest(string_split(?, ',')))");
        let mut statement = database.connection().prepare(&sql)?;
        let there: HashSet<Hex32> = statement.query_map([list], |row| row.get(0))?.collect::<duckdb::Result<_>>()?;
        Ok(rows.into_iter().filter(|row| !there.contains(&Hex32::from(id(row)))).collect())
    }
}

/// Ids with commas in between, which one parameter of a statement can hold.
pub(super) fn hex_list<const N: usize>(ids: impl IntoIterator<Item = super::rows::Hex<N>>) -> String {
    let mut list = String::new();
    for id in ids {
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(id.as_str());
    }
    list
}

/// Deletes the rows whose ids are in a list.
pub(super) fn delete(database: &Database, table: &str, column: &str, list: &str) -> Result<u64, Error> {
    if list.is_empty() {
        return Ok(0);
    }
    let sql = format!("DELETE FROM {table} WHERE {column} IN (SELECT unnest(string_split(?, ',')))");
    Ok(database.connection().execute(&sql, [list])? as u64)
}
