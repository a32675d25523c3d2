//! Numbers as a page says them.

use crate::trace::Timestamp;

/// `$0.0123`, `$12.30`.
pub fn dollars(usd: f64) -> String {
    match usd {
        0.0 => "$0".to_owned(),
        usd if usd.abs() >= 100.0 => format!("${usd:.0}"),
        usd if usd.abs() >= 1.0 => format!("${usd:.2}"),
        usd if usd.abs() >= 0.001 => format!("${usd:.4}"),
        usd if usd.abs() >= 0.000_01 => format!("${usd:.6}"),
        usd => {
            // Two digits, wherever they begin.
            let places = (1.0 - usd.abs().log10().floor()).clamp(0.0, 20.0) as usize;
            format!("${usd:.places$}")
        }
    }
}

/// `45 ms`, `2.4 s`, `3 min 07 s`.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        s if s <= 0.0 => "0 s".to_owned(),
        s if s < 0.9995 => format!("{:.0} ms", s * 1e3),
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 119.5 => format!("{s:.0} s"),
        s => format!("{:.0} min {:02.0} s", (s / 60.0).floor(), s % 60.0),
    }
}

/// `512`, `12.3k`, `4.5M`.
pub fn tokens(count: f64) -> String {
    match count {
        n if n < 999.5 => format!("{n:.0}"),
        n if n < 9_995.0 => format!("{:.1}k", n / 1e3),
        n if n < 999_500.0 => format!("{:.0}k", n / 1e3),
        n => format!("{:.1}M", n / 1e6),
    }
}

/// `1 trial`, `2 trials`.
pub fn count(n: u64, one: &str) -> String {
    let ends = if n == 1 { "" } else { "s" };
    format!("{n} {one}{ends}")
}

/// `2026-11-21`.
pub fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

/// `2026-11-21 14:03`.
pub fn minute(at: Timestamp) -> String {
    at.to_string().chars().take(16).collect()
}

/// The beginning of a text, and an ellipsis where something is left out.
pub fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_as_people_say_them() {
        assert_eq!(
            [0.0, 0.000_002_5, 0.000_012, 0.0123, 4.2, 123.4].map(dollars),
            ["$0", "$0.0000025", "$0.000012", "$0.0123", "$4.20", "$123"]
        );
        assert_eq!([0.0, 0.0451, 2.44, 59.0, 187.0].map(seconds), ["0 s", "45 ms", "2.4 s", "59 s", "3 min 07 s"]);
        assert_eq!([512.0, 1_234.0, 45_600.0, 4_500_000.0].map(tokens), ["512", "1.2k", "46k", "4.5M"]);
        assert_eq!((count(1, "trial"), count(0, "trial")), ("1 trial".to_owned(), "0 trials".to_owned()));
        assert_eq!(shorten("abcdef", 3), "abc…");
    }
}
