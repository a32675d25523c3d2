//! pass^k against k: how fast reliability falls when a task must come out right again and again.

use plotters::prelude::*;

use super::{Axes, Tick, colour, marker, percents, picture, plane};
use crate::gate::percent;
use crate::report::overview::ArmView;

/// The curves of a suite's arms, each with the band of its intervals.
pub fn curves(suite: &str, arms: &[(usize, &ArmView)]) -> String {
    let mut ks: Vec<u32> = arms.iter().flat_map(|(_, arm)| arm.curve.iter().map(|point| point.k)).collect();
    ks.sort_unstable();
    ks.dedup();
    let place = |k: u32| ks.iter().position(|one| *one == k).unwrap_or(0) as f64;
    let x: Vec<Tick> = ks.iter().map(|k| (place(*k), k.to_string())).collect();
    let last = (ks.len().max(2) - 1) as f64;
    let axes = Axes { x: &x, y: &percents(), x_says: "k: trials that all must pass", y_says: "" };
    let alt = format!("{suite}: pass^k for k from 1 to {}, a line for each model", ks.last().unwrap_or(&1));
    picture((560, 350), &alt, |area, hits| {
        let chart = plane(area, (-0.25, last + 0.25), (-0.02, 1.02), &axes)?;
        let at = |k: u32, y: f64| chart.backend_coord(&(place(k), y));
        for (index, arm) in arms {
            let known: Vec<_> =
                arm.curve.iter().filter_map(|point| Some((point.k, point.estimate.as_ref()?))).collect();
            let upper = known.iter().map(|(k, e)| at(*k, e.interval.upper));
            let lower = known.iter().rev().map(|(k, e)| at(*k, e.interval.lower));
            area.draw(&Polygon::new(upper.chain(lower).collect::<Vec<_>>(), colour(*index).mix(0.14).filled()))?;
        }
        for (index, arm) in arms {
            let known: Vec<_> =
                arm.curve.iter().filter_map(|point| Some((point.k, point.estimate.as_ref()?))).collect();
            let line: Vec<_> = known.iter().map(|(k, e)| at(*k, e.value)).collect();
            area.draw(&PathElement::new(line, colour(*index).stroke_width(2)))?;
            for (k, estimate) in known {
                let place = at(k, estimate.value);
                marker(area, place, *index)?;
                hits.put(
                    place,
                    format!(
                        "{}\npass^{k} {}, 95 % interval {} to {}\n{} tasks, {} trials, {} not measured",
                        arm.label,
                        percent(estimate.value),
                        percent(estimate.interval.lower),
                        percent(estimate.interval.upper),
                        estimate.tasks,
                        estimate.trials,
                        estimate.invalid
                    ),
                );
            }
        }
        Ok(())
    })
}
