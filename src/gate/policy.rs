//! What a gate asks for: set before the run, and hashed into its report.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::judges::Judges;
use crate::stats::passk::Figure;
use crate::stats::{Bound, Estimand};

/// What is gated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// pass^k: all of k trials pass. With k = 1 the pass rate.
    #[default]
    PassHat,
    /// pass@k: at least one of k trials passes.
    PassAt,
    /// The mean score of the trials, from 0 to 1.
    Score,
}

/// What a finding does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFinding {
    Fail,
    #[default]
    Warn,
}

/// A limit on one statistic: an absolute one, a relative one, or both.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// No more than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub max: Option<f64>,
    /// No more than the baseline's times 1 + this: 0.2 allows 20 % more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub max_increase: Option<f64>,
}

/// Limits on what trials cost in money, time or tokens, at the median and at the 95th percentile.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<Limit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<Limit>,
}

/// All limits. A pass needs every point estimate within its limit; a limit that is surely exceeded (beyond noise) is a
/// regression; one that is exceeded within noise leaves the gate undecided.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Dollars per trial.
    #[serde(default)]
    pub cost_usd: Spread,
    /// Seconds per trial.
    #[serde(default)]
    pub latency_s: Spread,
    /// Tokens read and written per trial.
    #[serde(default)]
    pub tokens: Spread,
}

/// A policy with every question answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub metric: Metric,
    pub k: u32,
    /// How much worse the candidate may truly be, in absolute terms.
    pub margin: f64,
    /// One-sided error of each direction.
    pub alpha: f64,
    /// Error of the test of single tasks, over all tasks together.
    pub alpha_task: f64,
    pub estimand: Estimand,
    /// Task to family, for the estimand `group`.
    pub groups: BTreeMap<String, String>,
    pub bound: Bound,
    pub task_regressions: OnFinding,
    pub new_stuck: OnFinding,
    /// Above this share of invalid trials there is no verdict.
    pub max_invalid_share: f64,
    /// Graders whose own pass rate must not get worse either.
    pub required_graders: Vec<String>,
    pub limits: Limits,
    /// A stored baseline older than this is warned about.
    pub stale_after_days: u32,
    /// `calibrated`: a judge without a valid calibration for its rubric informs, and can't block.
    #[serde(default, skip_serializing_if = "Judges::is_any")]
    pub judges: Judges,
}

impl Policy {
    /// The defaults for `regression` suites (nothing may break) and for `capability` suites (hard tasks come and go, so a single
    /// task or stuck loop is only told).
    pub fn for_kind(kind: &str) -> Self {
        let strict = if kind == "capability" { OnFinding::Warn } else { OnFinding::Fail };
        Policy {
            metric: Metric::PassHat,
            k: 1,
            margin: 0.05,
            alpha: 0.05,
            alpha_task: 0.05,
            estimand: Estimand::Suite,
            groups: BTreeMap::new(),
            bound: Bound::Gaffke,
            task_regressions: strict,
            new_stuck: OnFinding::Warn,
            max_invalid_share: 0.05,
            required_graders: Vec::new(),
            limits: Limits::default(),
            stale_after_days: 14,
            judges: Judges::Any,
        }
    }

    pub fn figure(&self) -> Figure {
        match self.metric {
            Metric::PassHat => Figure::PassHat(self.k),
            Metric::PassAt => Figure::PassAt(self.k),
            Metric::Score => Figure::PassHat(1),
        }
    }

    /// The metric's name as people write it.
    pub fn metric_name(&self) -> String {
        match self.metric {
            Metric::Score => "score".to_owned(),
            Metric::PassHat | Metric::PassAt => self.figure().to_string(),
        }
    }

    /// SHA-256 of the policy as JSON. A policy whose hash is not the one announced before the run is exploratory.
    pub fn hash(&self) -> String {
        let json = serde_json::to_vec(self).expect("a policy is plain data, which always becomes JSON");
        Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Refuses what has no meaning, naming the field.
    pub fn check(&self) -> Result<(), InvalidPolicy> {
        let bad = |field: &str, why: &str| Err(InvalidPolicy { place: field.to_owned(), why: why.to_owned() });
        let open = |x: f64| x > 0.0 && x < 1.0;
        if self.k == 0 {
            return bad("k", "must be at least 1");
        }
        if self.metric == Metric::Score && self.k != 1 {
            return bad("k", "must be 1 when the metric is `score`");
        }
        if !open(self.margin) {
            return bad("margin", "must lie between 0 and 1 (0.05 means five points of a hundred)");
        }
        if !(open(self.alpha) && self.alpha <= 0.5) {
            return bad("alpha", "must lie between 0 and 0.5");
        }
        if !(open(self.alpha_task) && self.alpha_task <= 0.5) {
            return bad("alpha_task", "must lie between 0 and 0.5");
        }
        if !(0.0..=1.0).contains(&self.max_invalid_share) {
            return bad("max_invalid_share", "must lie between 0 and 1");
        }
        if self.estimand == Estimand::Group && self.groups.is_empty() {
            return bad("groups", "must say which task belongs to which group when the estimand is `group`");
        }
        for (place, spread) in
            [("cost_usd", self.limits.cost_usd), ("latency_s", self.limits.latency_s), ("tokens", self.limits.tokens)]
        {
            for limit in [spread.p50, spread.p95].into_iter().flatten() {
                let given = [limit.max, limit.max_increase];
                if given.iter().all(Option::is_none) {
                    return bad(&format!("limits.{place}"), "needs `max` or `max_increase`");
                }
                if given.into_iter().flatten().any(|x| !(x.is_finite() && x >= 0.0)) {
                    return bad(&format!("limits.{place}"), "must be a number that is not negative");
                }
            }
        }
        Ok(())
    }
}

/// A policy that cannot be used, and where.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("policy: {place}: {why}")]
pub struct InvalidPolicy {
    pub place: String,
    pub why: String,
}

/// A policy file: any of the fields of a policy for all suites, refined for kinds of suites and for suites by name.
/// What it leaves out stays at the default of the suite's kind.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "holdback gate policy")]
pub struct PolicyFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub k: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub margin: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.5))]
    pub alpha: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.5))]
    pub alpha_task: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimand: Option<Estimand>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_regressions: Option<OnFinding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_stuck: Option<OnFinding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_invalid_share: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_graders: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_after_days: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judges: Option<Judges>,
    /// By kind: `regression`, `capability`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<String, PolicyFile>,
    /// By the suite's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub suites: BTreeMap<String, PolicyFile>,
}

/// The JSON Schema of a policy file.
pub struct PolicySchema;

impl PolicySchema {
    pub fn json() -> Value {
        schemars::schema_for!(PolicyFile).to_value()
    }
}

impl PolicyFile {
    /// Reads YAML (JSON is YAML too).
    pub fn parse(text: &str) -> Result<Self, InvalidPolicy> {
        let fail = |why: String| InvalidPolicy { place: "the file".to_owned(), why };
        if text.trim().is_empty() {
            return Ok(PolicyFile::default());
        }
        let file: PolicyFile = serde_saphyr::from_str(text).map_err(|e| fail(e.to_string()))?;
        for (place, part) in file.kinds.iter().chain(&file.suites) {
            if !part.kinds.is_empty() || !part.suites.is_empty() {
                let why = "a refinement can't hold `kinds` or `suites` of its own".to_owned();
                return Err(InvalidPolicy { place: place.clone(), why });
            }
        }
        Ok(file)
    }

    /// The policy for one suite: the kind's defaults, then the file, then its part for the kind, then its part for the suite.
    pub fn resolve(&self, suite: &str, kind: &str) -> Result<Policy, InvalidPolicy> {
        let mut policy = Policy::for_kind(kind);
        self.refine(&mut policy);
        for part in [self.kinds.get(kind), self.suites.get(suite)].into_iter().flatten() {
            part.refine(&mut policy);
        }
        policy.check()?;
        Ok(policy)
    }

    fn refine(&self, policy: &mut Policy) {
        fn set<T: Clone>(to: &mut T, from: Option<&T>) {
            if let Some(value) = from {
                *to = value.clone();
            }
        }
        set(&mut policy.metric, self.metric.as_ref());
        set(&mut policy.k, self.k.as_ref());
        set(&mut policy.margin, self.margin.as_ref());
        set(&mut policy.alpha, self.alpha.as_ref());
        set(&mut policy.alpha_task, self.alpha_task.as_ref());
        set(&mut policy.estimand, self.estimand.as_ref());
        set(&mut policy.groups, self.groups.as_ref());
        set(&mut policy.bound, self.bound.as_ref());
        set(&mut policy.task_regressions, self.task_regressions.as_ref());
        set(&mut policy.new_stuck, self.new_stuck.as_ref());
        set(&mut policy.max_invalid_share, self.max_invalid_share.as_ref());
        set(&mut policy.required_graders, self.required_graders.as_ref());
        set(&mut policy.limits, self.limits.as_ref());
        set(&mut policy.stale_after_days, self.stale_after_days.as_ref());
        set(&mut policy.judges, self.judges.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_refines_the_kinds_defaults() {
        let file = PolicyFile::parse(
            "margin: 0.1\nkinds:\n  capability: {alpha: 0.1}\nsuites:\n  checkout:\n    k: 4\n    limits: {cost_usd: {p50: {max_increase: 0.2}}}\n",
        )
        .unwrap();
        let plain = file.resolve("other", "regression").unwrap();
        assert_eq!((plain.margin, plain.alpha, plain.k, plain.task_regressions), (0.1, 0.05, 1, OnFinding::Fail));
        let capable = file.resolve("other", "capability").unwrap();
        assert_eq!((capable.margin, capable.alpha, capable.task_regressions), (0.1, 0.1, OnFinding::Warn));
        let checkout = file.resolve("checkout", "regression").unwrap();
        assert_eq!((checkout.k, checkout.limits.cost_usd.p50.unwrap().max_increase), (4, Some(0.2)));
        assert_ne!(plain.hash(), checkout.hash());
        assert_eq!(plain.hash(), file.resolve("third", "regression").unwrap().hash());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in
            [("margn: 0.1", "margn"), ("metric: pass^4", "pass^4"), ("suites: {a: {kinds: {b: {k: 1}}}}", "refinement")]
        {
            let error = PolicyFile::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        for (text, word) in [
            ("margin: 0", "margin"),
            ("margin: .nan", "margin"),
            ("k: 0", "k:"),
            ("alpha: 0.7", "alpha"),
            ("estimand: group", "groups"),
            ("metric: score\nk: 2", "score"),
            ("limits: {tokens: {p95: {}}}", "max_increase"),
            ("limits: {tokens: {p95: {max: -1}}}", "limits.tokens"),
        ] {
            let error = PolicyFile::parse(text).unwrap().resolve("s", "regression").unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert_eq!(PolicyFile::parse(" \n").unwrap(), PolicyFile::default());
    }

    #[test]
    fn the_schema_knows_the_fields_and_no_others() {
        let schema = PolicySchema::json();
        assert_eq!(schema["additionalProperties"], Value::Bool(false));
        let valid = jsonschema::validator_for(&schema).unwrap();
        assert!(valid.is_valid(&serde_json::json!({"margin": 0.1, "suites": {"a": {"k": 4}}})));
        assert!(!valid.is_valid(&serde_json::json!({"margn": 0.1})));
    }
}
