//! Brakes: limits set before a run and held by the proxy. From the limit on, every call gets the same final answer.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::clock;

/// Limits of one trace; none by default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Brakes {
    pub max_calls: Option<u64>,
    /// US dollars, as far as prices are known.
    pub max_cost: Option<f64>,
    /// Tokens read and written, cached ones too.
    pub max_tokens: Option<u64>,
    pub max_minutes: Option<f64>,
    /// Stop when the loop goes round in circles (see [`crate::signal`]).
    pub stop_on_stuck: bool,
}

impl Brakes {
    /// Whether any of them needs to know what calls used before the next may go.
    pub(super) fn need_totals(&self) -> bool {
        self.max_cost.is_some() || self.max_tokens.is_some() || self.stop_on_stuck
    }
}

/// A brake that has been pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// `max-calls`, `max-cost`, `max-tokens`, `max-minutes` or `stuck`.
    pub brake: &'static str,
    /// What the limit was and how far the trace had come.
    pub why: String,
}

/// The brakes of a running trace and what it has used so far.
#[derive(Debug)]
pub(super) struct Held {
    limits: Brakes,
    began: Instant,
    calls: AtomicU64,
    /// Calls that were let through and have not ended.
    flying: AtomicU64,
    tokens: AtomicU64,
    /// In hundred-millionths of a dollar, so that sums of many small prices stay exact.
    cost: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
    pulled: OnceLock<Pulled>,
}

const COST_UNITS: f64 = 1e8;

impl Held {
    pub(super) fn new(limits: Brakes) -> Self {
        Held {
            limits,
            began: clock::tick(),
            calls: AtomicU64::new(0),
            flying: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            cost: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            pulled: OnceLock::new(),
        }
    }

    pub(super) fn limits(&self) -> &Brakes {
        &self.limits
    }

    /// Asks to let one more call through: its turn (calls before it), or the brake that says no.
    pub(super) fn enter(&self) -> Result<u64, &Pulled> {
        self.check_clock();
        if let Some(pulled) = self.pulled.get() {
            return Err(self.refuse(pulled));
        }
        let turn = self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(max) = self.limits.max_calls
            && turn >= max
        {
            self.calls.fetch_sub(1, Ordering::Relaxed);
            return Err(self.refuse(self.pull("max-calls", format!("{max} calls were allowed and have been made"))));
        }
        self.flying.fetch_add(1, Ordering::Relaxed);
        Ok(turn)
    }

    /// A call that was let through has ended, and this is what it used.
    pub(super) fn leave(&self, tokens: u64, cost: Option<f64>) {
        self.flying.fetch_sub(1, Ordering::Relaxed);
        let tokens = self.tokens.fetch_add(tokens, Ordering::Relaxed) + tokens;
        let units = units(cost.unwrap_or(0.0));
        let units = self.cost.fetch_add(units, Ordering::Relaxed) + units;
        if let Some(max) = self.limits.max_tokens
            && tokens >= max
        {
            self.pull("max-tokens", format!("{max} tokens were allowed, {tokens} have been used"));
        }
        if let Some(max) = self.limits.max_cost
            && as_dollars(units) >= max
        {
            self.pull("max-cost", format!("${max} was allowed, ${:.6} has been spent", as_dollars(units)));
        }
    }

    /// The loop goes round in circles, says the signal.
    pub(super) fn stuck(&self, why: String) {
        if self.limits.stop_on_stuck {
            self.pull("stuck", why);
        }
    }

    pub(super) fn pulled(&self) -> Option<&Pulled> {
        self.pulled.get()
    }

    pub(super) fn flying(&self) -> u64 {
        self.flying.load(Ordering::Relaxed)
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// A call could not be handed to the recorder at all.
    pub(super) fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn check_clock(&self) {
        if let Some(max) = self.limits.max_minutes {
            let minutes = clock::tick().saturating_duration_since(self.began).as_secs_f64() / 60.0;
            if minutes >= max {
                self.pull("max-minutes", format!("{max} minutes were allowed and are over"));
            }
        }
    }

    fn pull(&self, brake: &'static str, why: String) -> &Pulled {
        self.pulled.get_or_init(|| Pulled { brake, why })
    }

    fn refuse<'a>(&self, pulled: &'a Pulled) -> &'a Pulled {
        self.refused.fetch_add(1, Ordering::Relaxed);
        pulled
    }
}

/// US dollars in hundred-millionths.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a price is small and not negative")]
pub(super) fn units(dollars: f64) -> u64 {
    (dollars.max(0.0) * COST_UNITS).round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "sums of money below 90 million dollars are exact")]
fn as_dollars(units: u64) -> f64 {
    units as f64 / COST_UNITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_before_they_go() {
        let held = Held::new(Brakes { max_calls: Some(2), ..Brakes::default() });
        assert_eq!((held.enter(), held.enter()), (Ok(0), Ok(1)));
        for _ in 0..3 {
            assert_eq!(held.enter().unwrap_err().brake, "max-calls");
        }
        assert_eq!((held.refused(), held.flying()), (3, 2));
    }

    #[test]
    fn tokens_and_money_are_counted_when_a_call_has_ended_and_the_first_brake_stays_the_reason() {
        let held = Held::new(Brakes { max_tokens: Some(100), max_cost: Some(0.5), ..Brakes::default() });
        held.enter().unwrap();
        held.leave(40, Some(0.25));
        held.enter().unwrap();
        held.leave(10, Some(0.25));
        assert_eq!(held.enter().unwrap_err().why, "$0.5 was allowed, $0.500000 has been spent");
        held.leave(1000, None);
        assert_eq!(held.pulled().unwrap().brake, "max-cost");
    }

    #[test]
    fn no_brake_is_ever_pulled_unasked() {
        let held = Held::new(Brakes::default());
        held.stuck("round and round".into());
        held.leave(u64::MAX / 2, Some(1e6));
        assert!(held.enter().is_ok());
        let held = Held::new(Brakes { stop_on_stuck: true, max_minutes: Some(0.0), ..Brakes::default() });
        held.stuck("round and round".into());
        assert_eq!(held.enter().unwrap_err().brake, "stuck");
        assert_eq!(
            Held::new(Brakes { max_minutes: Some(0.0), ..Brakes::default() }).enter().unwrap_err().brake,
            "max-minutes"
        );
    }
}
