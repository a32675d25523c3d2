//! Answers held against recorded ones, as people read them: a table of steps and a summary. What `ask` and `shadow` print.

use serde::Serialize;

use super::out;
use crate::eval::Reanswer;
use crate::stats::Interval;
use crate::stats::basic::mean;
use crate::stats::gaffke::Bounded;
use crate::trace::{CallId, TraceId};

/// From so many traces on, intervals are over traces: the steps of one trace hang together.
const MANY_TRACES: usize = 8;
/// Two-sided level of the intervals.
const ALPHA: f64 = 0.05;

/// A share with what stands behind it.
#[derive(Debug, Clone, Serialize)]
pub struct Share {
    value: f64,
    interval: Option<Interval>,
    n: usize,
}

/// All steps together.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub asked: usize,
    pub answered: usize,
    same_decision: Option<Share>,
    same_arguments: Option<Share>,
    similarity: Option<Share>,
    /// `trace` or `step`: what the intervals count as independent.
    unit: &'static str,
    recorded_tokens: u64,
    tokens: u64,
    recorded_cost_usd: Option<f64>,
    cost_usd: Option<f64>,
    recorded_latency_us: Option<u64>,
    latency_us: Option<u64>,
    not_carried: Vec<String>,
}

/// A line for each step; attempts are numbered where there are several.
pub fn table(answers: &[Reanswer], attempts: bool) -> comfy_table::Table {
    let mut table =
        out::table(&["trace", "call", "recorded", "now", "move", "arguments", "alike", "tokens", "cost", "took"]);
    for answer in answers {
        let short = answer.trace.to_string()[..8].to_owned();
        let call = if attempts { format!("{} #{}", answer.number, answer.attempt) } else { answer.number.to_string() };
        let Some(compared) = &answer.compared else {
            let why = out::printable(&out::shorten(answer.error.as_deref().unwrap_or("no answer"), 60));
            table.add_row(vec![short, call, "-".to_owned(), why]);
            continue;
        };
        let said = |decision: crate::replay::Decision, tools: &[String]| match tools {
            [] => format!("{decision:?}").to_lowercase(),
            tools => out::printable(&out::shorten(&tools.join(", "), 30)),
        };
        let arrow = |before: String, after: String| format!("{before} → {after}");
        table.add_row(vec![
            short,
            call,
            said(compared.recorded, &compared.recorded_tools),
            said(compared.new, &compared.new_tools),
            if compared.same_decision { "same" } else { "other" }.to_owned(),
            match compared.same_arguments {
                Some(true) => "same",
                Some(false) => "other",
                None => "-",
            }
            .to_owned(),
            compared.similarity.map_or_else(|| "-".to_owned(), |ratio| format!("{:.0} %", 100.0 * ratio)),
            arrow(out::count(answer.recorded_usage.total()), out::count(answer.usage.total())),
            arrow(out::dollars(answer.recorded_cost_usd), out::dollars(answer.cost_usd)),
            arrow(
                answer.recorded_latency_us.map_or_else(|| "-".to_owned(), out::duration),
                out::duration(answer.latency_us),
            ),
        ]);
    }
    table
}

/// The mean of what was seen, over its units, with an exact interval for means between 0 and 1.
fn share(answers: &[Reanswer], by_trace: bool, value: impl Fn(&Reanswer) -> Option<f64>) -> Option<Share> {
    let mut units: indexmap::IndexMap<(TraceId, CallId), Vec<f64>> = indexmap::IndexMap::new();
    let mut n = 0;
    for answer in answers {
        if let Some(value) = value(answer) {
            n += 1;
            units.entry((answer.trace, if by_trace { CallId(0) } else { answer.call })).or_default().push(value);
        }
    }
    let means: Vec<f64> = units.values().map(|values| mean(values)).collect();
    let bounded = Bounded::unit(&means).ok()?;
    let interval = (means.len() > 1).then(|| bounded.interval(ALPHA));
    Some(Share { value: bounded.mean(), interval, n })
}

/// All steps together.
pub fn summary(answers: &[Reanswer]) -> Summary {
    let traces: std::collections::BTreeSet<TraceId> = answers.iter().map(|answer| answer.trace).collect();
    let by_trace = traces.len() >= MANY_TRACES;
    let yes = |yes: bool| if yes { 1.0 } else { 0.0 };
    let compared = |answer: &Reanswer| answer.compared.clone();
    let answered: Vec<&Reanswer> = answers.iter().filter(|answer| answer.compared.is_some()).collect();
    let total =
        |cost: &dyn Fn(&Reanswer) -> Option<f64>| answered.iter().map(|answer| cost(answer)).sum::<Option<f64>>();
    let middle = |times: Vec<u64>| {
        let mut times = times;
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    };
    let mut not_carried: Vec<String> = answers.iter().flat_map(|answer| answer.not_carried.clone()).collect();
    not_carried.sort();
    not_carried.dedup();
    Summary {
        asked: answers.len(),
        answered: answered.len(),
        same_decision: share(answers, by_trace, |answer| compared(answer).map(|c| yes(c.same_decision))),
        same_arguments: share(answers, by_trace, |answer| compared(answer)?.same_arguments.map(yes)),
        similarity: share(answers, by_trace, |answer| compared(answer)?.similarity.map(|ratio| ratio.clamp(0.0, 1.0))),
        unit: if by_trace { "trace" } else { "step" },
        recorded_tokens: answered.iter().map(|answer| answer.recorded_usage.total()).sum(),
        tokens: answered.iter().map(|answer| answer.usage.total()).sum(),
        recorded_cost_usd: total(&|answer| answer.recorded_cost_usd),
        cost_usd: total(&|answer| answer.cost_usd),
        recorded_latency_us: middle(answered.iter().filter_map(|answer| answer.recorded_latency_us).collect()),
        latency_us: middle(answered.iter().map(|answer| answer.latency_us).collect()),
        not_carried,
    }
}

/// The same in words.
pub fn words(summary: &Summary) -> String {
    let mut text = format!("\n{} of {} calls answered\n", summary.answered, summary.asked);
    let mut line = |what: &str, share: &Option<Share>| {
        if let Some(Share { value, interval, n }) = share {
            let interval =
                interval.map_or_else(String::new, |i| format!(" [{:.1}, {:.1}]", 100.0 * i.lower, 100.0 * i.upper));
            text.push_str(&format!("{what:<16} {:.1} %{interval} of {n}\n", 100.0 * value));
        }
    };
    line("same move", &summary.same_decision);
    line("same arguments", &summary.same_arguments);
    line("words alike", &summary.similarity);
    let took = |took: Option<u64>| took.map_or_else(|| "-".to_owned(), out::duration);
    text.push_str(&format!(
        "tokens           {} → {}\ncost             {} → {}\ntook, middle     {} → {}\n",
        out::count(summary.recorded_tokens),
        out::count(summary.tokens),
        out::dollars(summary.recorded_cost_usd),
        out::dollars(summary.cost_usd),
        took(summary.recorded_latency_us),
        took(summary.latency_us),
    ));
    text.push_str(&format!("intervals are 95 %, exact, each {} counting once\n", summary.unit));
    for lost in &summary.not_carried {
        text.push_str(&format!("not carried over: {}\n", out::printable(lost)));
    }
    text
}
