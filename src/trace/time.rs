//! Points in time as the store keeps them: microseconds since 1970 in UTC.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A point in time. It is always handed in: nothing below the hands asks a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Microseconds from `earlier` to this; 0 when a clock was set back in between.
    pub fn micros_since(self, earlier: Timestamp) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

impl fmt::Display for Timestamp {
    /// `2026-11-21 11:27:03.123456`, UTC, the way DuckDB reads a TIMESTAMP.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{}", time.strftime("%Y-%m-%d %H:%M:%S.%6f")),
            Err(_) => write!(f, "{} us since 1970", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_in_utc_to_the_microsecond() {
        assert_eq!(Timestamp(1_700_000_000_000_001).to_string(), "2023-11-14 22:13:20.000001");
        assert_eq!(Timestamp(i64::MAX).to_string(), "9223372036854775807 us since 1970");
    }

    #[test]
    fn a_clock_set_back_gives_no_time_at_all() {
        assert_eq!(Timestamp(5).micros_since(Timestamp(9)), 0);
        assert_eq!(Timestamp(9).micros_since(Timestamp(5)), 4);
    }
}
