//! The DuckDB index: the log as tables. It is made from the log by [`Index::fold`], may be thrown away at any time, and
//! is described table by table in docs/schema.md.
//!
//! DuckDB lets one process write, or several read. So an index is opened to fold, or to read, for as short as can be,
//! behind a lock of our own that waits where DuckDB would refuse. Recording needs none of this.

mod answer;
mod database;
mod error;
mod fold;
mod guard;
mod intake;
mod lock;
mod mend;
mod records;
mod reports;
mod rows;
mod runs;
#[cfg(test)]
mod schema_doc;
mod search;
#[cfg(test)]
mod tests;
mod traces;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use duckdb::Connection;

use super::log::{Reader, Store};
use database::{Database, Unusable};
use fold::Ending;
use lock::{Lock, Want};

pub use answer::Answer;
pub use error::Error;
pub use fold::Folded;
pub use lock::Waiting;
pub use reports::{
    CaseStretch, Day, DayCost, Latency, ListedRun, ListedVerdict, ModelUse, OpenedCase, PassRate, ProductionGroup,
    ProductionReason, ProductionSpan, ProductionTool, RecentTrace, RunOutcomes, TagUse, ToolErrors, ToolUse, TraceCall,
};
pub use search::{Found, Search};

/// Who opens an index, and what they want to hear meanwhile.
pub struct Caller<'a> {
    /// What for, in two words: others who wait are shown it.
    pub purpose: &'a str,
    /// Called about 50 times a second while another process has the index; `Break` gives up.
    pub waiting: &'a mut dyn FnMut(&Waiting) -> ControlFlow<()>,
    /// Called now and then while folding, with what is done so far.
    pub folding: &'a mut dyn FnMut(&Folded),
}

/// The index of a store, up to date when it was opened, and open to be read. Nobody can fold while it is: drop it soon.
pub struct Index {
    connection: Connection,
    path: PathBuf,
    _lock: Lock,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Where a store keeps its index.
#[derive(Debug, Clone)]
struct Paths {
    index: PathBuf,
    /// A new index in the making.
    new: PathBuf,
    lock: PathBuf,
}

impl Paths {
    fn of(store: &Store) -> Paths {
        let dir = store.dir();
        Paths { index: dir.join("index.duckdb"), new: dir.join("index.new.duckdb"), lock: dir.join("index.lock") }
    }
}

impl Index {
    /// Folds in what is new, if anything is, and opens the index to be read.
    ///
    /// # Errors
    /// When the wait for it was given up, a newer holdback made it, or disk, log or DuckDB fail.
    pub fn open(store: &Store, caller: &mut Caller<'_>) -> Result<Index, Error> {
        let paths = Paths::of(store);
        let lock = Lock::take(&paths.lock, Want::Shared, caller.purpose, caller.waiting)?;
        if let Ok(connection) = to_read(&paths.index, caller)
            && is_current(&connection, &store.reader()?)?
        {
            return Ok(Index { connection, path: paths.index, _lock: lock });
        }
        drop(lock);
        Index::fold(store, caller)?;
        Index::open_as_it_is(store, caller)
    }

    /// Opens the index to be read without a look at the log.
    ///
    /// # Errors
    /// As [`Index::open`]; also when there is no index yet.
    pub fn open_as_it_is(store: &Store, caller: &mut Caller<'_>) -> Result<Index, Error> {
        let paths = Paths::of(store);
        let lock = Lock::take(&paths.lock, Want::Shared, caller.purpose, caller.waiting)?;
        let connection = to_read(&paths.index, caller)?;
        Ok(Index { connection, path: paths.index, _lock: lock })
    }

    /// Folds in what is new. An index that is missing, broken or of an older version is made anew.
    ///
    /// # Errors
    /// As [`Index::open`]. What was committed before an error stays; the next fold goes on from there.
    pub fn fold(store: &Store, caller: &mut Caller<'_>) -> Result<Folded, Error> {
        let paths = Paths::of(store);
        let _lock = Lock::take(&paths.lock, Want::Alone, caller.purpose, caller.waiting)?;
        let reader = store.reader()?;
        if !paths.index.exists() {
            return rebuild(&paths, &reader, None, caller);
        }
        let mut waited = Duration::ZERO;
        let database = loop {
            match Database::open(&paths.index) {
                Ok(database) => break database,
                Err(Unusable::Held(holder)) => wait(holder, &mut waited, caller)?,
                Err(other) => return rebuild(&paths, &reader, Some(reason(other)?), caller),
            }
        };
        match fold::fold(&database, &reader, caller.folding) {
            Ok(Ending::Done(folded)) => {
                database.close()?;
                Ok(folded)
            }
            Ok(Ending::StartOver) => {
                drop(database);
                rebuild(&paths, &reader, Some("pruning rewrote what it was made from".to_owned()), caller)
            }
            Err(Error::DuckDb(error)) if is_damage(&error.to_string()) => {
                drop(database);
                rebuild(&paths, &reader, Some(reason(Unusable::Broken(error.to_string()))?), caller)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the index anew from the whole log, also when a newer holdback made the one that is there.
    ///
    /// # Errors
    /// As [`Index::open`]; the old index stays until the new one is whole.
    pub fn rebuild(store: &Store, caller: &mut Caller<'_>) -> Result<Folded, Error> {
        let paths = Paths::of(store);
        let _lock = Lock::take(&paths.lock, Want::Alone, caller.purpose, caller.waiting)?;
        rebuild(&paths, &store.reader()?, Some("as asked".to_owned()), caller)
    }

    /// Answers a person's SQL: one statement, which reads.
    ///
    /// # Errors
    /// In DuckDB's words, with the place in the statement, and what can be done about it.
    pub fn sql(&self, sql: &str) -> Result<Answer, Error> {
        let sql = guard::one_reading_statement(sql)?;
        Answer::to(&self.connection, sql).map_err(|error| answer::sql_error(&error))
    }

    /// Writes the answer to a person's SQL to `file` as Parquet, and says how many rows that are. The index is opened
    /// once more for it, with this one file as all that can be reached.
    ///
    /// # Errors
    /// As [`Index::sql`], or when the file cannot be written; it is then as it was before.
    pub fn sql_to_parquet(self, sql: &str, file: &Path) -> Result<u64, Error> {
        let sql = guard::one_reading_statement(sql)?;
        let Index { connection, path, _lock } = self;
        drop(connection);
        let io = |source| Error::Io { path: file.to_owned(), source };
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let part = tempfile::Builder::new().prefix(".holdback-").suffix(".parquet").tempfile_in(folder).map_err(io)?;
        let target = part.path().to_string_lossy().into_owned();
        let connection = database::open_to_read(&path, Some(part.path())).map_err(refused)?;
        let copy =
            format!("COPY (FROM ({sql}\n)) TO '{}' (FORMAT parquet, USE_TMP_FILE false)", target.replace('\'', "''"));
        let rows = connection.execute(&copy, []).map_err(|error| answer::sql_error(&error))?;
        part.persist(file).map_err(|error| io(error.error))?;
        Ok(rows as u64)
    }
}

/// Opens to read, and waits while a program that doesn't know our lock has the file.
fn to_read(path: &Path, caller: &mut Caller<'_>) -> Result<Connection, Error> {
    let mut waited = Duration::ZERO;
    loop {
        match database::open_to_read(path, None) {
            Ok(connection) => return Ok(connection),
            Err(Unusable::Held(holder)) => wait(holder, &mut waited, caller)?,
            Err(other) => return Err(refused(other)),
        }
    }
}

fn wait(holder: String, waited: &mut Duration, caller: &mut Caller<'_>) -> Result<(), Error> {
    let waiting = Waiting { holder, waited: *waited };
    if (caller.waiting)(&waiting).is_break() {
        return Err(Error::Busy { holder: waiting.holder, waited: waiting.waited });
    }
    std::thread::sleep(lock::PAUSE);
    *waited += lock::PAUSE;
    Ok(())
}

fn refused(why: Unusable) -> Error {
    match why {
        Unusable::Held(holder) => Error::Busy { holder, waited: Duration::ZERO },
        Unusable::Newer(found) => Error::Newer { found, known: database::SCHEMA_VERSION },
        Unusable::Older(found) => Error::Unusable(format!("it has the older schema version {found}")),
        Unusable::Broken(words) => Error::Unusable(words),
    }
}

/// Why an index is to be made anew, in words; a newer one is not ours to throw away.
fn reason(why: Unusable) -> Result<String, Error> {
    match why {
        Unusable::Older(found) => Ok(format!("it had the older schema version {found}")),
        Unusable::Broken(words) => Ok(format!("DuckDB could not use it: {words}")),
        other @ (Unusable::Newer(_) | Unusable::Held(_)) => Err(refused(other)),
    }
}

/// Whether DuckDB's words mean that the file is damaged, rather than the disk full or the like.
fn is_damage(words: &str) -> bool {
    ["orrupt", "hecksum", "INTERNAL Error", "Serialization Error", "Could not read"]
        .iter()
        .any(|sign| words.contains(sign))
}

fn is_current(connection: &Connection, reader: &Reader) -> Result<bool, Error> {
    let cursor = database::cursor(connection)?;
    let mut feed = reader.since(&cursor)?;
    Ok(!feed.must_start_over() && feed.next().is_none() && feed.cursor() == cursor)
}

fn rebuild(paths: &Paths, reader: &Reader, rebuilt: Option<String>, caller: &mut Caller<'_>) -> Result<Folded, Error> {
    database::remove(&paths.new)?;
    let database = Database::create(&paths.new)?;
    let folded = match fold::fold(&database, reader, &mut |folded| {
        (caller.folding)(&Folded { rebuilt: rebuilt.clone(), ..folded.clone() });
    })? {
        Ending::Done(folded) => Folded { rebuilt, ..folded },
        Ending::StartOver => return Err(Error::Unusable("the log changed while it was read; try again".to_owned())),
    };
    database.close()?;
    database::put_in_place(&paths.new, &paths.index)?;
    Ok(folded)
}
