//! `holdback traces ls`: one line a trace. It reads the log's own summaries, never DuckDB, so that it is there at once.

use clap::Args;

use crate::cli::{Exit, Global, Misuse, out};
use crate::store::log::{Status, TraceSummary};
use crate::trace::TraceOutcome;

#[derive(Debug, Default, Args)]
pub struct List {
    /// Show so many at most; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Only traces that failed, were killed, braked or cut off, or have failed calls
    #[arg(long)]
    failed: bool,
    /// Only traces with this tag
    #[arg(long, value_name = "KEY=VALUE")]
    tag: Option<String>,
    /// Only traces whose name, agent or model contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Prints the list.
pub fn run(global: &Global, args: &List) -> anyhow::Result<Exit> {
    let tag = match &args.tag {
        Some(tag) => Some(tag.split_once('=').ok_or_else(|| Misuse(format!("--tag {tag:?}: expected KEY=VALUE")))?),
        None => None,
    };
    let all = match global.store_if_any()? {
        Some(store) => store.reader()?.traces(),
        None => Vec::new(),
    };
    let found = all.len();
    let fitting = all.into_iter().filter(|trace| {
        (!args.failed || trace.went_wrong())
            && tag.is_none_or(|(key, value)| trace.tags.iter().any(|(k, v)| k == key && v == value))
            && args.filter.as_deref().is_none_or(|text| mentions(trace, text))
    });
    let shown: Vec<TraceSummary> = match args.limit {
        0 => fitting.collect(),
        limit => fitting.take(limit).collect(),
    };
    if args.json {
        out::json(&shown)?;
        return Ok(Exit::Pass);
    }
    if found == 0 {
        eprintln!(
            "no traces in {} yet: try `holdback demo`, or put `holdback record --` before the command of your loop",
            global.store.display()
        );
        return Ok(Exit::Pass);
    }
    let paint = global.paint();
    let mut table =
        out::table(&["trace", "name", "agent", "started", "status", "calls", "tokens", "cost", "took", "models"]);
    for trace in &shown {
        table.add_row(row(trace, paint));
    }
    out::print_table(&table)?;
    if shown.len() < found {
        eprintln!("{} of {found} traces (-n 0 for all)", shown.len());
    }
    Ok(Exit::Pass)
}

fn mentions(trace: &TraceSummary, text: &str) -> bool {
    let words = [trace.name.as_deref(), trace.agent.as_deref()];
    words.into_iter().flatten().chain(trace.models.iter().map(String::as_str)).any(|word| word.contains(text))
}

fn row(trace: &TraceSummary, paint: out::Paint) -> Vec<String> {
    let tokens = if trace.usage.is_known() { out::count(trace.usage.total()) } else { "-".into() };
    // A sum that leaves calls out says so.
    let cost = match (trace.cost_usd, trace.unpriced_calls) {
        (Some(cost), 0) => out::dollars(Some(cost)),
        (Some(cost), _) => format!("≥{}", out::dollars(Some(cost))),
        (None, _) => "-".into(),
    };
    let mut besides = Vec::new();
    if trace.failed_calls > 0 {
        besides.push(format!("{} failed", trace.failed_calls));
    }
    if trace.agents > 0 {
        besides.push(format!("{} agents", trace.agents));
    }
    let calls = match besides.is_empty() {
        true => trace.calls.to_string(),
        false => format!("{} ({})", trace.calls, besides.join(", ")),
    };
    vec![
        paint.name(&trace.id.to_string()[..8]),
        out::printable(&out::shorten(trace.name.as_deref().unwrap_or("-"), 28)),
        out::printable(trace.agent.as_deref().unwrap_or("-")),
        trace.started.to_string()[..16].to_owned(),
        status(trace, paint),
        calls,
        tokens,
        cost,
        out::duration(trace.last.micros_since(trace.started)),
        out::printable(&out::shorten(&trace.models.join(", "), 40)),
    ]
}

/// One word for how a trace stands, coloured.
pub fn status(trace: &TraceSummary, paint: out::Paint) -> String {
    match (trace.status, trace.outcome) {
        (Status::Live, _) => paint.name("live"),
        (Status::CutOff, _) => paint.bad("cut off"),
        (Status::Ended, Some(TraceOutcome::Ok) | None) => paint.good("ok"),
        (Status::Ended, Some(TraceOutcome::Failed)) => match trace.exit_code {
            Some(code) => paint.bad(&format!("failed ({code})")),
            None => paint.bad("failed"),
        },
        (Status::Ended, Some(outcome)) => paint.bad(outcome.as_str()),
    }
}
