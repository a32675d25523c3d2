//! One segment file: its beginning, its frames, whether somebody still writes it.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};

use super::LogError;
use super::files::{self, Doing};
use super::frame::{HEAD, Head, MARKER, Parts, Unpacker};
use super::record::{SegmentMeta, kind};

/// The first line of every segment, with its format.
const LINE: &str = "holdback trace log, format ";
pub const FORMAT: u64 = 1;

/// What a segment begins with.
pub fn first_line() -> String {
    format!("{LINE}{FORMAT}\n")
}

/// What is mixed into every checksum of a segment: a frame that was copied into another segment, or into a body that
/// somebody recorded, is no frame there.
pub fn salt(name: &str) -> u32 {
    crc32fast::hash(name.as_bytes())
}

/// A frame that was read whole.
#[derive(Debug, Clone)]
pub struct Framed {
    pub offset: u64,
    pub kind: u8,
    pub parts: Parts,
    /// Bytes of the frame on disk.
    pub stored: u64,
}

impl Framed {
    /// Where the next frame begins.
    pub fn end(&self) -> u64 {
        self.offset + self.stored
    }
}

/// What stands at an offset.
#[derive(Debug)]
pub enum Found {
    Frame(Framed),
    /// A frame begins here, and the file ends before it does; or there is nothing at all.
    Short,
    /// Not a frame, or not the one that was written.
    Damage,
}

/// An open segment.
#[derive(Debug)]
pub struct Segment {
    pub path: PathBuf,
    file: File,
    pub meta: SegmentMeta,
    salt: u32,
    /// Its beginning is damaged.
    pub headless: bool,
    /// Where the first record after the segment's own stands.
    pub first: u64,
}

impl Segment {
    /// Opens a segment. A damaged beginning costs nothing but the beginning: every record can be checked without it.
    pub fn open(path: &Path, name: &str) -> Result<Self, LogError> {
        let file = File::open(path).doing("opening a segment", path)?;
        let mut start = vec![0; 4096];
        let got = read_up_to(&file, &mut start, 0).doing("reading a segment", path)?;
        start.truncate(got);
        let line = start.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let found =
            str::from_utf8(&start[..line]).ok().and_then(|text| text.strip_prefix(LINE)?.trim_end().parse().ok());
        let head = Head::parse(&start[line..]);
        let payload = head.and_then(|head| start.get(line + HEAD..line + HEAD + head.len as usize));
        let salt = salt(name);
        let meta = head.zip(payload).filter(|(head, payload)| head.kind == kind::SEGMENT && head.fits(payload, salt));
        let meta = meta.and_then(|(head, payload)| {
            let raw = Unpacker::new().ok()?.unpack(head, Bytes::copy_from_slice(payload))?;
            serde_json::from_slice::<SegmentMeta>(&Parts::of(&raw)?.meta).ok()
        });
        match (found, meta, head) {
            (_, Some(meta), Some(head)) if meta.format <= FORMAT => {
                let first = line as u64 + head.frame_len();
                Ok(Segment { path: path.to_path_buf(), file, meta, salt, first, headless: false })
            }
            (Some(found), ..) if found > FORMAT => {
                Err(LogError::Newer { path: path.to_path_buf(), found, known: FORMAT })
            }
            _ => {
                let (writer, holdback) = (String::new(), String::new());
                let meta = SegmentMeta { format: FORMAT, writer, started: files::segment_time(name), holdback };
                Ok(Segment { path: path.to_path_buf(), file, meta, salt, first: 0, headless: true })
            }
        }
    }

    /// The file's length now.
    pub fn len(&self) -> Result<u64, LogError> {
        Ok(self.file.metadata().doing("reading a segment", &self.path)?.len())
    }

    /// Whether its writer is at work. Writers hold a lock for as long as they live.
    pub fn is_live(&self) -> Result<bool, LogError> {
        is_locked(&self.file).doing("looking for a segment's writer", &self.path)
    }

    /// Keeps everyone else from taking the segment for their own, until it is closed. False when somebody has it.
    pub fn claim(&self) -> Result<bool, LogError> {
        match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(io::Error::from(error)).doing("locking a segment", &self.path),
        }
    }

    /// A reader of its frames.
    pub fn frames(&self) -> Result<Frames<'_>, LogError> {
        let unpacker = Unpacker::new().doing("reading a segment", &self.path)?;
        Ok(Frames { segment: self, unpacker, window: RefCell::new(Window::default()) })
    }

    /// An error about this segment.
    pub fn damaged(&self, offset: u64, what: impl Into<String>) -> LogError {
        LogError::Damaged { path: self.path.clone(), offset, what: what.into() }
    }
}

/// Whether a file's writer holds its lock. The lock is let go at once.
fn is_locked(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            flock(file, FlockOperation::Unlock)?;
            Ok(false)
        }
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// A stretch of the file in memory, so that frames that lie together cost one read.
#[derive(Debug, Default)]
struct Window {
    start: u64,
    bytes: Bytes,
}

const WINDOW: usize = 256 << 10;

/// Reads a segment's frames, in any order.
#[derive(Debug)]
pub struct Frames<'a> {
    pub segment: &'a Segment,
    unpacker: Unpacker,
    window: RefCell<Window>,
}

impl Frames<'_> {
    /// `len` bytes from `offset` on, or as many as there are.
    fn bytes(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut window = self.window.borrow_mut();
        let end = window.start + window.bytes.len() as u64;
        if offset >= window.start && offset + len as u64 <= end {
            let at = (offset - window.start) as usize;
            return Ok(window.bytes.slice(at..at + len));
        }
        // Chains are walked backwards: then what lies before is wanted next.
        let back =
            if offset < window.start && offset + WINDOW as u64 >= window.start { WINDOW - WINDOW / 16 } else { 0 };
        let start = offset.saturating_sub(back as u64);
        let lead = (offset - start) as usize;
        let mut buffer = vec![0; (lead + len).max(WINDOW)];
        let got = read_up_to(&self.segment.file, &mut buffer, start)?;
        buffer.truncate(got);
        let bytes = Bytes::from(buffer);
        *window = Window { start, bytes: bytes.clone() };
        Ok(bytes.slice(lead.min(got)..(lead + len).min(got)))
    }

    /// What stands at an offset.
    pub fn at(&mut self, offset: u64) -> Result<Found, LogError> {
        let found = self.look(offset)?;
        if !matches!(found, Found::Damage) {
            return Ok(found);
        }
        // The window may have been filled while the frame was being written: look once more, at the disk.
        *self.window.borrow_mut() = Window::default();
        self.look(offset)
    }

    fn look(&mut self, offset: u64) -> Result<Found, LogError> {
        let reading = "reading a segment";
        let path = &self.segment.path;
        let head_bytes = self.bytes(offset, HEAD).doing(reading, path)?;
        let Some(head) = Head::parse(&head_bytes) else {
            let short = head_bytes.len() < HEAD && (head_bytes.len() < 4 || head_bytes[..4] == MARKER);
            return Ok(if short { Found::Short } else { Found::Damage });
        };
        let payload = self.bytes(offset + HEAD as u64, head.len as usize).doing(reading, path)?;
        if payload.len() < head.len as usize {
            return Ok(Found::Short);
        }
        if !head.fits(&payload, self.segment.salt) {
            return Ok(Found::Damage);
        }
        let parts = self.unpacker.unpack(head, payload).and_then(|raw| Parts::of(&raw));
        Ok(parts.map_or(Found::Damage, |parts| {
            Found::Frame(Framed { offset, kind: head.kind, parts, stored: head.frame_len() })
        }))
    }

    /// Whether a frame of full length stands here, with another content than was written.
    pub fn is_whole_but_wrong(&mut self, offset: u64) -> Result<bool, LogError> {
        let head = self.bytes(offset, HEAD).doing("reading a segment", &self.segment.path)?;
        Ok(Head::parse(&head).is_some() && matches!(self.at(offset)?, Found::Damage))
    }

    /// The frame at an offset that must have one.
    pub fn must(&mut self, offset: u64) -> Result<Framed, LogError> {
        match self.at(offset)? {
            Found::Frame(frame) => Ok(frame),
            Found::Short => Err(self.segment.damaged(offset, "the record is cut short")),
            Found::Damage => Err(self.segment.damaged(offset, "the record is damaged")),
        }
    }

    /// The next whole frame at or after `offset`, up to `end`, passing over damage; and what was passed over.
    pub fn next(&mut self, offset: u64, end: u64) -> Result<Next, LogError> {
        if offset >= end {
            return Ok(Next { frame: None, damage: None });
        }
        match self.at(offset)? {
            Found::Frame(frame) if frame.end() <= end => return Ok(Next { frame: Some(frame), damage: None }),
            Found::Frame(_) => return Ok(Next { frame: None, damage: None }),
            Found::Short | Found::Damage => {}
        }
        let mut at = offset + 1;
        while let Some(found) = self.marker(at, end)? {
            if let Found::Frame(frame) = self.at(found)?
                && frame.end() <= end
            {
                return Ok(Next { frame: Some(frame), damage: Some(offset..found) });
            }
            at = found + 1;
        }
        Ok(Next { frame: None, damage: Some(offset..end) })
    }

    fn marker(&self, mut at: u64, end: u64) -> Result<Option<u64>, LogError> {
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(WINDOW);
            let bytes = self.bytes(at, len).doing("reading a segment", &self.segment.path)?;
            if let Some(found) = memchr::memmem::find(&bytes, &MARKER) {
                return Ok(Some(at + found as u64));
            }
            if bytes.len() < MARKER.len() {
                return Ok(None);
            }
            at += (bytes.len() - MARKER.len() + 1) as u64;
        }
        Ok(None)
    }
}

/// What came next.
#[derive(Debug)]
pub struct Next {
    /// `None` when no whole frame follows.
    pub frame: Option<Framed>,
    /// Bytes that are no frame. Without a frame behind them they are a torn tail, or a frame still being written.
    pub damage: Option<std::ops::Range<u64>>,
}
