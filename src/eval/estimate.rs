//! What a run will cost, before anything is spent: from what earlier trials used, and an honest "unknown" where there were none.

use super::plan::{Plan, Slot};
use crate::price::Table;
use crate::suite::Loaded;
use crate::trace::Usage;
use crate::trial::{Outcome, RunRecord, Trial};

/// What is known of a run before it begins.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Estimate {
    pub trials: usize,
    /// US dollars of the trials that could be estimated; `None` when none could.
    pub usd: Option<f64>,
    /// Seconds of all trials one after the other; divide by how many run at once.
    pub seconds: Option<f64>,
    /// Trials with no earlier ones to go by, and why, in words.
    pub unknown: usize,
    pub because: Vec<String>,
}

/// Estimates a run from earlier ones of the same suite.
pub fn estimate(plan: &Plan, loaded: &Loaded, earlier: &[RunRecord], prices: &Table) -> Estimate {
    let past: Vec<&Trial> =
        earlier.iter().flat_map(|run| &run.trials).filter(|trial| trial.outcome != Outcome::Invalid).collect();
    let mut all = Estimate { trials: plan.order.len(), ..Estimate::default() };
    let mut because = std::collections::BTreeSet::new();
    for slot in &plan.order {
        match one(plan, loaded, &past, prices, slot) {
            Ok((usd, seconds)) => {
                all.usd = Some(all.usd.unwrap_or(0.0) + usd);
                if let Some(seconds) = seconds {
                    all.seconds = Some(all.seconds.unwrap_or(0.0) + seconds);
                }
            }
            Err(why) => {
                all.unknown += 1;
                because.insert(why);
            }
        }
    }
    all.because = because.into_iter().collect();
    all
}

/// Dollars and seconds of one trial.
fn one(
    plan: &Plan,
    loaded: &Loaded,
    past: &[&Trial],
    prices: &Table,
    slot: &Slot,
) -> Result<(f64, Option<f64>), String> {
    let (task, variant) = (&loaded.suite.tasks[slot.task].id, &plan.variants[slot.variant]);
    let same: Vec<&&Trial> = past.iter().filter(|trial| trial.task == *task && trial.variant == variant.name).collect();
    let seconds = mean(same.iter().map(|trial| trial.duration_us as f64 / 1e6));
    if variant.model.starts_with("mock/") {
        return Ok((0.0, seconds));
    }
    if let Some(usd) = mean(same.iter().filter_map(|trial| trial.cost_usd)) {
        return Ok((usd, seconds));
    }
    // Another model's tokens on the same task at this model's price are better than nothing.
    let model = variant.model.split_once('/').map_or(variant.model.as_str(), |(_, name)| name);
    let priced = |usage: &Usage| prices.cost(model, usage).or_else(|| prices.cost(&variant.model, usage));
    if priced(&Usage { input: Some(1), output: Some(1), ..Usage::default() }).is_none() {
        return Err(format!("{} has no price", variant.model));
    }
    let of_task = past.iter().filter(|trial| trial.task == *task && trial.usage.is_known());
    mean(of_task.filter_map(|trial| priced(&trial.usage)))
        .map(|usd| (usd, seconds))
        .ok_or_else(|| format!("no earlier trial of {task} says how many tokens it takes"))
}

fn mean(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = numbers.fold((0.0, 0_u32), |(sum, count), number| (sum + number, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
