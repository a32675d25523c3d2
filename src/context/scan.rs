//! Finding where JSON values end, without reading them: no recursion, no allocation, no opinion on what is inside.
//! Whatever isn't JSON makes these functions say `None`, never panic; callers keep such bytes as they are.

use std::ops::Range;

/// The first byte at or after `at` that isn't white space.
pub fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// Where the string ends whose opening quote is at `at`.
pub fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let start = at + 1;
    let mut at = start;
    loop {
        // Quotes are rarer than backslashes: a text full of line breaks is stepped over at the speed of memory.
        let found = at + memchr::memchr(b'"', bytes.get(at..)?)?;
        let backslashes = bytes[start..found].iter().rev().take_while(|byte| **byte == b'\\').count();
        if backslashes.is_multiple_of(2) {
            return Some(found + 1);
        }
        at = found + 1;
    }
}

/// Bytes that mean something between strings: quotes and brackets.
const MARKS: [bool; 256] = {
    let mut marks = [false; 256];
    marks[b'"' as usize] = true;
    marks[b'{' as usize] = true;
    marks[b'}' as usize] = true;
    marks[b'[' as usize] = true;
    marks[b']' as usize] = true;
    marks
};

/// Where the value ends that begins at `at`. Brackets are counted, not matched: `[}` ends too.
pub fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => string_end(bytes, at),
        b'{' | b'[' => {
            let mut depth = 1usize;
            let mut at = at + 1;
            loop {
                at += bytes.get(at..)?.iter().position(|byte| MARKS[usize::from(*byte)])?;
                match bytes[at] {
                    b'"' => {
                        at = string_end(bytes, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    _ => depth -= 1,
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        b',' | b':' | b'}' | b']' => None,
        _ => {
            let rest = &bytes[at..];
            let len = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'));
            Some(at + len.unwrap_or(rest.len()))
        }
    }
}

/// One member of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The key, between its quotes, as it is spelt.
    pub key: Range<usize>,
    pub value: Range<usize>,
}

/// The key that begins at `at` (a quote), and where its value begins.
pub fn key_at(bytes: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let end = string_end(bytes, at)?;
    let colon = skip_space(bytes, end);
    (bytes.get(colon) == Some(&b':')).then(|| (at + 1..end - 1, skip_space(bytes, colon + 1)))
}

/// Walks the members of the object at `at` and returns where it ends.
pub fn members(bytes: &[u8], at: usize, mut each: impl FnMut(Member)) -> Option<usize> {
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    let mut at = skip_space(bytes, at + 1);
    if bytes.get(at) == Some(&b'}') {
        return Some(at + 1);
    }
    loop {
        let (key, value) = key_at(bytes, at)?;
        let end = value_end(bytes, value)?;
        each(Member { key, value: value..end });
        at = skip_space(bytes, end);
        match bytes.get(at)? {
            b',' => at = skip_space(bytes, at + 1),
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// How many bytes two slices share from the start.
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const STEP: usize = 4096;
    let most = a.len().min(b.len());
    let mut at = 0;
    while at + STEP <= most && a[at..at + STEP] == b[at..at + STEP] {
        at += STEP;
    }
    let end = (at + STEP).min(most);
    at + a[at..end].iter().zip(&b[at..end]).take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_end_where_json_says() {
        let cases: &[(&str, Option<usize>)] = &[
            ("\"a\\\"b\" ,", Some(6)),
            ("{\"a\":[1,{\"}\":2}]}x", Some(17)),
            ("12.5e3,", Some(6)),
            ("true", Some(4)),
            ("[]", Some(2)),
            ("[", None),
            ("\"open\\", None),
            ("\"open\\\"", None),
            (",", None),
            ("", None),
        ];
        for (text, end) in cases {
            assert_eq!(value_end(text.as_bytes(), 0), *end, "{text}");
        }
    }

    #[test]
    fn ten_thousand_levels_deep_is_no_deeper_than_one() {
        let text = [vec![b'['; 10_000], vec![b']'; 10_000]].concat();
        assert_eq!(value_end(&text, 0), Some(20_000));
        assert_eq!(value_end(&text[..19_999], 0), None);
    }

    #[test]
    fn members_come_in_order_with_their_ranges_and_duplicates() {
        let text = br#"{ "a" : 1 , "b":[2], "a":"x" }"#;
        let mut seen = Vec::new();
        let end = members(text, 0, |m| seen.push((text[m.key].to_vec(), text[m.value].to_vec())));
        assert_eq!(end, Some(text.len()));
        let seen: Vec<_> = seen.iter().map(|(k, v)| (str::from_utf8(k).unwrap(), str::from_utf8(v).unwrap())).collect();
        assert_eq!(seen, [("a", "1"), ("b", "[2]"), ("a", "\"x\"")]);
        for broken in ["{", "{\"a\"}", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "[]"] {
            assert_eq!(members(broken.as_bytes(), 0, |_| ()), None, "{broken}");
        }
    }

    proptest! {
        #[test]
        fn a_string_ends_at_the_first_quote_that_is_not_escaped(text in "\"[\"\\\\a]{0,12}") {
            let (mut escaped, mut end) = (false, None);
            for (at, byte) in text.bytes().enumerate().skip(1) {
                match byte {
                    b'"' if !escaped => {
                        end = Some(at + 1);
                        break;
                    }
                    byte => escaped = byte == b'\\' && !escaped,
                }
            }
            prop_assert_eq!(string_end(text.as_bytes(), 0), end);
        }
    }

    #[test]
    fn common_prefixes_are_exact_on_both_sides_of_a_step() {
        for len in [0, 1, 4095, 4096, 4097, 9000] {
            let a = vec![7; len];
            let mut b = a.clone();
            assert_eq!(common_prefix(&a, &b), len);
            for at in [0, len / 2, len.saturating_sub(1)] {
                if at < len {
                    b[at] = 8;
                    assert_eq!(common_prefix(&a, &b), at);
                    b[at] = 7;
                }
            }
        }
    }
}
