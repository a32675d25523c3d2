//! A segment as readers find it: its side index first, its records only when they are asked for.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::LogError;
use super::files::{self, Doing};
use super::record::Meta;
use super::segment::{Segment, salt};
use super::side::{Part, Row, Sections, Side};
use crate::trace::TraceId;

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
    /// Where the part of each trace is in `short`, once somebody asks for one.
    places: OnceLock<HashMap<TraceId, usize>>,
    rows: OnceLock<RowsByPart>,
}

/// The rows of a side index, part by part, so that who reads many traces doesn't look through all rows for each.
#[derive(Debug, Default)]
struct RowsByPart {
    /// Where the rows of each part begin in `order`; one more for the end.
    starts: Vec<usize>,
    order: Vec<u32>,
}

impl RowsByPart {
    fn of(side: &Side) -> Self {
        let mut starts = vec![0; side.parts.len() + 1];
        let known = |row: &&Row| (row.part as usize) < side.parts.len();
        side.rows.iter().filter(known).for_each(|row| starts[row.part as usize + 1] += 1);
        for part in 1..starts.len() {
            starts[part] += starts[part - 1];
        }
        let mut next = starts.clone();
        let mut order = vec![0; *starts.last().unwrap_or(&0)];
        for (row, number) in side.rows.iter().zip(0..).filter(|(row, _)| known(row)) {
            let place = &mut next[row.part as usize];
            order[*place] = number;
            *place += 1;
        }
        RowsByPart { starts, order }
    }

    fn of_part(&self, part: u32) -> &[u32] {
        let part = part as usize;
        match (self.starts.get(part), self.starts.get(part + 1)) {
            (Some(from), Some(to)) => &self.order[*from..*to],
            _ => &[],
        }
    }
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
            places: OnceLock::new(),
            rows: OnceLock::new(),
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

    /// What it holds of a trace, in short.
    pub fn part_of(&self, trace: TraceId) -> Option<&Part> {
        let parts = &self.short.parts;
        let places =
            self.places.get_or_init(|| parts.iter().zip(0..).map(|(part, place)| (part.trace, place)).collect());
        places.get(&trace).and_then(|place| parts.get(*place))
    }

    /// The rows of one trace, in their order.
    pub fn rows_of(&self, trace: TraceId) -> Result<impl Iterator<Item = &Row>, LogError> {
        let side = self.side()?;
        let rows = self.rows.get_or_init(|| RowsByPart::of(side));
        let of_trace = side.part_of(trace).map_or(&[][..], |part| rows.of_part(part));
        Ok(of_trace.iter().filter_map(|row| side.rows.get(*row as usize)))
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
