//! Writes the suite that asks what a folder of Harbor tasks asks.

use serde_json::json;

use super::promptfoo::Translated;
use crate::suite::{Files, is_harbor_folder, load};

/// A suite around Harbor's task folders, which stay where they are.
///
/// # Errors
/// When there is no task, or one that can't be read.
pub fn from_harbor(name: &str, tasks: &str, command: Option<&str>, files: &dyn Files) -> Result<Translated, String> {
    if !is_harbor_folder(tasks, files) {
        return Err("there is no Harbor task here: a task is a folder with task.toml".to_owned());
    }
    let mut left = Vec::new();
    let run = command.unwrap_or_else(|| {
        left.push("the agent: write its command under target.loop.command, {{prompt}} for the instruction".to_owned());
        "echo 'write the command of your agent under target.loop.command' >&2; exit 1"
    });
    let suite = json!({
        "suite": name,
        "kind": "capability",
        "target": {"loop": {"command": run}},
        "trials": 1,
        "tasks_from": [tasks],
    });
    let text = serde_saphyr::to_string(&suite).map_err(|error| error.to_string())?;
    let loaded = load(name, &text, files).map_err(|errors| errors.to_string())?;
    left.extend(loaded.warnings.iter().cloned());
    if loaded.suite.tasks.iter().any(|task| task.seconds.is_none()) {
        left.push("how long agents may take: 600 seconds, unless budget.trial.seconds says otherwise".to_owned());
    }
    Ok(Translated { suite: text, left })
}
