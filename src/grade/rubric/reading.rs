//! A judge's reading of a trial: votes on criteria, and what they come to.

use serde::{Deserialize, Serialize};

use super::answer::{Ruling, Word};
use crate::grade::{Graded, clip};
use crate::suite::{Combine, Criterion, Rubric};
use crate::trace::TraceId;
use crate::trial::Grade;

/// One judge's word on one criterion, one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    pub judge: String,
    /// Which of the repeats, from 1.
    pub repeat: u32,
    /// It was asked because the others were not sure.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strong: bool,
    #[serde(flatten)]
    pub said: Said,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub quote: String,
    /// What the quote stands in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub at: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default = "yes")]
    pub sure: bool,
}

fn yes() -> bool {
    true
}

/// What a vote is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
pub enum Said {
    Level {
        level: u32,
    },
    Unknown,
    /// No usable answer was to be had.
    Broken {
        why: String,
    },
}

impl Vote {
    /// A vote from what was heard.
    pub fn of(judge: &str, repeat: u32, strong: bool, heard: Result<Ruling, String>) -> Self {
        let judge = judge.to_owned();
        match heard {
            Ok(Ruling { word, quote, at, reason, sure }) => {
                let said = match word {
                    Word::Level(level) => Said::Level { level },
                    Word::Unknown => Said::Unknown,
                };
                Vote { judge, repeat, strong, said, quote, at, reason, sure }
            }
            Err(why) => {
                let said = Said::Broken { why };
                let (quote, at, reason) = Default::default();
                Vote { judge, repeat, strong, said, quote, at, reason, sure: true }
            }
        }
    }

    /// The level, when there is one.
    pub fn level(&self) -> Option<u32> {
        match self.said {
            Said::Level { level } => Some(level),
            Said::Unknown | Said::Broken { .. } => None,
        }
    }
}

/// What the judges say on one criterion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CriterionReading {
    pub id: String,
    pub ask: String,
    pub weight: f64,
    pub required: bool,
    /// How many levels there are, and the lowest that is good enough; yes and no are 2 and 1 of 2.
    pub levels: u32,
    pub pass_at: u32,
    pub votes: Vec<Vote>,
    #[serde(flatten)]
    pub grade: Grade,
    /// The verdict in the rubric's own words: `yes`, `no`, or a level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
}

/// A trial, read by a rubric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub rubric: String,
    pub fingerprint: String,
    /// The weighted mean that is good enough.
    pub pass: f64,
    pub criteria: Vec<CriterionReading>,
    /// The trace that holds the questions and answers; `None` when all of them were remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
    /// Questions that went to a model, and those whose answer was known already.
    #[serde(default)]
    pub asked: u32,
    #[serde(default)]
    pub remembered: u32,
    #[serde(default)]
    pub cost_usd: Option<f64>,
    /// Passages of the evidence that speak to the judge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspicious: Vec<String>,
}

/// Votes on a criterion, combined. A strong judge's word stands alone.
pub fn combined(criterion: &Criterion, combine: Combine, votes: Vec<Vote>) -> CriterionReading {
    let strong = votes.iter().any(|vote| vote.strong);
    let counted: Vec<&Vote> = votes.iter().filter(|vote| vote.strong == strong).collect();
    let (grade, verdict) = count(criterion, combine, &counted);
    CriterionReading {
        id: criterion.id.clone(),
        ask: criterion.ask.clone(),
        weight: criterion.weight,
        required: criterion.required,
        levels: criterion.scale(),
        pass_at: criterion.pass_at(),
        grade,
        verdict,
        votes,
    }
}

fn count(criterion: &Criterion, combine: Combine, votes: &[&Vote]) -> (Grade, Option<String>) {
    let mut levels: Vec<u32> = votes.iter().filter_map(|vote| vote.level()).collect();
    levels.sort_unstable();
    if levels.len() * 2 <= votes.len() {
        return (without(votes), None);
    }
    let passing = levels.iter().filter(|level| **level >= criterion.pass_at()).count();
    let middle = levels[(levels.len() - 1) / 2];
    if combine == Combine::Mean {
        let scores: Vec<f64> = levels.iter().map(|level| criterion.score(*level)).collect();
        let score = scores.iter().sum::<f64>() / scores.len() as f64;
        // Within rounding: three votes of 2/3 are 2/3.
        let pass = score + 1e-9 >= criterion.score(criterion.pass_at());
        return (Grade::Scored { score, pass }, Some(criterion.word(middle)));
    }
    if passing * 2 == levels.len() {
        let reason = format!("the judges are split: {passing} of {} pass it", levels.len());
        return (Grade::Abstained { reason }, None);
    }
    let pass = passing * 2 > levels.len();
    // The median of the side that won.
    let side: Vec<u32> = levels.iter().copied().filter(|level| (*level >= criterion.pass_at()) == pass).collect();
    let level = side[(side.len() - 1) / 2];
    (Grade::Scored { score: criterion.score(level), pass }, Some(criterion.word(level)))
}

/// Why there is no verdict: what broke weighs more than what was not known.
fn without(votes: &[&Vote]) -> Grade {
    let broken = votes.iter().find_map(|vote| match &vote.said {
        Said::Broken { why } => Some(why.clone()),
        _ => None,
    });
    match broken {
        Some(reason) => Grade::Broken { reason },
        None => {
            let reason = votes.iter().map(|vote| vote.reason.trim()).find(|reason| !reason.is_empty());
            let why = reason.map(|reason| format!(": {}", clip(reason))).unwrap_or_default();
            Grade::Abstained { reason: format!("the judge can't tell{why}") }
        }
    }
}

/// What grades of criteria come to as a whole: (weight, required, grade) each. A veto decides first. Then a required criterion
/// without a verdict leaves the whole without. What else is missing is counted both ways, and only a result that holds either
/// way is one.
pub fn weighed(criteria: &[(f64, bool, &Grade)], pass: f64) -> Grade {
    let total: f64 = criteria.iter().map(|(weight, ..)| weight).sum();
    let share = |missing: f64| {
        let of = |grade: &Grade| match grade {
            Grade::Scored { score, .. } => *score,
            Grade::Abstained { .. } | Grade::Broken { .. } => missing,
        };
        let sum: f64 = criteria.iter().map(|(weight, _, grade)| weight * of(grade)).sum();
        if total > 0.0 { sum / total } else { 1.0 }
    };
    let (worst, best) = (share(0.0), share(1.0));
    if criteria.iter().any(|(_, required, grade)| *required && grade.pass() == Some(false)) {
        return Grade::Scored { score: worst, pass: false };
    }
    let open = |only_required: bool| {
        let mut without = criteria
            .iter()
            .filter(|(_, required, grade)| (*required || !only_required) && !matches!(grade, Grade::Scored { .. }));
        let broken = without.clone().find(|(.., grade)| matches!(grade, Grade::Broken { .. }));
        broken.or_else(|| without.next()).map(|(.., grade)| (*grade).clone())
    };
    let good = |share: f64| share + 1e-9 >= pass;
    match open(true) {
        Some(grade) => grade,
        None if good(worst) == good(best) => Grade::Scored { score: worst, pass: good(worst) },
        None => open(false).unwrap_or_else(|| Grade::Abstained { reason: "nothing was judged".to_owned() }),
    }
}

impl Reading {
    /// A reading of nothing yet.
    pub fn new(rubric: &Rubric, criteria: Vec<CriterionReading>) -> Self {
        Reading {
            rubric: rubric.rubric.clone(),
            fingerprint: rubric.fingerprint(),
            pass: rubric.pass,
            criteria,
            trace: None,
            asked: 0,
            remembered: 0,
            cost_usd: None,
            suspicious: Vec::new(),
        }
    }

    /// What it comes to as a whole, with the criteria that kept it from passing.
    pub fn grade(&self) -> Graded {
        let all: Vec<(f64, bool, &Grade)> =
            self.criteria.iter().map(|read| (read.weight, read.required, &read.grade)).collect();
        let grade = weighed(&all, self.pass);
        let mut reasons = Vec::new();
        for read in self.criteria.iter().filter(|read| read.grade.pass() != Some(true)) {
            reasons.push(format!("{}: {}", read.id, read.in_words()));
        }
        // The vetoes that fell are what a person wants to read first.
        let vetoes = |reason: &String| {
            !self.criteria.iter().any(|read| {
                read.required && read.grade.pass() == Some(false) && reason.starts_with(&format!("{}: ", read.id))
            })
        };
        reasons.sort_by_key(vetoes);
        if !self.suspicious.is_empty() {
            reasons.push(format!("the evidence speaks to the judge: {:?}", clip(&self.suspicious.join(" | "))));
        }
        Graded { grade, reasons }
    }

    /// A grade for each criterion.
    pub fn parts(&self) -> Vec<(String, Graded)> {
        let one = |read: &CriterionReading| {
            (read.id.clone(), Graded { grade: read.grade.clone(), reasons: vec![read.in_words()] })
        };
        self.criteria.iter().map(one).collect()
    }
}

impl CriterionReading {
    /// The vote that shows best what was decided.
    pub fn telling(&self) -> Option<&Vote> {
        let strong = self.votes.iter().any(|vote| vote.strong);
        let pass = self.grade.pass();
        let mut counted = self.votes.iter().filter(|vote| vote.strong == strong);
        let fits = |vote: &&Vote| vote.level().is_some_and(|level| Some(level >= self.pass_at) == pass);
        counted.clone().find(fits).or_else(|| counted.next())
    }

    /// The verdict with its quote and reason, in a line.
    pub fn in_words(&self) -> String {
        let verdict = match (&self.verdict, &self.grade) {
            (Some(verdict), _) if self.levels > 2 => format!("{verdict} of {}", self.levels),
            (Some(verdict), _) => verdict.clone(),
            (None, Grade::Abstained { reason } | Grade::Broken { reason }) => return clip(reason),
            (None, Grade::Scored { .. }) => "scored".to_owned(),
        };
        let votes: Vec<&Vote> = self.votes.iter().filter(|vote| vote.level().is_some()).collect();
        let passing = votes.iter().filter(|vote| vote.level().is_some_and(|level| level >= self.pass_at)).count();
        let of = if self.votes.len() > 1 {
            format!(" ({passing} of {} votes pass it)", self.votes.len())
        } else {
            String::new()
        };
        match self.telling() {
            Some(vote) => {
                let reason = if vote.reason.trim().is_empty() {
                    String::new()
                } else {
                    format!(" {}", clip(vote.reason.trim()))
                };
                format!("{verdict}{of}: \"{}\"{reason}", clip(vote.quote.trim()))
            }
            None => format!("{verdict}{of}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::load_rubric;

    fn vote(said: Option<u32>, strong: bool) -> Vote {
        let heard = said.map(|level| Ruling {
            word: if level == 0 { Word::Unknown } else { Word::Level(level) },
            quote: format!("q{level}"),
            at: "[1] x".to_owned(),
            reason: String::new(),
            sure: true,
        });
        Vote::of("m/j", 1, strong, heard.ok_or_else(|| "prose".to_owned()))
    }

    /// Votes as digits: a level, 0 for unknown, x for broken, and after a slash those of the strong judge.
    fn read(criterion: &Criterion, combine: Combine, votes: &str) -> String {
        let mut strong = false;
        let mut all = Vec::new();
        for letter in votes.chars() {
            match letter {
                '/' => strong = true,
                'x' => all.push(vote(None, strong)),
                digit => all.push(vote(digit.to_digit(10), strong)),
            }
        }
        let read = combined(criterion, combine, all);
        match read.grade {
            Grade::Scored { score, pass } => format!("{score:.2} {pass} {}", read.verdict.unwrap()),
            Grade::Abstained { .. } => "abstained".to_owned(),
            Grade::Broken { .. } => "broken".to_owned(),
        }
    }

    #[test]
    fn votes_become_one_verdict_or_none() {
        let text = "rubric: r\nprinciples: [{principle: p, criteria: [{id: a, ask: x?}, {id: b, ask: y?, \
            levels: [{means: l}, {means: m}, {means: n}, {means: o}]}]}]\n";
        let rubric = load_rubric("r.yaml", text).unwrap();
        let (a, b) = (rubric.criterion("a").unwrap(), rubric.criterion("b").unwrap());
        for (criterion, combine, votes, want) in [
            (a, Combine::Majority, "2", "1.00 true yes"),
            (a, Combine::Majority, "1", "0.00 false no"),
            (a, Combine::Majority, "0", "abstained"),
            (a, Combine::Majority, "x", "broken"),
            (a, Combine::Majority, "221", "1.00 true yes"),
            (a, Combine::Majority, "21", "abstained"),
            (a, Combine::Majority, "2x", "broken"),
            (a, Combine::Majority, "22x", "1.00 true yes"),
            (a, Combine::Majority, "2x0", "broken"),
            (a, Combine::Majority, "21/2", "1.00 true yes"),
            (a, Combine::Majority, "2/x", "broken"),
            (a, Combine::Mean, "221", "0.67 false yes"),
            (b, Combine::Majority, "4", "1.00 true 4"),
            (b, Combine::Majority, "134", "0.67 true 3"),
            (b, Combine::Majority, "124", "0.00 false 1"),
            (b, Combine::Mean, "333", "0.67 true 3"),
            (b, Combine::Mean, "234", "0.67 true 3"),
            (b, Combine::Mean, "233", "0.56 false 3"),
        ] {
            assert_eq!(read(criterion, combine, votes), want, "{} {combine:?} {votes}", criterion.id);
        }
    }

    #[test]
    fn criteria_become_one_grade_and_nothing_missing_becomes_a_pass() {
        let (yes, no) = (Grade::of(true), Grade::of(false));
        let silent = Grade::Abstained { reason: "s".to_owned() };
        let broken = Grade::Broken { reason: "b".to_owned() };
        for (criteria, want) in [
            (vec![(1.0, false, &yes), (1.0, false, &no)], "fail"),
            (vec![(3.0, false, &yes), (1.0, false, &no)], "pass"),
            (vec![(3.0, false, &yes), (1.0, true, &no)], "fail"),
            (vec![(3.0, false, &yes), (1.0, true, &silent)], "abstained"),
            (vec![(3.0, false, &yes), (1.0, true, &broken)], "broken"),
            (vec![(1.0, true, &no), (1.0, true, &broken)], "fail"),
            (vec![(3.0, false, &yes), (1.0, false, &broken)], "pass"),
            (vec![(1.0, false, &yes), (1.0, false, &silent)], "abstained"),
            (vec![(1.0, false, &silent), (1.0, false, &broken)], "broken"),
            (vec![(3.0, false, &no), (1.0, false, &silent)], "fail"),
            (vec![(0.0, true, &yes)], "pass"),
            (vec![], "pass"),
        ] {
            let got = match weighed(&criteria, 0.7) {
                Grade::Scored { pass: true, .. } => "pass",
                Grade::Scored { .. } => "fail",
                Grade::Abstained { .. } => "abstained",
                Grade::Broken { .. } => "broken",
            };
            assert_eq!(got, want, "{criteria:?}");
        }
    }
}
