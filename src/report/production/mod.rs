//! How loops did in a span of time, from what was recorded of them: outcomes, money, time, why things went wrong, what moved
//! against the span before, and what the loops left in a repository.

mod failures;
mod markdown;
mod page;

use serde::Serialize;

use crate::stats::Interval;
use crate::stats::proportion::wilson;
use crate::trace::Timestamp;

pub use failures::{Case, FailureGroup, Failures};
pub use markdown::markdown;
pub use page::html;

/// The format's name.
pub const FORMAT: &str = "holdback-production/1";

/// Traces of one kind: all, a model's, an agent's, a tag's, a day's.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Group {
    pub what: String,
    pub word: String,
    pub traces: u64,
    pub ok: u64,
    pub failed: u64,
    pub killed: u64,
    pub braked: u64,
    pub cut_off: u64,
    /// Still going on, or never said how they ended.
    pub unknown: u64,
    pub stuck: u64,
    pub calls: u64,
    pub failed_calls: u64,
    pub tokens: u64,
    pub cost_usd: Option<f64>,
    pub unpriced_calls: u64,
    pub p50_s: Option<f64>,
    pub p95_s: Option<f64>,
}

impl Group {
    /// Traces that are over.
    pub fn over(&self) -> u64 {
        self.traces - self.unknown
    }

    /// The share that ended well, of those that are over, with a 95 % interval (Wilson).
    pub fn rate(&self) -> Option<(f64, Interval)> {
        let (n, c) = (u32::try_from(self.over()).ok()?, u32::try_from(self.ok).ok()?);
        Some((f64::from(c) / f64::from(n), wilson(c, n, 0.05).ok()?))
    }

    /// Dollars for each trace that ended well; nothing where a part has no price.
    pub fn cost_of_ok(&self) -> Option<f64> {
        self.cost_usd.filter(|_| self.ok > 0 && self.unpriced_calls == 0).map(|usd| usd / self.ok as f64)
    }
}

/// Why traces did not end well.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    pub outcome: String,
    pub why: String,
    pub traces: u64,
    pub newest_trace: String,
}

/// How a tool did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tool {
    pub tool: String,
    pub asked: u64,
    pub answered: u64,
    pub failed: u64,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
}

/// What loops left in a repository.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Delivered {
    pub repository: String,
    /// Traces that ran inside it.
    pub traces: u64,
    /// Commits made while one of them ran.
    pub commits: u64,
    /// Of these, on the branch that is checked out.
    pub merged: u64,
    pub lines_added: u64,
    pub lines_removed: u64,
    /// Of the lines added by commits that are old enough, those gone within so many days.
    pub churn_days: u32,
    pub judged_lines: u64,
    pub churned_lines: u64,
    /// Commits too young to be judged.
    pub too_young: u64,
    /// Commits that were not looked into for want of time.
    pub not_looked_at: u64,
}

/// The whole report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Production {
    pub made: Timestamp,
    pub since: Timestamp,
    pub until: Timestamp,
    pub groups: Vec<Group>,
    /// The span of the same length before, over all.
    pub before: Option<Group>,
    pub failures: Failures,
    pub reasons: Vec<Reason>,
    pub tools: Vec<Tool>,
    pub delivered: Option<Delivered>,
}

/// A figure now and before.
pub(super) struct Drift {
    pub what: &'static str,
    pub before: String,
    pub now: String,
    /// What the change means: beyond noise, or not shown.
    pub says: String,
}

impl Production {
    /// Everything together.
    pub fn all(&self) -> Option<&Group> {
        self.groups.iter().find(|group| group.what == "all")
    }

    /// Groups of a kind, at most so many.
    pub fn of(&self, what: &str, most: usize) -> Vec<&Group> {
        self.groups.iter().filter(|group| group.what == what).take(most).collect()
    }

    /// As JSON, under its format's name.
    pub fn to_json(&self) -> String {
        super::json::document(FORMAT, self)
    }

    /// What moved against the span before.
    pub(super) fn drift(&self) -> Vec<Drift> {
        let (Some(now), Some(before)) = (self.all(), self.before.as_ref().filter(|before| before.over() > 0)) else {
            return Vec::new();
        };
        let mut drift = Vec::new();
        if let (Some((a, ia)), Some((b, ib))) = (before.rate(), now.rate()) {
            let says = match () {
                () if ib.upper < ia.lower => "lower beyond noise",
                () if ib.lower > ia.upper => "higher beyond noise",
                () => "no change is shown",
            };
            let word = |x: f64| crate::gate::percent(x);
            drift.push(Drift { what: "ended well", before: word(a), now: word(b), says: says.to_owned() });
        }
        let mean = |group: &Group, sum: f64| sum / group.traces.max(1) as f64;
        let ratio = |a: f64, b: f64| if a > 0.0 { format!("× {:.2}", b / a) } else { String::new() };
        let pair = |what, a: f64, b: f64, word: fn(f64) -> String| Drift {
            what,
            before: word(a),
            now: word(b),
            says: ratio(a, b),
        };
        let calls = |group: &Group| mean(group, group.calls as f64);
        drift.push(pair("calls a trace", calls(before), calls(now), |x| format!("{x:.1}")));
        let tokens = |group: &Group| mean(group, group.tokens as f64);
        drift.push(pair("tokens a trace", tokens(before), tokens(now), super::page::words::tokens));
        if let (Some(a), Some(b)) = (before.cost_usd, now.cost_usd) {
            drift.push(pair("cost of a trace", mean(before, a), mean(now, b), super::page::words::dollars));
        }
        if let (Some(a), Some(b)) = (before.p50_s, now.p50_s) {
            drift.push(pair("median time", a, b, super::page::words::seconds));
        }
        drift
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(what: &str, word: &str, ok: u64, failed: u64) -> Group {
        let traces = ok + failed + 1;
        let (what, word) = (what.to_owned(), word.to_owned());
        Group {
            what,
            word,
            traces,
            ok,
            failed,
            unknown: 1,
            calls: 4 * traces,
            tokens: 900,
            cost_usd: Some(0.5),
            p50_s: Some(3.0),
            p95_s: Some(9.0),
            ..Group::default()
        }
    }

    fn failed(nasty: &str) -> Failures {
        Failures {
            looked_at: 100,
            failed: 40,
            groups: vec![
                FailureGroup {
                    id: "0a1b2c3d".into(),
                    kind: "tool_error".into(),
                    tool: Some(nasty.into()),
                    says: nasty.into(),
                    traces: 30,
                    newest_trace: "cd".repeat(16),
                    case: Some("does not <b>repeat</b>".into()),
                },
                FailureGroup {
                    id: "4e5f6071".into(),
                    kind: "exit".into(),
                    tool: None,
                    says: "exit code 3".into(),
                    traces: 10,
                    newest_trace: "ef".repeat(16),
                    case: None,
                },
            ],
            more: 2,
            cases: vec![Case {
                id: "does not <b>repeat</b>".into(),
                suite: "regressions".into(),
                file: "suites/regressions.yaml".into(),
                reason: "asked again for what had failed".into(),
                opened: Timestamp(1_699_900_000_000_000),
                trace: "ab".repeat(16),
            }],
        }
    }

    fn sample() -> Production {
        let nasty = "<script>x</script> | @all";
        Production {
            made: Timestamp(1_700_000_000_000_000),
            since: Timestamp(1_697_000_000_000_000),
            until: Timestamp(1_700_000_000_000_000),
            groups: vec![
                group("all", "all", 80, 40),
                group("model", nasty, 80, 40),
                group("tag", "team=shop", 2, 0),
                group("day", "2023-11-01", 2, 0),
            ],
            before: Some(group("all", "all", 110, 5)),
            failures: failed(nasty),
            reasons: vec![Reason {
                outcome: "failed".into(),
                why: nasty.into(),
                traces: 12,
                newest_trace: "ab".repeat(16),
            }],
            tools: vec![Tool {
                tool: nasty.into(),
                asked: 9,
                answered: 8,
                failed: 2,
                p50_ms: Some(12.0),
                p95_ms: None,
            }],
            delivered: Some(Delivered {
                repository: ".".into(),
                traces: 9,
                commits: 4,
                merged: 3,
                lines_added: 120,
                lines_removed: 30,
                churn_days: 21,
                judged_lines: 100,
                churned_lines: 25,
                too_young: 1,
                not_looked_at: 0,
            }),
        }
    }

    #[test]
    fn it_reads_well_and_lets_no_name_through() {
        let page = html(&sample());
        assert!(page.contains("&lt;script&gt;x") && page.matches("<script>").count() == 1);
        assert!(!page.contains("<b>repeat") && page.contains("href=\"#case-does-not--b-repeat--b-\""));
        assert!(page.contains("id=\"case-does-not--b-repeat--b-\"") && page.contains("<code>4e5f6071</code>"));
        let text = markdown(&sample());
        // Between backticks it is text to every reader of Markdown.
        assert!(!text.replace("`<script>x</script> \\| @all`", "").contains("<script>"), "{text}");
        assert!(text.contains("lower beyond noise"), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_span_without_traces_says_so() {
        let empty = Production {
            groups: Vec::new(),
            before: None,
            failures: Failures::default(),
            reasons: Vec::new(),
            tools: Vec::new(),
            delivered: None,
            ..sample()
        };
        assert!(html(&empty).contains("No trace") && markdown(&empty).contains("No trace"));
        assert_eq!(group("all", "all", 0, 0).rate(), None);
    }
}
