//! What a run says while it runs, and whom it tells.

use serde_json::Value;

use crate::trace::Timestamp;
use crate::trial::Trial;

/// Something happened in a run.
#[derive(Debug, Clone)]
pub enum Event {
    /// It begins: so many trials, of which so many an earlier part has made.
    Started {
        run: String,
        planned: usize,
        finished: usize,
    },
    /// Something a person should know: which sandbox, what it can't do.
    Note(String),
    TrialStarted {
        task: String,
        variant: String,
        attempt: u32,
    },
    /// Infrastructure broke a trial; it is made again.
    Retrying {
        task: String,
        variant: String,
        attempt: u32,
        reason: String,
    },
    TrialDone {
        trial: Box<Trial>,
        tally: Tally,
    },
    /// A provider is asked less, or not at all for a while.
    Slowed {
        provider: String,
        at_once: usize,
        wait_seconds: f64,
    },
    /// No new trials are begun, and why.
    Stopping(String),
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tally {
    pub planned: usize,
    pub done: usize,
    pub passed: usize,
    pub failed: usize,
    pub invalid: usize,
    /// Trials that infrastructure or a grader broke.
    pub broken: usize,
    /// US dollars, as far as prices are known.
    pub spent_usd: f64,
    /// Trials whose cost is not known.
    pub unpriced: usize,
    /// Tries that were made again.
    pub retries: u32,
    pub elapsed_seconds: f64,
}

impl Tally {
    /// Seconds until the end at the pace so far.
    pub fn seconds_left(&self, done_before: usize) -> Option<f64> {
        let made = self.done.checked_sub(done_before).filter(|made| *made > 0)?;
        let left = self.planned.saturating_sub(self.done);
        Some(self.elapsed_seconds / made as f64 * left as f64)
    }
}

/// Keeps records of runs, trials and their evidence: the store, in the end. A trial counts as finished once its record is
/// kept, so one that is killed before is simply made again.
pub trait Keeper: Send {
    /// Keeps one record, in place of an older one of the same kind and id.
    ///
    /// # Errors
    /// Why it could not be kept, in words.
    fn keep(&mut self, kind: &str, id: &str, at: Timestamp, data: &Value) -> Result<(), String>;
}
