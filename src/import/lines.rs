//! Lines of a foreign file, one at a time and never more of one than fits: a byte order mark, CRLF, a last line without its
//! end and lines of hundreds of megabytes are all ordinary.

use std::io::{self, BufRead};

/// A line longer than this is passed over, not held in memory.
pub const LONGEST: usize = 64 << 20;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Its bytes, without the line's end. `last` when no newline followed: it may have been cut off.
    Whole { bytes: &'a [u8], last: bool },
    /// Too long to be looked at; so many bytes.
    TooLong { bytes: u64 },
}

/// Reads lines into one buffer.
pub struct Lines<R> {
    from: R,
    buffer: Vec<u8>,
    longest: usize,
    first: bool,
    /// Lines read so far, empty ones too.
    pub number: u64,
}

impl<R: BufRead> Lines<R> {
    pub fn new(from: R) -> Self {
        Lines { from, buffer: Vec::new(), longest: LONGEST, first: true, number: 0 }
    }

    /// With another limit, for tests that have no hundreds of megabytes.
    #[cfg(test)]
    fn at_most(from: R, longest: usize) -> Self {
        Lines { longest, ..Lines::new(from) }
    }

    /// The next line that has anything in it.
    ///
    /// # Errors
    /// When the file can't be read on.
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            // One long line must not keep its memory for the rest of the file.
            if self.buffer.capacity() > 8 << 20 {
                self.buffer = Vec::new();
            }
            self.buffer.clear();
            let (mut len, mut ended) = (0_u64, false);
            loop {
                let piece = self.from.fill_buf()?;
                if piece.is_empty() {
                    break;
                }
                let end = memchr::memchr(b'\n', piece);
                let part = &piece[..end.unwrap_or(piece.len())];
                len += part.len() as u64;
                if len <= self.longest as u64 {
                    self.buffer.extend_from_slice(part);
                } else {
                    self.buffer = Vec::new();
                }
                let used = part.len() + usize::from(end.is_some());
                self.from.consume(used);
                if end.is_some() {
                    ended = true;
                    break;
                }
            }
            if len == 0 && !ended {
                return Ok(None);
            }
            self.number += 1;
            if len > self.longest as u64 {
                self.first = false;
                return Ok(Some(Line::TooLong { bytes: len }));
            }
            let mark = usize::from(self.first && self.buffer.starts_with(b"\xef\xbb\xbf")) * 3;
            self.first = false;
            if !self.buffer[mark..].trim_ascii().is_empty() {
                return Ok(Some(Line::Whole { bytes: self.buffer[mark..].trim_ascii(), last: !ended }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8], longest: usize, piece: usize) -> Vec<String> {
        let mut lines = Lines::at_most(io::BufReader::with_capacity(piece, text), longest);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(match line {
                Line::Whole { bytes, last } => {
                    format!("{}{}", String::from_utf8_lossy(bytes), if last { "…" } else { "" })
                }
                Line::TooLong { bytes } => format!("<{bytes}>"),
            });
        }
        found
    }

    #[test]
    fn marks_and_line_ends_are_no_part_of_a_line() {
        for piece in [1, 3, 100] {
            assert_eq!(all(b"\xef\xbb\xbfa\r\n\r\n  b \n\nc", 100, piece), ["a", "b", "c…"]);
            assert_eq!(all(b"", 100, piece), Vec::<String>::new());
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_counted_and_the_next_is_read() {
        let text = [&b"x".repeat(50)[..], b"\nok\n", &b"y".repeat(9)[..]].concat();
        for piece in [1, 7, 100] {
            assert_eq!(all(&text, 8, piece), ["<50>", "ok", "<9>"]);
        }
    }
}
