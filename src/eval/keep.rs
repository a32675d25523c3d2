//! Keeps records on a thread of its own, in order, so that a slow disk doesn't hold up the trials.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::progress::Keeper;
use crate::capture::clock;
use crate::gate::Arm;
use crate::trial::RunRecord;

/// Records on their way that may wait; more than that and the run waits for the disk.
const WAITING: usize = 1024;

/// The kind of record that holds all results of a run in short.
pub const RESULTS: &str = "results";

/// A run's results in short, for gates and comparisons: what they need of ten thousand trials in one record. It says of how many trials,
/// so that a run that has gone on since is noticed.
pub fn results(run: &RunRecord) -> Value {
    json!({"run": run.id, "trials": run.trials.len(), "arms": Arm::all_of(run)})
}

/// The thread that keeps.
pub struct Kept {
    send: Option<SyncSender<(&'static str, String, Value)>>,
    failed: Arc<OnceLock<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Kept {
    /// Starts the thread.
    pub fn start(mut keeper: Box<dyn Keeper>) -> Self {
        let (send, receive) = sync_channel::<(&'static str, String, Value)>(WAITING);
        let failed = Arc::new(OnceLock::new());
        let tell = failed.clone();
        let thread = std::thread::spawn(move || {
            for (kind, id, data) in receive {
                if let Err(why) = keeper.keep(kind, &id, clock::now(), &data) {
                    let _ = tell.set(why);
                    return;
                }
            }
        });
        Kept { send: Some(send), failed, thread: Some(thread) }
    }

    /// Hands a record over.
    ///
    /// # Errors
    /// When this or an earlier record could not be kept.
    pub fn keep(&self, kind: &'static str, id: &str, data: Value) -> Result<(), String> {
        let sent = self.send.as_ref().is_some_and(|send| send.send((kind, id.to_owned(), data)).is_ok());
        match self.failed.get() {
            Some(why) => Err(why.clone()),
            None if sent => Ok(()),
            None => Err("the thread that keeps records is gone".to_owned()),
        }
    }

    /// Returns when everything is kept.
    ///
    /// # Errors
    /// When something could not be.
    pub async fn finish(&mut self) -> Result<(), String> {
        self.send = None;
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                return Err("the thread that keeps records failed".to_owned());
            }
        }
        self.failed.get().map_or(Ok(()), |why| Err(why.clone()))
    }
}
