//! Trials as they stand in the log, read in one pass. What serde makes of flattened enums copies every field twice, which a gate
//! over twenty thousand trials would feel.

use serde::Deserialize;

use super::grade::{Grade, GradeRecord};
use super::run::{Ending, Outcome, Replayed, Trial};
use crate::trace::{Timestamp, TraceId, Usage};

#[derive(Deserialize)]
pub(super) struct FlatTrial {
    id: String,
    run: String,
    task: String,
    variant: String,
    attempt: u32,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    trace: Option<TraceId>,
    started: Timestamp,
    duration_us: u64,
    outcome: Outcome,
    ending: EndingName,
    #[serde(default)]
    code: Option<i32>,
    #[serde(default)]
    signal: Option<i32>,
    #[serde(default)]
    seconds: Option<f64>,
    #[serde(default)]
    brake: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    score: Option<f64>,
    #[serde(default)]
    grades: Vec<GradeRecord>,
    #[serde(default)]
    calls: u32,
    #[serde(default)]
    usage: Usage,
    #[serde(default)]
    cost_usd: Option<f64>,
    #[serde(default)]
    infra_retries: u32,
    #[serde(default)]
    copy_of: Option<String>,
    #[serde(default)]
    stuck: bool,
    #[serde(default)]
    why: Option<String>,
    #[serde(default)]
    answer_hash: Option<String>,
    #[serde(default)]
    replayed: Option<Replayed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum EndingName {
    Exited,
    Signalled,
    TimedOut,
    Braked,
    Broken,
}

/// A field that its ending or grade must have, and hasn't.
#[derive(Debug, thiserror::Error)]
#[error("missing field `{0}`")]
pub(super) struct Missing(&'static str);

impl TryFrom<FlatTrial> for Trial {
    type Error = Missing;

    fn try_from(flat: FlatTrial) -> Result<Self, Missing> {
        let ending = match flat.ending {
            EndingName::Exited => Ending::Exited { code: flat.code.ok_or(Missing("code"))? },
            EndingName::Signalled => Ending::Signalled { signal: flat.signal.ok_or(Missing("signal"))? },
            EndingName::TimedOut => Ending::TimedOut { seconds: flat.seconds.ok_or(Missing("seconds"))? },
            EndingName::Braked => Ending::Braked { brake: flat.brake.ok_or(Missing("brake"))? },
            EndingName::Broken => Ending::Broken { reason: flat.reason.ok_or(Missing("reason"))? },
        };
        Ok(Trial {
            id: flat.id,
            run: flat.run,
            task: flat.task,
            variant: flat.variant,
            attempt: flat.attempt,
            seed: flat.seed,
            trace: flat.trace,
            started: flat.started,
            duration_us: flat.duration_us,
            outcome: flat.outcome,
            ending,
            score: flat.score,
            grades: flat.grades,
            calls: flat.calls,
            usage: flat.usage,
            cost_usd: flat.cost_usd,
            infra_retries: flat.infra_retries,
            copy_of: flat.copy_of,
            stuck: flat.stuck,
            why: flat.why,
            answer_hash: flat.answer_hash,
            replayed: flat.replayed,
        })
    }
}

#[derive(Deserialize)]
pub(super) struct FlatGrade {
    label: String,
    kind: String,
    fingerprint: String,
    required: bool,
    weight: f64,
    grade: GradeName,
    #[serde(default)]
    score: Option<f64>,
    #[serde(default)]
    pass: Option<bool>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    reasons: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum GradeName {
    Scored,
    Abstained,
    Broken,
}

impl TryFrom<FlatGrade> for GradeRecord {
    type Error = Missing;

    fn try_from(flat: FlatGrade) -> Result<Self, Missing> {
        let reason = || flat.reason.clone().ok_or(Missing("reason"));
        let grade = match (flat.grade, flat.score, flat.pass) {
            // JSON has no NaN: a score that was none is null, which is no grade, whatever wrote it.
            (GradeName::Scored, Some(score), Some(pass)) => Grade::Scored { score, pass },
            (GradeName::Scored, None, _) => Grade::Broken { reason: "its score is not a number".to_owned() },
            (GradeName::Scored, _, None) => return Err(Missing("pass")),
            (GradeName::Abstained, ..) => Grade::Abstained { reason: reason()? },
            (GradeName::Broken, ..) => Grade::Broken { reason: reason()? },
        };
        Ok(GradeRecord {
            label: flat.label,
            kind: flat.kind,
            fingerprint: flat.fingerprint,
            required: flat.required,
            weight: flat.weight,
            grade,
            reasons: flat.reasons,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(ending: Ending, grade: Grade) -> Trial {
        Trial {
            id: "i".to_owned(),
            run: "r".to_owned(),
            task: "t".to_owned(),
            variant: "v".to_owned(),
            attempt: 2,
            seed: Some(7),
            trace: Some(TraceId(9)),
            started: Timestamp(5),
            duration_us: 6,
            outcome: Outcome::Fail,
            ending,
            score: Some(0.5),
            grades: vec![GradeRecord {
                label: "l".to_owned(),
                kind: "k".to_owned(),
                fingerprint: "f".to_owned(),
                required: true,
                weight: 2.0,
                grade,
                reasons: vec!["because".to_owned()],
            }],
            calls: 3,
            usage: Usage { input: Some(1), ..Usage::default() },
            cost_usd: Some(0.25),
            infra_retries: 1,
            copy_of: Some("c".to_owned()),
            stuck: true,
            why: Some("w".to_owned()),
            answer_hash: Some("h".to_owned()),
            replayed: Some(Replayed { of: TraceId(8), calls: 3, matched: 2, live: 0, divergences: 0, first: None }),
        }
    }

    #[test]
    fn every_field_comes_back_as_it_was_written() {
        let reason = || "why".to_owned();
        let endings = [
            Ending::Exited { code: 3 },
            Ending::Signalled { signal: 9 },
            Ending::TimedOut { seconds: 1.5 },
            Ending::Braked { brake: reason() },
            Ending::Broken { reason: reason() },
        ];
        let grades = [
            Grade::Scored { score: 0.5, pass: false },
            Grade::Abstained { reason: reason() },
            Grade::Broken { reason: reason() },
        ];
        for (at, ending) in endings.into_iter().enumerate() {
            let trial = trial(ending, grades[at % grades.len()].clone());
            let text = serde_json::to_string(&trial).unwrap();
            assert_eq!(serde_json::from_str::<Trial>(&text).unwrap(), trial, "{text}");
        }
    }

    #[test]
    fn what_lacks_a_field_or_has_more_of_them() {
        let whole = serde_json::to_value(trial(Ending::Exited { code: 0 }, Grade::of(true))).unwrap();
        for (pointer, field) in [("", "code"), ("", "outcome"), ("/grades/0", "pass"), ("/grades/0", "grade")] {
            let mut broken = whole.clone();
            broken.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(field);
            let error = serde_json::from_value::<Trial>(broken).unwrap_err().to_string();
            assert!(error.contains(field), "{field}: {error}");
        }
        let mut odd = whole;
        odd["mood"] = "fine".into();
        odd["grades"][0]["score"] = serde_json::Value::Null;
        let read: Trial = serde_json::from_value(odd).unwrap();
        assert!(matches!(read.grades[0].grade, Grade::Broken { .. }), "NaN is written as null, and is no score");
    }
}
