//! The index lock: one process folds at a time, readers share, and who waits is told for whom.
//!
//! DuckDB refuses a second process outright; this lock lets it wait instead. It guards the index only:
//! recording never takes it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use super::Error;

/// How often a waiter looks again.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// What a waiter knows while it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Who holds the index, in words: `process 4711 (index --rebuild)`.
    pub holder: String,
    /// How long it has waited.
    pub waited: Duration,
}

/// Held while the index is open; dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// To read: any number at once.
    Shared,
    /// To fold: alone.
    Alone,
}

impl Lock {
    /// Waits until the lock is ours. `tell` is called every time it is not; it may end the waiting.
    pub(super) fn take(
        path: &Path,
        want: Want,
        purpose: &str,
        tell: &mut dyn FnMut(&Waiting) -> ControlFlow<()>,
    ) -> Result<Lock, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let mut file = open(path).map_err(io)?;
        let mut waited = Duration::ZERO;
        loop {
            let tried = match want {
                Want::Shared => file.try_lock_shared(),
                Want::Alone => file.try_lock(),
            };
            match tried {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(io(source)),
            }
            let waiting = Waiting { holder: holder(&mut file), waited };
            if tell(&waiting).is_break() {
                return Err(Error::Busy { holder: waiting.holder, waited });
            }
            std::thread::sleep(PAUSE);
            waited += PAUSE;
        }
        // The words are for people; a lock without them is as good.
        let _ = sign(&mut file, purpose);
        Ok(Lock { _file: file })
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn sign(file: &mut File, purpose: &str) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    write!(file, "process {} ({purpose})", std::process::id())
}

fn holder(file: &mut File) -> String {
    let mut words = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(200).read_to_string(&mut words));
    if read.is_err() || words.is_empty() {
        return "another process".to_owned();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never(waiting: &Waiting) -> ControlFlow<()> {
        panic!("should not wait for {waiting:?}")
    }

    #[test]
    fn readers_share_and_a_folder_is_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.lock");
        let one = Lock::take(&path, Want::Shared, "sql", &mut never).unwrap();
        let two = Lock::take(&path, Want::Shared, "report", &mut never).unwrap();
        let mut told = Vec::new();
        let mut give_up = |waiting: &Waiting| {
            told.push(waiting.clone());
            if told.len() < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let refused = Lock::take(&path, Want::Alone, "index", &mut give_up).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {} (report)", std::process::id())), "{refused}");
        assert_eq!(told.iter().map(|w| w.waited.as_millis()).collect::<Vec<_>>(), [0, 20, 40]);
        drop((one, two));
        let alone = Lock::take(&path, Want::Alone, "index --rebuild", &mut never).unwrap();
        let mut stop = |waiting: &Waiting| {
            assert!(waiting.holder.ends_with("(index --rebuild)"), "{waiting:?}");
            ControlFlow::Break(())
        };
        assert!(matches!(Lock::take(&path, Want::Shared, "sql", &mut stop), Err(Error::Busy { .. })));
        drop(alone);
        Lock::take(&path, Want::Shared, "sql", &mut never).unwrap();
    }

    #[test]
    fn a_waiter_gets_the_lock_when_the_holder_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.lock");
        let mut held = Some(Lock::take(&path, Want::Alone, "index", &mut never).unwrap());
        let mut waits = 0;
        Lock::take(&path, Want::Alone, "sql", &mut |_| {
            waits += 1;
            held.take();
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(waits, 1);
    }
}
