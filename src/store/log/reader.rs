//! Reading the log.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::LogError;
use super::entry::{Cursor, Entry, Place, Record, Stats, TraceSummary};
use crate::trace::{CallId, TraceId};

/// A view of the log.
#[derive(Debug)]
pub struct Reader {
    #[expect(dead_code)]
    dir: PathBuf,
}

impl Reader {
    pub(super) fn open(dir: &Path) -> Result<Self, LogError> {
        Ok(Reader { dir: dir.to_path_buf() })
    }

    /// All traces, the newest first.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn traces(&self) -> Result<Vec<TraceSummary>, LogError> {
        todo!()
    }

    /// The trace meant by an id, the beginning of one, a name, or `last`.
    ///
    /// # Errors
    /// When there is none or more than one.
    pub fn resolve(&self, _word: &str) -> Result<TraceId, LogError> {
        todo!()
    }

    /// Everything kept of a trace, in the order it happened.
    ///
    /// # Errors
    /// When there is no such trace or its segments cannot be read.
    pub fn entries(&self, _trace: TraceId) -> Result<Vec<Entry>, LogError> {
        todo!()
    }

    /// The body of the request at the place of a [`super::Kept::CallStarted`], byte for byte.
    ///
    /// # Errors
    /// When a record it is built from is damaged.
    pub fn request_at(&self, _place: &Place) -> Result<Bytes, LogError> {
        todo!()
    }

    /// The body of a call's request, byte for byte.
    ///
    /// # Errors
    /// When there is no such call or a record it is built from is damaged.
    pub fn request(&self, _call: CallId) -> Result<Bytes, LogError> {
        todo!()
    }

    /// The records of a kind, the latest of each id, in order of first appearance.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn records(&self, _kind: &str) -> Result<Vec<Record>, LogError> {
        todo!()
    }

    /// Everything that has come since a cursor, segment by segment; removed traces first.
    ///
    /// # Errors
    /// When a segment cannot be opened.
    pub fn since(&self, _cursor: &Cursor) -> Result<Feed<'_>, LogError> {
        todo!()
    }

    /// Figures of the whole log.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn stats(&self) -> Result<Stats, LogError> {
        todo!()
    }
}

/// Entries of the whole log, from a cursor on. Damaged records are passed over (`doctor` reports them). Records of one
/// trace may come from several segments; within a segment they come in the order they were written.
#[derive(Debug)]
pub struct Feed<'a> {
    reader: &'a Reader,
}

impl Feed<'_> {
    /// The cursor after the entries handed out so far.
    pub fn cursor(&self) -> Cursor {
        todo!()
    }

    /// Says so when what was read before cannot be continued, because pruning rewrote a segment that had been read in
    /// part only: whatever was made of the entries must be made again, from an empty cursor.
    pub fn must_start_over(&self) -> bool {
        let _ = self.reader;
        todo!()
    }
}

impl Iterator for Feed<'_> {
    type Item = Result<Entry, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
