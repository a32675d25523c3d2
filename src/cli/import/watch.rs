//! `holdback import --watch`: looks again and again for files that are new or have grown.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rayon::prelude::*;

use super::{Door, line, walk};
use crate::capture::clock;
use crate::cli::{Exit, out};

/// How often to look.
const EVERY: Duration = Duration::from_secs(1);
/// A file that has not changed for so long is done growing, until it does.
const QUIET: Duration = Duration::from_secs(10);

/// What a file was like when it was last imported.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    len: u64,
    modified: SystemTime,
    settled: bool,
}

/// Imports until it is told to stop.
pub fn run(door: &Door, paths: &[PathBuf]) -> anyhow::Result<Exit> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    eprintln!(
        "holdback: watching {}; Ctrl-C stops",
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    );
    let mut seen: HashMap<PathBuf, Seen> = HashMap::new();
    while !stop.load(Ordering::Relaxed) {
        let (jobs, _) = walk::jobs(paths, door.shared.store().dir());
        let now = clock::now();
        let changed: Vec<_> = jobs
            .into_iter()
            .filter_map(|job| {
                let looks: Vec<_> =
                    job.iter().filter_map(|file| Some((file.path.clone(), look(&file.path, now.0)?))).collect();
                let fresh = looks.iter().any(|(path, look)| seen.get(path) != Some(look));
                let settled = looks.iter().all(|(_, look)| look.settled);
                seen.extend(looks);
                fresh.then_some((job, settled))
            })
            .collect();
        let done: Vec<_> = changed.par_iter().flat_map_iter(|(job, settled)| door.job(job, *settled)).collect();
        for done in done.iter().filter(|done| done.added || done.error.is_some()) {
            eprintln!("{}", out::printable(&line(done)));
        }
        door.shared.keep_runs(now)?;
        let mut waited = Duration::ZERO;
        while waited < EVERY && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
            waited += Duration::from_millis(50);
        }
    }
    Ok(Exit::Pass)
}

fn look(path: &std::path::Path, now: i64) -> Option<Seen> {
    let about = path.metadata().ok()?;
    let modified = about.modified().ok()?;
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let quiet = now.saturating_sub(i64::try_from(since.as_micros()).ok()?);
    Some(Seen { len: about.len(), modified, settled: quiet > i64::try_from(QUIET.as_micros()).ok()? })
}
