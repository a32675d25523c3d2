//! Names, modes and places of the store's files.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::LogError;
use crate::trace::Timestamp;

/// The format of the store as a whole.
pub const STORE_FORMAT: u64 = 1;
/// Says which format a store has.
pub const STORE_MARK: &str = "store.json";
const LOG: &str = "log";
const SEGMENT: &str = "hblog";
const SIDE: &str = "hbidx";

#[derive(Serialize, Deserialize)]
struct Mark {
    holdback_store: u64,
}

/// Attaches what was being done to an error of the system.
pub trait Doing<T> {
    fn doing(self, what: &'static str, path: &Path) -> Result<T, LogError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: &'static str, path: &Path) -> Result<T, LogError> {
        self.map_err(|source| LogError::Io { doing: what, path: path.to_path_buf(), source })
    }
}

/// The directory of the segments.
pub fn log_dir(store: &Path) -> PathBuf {
    store.join(LOG)
}

/// Makes the directories and the mark of a store where they aren't, and checks the mark where it is.
pub fn prepare(store: &Path) -> Result<(), LogError> {
    let mark = store.join(STORE_MARK);
    if let Some(found) = read_mark(&mark)? {
        return check(&mark, found);
    }
    let made = !store.is_dir();
    DirBuilder::new().recursive(true).mode(0o700).create(store).doing("making the store", store)?;
    if made {
        // The umask may have taken bits, but it cannot have left any for others.
        fs::set_permissions(store, fs::Permissions::from_mode(0o700)).doing("closing the store to others", store)?;
    }
    let log = log_dir(store);
    DirBuilder::new().recursive(true).mode(0o700).create(&log).doing("making the log's directory", &log)?;
    let text = serde_json::to_string(&Mark { holdback_store: STORE_FORMAT }).expect("a number becomes JSON");
    publish(&mark, format!("{text}\n").as_bytes()).doing("marking the store", &mark)
}

/// Checks the mark of a store that should be there.
pub fn check_mark(store: &Path) -> Result<bool, LogError> {
    let mark = store.join(STORE_MARK);
    match read_mark(&mark)? {
        Some(found) => check(&mark, found).map(|()| true),
        None => Ok(false),
    }
}

fn check(mark: &Path, found: u64) -> Result<(), LogError> {
    if found > STORE_FORMAT {
        return Err(LogError::Newer { path: mark.to_path_buf(), found, known: STORE_FORMAT });
    }
    Ok(())
}

fn read_mark(mark: &Path) -> Result<Option<u64>, LogError> {
    let text = match fs::read(mark) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).doing("reading the store's mark", mark),
    };
    let found: Mark = serde_json::from_slice(&text).map_err(|error| LogError::Damaged {
        path: mark.to_path_buf(),
        offset: 0,
        what: format!("is not a store's mark like {{\"holdback_store\":{STORE_FORMAT}}}: {error}"),
    })?;
    Ok(Some(found.holdback_store))
}

/// Makes a new file for its owner only.
pub fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Puts a whole file in place at once, or leaves what was there.
pub fn publish(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use io::Write;
    let draft = draft(path)?;
    let written = create_new(&draft).and_then(|mut file| file.write_all(bytes)).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

/// A name beside `path` for what is not finished yet.
pub fn draft(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{:08x}.draft", random_u32()?));
    Ok(path.with_file_name(name))
}

/// A random number.
pub fn random_u32() -> io::Result<u32> {
    getrandom::u32().map_err(|error| io::Error::other(error.to_string()))
}

/// A random number.
pub fn random_u64() -> io::Result<u64> {
    getrandom::u64().map_err(|error| io::Error::other(error.to_string()))
}

/// A segment's name: when it was begun, and a random part that keeps writers of one second apart.
pub fn segment_name(now: Timestamp, random: u64) -> String {
    let second = jiff::Timestamp::from_microsecond(now.0).unwrap_or_default();
    format!("{}-{:010x}", second.strftime("%Y%m%dT%H%M%S"), random & 0xff_ffff_ffff)
}

/// When the segment of this name was begun, to the second.
pub fn segment_time(name: &str) -> Timestamp {
    let second = name.split('-').next().and_then(|text| jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S", text).ok());
    let zoned = second.and_then(|civil| civil.to_zoned(jiff::tz::TimeZone::UTC).ok());
    Timestamp(zoned.map_or(0, |zoned| zoned.timestamp().as_microsecond()))
}

/// The path of a segment. A higher generation replaces the lower ones.
pub fn segment_path(log: &Path, name: &str, generation: u32) -> PathBuf {
    log.join(file_name(name, generation, SEGMENT))
}

/// The path of a segment's side index.
pub fn side_path(log: &Path, name: &str, generation: u32) -> PathBuf {
    log.join(file_name(name, generation, SIDE))
}

fn file_name(name: &str, generation: u32, extension: &str) -> String {
    match generation {
        0 => format!("{name}.{extension}"),
        _ => format!("{name}.g{generation}.{extension}"),
    }
}

fn parse(file: &str, extension: &str) -> Option<(String, u32)> {
    let stem = file.strip_suffix(extension)?.strip_suffix('.')?;
    match stem.split_once(".g") {
        Some((name, generation)) => Some((name.to_owned(), generation.parse().ok()?)),
        None if !stem.contains('.') => Some((stem.to_owned(), 0)),
        None => None,
    }
}

/// What lies in a log's directory.
#[derive(Debug, Default)]
pub struct Listing {
    /// Segments by name, each with its newest generation.
    pub segments: BTreeMap<String, u32>,
    /// Files nobody needs any more: replaced generations, side indexes without a segment, unfinished drafts.
    pub leftovers: Vec<PathBuf>,
}

/// Lists a log's directory; one that isn't there is empty.
pub fn list(log: &Path) -> Result<Listing, LogError> {
    let mut listing = Listing::default();
    let entries = match fs::read_dir(log) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
        Err(error) => return Err(error).doing("listing the log", log),
    };
    let mut sides = Vec::new();
    for entry in entries {
        let entry = entry.doing("listing the log", log)?;
        let file = entry.file_name();
        let Some(file) = file.to_str() else { continue };
        if let Some((name, generation)) = parse(file, SEGMENT) {
            let newest = listing.segments.entry(name.clone()).or_insert(generation);
            if *newest != generation {
                listing.leftovers.push(segment_path(log, &name, generation.min(*newest)));
                *newest = generation.max(*newest);
            }
        } else if let Some(side) = parse(file, SIDE) {
            sides.push(side);
        } else if file.ends_with(".draft") {
            listing.leftovers.push(entry.path());
        }
    }
    for (name, generation) in sides {
        if listing.segments.get(&name) != Some(&generation) {
            listing.leftovers.push(side_path(log, &name, generation));
        }
    }
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_made_for_its_owner_only_and_a_newer_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("a/store");
        assert!(!check_mark(&store).unwrap());
        prepare(&store).unwrap();
        prepare(&store).unwrap();
        assert!(check_mark(&store).unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&store), mode(&log_dir(&store)), mode(&store.join(STORE_MARK))), (0o700, 0o700, 0o600));

        fs::write(store.join(STORE_MARK), "{\"holdback_store\":2}").unwrap();
        let error = prepare(&store).unwrap_err().to_string();
        assert!(error.contains("format 2") && error.contains("update"), "{error}");
        fs::write(store.join(STORE_MARK), "hello").unwrap();
        assert!(matches!(prepare(&store), Err(LogError::Damaged { .. })));
    }

    #[test]
    fn the_newest_generation_counts_and_what_is_left_over_is_known() {
        let dir = tempfile::tempdir().unwrap();
        for file in
            ["a.hblog", "a.hbidx", "a.g2.hblog", "a.g1.hblog", "b.hblog", "b.hbidx", "c.hbidx", "x.1.draft", "README"]
        {
            fs::write(dir.path().join(file), "").unwrap();
        }
        let mut listing = list(dir.path()).unwrap();
        assert_eq!(listing.segments.into_iter().collect::<Vec<_>>(), [("a".to_owned(), 2), ("b".to_owned(), 0)]);
        listing.leftovers.sort();
        let left: Vec<_> = listing.leftovers.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(left, ["a.g1.hblog", "a.hbidx", "a.hblog", "c.hbidx", "x.1.draft"]);
    }

    #[test]
    fn names_sort_by_time() {
        let early = segment_name(Timestamp(1_700_000_000_000_000), u64::MAX);
        assert_eq!(early, "20231114T221320-ffffffffff");
        assert!(early < segment_name(Timestamp(1_700_000_001_000_000), 0));
        assert_eq!(segment_time(&early), Timestamp(1_700_000_000_000_000));
        assert_eq!(segment_time("hello"), Timestamp(0));
    }
}
