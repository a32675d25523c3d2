//! `holdback demo`: the tour that needs no key and no network.

mod agent;

use clap::{Args, Subcommand};

use super::{Exit, Global};

/// The shop that the demo's agent works on.
#[allow(dead_code)] // used by what comes next
const ORDERS_JSON: &str = include_str!("orders.json");

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Demo {
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// The small support agent that the demo records: a loop of its own, usable under `record` and `eval`
    Agent(agent::Agent),
}

/// Runs the demo, or the agent of the demo.
pub fn run(_global: &Global, args: Demo) -> anyhow::Result<Exit> {
    match args.part {
        Some(Part::Agent(agent)) => agent::run(&agent),
        None => Err(super::Misuse("the demo is being built".into()).into()),
    }
}
