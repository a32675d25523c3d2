//! `holdback check`: another pair of eyes for a loop in flight. What stands in a workspace is graded, and what is wrong is
//! said as the next instruction.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Exit, Global, Misuse, out, suite_file};
use crate::eval::check;

#[derive(Debug, Args)]
#[command(
    after_help = "Exits with 0 when every required grader that looks at files or runs a command passes, with 1 when the work \
                  isn't done. Graders that need the whole trial are left out.\n\nExample: \
                  until holdback check --suite suites/shop.yaml --task fix-tests --workspace . > todo.md; do \
                  claude -p \"$(cat todo.md)\"; done"
)]
pub struct Check {
    /// The suite's file
    #[arg(long, value_name = "FILE")]
    suite: PathBuf,
    /// The task to grade by
    #[arg(long, value_name = "ID")]
    task: String,
    /// The folder that the loop works in
    #[arg(long, value_name = "DIR", default_value = ".")]
    workspace: PathBuf,
    /// A file with what the loop says so far, for graders that read answers
    #[arg(long, value_name = "FILE")]
    answer: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Grades what is there now.
pub fn run(_: &Global, args: &Check) -> anyhow::Result<Exit> {
    let opened = suite_file::open(&args.suite)?;
    let workspace =
        args.workspace.canonicalize().map_err(|error| Misuse(format!("{}: {error}", args.workspace.display())))?;
    let read =
        |path: &PathBuf| std::fs::read_to_string(path).map_err(|error| Misuse(format!("{}: {error}", path.display())));
    let answer = args.answer.as_ref().map(read).transpose()?;
    #[expect(clippy::disallowed_methods, reason = "the environment is read in cli")]
    let env = std::env::vars_os().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let checked = runtime
        .block_on(check(&opened.loaded, &opened.dir, &args.task, &workspace, answer, env))
        .map_err(|error| Misuse(error.to_string()))?;
    let done = checked.is_done();
    if args.json {
        out::json(&json!({"done": done, "instruction": checked.instruction(), "grades": checked.grades,
            "left_out": checked.left_out}))?;
    } else if !done {
        out::text(out::printable(&checked.instruction()))?;
    }
    Ok(if done { Exit::Pass } else { Exit::Regression })
}
