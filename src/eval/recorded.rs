//! What has been recorded and serves a suite: as something to grade, to ask again, to compare with, or as a tape.

use bytes::Bytes;

use crate::grade;
use crate::replay::{KeptTool, Reel};
use crate::trace::{Headers, Message, TraceId, Wire};
use crate::trial::Ending;

/// A recorded trace, as graders and the target `trace` need it.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    pub trace: Option<TraceId>,
    pub opening: Vec<Message>,
    pub steps: Vec<grade::Step>,
    /// How it ended; a trace that never said so counts as ended well.
    pub ending: Option<Ending>,
    /// Its last request, as it was asked.
    pub frozen: Option<Frozen>,
}

/// A request that can be asked again.
#[derive(Debug, Clone, Default)]
pub struct Frozen {
    pub wire: Wire,
    pub target: String,
    pub headers: Headers,
    pub body: Bytes,
}

/// A recorded trace that is to answer a loop.
pub struct Reeled {
    pub reel: Reel,
    /// What stand-ins kept of its tools.
    pub tools: Vec<KeptTool>,
    /// Where its loop ran.
    pub cwd: Option<String>,
    /// It was a trial of eval, with folders laid out as those of trials are.
    pub trial: bool,
    /// The store has it, and it may be named as a parent.
    pub stored: bool,
}

/// Finds recorded traces by id, prefix or name: the store, in the end.
pub trait Traces: Send + Sync {
    /// The trace a word means.
    ///
    /// # Errors
    /// Why there is none, in words.
    fn find(&self, word: &str) -> Result<Recorded, String>;

    /// The same, to be played.
    ///
    /// # Errors
    /// Why there is none, in words.
    fn tape(&self, word: &str) -> Result<Reeled, String> {
        Err(format!("there is no tape {word:?}: no store is open"))
    }
}

/// No traces at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTraces;

impl Traces for NoTraces {
    fn find(&self, word: &str) -> Result<Recorded, String> {
        Err(format!("there is no trace {word:?}: no store is open"))
    }
}
