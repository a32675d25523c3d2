//! Cost against reliability: which arms are not beaten on both.

use plotters::prelude::*;

use super::{AXIS, Axes, Tick, colour, marker, nice, percents, picture, plane};
use crate::gate::percent;
use crate::report::overview::ArmView;
use crate::report::page::words::dollars;

/// An arm with a price and an estimate.
struct Priced<'a> {
    index: usize,
    arm: &'a ArmView,
    k: u32,
    cost: f64,
    value: f64,
    interval: crate::stats::Interval,
}

fn priced<'a>(arms: &[(usize, &'a ArmView)]) -> Vec<Priced<'a>> {
    // The largest k that all of them have, so that like is shown beside like.
    let k = arms.iter().filter_map(|(_, arm)| Some(arm.farthest()?.0)).min().unwrap_or(1);
    let one = |(index, arm): &(usize, &'a ArmView)| {
        let estimate = arm.pass_hat(k)?;
        let (value, interval) = (estimate.value, estimate.interval);
        Some(Priced { index: *index, arm, k, cost: arm.mean_cost_usd?, value, interval })
    };
    arms.iter().filter_map(one).collect()
}

/// The picture, where at least one arm has a price.
pub fn pareto(suite: &str, arms: &[(usize, &ArmView)]) -> Option<String> {
    let mut priced = priced(arms);
    priced.sort_by(|a, b| (a.cost, -a.value).partial_cmp(&(b.cost, -b.value)).expect("costs are no NaN"));
    let k = priced.first()?.k;
    let most = priced.last()?.cost;
    let right = if most > 0.0 { most * 1.12 } else { 0.01 };
    let x: Vec<Tick> = nice(0.0, right, 4).into_iter().map(|cost| (cost, dollars(cost))).collect();
    let y_says = format!("pass^{k}");
    let axes = Axes { x: &x, y: &percents(), x_says: "mean cost of a trial", y_says: &y_says };
    let alt = format!("{suite}: pass^{k} against the mean cost of a trial, a mark for each model");
    Some(picture((560, 350), &alt, |area, hits| {
        let chart = plane(area, (0.0, right), (-0.02, 1.02), &axes)?;
        let at = |x: f64, y: f64| chart.backend_coord(&(x, y));
        let mut steps: Vec<(i32, i32)> = Vec::new();
        let mut best = f64::MIN;
        for one in &priced {
            if one.value > best {
                if let Some((_, y)) = steps.last().copied() {
                    steps.push((at(one.cost, one.value).0, y));
                }
                steps.push(at(one.cost, one.value));
                best = one.value;
            }
        }
        steps.extend(steps.last().copied().map(|(_, y)| (at(right, 0.0).0, y)));
        area.draw(&PathElement::new(steps, AXIS.stroke_width(1)))?;
        for one in &priced {
            let (low, high) = (at(one.cost, one.interval.lower), at(one.cost, one.interval.upper));
            area.draw(&PathElement::new([low, high], colour(one.index).stroke_width(2)))?;
            for (x, y) in [low, high] {
                area.draw(&PathElement::new([(x - 4, y), (x + 4, y)], colour(one.index).stroke_width(2)))?;
            }
        }
        for one in &priced {
            let place = at(one.cost, one.value);
            marker(area, place, one.index)?;
            hits.put(
                place,
                format!(
                    "{}\npass^{k} {} [{} to {}]\n{} a trial, over {} trials",
                    one.arm.label,
                    percent(one.value),
                    percent(one.interval.lower),
                    percent(one.interval.upper),
                    dollars(one.cost),
                    one.arm.cost_usd.as_ref().map_or(0, |spread| spread.n)
                ),
            );
        }
        Ok(())
    }))
}
