//! What can go wrong with the index. The log is never harmed by it.

use std::path::PathBuf;
use std::time::Duration;

use crate::store::log::LogError;

/// Why the index could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("the index is held by {holder}; waited {} s and gave up", waited.as_secs_f32().round())]
    Busy { holder: String, waited: Duration },
    #[error(
        "the index was made by a newer holdback (schema version {found}, this one knows {known}): \
         use that one, or rebuild it for this one with `holdback index --rebuild`"
    )]
    Newer { found: i64, known: i64 },
    /// A person's SQL that DuckDB, or holdback, does not take.
    #[error("{0}")]
    Sql(String),
    #[error("there is no run {asked:?}{hint}")]
    NoRun { asked: String, hint: String },
    #[error("{asked:?} fits {count} runs: {examples}; give more of it")]
    ManyRuns { asked: String, count: usize, examples: String },
    #[error("the record of {what} cannot be read: {source}")]
    Record { what: String, source: serde_json::Error },
    #[error("the index cannot be used: {0}; `holdback index --rebuild` makes it anew from the log")]
    Unusable(String),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the index: {0}")]
    DuckDb(#[from] duckdb::Error),
}
