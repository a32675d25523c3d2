//! A case as the store keeps it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::log::{LogError, Reader};
use crate::trace::{Timestamp, TraceId};

/// A case, as it was opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub id: String,
    pub suite: String,
    /// The suite's file.
    pub file: String,
    /// `step` or `loop`.
    pub level: String,
    pub group: Option<String>,
    pub reason: String,
    pub trace: TraceId,
    /// The failing call's number in that trace.
    pub call: usize,
    pub model: String,
    pub opened: Timestamp,
    #[serde(default)]
    pub details: Value,
}

impl Case {
    /// Names its record: suites may have cases of the same name.
    pub fn key(&self) -> String {
        format!("{}/{}", self.suite, self.id)
    }
}

/// All cases, in the order they were opened.
///
/// # Errors
/// When the log can't be read.
pub fn read(reader: &Reader) -> Result<Vec<Case>, LogError> {
    let records = reader.records("case")?;
    Ok(records.into_iter().filter_map(|record| serde_json::from_value(record.data).ok()).collect())
}
