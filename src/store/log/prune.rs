//! Forgetting traces. A removal is a record like any other; what is on disk of a removed trace goes when the segments it
//! is in are written anew without it. Segments that somebody writes are never touched.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use super::entry::{Status, TraceSummary};
use super::files::{self, Doing};
use super::frame::Framer;
use super::reader::Reader;
use super::record::{Meta, kind};
use super::segment::{Framed, Segment, first_line, salt};
use super::shelf::Shelf;
use super::side::Side;
use super::{LogError, Store};
use crate::context::{At, Extras, Loaded, Op, Plan, Source};
use crate::trace::{Timestamp, TraceId};

/// Which traces may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Those whose last entry is older.
    pub before: Option<Timestamp>,
    /// And the oldest ones until the log is no bigger than this.
    pub max_bytes: Option<u64>,
    /// But none that failed or was cut off.
    pub keep_failed: bool,
}

/// What went, or would go.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Pruned {
    pub traces: Vec<TraceId>,
    pub segments_rewritten: u64,
    pub bytes_before: u64,
    /// As it is now; in a dry run what it would be if the traces shared nothing with others.
    pub bytes_after: u64,
}

impl Policy {
    /// The traces that may go, given all of them and the log's size.
    fn choose(&self, mut traces: Vec<TraceSummary>, mut bytes: u64) -> (Vec<TraceId>, u64) {
        traces.sort_by_key(|trace| (trace.last, trace.id));
        let mut gone = Vec::new();
        for trace in traces {
            let old = self.before.is_some_and(|before| trace.last < before);
            let too_much = self.max_bytes.is_some_and(|most| bytes > most);
            if trace.status != Status::Live && (old || too_much) && !(self.keep_failed && trace.went_wrong()) {
                gone.push(trace.id);
                bytes = bytes.saturating_sub(trace.stored);
            }
        }
        (gone, bytes)
    }
}

impl Store {
    /// Removes traces for good.
    ///
    /// # Errors
    /// When one of them is still being recorded, or the disk refuses.
    pub fn remove(&self, traces: &[TraceId], at: Timestamp) -> Result<Pruned, LogError> {
        let reader = self.reader()?;
        for trace in traces {
            if reader.trace(*trace)?.status == Status::Live {
                let why = "it is still being recorded: end its recorder first";
                return Err(LogError::Refused(format!("trace {trace} cannot be removed now: {why}")));
            }
        }
        let bytes_before = reader.stats().bytes;
        drop(reader);
        self.forget(traces, at)?;
        let segments_rewritten = self.compact()?;
        let bytes_after = self.reader()?.stats().bytes;
        Ok(Pruned { traces: traces.to_vec(), segments_rewritten, bytes_before, bytes_after })
    }

    /// Removes the traces that a policy lets go. `now` is only for the records.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn prune(&self, policy: &Policy, now: Timestamp, dry_run: bool) -> Result<Pruned, LogError> {
        // Traces share blocks, so less may come free than they take: look again, a few times.
        const ROUNDS: usize = 8;
        let mut pruned = Pruned { bytes_before: self.reader()?.stats().bytes, ..Pruned::default() };
        for _ in 0..ROUNDS {
            let reader = self.reader()?;
            let (gone, bytes_after) = policy.choose(reader.traces(), reader.stats().bytes);
            drop(reader);
            if dry_run {
                return Ok(Pruned { traces: gone, bytes_after, ..pruned });
            }
            if gone.is_empty() {
                break;
            }
            self.forget(&gone, now)?;
            pruned.segments_rewritten += self.compact()?;
            pruned.traces.extend(gone);
        }
        self.sweep()?;
        pruned.bytes_after = self.reader()?.stats().bytes;
        Ok(pruned)
    }

    fn forget(&self, traces: &[TraceId], at: Timestamp) -> Result<(), LogError> {
        let mut writer = self.writer()?;
        traces.iter().try_for_each(|trace| writer.remove(*trace, at))
    }

    /// Writes the segments anew that hold something of removed traces and have no writer; says how many.
    ///
    /// # Errors
    /// When the disk refuses. The segments are then as they were.
    pub fn compact(&self) -> Result<u64, LogError> {
        let reader = self.reader()?;
        let log = files::log_dir(self.dir());
        let mut rewritten = 0;
        for shelf in reader.shelves.iter().filter(|shelf| !shelf.live) {
            let dirty = shelf.short.parts.iter().any(|part| reader.is_removed(part.trace, shelf));
            if dirty && rewrite(&reader, shelf, &log)? {
                rewritten += 1;
            }
        }
        Ok(rewritten)
    }

    /// Takes away files that no reader looks at: replaced generations and side indexes without a segment.
    fn sweep(&self) -> Result<(), LogError> {
        let reader = self.reader()?;
        for path in &reader.leftovers {
            // What is not finished may belong to somebody who is just at it.
            if path.extension().is_none_or(|extension| extension != "draft") {
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }
}

/// Writes a segment anew without what was removed, under its next generation. False when somebody else is at it.
fn rewrite(reader: &Reader, shelf: &Shelf, log: &Path) -> Result<bool, LogError> {
    let segment = shelf.segment()?;
    if !segment.claim()? {
        return Ok(false);
    }
    let mut dead = HashSet::new();
    for part in shelf.short.parts.iter().filter(|part| reader.is_removed(part.trace, shelf)) {
        dead.insert(part.trace);
    }
    let needed = needed(segment, shelf.len, &dead)?;
    let path = files::segment_path(log, &shelf.name, shelf.generation + 1);
    let draft = files::draft(&path).doing("getting random numbers", &path)?;
    let written = Rewriter::begin(&draft, shelf, segment).and_then(|mut rewriter| {
        let mut frames = segment.frames()?;
        let mut at = segment.first;
        while let Some(frame) = frames.next(at, shelf.len)?.frame {
            at = frame.end();
            rewriter.take(&frame, &dead, &needed)?;
        }
        rewriter.finish()
    });
    let published = written.and_then(|side| {
        if side.rows.is_empty() {
            return fs::remove_file(&draft).doing("taking away an empty segment", &draft);
        }
        fs::rename(&draft, &path).doing("publishing a rewritten segment", &path)?;
        let side_path = files::side_path(log, &shelf.name, shelf.generation + 1);
        let _ = files::publish(&side_path, &side.encode(salt(&shelf.name)));
        File::open(log).and_then(|dir| dir.sync_all()).doing("publishing a rewritten segment", log)
    });
    if published.is_err() {
        let _ = fs::remove_file(&draft);
    }
    published?;
    fs::remove_file(&segment.path).doing("taking away the old segment", &segment.path)?;
    let _ = fs::remove_file(files::side_path(log, &shelf.name, shelf.generation));
    Ok(true)
}

fn is_dead(frame: &Framed, dead: &HashSet<TraceId>) -> bool {
    let stamp = Meta::read(frame.kind, &frame.parts.meta).and_then(|meta| meta.stamp());
    stamp.is_some_and(|(trace, _)| dead.contains(&trace))
}

/// The blocks that the records to be kept point to.
fn needed(segment: &Segment, len: u64, dead: &HashSet<TraceId>) -> Result<HashSet<At>, LogError> {
    let mut needed = HashSet::new();
    let mut frames = segment.frames()?;
    let mut at = segment.first;
    while let Some(frame) = frames.next(at, len)?.frame {
        at = frame.end();
        if frame.kind != kind::CALL_STARTED || is_dead(&frame, dead) {
            continue;
        }
        let Some((plan, _)) = Plan::decode(&frame.parts.plan) else { continue };
        needed.extend(plan.ops.iter().filter_map(|op| match op {
            Op::Block { source: Source::There(at), .. } => Some(*at),
            _ => None,
        }));
    }
    Ok(needed)
}

/// Copies records and mends what points from one to another.
struct Rewriter {
    out: BufWriter<File>,
    draft: std::path::PathBuf,
    framer: Framer,
    salt: u32,
    end: u64,
    side: Side,
    records: HashMap<u64, u64>,
    blocks: HashMap<At, At>,
}

impl Rewriter {
    fn begin(draft: &Path, shelf: &Shelf, segment: &Segment) -> Result<Self, LogError> {
        let making = "writing a segment anew";
        let mut framer = Framer::new().doing("getting memory for zstd", draft)?;
        let salt = salt(&shelf.name);
        let json = serde_json::to_vec(&segment.meta).expect("plain data becomes JSON");
        let frame = framer.frame(kind::SEGMENT, salt, &json, &[], &[]).expect("a few bytes fit into a frame");
        let start = [first_line().as_bytes(), frame].concat();
        let mut out = BufWriter::new(files::create_new(draft).doing(making, draft)?);
        out.write_all(&start).doing(making, draft)?;
        let end = start.len() as u64;
        let side = Side::new(segment.meta.writer.clone(), segment.meta.started, end);
        let (records, blocks) = (HashMap::new(), HashMap::new());
        Ok(Rewriter { out, draft: draft.to_path_buf(), framer, salt, end, side, records, blocks })
    }

    fn take(&mut self, frame: &Framed, dead: &HashSet<TraceId>, needed: &HashSet<At>) -> Result<(), LogError> {
        let parts = &frame.parts;
        if frame.kind == kind::BLOCKS || is_dead(frame, dead) {
            return self.leave_blocks(frame, needed);
        }
        let meta = Meta::read(frame.kind, &parts.meta).unwrap_or(Meta::Other);
        let mended = match frame.kind {
            kind::CALL_STARTED => self.mend(frame),
            _ => None,
        };
        let plan = mended.as_deref().unwrap_or(&parts.plan);
        self.records.insert(frame.offset, self.end);
        self.write(frame.kind, &meta, &parts.meta, plan, &parts.data)
    }

    /// A plan that points to where things stand now; remembers where this record's own blocks will stand.
    fn mend(&mut self, frame: &Framed) -> Option<Vec<u8>> {
        let (mut plan, rest) = Plan::decode(&frame.parts.plan)?;
        let extras = Extras::decode(&plan, rest)?;
        // What points to nothing now did so before: the body was lost already, and stays visibly so.
        plan.base = plan.base.and_then(|base| self.records.get(&base).copied());
        let mut nth = 0;
        for op in &mut plan.ops {
            let Op::Block { source, .. } = op else { continue };
            match source {
                Source::Here { .. } => {
                    self.blocks.insert(At { record: frame.offset, nth }, At { record: self.end, nth });
                    nth += 1;
                }
                Source::There(at) => *at = self.blocks.get(at).copied().unwrap_or(At { record: u64::MAX, nth: 0 }),
            }
        }
        let mut out = Vec::new();
        plan.encode(&extras, &mut out);
        Some(out)
    }

    /// Keeps those blocks of a record that others need.
    fn leave_blocks(&mut self, frame: &Framed, needed: &HashSet<At>) -> Result<(), LogError> {
        if frame.kind != kind::CALL_STARTED && frame.kind != kind::BLOCKS {
            return Ok(());
        }
        let decoded = Plan::decode(&frame.parts.plan).and_then(|(plan, _)| Loaded::new(plan, frame.parts.data.clone()));
        let Some(loaded) = decoded else { return Ok(()) };
        let mut plan = Plan::default();
        let mut data = Vec::new();
        for (old, (name, id, bytes)) in (0..).zip(loaded.own_blocks()) {
            let at = At { record: frame.offset, nth: old };
            if !needed.contains(&at) {
                continue;
            }
            self.blocks.insert(at, At { record: self.end, nth: plan.ops.len() as u32 });
            let source = Source::Here { len: bytes.len() };
            plan.ops.push(Op::Block { name: name.clone(), id, source, cuts: Vec::new() });
            data.extend_from_slice(&bytes);
        }
        if plan.ops.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        plan.encode(&Extras::default(), &mut bytes);
        let (kind, json) = Meta::Other.write();
        self.write(kind, &Meta::Other, &json, &bytes, &data)
    }

    fn write(&mut self, kind: u8, meta: &Meta, json: &[u8], plan: &[u8], data: &[u8]) -> Result<(), LogError> {
        let frame = self.framer.frame(kind, self.salt, json, plan, &[data]);
        let frame = frame.ok_or_else(|| LogError::Refused("a record of more than 4 GB cannot be kept".to_owned()))?;
        self.out.write_all(frame).doing("writing a segment anew", &self.draft)?;
        self.side.add(self.end, frame.len() as u64, kind, meta);
        self.end += frame.len() as u64;
        Ok(())
    }

    fn finish(mut self) -> Result<Side, LogError> {
        let flushed = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        flushed.doing("writing a segment anew", &self.draft)?;
        self.side.sealed = true;
        Ok(self.side)
    }
}
