//! `holdback import`: traces and results of other tools, brought in. Which format a file has is told by its content.

pub mod keeper;
mod walk;
mod watch;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, Seek};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rayon::prelude::*;
use serde::Serialize;

use super::recording::{Keep, Recording};
use super::{Exit, Global, Misuse, out};
use crate::capture::clock;
use crate::import::{self, Kind, Opened, Settings, Shape, Source, Tally};
use crate::price::Table;
use crate::redact::Redactor;
use crate::store::log::ImportError;
use crate::trace::{Content, Timestamp, TraceId};
use keeper::{Keeper, Shared};

/// Bytes that are looked at to tell a format.
const HEAD: usize = 256 << 10;
/// And more, when the first line goes on.
const LONG_HEAD: usize = 4 << 20;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Importing twice adds nothing, and a file that has grown adds what is new. docs/import.md lists the formats \
                  and what each can tell.\n\nExamples:\n  holdback import ~/.claude/projects\n  \
                  holdback import ~/.codex/sessions --watch\n  holdback import run.eval results.json\n  \
                  holdback import export.jsonl --format langfuse\n  holdback import suite promptfooconfig.yaml"
)]
pub struct Import {
    #[command(subcommand)]
    command: Option<ImportCommand>,
    /// Files, and folders with files in them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The format of all files, or auto: each is told by its content
    #[arg(long, default_value = "auto", value_name = "NAME")]
    format: String,
    /// Keep looking for what is new, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Settings: prices, redact, content [default: holdback.yaml, when it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How much of what is said is kept
    #[arg(long, value_enum)]
    content: Option<Keep>,
    /// Prices that replace or add to the built-in table
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum ImportCommand {
    /// Make a suite of a promptfoo configuration or of Harbor's task folders
    Suite(super::import_suite::ImportSuite),
}

/// What became of one file.
#[derive(Debug, Default, Serialize)]
struct Done {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<TraceId>,
    /// Whether anything was new.
    added: bool,
    added_calls: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tally: Option<Tally>,
}

/// What every file is imported with.
struct Door {
    shared: Shared,
    redactor: std::sync::Arc<Redactor>,
    prices: Table,
    content: Content,
    format: Option<&'static import::Format>,
}

/// Imports what was named.
pub fn run(global: &Global, args: &Import) -> anyhow::Result<Exit> {
    if let Some(ImportCommand::Suite(args)) = &args.command {
        return super::import_suite::run(global, args);
    }
    let format = match args.format.as_str() {
        "auto" => None,
        name => Some(import::format(name).ok_or_else(|| unknown_format(name))?),
    };
    let store = global.store()?;
    let recording = Recording::for_import(args.config.clone(), args.content, args.prices.clone());
    let settings = recording.settings(&store, Default::default())?.proxy;
    let (redactor, prices, content) = (settings.redactor, settings.prices, settings.content);
    let door = Door { shared: Shared::of(store)?, redactor, prices, content, format };
    if args.watch {
        return watch::run(&door, &args.paths);
    }
    let (jobs, missing) = walk::jobs(&args.paths, door.shared.store().dir());
    let bar = out::progress(Some(jobs.iter().map(|job| job.len() as u64).sum()), "importing");
    let mut done: Vec<Done> = jobs
        .par_iter()
        .flat_map_iter(|job| {
            let done = door.job(job, true);
            bar.inc(job.len() as u64);
            done
        })
        .collect();
    bar.finish_and_clear();
    done.extend(missing.into_iter().map(|(path, error)| Done { file: path, error: Some(error), ..Done::default() }));
    let runs = door.shared.keep_runs(clock::now())?;
    report(&done, runs, args.json)
}

fn unknown_format(name: &str) -> Misuse {
    let known: Vec<&str> = import::FORMATS.iter().map(|format| format.name).collect();
    Misuse(format!("--format {name:?}: expected auto, or one of {}", known.join(", ")))
}

impl Door {
    /// Imports files that belong together, one after the other.
    fn job(&self, files: &[walk::Found], settled: bool) -> Vec<Done> {
        let mut belonging = import::Job::default();
        let mut keeper = match self.shared.keeper() {
            Ok(keeper) => keeper,
            Err(error) => return files.iter().map(|file| failed(&file.path, format!("{error:#}"))).collect(),
        };
        let mut done: Vec<Done> =
            files.iter().map(|file| self.file(file, settled, &mut belonging, &mut keeper)).collect();
        let settings = Settings { redactor: &self.redactor, content: self.content, prices: &self.prices, settled };
        keeper.begin();
        let finished = belonging.finish(&settings, &mut keeper);
        if let Some(last) = done.last_mut() {
            // What had waited for other files is told with the last of them.
            last.added_calls += keeper.added().1;
            last.error = last.error.take().or_else(|| finished.err().map(|error| error.to_string()));
        }
        done
    }

    fn file(&self, found: &walk::Found, settled: bool, belonging: &mut import::Job, keeper: &mut Keeper<'_>) -> Done {
        let path = found.path.display().to_string();
        let modified = found.path.metadata().and_then(|about| about.modified()).ok();
        let modified = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let modified = Timestamp(modified.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(0)));
        let mut file = match File::open(&found.path) {
            Ok(file) => file,
            Err(error) => return failed(&found.path, error.to_string()),
        };
        let mut beside = file.try_clone().ok();
        let opened = match file.try_clone().and_then(import::open) {
            Ok(opened) => opened,
            Err(error) => return failed(&found.path, error.to_string()),
        };
        let (mut from, mut whole): (Box<dyn BufRead>, Option<File>) = match opened {
            Opened::Plain(from) => (from, None),
            Opened::Zip => (Box::new(&b"PK\x03\x04"[..]), beside.take()),
        };
        let head = match peek(&mut from) {
            Ok(head) => head,
            Err(error) => return failed(&found.path, error.to_string()),
        };
        if head.starts_with(b"{\"holdback_trace\"") {
            return self.own(&found.path, &mut file);
        }
        let kind = match self.format {
            Some(format) => Kind::Known(format),
            None => import::detect(&Shape::of(&path, &head)),
        };
        let format = match kind {
            Kind::Known(format) => format,
            Kind::Sidecar(why) => return Done { file: path, skipped: Some(why.to_owned()), ..Done::default() },
            Kind::Unknown if found.named => {
                return failed(
                    &found.path,
                    "its format is not known here; docs/import.md lists those that are".to_owned(),
                );
            }
            Kind::Unknown => {
                return Done { file: path, skipped: Some("not in a format known here".to_owned()), ..Done::default() };
            }
        };
        let settings = Settings { redactor: &self.redactor, content: self.content, prices: &self.prices, settled };
        let mut all = std::io::BufReader::with_capacity(256 << 10, std::io::Read::chain(&head[..], from));
        let mut log = None;
        if import::is_database(&head) {
            whole = beside;
            log = log_beside(&found.path);
        }
        let mut source = Source {
            path: &path,
            modified,
            from: &mut all,
            file: whole.as_mut().map(|file| file as &mut dyn import::ReadSeek),
            beside: log.as_mut().map(|file| file as &mut dyn import::ReadSeek),
        };
        keeper.begin();
        let (tally, result) = import::import(format, &mut source, &settings, belonging, keeper);
        let (events, added_calls) = keeper.added();
        Done {
            file: path,
            format: Some(format.name),
            error: result.err().map(|error| error.to_string()),
            added: events > 0,
            added_calls,
            tally: Some(tally),
            ..Done::default()
        }
    }

    /// A trace that `traces export` wrote.
    fn own(&self, path: &Path, file: &mut File) -> Done {
        let file_name = path.display().to_string();
        let rewound = file.rewind().map_err(|error| ImportError::Keep(Box::new(error)));
        match rewound.and_then(|()| self.shared.store().import(file, None)) {
            Ok(trace) => {
                Done { file: file_name, format: Some("holdback"), trace: Some(trace), added: true, ..Done::default() }
            }
            Err(ImportError::Present(trace)) => {
                Done { file: file_name, format: Some("holdback"), trace: Some(trace), ..Done::default() }
            }
            Err(error) => failed(path, error.to_string()),
        }
    }
}

fn failed(path: &Path, error: String) -> Done {
    Done { file: path.display().to_string(), error: Some(error), ..Done::default() }
}

/// What a database has not yet taken over from its log.
fn log_beside(database: &Path) -> Option<File> {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    std::fs::symlink_metadata(&name).ok().filter(std::fs::Metadata::is_file)?;
    File::open(name).ok()
}

/// The first bytes of a file, at least its first line when that isn't longer than any; they are read again later.
fn peek(from: &mut dyn BufRead) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(&mut *from, HEAD as u64), &mut head)?;
    if head.len() == HEAD && !head.contains(&b'\n') {
        std::io::Read::take(from, LONG_HEAD as u64).read_until(b'\n', &mut head)?;
    }
    Ok(head)
}

/// One line a file on stderr, and what it comes to.
fn report(done: &[Done], runs: usize, json: bool) -> anyhow::Result<Exit> {
    let failed = done.iter().filter(|done| done.error.is_some()).count();
    let skipped = done.iter().filter(|done| done.skipped.is_some()).count();
    if json {
        out::json(&done)?;
    } else {
        done.iter().for_each(|done| eprintln!("{}", out::printable(&line(done))));
        let calls: u64 = done.iter().map(|done| done.added_calls).sum();
        let files = done.len() - failed - skipped;
        let mut words = format!("{files} files read, {calls} new calls");
        if runs > 0 {
            words.push_str(&format!(", {runs} new runs"));
        }
        out::text(format!("{words}, {skipped} files skipped, {failed} failed\n"))?;
    }
    Ok(if failed > 0 { Exit::Regression } else { Exit::Pass })
}

/// What became of a file, in a line.
fn line(done: &Done) -> String {
    let file = &done.file;
    if let Some(error) = &done.error {
        return format!("{file}: failed: {error}");
    }
    if let Some(why) = &done.skipped {
        return format!("{file}: skipped: {why}");
    }
    if let Some(trace) = done.trace {
        return format!("{file}: trace {trace}{}", if done.added { "" } else { " was here already" });
    }
    let Some(tally) = &done.tally else { return file.clone() };
    let mut words = vec![format!("{} of {} lines used", tally.used, tally.lines)];
    let mut counted = |count: u64, what: &str| {
        if count > 0 {
            words.push(format!("{count} {what}"));
        }
    };
    counted(tally.traces, "traces");
    counted(tally.calls, "calls");
    counted(tally.runs, "runs");
    counted(tally.trials, "trials");
    counted(tally.damaged, "lines damaged");
    let listed = |counts: &BTreeMap<String, u64>| {
        counts.iter().map(|(what, n)| format!("{n} {what}")).collect::<Vec<_>>().join(", ")
    };
    if !tally.skipped.is_empty() {
        words.push(format!("passed over: {}", listed(&tally.skipped)));
    }
    if !tally.unknown.is_empty() {
        words.push(format!("unknown, kept as events: {}", listed(&tally.unknown)));
    }
    words.extend(tally.remarks.iter().cloned());
    if !done.added && tally.runs == 0 {
        words.push("all of it was here already".to_owned());
    }
    format!("{file}: {}: {}", done.format.unwrap_or_default(), words.join("; "))
}
