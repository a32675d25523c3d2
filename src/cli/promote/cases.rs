//! `holdback cases`: the memory of failures. A case is opened by `promote`; what became of it since is read from the runs of
//! its suite, so it is the same however often it is asked.

use std::collections::HashMap;

use clap::Args;
use serde::Serialize;

use crate::cli::{Exit, Global, Misuse, out};
use crate::eval::cases::Case;
use crate::store::index::{CaseStretch, OpenedCase};
use crate::trace::Timestamp;

/// A case that has passed so many runs in a row since it last failed is offered for retirement.
const STALE: u64 = 20;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  holdback cases\n  holdback cases --on 2026-03-03 --model anthropic/claude-haiku-4-5 --json"
)]
pub struct CasesArgs {
    /// How things stood at the end of that day, UTC
    #[arg(long, value_name = "DATE")]
    on: Option<String>,
    /// Only what runs of this model say
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// One stretch of a case's life.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Stretch {
    /// `open`, `fixed`, `reopened`, `flaky`.
    state: String,
    valid_from: Timestamp,
    /// `None` while it lasts.
    valid_to: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
}

/// A case with what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Life {
    #[serde(flatten)]
    case: Case,
    /// The last stretch's, or `stale`.
    state: String,
    runs: u64,
    history: Vec<Stretch>,
}

/// Prints them.
pub fn run(global: &Global, args: &CasesArgs) -> anyhow::Result<Exit> {
    let store = global.existing_store()?;
    let until = args.on.as_deref().map(end_of_day).transpose()?.unwrap_or(Timestamp(i64::MAX - 1));
    let index = crate::cli::index::open(&store, "cases")?;
    let model = args.model.as_deref();
    let lives = lives(index.cases_opened(until, model)?, index.case_life(until, model)?);
    drop(index);
    if args.json {
        out::json(&serde_json::json!({ "cases": lives }))?;
        return Ok(Exit::Pass);
    }
    if lives.is_empty() {
        eprintln!("holdback: there is no case yet: `holdback failures` shows what could become one");
        return Ok(Exit::Pass);
    }
    let mut table = out::table(&["case", "state", "since", "runs", "model", "commit", "opened", "why"]);
    for life in &lives {
        let last = life.history.last();
        table.add_row(vec![
            out::printable(&life.case.id),
            life.state.clone(),
            last.map_or_else(String::new, |last| last.valid_from.to_string()[..16].to_owned()),
            life.runs.to_string(),
            out::printable(last.and_then(|last| last.model.as_deref()).unwrap_or(&life.case.model)),
            last.and_then(|last| last.commit.as_deref())
                .map_or_else(|| "-".to_owned(), |commit| commit.chars().take(8).collect()),
            life.case.opened.to_string()[..16].to_owned(),
            out::printable(&out::shorten(&life.case.reason, 60)),
        ]);
    }
    out::print_table(&table)?;
    let stale: Vec<&str> =
        lives.iter().filter(|life| life.state == "stale").map(|life| life.case.id.as_str()).collect();
    if !stale.is_empty() {
        eprintln!("holdback: never failing any more, take them out of their suite if you like: {}", stale.join(", "));
    }
    Ok(Exit::Pass)
}

fn end_of_day(date: &str) -> anyhow::Result<Timestamp> {
    let day: jiff::civil::Date =
        date.parse().map_err(|_| Misuse(format!("--on {date:?}: expected a date like 2026-03-03")))?;
    let end = day.tomorrow().and_then(|next| next.to_zoned(jiff::tz::TimeZone::UTC));
    let end = end.map_err(|error| Misuse(format!("--on {date:?}: {error}")))?;
    Ok(Timestamp(end.timestamp().as_microsecond() - 1))
}

/// Puts cases and the stretches of their lives together. A case of which a model's runs say nothing is none of that model's.
fn lives(cases: Vec<OpenedCase>, stretches: Vec<CaseStretch>) -> Vec<Life> {
    let mut histories: HashMap<(String, String), Vec<Stretch>> = HashMap::new();
    for said in stretches {
        histories.entry((said.suite, said.case_id)).or_default().push(Stretch {
            state: said.state,
            valid_from: said.valid_from,
            valid_to: said.valid_to,
            run: said.run_id,
            model: said.models,
            prompt: said.prompts,
            commit: said.git_commit,
        });
    }
    let life = |opened: OpenedCase| {
        let case: Case = serde_json::from_str(&opened.record).ok()?;
        let history = histories.remove(&(opened.suite, opened.case_id))?;
        let last = history.last()?.state.clone();
        let is_stale = last == "fixed" && opened.passed_in_a_row >= STALE;
        let state = if is_stale { "stale".to_owned() } else { last };
        Some(Life { case, state, runs: opened.runs, history })
    };
    cases.into_iter().filter_map(life).collect()
}
