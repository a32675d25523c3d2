//! Telling what a generator made from what a person wrote.

/// Whether a value has letters and digits.
pub fn is_mixed(value: &[u8]) -> bool {
    value.iter().any(u8::is_ascii_digit) && value.iter().any(u8::is_ascii_alphabetic)
}

/// Whether a value looks like random letters and digits. Words change between lower case, upper case and digits seldom,
/// and at their seams; random text does it at every second letter. A capital at the beginning of a word is no change.
pub fn is_random(value: &[u8]) -> bool {
    let class = |b: u8| match b {
        b'0'..=b'9' => Some(0),
        b'a'..=b'z' => Some(1),
        b'A'..=b'Z' => Some(2),
        _ => None,
    };
    let changes = value.windows(2).filter(|pair| match (class(pair[0]), class(pair[1])) {
        (Some(a), Some(b)) => a != b && (a, b) != (2, 1),
        _ => false,
    });
    let changes = changes.count();
    is_mixed(value) && value.iter().all(u8::is_ascii_graphic) && changes >= 4 && changes * 7 >= value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_not_random_and_keys_are() {
        let random = ["d41d8cd98f00b204e9800998ecf8427e", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY", "q8Zk2Lw0vT9xYb3N"];
        let words = [
            "claude-sonnet-4-5-20250929",
            "src/price/table.rs",
            "getUserByNameAndAddress",
            "2026-11-21T11:27:03",
            "process.env.TOKEN",
        ];
        for value in random {
            assert!(is_random(value.as_bytes()), "{value}");
        }
        for value in words {
            assert!(!is_random(value.as_bytes()), "{value}");
        }
    }
}
