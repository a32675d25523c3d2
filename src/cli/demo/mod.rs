//! `holdback demo`: the tour that needs no key and no network. Each chapter does what its command would do, on the store
//! the user named, so everything it shows can be asked again afterwards.

mod agent;
mod measure;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};

use super::record::{self, Job};
use super::recording::{Limits, Recording};
use super::traces::{list, show};
use super::{Exit, Global, index, out};

/// The shop that the demo's agent works on.
const ORDERS_JSON: &str = include_str!("orders.json");
/// What the demo asks the index.
const QUERY: &str = "SELECT traces.name AS trace, tool, count(*) AS calls
\
                     FROM tool_calls JOIN traces USING (trace_id) GROUP BY ALL ORDER BY calls DESC, trace, tool";

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "It records into the store (./.holdback unless --store says otherwise) and leaves the traces there.\n\n\
                  Example: holdback demo"
)]
pub struct Demo {
    /// Only record, look and ask: measure nothing and write no report
    #[arg(long)]
    no_eval: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// The small support agent that the demo records: a loop of its own, usable under `record` and `eval`
    Agent(agent::Agent),
}

/// Runs the demo, or the agent of the demo.
pub fn run(global: &Global, args: Demo) -> anyhow::Result<Exit> {
    match args.part {
        Some(Part::Agent(agent)) => agent::run(&agent),
        None => tour(global, args.no_eval),
    }
}

fn tour(global: &Global, no_eval: bool) -> anyhow::Result<Exit> {
    let tour = Tour { global, paint: global.paint() };
    tour.say("A support agent (a loop of 60 lines) and a scripted model, both in this binary. Nothing leaves this machine.\n")?;
    tour.chapter(1, "Record: two words before the command of a loop")?;
    tour.record("demo-refund", "Order A-17 came late, refund it.")?;
    tour.record("demo-stuck", "Refund order B-99.")?;
    tour.chapter(2, "Look: what was recorded, and the conversation it was")?;
    tour.command("holdback traces")?;
    list::run(global, &list::List::default())?;
    tour.command("holdback traces show demo-refund")?;
    show::run(global, &show::Show::of("demo-refund"))?;
    tour.chapter(3, "Ask: the traces as tables, in DuckDB")?;
    tour.command(&format!("holdback sql \"{}\"", QUERY.replace('\n', " ")))?;
    index::sql(global, &index::Sql::of(QUERY))?;
    if !no_eval {
        measure::run(&tour)?;
    }
    tour.say(
        "\nThe second trace went wrong: the agent asked for the same order until it gave up. See it with\n  \
         holdback traces show demo-stuck\nRun the first one again, offline, with\n  holdback replay demo-refund\nand record your own loop with\n  holdback record -- YOUR COMMAND\n",
    )?;
    Ok(Exit::Pass)
}

struct Tour<'a> {
    global: &'a Global,
    paint: out::Paint,
}

impl Tour<'_> {
    fn say(&self, words: &str) -> anyhow::Result<()> {
        out::text(format!("{words}\n"))
    }

    fn chapter(&self, number: u32, title: &str) -> anyhow::Result<()> {
        out::text(format!("\n{}\n", self.paint.bold(&format!("{number}. {title}"))))
    }

    fn command(&self, command: &str) -> anyhow::Result<()> {
        out::text(format!("\n{}\n", self.paint.dim(&format!("$ {command}"))))
    }

    /// Records the agent at one task, in a shop of its own.
    fn record(&self, name: &str, prompt: &str) -> anyhow::Result<()> {
        self.command(&format!("holdback record --name {name} -- holdback demo agent \"{prompt}\""))?;
        let store = self.global.store()?;
        let shop = open_shop(store.dir(), name)?;
        let job = Job {
            name: Some(name.to_owned()),
            tags: vec![("demo".to_owned(), "yes".to_owned())],
            command: agent_command(prompt)?,
            cwd: shop.clone(),
            workspace: false,
            intercept: None,
            tools: Vec::new(),
        };
        let recorded = record::record(&store, &Recording::default(), Limits::default(), job)?;
        // As it was, so that the trace can be replayed: `holdback replay demo-refund` works in a copy of it.
        open_shop(store.dir(), name)?;
        out::text(format!("{}\n", record::summary(&recorded, self.paint)))
    }
}

/// A shop of its own for each task, beside what is recorded of it.
fn open_shop(store: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let demo = store.join("demo");
    let shop = demo.join(name);
    fs::create_dir_all(&shop).context("making a folder for the shop")?;
    for folder in [&demo, &shop] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).context("keeping the shop to ourselves")?;
    }
    out::publish(&shop.join("orders.json"), |file| Ok(file.write_all(ORDERS_JSON.as_bytes())?))?;
    Ok(shop.canonicalize()?)
}

/// This binary, as the agent.
fn agent_command(prompt: &str) -> anyhow::Result<Vec<String>> {
    let program = std::env::current_exe().context("finding this program")?;
    let program = Path::new(&program).to_str().context("this program's path is not UTF-8")?.to_owned();
    Ok([program.as_str(), "demo", "agent", prompt].map(str::to_owned).to_vec())
}
