//! One p-value, a gate over two large runs, a calibration.
#![allow(clippy::unwrap_used, reason = "a bench that panics has said what it had to say")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use holdback::gate::{Arm, FORMAT, Outcomes, Policy, TaskTrials, calibrate, decide};
use holdback::stats::gaffke::Bounded;
use holdback::stats::rng::Rng;
use holdback::trace::Timestamp;
use holdback::trial::{Fingerprints, Outcome};

/// An arm whose tasks have rates from Beta(8,2), the same tasks for every seed.
fn arm(seed: u64, tasks: u32, trials: u32) -> Arm {
    let (mut rates, mut rng) = (Rng::new(1), Rng::new(seed));
    let task = |i: u32| {
        let p = rates.beta(8.0, 2.0);
        let outcome = |_| if rng.chance(p) { Outcome::Pass } else { Outcome::Fail };
        let outcomes = Outcomes((0..trials).map(outcome).collect());
        (format!("task-{i:05}"), TaskTrials { outcomes, ..TaskTrials::default() })
    };
    Arm {
        format: FORMAT.to_owned(),
        suite: "bench".into(),
        kind: "regression".into(),
        run: format!("run-{seed}"),
        variant: "main".into(),
        model: "mock/model".into(),
        variant_fingerprint: "v".into(),
        started: Timestamp(0),
        trials_per_task: trials,
        fingerprints: Fingerprints { suite: "s".into(), ..Fingerprints::default() },
        git_commit: None,
        holdback: "bench".into(),
        tasks: (0..tasks).map(task).collect(),
        judged: Vec::new(),
    }
}

fn gaffke(c: &mut Criterion) {
    let mut rng = Rng::new(2);
    let few: Vec<f64> =
        (0..1000).map(|_| f64::from(rng.binomial(8, 0.8)) / 8.0 - f64::from(rng.binomial(8, 0.8)) / 8.0).collect();
    let all_different: Vec<f64> = (0..1000).map(|_| rng.uniform() - 0.5).collect();
    for (name, values) in [("few_values", few), ("all_different", all_different)] {
        let values = Bounded::difference(&values).unwrap();
        c.bench_function(&format!("gaffke_p_1000_{name}"), |b| {
            b.iter(|| black_box(&values).p_at_most(black_box(-0.02)));
        });
    }
}

fn gate(c: &mut Criterion) {
    let policy = Policy::for_kind("regression");
    for (tasks, trials) in [(1250, 8), (100, 100)] {
        let (baseline, candidate) = (arm(3, tasks, trials), arm(4, tasks, trials));
        c.bench_function(&format!("gate_2x10000_trials_{tasks}_tasks"), |b| {
            b.iter(|| decide(black_box(&baseline), black_box(&candidate), &policy).unwrap().verdict);
        });
    }
}

fn calibration(c: &mut Criterion) {
    let (baseline, policy) = (arm(5, 50, 32), Policy::for_kind("regression"));
    let mut group = c.benchmark_group("calibrate");
    group.sample_size(10);
    group.bench_function("2000_splits_50_tasks_32_trials", |b| {
        b.iter(|| calibrate(black_box(&baseline), &policy, 2000, 7).unwrap().blocked);
    });
    group.finish();
}

criterion_group!(benches, gaffke, gate, calibration);
criterion_main!(benches);
