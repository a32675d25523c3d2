//! The DuckDB file: how it is made, opened for folding, and opened for reading.

use std::fs;
use std::path::{Path, PathBuf};

use duckdb::{AccessMode, Config, Connection};

use super::Error;
use super::rows::TableRow;
use crate::store::log::Cursor;

/// The version of sql/schema.sql and sql/views.sql, and of what is put into them.
pub(super) const SCHEMA_VERSION: i64 = 2;

/// The name of the file without its ending is the name DuckDB gives the database.
const CATALOG: &str = "index";

/// Rows per row group. Wide rows want small groups: DuckDB keeps a group in memory until it is full and writes it again
/// while it isn't.
const ROW_GROUP: u32 = 16_384;

/// The index opened for folding.
pub(super) struct Database {
    connection: Connection,
}

/// Why a file could not be opened as the index it should be.
#[derive(Debug)]
pub(super) enum Unusable {
    /// A program that doesn't know our lock (a DuckDB shell, say) has it open.
    Held(String),
    /// A schema of the past: to be made again.
    Older(i64),
    /// A schema of the future: not ours to throw away.
    Newer(i64),
    /// Not a database this DuckDB can read.
    Broken(String),
}

impl Database {
    /// Makes a new index at `path`, which must not exist.
    pub(super) fn create(path: &Path) -> Result<Database, Error> {
        let database = Database { connection: attach(path)? };
        let connection = &database.connection;
        connection.execute_batch("BEGIN")?;
        connection.execute_batch(include_str!("../sql/schema.sql"))?;
        connection.execute_batch(include_str!("../sql/views.sql"))?;
        let cursor = serde_json::to_string(&Cursor::default()).expect("a cursor is always JSON");
        connection.execute(
            "INSERT INTO index_state VALUES (?, ?, ?)",
            duckdb::params![SCHEMA_VERSION, env!("CARGO_PKG_VERSION"), cursor],
        )?;
        connection.execute_batch("COMMIT")?;
        private(path)?;
        Ok(database)
    }

    /// Opens the index at `path` for folding.
    pub(super) fn open(path: &Path) -> Result<Database, Unusable> {
        let connection = attach(path).map_err(|error| unusable(&error))?;
        let version = schema_version(&connection, path)?;
        match version.cmp(&SCHEMA_VERSION) {
            std::cmp::Ordering::Less => Err(Unusable::Older(version)),
            std::cmp::Ordering::Greater => Err(Unusable::Newer(version)),
            std::cmp::Ordering::Equal => Ok(Database { connection }),
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// How far the log is folded in.
    pub(super) fn cursor(&self) -> Result<Cursor, Error> {
        cursor(&self.connection)
    }

    /// Appends rows to their table.
    pub(super) fn append<R: TableRow>(&self, rows: &[R]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut appender = self.connection.appender_to_catalog_and_db(R::TABLE, CATALOG, "main")?;
        for row in rows {
            row.append(&mut appender)?;
        }
        appender.flush()?;
        Ok(())
    }

    /// Writes everything into the main file and lets go of it.
    pub(super) fn close(self) -> Result<(), Error> {
        self.connection.execute_batch("CHECKPOINT")?;
        self.connection.execute_batch(&format!("USE memory; DETACH \"{CATALOG}\""))?;
        self.connection.close().map_err(|(_, error)| error.into())
    }
}

/// Attached rather than opened, because only so can the storage version be told; see docs/schema.md.
fn attach(path: &Path) -> Result<Connection, duckdb::Error> {
    let connection = Connection::open_in_memory_with_flags(quiet()?)?;
    let file = path.to_string_lossy().replace('\'', "''");
    connection.execute_batch(&format!(
        "ATTACH '{file}' AS \"{CATALOG}\" (STORAGE_VERSION 'v1.5.0', ROW_GROUP_SIZE {ROW_GROUP});
         USE \"{CATALOG}\";
         SET temp_directory = '{file}.tmp';
         SET wal_autocheckpoint = '256MB';
         SET preserve_insertion_order = true;"
    ))?;
    Ok(connection)
}

/// No extension is fetched or loaded behind anyone's back.
fn quiet() -> Result<Config, duckdb::Error> {
    Config::default().enable_autoload_extension(false)
}

/// Opens the index to be read: nothing can be written, no other file or network reached (but `also`, to be written to).
pub(super) fn open_to_read(path: &Path, also: Option<&Path>) -> Result<Connection, Unusable> {
    let open = || {
        let connection = Connection::open_with_flags(path, quiet()?.access_mode(AccessMode::ReadOnly)?)?;
        if let Some(file) = also {
            let file = file.to_string_lossy().replace('\'', "''");
            connection.execute_batch(&format!("SET allowed_paths = ['{file}']"))?;
        }
        connection.execute_batch("SET enable_external_access = false; SET lock_configuration = true")?;
        Ok(connection)
    };
    let connection = open().map_err(|error| unusable(&error))?;
    let version = schema_version(&connection, path)?;
    match version.cmp(&SCHEMA_VERSION) {
        std::cmp::Ordering::Less => Err(Unusable::Older(version)),
        std::cmp::Ordering::Greater => Err(Unusable::Newer(version)),
        std::cmp::Ordering::Equal => Ok(connection),
    }
}

/// Also sees to it that the file is as long as it should be: DuckDB notices only when it comes to what is missing. Free blocks at
/// the end don't count: it cuts them off after it has written down how many blocks there are.
fn schema_version(connection: &Connection, path: &Path) -> Result<i64, Unusable> {
    let (version, bytes): (i64, u64) = connection
        .query_row(
            "SELECT schema_version, (SELECT block_size * used_blocks FROM pragma_database_size() WHERE database_name = ?)::UBIGINT
             FROM index_state",
            [CATALOG],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .map_err(|error| unusable(&error))?;
    let there = fs::metadata(path).map_or(0, |file| file.len());
    if there < bytes {
        return Err(Unusable::Broken(format!("the file is cut short: {there} bytes of {bytes} and more")));
    }
    Ok(version)
}

/// How far the log is folded into an open index.
pub(super) fn cursor(connection: &Connection) -> Result<Cursor, Error> {
    let text: String = connection.query_row("SELECT cursor FROM index_state", [], |row| row.get(0))?;
    serde_json::from_str(&text)
        .map_err(|source| Error::Record { what: "the index's place in the log".to_owned(), source })
}

fn unusable(error: &duckdb::Error) -> Unusable {
    let text = error.to_string();
    match text.contains("Could not set lock on file") {
        true => Unusable::Held(lock_holder(&text)),
        false => Unusable::Broken(text.lines().next().unwrap_or_default().to_owned()),
    }
}

/// DuckDB's words end in `Conflicting lock is held in PROGRAM (PID 123). See also …`.
fn lock_holder(text: &str) -> String {
    let holder = text.split_once("Conflicting lock is held in ").map(|(_, rest)| rest);
    let holder = holder.and_then(|rest| rest.split_once(')')).map(|(holder, _)| format!("{holder})"));
    holder.unwrap_or_else(|| "another program".to_owned())
}

/// Removes an index file and what DuckDB keeps beside it.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    for file in [path.to_owned(), beside(path, ".wal")] {
        match fs::remove_file(&file) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::Io { path: file, source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Puts a finished index in the place of another.
pub(super) fn put_in_place(new: &Path, path: &Path) -> Result<(), Error> {
    remove(&beside(path, ".wal"))?;
    fs::rename(new, path).map_err(|source| Error::Io { path: path.to_owned(), source })
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(unix)]
fn private(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let own = fs::Permissions::from_mode(0o600);
    for file in [path.to_owned(), beside(path, ".wal")] {
        match fs::set_permissions(&file, own.clone()) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::Io { path: file, source });
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn private(_path: &Path) -> Result<(), Error> {
    Ok(())
}
