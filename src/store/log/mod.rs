//! The trace log: append-only segments, one writer each, readable while they are written. It is the truth; everything
//! else in a store can be made again from it.

mod entry;
mod export;
mod feed;
mod files;
mod frame;
mod memory;
mod outlines;
mod prune;
mod reader;
mod record;
mod records;
mod segment;
mod shelf;
mod side;
mod summary;
mod sums;
mod verify;
mod writer;

pub use entry::{Cursor, Entry, Fresh, Kept, Mark, Named, Place, Record, StartedCall, Stats, Status, TraceSummary};
pub use export::{ImportError, TraceFile};
pub use feed::Feed;
pub use outlines::Outlines;
pub use prune::{Policy, Pruned};
pub use reader::{Browse, Reader};
pub use records::Belonging;
pub use verify::{Checkup, Finding};
pub use writer::Writer;

use std::path::{Path, PathBuf};

/// What can go wrong between a store and its disk.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The system refused.
    #[error("{}: {doing}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    /// Made by a newer holdback.
    #[error("{} has format {found}; this holdback reads up to {known}: please update holdback", path.display())]
    Newer { path: PathBuf, found: u64, known: u64 },
    /// Bytes that should be whole are not.
    #[error("{} at byte {offset}: {what} (`holdback doctor` says more)", path.display())]
    Damaged { path: PathBuf, offset: u64, what: String },
    /// No such thing.
    #[error("{0}")]
    NotFound(String),
    /// A word that fits several things.
    #[error("{word:?} fits {} traces: {}", found.len(), found.join(", "))]
    Ambiguous { word: String, found: Vec<String> },
    /// More than a record can hold, or not to be done now.
    #[error("{0}")]
    Refused(String),
}

/// When a record counts as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The operating system has it: it outlives this process, however that ends.
    #[default]
    Os,
    /// The disk has it: it outlives a power cut too.
    Fsync,
}

/// A store on disk.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    durability: Durability,
}

impl Store {
    /// Opens a store; makes it where there is none.
    ///
    /// # Errors
    /// When the directory cannot be made or used, or a newer holdback made it.
    pub fn open(dir: impl Into<PathBuf>, durability: Durability) -> Result<Self, LogError> {
        let dir = dir.into();
        files::prepare(&dir)?;
        Ok(Store { dir, durability })
    }

    /// Opens a store that should be there, to read it: nothing is made.
    ///
    /// # Errors
    /// When there is none, or a newer holdback made it.
    pub fn existing(dir: impl Into<PathBuf>) -> Result<Self, LogError> {
        let dir = dir.into();
        if !files::check_mark(&dir)? {
            return Err(LogError::NotFound(format!("{}: there is no store here yet", dir.display())));
        }
        Ok(Store { dir, durability: Durability::Os })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// When a record counts as kept.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// A writer of this process. Any number may write at once; each has a segment of its own.
    ///
    /// # Errors
    /// When the system has no random numbers or memory to give. Files are made with the first record.
    pub fn writer(&self) -> Result<Writer, LogError> {
        Writer::new(&self.dir, self.durability)
    }

    /// A view of the log as it is now. Cheap: take a new one to see what has come since.
    ///
    /// # Errors
    /// When the log's directory cannot be read, or a segment was made by a newer holdback.
    pub fn reader(&self) -> Result<Reader, LogError> {
        Reader::open(&self.dir)
    }
}
