//! The reference values, one by one: computed by other tools (SciPy, statsmodels, scikit-learn, irrCAC, ppi-python, …) or by
//! exact enumeration, each with its tolerance. A case nobody dispatches fails; a case about a peer's mistake holds the peer's
//! number and shows that ours differs.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it had to say")]

use holdback::stats::agreement::{Scale, Weights, cohen_kappa, gwet_ac1, krippendorff_alpha, observed_agreement};
use holdback::stats::betabinomial::Difficulty;
use holdback::stats::betting::{confidence_sequence, log_e_above};
use holdback::stats::exact::{self, PermutationMethod, Stratum};
use holdback::stats::gaffke::Bounded;
use holdback::stats::looks::{self, Shape};
use holdback::stats::passk::{self, Figure};
use holdback::stats::{Counts, Interval, basic, judge, multiple, ppi, proportion, size};
use serde_json::{Value, json};

struct Case {
    name: String,
    inputs: Value,
    expected: Value,
    tolerance: f64,
}

fn cases() -> Vec<Case> {
    let all: Vec<Value> = serde_json::from_str(include_str!("fixtures/stats_reference.json")).unwrap();
    all.into_iter()
        .map(|case| Case {
            name: case["name"].as_str().unwrap().to_owned(),
            inputs: case["inputs"].clone(),
            expected: case["expected"].clone(),
            tolerance: case["tolerance"].as_f64().unwrap(),
        })
        .collect()
}

/// How far two values of the same shape are apart; infinite when the shapes differ.
fn apart(ours: &Value, expected: &Value) -> f64 {
    match (ours, expected) {
        (Value::Null, Value::Null) => 0.0,
        (Value::Number(a), Value::Number(b)) => (a.as_f64().unwrap() - b.as_f64().unwrap()).abs(),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).map(|(a, b)| apart(a, b)).fold(0.0, f64::max)
        }
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => {
            b.iter().map(|(k, b)| a.get(k).map_or(f64::INFINITY, |a| apart(a, b))).fold(0.0, f64::max)
        }
        (a, b) if a == b => 0.0,
        _ => f64::INFINITY,
    }
}

impl Case {
    fn number(&self, key: &str) -> f64 {
        self.inputs[key].as_f64().unwrap_or_else(|| panic!("{}: no number {key}", self.name))
    }
    fn whole(&self, key: &str) -> u32 {
        u32::try_from(self.inputs[key].as_u64().unwrap_or_else(|| panic!("{}: no count {key}", self.name))).unwrap()
    }
    fn numbers(&self, key: &str) -> Vec<f64> {
        let list = self.inputs[key].as_array().unwrap_or_else(|| panic!("{}: no list {key}", self.name));
        list.iter().map(|v| v.as_f64().unwrap()).collect()
    }
    fn labels(&self, key: &str) -> Vec<i64> {
        self.numbers(key).into_iter().map(|v| v as i64).collect()
    }
    /// n and c, either of which may be one number for all tasks.
    fn counts(&self) -> Vec<Counts> {
        let c = self.numbers("c");
        let n = if self.inputs["n"].is_array() { self.numbers("n") } else { vec![self.number("n"); c.len()] };
        n.into_iter().zip(c).map(|(n, c)| Counts { n: n as u32, c: c as u32 }).collect()
    }
    fn one_task(&self) -> Counts {
        Counts { n: self.whole("n"), c: self.whole("c") }
    }
    fn strata(&self, baseline: &str, candidate: &str) -> Vec<Stratum> {
        let n = self.inputs["n"].as_u64().unwrap_or(8) as u32;
        let (b, c) = (self.numbers(baseline), self.numbers(candidate));
        let arm = |c: f64| Counts { n, c: c as u32 };
        b.into_iter().zip(c).map(|(b, c)| Stratum { baseline: arm(b), candidate: arm(c) }).collect()
    }
    fn pair(&self, key: &str) -> Counts {
        let pair = self.numbers(key);
        Counts { n: pair[1] as u32, c: pair[0] as u32 }
    }
}

fn bounds(interval: Interval) -> Value {
    json!([interval.lower, interval.upper])
}

/// Our value for a case of stats; `None` for a family nobody knows.
fn ours(case: &Case) -> Option<Value> {
    let family = case.name.split('/').next().unwrap();
    estimators(family, case)
        .or_else(|| intervals(family, case))
        .or_else(|| tests(family, case))
        .or_else(|| sequential(family, case))
        .or_else(|| judges(family, case))
}

fn estimators(family: &str, case: &Case) -> Option<Value> {
    Some(match family {
        "pass_at_k" => json!(passk::pass_at_k(case.one_task(), case.whole("k"))),
        "pass_hat_k" => json!(passk::pass_hat_k(case.one_task(), case.whole("k"))),
        "g_pass_at_k_tau" => json!(passk::g_pass_at_k(case.one_task(), case.whole("k"), case.number("tau"))),
        "mg_pass_at_k" => json!(passk::mg_pass_at_k(case.one_task(), case.whole("k"))),
        "suite_pass_hat_k" => json!(suite(case)),
        "suite_plugin_WRONG" => plug_ins(case),
        "tau_bench_ragged_WRONG" => tau_bench(case),
        "plugin_bias" => plug_in_bias(case),
        "var_pass_hat_k" => json!(passk::variance_of_pass_hat_k(case.whole("n"), case.whole("k"), case.number("p"))),
        "within_task_var_unbiased" => json!(passk::variance_from_trials(case.one_task(), case.whole("k"))),
        "beta_binomial_mle" => {
            let fit = Difficulty::fit(&case.counts()).unwrap();
            let log_likelihood = fit.log_likelihood(&case.counts());
            json!({"alpha": fit.alpha, "beta": fit.beta, "loglik_without_comb": log_likelihood})
        }
        "beta_binomial_pass_hat_k" => json!(Difficulty::fit(&case.counts()).unwrap().pass_hat_k(case.whole("k"))),
        "beta_moments" => {
            json!(Difficulty { alpha: case.number("alpha"), beta: case.number("beta") }.pass_hat_k(case.whole("k")))
        }
        "scorio_bayes_pass_hat_k" => scorio(case),
        "expected_within_var" => {
            let difficulty = Difficulty { alpha: case.number("alpha"), beta: case.number("beta") };
            json!(difficulty.within_variance(case.whole("n"), case.whole("k")))
        }
        _ => return None,
    })
}

fn suite(case: &Case) -> f64 {
    passk::suite_value(&case.counts(), Figure::PassHat(case.whole("k"))).unwrap()
}

/// Two common mistakes: the mean rate to the power k, and the mean of each task's rate to the power k.
fn plug_ins(case: &Case) -> Value {
    let k = case.whole("k") as i32;
    let rates: Vec<f64> = case.counts().iter().map(|t| f64::from(t.c) / f64::from(t.n)).collect();
    let (of_mean, of_each) =
        (basic::mean(&rates).powi(k), basic::mean(&rates.iter().map(|r| r.powi(k)).collect::<Vec<_>>()));
    assert!((suite(case) - of_mean).abs() > 0.2 && of_each - suite(case) > 0.02, "the mistakes do matter");
    json!({"correct": suite(case), "mean_rate_pow_k": of_mean, "mean_of_rate_pow_k": of_each})
}

/// tau-bench's display: one number of trials for all tasks, so a missing trial is a failed one.
fn tau_bench(case: &Case) -> Value {
    let n = case.whole("num_trials_global");
    let filled: Vec<Counts> = case.counts().iter().map(|t| Counts { n, c: t.c }).collect();
    let wrong = passk::suite_value(&filled, Figure::PassHat(case.whole("k"))).unwrap();
    assert!(suite(case) - wrong > 0.3, "ours removes what was not measured from n");
    json!(wrong)
}

fn plug_in_bias(case: &Case) -> Value {
    let (n, p, k) = (case.whole("n"), case.number("p"), case.whole("k"));
    let expectation = |f: &dyn Fn(u32) -> f64| exact::binomial(n, p).map(|(c, w)| w * f(c)).sum::<f64>();
    let plug_in = expectation(&|c| (f64::from(c) / f64::from(n)).powi(k as i32));
    let unbiased = expectation(&|c| passk::pass_hat_k(Counts { n, c }, k).unwrap());
    json!({"true": p.powi(k as i32), "E_plugin": plug_in, "E_ustat": unbiased})
}

/// scorio's posterior mean: every task shrunk towards 1/2.
fn scorio(case: &Case) -> Value {
    let (k, a, b) = (case.whole("k"), case.number("alpha0"), case.number("beta0"));
    let posterior = |t: &Counts| Difficulty { alpha: a + f64::from(t.c), beta: b + f64::from(t.n - t.c) }.pass_hat_k(k);
    let shrunk = basic::mean(&case.counts().iter().map(posterior).collect::<Vec<_>>());
    assert!((suite(case) - shrunk).abs() > 0.05, "ours is not shrunk");
    json!(shrunk)
}

fn intervals(family: &str, case: &Case) -> Option<Value> {
    let proportion = |f: fn(u32, u32, f64) -> Result<Interval, holdback::stats::TooFew>| {
        bounds(f(case.whole("x"), case.whole("n"), case.number("alpha")).unwrap())
    };
    let range = || (case.number("lo"), case.number("hi"));
    Some(match family {
        "ci_wilson" => proportion(proportion::wilson),
        "ci_clopper_pearson" => proportion(proportion::clopper_pearson),
        "ci_jeffreys" => proportion(proportion::jeffreys),
        "clustered_se" => {
            let groups: Vec<usize> = case.numbers("groups").into_iter().map(|g| g as usize).collect();
            json!(basic::clustered_standard_error(&case.numbers("scores"), &groups))
        }
        "clt_se" => json!(basic::standard_error(&case.numbers("scores"))),
        "gaffke_ci" => {
            let (low, high) = range();
            let values = case.numbers("x");
            let alpha = case.number("alpha");
            let interval = |values: &[f64]| bounds(Bounded::new(values, low, high).unwrap().interval(alpha));
            if case.inputs["group"].is_null() {
                interval(&values)
            } else {
                let groups: Vec<usize> = case.numbers("group").into_iter().map(|g| g as usize).collect();
                let means = basic::group_means(&values, &groups);
                json!({"ci": interval(&means), "group_means": means})
            }
        }
        "gaffke_p_noninferiority" => {
            let (low, high) = range();
            json!(Bounded::new(&case.numbers("d"), low, high).unwrap().p_at_most(-case.number("delta")))
        }
        "gaffke_p_regress" => {
            let (low, high) = range();
            json!(Bounded::new(&case.numbers("d"), low, high).unwrap().p_at_least(0.0))
        }
        "gaffke_bounds_paired" => {
            let (low, high) = range();
            let values = Bounded::new(&case.numbers("d"), low, high).unwrap();
            json!([values.lower(case.number("alpha")), values.upper(case.number("alpha"))])
        }
        "dp_beta_t_ci" => bounds(proportion::matched_beta(&case.numbers("x"), case.number("alpha"), true).unwrap()),
        "dp_beta_ci" => bounds(proportion::matched_beta(&case.numbers("x"), case.number("alpha"), false).unwrap()),
        _ => return None,
    })
}

fn tests(family: &str, case: &Case) -> Option<Value> {
    Some(match family {
        "mcnemar_exact_two_sided" => {
            let (b, c) = (case.whole("b"), case.whole("c"));
            json!(exact::binomial_two_sided(b.min(c), b + c, 0.5))
        }
        "mcnemar_exact_one_sided" => json!(mcnemar(case)),
        "mcnemar_midp_two_sided" => {
            let (b, c) = (case.whole("b"), case.whole("c"));
            let at = exact::binomial_at_most(b.min(c), b + c, 0.5);
            let below = exact::binomial_at_most(b.min(c) - 1, b + c, 0.5);
            json!(at + below)
        }
        "signflip_exact" => sign_flip(case),
        "stratified_permutation_regress" => {
            let (p, method) =
                exact::permutation_worse(&case.strata("baseline", "candidate"), Figure::PassHat(case.whole("k")))
                    .unwrap();
            assert_eq!(method, PermutationMethod::Exact);
            json!(p)
        }
        "mantel_haenszel_lower_tail_cc" => json!(exact::mantel_haenszel_worse(&case.strata("c_base", "c_cand"))),
        "cmh_chi2_no_correction" => {
            let (statistic, p) = exact::cochran_mantel_haenszel(&case.strata("c_base", "c_cand")).unwrap();
            json!({"statistic": statistic, "pvalue": p})
        }
        "fisher_one_sided_less" => json!(exact::fisher_worse(case.pair("baseline"), case.pair("candidate"))),
        "beta_posterior_prob_worse" => {
            assert_eq!(case.number("prior"), 0.5);
            json!(exact::posterior_worse(case.pair("baseline"), case.pair("candidate")))
        }
        "benjamini_hochberg" => json!(multiple::benjamini_hochberg(&case.numbers("p"))),
        "holm" => json!(multiple::holm(&case.numbers("p"))),
        "sample_size_tasks" => {
            let variance = case.number("omega2") + case.number("sigma2_b") + case.number("sigma2_c");
            let (alpha, power) = (case.number("alpha"), case.number("power"));
            json!(size::textbook_units(alpha, power, case.number("delta"), case.number("true_diff"), variance))
        }
        "min_tasks_all_concordant" => {
            let margins = case.numbers("delta").into_iter();
            json!(margins.map(|m| size::units_if_all_tie(case.number("alpha"), m)).collect::<Vec<_>>())
        }
        _ => return None,
    })
}

/// McNemar's exact test is our permutation test with one trial per arm: `c` tasks lost, `b` won.
fn mcnemar(case: &Case) -> f64 {
    let arm = |c| Counts { n: 1, c };
    let mut tasks = vec![Stratum { baseline: arm(1), candidate: arm(0) }; case.whole("c") as usize];
    tasks.extend(vec![Stratum { baseline: arm(0), candidate: arm(1) }; case.whole("b") as usize]);
    exact::permutation_worse(&tasks, Figure::PassHat(1)).unwrap().0
}

/// The sign-flip test assumes symmetry and passes broken suites: peers use it, we do not. By enumeration, to know their number.
fn sign_flip(case: &Case) -> Value {
    let d = case.numbers("d");
    let seen: f64 = d.iter().sum();
    let as_low = (0..1_u32 << d.len())
        .filter(|mask| {
            let flipped = d.iter().enumerate().map(|(i, v)| if mask >> i & 1 == 1 { -v } else { *v });
            flipped.sum::<f64>() <= seen + 1e-12
        })
        .count();
    let p = as_low as f64 / f64::from(1_u32 << d.len());
    assert!((p - Bounded::difference(&d).unwrap().p_at_least(0.0)).abs() > 0.01, "ours is another test");
    json!(p)
}

fn sequential(family: &str, case: &Case) -> Option<Value> {
    let alpha = || case.number("alpha_one_sided");
    let differences = || Bounded::difference(&case.numbers("d")).unwrap();
    Some(match family {
        "eprocess_log" if case.name.contains("regress") => json!(log_e_above(&differences().mirrored(), -1.0, 0.0)),
        "eprocess_log" => json!(log_e_above(&differences(), -1.0, -case.number("delta"))),
        "confidence_sequence_at_T100" => bounds(confidence_sequence(&differences(), -1.0, 1.0, case.number("alpha"))),
        "obf_constant" => json!(looks::constant(Shape::OBrienFleming, case.whole("K"), alpha())),
        "pocock_constant" => json!(looks::constant(Shape::Pocock, case.whole("K"), alpha())),
        "obf_nominal_p" => json!(looks::nominal_p(Shape::OBrienFleming, case.whole("K"), alpha())),
        "lan_demets_obf_z" => json!(looks::lan_demets(&case.numbers("t"), alpha())),
        _ => return None,
    })
}

fn judges(family: &str, case: &Case) -> Option<Value> {
    let weighted = |w| json!(cohen_kappa(&case.labels("human"), &case.labels("judge"), w));
    let rates =
        || judge::Rates { se: case.number("se"), sp: case.number("sp"), m1: case.number("m1"), m0: case.number("m0") };
    Some(match family {
        "cohen_kappa" => weighted(Weights::None),
        "weighted_kappa_linear" => weighted(Weights::Linear),
        "weighted_kappa_quadratic" => weighted(Weights::Quadratic),
        "gwet_ac1" => json!(gwet_ac1(&case.labels("human"), &case.labels("judge"))),
        "krippendorff_alpha_nominal" => krippendorff(case, Scale::Nominal),
        "krippendorff_alpha_ordinal" => krippendorff(case, Scale::Ordinal),
        "krippendorff_alpha_interval" => krippendorff(case, Scale::Interval),
        "kappa_paradox" => paradox(case),
        "rogan_gladen_point" => json!(judge::rogan_gladen(case.number("p"), case.number("se"), case.number("sp"))),
        "rogan_gladen_ci_lang_reiczigel" => {
            bounds(judge::lang_reiczigel(case.number("p"), case.number("n"), rates(), case.number("alpha")).unwrap())
        }
        "rogan_gladen_ci_delta" => {
            let theirs = judge::delta_method(case.number("p"), case.number("n"), rates(), case.number("alpha"));
            bounds(theirs.unwrap())
        }
        "judge_corrected_pass_hat_k" if case.name.ends_with("expectation_check") => corrected_on_average(case),
        "judge_corrected_pass_hat_k" => {
            json!(judge::corrected_pass_hat_k(case.one_task(), case.whole("k"), case.number("se"), case.number("sp")))
        }
        "ppi_mean" | "ppi_mover_gaffke" => powered(family, case),
        "panel_majority_accuracy" => json!(judge::majority_accuracy(&case.numbers("acc"))),
        "panel_effective_judges" => json!(judge::effective_judges(case.whole("m"), case.number("rho"))),
        "position_bias_binom" => json!(judge::position_bias(case.whole("first"), case.whole("inconsistent"))),
        "verbosity_bias_spearman" => {
            json!(basic::spearman(&case.numbers("length"), &case.numbers("judge_minus_human")))
        }
        _ => return None,
    })
}

fn krippendorff(case: &Case, scale: Scale) -> Value {
    let raters: Vec<Vec<Option<i64>>> = if case.inputs["human"].is_null() {
        serde_json::from_value(case.inputs["reliability_data"].clone()).unwrap()
    } else {
        ["human", "judge"].map(|r| case.labels(r).into_iter().map(Some).collect()).to_vec()
    };
    json!(krippendorff_alpha(&raters, scale))
}

fn paradox(case: &Case) -> Value {
    let table: Vec<Vec<usize>> = serde_json::from_value(case.inputs["table"].clone()).unwrap();
    let (mut human, mut machine) = (Vec::new(), Vec::new());
    for (h, row) in table.iter().enumerate() {
        for (j, count) in row.iter().enumerate() {
            human.extend(vec![h as i64; *count]);
            machine.extend(vec![j as i64; *count]);
        }
    }
    let kappa = cohen_kappa(&human, &machine, Weights::None);
    json!({"po": observed_agreement(&human, &machine), "kappa": kappa, "ac1": gwet_ac1(&human, &machine)})
}

fn corrected_on_average(case: &Case) -> Value {
    let (n, k, p) = (case.whole("n"), case.whole("k"), case.number("p"));
    let (se, sp) = (case.number("se"), case.number("sp"));
    let judged = p * se + (1.0 - p) * (1.0 - sp);
    let expectation = |f: &dyn Fn(u32) -> f64| exact::binomial(n, judged).map(|(c, w)| w * f(c)).sum::<f64>();
    let corrected = expectation(&|c| judge::corrected_pass_hat_k(Counts { n, c }, k, se, sp).unwrap());
    let raw = expectation(&|c| passk::pass_hat_k(Counts { n, c }, k).unwrap());
    json!({"E_corrected": corrected, "E_uncorrected": raw, "true": p.powi(k as i32)})
}

fn powered(family: &str, case: &Case) -> Value {
    let (human, machine, others) = (case.numbers("Y"), case.numbers("Yhat"), case.numbers("Yhat_unlabeled"));
    let sample = ppi::Sample { human: &human, judge: &machine, judge_only: &others };
    let (lambda, alpha) = (case.inputs["lam"].as_f64(), case.number("alpha"));
    if family == "ppi_mean" {
        let powered = sample.z_interval(lambda, alpha).unwrap();
        return json!({"point": powered.point, "ci": bounds(powered.interval)});
    }
    let powered = sample.mover_gaffke(lambda, alpha).unwrap();
    json!({
        "point": powered.point,
        "rectifier_ci": bounds(powered.rectifier.unwrap()),
        "judge_ci": bounds(powered.judge.unwrap()),
        "ci": bounds(powered.interval),
    })
}

/// The families that need a gate are held by the tests of `src/gate`.
const OF_THE_GATE: [&str; 2] = ["gate_e2e", "suite_units"];

#[test]
fn every_reference_case_holds_to_its_tolerance() {
    let (mut wrong, mut held) = (Vec::new(), 0);
    let all = cases();
    for case in &all {
        if OF_THE_GATE.contains(&case.name.split('/').next().unwrap()) {
            continue;
        }
        match ours(case) {
            None => wrong.push(format!("{}: no test knows this case", case.name)),
            Some(value) => {
                let distance = apart(&value, &case.expected);
                held += 1;
                if distance.is_nan() || distance > case.tolerance {
                    wrong.push(format!("{}: {value}, not {} (off by {distance:e})", case.name, case.expected));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
    assert_eq!((held, all.len()), (125, 131), "125 cases of statistics and 6 of the gate");
}
