//! A shadow: a sampled share of production calls is asked of a second model too, behind production's back. The tap stands after the
//! recorder, so a call is over, redacted and kept before it is even looked at; what the shadow does, meets or suffers never reaches
//! the loop. What comes of it is kept as comparisons.

mod asker;
mod tap;

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

pub use asker::{Shadow, ShadowError, ShadowSettings};
pub use tap::Tapped;

use crate::stats::rng::Rng;
use crate::trace::{CallId, Timestamp, TraceId};

/// The kind of record that says what a shadow was told to do and how far it came.
pub const SHADOW: &str = "shadow";
/// The kind of record of one answer held against another.
pub const COMPARISON: &str = "comparison";

/// Which calls are chosen: the same for the same seed and call, today and tomorrow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// From 0 to 1.
    pub sample: f64,
    pub seed: u64,
}

impl Sampling {
    /// Whether a call is chosen.
    pub fn chooses(&self, call: CallId) -> bool {
        Rng::nth(self.seed, call.0).uniform() < self.sample
    }
}

/// Where asking ends.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Limit {
    /// US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_usd: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
}

/// What a shadow was told to do and how far it came, kept again whenever that changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShadowRecord {
    pub id: String,
    pub model: String,
    #[serde(flatten)]
    pub sampling: Sampling,
    #[serde(flatten)]
    pub limit: Limit,
    pub started: Timestamp,
    /// The trace that its answers go to now.
    pub trace: TraceId,
    /// Production calls that came to a good end.
    pub seen: u64,
    /// Those of them that were chosen.
    pub sampled: u64,
    /// Of the chosen: asked, and answered.
    pub answered: u64,
    /// Asked, and not answered.
    pub failed: u64,
    /// Not asked: there was no room to wait in, or no time at the end.
    pub dropped: u64,
    /// Not asked: the limit was reached.
    pub withheld: u64,
    pub cost_usd: f64,
    /// Answers whose cost nobody knows.
    pub unpriced: u64,
    /// Why it asks no more, though production goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

impl ShadowRecord {
    /// Chosen calls that nothing is known of yet; when the proxy is gone, nothing ever will be.
    pub fn open(&self) -> u64 {
        self.sampled.saturating_sub(self.answered + self.failed + self.dropped + self.withheld)
    }
}

/// Numbers that both sides of the shadow count, and the metrics show.
#[derive(Debug, Default)]
pub struct Figures {
    pub seen: AtomicU64,
    pub sampled: AtomicU64,
    pub answered: AtomicU64,
    pub failed: AtomicU64,
    pub dropped: AtomicU64,
    pub withheld: AtomicU64,
    /// Bytes of chosen calls that wait.
    held: AtomicU64,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_chosen_and_the_same_one_each_time() {
        let sampling = Sampling { sample: 0.05, seed: 7 };
        let chosen = |seed: u64| {
            let sampling = Sampling { seed, ..sampling };
            (0..20_000).filter(|call| sampling.chooses(CallId(*call))).collect::<Vec<u64>>()
        };
        let first = chosen(7);
        // Five standard deviations of a binomial count.
        assert!(first.len().abs_diff(1_000) < 155, "{}", first.len());
        assert_eq!(first, chosen(7));
        assert_ne!(first, chosen(8));
        assert!(Sampling { sample: 1.0, seed: 0 }.chooses(CallId(u64::MAX)));
        assert!(!Sampling { sample: 0.0, seed: 0 }.chooses(CallId(3)));
    }
}
