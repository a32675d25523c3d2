//! The door: one file per subcommand. Flags are read here, stdout is written here, exit codes are decided here.

mod answers;
mod arms;
mod ask;
mod baseline;
mod check;
mod compare;
mod demo;
mod doctor;
mod eval;
mod exit;
mod gate;
mod grade;
mod help;
mod import;
mod import_suite;
mod index;
mod init;
mod judge;
mod judging;
mod mcp;
mod models;
mod otlp;
mod out;
mod plan;
mod promote;
mod proxy;
mod record;
mod recording;
mod replay;
mod report;
mod rubric;
mod runs;
mod shadow;
mod suite_file;
mod tapes;
mod tool_tape;
mod traces;
mod view;
mod watch;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::store::log::{Durability, Store};

pub use exit::{Exit, Misuse};

/// Record, replay, grade and gate agent loops; keep it all in DuckDB.
#[derive(Debug, Parser)]
#[command(
    name = "holdback",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 pass, 1 regression or failed check, 2 usage, 3 undecided or nothing evaluated, \
                  4 infrastructure or invalid run.\n\nTry it without any key: holdback demo"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Where traces are kept
    #[arg(long, global = true, value_name = "DIR", env = "HOLDBACK_STORE", default_value = ".holdback")]
    store: PathBuf,
    /// When a record counts as kept: the system has it, or the disk
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = Durable::Os)]
    durability: Durable,
    /// When to colour what is printed
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = Colour::Auto)]
    color: Colour,
}

/// When a record counts as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Durable {
    /// When the operating system has it: it outlives a crash of holdback
    Os,
    /// When the disk has it: it outlives a power cut
    Fsync,
}

impl From<Durable> for Durability {
    fn from(durable: Durable) -> Durability {
        match durable {
            Durable::Os => Durability::Os,
            Durable::Fsync => Durability::Fsync,
        }
    }
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

impl Global {
    /// The store, made where there is none.
    fn store(&self) -> anyhow::Result<Store> {
        Ok(Store::open(&self.store, self.durability.into())?)
    }

    /// The store, when there is one.
    fn store_if_any(&self) -> anyhow::Result<Option<Store>> {
        if self.store.exists() { self.store().map(Some) } else { Ok(None) }
    }

    /// The store; a command that only looks doesn't make one.
    fn existing_store(&self) -> anyhow::Result<Store> {
        let none = || {
            let dir = self.store.display();
            Misuse(format!(
                "there is no store at {dir}: record something first (`holdback demo`), or name one with --store"
            ))
        };
        Ok(self.store_if_any()?.ok_or_else(none)?)
    }

    /// Whether and how stdout is coloured.
    fn paint(&self) -> out::Paint {
        #[expect(clippy::disallowed_methods, reason = "the environment is read in cli")]
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        out::Paint(match self.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => std::io::stdout().is_terminal() && !refused,
        })
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See it work: a small agent, a mock model, no key and no network
    Demo(demo::Demo),
    /// Run a command and record every model call it makes
    Record(record::Record),
    /// Record for loops that run elsewhere or for long
    Proxy(proxy::ProxyArgs),
    /// Print the variables that point an agent at a running proxy
    Attach(record::Attach),
    /// Run a recorded loop again, offline, or with another model from a call on
    Replay(Box<replay::Replay>),
    /// Stand before an MCP server: keep what its tools answer, or answer from the recording
    ToolTape(tool_tape::ToolTape),
    /// What failed, grouped by its likely cause
    Failures(promote::failures::FailuresArgs),
    /// Make a failed trace a regression case: frozen, small, proven red
    Promote(Box<promote::PromoteArgs>),
    /// Cases, and what became of them
    Cases(promote::cases::CasesArgs),
    /// Ask recorded calls again, one by one, of another model or with another prompt
    Ask(Box<ask::AskArgs>),
    /// How a shadow's answers compare with production's (`proxy --shadow`)
    Shadow(shadow::ShadowArgs),
    /// Run a suite: so many trials of each task and model, graded and kept
    Eval(Box<eval::Eval>),
    /// List runs, show one, put shards together
    Runs(runs::RunsArgs),
    /// Grade the trials of a run again, spending nothing on loops
    Grade(grade::GradeArgs),
    /// Grade what stands in a workspace now, for a loop in flight
    Check(check::Check),
    /// Look rubrics over before they judge anything
    Rubric(rubric::RubricArgs),
    /// Measure judges against people
    Judge(judge::JudgeArgs),
    /// Look at production traces as they end: signals, rubrics, alerts
    Watch(watch::Watch),
    /// Draft a suite
    Init(init::Init),
    /// List, show, export and remove traces
    Traces(traces::Traces),
    /// Decide whether a candidate is as reliable as a baseline; the exit code is the verdict
    Gate(gate::Gate),
    /// Keep a run's results as a small file that belongs in git
    Baseline(baseline::Baseline),
    /// Put runs side by side: tasks, graders, models, cost and time
    Compare(compare::Compare),
    /// Runs as a page, Markdown, JSON, CSV or Parquet
    Report(report::Report),
    /// The store in a browser: traces, runs, comparisons, verdicts
    View(view::ViewArgs),
    /// The store as tools for an agent, over stdio
    Mcp(mcp::Mcp),
    /// How many tasks and trials a question needs
    Plan(plan::PlanArgs),
    /// Bring the DuckDB index up to date, or make it anew
    Index(index::IndexArgs),
    /// Ask the index in SQL
    Sql(index::Sql),
    /// Check the store: what is damaged, cut off or lost
    Doctor(doctor::Doctor),
    /// Remove old traces
    Prune(doctor::Prune),
    /// Bring in traces and results of other tools
    Import(import::Import),
    /// Take OpenTelemetry from loops that are instrumented already
    Otlp(otlp::Otlp),
    /// Print shell completions
    Completions(help::Completions),
    /// Write the man pages
    Man(help::Man),
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    let global = &cli.global;
    match cli.command {
        Command::Demo(args) => demo::run(global, args),
        Command::Record(args) => record::run(global, args),
        Command::Proxy(args) => proxy::run(global, &args),
        Command::Attach(args) => record::attach(&args),
        Command::Replay(args) => replay::run(global, *args),
        Command::ToolTape(args) => tool_tape::run(&args),
        Command::Failures(args) => promote::failures::run(global, &args),
        Command::Promote(args) => promote::run(global, &args),
        Command::Cases(args) => promote::cases::run(global, &args),
        Command::Ask(args) => ask::run(global, &args),
        Command::Shadow(args) => shadow::run(global, &args),
        Command::Eval(args) => eval::run(global, &args),
        Command::Runs(args) => runs::run(global, args),
        Command::Grade(args) => grade::run(global, &args),
        Command::Check(args) => check::run(global, &args),
        Command::Rubric(args) => rubric::run(global, &args),
        Command::Judge(args) => judge::run(global, &args),
        Command::Watch(args) => watch::run(global, &args),
        Command::Init(args) => init::run(global, &args),
        Command::Traces(args) => traces::run(global, args),
        Command::Gate(args) => gate::run(global, &args),
        Command::Baseline(args) => baseline::run(global, args),
        Command::Compare(args) => compare::run(global, &args),
        Command::Report(args) => report::run(global, &args),
        Command::View(args) => view::run(global, &args),
        Command::Mcp(args) => mcp::run(global, &args),
        Command::Plan(args) => plan::run(global, &args),
        Command::Index(args) => index::run(global, &args),
        Command::Sql(args) => index::sql(global, &args),
        Command::Doctor(args) => doctor::run(global, &args),
        Command::Prune(args) => doctor::prune(global, &args),
        Command::Import(args) => import::run(global, &args),
        Command::Otlp(args) => otlp::run(global, &args),
        Command::Completions(args) => help::completions(&args),
        Command::Man(args) => help::man(&args),
    }
}

/// Reads the command line, does it, and says how it came out.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Clap prints help to stdout and complaints to stderr; when that can't be written nobody is left to tell.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Pass }.into();
        }
    };
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => complain(&error).into(),
    }
}

/// Prints an error with its causes on stderr and decides the exit code.
fn complain(error: &anyhow::Error) -> Exit {
    if error.is::<out::ReaderGone>() {
        return Exit::Pass;
    }
    let mut text = format!("holdback: {error}\n");
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Many errors repeat their cause in their own words.
        if !text.contains(&cause) {
            text.push_str(&format!("  because {cause}\n"));
        }
    }
    let _ = std::io::stderr().write_all(out::printable(&text).as_bytes());
    // A gate that refuses was asked the wrong question.
    if error.is::<Misuse>() || error.is::<crate::gate::GateError>() { Exit::Usage } else { Exit::Infrastructure }
}
