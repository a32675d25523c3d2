//! How many tasks and trials a question needs, and what they cost: the formula and a simulation side by side.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::GateError;
use super::policy::{Metric, Policy};
use super::score::score;
use crate::stats::Estimand;
use crate::stats::betabinomial::Difficulty;
use crate::stats::rng::Rng;
use crate::stats::size::{
    Aim, population_unit_variance, smallest_drop, suite_unit_variance, units_if_all_tie, units_to_pass,
};

/// What is to be planned.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan<'a> {
    pub policy: &'a Policy,
    pub power: f64,
    /// The true difference to plan for, candidate - baseline; 0 for "nothing changed".
    pub difference: f64,
    pub difficulty: Difficulty,
    /// Tasks there are, when they are given: how many trials then do.
    pub tasks: Option<u32>,
    /// Trials per task and arm to lay out.
    pub trials: &'a [u32],
    pub cost_per_trial: Option<f64>,
    /// Simulated gates per row.
    pub simulations: u32,
    pub seed: u64,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    pub metric: String,
    pub margin: f64,
    pub alpha: f64,
    pub power: f64,
    pub difference: f64,
    pub estimand: Estimand,
    pub difficulty: Difficulty,
    /// The mean of the metric at that difficulty.
    pub expected: f64,
    /// No fewer units pass, however well they agree.
    pub least_units: u64,
    pub rows: Vec<PlanRow>,
    pub simulations: u32,
    pub seed: u64,
}

/// One layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRow {
    /// Per task and arm.
    pub trials: u32,
    /// Tasks the formula asks for; `None` when no number is enough or there are fewer trials than k.
    pub tasks_needed: Option<u64>,
    /// The tasks the rest of the row is about: those there are, else those needed.
    pub tasks: Option<u64>,
    /// Share of simulated gates that passed at `tasks`.
    pub simulated_power: Option<f64>,
    /// Smallest drop that would be found as a regression with the power asked for.
    pub smallest_drop: Option<f64>,
    /// Of both arms.
    pub total_trials: Option<u64>,
    pub cost_usd: Option<f64>,
}

/// Beyond this many trials a simulation would take too long to be worth its answer.
const MOST_SIMULATED: u64 = 200_000;

/// Lays out tasks and trials for a policy.
pub fn plan(ask: &Plan<'_>) -> Result<Planned, GateError> {
    let bad = |text: &str| Err(GateError::BadPlan(text.to_owned()));
    let policy = ask.policy;
    if policy.metric != Metric::PassHat {
        return bad("plans are made for pass^k");
    }
    if !(ask.power > policy.alpha && ask.power < 1.0) {
        return bad("the power must lie between alpha and 1, for example 0.8");
    }
    if policy.estimand == Estimand::Group {
        return bad("plans are made for the estimands suite and population; count groups as tasks of a population");
    }
    let rows = ask.trials.iter().map(|n| row(ask, *n)).collect();
    Ok(Planned {
        metric: policy.metric_name(),
        margin: policy.margin,
        alpha: policy.alpha,
        power: ask.power,
        difference: ask.difference,
        estimand: policy.estimand,
        difficulty: ask.difficulty,
        expected: ask.difficulty.pass_hat_k(policy.k),
        least_units: units_if_all_tie(policy.alpha, policy.margin),
        rows,
        simulations: ask.simulations,
        seed: ask.seed,
    })
}

fn row(ask: &Plan<'_>, n: u32) -> PlanRow {
    let policy = ask.policy;
    let aim = Aim { alpha: policy.alpha, power: ask.power, margin: policy.margin, difference: ask.difference };
    let tasks_needed = match policy.estimand {
        Estimand::Suite => (n >= policy.k)
            .then(|| units_to_pass(aim, suite_unit_variance(ask.difficulty, policy.k)))
            .flatten()
            .map(|units| units.div_ceil(u64::from(n / policy.k))),
        Estimand::Population | Estimand::Group => {
            population_unit_variance(ask.difficulty, n, policy.k).and_then(|variance| units_to_pass(aim, variance))
        }
    };
    let tasks = ask.tasks.map(u64::from).or(tasks_needed);
    let total = tasks.map(|t| 2 * t * u64::from(n));
    let worth_it = n >= policy.k && ask.simulations > 0 && total.is_some_and(|t| t <= MOST_SIMULATED);
    PlanRow {
        trials: n,
        tasks_needed,
        tasks,
        simulated_power: tasks.filter(|_| worth_it).and_then(|t| simulate(ask, t as usize, n)),
        smallest_drop: tasks.and_then(|t| {
            let t = u32::try_from(t).ok()?;
            smallest_drop(ask.difficulty, t, n, policy.k, policy.alpha, ask.power)
        }),
        total_trials: total,
        cost_usd: total.and_then(|t| Some(ask.cost_per_trial? * t as f64)),
    }
}

/// Share of gates that pass when tasks are drawn from the difficulty and the candidate differs by `difference` on each.
fn simulate(ask: &Plan<'_>, tasks: usize, n: u32) -> Option<f64> {
    let pass = |index: u32| {
        let mut rng = Rng::nth(ask.seed, u64::from(index));
        let (mut before, mut after) = (Vec::with_capacity(tasks), Vec::with_capacity(tasks));
        for _ in 0..tasks {
            let p = rng.beta(ask.difficulty.alpha, ask.difficulty.beta);
            let other = moved(p, ask.difference, ask.policy.k);
            let mut draw = |p: f64| (0..n).map(|_| f64::from(u8::from(rng.chance(p)))).collect::<Vec<f64>>();
            before.push(draw(p));
            after.push(draw(other));
        }
        let scored = score(&before, &after, ask.policy, &[], true).ok()?;
        Some(scored.p_pass <= ask.policy.alpha)
    };
    let passed: Vec<bool> = (0..ask.simulations).into_par_iter().filter_map(pass).collect();
    (!passed.is_empty()).then(|| passed.iter().filter(|p| **p).count() as f64 / passed.len() as f64)
}

/// The rate whose pass^k is `difference` from that of `p`, as far as there is room.
fn moved(p: f64, difference: f64, k: u32) -> f64 {
    (p.powi(k as i32) + difference).clamp(0.0, 1.0).powf(1.0 / f64::from(k))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(policy: &Policy) -> Plan<'_> {
        Plan {
            policy,
            power: 0.8,
            difference: 0.0,
            difficulty: Difficulty { alpha: 8.0, beta: 2.0 },
            tasks: None,
            trials: &[1, 4, 8],
            cost_per_trial: Some(0.02),
            simulations: 200,
            seed: 5,
        }
    }

    #[test]
    fn formula_and_simulation_agree() {
        let policy = Policy { margin: 0.1, ..Policy::for_kind("regression") };
        let planned = plan(&ask(&policy)).unwrap();
        let needed: Vec<u64> = planned.rows.iter().map(|r| r.tasks_needed.unwrap()).collect();
        assert_eq!(needed, [200, 50, 25]);
        for row in &planned.rows {
            let power = row.simulated_power.unwrap();
            assert!((0.65..0.95).contains(&power), "{} trials: {power}", row.trials);
            assert_eq!(row.cost_usd, Some(0.02 * (2 * row.tasks.unwrap() * u64::from(row.trials)) as f64));
        }
        assert_eq!((planned.least_units, planned), (29, plan(&ask(&policy)).unwrap()), "the same seed, the same plan");
    }

    #[test]
    fn a_suite_that_is_there_is_planned_for() {
        let policy = Policy { k: 4, margin: 0.1, ..Policy::for_kind("regression") };
        let planned = plan(&Plan { tasks: Some(20), simulations: 50, ..ask(&policy) }).unwrap();
        assert_eq!(planned.rows[0].tasks_needed, None, "one trial has no pass^4");
        assert_eq!(planned.rows[0].simulated_power, None);
        assert!((planned.rows[2].smallest_drop.unwrap() - 0.22).abs() < 0.005);
        assert!(planned.rows[2].simulated_power.unwrap() < 0.5, "20 tasks do not do");
    }

    #[test]
    fn what_can_not_be_planned_is_said() {
        let policy = Policy::for_kind("regression");
        assert!(plan(&Plan { power: 1.0, ..ask(&policy) }).is_err());
        let hopeless = plan(&Plan { difference: -0.06, simulations: 0, ..ask(&policy) }).unwrap();
        assert!(hopeless.rows.iter().all(|r| r.tasks_needed.is_none() && r.total_trials.is_none()));
    }
}
