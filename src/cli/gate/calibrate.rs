//! `holdback gate calibrate`: a baseline against itself.

use clap::Args;

use super::super::arms::{Arms, Policies};
use super::super::{Exit, Global, out};
use crate::gate::{Calibration, calibrate, percent};
use crate::report;

#[derive(Debug, Args)]
#[command(
    after_help = "Each task's trials are split into two random halves again and again, and one half is gated against the other. \
                  Nothing changed between them, so every regression is a false alarm. The same seed gives the same answer.\n\n\
                  Example: holdback gate calibrate --baseline baselines/checkout.json"
)]
pub struct Calibrate {
    /// The run or baseline file whose trials are split; two times k of every task at the least
    #[arg(long, value_name = "RUN[:VARIANT]|FILE")]
    baseline: String,
    /// The policy to try out
    #[arg(long, value_name = "FILE")]
    policy: Option<std::path::PathBuf>,
    /// How often to split
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    splits: u32,
    /// Where the random splits begin
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Splits, gates and counts.
pub fn run(global: &Global, args: &Calibrate) -> anyhow::Result<Exit> {
    let arm = Arms::new(global).one(&args.baseline)?;
    let policy = Policies::read(args.policy.as_deref())?.of(&arm)?;
    let calibration = calibrate(&arm, &policy, args.splits, args.seed)?;
    if args.json {
        out::text(report::json::document("holdback-calibration/1", &calibration))?;
    } else {
        out::text(out::printable(&in_words(&calibration, &arm.suite)))?;
    }
    Ok(Exit::Pass)
}

fn in_words(c: &Calibration, suite: &str) -> String {
    let interval = c.blocked_interval;
    format!(
        "{suite} against itself, {} splits of {} tasks into halves of {} trials (seed {}):\n  \
         false alarms  {}  (95 %: {} to {})\n  passed        {}\n  undecided     {}\n\
         A real gate with all the trials on each side passes more often than these halves do. Policy {}.\n",
        c.splits,
        c.tasks,
        c.trials_per_half,
        c.seed,
        percent(c.blocked),
        percent(interval.lower),
        percent(interval.upper),
        percent(c.passed),
        percent(c.undecided),
        &c.policy_hash[..12.min(c.policy_hash.len())],
    )
}
