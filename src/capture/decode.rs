//! Takes the content-encoding off bodies, for keeping. What is forwarded stays as it is.

use std::io::Write;

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// A body that unpacks to more than this is kept packed: a few bytes can unpack to anything.
pub(super) const LIMIT: usize = 512 << 20;

/// Unpacks a body piece by piece.
pub(super) enum Decoder {
    Plain(Vec<u8>),
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zlib(Box<ZlibDecoder<Vec<u8>>>),
    Deflate(Box<DeflateDecoder<Vec<u8>>>),
    Brotli(Box<brotli::DecompressorWriter<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Vec<u8>>>),
}

/// Bytes that cannot be unpacked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Decoder {
    /// For a `content-encoding` as a header names it; `None` for one that isn't known, or several at once. `first` is the
    /// beginning of the body: some servers call raw deflate what should be zlib.
    pub(super) fn new(encoding: &str, first: &[u8]) -> Option<Self> {
        let encoding = encoding.trim().to_ascii_lowercase();
        Some(match encoding.as_str() {
            "" | "identity" => Decoder::Plain(Vec::new()),
            "gzip" | "x-gzip" => Decoder::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            "deflate" if is_zlib(first) => Decoder::Zlib(Box::new(ZlibDecoder::new(Vec::new()))),
            "deflate" => Decoder::Deflate(Box::new(DeflateDecoder::new(Vec::new()))),
            "br" => Decoder::Brotli(Box::new(brotli::DecompressorWriter::new(Vec::new(), 16 * 1024))),
            "zstd" => Decoder::Zstd(Box::new(zstd::stream::write::Decoder::new(Vec::new()).ok()?)),
            _ => return None,
        })
    }

    /// Takes the next bytes and says how many came out of them.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let before = self.out().len();
        // In slices, so that the limit is noticed before memory is gone.
        for slice in bytes.chunks(64 * 1024) {
            let done = match self {
                Decoder::Plain(out) => out.write_all(slice),
                Decoder::Gzip(decoder) => decoder.write_all(slice).and_then(|()| decoder.flush()),
                Decoder::Zlib(decoder) => decoder.write_all(slice).and_then(|()| decoder.flush()),
                Decoder::Deflate(decoder) => decoder.write_all(slice).and_then(|()| decoder.flush()),
                Decoder::Brotli(decoder) => decoder.write_all(slice).and_then(|()| decoder.flush()),
                Decoder::Zstd(decoder) => decoder.write_all(slice).and_then(|()| decoder.flush()),
            };
            if done.is_err() || self.out().len() > LIMIT {
                return Err(Broken);
            }
        }
        Ok(self.out().len() - before)
    }

    /// Everything that came out.
    pub(super) fn finish(mut self) -> Vec<u8> {
        std::mem::take(match &mut self {
            Decoder::Plain(out) => out,
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Zlib(decoder) => decoder.get_mut(),
            Decoder::Deflate(decoder) => decoder.get_mut(),
            Decoder::Brotli(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
        })
    }

    fn out(&self) -> &Vec<u8> {
        match self {
            Decoder::Plain(out) => out,
            Decoder::Gzip(decoder) => decoder.get_ref(),
            Decoder::Zlib(decoder) => decoder.get_ref(),
            Decoder::Deflate(decoder) => decoder.get_ref(),
            Decoder::Brotli(decoder) => decoder.get_ref(),
            Decoder::Zstd(decoder) => decoder.get_ref(),
        }
    }
}

fn is_zlib(first: &[u8]) -> bool {
    matches!(first, [method, flags, ..] if method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(encoding: &str, text: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::default();
        match encoding {
            "gzip" => {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), level);
                out.write_all(text).unwrap();
                out.finish().unwrap()
            }
            "zlib" => {
                let mut out = flate2::write::ZlibEncoder::new(Vec::new(), level);
                out.write_all(text).unwrap();
                out.finish().unwrap()
            }
            "raw" => {
                let mut out = flate2::write::DeflateEncoder::new(Vec::new(), level);
                out.write_all(text).unwrap();
                out.finish().unwrap()
            }
            "br" => {
                let mut out = Vec::new();
                brotli::BrotliCompress(&mut &*text, &mut out, &brotli::enc::BrotliEncoderParams::default()).unwrap();
                out
            }
            "zstd" => zstd::encode_all(text, 3).unwrap(),
            _ => text.to_vec(),
        }
    }

    #[test]
    fn every_encoding_comes_out_whole_in_pieces_of_any_size() {
        let text = "data: {\"delta\":\"hello\"}\n\n".repeat(500);
        for (name, encoding) in [
            ("identity", "plain"),
            ("gzip", "gzip"),
            ("X-Gzip", "gzip"),
            ("deflate", "zlib"),
            ("deflate", "raw"),
            ("br", "br"),
            (" zstd ", "zstd"),
        ] {
            let packed = pack(encoding, text.as_bytes());
            for size in [1, 7, 1000, packed.len()] {
                let mut decoder = Decoder::new(name, &packed).unwrap();
                let came: usize = packed.chunks(size).map(|piece| decoder.push(piece).unwrap()).sum();
                assert_eq!(came, text.len(), "{name} {encoding} in pieces of {size}");
                assert_eq!(decoder.finish(), text.as_bytes());
            }
        }
    }

    #[test]
    fn what_is_cut_gives_what_came_and_garbage_is_told() {
        let packed = pack("gzip", &"abcdefgh".repeat(10_000).into_bytes());
        let mut cut = Decoder::new("gzip", &packed).unwrap();
        cut.push(&packed[..packed.len() - 20]).unwrap();
        assert!(cut.finish().starts_with(b"abcdefgh"));
        for encoding in ["gzip", "br", "zstd"] {
            assert_eq!(Decoder::new(encoding, b"").unwrap().push(&[0xff; 4096]), Err(Broken), "{encoding}");
        }
        assert!(Decoder::new("gzip, br", b"").is_none() && Decoder::new("snappy", b"").is_none());
    }
}
