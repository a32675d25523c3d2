//! What graders ask of the world; eval goes and gets it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rubric::Reading;

/// Something a grader needs and does not fetch itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "need", rename_all = "snake_case")]
pub enum Need {
    /// The text of a file in the trial's workspace.
    File { path: String },
    /// The text of a file beside the suite.
    Fixture { path: String },
    /// A command run in the trial's workspace, and files to read when it has ended.
    Command {
        run: Vec<String>,
        #[serde(default)]
        env: BTreeMap<String, String>,
        #[serde(default)]
        stdin: Option<String>,
        seconds: f64,
        #[serde(default)]
        collect: Vec<String>,
    },
    /// A request to a service of the user's.
    Http {
        url: String,
        #[serde(default)]
        headers: BTreeMap<String, String>,
        body: Value,
        seconds: f64,
    },
    /// A judge's reading of the trial by a rubric.
    Judge { rubric: String },
}

/// What became of a need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "got", rename_all = "snake_case")]
pub enum Got {
    Text {
        text: String,
    },
    /// There is no such file.
    Missing,
    Command {
        /// `None` when a signal ended it.
        exit: Option<i32>,
        timed_out: bool,
        stdout: String,
        stderr: String,
        /// The files it was asked to leave, as far as they are there.
        files: BTreeMap<String, String>,
    },
    Http {
        status: u16,
        body: String,
    },
    Judge {
        reading: Box<Reading>,
    },
    /// It could not be had: not the loop's fault.
    Unmet {
        reason: String,
    },
}
