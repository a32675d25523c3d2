//! The only place that asks the clock. Everything below the hands gets its time handed in.

use std::time::Instant;

use crate::trace::Timestamp;

/// Now, in microseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else is sent to")]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A point on a clock that never goes back, for measuring how long something took.
#[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else is sent to")]
pub fn tick() -> Instant {
    Instant::now()
}

/// Microseconds since `start`.
pub fn micros_since(start: Instant) -> u64 {
    u64::try_from(tick().saturating_duration_since(start).as_micros()).unwrap_or(u64::MAX)
}
