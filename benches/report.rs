//! A report of many trials: put together, and as the page. The targets are a second for 10,000 trials and two megabytes for the page of
//! 1,000.
#![allow(clippy::unwrap_used, reason = "a bench that panics has said what it had to say")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use holdback::gate::{Arm, Policy, decide_all};
use holdback::report::overview::{Chosen, Held, Material, Overview, Transcript};
use holdback::report::page;
use holdback::stats::rng::Rng;
use holdback::trace::{Message, Role, Timestamp, TraceId, Usage};
use holdback::trial::{Ending, Fingerprints, Grade, GradeRecord, Outcome, RunRecord, Trial, Variant};

/// A run of so many tasks, eight trials each, that pass as often as `p` says.
fn run(id: &str, tasks: u32, p: f64, seed: u64) -> RunRecord {
    let mut rng = Rng::new(seed);
    let names: Vec<String> = (0..tasks).map(|task| format!("task-{task:05}")).collect();
    let trial = |task: &String, attempt: u32, rng: &mut Rng| {
        let pass = rng.chance(p);
        Trial {
            id: format!("{id}/{task}/{attempt}"),
            run: id.to_owned(),
            task: task.clone(),
            variant: "main".to_owned(),
            attempt,
            seed: None,
            trace: Some(TraceId(u128::from(rng.next_u64()))),
            started: Timestamp(1_760_000_000_000_000),
            duration_us: 1_000_000 + (rng.uniform() * 9e6) as u64,
            outcome: if pass { Outcome::Pass } else { Outcome::Fail },
            ending: Ending::Exited { code: 0 },
            score: Some(f64::from(u8::from(pass))),
            grades: vec![GradeRecord {
                label: "tool_calls".to_owned(),
                kind: "tool_calls".to_owned(),
                fingerprint: "f".to_owned(),
                required: true,
                weight: 1.0,
                grade: Grade::of(pass),
                reasons: Vec::new(),
            }],
            calls: 5,
            usage: Usage { input: Some(4_000), output: Some(300), ..Usage::default() },
            cost_usd: Some(0.002 + rng.uniform() * 0.01),
            infra_retries: 0,
            copy_of: None,
            stuck: false,
            why: (!pass).then(|| format!("tool_calls: reason {}", (rng.uniform() * 40.0) as u32)),
            answer_hash: None,
            replayed: None,
        }
    };
    let trials =
        names.iter().flat_map(|task| (1..=8).map(move |k| (task, k))).map(|(task, k)| trial(task, k, &mut rng));
    RunRecord {
        id: id.to_owned(),
        name: None,
        suite: "bench".to_owned(),
        kind: "regression".to_owned(),
        started: Timestamp(1_760_000_000_000_000),
        finished: Some(Timestamp(1_760_000_100_000_000)),
        trials_per_task: 8,
        trials: trials.collect(),
        tasks: names,
        variants: vec![Variant {
            name: "main".to_owned(),
            model: format!("mock/{id}"),
            prompt: None,
            params: Default::default(),
            fingerprint: "v".to_owned(),
        }],
        fingerprints: Fingerprints { suite: "s".to_owned(), graders: "g".to_owned(), ..Fingerprints::default() },
        git_commit: None,
        holdback: "bench".to_owned(),
    }
}

/// Both halves of a comparison, read and gated, with a long conversation for whatever asks for one.
fn overview(before: &Held, after: &[Chosen]) -> Overview {
    let gate = decide_all(&[(&before.arm, &after[0].arms[0], &Policy::for_kind("regression"))]).unwrap();
    let baselines = std::slice::from_ref(before);
    let mut material = Material { runs: after, baselines, gate: Some(gate), ..Material::default() };
    let mut talk = Transcript::default();
    (0..40).for_each(|at| {
        talk.add(&Message::text(Role::Assistant, format!("{at} words and words {}", "and more ".repeat(100))));
    });
    let wanted = holdback::report::overview::wanted(&material);
    material.transcripts = wanted.into_iter().map(|trace| (trace, talk.clone())).collect();
    Overview::of(material)
}

fn reports(c: &mut Criterion) {
    for tasks in [63, 625] {
        let (before, after) = (run("before", tasks, 0.9, 1), run("after", tasks, 0.85, 2));
        let trials = before.trials.len() + after.trials.len();
        let held = Held { arm: Arm::from_run(&before, None).unwrap(), run: Some(before) };
        let chosen = [Chosen { arms: vec![Arm::from_run(&after, None).unwrap()], run: after }];
        c.bench_function(&format!("overview_{trials}_trials"), |b| {
            b.iter(|| overview(black_box(&held), black_box(&chosen)).failures.len());
        });
        let made = overview(&held, &chosen);
        let page = page::html(&made);
        assert!(trials > 1_100 || page.len() < 2_000_000, "{} bytes", page.len());
        c.bench_function(&format!("page_{trials}_trials"), |b| b.iter(|| page::html(black_box(&made)).len()));
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(10); targets = reports }
criterion_main!(benches);
