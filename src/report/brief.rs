//! An overview as Markdown, short enough for a pull request.

use super::markdown::{code, escape};
use super::overview::{ArmView, Cell, Overview, Role, Share, Source};
use super::page::words::{count, dollars, seconds, shorten};
use crate::gate::{Verdict, p_value, percent};
use crate::stats::Estimate;

/// Failures that are listed.
const FAILURES: usize = 12;

/// The Markdown.
pub fn markdown(overview: &Overview) -> String {
    let sign = match overview.headline.verdict {
        Some(Verdict::Pass) => "✅ ",
        Some(Verdict::Regress) => "❌ ",
        Some(Verdict::Undecided) => "❔ ",
        Some(Verdict::Invalid) => "⚠️ ",
        None => "",
    };
    let mut out = format!("## {sign}{}\n\n{}\n", overview.headline.word, escape(&overview.headline.why));
    for suite in &overview.suites {
        out.push_str(&table(overview, suite));
    }
    out.push_str(&tasks(overview));
    out.push_str(&failures(overview));
    out.push_str(&judges(overview));
    out.push_str(
        "\n<sub>95 % intervals for exactly these tasks. Trials that could not be measured count as neither.</sub>\n",
    );
    out
}

fn table(overview: &Overview, suite: &str) -> String {
    let arms: Vec<&ArmView> = overview.arms_of(suite).map(|(_, arm)| arm).collect();
    let k = arms.iter().map(|arm| arm.k).max().unwrap_or(1);
    let (head, rule) = if k > 1 { (format!(" pass^{k} |"), "--:|") } else { (String::new(), "") };
    let mut out = format!(
        "\n### {}\n\n| Model | pass^1 |{head} Tasks | Trials | Not measured | Cost of a trial | Median time |\n|---|--:|{rule}--:|--:|--:|--:|--:|\n",
        escape(suite)
    );
    for arm in arms {
        let role = if arm.role == Role::Baseline { " (baseline)" } else { "" };
        let missing = if arm.missing > 0 { format!(" + {} missing", arm.missing) } else { String::new() };
        out.push_str(&format!(
            "| {}{role} | {} |{} {} | {}{missing} | {} | {} | {} |\n",
            escape(&arm.label),
            figure(arm.pass_hat(1)),
            if k > 1 { format!(" {} |", figure(arm.pass_hat(k))) } else { String::new() },
            arm.tasks,
            arm.trials,
            arm.invalid,
            arm.mean_cost_usd.map_or_else(|| "no price".to_owned(), dollars),
            arm.latency_s.as_ref().map_or_else(|| "–".to_owned(), |spread| seconds(spread.p50)),
        ));
    }
    out
}

fn figure(estimate: Option<&Estimate>) -> String {
    super::estimate(estimate)
}

/// The tasks that got worse.
fn tasks(overview: &Overview) -> String {
    let worse: Vec<_> = overview.tasks.iter().filter(|task| task.moved != Cell::Quiet).collect();
    if worse.is_empty() {
        return String::new();
    }
    let mut out = String::from("\n### Worse than the baseline\n\n");
    for task in worse.iter().take(20) {
        let shares: Vec<String> =
            task.strips.iter().map(|strip| format!("{}/{}", strip.counts.c, strip.counts.n)).collect();
        let sure = if task.moved == Cell::Regressed { "beyond noise" } else { "probably" };
        let p = task.p.map(|p| format!(", p {}", p_value(p))).unwrap_or_default();
        out.push_str(&format!("- {} {}: {sure}{p}\n", code(&shorten(&task.task, 100)), shares.join(" → ")));
    }
    if worse.len() > 20 {
        out.push_str(&format!("- and {} more\n", worse.len() - 20));
    }
    out
}

/// What judges passed, and how often they say what people say.
fn judges(overview: &Overview) -> String {
    if overview.judged.is_empty() {
        return String::new();
    }
    let mut out = String::from("\n<details><summary>What judges passed</summary>\n\n");
    out.push_str("| Judge | Model | Verdicts | Raw | Corrected |\n|---|---|--:|--:|--:|\n");
    for one in &overview.judged {
        let corrected = match (one.rate.corrected, one.rate.interval) {
            (Some(value), Some(i)) => format!("{} [{:.1}, {:.1}]", percent(value), 100.0 * i.lower, 100.0 * i.upper),
            _ => "–".to_owned(),
        };
        out.push_str(&format!(
            "| {} | {} | {} | {} | {corrected} |\n",
            code(&one.rate.grader),
            escape(&shorten(&overview.arms[one.arm].label, 60)),
            one.rate.trials,
            percent(one.rate.raw),
        ));
    }
    if !overview.agreement.is_empty() {
        out.push_str("\n| Judge | Labels | Agrees with people | Kappa |\n|---|---|--:|--:|\n");
    }
    for one in &overview.agreement {
        let items = match one.from {
            Source::Calibration => "of its calibration",
            Source::TheseTrials => "of these trials",
        };
        let agrees = one.agree.map(|Share { value, interval: i }| {
            format!("{} [{:.0}, {:.0}]", percent(value), 100.0 * i.lower, 100.0 * i.upper)
        });
        out.push_str(&format!(
            "| {} | {} {items} | {} | {} |\n",
            code(&one.judge),
            one.labels,
            agrees.unwrap_or_else(|| "–".to_owned()),
            one.kappa.map_or_else(|| "–".to_owned(), |kappa| format!("{kappa:.2}"))
        ));
    }
    out.push_str("\n</details>\n");
    out
}

fn failures(overview: &Overview) -> String {
    if overview.failures.is_empty() {
        return String::new();
    }
    let all = overview.failures.len() + overview.more_failures;
    let mut out = format!("\n<details><summary>{} for not passing</summary>\n\n", count(all as u64, "reason"));
    for one in overview.failures.iter().take(FAILURES) {
        let arm = &overview.arms[one.arm].label;
        out.push_str(&format!(
            "- {} {} ({}): {}\n",
            code(&shorten(&one.task, 100)),
            escape(&shorten(arm, 60)),
            count(one.attempts.len() as u64, "trial"),
            escape(&shorten(&one.why, 200))
        ));
    }
    if all > FAILURES {
        out.push_str(&format!("- and {} more\n", all - FAILURES));
    }
    out.push_str("\n</details>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::super::overview::samples;
    use super::*;

    #[test]
    fn it_reads_well_and_lets_no_name_through() {
        let all =
            [samples::regressed(), samples::small(), samples::broken(), samples::ragged()].map(|one| markdown(&one));
        assert!(!all[0].contains("<script>") || all[0].contains("`pay "), "{}", all[0]);
        insta::assert_snapshot!(all.join("\n=====\n\n"));
    }
}
