//! `holdback runs`: lists runs, shows one, puts shards together.

mod criteria;
pub mod report;
pub mod stored;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use comfy_table::CellAlignment;
use serde_json::json;

use self::report::Summary;
use self::stored::{REQUEST, Runs, keep_whole};
use super::{Exit, Global, Misuse, eval, out};
use crate::capture::clock;
use crate::eval::{merge, trial_id};
use crate::store::log::Store;
use crate::trial::{Outcome, RunRecord};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Runs are named by name, id, the beginning of an id, or `last`.\n\nExamples:\n  holdback runs\n  \
                  holdback runs show last\n  holdback runs merge shard-1 shard-2 --name nightly"
)]
pub struct RunsArgs {
    #[command(subcommand)]
    command: Option<RunsCommand>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum RunsCommand {
    /// List runs, the newest first
    Ls(List),
    /// Show a run: its table, and every trial that did not pass
    Show(Show),
    /// Put the shards of a run together as a new run
    Merge(Merge),
}

#[derive(Debug, Default, Args)]
struct List {
    /// Only runs of this suite
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
    /// Only runs with this tag
    #[arg(long, value_name = "KEY=VALUE")]
    tag: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Show {
    /// A name, an id, the beginning of one, or `last`
    run: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Merge {
    /// The runs to put together
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// Also look for them in this store, another machine's say; any number of them
    #[arg(long, value_name = "DIR")]
    from: Vec<PathBuf>,
    /// A name for the whole
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Does what was asked of the runs.
pub fn run(global: &Global, args: RunsArgs) -> anyhow::Result<Exit> {
    match args.command {
        None => list(global, &args.list),
        Some(RunsCommand::Ls(args)) => list(global, &args),
        Some(RunsCommand::Show(args)) => show(global, &args),
        Some(RunsCommand::Merge(args)) => put_together(global, &args),
    }
}

fn list(global: &Global, args: &List) -> anyhow::Result<Exit> {
    let runs = Runs::read(global.existing_store()?.reader()?)?;
    let tag = args.tag.as_deref().map(super::record::parse_tag).transpose()?;
    let fits = |run: &&RunRecord| {
        let tags = runs.request(&run.id).map(|request| &request.tags);
        args.suite.as_ref().is_none_or(|suite| run.suite == *suite)
            && tag.as_ref().is_none_or(|(key, value)| tags.and_then(|tags| tags.get(key)) == Some(value))
    };
    let chosen = runs.all.iter().rev().filter(fits).take(args.limit).map(|run| runs.whole(run));
    let chosen = chosen.collect::<anyhow::Result<Vec<RunRecord>>>()?;
    let count = |run: &RunRecord, outcome| run.trials.iter().filter(|trial| trial.outcome == outcome).count();
    if args.json {
        let all: Vec<_> = chosen
            .iter()
            .map(|run| {
                json!({"id": run.id, "name": run.name, "suite": run.suite, "kind": run.kind, "started": run.started,
                    "finished": run.finished, "trials": run.trials.len(), "passed": count(run, Outcome::Pass),
                    "failed": count(run, Outcome::Fail), "invalid": count(run, Outcome::Invalid),
                    "tags": runs.request(&run.id).map(|request| &request.tags)})
            })
            .collect();
        out::json(&all)?;
        return Ok(Exit::Pass);
    }
    let mut table = out::table(&["run", "name", "suite", "started", "trials", "passed", "broken", "state"]);
    for column in table.column_iter_mut().skip(4).take(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for run in &chosen {
        table.add_row([
            run.id.clone(),
            out::printable(run.name.as_deref().unwrap_or("-")),
            out::printable(&run.suite),
            run.started.to_string().chars().take(19).collect(),
            run.trials.len().to_string(),
            count(run, Outcome::Pass).to_string(),
            count(run, Outcome::Invalid).to_string(),
            if run.finished.is_some() { "finished" } else { "unfinished" }.to_owned(),
        ]);
    }
    out::print_table(&table)?;
    Ok(Exit::Pass)
}

fn show(global: &Global, args: &Show) -> anyhow::Result<Exit> {
    let runs = Runs::read(global.existing_store()?.reader()?)?;
    tell(global, &runs.get_whole(&args.run)?, args.json)?;
    Ok(Exit::Pass)
}

/// A run with its heading, its table and all its failures.
fn tell(global: &Global, run: &RunRecord, as_json: bool) -> anyhow::Result<()> {
    let summary = Summary::of(run);
    if as_json {
        return out::json(&json!({"summary": summary, "run": run}));
    }
    let paint = global.paint();
    let name = run.name.as_ref().map(|name| format!(" ({})", out::printable(name))).unwrap_or_default();
    let state = match run.finished {
        Some(at) => format!("finished {at} UTC"),
        None => format!("unfinished: holdback eval --resume {}", run.id),
    };
    let commit = run.git_commit.as_ref().map(|commit| format!(", commit {}", &commit[..commit.len().min(12)]));
    out::text(format!(
        "{}{name}: {} suite {}{}\nstarted {} UTC, {state}\n\n{}",
        paint.bold(&run.id),
        run.kind,
        out::printable(&run.suite),
        commit.unwrap_or_default(),
        run.started,
        summary.text(paint, usize::MAX)
    ))
}

fn put_together(global: &Global, args: &Merge) -> anyhow::Result<Exit> {
    let home = global.store()?;
    let others = args.from.iter().map(|dir| {
        Store::existing(dir).map_err(|error| anyhow::Error::from(Misuse(format!("--from {}: {error}", dir.display()))))
    });
    let stores = std::iter::once(Ok(home.clone())).chain(others).collect::<anyhow::Result<Vec<Store>>>()?;
    let known = stores.iter().map(|store| Runs::read(store.reader()?)).collect::<anyhow::Result<Vec<Runs>>>()?;
    let mut shards: Vec<RunRecord> = Vec::new();
    for word in &args.runs {
        let mut found = None;
        for runs in &known {
            if let (None, Some(run)) = (&found, runs.find(word, |_| true)?) {
                found = Some(runs.whole(run)?);
            }
        }
        shards.push(found.ok_or_else(|| Misuse(format!("there is no run {word:?} in any of the stores")))?);
    }
    let id = eval::new_id();
    // A trial gets a new id in the whole, and what was kept of it goes with it.
    let mut renamed = HashMap::new();
    for trial in shards.iter().flat_map(|shard| &shard.trials) {
        renamed.insert(trial.id.clone(), trial_id(&id, &trial.task, &trial.variant, trial.attempt));
    }
    let first = shards.first().map(|shard| shard.id.clone()).unwrap_or_default();
    let mut whole = merge(shards, &id).map_err(|error| Misuse(error.to_string()))?;
    whole.name.clone_from(&args.name);
    for trial in &mut whole.trials {
        trial.copy_of = trial.copy_of.as_ref().and_then(|copied| renamed.get(copied).cloned());
    }
    let (mut writer, now) = (home.writer()?, clock::now());
    let ids: HashSet<&str> = renamed.keys().map(String::as_str).collect();
    let mut moved = HashSet::new();
    for reader in known.iter().filter_map(Runs::reader) {
        for record in reader.records_named("evidence", &ids)? {
            if moved.insert(record.id.clone()) {
                writer.record("evidence", &renamed[&record.id], now, &record.data)?;
            }
        }
    }
    if let Some(request) = known.iter().find_map(|runs| runs.request(&first)) {
        let mut request = request.clone();
        request.asked.shard = None;
        writer.record(REQUEST, &id, now, &serde_json::to_value(&request)?)?;
    }
    keep_whole(&mut writer, &whole, now)?;
    tell(global, &whole, args.json)?;
    Ok(Exit::Pass)
}
