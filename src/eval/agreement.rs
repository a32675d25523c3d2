//! How well raters agree: judges with each other, with themselves, and with people; and how much of a score's noise is the
//! judge's and how much the loop's.

use serde::Serialize;

use crate::grade::rubric::{CriterionReading, Reading};
use crate::stats::Interval;
use crate::stats::agreement::{
    Scale, Weights, cohen_kappa, fleiss_kappa, gwet_ac1, jackknife, krippendorff_alpha, observed_agreement,
};
use crate::stats::judge::TwoNoises;

/// A figure with its interval, where one can be had.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    pub value: f64,
    /// 95 %, by jackknife over the items.
    pub interval: Option<Interval>,
}

/// How well raters agree on a criterion. Figures that are not defined are left out: there is no kappa of one verdict only.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Agreement {
    /// Items that at least two raters gave a verdict on.
    pub items: usize,
    pub raters: usize,
    /// Share of pairs of verdicts that are equal.
    pub observed: Option<f64>,
    /// Two raters only; weighted by distance on a scale.
    pub cohen: Option<Figure>,
    /// Items that all raters gave a verdict on.
    pub fleiss: Option<Figure>,
    /// Of more than two raters the mean over pairs.
    pub ac1: Option<Figure>,
    pub alpha: Option<Figure>,
}

const ALPHA: f64 = 0.05;

/// Labels of several raters: `[rater][item]`, `None` where a rater said nothing.
type Ratings = [Vec<Option<i64>>];
/// A figure of two raters' labels.
type OfPair<'a> = &'a dyn Fn(&[i64], &[i64]) -> Option<f64>;
/// A figure of all raters' labels.
type OfAll<'a> = &'a dyn Fn(&Ratings) -> Option<f64>;

/// Agreement of `ratings[rater][item]`; `levels` above two are taken as a scale.
pub fn agreement(ratings: &Ratings, levels: u32) -> Agreement {
    let width = ratings.iter().map(Vec::len).max().unwrap_or(0);
    let count = |item: usize| ratings.iter().filter(|rater| rater.get(item).copied().flatten().is_some()).count();
    let rated: Vec<usize> = (0..width).filter(|item| count(*item) >= 2).collect();
    let table: Vec<Vec<Option<i64>>> =
        ratings.iter().map(|rater| rated.iter().map(|item| rater.get(*item).copied().flatten()).collect()).collect();
    let (items, raters) = (rated.len(), ratings.len());
    if items == 0 || raters < 2 {
        return Agreement { items, raters, ..Agreement::default() };
    }
    let (scale, weights) = if levels > 2 { (Scale::Ordinal, Weights::Linear) } else { (Scale::Nominal, Weights::None) };
    let of = |keep: &dyn Fn(usize) -> bool| -> Vec<Vec<Option<i64>>> {
        let kept = |rater: &Vec<Option<i64>>| {
            rater.iter().enumerate().filter(|(at, _)| keep(*at)).map(|(_, label)| *label).collect()
        };
        table.iter().map(kept).collect()
    };
    let figure = |compute: OfAll<'_>| -> Option<Figure> {
        let value = compute(&table)?;
        Some(Figure { value, interval: jackknife(items, ALPHA, |keep| compute(&of(keep))) })
    };
    Agreement {
        items,
        raters,
        observed: over_pairs(&table, &observed_agreement),
        cohen: (raters == 2).then(|| figure(&|table| over_pairs(table, &|a, b| cohen_kappa(a, b, weights)))).flatten(),
        fleiss: figure(&|table| fleiss(table)),
        ac1: figure(&|table| over_pairs(table, &gwet_ac1)),
        alpha: figure(&|table| krippendorff_alpha(table, scale)),
    }
}

/// The mean of a figure over all pairs of raters, each on the items both have rated.
fn over_pairs(table: &Ratings, compute: OfPair<'_>) -> Option<f64> {
    let mut values = Vec::new();
    for (at, first) in table.iter().enumerate() {
        for second in &table[at + 1..] {
            let both: (Vec<i64>, Vec<i64>) = first.iter().zip(second).filter_map(|(a, b)| Some(((*a)?, (*b)?))).unzip();
            values.extend(compute(&both.0, &both.1));
        }
    }
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn fleiss(table: &Ratings) -> Option<f64> {
    let mut categories: Vec<i64> = table.iter().flatten().copied().flatten().collect();
    categories.sort_unstable();
    categories.dedup();
    let width = table.first()?.len();
    let counts: Vec<Vec<u32>> = (0..width)
        .filter(|item| table.iter().all(|rater| rater[*item].is_some()))
        .map(|item| {
            let given = |category: &i64| table.iter().filter(|rater| rater[item] == Some(*category)).count();
            categories.iter().map(|category| u32::try_from(given(category)).unwrap_or(u32::MAX)).collect()
        })
        .collect();
    fleiss_kappa(&counts)
}

/// What a criterion's votes over many trials say of the judges.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bench {
    pub criterion: String,
    /// Between members of a panel and repeats.
    pub agreement: Agreement,
    /// Share of trials on which the votes were all alike.
    pub unanimous: Option<f64>,
    /// Variances of the score: of the loop between trials, of the judge between votes.
    pub noises: Option<TwoNoises>,
    /// Where the next dollar helps.
    pub advice: Option<String>,
}

/// What the votes of several readings say of the judges, criterion by criterion. `tasks` names the task of each reading: the
/// loop's noise is that between trials of one task.
pub fn benches(readings: &[(&str, &Reading)]) -> Vec<Bench> {
    let mut ids: Vec<&str> = Vec::new();
    for (_, reading) in readings {
        for read in &reading.criteria {
            if !ids.contains(&read.id.as_str()) {
                ids.push(&read.id);
            }
        }
    }
    let of = |id: &&str| -> Bench {
        let reads: Vec<(&str, &CriterionReading)> = readings
            .iter()
            .filter_map(|(task, reading)| Some((*task, reading.criteria.iter().find(|read| read.id == *id)?)))
            .collect();
        bench(id, &reads)
    };
    ids.iter().map(of).collect()
}

fn bench(id: &str, reads: &[(&str, &CriterionReading)]) -> Bench {
    let mut raters: Vec<(String, u32)> = Vec::new();
    for vote in reads.iter().flat_map(|(_, read)| &read.votes).filter(|vote| !vote.strong) {
        let rater = (vote.judge.clone(), vote.repeat);
        if !raters.contains(&rater) {
            raters.push(rater);
        }
    }
    let label = |read: &CriterionReading, (judge, repeat): &(String, u32)| {
        let vote = read.votes.iter().find(|vote| !vote.strong && vote.judge == *judge && vote.repeat == *repeat);
        vote.and_then(|vote| vote.level()).map(i64::from)
    };
    let ratings: Vec<Vec<Option<i64>>> =
        raters.iter().map(|rater| reads.iter().map(|(_, read)| label(read, rater)).collect()).collect();
    let levels = reads.first().map_or(2, |(_, read)| read.levels);
    let scores: Vec<Vec<f64>> = reads
        .iter()
        .map(|(_, read)| {
            let own = read.votes.iter().filter(|vote| !vote.strong).filter_map(|vote| vote.level());
            own.map(|level| (f64::from(level) - 1.0) / f64::from(read.levels.max(2) - 1)).collect()
        })
        .collect();
    let several: Vec<&Vec<f64>> = scores.iter().filter(|own| own.len() > 1).collect();
    let alike = several.iter().filter(|own| own.windows(2).all(|pair| pair[0] == pair[1])).count();
    let noises = within_tasks(reads, &scores);
    let votes = raters.len().max(1);
    Bench {
        criterion: id.to_owned(),
        agreement: agreement(&ratings, levels),
        unanimous: (!several.is_empty()).then(|| alike as f64 / several.len() as f64),
        advice: noises.map(|noises| advice(noises, u32::try_from(votes).unwrap_or(u32::MAX))),
        noises,
    }
}

/// The two noises, tasks taken apart: between tasks there is difficulty, which is no noise.
fn within_tasks(reads: &[(&str, &CriterionReading)], scores: &[Vec<f64>]) -> Option<TwoNoises> {
    let mut tasks: Vec<&str> = reads.iter().map(|(task, _)| *task).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let mut found: Vec<TwoNoises> = Vec::new();
    for task in tasks {
        let own: Vec<Vec<f64>> =
            reads.iter().zip(scores).filter(|((of, _), _)| *of == task).map(|(_, scores)| scores.clone()).collect();
        found.extend(TwoNoises::split(&own));
    }
    let mean = |of: fn(&TwoNoises) -> f64| found.iter().map(of).sum::<f64>() / found.len() as f64;
    (!found.is_empty()).then(|| TwoNoises { trials: mean(|noise| noise.trials), judge: mean(|noise| noise.judge) })
}

/// Whether more trials or more judging narrows a score faster, at `votes` votes a trial.
fn advice(noises: TwoNoises, votes: u32) -> String {
    let judge = noises.judge / f64::from(votes.max(1));
    let share = if noises.trials + judge > 0.0 { judge / (noises.trials + judge) } else { 0.0 };
    let percent = (share * 100.0).round();
    if noises.trials + noises.judge == 0.0 {
        return "every trial and every vote came out alike: neither more trials nor more judging would tell more"
            .to_owned();
    }
    match share {
        share if share > 0.5 => {
            format!(
                "{percent} % of the noise is the judge's: ask it more often, or take a better one, before making more trials"
            )
        }
        share if share > 0.2 => {
            format!("{percent} % of the noise is the judge's: more trials help most, more votes help too")
        }
        _ => format!("{percent} % of the noise is the judge's: spend the next dollar on more trials"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grade::rubric::{Ruling, Vote, Word, combined};
    use crate::suite::{Combine, load_rubric};

    #[test]
    fn figures_come_with_intervals_and_undefined_ones_are_left_out() {
        let some = |labels: &[i64]| labels.iter().map(|label| Some(*label)).collect::<Vec<_>>();
        let (a, b) = (some(&[1, 1, 0, 0, 1, 0, 1, 1, 0, 1]), some(&[1, 1, 0, 1, 1, 0, 1, 0, 0, 1]));
        let two = agreement(&[a.clone(), b.clone()], 2);
        assert_eq!((two.items, two.raters, two.observed), (10, 2, Some(0.8)));
        for figure in [two.cohen, two.fleiss, two.ac1, two.alpha] {
            let Figure { value, interval: Some(interval) } = figure.unwrap() else { panic!("{figure:?}") };
            assert!(interval.lower < value && value < interval.upper, "{figure:?}");
        }
        let three = agreement(&[a.clone(), b, a.clone()], 2);
        assert!(three.cohen.is_none() && three.fleiss.unwrap().value > two.fleiss.unwrap().value);
        let alike = agreement(&[some(&[1, 1, 1]), some(&[1, 1, 1])], 2);
        assert_eq!((alike.observed, alike.cohen, alike.alpha), (Some(1.0), None, None));
        assert_eq!(agreement(&[a], 2).items, 0);
        assert_eq!(agreement(&[], 2), Agreement::default());
    }

    #[test]
    fn the_two_noises_are_told_apart_and_say_what_helps() {
        let rubric = "rubric: r\nprinciples: [{principle: p, criteria: [{id: a, ask: x?}]}]\n";
        let rubric = load_rubric("r.yaml", rubric).unwrap();
        let reading = |votes: &[u32]| {
            let vote = |(repeat, level): (u32, &u32)| {
                let word = Word::Level(*level);
                let (quote, at, reason) = Default::default();
                Vote::of("m/j", repeat, false, Ok(Ruling { word, quote, at, reason, sure: true }))
            };
            let votes = (1..).zip(votes).map(vote).collect();
            Reading::new(&rubric, vec![combined(rubric.criterion("a").unwrap(), Combine::Majority, votes)])
        };
        let steady = [reading(&[2, 2]), reading(&[1, 1]), reading(&[2, 2]), reading(&[1, 1])];
        let coin = [reading(&[2, 1]), reading(&[1, 2]), reading(&[2, 1]), reading(&[1, 2])];
        let all = |readings: &[Reading]| benches(&readings.iter().map(|reading| ("t", reading)).collect::<Vec<_>>());
        let (steady, coin) = (all(&steady), all(&coin));
        assert_eq!((steady[0].unanimous, coin[0].unanimous), (Some(1.0), Some(0.0)));
        assert!(steady[0].advice.as_ref().unwrap().contains("on more trials"), "{:?}", steady[0]);
        assert!(coin[0].advice.as_ref().unwrap().contains("ask it more often"), "{:?}", coin[0]);
        // Difficulty is no noise: tasks that differ and never vary have none.
        let (easy, hard) = (reading(&[2, 2]), reading(&[1, 1]));
        let apart = benches(&[("a", &easy), ("a", &easy), ("b", &hard), ("b", &hard)]);
        assert_eq!(apart[0].noises.unwrap(), TwoNoises { trials: 0.0, judge: 0.0 });
    }
}
