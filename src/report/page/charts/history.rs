//! pass^k over the runs there were.

use plotters::prelude::*;

use super::{Axes, Tick, colour, marker, percents, picture, plane};
use crate::gate::percent;
use crate::report::overview::Line;
use crate::report::page::words::{day, minute};
use crate::trace::Timestamp;

/// Labels under the axis at the most.
const LABELS: usize = 6;

/// The lines of a suite, over all its runs in order. `colours` says which arm's colour each line has.
pub fn history(suite: &str, lines: &[(usize, &Line)]) -> String {
    let mut runs: Vec<(i64, &str, Option<&str>)> = lines
        .iter()
        .flat_map(|(_, line)| line.dots.iter())
        .map(|dot| (dot.started.0, dot.run.as_str(), dot.git_commit.as_deref()))
        .collect();
    runs.sort_unstable();
    runs.dedup();
    let place = |run: &str| runs.iter().position(|(_, id, _)| *id == run).unwrap_or(0) as f64;
    let every = runs.len().div_ceil(LABELS).max(1);
    let one_day = runs.iter().all(|run| day(Timestamp(run.0)) == day(Timestamp(runs[0].0)));
    let minutes: std::collections::BTreeSet<String> = runs.iter().map(|run| minute(Timestamp(run.0))).collect();
    let crowded = minutes.len() < runs.len();
    let word = |(at, _, commit): &(i64, &str, Option<&str>)| match commit {
        Some(commit) => commit.chars().take(7).collect(),
        None if one_day && crowded => Timestamp(*at).to_string().chars().skip(11).take(8).collect(),
        None if one_day => minute(Timestamp(*at)).split_off(11),
        None => day(Timestamp(*at)),
    };
    let x: Vec<Tick> =
        runs.iter().enumerate().filter(|(i, _)| i % every == 0).map(|(i, run)| (i as f64, word(run))).collect();
    let k = lines.iter().map(|(_, line)| line.k).min().unwrap_or(1);
    let y_says = format!("pass^{k}");
    let axes = Axes { x: &x, y: &percents(), x_says: "runs, the newest on the right", y_says: &y_says };
    let alt = format!("{suite}: pass^{k} over {} runs, a line for each model", runs.len());
    let last = (runs.len().max(2) - 1) as f64;
    picture((860, 300), &alt, |area, hits| {
        let chart = plane(area, (-0.4, last + 0.4), (-0.02, 1.02), &axes)?;
        for (index, line) in lines {
            let of = |dot: &crate::report::overview::Dot| {
                let estimate = if line.k == k { dot.pass_k.as_ref() } else { dot.pass_1.as_ref() };
                estimate.cloned()
            };
            let known: Vec<_> = line.dots.iter().filter_map(|dot| Some((dot, of(dot)?))).collect();
            let at = |run: &str, y: f64| chart.backend_coord(&(place(run), y));
            for (dot, estimate) in &known {
                let ends = [at(&dot.run, estimate.interval.lower), at(&dot.run, estimate.interval.upper)];
                area.draw(&PathElement::new(ends, colour(*index).mix(0.45).stroke_width(2)))?;
            }
            let path: Vec<_> = known.iter().map(|(dot, estimate)| at(&dot.run, estimate.value)).collect();
            area.draw(&PathElement::new(path, colour(*index).stroke_width(2)))?;
            for (dot, estimate) in &known {
                let place = at(&dot.run, estimate.value);
                marker(area, place, *index)?;
                let commit =
                    dot.git_commit.as_deref().map(|c| format!(", commit {}", c.chars().take(12).collect::<String>()));
                hits.put(
                    place,
                    format!(
                        "{}\n{} {} [{} to {}]\nrun {} of {}{}, {} tasks, {} trials",
                        line.variant,
                        estimate.figure,
                        percent(estimate.value),
                        percent(estimate.interval.lower),
                        percent(estimate.interval.upper),
                        dot.run,
                        day(dot.started),
                        commit.unwrap_or_default(),
                        estimate.tasks,
                        estimate.trials
                    ),
                );
            }
        }
        Ok(())
    })
}
