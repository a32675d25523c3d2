//! A judge measured against people: how often it is right on what they pass and on what they fail, how well it agrees, and
//! what changes its mind that shouldn't.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::agreement::{Agreement, agreement};
use crate::grade::rubric::{CriterionReading, Reading, criteria_fingerprint, weighed};
use crate::stats::judge::{Calibration, position_bias};
use crate::stats::{Counts, Interval, basic};
use crate::suite::{Criterion, Rubric};
use crate::trial::Grade;

/// The lower bound of the specificity that makes a calibration valid: a lenient judge is the dangerous one.
pub const LEAST_SPECIFICITY: f64 = 0.8;
const ALPHA: f64 = 0.05;

/// An item that people have labelled, and what the judge said of it in several ways.
#[derive(Debug, Clone, Default)]
pub struct Labelled {
    pub id: String,
    /// Levels by criterion; `None` where people can't tell.
    pub human: BTreeMap<String, Option<u32>>,
    /// Characters of the final answer.
    pub length: usize,
    pub read: Option<Reading>,
    /// Several votes of each judge.
    pub repeated: Option<Reading>,
    /// With the possible answers in the opposite order.
    pub swapped: Option<Reading>,
    /// With an answer made longer by words that say nothing.
    pub padded: Option<Reading>,
    /// With no answer at all.
    pub emptied: Option<Reading>,
}

/// What is kept of a calibration, under the rubric's fingerprint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibrated {
    pub rubric: String,
    /// Of rubric and judge: another judge needs a calibration of its own.
    pub fingerprint: String,
    /// Of the criteria alone.
    pub criteria_fingerprint: String,
    pub judges: Vec<String>,
    pub items: usize,
    /// The rubric's verdict as a whole.
    pub whole: Calibration,
    pub criteria: BTreeMap<String, Calibration>,
    /// Whether gates may count on it, and if not why.
    pub valid: bool,
    pub why: String,
}

/// One criterion, or the verdict as a whole, held against people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Held {
    /// Empty for the verdict as a whole.
    pub criterion: String,
    /// Items with a verdict of both.
    pub items: usize,
    pub confusion: Confusion,
    pub sensitivity: Option<(f64, Interval)>,
    pub specificity: Option<(f64, Interval)>,
    /// Between judge and people.
    pub agreement: Agreement,
    pub wrong: Vec<Wrong>,
    /// Spearman's correlation of the judge's error with the answer's length; above 0 the judge likes long answers.
    pub length_bias: Option<f64>,
}

/// Who says what how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Confusion {
    pub both_pass: u32,
    /// People pass it, the judge fails it.
    pub judge_too_strict: u32,
    /// People fail it, the judge passes it.
    pub judge_too_lenient: u32,
    pub both_fail: u32,
    /// Labelled items on which the judge could not tell, and on which it broke.
    pub unknown: u32,
    pub broken: u32,
}

/// An item that the judge got wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wrong {
    pub item: String,
    pub human_passes: bool,
    pub says: String,
}

/// Something that should not change a verdict, and how often it did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probe {
    pub name: &'static str,
    /// Verdicts that could have changed, and those that did.
    pub verdicts: u32,
    pub changed: u32,
    /// Changes in the direction the probe pulls: towards the first answer, towards a pass.
    pub pulled: u32,
    /// How likely so one-sided a count is by chance; two-sided binomial.
    pub p: Option<f64>,
}

/// Everything there is to say of a judge.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub kept: Calibrated,
    pub whole: Held,
    pub criteria: Vec<Held>,
    pub probes: Vec<Probe>,
}

/// Measures a judge.
pub fn measure(rubric: &Rubric, items: &[Labelled]) -> Report {
    let criteria: Vec<Held> = rubric.criteria().map(|(_, criterion)| held(criterion, items)).collect();
    let whole = held_whole(rubric, items);
    let counts = |held: &Held| Calibration {
        passes: Counts { n: held.confusion.both_pass + held.confusion.judge_too_strict, c: held.confusion.both_pass },
        fails: Counts { n: held.confusion.both_fail + held.confusion.judge_too_lenient, c: held.confusion.both_fail },
    };
    let (valid, why) = validity(&whole);
    let kept = Calibrated {
        rubric: rubric.rubric.clone(),
        fingerprint: rubric.fingerprint(),
        criteria_fingerprint: criteria_fingerprint(rubric),
        judges: rubric.judge.models().into_iter().map(str::to_owned).collect(),
        items: items.len(),
        whole: counts(&whole),
        criteria: criteria.iter().map(|held| (held.criterion.clone(), counts(held))).collect(),
        valid,
        why,
    };
    Report { kept, whole, criteria, probes: probes(items) }
}

fn validity(whole: &Held) -> (bool, String) {
    let bound = |share: &Option<(f64, Interval)>| share.map(|(_, interval)| interval.lower);
    match (bound(&whole.sensitivity), bound(&whole.specificity)) {
        (None, _) => (false, "no labelled item is a pass by people's word".to_owned()),
        (_, None) => (false, "no labelled item is a fail by people's word".to_owned()),
        (_, Some(specificity)) if specificity < LEAST_SPECIFICITY => (
            false,
            format!(
                "the judge's specificity may be as low as {specificity:.2}, and {LEAST_SPECIFICITY:.2} is needed: label more \
                 items that fail (30 are a good start), or use a better judge"
            ),
        ),
        (Some(sensitivity), Some(specificity)) if sensitivity + specificity - 1.0 <= 0.1 => {
            (false, "the judge cannot be told from a coin toss: label more items that pass".to_owned())
        }
        _ => (true, String::new()),
    }
}

/// The level of a verdict, by its word.
fn level(read: &CriterionReading) -> Option<u32> {
    match read.verdict.as_deref()? {
        "yes" => Some(2),
        "no" => Some(1),
        number => number.parse().ok(),
    }
}

fn reading_of<'a>(reading: Option<&'a Reading>, id: &str) -> Option<&'a CriterionReading> {
    reading?.criteria.iter().find(|read| read.id == id)
}

/// A pair: what people say, and what the judge says, as levels, as passes, and in words.
struct Pair<'a> {
    item: &'a Labelled,
    human: (i64, bool),
    judge: &'a Grade,
    level: Option<i64>,
    says: String,
}

fn held(criterion: &Criterion, items: &[Labelled]) -> Held {
    let pairs: Vec<Pair<'_>> = items
        .iter()
        .filter_map(|item| {
            let human = item.human.get(&criterion.id).copied().flatten()?;
            let read = reading_of(item.read.as_ref(), &criterion.id)?;
            let human = (i64::from(human), human >= criterion.pass_at());
            Some(Pair { item, human, judge: &read.grade, level: level(read).map(i64::from), says: read.in_words() })
        })
        .collect();
    compare(&criterion.id, criterion.scale(), &pairs)
}

fn held_whole(rubric: &Rubric, items: &[Labelled]) -> Held {
    let graded: Vec<(&Labelled, bool, Grade, String)> = items
        .iter()
        .filter_map(|item| {
            let human = human_whole(rubric, item)?;
            let graded = item.read.as_ref()?.grade();
            let says = graded.reasons.first().cloned().unwrap_or_default();
            Some((item, human, graded.grade, says))
        })
        .collect();
    let pairs: Vec<Pair<'_>> = graded
        .iter()
        .map(|(item, human, judge, says)| Pair {
            item,
            human: (i64::from(*human), *human),
            judge,
            level: judge.pass().map(i64::from),
            says: says.clone(),
        })
        .collect();
    compare("", 2, &pairs)
}

/// What people's labels come to as a whole, where they decide it.
fn human_whole(rubric: &Rubric, item: &Labelled) -> Option<bool> {
    let grades: Vec<(f64, bool, Grade)> = rubric
        .criteria()
        .map(|(_, criterion)| {
            let grade = match item.human.get(&criterion.id).copied().flatten() {
                Some(level) => Grade::Scored { score: criterion.score(level), pass: level >= criterion.pass_at() },
                None => Grade::Abstained { reason: String::new() },
            };
            (criterion.weight, criterion.required, grade)
        })
        .collect();
    let all: Vec<(f64, bool, &Grade)> =
        grades.iter().map(|(weight, required, grade)| (*weight, *required, grade)).collect();
    weighed(&all, rubric.pass).pass()
}

fn compare(criterion: &str, levels: u32, pairs: &[Pair<'_>]) -> Held {
    let mut confusion = Confusion::default();
    let (mut wrong, mut lengths, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for pair in pairs {
        let human_passes = pair.human.1;
        let count = match (pair.judge, human_passes) {
            (Grade::Abstained { .. }, _) => &mut confusion.unknown,
            (Grade::Broken { .. }, _) => &mut confusion.broken,
            (Grade::Scored { pass: true, .. }, true) => &mut confusion.both_pass,
            (Grade::Scored { pass: false, .. }, true) => &mut confusion.judge_too_strict,
            (Grade::Scored { pass: true, .. }, false) => &mut confusion.judge_too_lenient,
            (Grade::Scored { pass: false, .. }, false) => &mut confusion.both_fail,
        };
        *count += 1;
        if let Some(pass) = pair.judge.pass() {
            lengths.push((pair.item.length as f64).ln_1p());
            errors.push(f64::from(u8::from(pass)) - f64::from(u8::from(human_passes)));
            if pass != human_passes {
                wrong.push(Wrong { item: pair.item.id.clone(), human_passes, says: pair.says.clone() });
            }
        }
    }
    let calibration = Calibration {
        passes: Counts { n: confusion.both_pass + confusion.judge_too_strict, c: confusion.both_pass },
        fails: Counts { n: confusion.both_fail + confusion.judge_too_lenient, c: confusion.both_fail },
    };
    let ratings =
        [pairs.iter().map(|pair| Some(pair.human.0)).collect(), pairs.iter().map(|pair| pair.level).collect()];
    Held {
        criterion: criterion.to_owned(),
        items: errors.len(),
        confusion,
        sensitivity: calibration.sensitivity(ALPHA).ok(),
        specificity: calibration.specificity(ALPHA).ok(),
        agreement: agreement(&ratings, levels),
        wrong,
        length_bias: basic::spearman(&errors, &lengths),
    }
}

fn probes(items: &[Labelled]) -> Vec<Probe> {
    let swapped =
        probe("answers in the opposite order", items, |item| item.swapped.as_ref(), |before, after| before < after);
    let padded =
        probe("a longer answer that says no more", items, |item| item.padded.as_ref(), |before, after| before < after);
    let mut all: Vec<Probe> = [swapped, padded].into_iter().flatten().collect();
    all.extend(repeats(items));
    let emptied: Vec<bool> = items
        .iter()
        .filter_map(|item| item.emptied.as_ref())
        .filter_map(|reading| reading.grade().grade.pass())
        .collect();
    if !emptied.is_empty() {
        let passed = u32::try_from(emptied.iter().filter(|pass| **pass).count()).unwrap_or(u32::MAX);
        let verdicts = u32::try_from(emptied.len()).unwrap_or(u32::MAX);
        all.push(Probe { name: "no answer at all, passed", verdicts, changed: passed, pulled: passed, p: None });
    }
    all
}

/// Verdicts that another way of asking changed. Normally the worst answer is named first: a change upwards in the opposite order
/// is one towards the first answer.
fn probe(
    name: &'static str,
    items: &[Labelled],
    other: impl Fn(&Labelled) -> Option<&Reading>,
    pulls: impl Fn(u32, u32) -> bool,
) -> Option<Probe> {
    let (mut verdicts, mut changed, mut pulled) = (0, 0, 0);
    for item in items {
        let (Some(read), Some(other)) = (item.read.as_ref(), other(item)) else { continue };
        for before in &read.criteria {
            let after = reading_of(Some(other), &before.id).and_then(level);
            let (Some(before), Some(after)) = (level(before), after) else { continue };
            verdicts += 1;
            changed += u32::from(before != after);
            pulled += u32::from(pulls(before, after));
        }
    }
    let p = (changed > 0).then(|| position_bias(pulled, changed));
    (verdicts > 0).then_some(Probe { name, verdicts, changed, pulled, p })
}

/// Criteria on which a judge did not say the same every time.
fn repeats(items: &[Labelled]) -> Option<Probe> {
    let (mut verdicts, mut changed) = (0, 0);
    for read in items.iter().filter_map(|item| item.repeated.as_ref()).flat_map(|reading| &reading.criteria) {
        let mut judges: Vec<&str> = read.votes.iter().map(|vote| vote.judge.as_str()).collect();
        judges.dedup();
        for judge in judges {
            let own: Vec<u32> = read
                .votes
                .iter()
                .filter(|vote| vote.judge == judge && !vote.strong)
                .filter_map(|vote| vote.level())
                .collect();
            if own.len() > 1 {
                verdicts += 1;
                changed += u32::from(own.iter().any(|level| *level != own[0]));
            }
        }
    }
    (verdicts > 0).then_some(Probe { name: "asked again", verdicts, changed, pulled: 0, p: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grade::rubric::{Ruling, Vote, Word, combined};
    use crate::suite::{Combine, load_rubric};

    fn rubric() -> Rubric {
        load_rubric("r.yaml", "rubric: r\nprinciples: [{principle: p, criteria: [{id: a, ask: x?}]}]\n").unwrap()
    }

    fn reading(votes: &[u32]) -> Reading {
        let rubric = rubric();
        let vote = |(repeat, level): (u32, &u32)| {
            let word = if *level == 0 { Word::Unknown } else { Word::Level(*level) };
            let (quote, at, reason) = Default::default();
            Vote::of("m/j", repeat, false, Ok(Ruling { word, quote, at, reason, sure: true }))
        };
        let votes = (1..).zip(votes).map(vote).collect();
        Reading::new(&rubric, vec![combined(rubric.criterion("a").unwrap(), Combine::Majority, votes)])
    }

    fn item(human: u32, judge: u32, swapped: u32) -> Labelled {
        Labelled {
            id: format!("{human}{judge}"),
            human: BTreeMap::from([("a".to_owned(), Some(human))]),
            length: 10 * judge as usize,
            read: Some(reading(&[judge])),
            repeated: Some(reading(&[judge, swapped, judge])),
            swapped: Some(reading(&[swapped])),
            ..Labelled::default()
        }
    }

    #[test]
    fn a_judge_is_held_against_people() {
        let mut items: Vec<Labelled> = (0..30).map(|_| item(2, 2, 2)).collect();
        items.extend((0..30).map(|_| item(1, 1, 1)));
        let report = measure(&rubric(), &items);
        assert!(report.kept.valid, "{}", report.kept.why);
        assert_eq!(report.whole.confusion, Confusion { both_pass: 30, both_fail: 30, ..Confusion::default() });
        assert!(report.probes.iter().all(|probe| probe.changed == 0), "{:?}", report.probes);
        items.extend([item(1, 2, 1), item(2, 1, 2), item(2, 0, 2), item(1, 2, 1), item(1, 2, 1)]);
        let report = measure(&rubric(), &items);
        let held = &report.criteria[0];
        assert_eq!(
            (held.confusion.judge_too_lenient, held.confusion.judge_too_strict, held.confusion.unknown),
            (3, 1, 1)
        );
        assert_eq!((held.items, held.wrong.len(), held.wrong[0].human_passes), (64, 4, false));
        assert!(held.specificity.unwrap().0 > 0.9 && held.agreement.cohen.unwrap().interval.is_some());
        assert!(!report.kept.valid && report.kept.why.contains("specificity"), "{}", report.kept.why);
        let swap = &report.probes[0];
        assert_eq!((swap.verdicts, swap.changed, swap.pulled), (64, 4, 1));
        assert_eq!(report.probes.iter().find(|probe| probe.name == "asked again").unwrap().changed, 4);
        let none = measure(&rubric(), &[]);
        assert!(!none.kept.valid && none.whole.sensitivity.is_none());
    }
}
