//! `holdback report`: runs as a page, Markdown, JSON, CSV or Parquet.

mod delivered;
mod gather;
pub mod production;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Exit, Global, Misuse, arms, index, out};
use crate::report::{self, brief, overview::Overview, page, template};

#[derive(Debug, Default, Args)]
#[command(
    after_help = "The ending of --output says what is written: .html is one page that needs nothing else, .md is short enough \
                  for a pull request, .json has everything, .csv and .parquet have a row for each trial. Without --output the \
                  Markdown is printed. A report decides nothing and exits with 0 also when something got worse; `holdback gate` \
                  decides. It exits with 3 when nothing was measured.\n\nExamples:\n  holdback report -o reports/last.html\n  \
                  holdback report candidate --baseline main -o reports/upgrade.html\n  \
                  holdback report last --template house.md.j2 -o summary.md\n  \
                  holdback report --production --since 30d --repo . -o reports/november.html"
)]
pub struct Report {
    /// Runs, or variants of runs [default: last]
    #[arg(value_name = "RUN[:VARIANT]")]
    runs: Vec<String>,
    /// What they are held against; once per suite
    #[arg(long, value_name = "RUN[:VARIANT]|FILE")]
    baseline: Vec<String>,
    /// The file to write: .html, .md, .json, .csv or .parquet
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Words for the top of it
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// A minijinja template for Markdown, HTML or text of your own; docs/report.md says what it sees
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// The gate's policy, where there is a baseline
    #[arg(long, value_name = "FILE", requires = "baseline")]
    policy: Option<PathBuf>,
    /// Report on the loops that were recorded instead, not on runs of suites
    #[arg(long, conflicts_with_all = ["runs", "baseline", "template", "title"])]
    production: bool,
    /// How far back: 30d (when left out), 12h, 2w, or a day like 2026-11-01
    #[arg(long, value_name = "SPAN", requires = "production")]
    since: Option<String>,
    /// A git repository: what loops left in it, and whether it lasted
    #[arg(long, value_name = "FOLDER", requires = "production")]
    repo: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long, conflicts_with_all = ["output", "template"])]
    json: bool,
}

impl Report {
    /// A report of runs against a baseline, into a file.
    pub fn of(runs: &[&str], baseline: &str, title: &str, output: &Path) -> Self {
        Report {
            runs: runs.iter().map(|run| (*run).to_owned()).collect(),
            baseline: vec![baseline.to_owned()],
            output: Some(output.to_owned()),
            title: Some(title.to_owned()),
            ..Report::default()
        }
    }
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Html,
    Markdown,
    Json,
    Csv,
    Parquet,
}

impl Format {
    fn of(path: &Path) -> anyhow::Result<Format> {
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or("").to_ascii_lowercase();
        Ok(match end.as_str() {
            "html" | "htm" => Format::Html,
            "md" | "markdown" => Format::Markdown,
            "json" => Format::Json,
            "csv" => Format::Csv,
            "parquet" => Format::Parquet,
            _ => {
                let path = path.display();
                return Err(Misuse(format!("--output {path}: expected .html, .md, .json, .csv or .parquet")).into());
            }
        })
    }
}

/// Makes the report.
pub fn run(global: &Global, args: &Report) -> anyhow::Result<Exit> {
    if args.production {
        return of_production(global, args);
    }
    let overview = match (&args.output, &args.template) {
        (Some(path), None) => match Format::of(path)? {
            Format::Csv | Format::Parquet => return rows(global, args, path),
            format => {
                let overview = gather::overview(global, args)?;
                put(path, &text(&overview, format))?;
                overview
            }
        },
        (output, Some(file)) => {
            let source = arms::text_of(file)?;
            let overview = gather::overview(global, args)?;
            // `house.md.j2` is Markdown; what is HTML is escaped.
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let filled = template::render(name.trim_end_matches(".j2").trim_end_matches(".jinja"), &source, &overview)
                .map_err(|error| Misuse(format!("--template {}: {error}", file.display())))?;
            match output {
                Some(path) => put(path, &filled)?,
                None => out::text(filled)?,
            }
            overview
        }
        (None, None) => {
            let overview = gather::overview(global, args)?;
            out::text(if args.json { overview.to_json() } else { brief::markdown(&overview) })?;
            overview
        }
    };
    Ok(if overview.is_empty() { Exit::Undecided } else { Exit::Pass })
}

/// A report on a span of time.
fn of_production(global: &Global, args: &Report) -> anyhow::Result<Exit> {
    let format = args.output.as_deref().map(Format::of).transpose()?;
    let report = production::gather(global, args.since.as_deref().unwrap_or("30d"), args.repo.as_deref())?;
    let text = match format {
        Some(Format::Html) => report::production::html(&report),
        Some(Format::Json) => report.to_json(),
        Some(Format::Csv | Format::Parquet) => {
            let hint = "`holdback sql --parquet FILE \"FROM trace_summaries\"` writes the traces";
            return Err(Misuse(format!("--production writes .html, .md or .json; {hint}")).into());
        }
        None if args.json => report.to_json(),
        Some(Format::Markdown) | None => report::production::markdown(&report),
    };
    match &args.output {
        Some(path) => put(path, &text)?,
        None => out::text(text)?,
    }
    Ok(if report.all().is_some_and(|all| all.traces > 0) { Exit::Pass } else { Exit::Undecided })
}

/// Writes a report into its file and gives what stands at its top.
pub fn written(global: &Global, args: &Report) -> anyhow::Result<String> {
    let overview = gather::overview(global, args)?;
    if let Some(path) = &args.output {
        put(path, &text(&overview, Format::of(path)?))?;
    }
    Ok(format!("{}: {}", overview.headline.word, out::printable(&overview.headline.why)))
}

/// A report of a run, held against a baseline when one is named.
pub fn overview(global: &Global, run: &str, baseline: Option<&str>) -> anyhow::Result<Overview> {
    let baseline = baseline.map(str::to_owned).into_iter().collect();
    gather::overview(global, &Report { runs: vec![run.to_owned()], baseline, ..Report::default() })
}

fn text(overview: &Overview, format: Format) -> String {
    match format {
        Format::Html => page::html(overview),
        Format::Json => overview.to_json(),
        Format::Markdown | Format::Csv | Format::Parquet => brief::markdown(overview),
    }
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    let size = out::publish(path, |file| Ok(file.write_all(text.as_bytes())?))?;
    eprintln!("wrote {} ({})", path.display(), out::size(size));
    Ok(())
}

/// A row for each trial, by DuckDB.
fn rows(global: &Global, args: &Report, path: &Path) -> anyhow::Result<Exit> {
    let index = index::open(&global.existing_store()?, "report")?;
    let mut ids = Vec::new();
    for word in args.words().iter().chain(args.baseline.iter().filter(|word| !arms::is_file(word))) {
        ids.push(format!(
            "'{}'",
            index.load_run(arms::split(word).0).map_err(index::misuse_or_not)?.id.replace('\'', "''")
        ));
    }
    let query = format!(
        "SELECT * FROM trial_results WHERE run_id IN ({}) ORDER BY run_id, task, variant, attempt, trial_id",
        ids.join(", ")
    );
    if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("parquet")) {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let rows = index.sql_to_parquet(&query, path).map_err(index::misuse_or_not)?;
        eprintln!("wrote {} ({rows} trials)", path.display());
        return Ok(if rows == 0 { Exit::Undecided } else { Exit::Pass });
    }
    let answer = index.sql(&query).map_err(index::misuse_or_not)?;
    drop(index);
    out::publish(path, |file| Ok(file.write_all(&answer.csv())?))?;
    eprintln!("wrote {} ({} trials)", path.display(), answer.len());
    Ok(if answer.is_empty() { Exit::Undecided } else { Exit::Pass })
}

impl Report {
    fn words(&self) -> Vec<String> {
        if self.runs.is_empty() { vec!["last".to_owned()] } else { self.runs.clone() }
    }
}
