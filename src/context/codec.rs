//! Numbers and strings as bytes: the little that the log's binary parts are made of. Reading never trusts a length.

/// Appends a number, seven bits a byte, the lowest first.
pub fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a length and bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes things off the front of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Take<'a>(pub &'a [u8]);

impl<'a> Take<'a> {
    /// A number.
    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Some(number);
            }
        }
        None
    }

    /// A number that is a length or an index.
    pub fn size(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    /// How many things follow that take a byte or more each.
    pub fn count(&mut self) -> Option<usize> {
        self.size().filter(|count| *count <= self.0.len())
    }

    /// So many bytes.
    pub fn raw(&mut self, len: usize) -> Option<&'a [u8]> {
        let (raw, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(raw)
    }

    /// A length and bytes.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.size()?;
        self.raw(len)
    }

    /// A length and UTF-8.
    pub fn text(&mut self) -> Option<&'a str> {
        str::from_utf8(self.bytes()?).ok()
    }

    /// Sixteen bytes.
    pub fn half_hash(&mut self) -> Option<[u8; 16]> {
        self.raw(16)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_put_is_taken(numbers in prop::collection::vec(any::<u64>(), 0..8), bytes: Vec<u8>) {
            let mut out = Vec::new();
            numbers.iter().for_each(|number| put_number(&mut out, *number));
            put_bytes(&mut out, &bytes);
            let mut take = Take(&out);
            for number in numbers {
                prop_assert_eq!(take.number(), Some(number));
            }
            prop_assert_eq!(take.bytes(), Some(&bytes[..]));
            prop_assert!(take.0.is_empty());
        }

        #[test]
        fn nonsense_is_refused_and_never_read_beyond(bytes: Vec<u8>) {
            let mut take = Take(&bytes);
            while take.number().and_then(|_| take.bytes()).is_some() {}
            prop_assert!(take.0.len() <= bytes.len());
        }
    }
}
