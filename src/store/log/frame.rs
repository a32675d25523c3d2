//! The frame around every record: a marker to find it by, a length, a checksum. A reader that meets damage looks for
//! the next marker and goes on from there.

use std::io::Cursor;

use bytes::Bytes;

use crate::context::codec::{Take, put_bytes, put_number};

/// Marks the beginning of a frame.
pub const MARKER: [u8; 4] = [0xd7, b'h', b'b', 0x1a];
/// Bytes before the payload: marker, kind, flags, two zeros, length, checksum.
pub const HEAD: usize = 16;
/// The payload is a number (its length when unpacked) and a zstd frame.
const PACKED: u8 = 1;
/// Payloads below this are not worth packing.
const SMALL: usize = 160;
/// Fast enough to keep up with a gigabyte a second of growing histories; see benches/log.rs for what levels cost.
const LEVEL: i32 = 1;

/// What a frame says of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub kind: u8,
    flags: u8,
    /// Length of the payload on disk.
    pub len: u32,
    checksum: u32,
}

impl Head {
    /// Reads a frame's first bytes; `None` when they are no frame's.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..HEAD)?;
        let number = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let known = head[..4] == MARKER && head[5] & !PACKED == 0 && head[6..8] == [0, 0];
        known.then_some(Head { kind: head[4], flags: head[5], len: number(8)?, checksum: number(12)? })
    }

    /// Bytes of the whole frame on disk.
    pub fn frame_len(self) -> u64 {
        HEAD as u64 + u64::from(self.len)
    }

    fn checksum(kind: u8, flags: u8, payload: &[u8], salt: u32) -> u32 {
        let mut sum = crc32fast::Hasher::new_with_initial(salt);
        sum.update(&[kind, flags]);
        sum.update(&(payload.len() as u64).to_le_bytes());
        sum.update(payload);
        sum.finalize()
    }

    /// Whether the payload is the one that was written.
    pub fn fits(self, payload: &[u8], salt: u32) -> bool {
        payload.len() == self.len as usize && Head::checksum(self.kind, self.flags, payload, salt) == self.checksum
    }
}

/// Makes frames.
pub struct Framer {
    packer: zstd::bulk::Compressor<'static>,
    raw: Vec<u8>,
    out: Vec<u8>,
}

impl std::fmt::Debug for Framer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Framer").finish_non_exhaustive()
    }
}

impl Framer {
    /// A framer.
    ///
    /// # Errors
    /// When zstd cannot get its memory.
    pub fn new() -> std::io::Result<Self> {
        Ok(Framer { packer: zstd::bulk::Compressor::new(LEVEL)?, raw: Vec::new(), out: Vec::new() })
    }

    /// One frame around a record's three parts, the data in as many slices as it comes in. `salt` is the segment's: a
    /// copy of a frame elsewhere is no frame. `None` when it is more than a frame can hold.
    pub fn frame(&mut self, kind: u8, salt: u32, meta: &[u8], plan: &[u8], data: &[&[u8]]) -> Option<&[u8]> {
        const KEEP: usize = 4 << 20;
        self.raw.clear();
        let len = data.iter().map(|part| part.len()).sum::<usize>();
        self.raw.reserve(meta.len() + plan.len() + 20 + len);
        put_bytes(&mut self.raw, meta);
        put_bytes(&mut self.raw, plan);
        data.iter().for_each(|part| self.raw.extend_from_slice(part));
        self.out.clear();
        self.out.resize(HEAD, 0);
        let flags = if self.pack() { PACKED } else { 0 };
        if flags == 0 {
            self.out.truncate(HEAD);
            self.out.extend_from_slice(&self.raw);
        }
        if self.raw.capacity() > KEEP {
            self.raw = Vec::new();
        }
        let payload = &self.out[HEAD..];
        let len = u32::try_from(payload.len()).ok()?;
        let checksum = Head::checksum(kind, flags, payload, salt);
        self.out[..4].copy_from_slice(&MARKER);
        self.out[4..6].copy_from_slice(&[kind, flags]);
        self.out[8..12].copy_from_slice(&len.to_le_bytes());
        self.out[12..16].copy_from_slice(&checksum.to_le_bytes());
        Some(&self.out)
    }

    /// Packs `raw` behind the head in `out`; says whether that was worth it.
    fn pack(&mut self) -> bool {
        if self.raw.len() < SMALL {
            return false;
        }
        put_number(&mut self.out, self.raw.len() as u64);
        let start = self.out.len();
        // Room that is not filled with zeros first.
        self.out.reserve(zstd::zstd_safe::compress_bound(self.raw.len()));
        let mut behind = Cursor::new(&mut self.out);
        behind.set_position(start as u64);
        let packed = self.packer.compress_to_buffer(&self.raw, &mut behind);
        packed.is_ok_and(|len| len < self.raw.len() - self.raw.len() / 16)
    }

    /// Gives back memory that one huge record took.
    pub fn relax(&mut self) {
        const KEEP: usize = 4 << 20;
        if self.out.capacity() > KEEP {
            self.out = Vec::new();
        }
    }
}

/// Unpacks payloads.
pub struct Unpacker(zstd::bulk::Decompressor<'static>);

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

impl Unpacker {
    /// An unpacker.
    ///
    /// # Errors
    /// When zstd cannot get its memory.
    pub fn new() -> std::io::Result<Self> {
        Ok(Unpacker(zstd::bulk::Decompressor::new()?))
    }

    /// A payload as it was before it was packed. `None` when it isn't what its head says.
    pub fn unpack(&mut self, head: Head, payload: Bytes) -> Option<Bytes> {
        if head.flags & PACKED == 0 {
            return Some(payload);
        }
        let mut take = Take(&payload);
        let len = take.size()?;
        // zstd cannot make more than this of so few bytes; a length beyond it is nonsense and not to be allocated.
        const MOST_PER_BYTE: usize = 1 << 16;
        if len > take.0.len().saturating_mul(MOST_PER_BYTE) {
            return None;
        }
        let mut raw = Vec::with_capacity(len);
        self.0.decompress_to_buffer(take.0, &mut raw).ok().filter(|got| *got == len)?;
        Some(raw.into())
    }
}

/// A record's three parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// JSON: what it is, of which trace, when.
    pub meta: Bytes,
    /// Binary: how a body is put together, or when its pieces arrived.
    pub plan: Bytes,
    pub data: Bytes,
}

impl Parts {
    /// Takes an unpacked payload apart.
    pub fn of(payload: &Bytes) -> Option<Self> {
        let mut take = Take(payload);
        let meta = payload.slice_ref(take.bytes()?);
        let plan = payload.slice_ref(take.bytes()?);
        Some(Parts { meta, plan, data: payload.slice_ref(take.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_give_back_what_was_put_in_and_notice_every_flipped_bit(
            meta in prop::collection::vec(any::<u8>(), 0..50),
            repeats in 0usize..2000,
            flip: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let data = b"word ".repeat(repeats);
            let mut framer = Framer::new().unwrap();
            let frame = framer.frame(3, 7, &meta, b"plan", &[&data[..3.min(data.len())], &data[3.min(data.len())..]]).unwrap().to_vec();
            let head = Head::parse(&frame).unwrap();
            let payload = Bytes::copy_from_slice(&frame[HEAD..]);
            prop_assert_eq!(head.frame_len(), frame.len() as u64);
            prop_assert!(head.fits(&payload, 7));
            prop_assert!(!head.fits(&payload, 8));
            let parts = Unpacker::new().unwrap().unpack(head, payload).and_then(|p| Parts::of(&p)).unwrap();
            prop_assert_eq!((&parts.meta[..], &parts.plan[..], &parts.data[..]), (&meta[..], &b"plan"[..], &data[..]));

            let mut broken = frame;
            let at = flip.index(broken.len());
            broken[at] ^= 1 << bit;
            let seen = Head::parse(&broken).is_some_and(|head| head.fits(&broken[HEAD..], 7));
            prop_assert!(!seen);
        }
    }
}
