//! How long trials took and how much they read and wrote: a row for each arm, with every trial in it.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{AXIS, Axes, INK, Tick, colour, nice, picture, plane, words};
use crate::report::overview::{ArmView, Spread};
use crate::report::page::words::{seconds, shorten, tokens};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Tokens,
}

impl Unit {
    fn words(self, value: f64) -> String {
        match self {
            Unit::Seconds => seconds(value),
            Unit::Tokens => tokens(value),
        }
    }

    fn of(self, arm: &ArmView) -> Option<&Spread> {
        match self {
            Unit::Seconds => arm.latency_s.as_ref(),
            Unit::Tokens => arm.tokens.as_ref(),
        }
    }
}

const ROW: i32 = 62;

/// The picture, where anything was measured.
pub fn spreads(suite: &str, arms: &[(usize, &ArmView)], unit: Unit) -> Option<String> {
    let rows: Vec<(usize, &ArmView, &Spread)> =
        arms.iter().filter_map(|(index, arm)| Some((*index, *arm, unit.of(arm)?))).collect();
    let most = rows.iter().map(|(_, _, spread)| spread.max).fold(f64::MIN, f64::max);
    if rows.is_empty() || !most.is_finite() {
        return None;
    }
    let least = rows.iter().map(|(_, _, spread)| spread.min).fold(f64::MAX, f64::min);
    // A long tail would press all others into a corner.
    let log = least > 0.0 && most / least > 40.0;
    let scale = |x: f64| if log { x.log10() } else { x };
    let left = if log { scale(least) - 0.05 } else { 0.0 };
    let right = if log { scale(most) + 0.05 } else { (most * 1.05).max(f64::MIN_POSITIVE) };
    let x: Vec<Tick> = match log {
        false => nice(left, right, 5).into_iter().map(|x| (x, unit.words(x))).collect(),
        true => (left.ceil() as i32..=right.floor() as i32)
            .map(|power| (f64::from(power), unit.words(10f64.powi(power))))
            .collect(),
    };
    let what = if unit == Unit::Seconds { "seconds a trial took" } else { "tokens a trial read and wrote" };
    let alt = format!("{suite}: {what}: median, quartiles, 95th percentile and single trials of each model");
    let x_says = if log { "logarithmic" } else { "" };
    let height = ROW * rows.len() as i32 + if log { 62 } else { 42 };
    Some(picture((560, height as u32), &alt, |area, hits| {
        let axes = Axes { x: &x, y: &[], x_says, y_says: "" };
        let chart = plane(area, (left, right), (0.0, 1.0), &axes)?;
        let at = |value: f64| chart.backend_coord(&(scale(value.max(least)), 0.0)).0;
        for (row, (index, arm, spread)) in rows.iter().enumerate() {
            let (top, paint) = (8 + ROW * row as i32, colour(*index));
            let middle = top + 34;
            let label = format!("{} · median {}", shorten(&arm.label, 40), unit.words(spread.p50));
            area.draw(&Text::new(label, (10, top + 2), words(INK, HPos::Left, VPos::Top)))?;
            area.draw(&PathElement::new([(at(spread.min), middle), (at(spread.p95), middle)], AXIS.stroke_width(1)))?;
            let right_of = at(spread.p75).max(at(spread.p25) + 2);
            area.draw(&Rectangle::new(
                [(at(spread.p25), middle - 8), (right_of, middle + 8)],
                paint.mix(0.28).filled(),
            ))?;
            for (at_dot, dot) in spread.dots.iter().enumerate() {
                // Beside each other where they would lie on one another: the same place for the same list, always.
                let aside = [0, 3, -3, 5, -5, 1, -2][at_dot % 7];
                area.draw(&Circle::new((at(*dot), middle + aside), 2, paint.mix(0.55).filled()))?;
            }
            area.draw(&PathElement::new(
                [(at(spread.p50), middle - 9), (at(spread.p50), middle + 9)],
                paint.stroke_width(3),
            ))?;
            area.draw(&PathElement::new(
                [(at(spread.p95), middle - 6), (at(spread.p95), middle + 6)],
                INK.stroke_width(1),
            ))?;
            let says = in_words(arm, spread, unit);
            hits.put((at(spread.p50), middle), says.clone());
            hits.put_quietly((at(spread.p95), middle), says);
        }
        Ok(())
    }))
}

/// A row in words.
fn in_words(arm: &ArmView, spread: &Spread, unit: Unit) -> String {
    let unknown = match spread.unknown {
        0 => String::new(),
        n => format!(", {n} without a reading"),
    };
    let [p25, p50, p75, p95, max] = [spread.p25, spread.p50, spread.p75, spread.p95, spread.max].map(|x| unit.words(x));
    let (label, n) = (&arm.label, spread.n);
    format!("{label}\nmedian {p50}, middle half {p25} to {p75}\n95th percentile {p95}, most {max}\n{n} trials{unknown}")
}
