//! Overviews for the tests of this room.

use super::{Calibrated, Chosen, Hearsay, Held, Label, Material, Overview, Transcript};
use crate::gate::testing::run;
use crate::gate::{Arm, Policy, decide_all};
use crate::stats::Counts;
use crate::stats::judge::Calibration;
use crate::trace::{Message, Part, Role, Timestamp, ToolCall, TraceId};
use crate::trial::{Grade, GradeRecord, RunRecord, Variant};

const NASTY: &str = "pay </script><script>alert(1)</script> \"'><img src=x onerror=alert(2)>";

fn with_why(mut run: RunRecord) -> RunRecord {
    for (at, trial) in run.trials.iter_mut().enumerate() {
        trial.trace = Some(TraceId(at as u128 + 1));
        if trial.outcome != crate::trial::Outcome::Pass {
            trial.why = Some(format!("tool_calls: refund_order was not called <b>{NASTY}</b>"));
        }
    }
    run
}

fn chosen(run: RunRecord) -> Chosen {
    let arms = run.variants.iter().map(|v| Arm::from_run(&run, Some(&v.name)).unwrap()).collect();
    Chosen { run, arms }
}

fn talk(words: &str) -> Transcript {
    let mut transcript = Transcript::default();
    transcript.add(&Message::text(Role::User, format!("Refund it. {NASTY}")));
    let call = ToolCall { id: "1".into(), name: "refund".into(), arguments: serde_json::json!({"id": NASTY}) };
    transcript.add(&Message { role: Role::Assistant, parts: vec![Part::ToolCall(call)] });
    transcript.add(&Message::text(Role::Assistant, words));
    transcript
}

/// One run of one task, small enough for a snapshot.
pub fn small() -> Overview {
    let run = with_why(run("r1", &[("refund", "ppfi")]));
    let runs = [chosen(run)];
    Overview::of(Material {
        title: "Small".into(),
        made: Timestamp(1_700_000_100_000_000),
        runs: &runs,
        ..Material::default()
    })
}

/// What real runs are like: trials that never came, that broke, that are copies, graders that broke or had nothing to say, a run
/// that was killed, and a judge that was held against people.
pub fn ragged() -> Overview {
    let mut run = with_why(run("r2", &[("whole", "pppf"), ("broken", "pipi"), ("missing", "pf"), ("none", "")]));
    let say = |label: &str, kind: &str, grade| GradeRecord {
        label: label.to_owned(),
        kind: kind.to_owned(),
        fingerprint: "f1".to_owned(),
        required: false,
        weight: 1.0,
        grade,
        reasons: Vec::new(),
    };
    for (at, trial) in run.trials.iter_mut().enumerate() {
        trial.grades.push(match at % 4 {
            0 => say("tone/kind", "criterion", Grade::Abstained { reason: "the judge could not tell".to_owned() }),
            1 => say("tone/kind", "criterion", Grade::Broken { reason: "the judge answered 529".to_owned() }),
            _ => say("tone/kind", "criterion", Grade::of(at % 3 == 0)),
        });
        trial.cost_usd = trial.cost_usd.filter(|_| at != 5);
    }
    run.trials[2].copy_of = Some(run.trials[0].id.clone());
    run.trials[7].stuck = true;
    let label = |at: usize, passes| Label {
        trial: run.trials[at].id.clone(),
        rubric: "manners".to_owned(),
        criterion: "kind".to_owned(),
        passes,
    };
    let labels = vec![label(2, Some(true)), label(3, Some(true)), label(7, Some(false)), label(4, Some(true))];
    let counts = Calibration { passes: Counts { n: 40, c: 38 }, fails: Counts { n: 40, c: 35 } };
    let calibrated = Calibrated {
        rubric: "manners".to_owned(),
        judges: vec!["mock/judge".to_owned()],
        whole: counts,
        criteria: [("kind".to_owned(), counts)].into(),
        valid: false,
        why: "the judge's specificity may be as low as 0.73, and 0.80 is needed".to_owned(),
    };
    let hearsay = Hearsay { calibrations: [("f1".to_owned(), calibrated)].into(), labels };
    let runs = [chosen(run)];
    Overview::of(Material {
        title: "Ragged".into(),
        made: Timestamp(1_700_000_100_000_000),
        runs: &runs,
        hearsay,
        ..Material::default()
    })
}

/// Every trial broke.
pub fn broken() -> Overview {
    let runs = [chosen(with_why(run("r1", &[("a", "ii"), ("b", "ii")])))];
    Overview::of(Material { title: "Broken".into(), runs: &runs, ..Material::default() })
}

/// A baseline, a candidate in which a task with an awkward name broke, a history, and conversations.
pub fn regressed() -> Overview {
    let tasks: Vec<(String, &str)> = (0..6).map(|i| (format!("task-{i}"), "pppppppp")).collect();
    let mut before = tasks.clone();
    before.push((NASTY.to_owned(), "pppppppp"));
    let mut after = tasks;
    after[2].1 = "ppppfppp";
    after[3].1 = "ppppippp";
    after.push((NASTY.to_owned(), "ffffffff"));
    let mut base = with_why(run("base", &before));
    base.name = Some(NASTY.to_owned());
    base.variants = vec![Variant { model: format!("mock/{NASTY}"), ..base.variants[0].clone() }];
    let mut candidate = with_why(run("cand", &after));
    candidate.started = Timestamp(1_700_000_050_000_000);
    candidate.git_commit = Some("0123456789abcdef".to_owned());
    let (held, runs) = (Arm::from_run(&base, None).unwrap(), [chosen(candidate)]);
    let gate = decide_all(&[(&held, &runs[0].arms[0], &Policy::for_kind("regression"))]).unwrap();
    let history = [held.clone(), runs[0].arms[0].clone(), runs[0].arms[0].clone()];
    let baselines = [Held { arm: held, run: Some(base) }];
    let transcripts =
        (1..=70).map(|id| (TraceId(id), talk(if id % 2 == 0 { "Done." } else { "I am sorry." }))).collect();
    Overview::of(Material {
        title: NASTY.to_owned(),
        made: Timestamp(1_700_000_100_000_000),
        runs: &runs,
        baselines: &baselines,
        gate: Some(gate),
        history: &history,
        hearsay: Hearsay::default(),
        transcripts,
    })
}

/// A run of so many tasks and trials, one in ten of which fails, each in words of its own.
pub fn large(tasks: usize, trials: usize) -> Overview {
    let letters: Vec<String> =
        (0..tasks).map(|t| (0..trials).map(|i| if (t * trials + i) % 10 == 3 { 'f' } else { 'p' }).collect()).collect();
    let named: Vec<(String, &str)> =
        letters.iter().enumerate().map(|(t, l)| (format!("task-{t:04}"), l.as_str())).collect();
    let mut run = with_why(run("big", &named));
    run.trials.iter_mut().for_each(|t| t.duration_us += u64::from(t.attempt) * 130_000);
    let ids: Vec<TraceId> = run.trials.iter().filter_map(|t| t.trace).collect();
    let long = "words and words ".repeat(400);
    let transcripts = ids.into_iter().map(|id| (id, talk(&long))).collect();
    let runs = [chosen(run)];
    Overview::of(Material { title: "Large".into(), runs: &runs, transcripts, ..Material::default() })
}
