//! `holdback plan`: how many tasks and trials a question needs, and what they cost.

use std::fmt::Write as _;

use clap::Args;
use comfy_table::CellAlignment;

use super::arms::{Arms, Policies};
use super::{Exit, Global, Misuse, out};
use crate::gate::{Arm, Plan, Planned, Policy, percent, plan, points, size};
use crate::report;
use crate::stats::betabinomial::Difficulty;
use crate::stats::{Counts, Estimand};
use crate::trial::Outcome;

#[derive(Debug, Args)]
#[command(
    after_help = "The formula says how many tasks are needed for each number of trials; the simulation plays that gate through and \
                  says how often it passes. Where they disagree, believe the simulation.\n\nExamples:\n  \
                  holdback plan --margin 0.05 --power 0.8\n  holdback plan --from last --margin 0.1 --trials 4,8,16"
)]
pub struct PlanArgs {
    /// How much worse may still pass, in absolute terms: 0.05 is five points of a hundred. The policy's when not given
    #[arg(long, value_name = "SHARE")]
    margin: Option<f64>,
    /// The chance of a pass when nothing changed
    #[arg(long, value_name = "SHARE", default_value_t = 0.8)]
    power: f64,
    /// Take tasks, difficulty and cost from this run or baseline file
    #[arg(long, value_name = "RUN[:VARIANT]|FILE")]
    from: Option<String>,
    /// The policy to plan for
    #[arg(long, value_name = "FILE")]
    policy: Option<std::path::PathBuf>,
    /// Plan for pass^k, instead of the policy's k
    #[arg(short, long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=64))]
    k: Option<u32>,
    /// Plan for all tasks like these, instead of exactly these
    #[arg(long)]
    population: bool,
    /// The pass rate to expect where there is no run to learn it from
    #[arg(long, value_name = "SHARE", default_value_t = 0.8, conflicts_with = "from")]
    expect: f64,
    /// Plan for a true difference, candidate - baseline
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, allow_negative_numbers = true)]
    difference: f64,
    /// Trials per task and arm to lay out
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2,4,8,16",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    trials: Vec<u32>,
    /// Tasks there are; with --from those of the run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tasks: Option<u32>,
    /// Say how many tasks are needed, even if --from has a number of its own
    #[arg(long, conflicts_with = "tasks")]
    any_tasks: bool,
    /// Dollars per trial; with --from the mean of the run's
    #[arg(long, value_name = "USD")]
    cost: Option<f64>,
    /// Simulated gates per row; 0 for none
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    simulations: u32,
    /// Where the simulations begin
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Lays out what is needed.
pub fn run(global: &Global, args: &PlanArgs) -> anyhow::Result<Exit> {
    let arm = args.from.as_deref().map(|word| Arms::new(global).one(word)).transpose()?;
    let policy = policy(args, arm.as_ref())?;
    let (difficulty, own_tasks, own_cost) = match &arm {
        Some(arm) => learnt(arm)?,
        None => (expected(args.expect)?, None, None),
    };
    let tasks = if args.any_tasks { None } else { args.tasks.or(own_tasks) };
    let planned = plan(&Plan {
        policy: &policy,
        power: args.power,
        difference: args.difference,
        difficulty,
        tasks,
        trials: &args.trials,
        cost_per_trial: args.cost.or(own_cost),
        simulations: args.simulations,
        seed: args.seed,
    })?;
    if args.json {
        out::text(report::json::document("holdback-plan/1", &planned))?;
    } else {
        print(&planned, arm.as_ref())?;
    }
    Ok(Exit::Pass)
}

fn policy(args: &PlanArgs, arm: Option<&Arm>) -> anyhow::Result<Policy> {
    let policies = Policies::read(args.policy.as_deref())?;
    let (suite, kind) = arm.map_or(("", "regression"), |arm| (&arm.suite, &arm.kind));
    let mut policy = policies.for_suite(suite, kind)?;
    policy.margin = args.margin.unwrap_or(policy.margin);
    policy.k = args.k.unwrap_or(policy.k);
    if args.population {
        policy.estimand = Estimand::Population;
    }
    policy.check().map_err(|error| Misuse(error.to_string()))?;
    if !(-1.0..=1.0).contains(&args.difference) {
        return Err(Misuse("--difference must lie between -1 and 1".to_owned()).into());
    }
    Ok(policy)
}

/// Difficulty, tasks and mean cost of a run.
fn learnt(arm: &Arm) -> anyhow::Result<(Difficulty, Option<u32>, Option<f64>)> {
    let counts: Vec<Counts> = arm
        .tasks
        .values()
        .map(|task| {
            let count = |wanted: Outcome| task.outcomes.0.iter().filter(|o| **o == wanted).count();
            let (pass, fail) = (count(Outcome::Pass), count(Outcome::Fail));
            let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            Counts { n: short(pass + fail), c: short(pass) }
        })
        .collect();
    let difficulty = Difficulty::fit(&counts).map_err(|error| Misuse(format!("--from: {error}")))?;
    let costs: Vec<f64> = arm.tasks.values().flat_map(|task| &task.cost_usd).copied().flatten().collect();
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^52 trials")]
    let cost = (!costs.is_empty()).then(|| costs.iter().sum::<f64>() / costs.len() as f64);
    Ok((difficulty, u32::try_from(arm.tasks.len()).ok(), cost))
}

/// Tasks around a pass rate, as unlike each other as those of a common suite: a Beta distribution worth ten trials.
fn expected(rate: f64) -> anyhow::Result<Difficulty> {
    if !(rate > 0.0 && rate < 1.0) {
        return Err(Misuse("--expect must lie between 0 and 1, for example 0.8".to_owned()).into());
    }
    Ok(Difficulty { alpha: 10.0 * rate, beta: 10.0 * (1.0 - rate) })
}

fn print(planned: &Planned, arm: Option<&Arm>) -> anyhow::Result<()> {
    let from = arm.map_or_else(
        || format!("tasks that pass {} of the time", percent(planned.difficulty.mean())),
        |arm| format!("tasks like those of {} (run {})", arm.suite, arm.run),
    );
    let mut text = format!(
        "{} at a margin of {}, {} chance of a pass when the true difference is {}; {from}; {} expected; estimand {}\n",
        planned.metric,
        size(planned.margin),
        percent(planned.power),
        points(planned.difference),
        percent(planned.expected),
        planned.estimand,
    );
    let _ =
        writeln!(text, "no fewer than {} units pass at this margin, however well they agree\n", planned.least_units);
    out::text(out::printable(&text))?;
    let mut table =
        out::table(&["trials", "tasks needed", "tasks", "passes (simulated)", "drop found", "trials in all", "cost"]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for row in &planned.rows {
        table.add_row([
            row.trials.to_string(),
            or_dash(row.tasks_needed.map(|n| n.to_string())),
            or_dash(row.tasks.map(|n| n.to_string())),
            or_dash(row.simulated_power.map(percent)),
            or_dash(row.smallest_drop.map(size)),
            or_dash(row.total_trials.map(|n| n.to_string())),
            out::dollars(row.cost_usd),
        ]);
    }
    for column in 0..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    out::print_table(&table)
}
