//! How much each provider is asked at once: less when it says it is too much, more again when all goes well.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The longest a provider is left alone without having asked for more.
const LONGEST: Duration = Duration::from_secs(60);
/// Complaints within this time are about the same burst.
const BURST: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Gate {
    /// How many may run at once, in parts: it grows by a fraction with each that went well.
    limit: f64,
    running: usize,
    closed_until: Option<Instant>,
    slowed: Option<Instant>,
    /// How long it was left alone last time.
    last_wait: Duration,
}

/// A gate for every provider.
#[derive(Debug)]
pub struct Gates {
    most: usize,
    gates: HashMap<String, Gate>,
}

impl Gates {
    /// Gates that let so many through at once.
    pub fn new(most: usize) -> Self {
        Gates { most, gates: HashMap::new() }
    }

    fn gate(&mut self, provider: &str) -> &mut Gate {
        let most = self.most as f64;
        self.gates.entry(provider.to_owned()).or_insert_with(|| Gate {
            limit: most,
            running: 0,
            closed_until: None,
            slowed: None,
            last_wait: Duration::ZERO,
        })
    }

    /// Whether another trial of that provider may begin.
    pub fn is_open(&self, provider: &str, now: Instant) -> bool {
        self.gates.get(provider).is_none_or(|gate| {
            (gate.running as f64) < gate.limit.floor().max(1.0) && gate.closed_until.is_none_or(|until| until <= now)
        })
    }

    /// When the next closed gate opens; `None` when none is closed by time.
    pub fn next_opening(&self, now: Instant) -> Option<Duration> {
        let waits = self.gates.values().filter_map(|gate| gate.closed_until?.checked_duration_since(now));
        waits.min().map(|wait| wait + Duration::from_millis(1))
    }

    /// A trial begins.
    pub fn enter(&mut self, provider: &str) {
        self.gate(provider).running += 1;
    }

    /// A trial has ended.
    pub fn leave(&mut self, provider: &str, well: bool) {
        let most = self.most as f64;
        let gate = self.gate(provider);
        gate.running = gate.running.saturating_sub(1);
        if well {
            gate.limit = (gate.limit + 1.0 / gate.limit.max(1.0)).min(most);
            gate.last_wait = Duration::ZERO;
        }
    }

    /// Nothing of that provider for a while.
    pub fn pause(&mut self, provider: &str, wait: Duration, now: Instant) {
        let gate = self.gate(provider);
        let until = now + wait;
        gate.closed_until = Some(gate.closed_until.map_or(until, |old| old.max(until)));
    }

    /// The provider complains. Half as many from now on, and a pause: as long as it asked for, or longer each time. `None`
    /// when it is still the same burst that it complains of.
    pub fn slow(&mut self, provider: &str, retry_after: Option<f64>, now: Instant) -> Option<(usize, Duration)> {
        let gate = self.gate(provider);
        let asked = retry_after.map(|seconds| Duration::from_secs_f64(seconds.min(3600.0)));
        if gate.slowed.is_some_and(|slowed| now.saturating_duration_since(slowed) < BURST) {
            if let Some(wait) = asked {
                self.pause(provider, wait, now);
            }
            return None;
        }
        gate.slowed = Some(now);
        gate.limit = (gate.limit.min(gate.running.max(1) as f64) / 2.0).max(1.0);
        let wait = asked.unwrap_or_else(|| (gate.last_wait * 2).clamp(BURST, LONGEST));
        gate.last_wait = wait;
        let at_once = gate.limit.floor().max(1.0);
        self.pause(provider, wait, now);
        Some((at_once as usize, wait))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a point in time to count from")]
mod tests {
    use super::*;

    #[test]
    fn complaints_halve_and_successes_grow() {
        let (mut gates, start) = (Gates::new(8), Instant::now());
        let at = |millis: u64| start + Duration::from_millis(millis);
        for _ in 0..8 {
            assert!(gates.is_open("p", at(0)));
            gates.enter("p");
        }
        assert!(!gates.is_open("p", at(0)));
        assert!(gates.is_open("other", at(0)));
        assert_eq!(gates.slow("p", None, at(0)), Some((4, Duration::from_secs(1))));
        assert_eq!(gates.slow("p", None, at(500)), None, "the same burst");
        assert_eq!(gates.slow("p", Some(7.0), at(1500)), Some((2, Duration::from_secs(7))));
        assert_eq!(gates.next_opening(at(1500)), Some(Duration::from_millis(7001)));
        for _ in 0..8 {
            gates.leave("p", true);
        }
        assert!(!gates.is_open("p", at(8000)), "closed for as long as it asked");
        assert!(gates.is_open("p", at(8501)));
        let mut begun = 0;
        while gates.is_open("p", at(9000)) {
            gates.enter("p");
            begun += 1;
        }
        assert!((3..8).contains(&begun), "grown again, but slowly: {begun}");
    }

    #[test]
    fn waits_grow_while_nothing_goes_well() {
        let (mut gates, start) = (Gates::new(2), Instant::now());
        let mut waits = Vec::new();
        for minute in 0..8_u64 {
            waits.extend(
                gates.slow("p", None, start + Duration::from_secs(minute * 61)).map(|(_, wait)| wait.as_secs()),
            );
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
