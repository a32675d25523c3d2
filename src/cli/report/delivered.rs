//! What loops left in a repository: commits made while one ran there, and whether their lines lasted. Git says it all.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::capture::child::{self, Env, Output, Spec};
use crate::cli::Misuse;
use crate::report::production::Delivered;
use crate::store::index::ProductionSpan;
use crate::trace::Timestamp;

/// How long a line has to last.
const CHURN_DAYS: u32 = 21;
/// Commits and files of one that are looked into.
const COMMITS: usize = 200;
const FILES: usize = 60;
/// A commit that comes this long after a trace's end is still its own.
const AFTER_S: i64 = 60;
/// How long git may take for one answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of one answer.
const ANSWER: u64 = 32 << 20;

struct Git {
    root: PathBuf,
}

impl Git {
    fn of(folder: &Path) -> anyhow::Result<Git> {
        let wrong = || Misuse(format!("--repo {}: no git repository is there", folder.display()));
        let here = Git { root: folder.to_owned() };
        let root = here.say(&["rev-parse", "--show-toplevel"])?.ok_or_else(wrong)?;
        Ok(Git { root: PathBuf::from(root.trim()).canonicalize()? })
    }

    /// What git prints; `None` when it says no.
    fn say(&self, args: &[&str]) -> anyhow::Result<Option<String>> {
        let command = std::iter::once("git").chain(args.iter().copied()).map(str::to_owned).collect();
        let spec = Spec {
            cwd: Some(self.root.clone()),
            // Somebody's own settings must not start programs of theirs.
            env: Env::Inherit {
                set: vec![("GIT_PAGER".into(), "cat".into()), ("GIT_OPTIONAL_LOCKS".into(), "0".into())],
                remove: Vec::new(),
            },
            stdout: Output::Memory(ANSWER),
            ..Spec::new(command, Vec::new())
        };
        let exit = child::spawn(&spec)?.wait(Some(PATIENCE))?;
        Ok(exit.success().then(|| String::from_utf8_lossy(&exit.stdout.bytes).into_owned()))
    }

    /// Commits since a time, with when they were made, in seconds.
    fn commits(&self, since: Timestamp) -> anyhow::Result<Vec<(String, i64)>> {
        let since = format!("--since={}", since.0 / 1_000_000);
        let log = self.say(&["log", "--all", "--no-merges", &since, "--format=%H %ct"])?.unwrap_or_default();
        Ok(log
            .lines()
            .filter_map(|line| line.split_once(' ').and_then(|(id, at)| Some((id.to_owned(), at.parse().ok()?))))
            .collect())
    }

    /// Lines added and removed, file by file.
    fn changed(&self, commit: &str) -> anyhow::Result<Vec<(u64, u64, String)>> {
        let stat = self.say(&["show", "--numstat", "-z", "--no-renames", "--format=", commit])?.unwrap_or_default();
        let one = |line: &str| {
            let mut parts = line.trim_start_matches('\n').splitn(3, '\t');
            Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.to_owned()))
        };
        Ok(stat.split('\0').filter_map(one).collect())
    }

    /// Lines of a file that a commit wrote and that were still there at a time.
    fn lasting(&self, commit: &str, at: &str, file: &str) -> anyhow::Result<u64> {
        let blame = self.say(&["blame", "-w", "-s", "-l", "--root", at, "--", file])?.unwrap_or_default();
        Ok(blame.lines().filter(|line| line.starts_with(commit)).count() as u64)
    }
}

/// Looks at a repository.
///
/// # Errors
/// When there is none, or git can't be started.
pub fn delivered(
    folder: &Path,
    spans: &[ProductionSpan],
    since: Timestamp,
    now: Timestamp,
) -> anyhow::Result<Delivered> {
    let git = Git::of(folder)?;
    let inside: Vec<&ProductionSpan> = spans
        .iter()
        .filter(|span| {
            span.cwd
                .as_ref()
                .is_some_and(|cwd| Path::new(cwd).canonicalize().is_ok_and(|cwd| cwd.starts_with(&git.root)))
        })
        .collect();
    let during = |at: i64| {
        inside.iter().any(|span| {
            let end = span.ended_at.map_or(now.0, |end| end.0) / 1_000_000;
            (span.started_at.0 / 1_000_000..=end + AFTER_S).contains(&at)
        })
    };
    let mut found = Delivered {
        repository: folder.display().to_string(),
        traces: inside.len() as u64,
        churn_days: CHURN_DAYS,
        ..Delivered::default()
    };
    let commits: Vec<(String, i64)> = git.commits(since)?.into_iter().filter(|(_, at)| during(*at)).collect();
    found.commits = commits.len() as u64;
    found.not_looked_at = commits.len().saturating_sub(COMMITS) as u64;
    let merged: HashSet<String> =
        git.say(&["rev-list", "HEAD"])?.unwrap_or_default().lines().map(str::to_owned).collect();
    for (commit, at) in commits.iter().take(COMMITS) {
        found.merged += u64::from(merged.contains(commit));
        let changed = git.changed(commit)?;
        found.lines_added += changed.iter().map(|(added, ..)| added).sum::<u64>();
        found.lines_removed += changed.iter().map(|(_, removed, _)| removed).sum::<u64>();
        let due = at + i64::from(CHURN_DAYS) * 86_400;
        if due * 1_000_000 > now.0 {
            found.too_young += 1;
            continue;
        }
        if !merged.contains(commit) {
            continue;
        }
        let then = git.say(&["rev-list", "-1", &format!("--before={due}"), "HEAD"])?.unwrap_or_default();
        for (added, _, file) in changed.iter().filter(|(added, ..)| *added > 0).take(FILES) {
            found.judged_lines += added;
            found.churned_lines += added.saturating_sub(git.lasting(commit, then.trim(), file)?);
        }
    }
    Ok(found)
}
