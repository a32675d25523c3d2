//! Everything since a cursor, for whoever makes something of the log.

use std::collections::VecDeque;

use super::LogError;
use super::entry::{Cursor, Entry, Kept, Mark};
use super::reader::{Reader, entry, place};
use super::segment::Frames;
use super::shelf::Shelf;

/// Entries of the whole log, from a cursor on. Damaged records are passed over (`doctor` reports them), removed traces
/// left out. Segments that remove traces come first, so that a removal is never heard after a new life of its trace.
/// Records of one trace may come from several segments; within a segment they come in the order they were written.
#[derive(Debug)]
pub struct Feed<'a> {
    reader: &'a Reader,
    cursor: Cursor,
    start_over: bool,
    waiting: VecDeque<&'a Shelf>,
    now: Option<Reading<'a>>,
    lost: VecDeque<Entry>,
}

#[derive(Debug)]
struct Reading<'a> {
    shelf: &'a Shelf,
    frames: Frames<'a>,
}

impl<'a> Feed<'a> {
    pub(super) fn new(reader: &'a Reader, cursor: &Cursor) -> Result<Self, LogError> {
        let mut cursor = cursor.clone();
        let mut start_over = false;
        let mut waiting = Vec::new();
        for shelf in &reader.shelves {
            let mark = cursor.segments.entry(shelf.name.to_string()).or_default();
            if mark.generation != shelf.generation {
                // Rewriting only ever takes removed traces away: a segment that was read whole stays read whole.
                start_over |= mark.offset > 0 && !mark.done;
                let (offset, done) = if mark.done { (shelf.len, true) } else { (0, false) };
                *mark = Mark { generation: shelf.generation, offset, done };
            }
            if !mark.done {
                waiting.push(shelf);
            }
        }
        waiting.sort_by_key(|shelf| shelf.short.removed.is_empty());
        Ok(Feed { reader, cursor, start_over, waiting: waiting.into(), now: None, lost: VecDeque::new() })
    }

    /// The cursor after the entries handed out so far.
    pub fn cursor(&self) -> Cursor {
        self.cursor.clone()
    }

    /// Says so when what was read before cannot be continued, because pruning rewrote a segment that had been read in
    /// part only: whatever was made of the entries must be made again, from an empty cursor.
    pub fn must_start_over(&self) -> bool {
        self.start_over
    }

    fn mark(&mut self, shelf: &Shelf) -> &mut Mark {
        self.cursor.segments.entry(shelf.name.to_string()).or_default()
    }

    /// The next entry of the segment being read. At its end: the calls that nobody will end any more.
    fn step(&mut self) -> Result<Option<Entry>, LogError> {
        loop {
            if let Some(lost) = self.lost.pop_front() {
                return Ok(Some(lost));
            }
            let Some(now) = &mut self.now else {
                let Some(shelf) = self.waiting.pop_front() else { return Ok(None) };
                let segment = shelf.segment()?;
                let mark = self.mark(shelf);
                mark.offset = mark.offset.max(segment.first);
                self.now = Some(Reading { shelf, frames: segment.frames()? });
                continue;
            };
            let shelf = now.shelf;
            let at = self.cursor.segments.get(&*shelf.name).map_or(0, |mark| mark.offset);
            let next = now.frames.next(at, shelf.len)?;
            let Some(frame) = next.frame else {
                self.now = None;
                self.finish(shelf);
                continue;
            };
            self.mark(shelf).offset = frame.end();
            match entry(shelf, &frame) {
                Some(entry) if entry.what.trace().is_some_and(|trace| self.reader.is_removed(trace, shelf)) => {
                    if matches!(entry.what, Kept::Removed(_)) {
                        return Ok(Some(entry));
                    }
                }
                Some(entry) => return Ok(Some(entry)),
                None => {}
            }
        }
    }

    fn finish(&mut self, shelf: &'a Shelf) {
        let reader = self.reader;
        if reader.writer_lives(shelf) {
            return;
        }
        let mark = self.mark(shelf);
        (mark.offset, mark.done) = (shelf.len, true);
        for part in shelf.short.parts.iter().filter(|part| !reader.is_removed(part.trace, shelf)) {
            let gone = part.open.iter().filter(|call| !reader.ended_elsewhere.contains(call));
            self.lost.extend(gone.map(|call| Entry {
                place: place(shelf, shelf.len),
                at: part.last,
                what: Kept::CallLost(part.trace, *call),
            }));
        }
    }
}

impl Iterator for Feed<'_> {
    type Item = Result<Entry, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.step() {
            Ok(entry) => entry.map(Ok),
            Err(error) => {
                // The segment is left as it is; the others can still be read.
                self.now = None;
                Some(Err(error))
            }
        }
    }
}
