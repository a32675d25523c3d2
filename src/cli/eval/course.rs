//! The run itself: its store, its proxy, its keys, and whoever calls it off.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::traces::InStore;
use super::{Eval, Job, progress};
use crate::capture::record::git_commit;
use crate::capture::{clock, ids};
use crate::cli::recording::Limits;
use crate::cli::runs::stored::{InLog, REQUEST};
use crate::cli::{Global, Misuse, judging};
use crate::eval::{self, EvalError, Finished, Hooks, Setup};

/// The folder in the store where trials work.
const WORK: &str = "work";

/// Makes the trials.
pub fn run(global: &Global, args: &Eval, job: Job) -> anyhow::Result<Finished> {
    let store = global.store()?;
    let settings = args.recording.settings(&store, Limits::default())?;
    let id = job.before.as_ref().map_or_else(new_id, |before| before.id.clone());
    let work_dir = store.dir().join(WORK);
    let lock = Lock::take(&work_dir, &id)?;
    let (sink, mut writer) = (store.writer()?, store.writer()?);
    writer.record(REQUEST, &id, clock::now(), &serde_json::to_value(&job.request)?)?;
    let env = judging::environment();
    let rubrics = &job.opened.loaded.rubrics;
    let reader = if rubrics.is_empty() { None } else { Some(store.reader()?) };
    let judging = args.judge.judging(rubrics.values(), reader.as_ref())?;
    drop(reader);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let finished = runtime.block_on(async {
        let git_commit = match job.before {
            Some(_) => None,
            None => git_commit(job.opened.dir.clone()).await,
        };
        let setup = Setup {
            keys: judging::keys(job.plan.variants.iter().map(|variant| variant.model.as_str()), &env),
            suite_dir: job.opened.dir.clone(),
            loaded: Arc::new(job.opened.loaded),
            plan: job.plan,
            before: job.before,
            allow_changed: args.allow_changed,
            run: id,
            name: args.name.clone(),
            jobs: args.jobs,
            max_broken: args.max_broken,
            infra_retries: args.infra_retries,
            keep_workspaces: args.keep_workspaces,
            work_dir,
            env,
            holdback: std::env::current_exe().context("finding this program")?,
            git_commit,
            traces: Arc::new(InStore::new(store.clone(), job.opened.dir.clone())),
            rounds: job.rounds,
            judging,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listening on 127.0.0.1")?;
        let (events, happened) = mpsc::unbounded_channel();
        let (call_off, interrupt) = watch::channel(false);
        let shown = tokio::spawn(progress::show(happened, args.quiet));
        // Before any trial begins: from then on a polite kill ends the run cleanly.
        let signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let watching = tokio::spawn(called_off(call_off, signals));
        let hooks = Hooks { keeper: Box::new(InLog(writer)), events, interrupt };
        let finished = eval::run(setup, settings.proxy, listener, sink, hooks).await;
        watching.abort();
        // It ends with the last sender of events.
        let _ = shown.await;
        finished.map_err(misuse_or_not)
    })?;
    drop(lock);
    Ok(finished)
}

/// Waits for Ctrl-C or a polite kill, then calls the run off.
async fn called_off(call_off: watch::Sender<bool>, (mut interrupt, mut terminate): (Signal, Signal)) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    eprintln!("holdback: called off: stopping what runs; what is finished is kept");
    let _ = call_off.send(true);
    // The run looks at the channel as long as it lasts.
    std::future::pending::<()>().await;
}

fn misuse_or_not(error: EvalError) -> anyhow::Error {
    match error {
        EvalError::Changed { .. } | EvalError::Graders { .. } | EvalError::Sandbox(_) => {
            Misuse(error.to_string()).into()
        }
        other => other.into(),
    }
}

/// A new run's id.
pub fn new_id() -> String {
    format!("{:012x}", ids::random() >> 16)
}

/// Held while a run is being made, so that two processes never make the same trials. A killed process lets go of it.
struct Lock {
    path: std::path::PathBuf,
    _file: File,
}

impl Lock {
    fn take(dir: &Path, run: &str) -> anyhow::Result<Lock> {
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let path = dir.join(format!("{run}.lock"));
        let doing = || format!("locking run {run} with {}", path.display());
        let file = File::create(&path).with_context(doing)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { path, _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(Misuse(format!("run {run} is being made by another process; wait for it, or stop it first")).into())
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(doing),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
