//! What a run will cost, before anything is spent: from what earlier trials used, and an honest "unknown" where there were none.

use std::collections::HashMap;

use super::plan::Plan;
use crate::price::Table;
use crate::suite::Loaded;
use crate::trace::Usage;
use crate::trial::{Outcome, RunRecord, Trial, Variant};

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

/// Dollars and seconds of one trial; or why the dollars are not known.
type OneTrial = Result<(f64, Option<f64>), String>;

/// Estimates a run from earlier ones of the same suite.
pub fn estimate(plan: &Plan, loaded: &Loaded, earlier: &[RunRecord], prices: &Table) -> Estimate {
    let mut past: HashMap<&str, Vec<&Trial>> = HashMap::new();
    for trial in earlier.iter().flat_map(|run| &run.trials).filter(|trial| trial.outcome != Outcome::Invalid) {
        past.entry(&trial.task).or_default().push(trial);
    }
    let mut known: HashMap<(usize, usize), OneTrial> = HashMap::new();
    let mut all = Estimate { trials: plan.order.len(), ..Estimate::default() };
    let mut because = std::collections::BTreeSet::new();
    for slot in &plan.order {
        let one = known.entry((slot.task, slot.variant)).or_insert_with(|| {
            let asked = &loaded.suite.tasks[slot.task];
            let task = asked.id.as_str();
            let past = past.get(task).map(Vec::as_slice).unwrap_or_default();
            if asked.tape.is_some() && asked.live_from.is_none() {
                // Answers from a tape cost nothing.
                return Ok((0.0, mean(past.iter().map(|trial| trial.duration_us as f64 / 1e6))));
            }
            one(task, &plan.variants[slot.variant], past, prices)
        });
        match one {
            Ok((usd, seconds)) => {
                all.usd = Some(all.usd.unwrap_or(0.0) + *usd);
                if let Some(seconds) = seconds {
                    all.seconds = Some(all.seconds.unwrap_or(0.0) + *seconds);
                }
            }
            Err(why) => {
                all.unknown += 1;
                because.insert(why.clone());
            }
        }
    }
    all.because = because.into_iter().collect();
    all
}

/// Dollars and seconds of one trial, from those made of the same task. A mock model has a price like any other: what a dry run says
/// is what the run will book.
fn one(task: &str, variant: &Variant, past: &[&Trial], prices: &Table) -> OneTrial {
    let same = || past.iter().filter(|trial| trial.variant == variant.name);
    let seconds = mean(same().map(|trial| trial.duration_us as f64 / 1e6));
    if let Some(usd) = mean(same().filter_map(|trial| trial.cost_usd)) {
        return Ok((usd, seconds));
    }
    // Another model's tokens on the same task at this model's price are better than nothing.
    let model = variant.model.split_once('/').map_or(variant.model.as_str(), |(_, name)| name);
    let priced = |usage: &Usage| prices.cost(model, usage).or_else(|| prices.cost(&variant.model, usage));
    if priced(&Usage { input: Some(1), output: Some(1), ..Usage::default() }).is_none() {
        return Err(format!("{} has no price", variant.model));
    }
    mean(past.iter().filter(|trial| trial.usage.is_known()).filter_map(|trial| priced(&trial.usage)))
        .map(|usd| (usd, seconds))
        .ok_or_else(|| format!("no earlier trial of {task} says how many tokens it takes"))
}

fn mean(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = numbers.fold((0.0, 0_u32), |(sum, count), number| (sum + number, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
