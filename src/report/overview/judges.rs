//! What judges said of the trials, and what their word is worth: pass rates raw and corrected, and how often they say what people
//! said of the same things.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Material;
use crate::gate::Arm;
use crate::gate::judges::{Judged, JudgedRate, Known, rate};
use crate::stats::agreement::cohen_kappa;
use crate::stats::judge::Calibration;
use crate::stats::proportion::clopper_pearson;
use crate::stats::{Counts, Interval};
use crate::trial::{Grade, Trial};

/// What the store knows of judges.
#[derive(Debug, Clone, Default)]
pub struct Hearsay {
    /// Calibrations by the fingerprint of rubric and judge.
    pub calibrations: BTreeMap<String, Calibrated>,
    /// What people said of single trials.
    pub labels: Vec<Label>,
}

impl Hearsay {
    /// What the gate needs to know of a judge.
    pub fn known(&self, fingerprint: &str) -> Option<Known> {
        self.calibrations.get(fingerprint).map(|one| Known {
            whole: Some(one.whole),
            criteria: one.criteria.clone(),
            valid: one.valid,
        })
    }

    /// Whether gates may count on a judge.
    pub fn is_valid(&self, fingerprint: &str) -> bool {
        self.calibrations.get(fingerprint).is_some_and(|one| one.valid)
    }

    fn calibration(&self, judged: &Judged) -> Option<(&Calibrated, Calibration)> {
        let one = self.calibrations.get(&judged.fingerprint)?;
        let counts = match &judged.criterion {
            Some(criterion) => one.criteria.get(criterion)?,
            None => &one.whole,
        };
        Some((one, *counts))
    }
}

/// A judge held against labels, once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibrated {
    pub rubric: String,
    /// Models that judge.
    pub judges: Vec<String>,
    pub whole: Calibration,
    pub criteria: BTreeMap<String, Calibration>,
    /// Whether gates may count on it, and if not why.
    pub valid: bool,
    #[serde(default)]
    pub why: String,
}

/// One person's word on one criterion of one trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub trial: String,
    pub rubric: String,
    pub criterion: String,
    /// `None` where the person could not tell.
    pub passes: Option<bool>,
}

/// A judge's pass rate in one arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// The arm's place in the list of arms.
    pub arm: usize,
    /// Whether the judge has a valid calibration for its rubric as it is.
    pub calibrated: bool,
    #[serde(flatten)]
    pub rate: JudgedRate,
}

/// A share with its 95 % interval (Clopper and Pearson).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    pub value: f64,
    pub interval: Interval,
}

impl Share {
    fn of(counts: Counts) -> Option<Share> {
        let interval = clopper_pearson(counts.c, counts.n, 0.05).ok()?;
        Some(Share { value: f64::from(counts.c) / f64::from(counts.n), interval })
    }
}

/// Where people's words are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `holdback judge calibrate`, whatever trials or texts were labelled for it.
    Calibration,
    /// Labels of the trials in this report.
    TheseTrials,
}

/// How well a judge agrees with people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// The grader, or `grader/criterion`.
    pub judge: String,
    pub from: Source,
    /// Models that judge, where that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Items that both people and the judge have a word on.
    pub labels: u32,
    pub agree: Option<Share>,
    /// Cohen's kappa; `None` where it has no meaning.
    pub kappa: Option<f64>,
    /// How often the judge passes what people pass, and fails what people fail.
    pub true_pass: Option<Share>,
    pub true_fail: Option<Share>,
    /// Labelled items on which the judge abstained or broke; those of a calibration are not kept.
    pub unjudged: u32,
    /// Whether gates may count on it, where it was calibrated, and if not why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<bool>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl Agreement {
    fn of(judge: &str, from: Source, counts: Calibration, unjudged: u32) -> Agreement {
        let Calibration { passes, fails } = counts;
        let all = Counts { n: passes.n + fails.n, c: passes.c + fails.c };
        let pairs = [(1, 1, passes.c), (1, 0, passes.n - passes.c), (0, 1, fails.n - fails.c), (0, 0, fails.c)];
        let (people, judged): (Vec<i64>, Vec<i64>) =
            pairs.iter().flat_map(|(human, judge, n)| (0..*n).map(|_| (*human, *judge))).unzip();
        Agreement {
            judge: judge.to_owned(),
            from,
            models: Vec::new(),
            labels: all.n,
            agree: Share::of(all),
            kappa: cohen_kappa(&people, &judged, crate::stats::agreement::Weights::None),
            true_pass: Share::of(passes),
            true_fail: Share::of(fails),
            unjudged,
            valid: None,
            why: String::new(),
        }
    }
}

fn arms<'a>(material: &'a Material<'_>) -> impl Iterator<Item = &'a Arm> {
    let held = material.baselines.iter().map(|held| &held.arm);
    held.chain(material.runs.iter().flat_map(|chosen| &chosen.arms))
}

/// Pass rates of all judges in all arms.
pub fn rates(material: &Material<'_>) -> Vec<Rate> {
    let of = |(at, arm): (usize, &Arm)| {
        let one = |judged: &Judged| {
            let found = material.hearsay.calibration(judged);
            let rate = rate(judged, found.as_ref().map(|(_, counts)| counts))?;
            Some(Rate { arm: at, calibrated: found.is_some_and(|(one, _)| one.valid), rate })
        };
        arm.judged.iter().filter_map(one).collect::<Vec<_>>()
    };
    arms(material).enumerate().flat_map(of).collect()
}

/// Judges of these arms held against people: as they were calibrated, and on these very trials.
pub fn agreement(material: &Material<'_>) -> Vec<Agreement> {
    let mut found: Vec<Agreement> = Vec::new();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for judged in arms(material).flat_map(|arm| &arm.judged) {
        let key = (judged.grader.as_str(), judged.fingerprint.as_str());
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        if let Some((one, counts)) = material.hearsay.calibration(judged) {
            let models = one.judges.clone();
            let (valid, why) = (Some(one.valid), one.why.clone());
            found.push(Agreement {
                models,
                valid,
                why,
                ..Agreement::of(&judged.grader, Source::Calibration, counts, 0)
            });
        }
    }
    found.extend(on_these(material));
    found
}

/// A rubric's criterion, and whether people pass it.
type Said<'a> = (&'a str, &'a str, bool);
/// What people and the judge say, and on how many the judge says nothing.
type Pairs = (Vec<(bool, bool)>, u32);

/// Labels of these very trials against what the judge said of them.
fn on_these(material: &Material<'_>) -> Vec<Agreement> {
    // What people say of a trial's criterion: the majority; where they are of two minds it is no measure.
    let mut votes: BTreeMap<(&str, &str, &str), i64> = BTreeMap::new();
    for label in &material.hearsay.labels {
        let vote = label.passes.map_or(0, |passes| if passes { 1 } else { -1 });
        *votes.entry((&label.trial, &label.rubric, &label.criterion)).or_default() += vote;
    }
    let mut by_trial: BTreeMap<&str, Vec<Said<'_>>> = BTreeMap::new();
    for ((trial, rubric, criterion), votes) in votes.into_iter().filter(|(_, votes)| *votes != 0) {
        by_trial.entry(trial).or_default().push((rubric, criterion, votes > 0));
    }
    let runs = material.baselines.iter().filter_map(|held| held.run.as_ref());
    let runs = runs.chain(material.runs.iter().map(|chosen| &chosen.run));
    // A run with several arms is there once for each.
    let trials: BTreeMap<&str, &Trial> =
        runs.flat_map(|run| &run.trials).map(|trial| (trial.id.as_str(), trial)).collect();
    let mut pairs: BTreeMap<&str, Pairs> = BTreeMap::new();
    for (id, labels) in by_trial {
        let Some(trial) = trials.get(id) else { continue };
        for (rubric, criterion, people) in labels {
            let Some((judge, grade)) = verdict(trial, rubric, criterion, &material.hearsay) else { continue };
            let (pairs, unjudged) = pairs.entry(judge).or_default();
            match grade.pass() {
                Some(pass) => pairs.push((people, pass)),
                None => *unjudged += 1,
            }
        }
    }
    let one = |(judge, (pairs, unjudged)): (&str, Pairs)| {
        Agreement::of(judge, Source::TheseTrials, Calibration::count(pairs), unjudged)
    };
    pairs.into_iter().map(one).collect()
}

/// What a judge said of a criterion of a trial. Where several rubrics have a criterion of that name, the one whose fingerprint
/// or label says that it is this rubric.
fn verdict<'a>(trial: &'a Trial, rubric: &str, criterion: &str, hearsay: &Hearsay) -> Option<(&'a str, &'a Grade)> {
    let fits = |label: &str| label.rsplit_once('/').is_some_and(|(_, last)| last == criterion);
    let all: Vec<_> = trial.grades.iter().filter(|grade| grade.kind == "criterion" && fits(&grade.label)).collect();
    let is_it = |grade: &&&crate::trial::GradeRecord| match hearsay.calibrations.get(&grade.fingerprint) {
        Some(known) => known.rubric == rubric,
        None => grade.label.contains(rubric),
    };
    let one = match all.as_slice() {
        [only] => only,
        several => several.iter().find(is_it)?,
    };
    Some((&one.label, &one.grade))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::testing::run;
    use crate::report::overview::Chosen;
    use crate::trial::{GradeRecord, RunRecord};

    fn judged(letters: &str, verdicts: &str) -> RunRecord {
        let mut run = run("r", &[("t", letters)]);
        for (trial, verdict) in run.trials.iter_mut().zip(verdicts.chars()) {
            let grade = match verdict {
                'a' => Grade::Abstained { reason: "no word".to_owned() },
                verdict => Grade::of(verdict == 'p'),
            };
            let (kind, fingerprint) = ("criterion".to_owned(), "f1".to_owned());
            let label = "tone/kind".to_owned();
            trial.grades.push(GradeRecord { label, kind, fingerprint, grade, ..trial.grades[0].clone() });
        }
        run
    }

    fn material<'a>(runs: &'a [Chosen], hearsay: Hearsay) -> Material<'a> {
        Material { runs, hearsay, ..Material::default() }
    }

    fn chosen(run: RunRecord) -> [Chosen; 1] {
        [Chosen { arms: vec![Arm::from_run(&run, None).unwrap()], run }]
    }

    fn label(trial: &str, passes: Option<bool>) -> Label {
        Label { trial: trial.to_owned(), rubric: "manners".to_owned(), criterion: "kind".to_owned(), passes }
    }

    #[test]
    fn a_judge_is_held_against_labels_of_these_trials() {
        let runs = chosen(judged("pppppp", "ppffap"));
        let ids: Vec<String> = runs[0].run.trials.iter().map(|trial| trial.id.clone()).collect();
        let mut labels: Vec<Label> = [true, false, false, true, true]
            .into_iter()
            .zip(&ids)
            .map(|(passes, id)| label(id, Some(passes)))
            .collect();
        // Nobody knows the last one: two people are of two minds, and a third cannot tell.
        labels.extend([label(&ids[5], Some(true)), label(&ids[5], Some(false)), label(&ids[5], None)]);
        labels.push(label("another run's", Some(true)));
        let found = agreement(&material(&runs, Hearsay { labels, ..Hearsay::default() }));
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((one.judge.as_str(), one.from, one.labels, one.unjudged), ("tone/kind", Source::TheseTrials, 4, 1));
        assert_eq!((one.agree.unwrap().value, one.kappa), (0.5, Some(0.0)));
        assert_eq!((one.true_pass.unwrap().value, one.true_fail.unwrap().value), (0.5, 0.5));
    }

    #[test]
    fn rates_are_raw_until_the_judge_is_calibrated() {
        let runs = chosen(judged("pppppppppp", "ppppppppff"));
        let raw = rates(&material(&runs, Hearsay::default()));
        assert_eq!((raw.len(), raw[0].calibrated, raw[0].rate.raw, raw[0].rate.corrected), (1, false, 0.8, None));
        assert!(agreement(&material(&runs, Hearsay::default())).is_empty());
        let counts = Calibration { passes: Counts { n: 60, c: 57 }, fails: Counts { n: 60, c: 54 } };
        let one = Calibrated {
            rubric: "manners".to_owned(),
            judges: vec!["m/j".to_owned()],
            whole: counts,
            criteria: BTreeMap::from([("kind".to_owned(), counts)]),
            valid: true,
            why: String::new(),
        };
        let hearsay = Hearsay { calibrations: BTreeMap::from([("f1".to_owned(), one)]), labels: Vec::new() };
        let material = material(&runs, hearsay);
        assert!(rates(&material)[0].calibrated && rates(&material)[0].rate.corrected.is_some());
        let [one] = agreement(&material).try_into().unwrap();
        let Agreement { from, labels, valid, agree, .. } = &one;
        assert_eq!((*from, *labels, *valid), (Source::Calibration, 120, Some(true)));
        assert!((agree.unwrap().value - 111.0 / 120.0).abs() < 1e-12);
    }
}
