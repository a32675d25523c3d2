//! Writing the log: one writer per process, each with a segment of its own, so that writers need no lock between them.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use super::files::{self, Doing};
use super::frame::Framer;
use super::memory::{Limits, Memory, Tip, hash};
use super::record::{Empty, Meta, RecordMeta, SegmentMeta, Stamped, call_meta, end_meta, kind, put_chunks};
use super::segment::{FORMAT, first_line, salt};
use super::side::Side;
use super::{Durability, LogError};
use crate::context::{At, BlockId, Earlier, Extras, Name, Placement, Plan, Relation, Split, What, split};
use crate::trace::{CallEnded, CallId, CallStarted, Sink, Timestamp, TraceEvent, TraceId};

/// A segment this big is closed and another begun, unless the traces being written would have to be repeated too soon.
const ROLL_AT: u64 = 64 << 20;
const WORTH: u64 = 8;
const ROLL_AT_MOST: u64 = 1 << 30;
/// Blocks remembered per segment. Beyond that they are forgotten all at once, and stored again when they come again.
const MOST_BLOCKS: usize = 1 << 18;

/// Writes events and records to the log.
#[derive(Debug)]
pub struct Writer {
    log: PathBuf,
    durability: Durability,
    name: String,
    framer: Framer,
    memory: Memory,
    segment: Option<Growing>,
    /// How many segments were begun.
    begun: u64,
    /// Whether someone waits for the disk, and up to which segment the folder is there.
    syncs: bool,
    synced: u64,
    roll_at: u64,
    /// A segment is at least this many times what beginning a new one repeats.
    worth: u64,
}

/// The segment being written.
#[derive(Debug)]
struct Growing {
    file: File,
    path: PathBuf,
    side_path: PathBuf,
    salt: u32,
    /// Where the next record begins: everything before is whole.
    end: u64,
    side: Side,
    blocks: HashMap<BlockId, At>,
    setups: HashSet<BlockId>,
    check_roll_at: u64,
}

#[expect(clippy::disallowed_methods, reason = "a segment is named for the moment it was begun, whatever it tells of")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

impl Growing {
    fn begin(log: &Path, writer: &str, framer: &mut Framer, durability: Durability) -> Result<Self, LogError> {
        let random = files::random_u64().doing("getting random numbers", log)?;
        let started = now();
        let name = files::segment_name(started, random);
        let salt = salt(&name);
        let holdback = env!("CARGO_PKG_VERSION").to_owned();
        let meta = SegmentMeta { format: FORMAT, writer: writer.to_owned(), started, holdback };
        let json = serde_json::to_vec(&meta).expect("plain data becomes JSON");
        let frame = framer.frame(kind::SEGMENT, salt, &json, &[], &[]).expect("a few bytes fit into a frame");
        let start = [first_line().as_bytes(), frame].concat();
        let path = files::segment_path(log, &name, 0);
        let draft = files::draft(&path).doing("getting random numbers", log)?;
        let file = files::create_new(&draft).doing("beginning a segment", &draft)?;
        // Locked before it has its name: nobody ever sees it without its lock and take its writer for dead.
        let begun = flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all_at(&start, 0))
            .and_then(|()| if durability == Durability::Fsync { file.sync_all() } else { Ok(()) })
            .and_then(|()| fs::rename(&draft, &path))
            .and_then(|()| if durability == Durability::Fsync { File::open(log)?.sync_all() } else { Ok(()) });
        if begun.is_err() {
            let _ = fs::remove_file(&draft);
        }
        begun.doing("beginning a segment", &path)?;
        let end = start.len() as u64;
        Ok(Growing {
            file,
            side_path: files::side_path(log, &name, 0),
            path,
            salt,
            end,
            side: Side::new(writer.to_owned(), started, end),
            blocks: HashMap::new(),
            setups: HashSet::new(),
            check_roll_at: ROLL_AT,
        })
    }

    /// Closes the segment: a side index beside it, or nothing at all when nothing was written.
    fn close(mut self) {
        self.side.sealed = true;
        // The side index can be made again from the segment: when it cannot be written, readers do without.
        let _ = if self.side.rows.is_empty() {
            fs::remove_file(&self.path)
        } else {
            files::publish(&self.side_path, &self.side.encode(self.salt))
        };
    }
}

impl Writer {
    pub(super) fn new(store: &Path, durability: Durability) -> Result<Self, LogError> {
        let log = files::log_dir(store);
        let name = format!("{:016x}", files::random_u64().doing("getting random numbers", &log)?);
        let framer = Framer::new().doing("getting memory for zstd", &log)?;
        let memory = Memory::new(Limits::default());
        Ok(Writer {
            log,
            durability,
            name,
            framer,
            memory,
            segment: None,
            begun: 0,
            syncs: false,
            synced: 0,
            roll_at: ROLL_AT,
            worth: WORTH,
        })
    }

    /// Begins new segments at this size, whatever that repeats: for tests that cannot write 64 MB.
    #[must_use]
    pub fn rolling_at(mut self, bytes: u64) -> Self {
        self.roll_at = bytes;
        self.worth = 0;
        self
    }

    /// Keeps something that is not a part of a trace: a run, a trial, a verdict. A later one with the same kind and id
    /// replaces it. What names its `run` is found by it (see [`super::Reader::records_of`]).
    ///
    /// # Errors
    /// When it could not be kept; records kept before are unharmed.
    pub fn record(&mut self, kind: &str, id: &str, at: Timestamp, data: &Value) -> Result<(), LogError> {
        let of = data.get("run").and_then(Value::as_str).map(str::to_owned);
        let meta = Meta::Record(RecordMeta { at, kind: kind.to_owned(), id: id.to_owned(), of });
        let data = serde_json::to_vec(data).expect("a JSON value becomes JSON");
        self.append(&meta, &[], &[&data]).map(|_| ())
    }

    /// Says that a trace is to be forgotten. What is on disk of it goes when segments are rewritten.
    pub(super) fn remove(&mut self, trace: TraceId, at: Timestamp) -> Result<(), LogError> {
        self.append(&Meta::Removed(Stamped { trace, at, what: Empty {} }), &[], &[]).map(|_| ())
    }

    /// Returns when everything that was written is on the disk, whatever the durability: for many records at once.
    ///
    /// # Errors
    /// When the disk refuses; what it holds is not known then.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.syncs = true;
        let Some(segment) = &self.segment else { return Ok(()) };
        segment.file.sync_data().doing("syncing a segment", &segment.path)?;
        if self.synced < self.begun {
            // A new file is only there when its folder says so.
            File::open(&self.log).and_then(|folder| folder.sync_all()).doing("syncing the log's folder", &self.log)?;
            self.synced = self.begun;
        }
        Ok(())
    }

    fn segment(&mut self) -> Result<&mut Growing, LogError> {
        let full = self.segment.as_ref().is_some_and(|segment| segment.end >= segment.check_roll_at.min(self.roll_at));
        if full {
            let worth = (self.memory.standing() * self.worth).min(ROLL_AT_MOST);
            match &mut self.segment {
                Some(segment) if segment.end < worth => segment.check_roll_at = segment.end + ROLL_AT / 8,
                _ => self.roll(),
            }
        }
        if self.segment.is_none() {
            self.segment = Some(Growing::begin(&self.log, &self.name, &mut self.framer, self.durability)?);
            self.begun += 1;
        }
        Ok(self.segment.as_mut().expect("just begun"))
    }

    fn roll(&mut self) {
        if let Some(segment) = self.segment.take() {
            if self.syncs {
                // Should it fail, whoever syncs next is told by the segment that follows.
                let _ = segment.file.sync_data();
            }
            segment.close();
        }
    }

    fn append(&mut self, meta: &Meta, plan: &[u8], data: &[&[u8]]) -> Result<u64, LogError> {
        self.segment()?;
        self.write(meta, plan, data)
    }

    /// Writes one record to the segment that was begun, and returns where it stands. After an error the segment ends
    /// where it ended before.
    fn write(&mut self, meta: &Meta, plan: &[u8], data: &[&[u8]]) -> Result<u64, LogError> {
        let durability = self.durability;
        let segment = self.segment.as_mut().expect("a segment was begun");
        let (kind, json) = meta.write();
        let frame = self.framer.frame(kind, segment.salt, &json, plan, data);
        let frame = frame.ok_or_else(|| LogError::Refused("a record of more than 4 GB cannot be kept".to_owned()))?;
        let written = segment.file.write_all_at(frame, segment.end);
        let synced =
            written.and_then(|()| if durability == Durability::Fsync { segment.file.sync_data() } else { Ok(()) });
        if let Err(source) = synced {
            // Half a frame is worth nothing. If even this fails, readers cut it, and the next record overwrites it.
            let _ = segment.file.set_len(segment.end);
            let error = LogError::Io { doing: "writing a record", path: segment.path.clone(), source };
            if durability == Durability::Fsync {
                // After a failed sync nobody knows what the file holds: go on in another.
                self.roll();
            }
            return Err(error);
        }
        let (offset, stored) = (segment.end, frame.len() as u64);
        segment.end += stored;
        segment.side.add(offset, stored, kind, meta);
        self.framer.relax();
        Ok(offset)
    }

    fn call_started(
        &mut self,
        trace: TraceId,
        at: Timestamp,
        call: CallId,
        request: &CallStarted,
    ) -> Result<(), LogError> {
        self.segment()?;
        let here = self.begun;
        let body = &request.body;
        let growing = self.memory.of(trace);
        let nearest = growing.nearest(body, request.agent.as_deref());
        let tip = nearest.and_then(|(at, _)| growing.tips.get(at));
        let shared = nearest.map_or(0, |(_, shared)| shared);
        let earlier = tip.map(|tip| Earlier { pieces: &tip.pieces, body: tip.body.as_deref(), shared });
        let split = split(body, earlier);
        let same = if tip.is_some_and(|tip| tip.body.is_some()) { split.same_bytes() } else { 0 };
        let (sha256, marks) = hash(body, same, tip.map(|tip| &tip.marks));
        let (said, places) = split.conversation(request.agent.as_deref().unwrap_or_default());
        let placement = growing.contexts.place(&said);

        let segment = self.segment.as_ref().expect("a segment was begun");
        let base = tip.filter(|tip| tip.segment == here).map(|tip| tip.record);
        let (plan, data, own) = Plan::make(body, &split, base, segment.end, |id| segment.blocks.get(id).copied());
        let (extras, setup) = extras(&split, &places, &placement, &segment.setups);
        let mut plan_bytes = Vec::new();
        plan.encode(&extras, &mut plan_bytes);
        let grows = tip.zip(nearest).filter(|(tip, _)| {
            matches!(placement.placed.relation, Relation::Extend | Relation::Retry)
                && placement.placed.parent == Some(tip.call)
        });
        let replaces = grows.map(|(_, (at, _))| at);
        let what = call_meta(call, request, sha256, placement.placed);
        let meta = Meta::CallStarted(Box::new(Stamped { trace, at, what }));
        let record = self.write(&meta, &plan_bytes, &data)?;

        // Only now that it is written may anything point to it.
        let segment = self.segment.as_mut().expect("a record was just written to it");
        if segment.blocks.len() + own.len() > MOST_BLOCKS {
            segment.blocks.clear();
        }
        segment.blocks.extend((0..).zip(own).map(|(nth, id)| (id, At { record, nth })));
        segment.setups.insert(setup);
        self.memory.of(trace).contexts.remember(call, said, placement);
        let mut tip = Tip::new(call, request.agent.clone(), here, record);
        tip.pieces = split.pieces;
        tip.body_len = body.len();
        tip.body = Some(body.clone());
        tip.marks = marks;
        self.memory.grow(trace, tip, replaces);
        Ok(())
    }

    fn call_ended(&mut self, trace: TraceId, at: Timestamp, call: CallId, ended: &CallEnded) -> Result<(), LogError> {
        let meta = Meta::CallEnded(Box::new(Stamped { trace, at, what: end_meta(call, ended) }));
        self.append(&meta, &put_chunks(&ended.chunks), &[&ended.body]).map(|_| ())
    }
}

/// What readers want to know besides, and the name of the setup.
fn extras(split: &Split, places: &[usize], placement: &Placement, setups: &HashSet<BlockId>) -> (Extras, BlockId) {
    let named = |at: &usize| match &split.pieces[*at].what {
        What::Block(block) => Some((Name::clone(&block.name), block.id)),
        What::Gap(_) => None,
    };
    let (setup, setup_places) = split.setup(places);
    let kept = placement.placed.kept as usize;
    let setup_blocks = (!setups.contains(&setup)).then(|| setup_places.iter().filter_map(named).collect());
    (Extras { said: places.iter().skip(kept).filter_map(named).collect(), setup, setup_blocks }, setup)
}

impl Sink for Writer {
    type Error = LogError;

    fn accept(&mut self, event: &TraceEvent) -> Result<(), LogError> {
        use crate::trace::What as Happened;
        let (trace, at) = (event.trace, event.at);
        let meta = match &event.what {
            Happened::CallStarted(call, request) => return self.call_started(trace, at, *call, request),
            Happened::CallEnded(call, ended) => return self.call_ended(trace, at, *call, ended),
            Happened::TraceStarted(what) => Meta::TraceStarted(Stamped { trace, at, what: what.clone() }),
            Happened::Noted(what) => Meta::Noted(Stamped { trace, at, what: what.clone() }),
            Happened::Scored(what) => Meta::Scored(Stamped { trace, at, what: what.clone() }),
            Happened::TraceEnded(what) => Meta::TraceEnded(Stamped { trace, at, what: what.clone() }),
        };
        self.append(&meta, &[], &[])?;
        if matches!(meta, Meta::TraceEnded(_)) {
            self.memory.forget(trace);
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.roll();
    }
}
