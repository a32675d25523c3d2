//! From grades to what the trial counts as.

use crate::trial::{Ending, Grade, GradeRecord, Outcome};

/// What a trial counts as, its score, and the one line that explains it.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub outcome: Outcome,
    /// Weighted mean of the scored graders; `None` when nothing was scored.
    pub score: Option<f64>,
    pub why: Option<String>,
}

/// What a trial counts as. How the loop ended comes first: what broke is invalid; timeouts, brakes and the loop's own
/// crashes are fails. Then every required grader must pass; one that has no verdict makes the trial invalid. Graders that
/// aren't required, and weights, move the score only.
pub fn verdict(ending: &Ending, ok_exit: &[i32], grades: &[GradeRecord]) -> Verdict {
    let score = score(grades);
    let said = |outcome, why: Option<String>| Verdict { outcome, score, why };
    if let Ending::Broken { reason } = ending {
        return said(Outcome::Invalid, Some(reason.clone()));
    }
    if let Some(why) = bad_ending(ending, ok_exit) {
        return said(Outcome::Fail, Some(why));
    }
    let required = || grades.iter().filter(|grade| grade.required);
    let open = required().find_map(|record| match &record.grade {
        Grade::Broken { reason } => Some(format!("the grader {} broke: {reason}", record.label)),
        Grade::Abstained { reason } => Some(format!("the grader {} has nothing to say: {reason}", record.label)),
        Grade::Scored { .. } => None,
    });
    if open.is_some() {
        return said(Outcome::Invalid, open);
    }
    if required().next().is_none() {
        return said(Outcome::Invalid, Some("no required grader looked at it".to_owned()));
    }
    match required().find(|record| record.grade.pass() == Some(false)) {
        Some(record) => {
            let reason = record.reasons.first().map_or("no reason given", String::as_str);
            said(Outcome::Fail, Some(format!("{}: {reason}", record.label)))
        }
        None => said(Outcome::Pass, None),
    }
}

/// Why the way a loop ended is a failure in itself.
fn bad_ending(ending: &Ending, ok_exit: &[i32]) -> Option<String> {
    match ending {
        Ending::Exited { code } if ok_exit.contains(code) => None,
        Ending::Exited { code } => Some(format!("the loop ended with exit code {code}")),
        Ending::Signalled { signal } => Some(format!("the loop was ended by signal {signal}")),
        Ending::TimedOut { seconds } => Some(format!("the loop was still running after {seconds} s")),
        Ending::Braked { brake } => Some(format!("a brake stopped the loop: {brake}")),
        Ending::Broken { .. } => None,
    }
}

fn score(grades: &[GradeRecord]) -> Option<f64> {
    let scored = grades.iter().filter_map(|record| match record.grade {
        Grade::Scored { score, .. } => Some((score, record.weight)),
        _ => None,
    });
    let (sum, weights) =
        scored.fold((0.0, 0.0), |(sum, weights), (score, weight)| (sum + score * weight, weights + weight));
    (weights > 0.0).then(|| sum / weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(required: bool, weight: f64, grade: Grade) -> GradeRecord {
        GradeRecord {
            label: "g".to_owned(),
            kind: "g".to_owned(),
            fingerprint: String::new(),
            required,
            weight,
            grade,
            reasons: vec!["because".to_owned()],
        }
    }

    #[test]
    fn what_a_trial_counts_as() {
        let fine = Ending::Exited { code: 0 };
        let yes = || record(true, 1.0, Grade::of(true));
        let no = || record(true, 3.0, Grade::of(false));
        let soft_no = || record(false, 1.0, Grade::of(false));
        let broken = || record(true, 1.0, Grade::Broken { reason: "x".to_owned() });
        let silent = || record(true, 1.0, Grade::Abstained { reason: "x".to_owned() });
        let soft_silent = || record(false, 1.0, Grade::Abstained { reason: "x".to_owned() });
        let infra = Ending::Broken { reason: "529".to_owned() };
        let late = Ending::TimedOut { seconds: 3.0 };
        let crash = Ending::Exited { code: 1 };
        let cases: Vec<(&Ending, Vec<GradeRecord>, Outcome, Option<f64>)> = vec![
            (&fine, vec![yes()], Outcome::Pass, Some(1.0)),
            (&fine, vec![yes(), no()], Outcome::Fail, Some(0.25)),
            (&fine, vec![yes(), soft_no()], Outcome::Pass, Some(0.5)),
            (&fine, vec![yes(), broken()], Outcome::Invalid, Some(1.0)),
            (&fine, vec![no(), silent()], Outcome::Invalid, Some(0.0)),
            (&fine, vec![yes(), soft_silent()], Outcome::Pass, Some(1.0)),
            (&fine, vec![], Outcome::Invalid, None),
            (&fine, vec![soft_no()], Outcome::Invalid, Some(0.0)),
            (&fine, vec![record(true, 0.0, Grade::of(true))], Outcome::Pass, None),
            (&infra, vec![yes()], Outcome::Invalid, Some(1.0)),
            (&late, vec![yes(), broken()], Outcome::Fail, Some(1.0)),
            (&crash, vec![yes()], Outcome::Fail, Some(1.0)),
        ];
        for (ending, grades, outcome, score) in cases {
            let got = verdict(ending, &[0], &grades);
            assert_eq!((got.outcome, got.score), (outcome, score), "{ending:?} {grades:?}");
            assert_eq!(got.why.is_none(), outcome == Outcome::Pass);
        }
        assert_eq!(verdict(&crash, &[0, 1], &[yes()]).outcome, Outcome::Pass);
    }
}
