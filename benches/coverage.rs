//! The long simulation behind the statistics: how often Gaffke's interval holds the true pass^k, how wide it is, and how often the
//! gate is wrong. Run with `cargo bench --bench coverage`, or `-- SUITES SEED` for more suites per cell; takes a few minutes.
//! `cargo test` runs nothing of it.
#![allow(clippy::unwrap_used, reason = "a bench that panics has said what it had to say")]
#![expect(clippy::disallowed_macros, reason = "a program of its own that prints a table")]

use holdback::gate::{OnFinding, Policy, score};
use holdback::stats::Counts;
use holdback::stats::exact::fisher_worse;
use holdback::stats::gaffke::Bounded;
use holdback::stats::multiple::holm;
use holdback::stats::passk::pass_hat_k;
use holdback::stats::rng::Rng;
use rayon::prelude::*;

#[derive(Clone, Copy)]
enum Shape {
    Beta(f64, f64),
    NearOne,
    Constant(f64),
}

const SHAPES: [(&str, Shape); 4] = [
    ("Beta(.5,.5)", Shape::Beta(0.5, 0.5)),
    ("Beta(8,2)", Shape::Beta(8.0, 2.0)),
    ("near 1", Shape::NearOne),
    ("constant .9", Shape::Constant(0.9)),
];

impl Shape {
    fn draw(self, rng: &mut Rng) -> f64 {
        match self {
            Shape::Beta(a, b) => rng.beta(a, b),
            Shape::NearOne if rng.chance(0.8) => rng.beta(60.0, 1.0),
            Shape::NearOne => rng.beta(2.0, 2.0),
            Shape::Constant(p) => p,
        }
    }
    fn truth(self, k: u32) -> f64 {
        let beta = |a: f64, b: f64| (0..k).map(|i| (a + f64::from(i)) / (a + b + f64::from(i))).product::<f64>();
        match self {
            Shape::Beta(a, b) => beta(a, b),
            Shape::NearOne => 0.8 * beta(60.0, 1.0) + 0.2 * beta(2.0, 2.0),
            Shape::Constant(p) => p.powi(k as i32),
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--test") {
        return;
    }
    let mut numbers = arguments.iter().filter_map(|a| a.parse::<u64>().ok());
    let (suites, seed) = (numbers.next().unwrap_or(2000), numbers.next().unwrap_or(20_261_121));
    println!("{suites} suites per cell, seed {seed}, 95 % nominal; mean [worst cell] over 4 shapes and n in k..16\n");
    println!("| k | T | coverage | worst one-sided miss (nominal .025) | mean width |\n|---|---|---|---|---|");
    for k in [1_u32, 4, 8] {
        for tasks in [5_usize, 10, 20, 50, 100] {
            let cells: Vec<[f64; 3]> = SHAPES
                .iter()
                .flat_map(|(_, shape)| [1, 2, 4, 8, 16].into_iter().filter(|n| *n >= k).map(move |n| (*shape, n)))
                .map(|(shape, n)| coverage(shape, tasks, n, k, suites, seed))
                .collect();
            let mean = |i: usize| cells.iter().map(|c| c[i]).sum::<f64>() / cells.len() as f64;
            let worst = cells.iter().map(|c| c[0]).fold(1.0, f64::min);
            let miss = cells.iter().map(|c| c[1]).fold(0.0, f64::max);
            println!("| {k} | {tasks} | {:.3} [{worst:.3}] | {miss:.4} | {:.2} |", mean(0), mean(2));
        }
    }
    println!("\nGate on 20 tasks x 8 trials, Beta(8,2), margin .10, alpha .05\n");
    println!("| truth | pass | regress | undecided |\n|---|---|---|---|");
    for (name, drop, broken) in [
        ("no change", 0.0, false),
        ("worse by the margin (.10)", 0.10, false),
        ("worse by .19", 0.19, false),
        ("one task fully broken", 0.0, true),
    ] {
        let [pass, regress, undecided] = gate(drop, broken, suites, seed);
        println!("| {name} | {pass:.3} | {regress:.3} | {undecided:.3} |");
    }
}

/// Missed below, missed above, width.
type Seen = (bool, bool, Option<f64>);

/// Share covered, the worse one-sided miss, mean width (of every tenth suite: bounds cost more than p-values).
fn coverage(shape: Shape, tasks: usize, n: u32, k: u32, suites: u64, seed: u64) -> [f64; 3] {
    let truth = shape.truth(k);
    let results: Vec<Seen> = (0..suites)
        .into_par_iter()
        .map(|i| {
            let mut rng = Rng::nth(seed ^ (u64::from(n) << 32 | u64::from(k) << 16 | tasks as u64), i);
            let values: Vec<f64> = (0..tasks)
                .map(|_| {
                    let p = shape.draw(&mut rng);
                    pass_hat_k(Counts { n, c: rng.binomial(n, p) }, k).unwrap()
                })
                .collect();
            let values = Bounded::unit(&values).unwrap();
            let width = (i % 10 == 0).then(|| {
                let interval = values.interval(0.05);
                interval.upper - interval.lower
            });
            (values.p_at_most(truth) <= 0.025, values.p_at_least(truth) <= 0.025, width)
        })
        .collect();
    let share = |f: fn(&Seen) -> bool| results.iter().filter(|r| f(r)).count() as f64 / results.len() as f64;
    let widths: Vec<f64> = results.iter().filter_map(|r| r.2).collect();
    let (low, high) = (share(|r| r.0), share(|r| r.1));
    [share(|r| !r.0 && !r.1), low.max(high), widths.iter().sum::<f64>() / widths.len() as f64]
}

fn gate(drop: f64, broken: bool, suites: u64, seed: u64) -> [f64; 3] {
    let policy = Policy { margin: 0.1, task_regressions: OnFinding::Fail, ..Policy::for_kind("regression") };
    let verdicts: Vec<usize> = (0..suites)
        .into_par_iter()
        .map(|i| {
            let mut rng = Rng::nth(seed, i);
            let mut rates: Vec<f64> = (0..20).map(|_| rng.beta(8.0, 2.0)).collect();
            if broken {
                rates[0] = 1.0;
            }
            let mut side = |rates: &[f64]| -> Vec<Vec<f64>> {
                rates.iter().map(|p| (0..8).map(|_| f64::from(u8::from(rng.chance(*p)))).collect()).collect()
            };
            let before = side(&rates);
            let mut moved: Vec<f64> = rates.iter().map(|p| (p - drop).max(0.0)).collect();
            if broken {
                moved[0] = 0.0;
            }
            let after = side(&moved);
            let scored = score(&before, &after, &policy, &[], false).unwrap();
            // The decision order once more, in a line, so that the table does not lean on the code it measures.
            let counts = |t: &Vec<f64>| Counts { n: 8, c: t.iter().sum::<f64>() as u32 };
            let tasks: Vec<f64> = before.iter().zip(&after).map(|(b, c)| fisher_worse(counts(b), counts(c))).collect();
            if holm(&tasks).iter().any(|p| *p <= 0.05) {
                1
            } else if scored.p_pass <= 0.05 {
                0
            } else if scored.p_regress <= 0.05 {
                1
            } else {
                2
            }
        })
        .collect();
    [0, 1, 2].map(|v| verdicts.iter().filter(|x| **x == v).count() as f64 / verdicts.len() as f64)
}
