//! How many loops there were day by day, and how they came out.

use plotters::prelude::*;

use super::{AXIS, Axes, COLOURS, Tick, nice, picture, plane};

/// Labels under the axis at the most.
const LABELS: usize = 8;

/// One day.
#[derive(Debug, Clone)]
pub struct Day {
    pub day: String,
    pub well: u64,
    pub badly: u64,
    pub unknown: u64,
}

/// A bar for each day, the oldest on the left: what ended well stands below.
pub fn days(days: &[Day]) -> String {
    let total = |day: &Day| day.well + day.badly + day.unknown;
    let most = days.iter().map(total).max().unwrap_or(1).max(1) as f64;
    let every = days.len().div_ceil(LABELS).max(1);
    let x: Vec<Tick> = days
        .iter()
        .enumerate()
        .filter(|(at, _)| at % every == 0)
        .map(|(at, day)| (at as f64, day.day.chars().skip(5).collect()))
        .collect();
    let y: Vec<Tick> = nice(0.0, most, 4)
        .into_iter()
        .filter(|count| count.fract() == 0.0)
        .map(|count| (count, format!("{count:.0}")))
        .collect();
    let axes = Axes { x: &x, y: &y, x_says: "", y_says: "traces" };
    let alt = format!("traces of {} days, a bar for each: those that ended well and those that did not", days.len());
    let last = days.len().max(1) as f64 - 1.0;
    picture((860, 240), &alt, |area, hits| {
        let chart = plane(area, (-0.6, last + 0.6), (0.0, most * 1.04), &axes)?;
        let at = |x: f64, y: f64| chart.backend_coord(&(x, y));
        for (place, day) in days.iter().enumerate() {
            let mut from = 0.0;
            for (count, colour) in [(day.well, COLOURS[2]), (day.badly, COLOURS[1]), (day.unknown, AXIS)] {
                let to = from + count as f64;
                if count > 0 {
                    let corners = [at(place as f64 - 0.38, to), at(place as f64 + 0.38, from)];
                    area.draw(&Rectangle::new(corners, colour.filled()))?;
                }
                from = to;
            }
            let unknown = if day.unknown > 0 { format!(", {} not over", day.unknown) } else { String::new() };
            let says = format!("{}\n{} ended well, {} did not{unknown}", day.day, day.well, day.badly);
            hits.put(at(place as f64, from / 2.0), says);
        }
        Ok(())
    })
}
