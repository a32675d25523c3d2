//! Zip archives, read where their directory says and never written anywhere: names are only compared, sizes only believed
//! as limits, links are entries like others.

use std::io::{Read, SeekFrom};

use super::{ReadSeek, Trouble};

/// Entries, at most.
const MOST: u64 = 1 << 20;
/// The directory's bytes, at most.
const DIRECTORY: u64 = 256 << 20;
/// What one entry may unpack to.
pub const ENTRY: u64 = 512 << 20;
/// An entry may unpack to so many times its size, beyond what is always allowed.
const RATIO: u64 = 400;
const FREE: u64 = 16 << 20;

/// An entry of the directory.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: String,
    method: u16,
    packed: u64,
    unpacked: u64,
    offset: u64,
    encrypted: bool,
}

fn bad(what: &str) -> Trouble {
    Trouble::Bad(format!("the zip archive is damaged: {what}"))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |two| u16::from_le_bytes([two[0], two[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 4).map_or(0, |four| u64::from(u32::from_le_bytes([four[0], four[1], four[2], four[3]])))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn read_at(file: &mut dyn ReadSeek, at: u64, len: u64) -> Result<Vec<u8>, Trouble> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == len { Ok(bytes) } else { Err(bad("it is shorter than it says")) }
}

/// The directory.
pub fn entries(file: &mut dyn ReadSeek) -> Result<Vec<Entry>, Trouble> {
    let len = file.seek(SeekFrom::End(0))?;
    let tail_len = len.min(66_000);
    let tail = read_at(file, len - tail_len, tail_len)?;
    let end = memchr::memmem::rfind(&tail, b"PK\x05\x06").ok_or_else(|| bad("it has no directory; was it cut off?"))?;
    let (mut count, mut size, mut start) =
        (u64::from(u16_at(&tail, end + 10)), u32_at(&tail, end + 12), u32_at(&tail, end + 16));
    let locator = end.checked_sub(20).filter(|at| tail[*at..].starts_with(b"PK\x06\x07"));
    if let Some(locator) = locator {
        let record = read_at(file, u64_at(&tail, locator + 8), 56)?;
        if !record.starts_with(b"PK\x06\x06") {
            return Err(bad("its 64-bit directory is not where it says"));
        }
        (count, size, start) = (u64_at(&record, 32), u64_at(&record, 40), u64_at(&record, 48));
    }
    if count > MOST || size > DIRECTORY {
        return Err(bad("its directory is bigger than any log's"));
    }
    let directory = read_at(file, start, size)?;
    let (mut at, mut packed) = (0, 0_u64);
    let mut found = Vec::new();
    while directory.get(at..).is_some_and(|rest| rest.starts_with(b"PK\x01\x02")) {
        let (name_len, extra_len, comment_len) = (
            usize::from(u16_at(&directory, at + 28)),
            usize::from(u16_at(&directory, at + 30)),
            usize::from(u16_at(&directory, at + 32)),
        );
        let name = directory.get(at + 46..at + 46 + name_len).ok_or_else(|| bad("its directory ends in a name"))?;
        let extra = directory.get(at + 46 + name_len..at + 46 + name_len + extra_len).unwrap_or_default();
        let mut entry = Entry {
            name: String::from_utf8_lossy(name).into_owned(),
            encrypted: u16_at(&directory, at + 8) & 1 == 1,
            method: u16_at(&directory, at + 10),
            packed: u32_at(&directory, at + 20),
            unpacked: u32_at(&directory, at + 24),
            offset: u32_at(&directory, at + 42),
        };
        widen(&mut entry, extra);
        // Entries that share their bytes would each unpack to what only one of them has.
        packed = packed.saturating_add(entry.packed);
        if packed > len {
            return Err(bad("its entries lie on top of each other: a zip bomb rather than a log"));
        }
        found.push(entry);
        at += 46 + name_len + extra_len + comment_len;
    }
    Ok(found)
}

/// Takes the 64-bit numbers of an entry that needs them.
fn widen(entry: &mut Entry, mut extra: &[u8]) {
    const FULL: u64 = u32::MAX as u64;
    while extra.len() >= 4 {
        let (id, len) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let body = extra.get(4..4 + len).unwrap_or_default();
        if id == 1 {
            let mut at = 0;
            for field in [&mut entry.unpacked, &mut entry.packed, &mut entry.offset] {
                if *field == FULL {
                    *field = u64_at(body, at);
                    at += 8;
                }
            }
        }
        extra = extra.get(4 + len..).unwrap_or_default();
    }
}

/// An entry's bytes. Its declared size is a limit, not a promise.
pub fn read(file: &mut dyn ReadSeek, entry: &Entry) -> Result<Vec<u8>, Trouble> {
    if entry.encrypted {
        return Err(bad(&format!("{:?} is encrypted", entry.name)));
    }
    let limit = entry.unpacked.min(ENTRY);
    if entry.unpacked > ENTRY || entry.unpacked > FREE + entry.packed.saturating_mul(RATIO) {
        return Err(bad(&format!(
            "{:?} would unpack to {} bytes: a zip bomb rather than a log",
            entry.name, entry.unpacked
        )));
    }
    let local = read_at(file, entry.offset, 30)?;
    if !local.starts_with(b"PK\x03\x04") {
        return Err(bad(&format!("{:?} is not where the directory says", entry.name)));
    }
    let start = entry.offset + 30 + u64::from(u16_at(&local, 26)) + u64::from(u16_at(&local, 28));
    file.seek(SeekFrom::Start(start))?;
    let packed = file.take(entry.packed);
    let mut bytes = Vec::new();
    let mut most = match entry.method {
        0 => Box::new(packed) as Box<dyn Read + '_>,
        8 => Box::new(flate2::read::DeflateDecoder::new(packed)),
        93 => Box::new(zstd::stream::Decoder::new(packed)?),
        other => {
            return Err(bad(&format!("{:?} is packed by method {other}; deflate and zstd are known here", entry.name)));
        }
    }
    .take(limit + 1);
    most.read_to_end(&mut bytes)?;
    if bytes.len() as u64 != entry.unpacked {
        return Err(bad(&format!("{:?} does not unpack to the size it declares", entry.name)));
    }
    Ok(bytes)
}

/// Writes archives for tests: stored, deflated or zstd entries.
#[cfg(test)]
pub fn archive(entries: &[(&str, u16, &[u8])], lie: Option<u32>) -> Vec<u8> {
    use std::io::Write;
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, method, bytes) in entries {
        let packed = match method {
            8 => {
                let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
                packer.write_all(bytes).unwrap();
                packer.finish().unwrap()
            }
            93 => zstd::encode_all(*bytes, 3).unwrap(),
            _ => bytes.to_vec(),
        };
        let offset = out.len() as u32;
        let sizes = [(packed.len() as u32).to_le_bytes(), lie.unwrap_or(bytes.len() as u32).to_le_bytes()].concat();
        let mut head = vec![20, 0, 0, 0];
        head.extend_from_slice(&method.to_le_bytes());
        head.extend_from_slice(&[0; 8]);
        head.extend_from_slice(&sizes);
        head.extend_from_slice(&(name.len() as u16).to_le_bytes());
        head.extend_from_slice(&[0; 2]);
        out.extend_from_slice(b"PK\x03\x04");
        out.extend_from_slice(&head);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&packed);
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&head);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let (start, size) = (out.len() as u32, directory.len() as u32);
    out.extend_from_slice(&directory);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    out.extend_from_slice(&[(entries.len() as u16).to_le_bytes(), (entries.len() as u16).to_le_bytes()].concat());
    out.extend_from_slice(&[size.to_le_bytes(), start.to_le_bytes()].concat());
    out.extend_from_slice(&[0, 0]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn entries_come_out_as_they_went_in_whatever_their_names() {
        let text = b"{\"a\": 1}".repeat(200);
        let all = [
            ("header.json", 8, &text[..]),
            ("../../etc/passwd", 93, &text[..]),
            ("samples/a b_epoch_1.json", 0, b"{}"),
        ];
        let mut file = Cursor::new(archive(&all, None));
        let entries = entries(&mut file).unwrap();
        assert_eq!(
            entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(),
            ["header.json", "../../etc/passwd", "samples/a b_epoch_1.json"]
        );
        for (entry, (_, _, bytes)) in entries.iter().zip(all) {
            assert_eq!(read(&mut file, entry).unwrap(), bytes);
        }
    }

    #[test]
    fn bombs_lies_and_cuts_are_told() {
        let zeros = vec![0; 40 << 20];
        let mut file = Cursor::new(archive(&[("bomb", 93, &zeros)], None));
        let entry = entries(&mut file).unwrap().remove(0);
        assert!(read(&mut file, &entry).unwrap_err().to_string().contains("zip bomb"));
        for lie in [1, 900] {
            let mut file = Cursor::new(archive(&[("x", 8, &[7; 500])], Some(lie)));
            let entry = entries(&mut file).unwrap().remove(0);
            assert!(read(&mut file, &entry).unwrap_err().to_string().contains("declares"), "{lie}");
        }
        let whole = archive(&[("x", 8, b"hello"), ("y", 0, b"hello")], None);
        for cut in 0..whole.len() {
            if let Ok(all) = entries(&mut Cursor::new(&whole[..cut])) {
                all.iter().for_each(|entry| drop(read(&mut Cursor::new(&whole[..cut]), entry)));
            }
        }
        for at in 0..whole.len() {
            let mut spoilt = whole.clone();
            spoilt[at] ^= 0xff;
            let mut file = Cursor::new(spoilt);
            if let Ok(all) = entries(&mut file) {
                all.iter().for_each(|entry| drop(read(&mut file, entry)));
            }
        }
    }
}
