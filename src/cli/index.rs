//! `holdback index` and `holdback sql`: the DuckDB index, brought up to date and asked.

use std::io::{IsTerminal, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use comfy_table::CellAlignment;

use super::{Exit, Global, Misuse, out};
use crate::store::index::{Answer, Caller, Error, Folded, Index, Waiting};
use crate::store::log::Store;

/// How long to wait for another process's fold before giving up.
const PATIENCE: Duration = Duration::from_secs(300);
/// When to say for whom we wait.
const TELL_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(
    after_help = "The index is made from the log, brought up to date by whatever asks it, and can always be made again.\n\n\
                  Example: holdback index --rebuild"
)]
pub struct IndexArgs {
    /// Throw the index away and make it again from the log
    #[arg(long)]
    rebuild: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Brings the index up to date, or makes it anew.
pub fn run(global: &Global, args: &IndexArgs) -> anyhow::Result<Exit> {
    let store = global.existing_store()?;
    let folded = with_caller("index", |caller| match args.rebuild {
        true => Index::rebuild(&store, caller),
        false => Index::fold(&store, caller),
    })?;
    if args.json {
        out::json(&folded)?;
    } else {
        let rebuilt = folded.rebuilt.as_ref().map(|why| format!("made anew ({why}): ")).unwrap_or_default();
        out::text(format!("{rebuilt}{} entries read, {} calls added or completed\n", folded.entries, folded.calls))?;
        if folded.unreadable > 0 {
            eprintln!("{} records could not be read; `holdback doctor` says more", folded.unreadable);
        }
    }
    Ok(Exit::Pass)
}

/// Opens the index of a store, up to date, to be read.
pub fn open(store: &Store, purpose: &str) -> anyhow::Result<Index> {
    with_caller(purpose, |caller| Index::open(store, caller)).map_err(misuse_or_not)
}

/// Runs something on the index, with waiting and progress shown on stderr.
fn with_caller<T>(purpose: &str, work: impl FnOnce(&mut Caller<'_>) -> Result<T, Error>) -> Result<T, Error> {
    let bar = out::progress(None, "indexing calls");
    let mut told = false;
    let mut waiting = |waiting: &Waiting| {
        if waiting.waited >= TELL_AFTER && !told {
            told = true;
            eprintln!("waiting for {}, which has the index", waiting.holder);
        }
        if waiting.waited >= PATIENCE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut folding = |folded: &Folded| bar.set_position(folded.calls);
    let done = work(&mut Caller { purpose, waiting: &mut waiting, folding: &mut folding });
    bar.finish_and_clear();
    done
}

/// What a person wrote wrong exits with 2; what failed on its own with 4.
pub fn misuse_or_not(error: Error) -> anyhow::Error {
    match error {
        Error::Sql(_) | Error::NoRun { .. } | Error::ManyRuns { .. } => Misuse(error.to_string()).into(),
        other => other.into(),
    }
}

#[derive(Debug, Default, Args)]
#[command(after_help = "The tables are described in docs/schema.md; `holdback sql \"show tables\"` lists them.\n\n\
                  Examples:\n  holdback sql \"select model, count(*) AS calls, sum(cost_usd) AS usd from calls group by model\"\n  \
                  holdback sql --json \"from traces\" | jq .")]
pub struct Sql {
    /// One statement that reads; `-` takes it from stdin
    query: String,
    /// Print a JSON array of row objects
    #[arg(long)]
    json: bool,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Write a Parquet file instead of printing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "csv"])]
    parquet: Option<PathBuf>,
}

impl Sql {
    /// A query whose answer is printed as a table.
    pub fn of(query: &str) -> Self {
        Sql { query: query.to_owned(), ..Sql::default() }
    }
}

/// Answers a person's SQL.
pub fn sql(global: &Global, args: &Sql) -> anyhow::Result<Exit> {
    let query = match args.query.as_str() {
        "-" => {
            let mut query = String::new();
            std::io::stdin().read_to_string(&mut query).context("reading the query from stdin")?;
            query
        }
        query => query.to_owned(),
    };
    let store = global.existing_store()?;
    let index = open(&store, "sql")?;
    if let Some(file) = &args.parquet {
        let rows = index.sql_to_parquet(&query, file).map_err(misuse_or_not)?;
        eprintln!("wrote {rows} rows to {}", file.display());
        return Ok(Exit::Pass);
    }
    let answer = index.sql(&query).map_err(misuse_or_not)?;
    drop(index);
    if args.json {
        out::text(answer.json())?;
    } else if args.csv {
        out::bytes(&answer.csv())?;
    } else {
        print(&answer)?;
    }
    Ok(Exit::Pass)
}

fn print(answer: &Answer) -> anyhow::Result<()> {
    let names: Vec<&str> = answer.columns.iter().map(String::as_str).collect();
    let mut table = out::plain_table(&names);
    for row in answer.texts() {
        let missing = if std::io::stdout().is_terminal() { "∅" } else { "" };
        table.add_row(row.into_iter().map(|cell| out::printable(&cell.unwrap_or_else(|| missing.to_owned()))));
    }
    for column in 0..answer.columns.len() {
        if answer.is_number(column)
            && let Some(column) = table.column_mut(column)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    out::print_table(&table)?;
    match answer.len() {
        1 => eprintln!("1 row"),
        rows => eprintln!("{rows} rows"),
    }
    Ok(())
}
