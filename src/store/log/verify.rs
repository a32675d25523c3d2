//! Looking for damage: every frame's checksum, every record's sense, every body's hash.

use std::path::PathBuf;

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::LogError;
use super::reader::{Bodies, Reader, entry};
use super::record::{Meta, hex, kind};
use super::segment::Framed;
use super::shelf::Shelf;
use crate::trace::{CallId, TraceId};

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// The beginning of a segment is damaged; its records are read without it.
    BadStart { segment: String },
    /// Bytes that are no record any more.
    BadRecord { segment: String, offset: u64, bytes: u64 },
    /// A whole record that makes no sense.
    Unreadable { segment: String, offset: u64 },
    /// A request that cannot be put together, or comes out differently.
    WrongBody { segment: String, offset: u64, trace: TraceId, call: CallId, why: String },
    /// A writer died in the middle of a record. Nobody was told that it had been kept.
    TornTail { segment: String, offset: u64, bytes: u64 },
    /// A writer died between a call's start and its end.
    LostCall { trace: TraceId, call: CallId },
    /// A file nobody needs: pruning takes it away.
    Leftover { path: PathBuf },
}

impl Finding {
    /// Whether something that had been kept is lost. The rest is what crashes leave behind.
    pub fn is_damage(&self) -> bool {
        match self {
            Finding::BadStart { .. }
            | Finding::BadRecord { .. }
            | Finding::Unreadable { .. }
            | Finding::WrongBody { .. } => true,
            Finding::TornTail { .. } | Finding::LostCall { .. } | Finding::Leftover { .. } => false,
        }
    }
}

/// What a look at the whole log found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Checkup {
    pub segments: u64,
    pub records: u64,
    /// Request bodies that were rebuilt and compared with their hash.
    pub bodies: u64,
    /// Bytes of those bodies.
    pub body_bytes: u64,
    pub findings: Vec<Finding>,
}

impl Checkup {
    /// Whether nothing that had been kept is lost.
    pub fn is_sound(&self) -> bool {
        !self.findings.iter().any(Finding::is_damage)
    }

    fn join(mut self, other: Checkup) -> Self {
        self.segments += other.segments;
        self.records += other.records;
        self.bodies += other.bodies;
        self.body_bytes += other.body_bytes;
        self.findings.extend(other.findings);
        self
    }
}

impl Reader {
    /// Checks every record of the log; with `bodies`, rebuilds every request too and compares it with its hash.
    ///
    /// # Errors
    /// When a segment cannot be read at all.
    pub fn check(&self, bodies: bool) -> Result<Checkup, LogError> {
        let checked: Result<Vec<_>, _> = self.shelves.par_iter().map(|shelf| self.check_shelf(shelf, bodies)).collect();
        let mut checkup = checked?.into_iter().fold(Checkup::default(), Checkup::join);
        checkup.findings.extend(self.leftovers.iter().map(|path| Finding::Leftover { path: path.clone() }));
        Ok(checkup)
    }

    fn check_shelf(&self, shelf: &Shelf, bodies: bool) -> Result<Checkup, LogError> {
        let segment = shelf.segment()?;
        let name = || shelf.name.to_string();
        let mut checkup = Checkup { segments: 1, ..Checkup::default() };
        let findings = &mut checkup.findings;
        if segment.headless {
            findings.push(Finding::BadStart { segment: name() });
        }
        let mut frames = segment.frames()?;
        let mut builder = bodies.then(|| Bodies::new(shelf)).transpose()?;
        let mut at = segment.first;
        loop {
            let next = frames.next(at, shelf.len)?;
            // A damaged beginning has been told already.
            if let Some(damage) = next.damage.filter(|damage| damage.start > 0) {
                let (offset, bytes) = (damage.start, damage.end - damage.start);
                // Frames behind it, or a whole frame's length with another content: that is no torn tail.
                match (next.frame.is_some() || frames.is_whole_but_wrong(offset)?, shelf.live) {
                    (true, _) => findings.push(Finding::BadRecord { segment: name(), offset, bytes }),
                    (false, false) => findings.push(Finding::TornTail { segment: name(), offset, bytes }),
                    // Somebody is just writing it.
                    (false, true) => {}
                }
            }
            let Some(frame) = next.frame else { break };
            at = frame.end();
            checkup.records += 1;
            let unread = known(frame.kind) && frame.kind != kind::BLOCKS && entry(shelf, &frame).is_none();
            if unread {
                findings.push(Finding::Unreadable { segment: name(), offset: frame.offset });
            } else if let Some(builder) = &mut builder
                && frame.kind == kind::CALL_STARTED
            {
                checkup.bodies += 1;
                match check_body(builder, &frame) {
                    Ok(len) => checkup.body_bytes += len,
                    Err(Some((trace, call, why))) => {
                        findings.push(Finding::WrongBody { segment: name(), offset: frame.offset, trace, call, why });
                    }
                    Err(None) => findings.push(Finding::Unreadable { segment: name(), offset: frame.offset }),
                }
            }
        }
        if !self.writer_lives(shelf) {
            for part in shelf.short.parts.iter().filter(|part| !self.is_removed(part.trace, shelf)) {
                let lost = part.open.iter().filter(|call| !self.ended_elsewhere.contains(call));
                findings.extend(lost.map(|call| Finding::LostCall { trace: part.trace, call: *call }));
            }
        }
        Ok(checkup)
    }
}

fn known(kind: u8) -> bool {
    (kind::TRACE_STARTED..=kind::BLOCKS).contains(&kind)
}

/// The length of a request's body when it is the one that was kept.
fn check_body(builder: &mut Bodies<'_>, frame: &Framed) -> Result<u64, Option<(TraceId, CallId, String)>> {
    let Some(Meta::CallStarted(meta)) = Meta::read(frame.kind, &frame.parts.meta) else { return Err(None) };
    let wrong = |why: String| Some((meta.trace, meta.what.call, why));
    let body = builder.body(frame.offset).map_err(|error| wrong(error.to_string()))?;
    let hash: [u8; 32] = Sha256::digest(&body).into();
    if hex(&hash) != meta.what.sha256 {
        return Err(wrong(format!("its SHA-256 is {} and should be {}", hex(&hash), meta.what.sha256)));
    }
    Ok(body.len() as u64)
}
