//! Files that stand beside traces and hold none: they are named as skipped, not as failed.

use serde_json::Value;

use super::Shape;
use super::shape::text;

/// Told by the name.
pub fn named(shape: &Shape<'_>) -> Option<&'static str> {
    let name = shape.name();
    let lower = name.to_ascii_lowercase();
    let ends = |ends: &[&str]| ends.iter().any(|end| lower.ends_with(end));
    if lower == "sha256sums" || lower == "md5sums" || ends(&[".sha256"]) {
        Some("checksums")
    } else if ends(&[".stdout", ".stderr", ".log", ".stdout.zst", ".stderr.zst"]) {
        Some("what a program printed")
    } else if ends(&[".md", ".txt", ".rst", ".pdf", ".html", ".toml", ".sh", ".py"]) || lower.starts_with("license") {
        Some("text for people")
    } else if ends(&[".db-wal", ".db-shm"]) {
        Some("a part of the database beside it")
    } else if ends(&[".chatml.json"]) {
        Some("the expected reading of the trace beside it")
    } else if ends(&[".llm.history"]) {
        Some("an agent's own printout of its chat")
    } else if lower.contains("v1_metrics") {
        Some("metrics: numbers without calls")
    } else {
        None
    }
}

/// Told by the content, when no format fits.
pub fn shaped(shape: &Shape<'_>) -> Option<&'static str> {
    let index = |line: &Value| !text(line, "file").is_empty() && line.get("path").is_some();
    if shape.head.is_empty() {
        Some("an empty file")
    } else if shape.line(index) || shape.line(|line| !text(line, "capture").is_empty() && line.get("rc").is_some()) {
        Some("an index of the files beside it")
    } else if shape.lines.first().is_some_and(is_task) || shape.all(&["[].id", "[].user_scenario"]) {
        Some("tasks and their expected answers: nothing that has happened")
    } else if ["flights", "reservations", "train"].iter().any(|key| shape.has(key)) {
        Some("data of a benchmark")
    } else {
        None
    }
}

/// Rows of the benchmarks that come as JSON lines.
fn is_task(line: &Value) -> bool {
    let has = |key: &str| line.get(key).is_some();
    (has("task_id") && has("prompt") && has("test"))
        || (has("id") && (has("question") || has("ground_truth")))
        || (has("name") && has("parameters") && has("description"))
}
