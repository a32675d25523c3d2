//! `holdback baseline`: a run's results as a small JSON file that belongs in git.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::arms::Arms;
use super::{Exit, Global, Misuse, out};
use crate::gate::{Arm, Measured, What, measure};
use crate::report;
use crate::stats::passk::Figure;
use crate::stats::{Bound, Estimand, Estimate};
use crate::trial::Outcome;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  holdback baseline save last baselines/checkout.json\n  \
                  holdback baseline diff baselines/checkout.json last")]
pub struct Baseline {
    #[command(subcommand)]
    command: BaselineCommand,
}

#[derive(Debug, Subcommand)]
enum BaselineCommand {
    /// Write a run's results to a file
    Save(Save),
    /// Print what a baseline holds
    Show(Show),
    /// Print how two baselines differ: in the measurement, in the loop, in the results
    Diff(Diff),
}

#[derive(Debug, Args)]
#[command(after_help = "Example: holdback baseline save last baselines/checkout.json && git add baselines")]
struct Save {
    /// A run: its name, the beginning of its id, or `last`
    #[arg(value_name = "RUN[:VARIANT]")]
    run: String,
    /// The file; baselines/SUITE.json when it isn't named
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: holdback baseline show baselines/checkout.json")]
struct Show {
    /// A baseline file or a run
    #[arg(value_name = "RUN[:VARIANT]|FILE")]
    of: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: holdback baseline diff baselines/checkout.json last")]
struct Diff {
    #[arg(value_name = "RUN[:VARIANT]|FILE")]
    before: String,
    #[arg(value_name = "RUN[:VARIANT]|FILE")]
    after: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Does what was asked.
pub fn run(global: &Global, args: Baseline) -> anyhow::Result<Exit> {
    match args.command {
        BaselineCommand::Save(args) => save(global, args),
        BaselineCommand::Show(args) => show(global, &args),
        BaselineCommand::Diff(args) => diff(global, &args),
    }
}

fn save(global: &Global, args: Save) -> anyhow::Result<Exit> {
    let arm = Arms::new(global).one(&args.run)?;
    if arm.tasks.values().all(|task| (0..task.outcomes.0.len()).all(|i| !task.is_valid(i))) {
        return Err(Misuse(format!("run {} has no graded trial: it can't be a baseline", arm.run)).into());
    }
    let file = args.file.unwrap_or_else(|| default_file(&arm.suite));
    let size = out::publish(&file, |to| Ok(to.write_all(arm.to_json().as_bytes())?))?;
    let trials = arm.tasks.values().map(|task| task.outcomes.0.len()).sum::<usize>();
    eprintln!("holdback: {} ({}, {} tasks, {trials} trials)", file.display(), out::size(size), arm.tasks.len());
    Ok(Exit::Pass)
}

/// `baselines/NAME.json`, with nothing of a name that would lead elsewhere.
fn default_file(suite: &str) -> PathBuf {
    let plain = |c: char| if c.is_alphanumeric() || "-_".contains(c) { c } else { '-' };
    let name: String = suite.chars().map(plain).collect();
    PathBuf::from("baselines").join(format!("{name}.json"))
}

fn show(global: &Global, args: &Show) -> anyhow::Result<Exit> {
    let arm = Arms::new(global).one(&args.of)?;
    let figures = figures(&arm);
    if args.json {
        let content = json!({"baseline": arm, "figures": figures});
        out::text(report::json::document("holdback-baseline-shown/1", &content))?;
        return Ok(Exit::Pass);
    }
    let fingerprints = &arm.fingerprints;
    let mut text = format!(
        "suite {} ({}), {} tasks, run {} of {}\n  variant    {} ({})\n",
        arm.suite,
        arm.kind,
        arm.tasks.len(),
        arm.run,
        arm.started,
        arm.variant,
        arm.model
    );
    if let Some(commit) = &arm.git_commit {
        let _ = writeln!(text, "  commit     {commit}");
    }
    for figure in &figures {
        let (rate, low, high) = (100.0 * figure.value, 100.0 * figure.interval.lower, 100.0 * figure.interval.upper);
        let _ =
            writeln!(text, "  {:<10} {rate:.1} % [{low:.1}, {high:.1}]  (95 %, exactly these tasks)", figure.figure);
    }
    for (name, fingerprint) in [
        ("tasks", &fingerprints.suite),
        ("graders", &fingerprints.graders),
        ("judge", &fingerprints.judge),
        ("prices", &fingerprints.prices),
        ("loop", &fingerprints.target),
    ] {
        let short = fingerprint.get(..12).unwrap_or(fingerprint);
        let _ = writeln!(text, "  {name:<10} {}", if short.is_empty() { "-" } else { short });
    }
    out::text(out::printable(&text) + "\n")?;
    let mut table = out::table(&["task", "passed", "invalid", "trials"]);
    for (name, task) in &arm.tasks {
        let count = |wanted: Outcome| task.outcomes.0.iter().filter(|o| **o == wanted).count();
        let (pass, invalid) = (count(Outcome::Pass), count(Outcome::Invalid));
        let measured = task.outcomes.0.len() - invalid;
        let name = out::printable(name);
        table.add_row([name, format!("{pass}/{measured}"), invalid.to_string(), task.outcomes.to_string()]);
    }
    out::print_table(&table)?;
    Ok(Exit::Pass)
}

/// pass^k for k = 1, 2, 4, … as far as every task has the trials.
fn figures(arm: &Arm) -> Vec<Estimate> {
    let how = |k| Measured {
        figure: Figure::PassHat(k),
        estimand: Estimand::Suite,
        groups: &[],
        bound: Bound::Gaffke,
        alpha: 0.05,
    };
    (0..16).map_while(|power| measure(arm, &What::Outcome, how(1 << power)).ok()).collect()
}

fn diff(global: &Global, args: &Diff) -> anyhow::Result<Exit> {
    let mut arms = Arms::new(global);
    let (before, after) = (arms.one(&args.before)?, arms.one(&args.after)?);
    let changes = before.diff(&after);
    if args.json {
        out::text(report::json::document("holdback-baseline-diff/1", &json!({"changes": changes})))?;
        return Ok(Exit::Pass);
    }
    let has = |word: &str| changes.iter().any(|change| change.what.starts_with(word));
    let summary = match (has("measurement") || before.suite != after.suite, has("loop")) {
        (true, true) => "the measurement changed, and the loop too: these results can't be compared",
        (true, false) => "the measurement changed, the loop did not: these results can't be compared",
        (false, true) => "the loop changed, the measurement is the same: these results can be compared",
        (false, false) if changes.is_empty() => "no difference",
        (false, false) => "neither measurement nor loop changed: what differs is the results",
    };
    let mut text = format!("{summary}\n");
    for change in &changes {
        let short = |value: &str| {
            let cut = if change.what.contains(':') { value.get(..12).unwrap_or(value) } else { value };
            if cut.is_empty() { "-".to_owned() } else { cut.to_owned() }
        };
        let whole = change.what == "loop: model";
        let (from, to) = if whole {
            (change.before.clone(), change.after.clone())
        } else {
            (short(&change.before), short(&change.after))
        };
        let _ = writeln!(text, "  {}: {from} -> {to}", change.what);
    }
    out::text(out::printable(&text))?;
    Ok(Exit::Pass)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suites_name_leads_nowhere_else() {
        assert_eq!(default_file("checkout"), PathBuf::from("baselines/checkout.json"));
        assert_eq!(default_file("../../etc/x y"), PathBuf::from("baselines/------etc-x-y.json"));
    }
}
