//! Points in time as other tools write them: ISO 8601 with and without a zone, seconds, milli-, micro- and nanoseconds.

use serde_json::Value;

use crate::trace::Timestamp;

/// A point in time out of whatever stands there; `None` for what is none.
pub fn read(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => of_number(number.as_f64()?),
        Value::String(text) => of_text(text),
        // OpenTelemetry's JavaScript writes [seconds, nanoseconds].
        Value::Array(pair) => match &pair[..] {
            [seconds, nanos] => {
                let micros = seconds.as_i64()?.checked_mul(1_000_000)?.checked_add(nanos.as_i64()? / 1000)?;
                sensible(micros)
            }
            _ => None,
        },
        _ => None,
    }
}

/// A point in time out of a text.
pub fn of_text(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return of_number(number);
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return sensible(time.as_microsecond());
    }
    // Python likes to leave the zone away: UTC then, as everywhere here.
    let time = text.parse::<jiff::civil::DateTime>().ok()?;
    sensible(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_microsecond())
}

/// The unit is told by the size: any time between 1973 and 5138 fits exactly one.
fn of_number(number: f64) -> Option<Timestamp> {
    let micros = match number {
        n if !n.is_finite() || n < 1e8 => return None,
        n if n < 1e11 => n * 1e6,
        n if n < 1e14 => n * 1e3,
        n if n < 1e17 => n,
        n => n / 1e3,
    };
    sensible(micros as i64)
}

/// Clocks go wrong; times before 1970 or after the year 9999 are no times.
fn sensible(micros: i64) -> Option<Timestamp> {
    (0..=253_402_300_799_999_999).contains(&micros).then_some(Timestamp(micros))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_moment_in_many_spellings() {
        let moment = Timestamp(1_765_233_665_292_000);
        for value in [
            json!("2025-12-08T22:41:05.292Z"),
            json!("2025-12-08T23:41:05.292+01:00"),
            json!("2025-12-08T22:41:05.292"),
            json!("2025-12-08 22:41:05.292"),
            json!(1_765_233_665_292_i64),
            json!(1_765_233_665.292),
            json!("1765233665292000000"),
            json!([1_765_233_665, 292_000_000]),
        ] {
            assert_eq!(read(&value), Some(moment), "{value}");
        }
        for value in [json!(null), json!("yesterday"), json!(-5), json!(17), json!([1]), json!(1e300), json!("nan")] {
            assert_eq!(read(&value), None, "{value}");
        }
    }
}
