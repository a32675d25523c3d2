//! Whether an imported trace has the requests that were really sent.

use crate::store::log::{Kept, LogError, Reader};
use crate::trace::{Provenance, TraceId};

/// Why an imported trace can't be a tape, in its importer's words; `None` where it can.
///
/// # Errors
/// When the log can't be read.
pub fn why_not(reader: &Reader, trace: TraceId) -> Result<Option<String>, LogError> {
    let notes = reader.entries(trace)?.into_iter().filter_map(|entry| match entry.what {
        Kept::Noted(_, note) if note.kind == Provenance::KIND => serde_json::from_value::<Provenance>(note.data).ok(),
        _ => None,
    });
    let last = notes.last().filter(|origin| !origin.replay_grade);
    Ok(last.map(|origin| {
        let why = if origin.why_not.is_empty() {
            "its requests are not those that were sent".to_owned()
        } else {
            origin.why_not
        };
        format!("it was imported from {}: {why} (--loose plays what there is)", origin.format)
    }))
}
