//! Room on disk for what the recorder has not dealt with yet, when memory for it runs short.
//!
//! What waits here has not been redacted. So it is sealed with a key that is in no file, and the file has no name: it is gone
//! with the process, however that ends, and nobody can read it before.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// The pieces of a body: when each came, and its bytes.
#[derive(Clone)]
pub(super) enum Pieces {
    Here(Vec<(u64, Bytes)>),
    There(Spilled),
}

impl Default for Pieces {
    fn default() -> Self {
        Pieces::Here(Vec::new())
    }
}

impl Pieces {
    pub(super) fn push(&mut self, at: u64, piece: Bytes) {
        if let Pieces::Here(list) = self {
            list.push((at, piece));
        }
    }

    /// Bytes in memory.
    pub(super) fn len(&self) -> u64 {
        match self {
            Pieces::Here(list) => list.iter().map(|(_, piece)| piece.len() as u64).sum(),
            Pieces::There(_) => 0,
        }
    }
}

impl From<Spilled> for Pieces {
    fn from(spilled: Spilled) -> Self {
        Pieces::There(spilled)
    }
}

/// Where a body waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spilled {
    offset: u64,
    len: usize,
    number: u64,
}

/// The file, made when it is first needed.
pub(super) struct Spill {
    folder: PathBuf,
    limit: u64,
    open: OnceLock<Option<Opened>>,
    room: Mutex<Room>,
}

struct Opened {
    file: File,
    key: LessSafeKey,
}

/// What of the file is in use.
#[derive(Default)]
struct Room {
    end: u64,
    bodies: u64,
    /// Bodies ever put here: no number seals two of them.
    number: u64,
}

fn open(folder: &std::path::Path) -> Option<Opened> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).ok()?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &secret).ok()?);
    // For its owner only, and without a name from the start or taken away at once.
    Some(Opened { file: tempfile::tempfile_in(folder).ok()?, key })
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

impl Spill {
    pub(super) fn new(folder: PathBuf, limit: u64) -> Self {
        Spill { folder, limit, open: OnceLock::new(), room: Mutex::default() }
    }

    fn opened(&self) -> io::Result<&Opened> {
        let opened = self.open.get_or_init(|| open(&self.folder)).as_ref();
        opened.ok_or_else(|| io::Error::other("no spill file can be made"))
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a body on disk.
    pub(super) fn put(&self, pieces: &Pieces) -> io::Result<Spilled> {
        let Pieces::Here(list) = pieces else { return Err(io::Error::other("it is there already")) };
        let opened = self.opened()?;
        let mut bytes = written(list);
        let (len, number) = (bytes.len() + AES_256_GCM.tag_len(), self.next_number());
        let sealed = opened.key.seal_in_place_append_tag(nonce(number), Aad::empty(), &mut bytes);
        sealed.map_err(|_| io::Error::other("it cannot be sealed"))?;
        let offset = {
            let mut room = self.room();
            let end = room.end + len as u64;
            if end > self.limit {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            room.bodies += 1;
            std::mem::replace(&mut room.end, end)
        };
        let spilled = Spilled { offset, len, number };
        opened.file.write_all_at(&bytes, offset).inspect_err(|_| self.free(&spilled))?;
        Ok(spilled)
    }

    fn next_number(&self) -> u64 {
        let mut room = self.room();
        room.number += 1;
        room.number
    }

    /// Reads a body back.
    pub(super) fn get(&self, spilled: &Spilled) -> io::Result<Vec<(u64, Bytes)>> {
        let opened = self.opened()?;
        let mut bytes = vec![0; spilled.len];
        opened.file.read_exact_at(&mut bytes, spilled.offset)?;
        let plain = opened.key.open_in_place(nonce(spilled.number), Aad::empty(), &mut bytes);
        let len = plain.map_err(|_| io::Error::other("it is not what was put there"))?.len();
        bytes.truncate(len);
        read(&Bytes::from(bytes)).ok_or_else(|| io::Error::other("it is cut short"))
    }

    /// A body is needed no more. The file begins again when none is.
    pub(super) fn free(&self, _spilled: &Spilled) {
        let mut room = self.room();
        room.bodies -= 1;
        if room.bodies == 0 {
            room.end = 0;
            if let Ok(opened) = self.opened() {
                // Only to give the disk its room back: what is in there is never read again.
                let _ = opened.file.set_len(0);
            }
        }
    }
}

fn written(list: &[(u64, Bytes)]) -> Vec<u8> {
    let len: usize = list.iter().map(|(_, piece)| piece.len() + 16).sum();
    let mut bytes = Vec::with_capacity(len + AES_256_GCM.tag_len());
    for (at, piece) in list {
        bytes.extend_from_slice(&at.to_le_bytes());
        bytes.extend_from_slice(&(piece.len() as u64).to_le_bytes());
        bytes.extend_from_slice(piece);
    }
    bytes
}

fn read(bytes: &Bytes) -> Option<Vec<(u64, Bytes)>> {
    let (mut list, mut from) = (Vec::new(), 0);
    let number = |from: usize| Some(u64::from_le_bytes(bytes.get(from..from + 8)?.try_into().ok()?));
    while from < bytes.len() {
        let (at, len) = (number(from)?, usize::try_from(number(from + 8)?).ok()?);
        let end = (from + 16).checked_add(len).filter(|end| *end <= bytes.len())?;
        list.push((at, bytes.slice(from + 16..end)));
        from = end;
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pieces(list: &[(u64, &str)]) -> Pieces {
        Pieces::Here(list.iter().map(|(at, text)| (*at, Bytes::from((*text).to_owned()))).collect())
    }

    #[test]
    fn bodies_come_back_piece_by_piece_and_nobody_else_can_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Spill::new(folder.path().to_owned(), 10_000);
        let list: &[(u64, &str)] = &[(3, "my key is"), (9, ""), (12, " sk-secret")];
        let first = spill.put(&pieces(list)).unwrap();
        let second = spill.put(&pieces(&[(0, "more")])).unwrap();
        let mut raw = Vec::new();
        (&spill.opened().unwrap().file).read_to_end(&mut raw).unwrap();
        assert!(raw.len() > 60 && memchr::memmem::find(&raw, b"key").is_none());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
        let back = spill.get(&first).unwrap();
        assert_eq!(back, list.iter().map(|(at, text)| (*at, Bytes::from(*text))).collect::<Vec<_>>());
        assert_eq!(spill.get(&second).unwrap()[0].1, "more");
        // Swapped or altered, nothing comes back.
        assert!(spill.get(&Spilled { number: second.number, ..first }).is_err());
        [first, second].iter().for_each(|spilled| spill.free(spilled));
        assert_eq!(spill.opened().unwrap().file.metadata().unwrap().len(), 0);
    }

    #[test]
    fn the_file_has_a_limit_and_is_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Spill::new(folder.path().to_owned(), 1000);
        let long = pieces(&[(0, &"x".repeat(600))]);
        let first = spill.put(&long).unwrap();
        assert!(spill.put(&long).is_err());
        spill.free(&first);
        assert!(spill.put(&long).is_ok());
        assert!(Spill::new(folder.path().join("nowhere"), 1000).put(&long).is_err());
    }
}
