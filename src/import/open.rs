//! Opening a file: gzip and zstd are taken off by what they are, not by the file's name, and never unpack without end.

use std::io::{self, BufRead, BufReader, Read};

/// What a file is, seen from outside.
pub enum Opened<'a> {
    /// Text or JSON, unpacked.
    Plain(Box<dyn BufRead + 'a>),
    /// A zip archive: to be read where its directory says.
    Zip,
}

/// Unpacked bytes that are always allowed, and how many for each packed one beyond.
const FREE: u64 = 64 << 20;
const RATIO: u64 = 400;
/// What zstd may look back.
const WINDOW_LOG: u32 = 27;
/// Packed bytes inside of packed bytes inside of packed bytes are no export.
const LAYERS: usize = 2;

/// Takes the packing off.
///
/// # Errors
/// When the first bytes can't be read.
pub fn open<'a>(file: impl Read + 'a) -> io::Result<Opened<'a>> {
    let mut plain: Box<dyn BufRead + 'a> = Box::new(BufReader::with_capacity(256 << 10, file));
    for _ in 0..=LAYERS {
        let head = plain.fill_buf()?;
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            return Ok(Opened::Zip);
        }
        let zstd = head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
        if !zstd && !head.starts_with(&[0x1f, 0x8b, 0x08]) {
            return Ok(Opened::Plain(plain));
        }
        let packed = Counted { from: plain, came: std::rc::Rc::default() };
        let came = packed.came.clone();
        let packed = BufReader::with_capacity(64 << 10, packed);
        let unpacked: Box<dyn Read + 'a> = if zstd {
            let mut decoder = zstd::stream::Decoder::with_buffer(packed)?;
            decoder.window_log_max(WINDOW_LOG)?;
            Box::new(decoder)
        } else {
            Box::new(flate2::bufread::MultiGzDecoder::new(packed))
        };
        plain = Box::new(BufReader::with_capacity(256 << 10, Bounded { from: unpacked, came, went: 0 }));
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it is packed too many times over"))
}

struct Counted<R> {
    from: R,
    came: std::rc::Rc<std::cell::Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.from.read(buffer)?;
        self.came.set(self.came.get() + len as u64);
        Ok(len)
    }
}

/// Unpacked bytes that may not become more than packed ones can mean.
struct Bounded<R> {
    from: R,
    came: std::rc::Rc<std::cell::Cell<u64>>,
    went: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.from.read(buffer)?;
        self.went += len as u64;
        if self.went > FREE + self.came.get().saturating_mul(RATIO) {
            let why = format!("it unpacks to more than {RATIO} times its size: a zip bomb rather than a trace");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        match open(bytes)? {
            Opened::Plain(mut plain) => plain.read_to_end(&mut all).map(|_| all),
            Opened::Zip => Ok(b"zip".to_vec()),
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn packings_are_told_by_their_bytes() {
        let text = b"{\"a\":1}\n".repeat(100);
        assert_eq!(read(&text).unwrap(), text);
        assert_eq!(read(&gzip(&text)).unwrap(), text);
        let packed = zstd::encode_all(&text[..], 3).unwrap();
        assert_eq!(read(&packed).unwrap(), text);
        assert_eq!(read(&gzip(&packed)).unwrap(), text);
        assert_eq!(read(b"PK\x03\x04rest").unwrap(), b"zip");
        assert_eq!(read(b"").unwrap(), b"");
        assert!(read(&packed[..packed.len() / 2]).is_err());
        assert!(read(&gzip(&gzip(&gzip(&gzip(b"x"))))).is_err());
    }

    #[test]
    fn a_bomb_is_not_unpacked_to_its_end() {
        let bomb = zstd::encode_all(io::repeat(0).take(300 << 20), 3).unwrap();
        assert!(bomb.len() < 100_000, "{}", bomb.len());
        let error = read(&bomb).unwrap_err().to_string();
        assert!(error.contains("zip bomb"), "{error}");
    }
}
