//! Which known word was probably meant.

/// Edits (insertions, deletions, replacements) that turn one text into the other, counted in characters.
///
/// ```
/// assert_eq!(holdback::suite::distance("kitten", "sitting"), 3);
/// ```
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = corner + usize::from(from != *to);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

/// The known word nearest to `word`, when one is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let simple = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let wanted = simple(word);
    let (edits, best) = known
        .into_iter()
        .map(|candidate| (distance(&wanted, &simple(candidate)), candidate))
        .min_by_key(|(edits, _)| *edits)?;
    (edits <= 1 + best.len().min(word.len()) / 3).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted_in_characters() {
        for (a, b, edits) in [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("gräder", "grader", 1), ("ab", "ba", 2)] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let known = ["tasks", "trials", "graders", "tool_calls"];
        for (word, want) in [
            ("task", Some("tasks")),
            ("trails", Some("trials")),
            ("tool-calls", Some("tool_calls")),
            ("Graders", Some("graders")),
            ("zzz", None),
        ] {
            assert_eq!(nearest(word, known), want, "{word}");
        }
        assert_eq!(nearest("x", []), None);
    }
}
