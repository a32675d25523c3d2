//! A segment as readers find it: its side index first, its records only when they are asked for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::LogError;
use super::files::{self, Doing};
use super::record::Meta;
use super::segment::{Segment, salt};
use super::side::{Sections, Side};

/// So much of a live segment is read again by every reader before one of them writes a side index for all.
const WORTH_KEEPING: u64 = 4 << 20;

/// One segment.
#[derive(Debug)]
pub struct Shelf {
    pub name: Arc<str>,
    pub generation: u32,
    path: PathBuf,
    side_path: PathBuf,
    /// Its writer is at work.
    pub live: bool,
    /// Bytes up to which it is looked at.
    pub len: u64,
    /// What it holds in short; rows and records are in `whole`.
    pub short: Side,
    whole: OnceLock<Side>,
    segment: OnceLock<Segment>,
}

impl Shelf {
    /// Looks at a segment. From its side index when that is complete, else from the records it doesn't cover.
    pub fn open(log: &Path, name: &str, generation: u32) -> Result<Self, LogError> {
        let path = files::segment_path(log, name, generation);
        let side_path = files::side_path(log, name, generation);
        let len = fs::metadata(&path).doing("looking at a segment", &path)?.len();
        let mut shelf = Shelf {
            name: Arc::from(name),
            generation,
            path,
            side_path,
            live: false,
            len,
            short: Side::default(),
            whole: OnceLock::new(),
            segment: OnceLock::new(),
        };
        match shelf.read_short() {
            Some(short) if short.sealed && short.covers <= len => shelf.short = short,
            _ => shelf.scan()?,
        }
        Ok(shelf)
    }

    fn read_short(&self) -> Option<Side> {
        let bytes = read_start(&self.side_path).ok()?;
        let (side, sections) = Side::decode_short(&bytes)?;
        (sections.salt == salt(&self.name)).then_some(side)
    }

    fn read_whole(&self) -> Option<Side> {
        let bytes = fs::read(&self.side_path).ok()?;
        let (mut side, sections) = Side::decode_short(&bytes)?;
        side.decode_long(&bytes, &sections)?;
        (sections.salt == salt(&self.name)).then_some(side)
    }

    /// Reads what no side index covers yet.
    fn scan(&mut self) -> Result<(), LogError> {
        let segment = Segment::open(&self.path, &self.name)?;
        // First whether anybody writes, then how long it is: what a dead writer left cannot grow in between.
        self.live = segment.is_live()?;
        self.len = segment.len()?;
        let fresh = || Side::new(segment.meta.writer.clone(), segment.meta.started, segment.first);
        let mut side = self.read_whole().filter(|side| side.covers <= self.len).unwrap_or_else(fresh);
        let covered = side.covers;
        read_into(&mut side, &segment, self.len)?;
        side.sealed = !self.live;
        if side.sealed || side.covers - covered >= WORTH_KEEPING {
            // A reader may not be allowed to write here: then the next one reads again what this one read.
            let _ = files::publish(&self.side_path, &side.encode(salt(&self.name)));
        }
        self.short = side.without_rows();
        let _ = self.segment.set(segment);
        let _ = self.whole.set(side);
        Ok(())
    }

    /// The whole side index.
    pub fn side(&self) -> Result<&Side, LogError> {
        if let Some(side) = self.whole.get() {
            return Ok(side);
        }
        let side = match self.read_whole().filter(|side| side.covers <= self.len) {
            Some(side) => side,
            None => {
                let segment = self.segment()?;
                let mut side = Side::new(segment.meta.writer.clone(), segment.meta.started, segment.first);
                read_into(&mut side, segment, self.len)?;
                side
            }
        };
        Ok(self.whole.get_or_init(|| side))
    }

    /// The segment itself.
    pub fn segment(&self) -> Result<&Segment, LogError> {
        if let Some(segment) = self.segment.get() {
            return Ok(segment);
        }
        let segment = Segment::open(&self.path, &self.name)?;
        Ok(self.segment.get_or_init(|| segment))
    }

    /// Bytes on disk, side index included.
    pub fn bytes(&self) -> u64 {
        self.len + fs::metadata(&self.side_path).map_or(0, |side| side.len())
    }
}

/// Adds to a side index what a segment holds from where it ends up to `len`.
pub fn read_into(side: &mut Side, segment: &Segment, len: u64) -> Result<(), LogError> {
    let mut frames = segment.frames()?;
    let mut at = side.covers.max(segment.first);
    while let Some(frame) = frames.next(at, len)?.frame {
        at = frame.end();
        // A record whose meta part can't be read is whole, and of no use: doctor reports it.
        let meta = Meta::read(frame.kind, &frame.parts.meta).unwrap_or(Meta::Other);
        side.add(frame.offset, frame.stored, frame.kind, &meta);
    }
    Ok(())
}

/// Reads as much of a side index file as lists need.
fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut file = fs::File::open(path)?;
    let mut bytes = Vec::with_capacity(4096);
    file.by_ref().take(4096).read_to_end(&mut bytes)?;
    let wanted = Sections::short_len(&bytes).unwrap_or(0);
    if wanted > bytes.len() {
        let more = (wanted - bytes.len()) as u64;
        file.take(more).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
