//! `holdback cases`: the memory of failures. A case is opened by `promote`; what became of it since is read from the runs of
//! its suite, so it is the same however often it is asked.

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::runs::stored::Runs;
use crate::cli::{Exit, Global, Misuse, out};
use crate::store::log::Reader;
use crate::trace::{Timestamp, TraceId};
use crate::trial::{Outcome, RunRecord};

/// A case that has passed so many runs in a row since it last failed is offered for retirement.
const STALE: usize = 20;

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

/// A case as `promote` keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub id: String,
    pub suite: String,
    /// The suite's file.
    pub file: String,
    /// `step` or `loop`.
    pub level: String,
    pub group: Option<String>,
    pub reason: String,
    pub trace: TraceId,
    /// The failing call's number in that trace.
    pub call: usize,
    pub model: String,
    pub opened: Timestamp,
    #[serde(default)]
    pub details: Value,
}

/// One stretch of a case's life.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stretch {
    /// `open`, `fixed`, `reopened`, `flaky`.
    pub state: &'static str,
    pub valid_from: Timestamp,
    /// `None` while it lasts.
    pub valid_to: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// A case with what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Life {
    #[serde(flatten)]
    case: Case,
    /// The last stretch's, or `stale`.
    state: &'static str,
    runs: usize,
    history: Vec<Stretch>,
}

/// All cases, in the order they were opened.
pub fn read(reader: &Reader) -> anyhow::Result<Vec<Case>> {
    let records = reader.records("case")?;
    Ok(records.into_iter().filter_map(|record| serde_json::from_value(record.data).ok()).collect())
}

/// Prints them.
pub fn run(global: &Global, args: &CasesArgs) -> anyhow::Result<Exit> {
    let store = global.existing_store()?;
    let until = args.on.as_deref().map(end_of_day).transpose()?;
    let cases: Vec<Case> =
        read(&store.reader()?)?.into_iter().filter(|case| until.is_none_or(|until| case.opened <= until)).collect();
    let runs = Runs::read(store.reader()?)?;
    // Only runs that tried one of them are read with their trials.
    let concerns = |run: &&RunRecord| cases.iter().any(|case| case.suite == run.suite && run.tasks.contains(&case.id));
    let tried = runs.all.iter().filter(concerns).map(|run| runs.whole(run)).collect::<anyhow::Result<Vec<_>>>()?;
    let lives: Vec<Life> = cases.into_iter().map(|case| life(case, &tried, until, args.model.as_deref())).collect();
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
            life.state.to_owned(),
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

/// Reads a case's life from the runs that tried it, in the order in which they ended.
fn life(case: Case, runs: &[RunRecord], until: Option<Timestamp>, model: Option<&str>) -> Life {
    let opened = Stretch {
        state: "open",
        valid_from: case.opened,
        valid_to: None,
        run: None,
        model: Some(case.model.clone()),
        prompt: None,
        commit: None,
    };
    let mut history = vec![opened];
    let (mut tried, mut passed) = (0, 0);
    let mut ended: Vec<&RunRecord> = runs
        .iter()
        .filter(|run| run.suite == case.suite && run.tasks.contains(&case.id))
        .filter(|run| run.finished.is_some_and(|at| at >= case.opened && until.is_none_or(|until| at <= until)))
        .collect();
    ended.sort_by_key(|run| run.finished);
    for run in ended {
        for variant in run.variants.iter().filter(|variant| model.is_none_or(|model| variant.model == model)) {
            let outcomes: Vec<Outcome> = run
                .trials
                .iter()
                .filter(|trial| trial.task == case.id && trial.variant == variant.name)
                .map(|trial| trial.outcome)
                .collect();
            let good = outcomes.iter().filter(|outcome| **outcome == Outcome::Pass).count();
            let bad = outcomes.iter().filter(|outcome| **outcome == Outcome::Fail).count();
            if good + bad == 0 {
                continue;
            }
            tried += 1;
            passed = if bad == 0 { passed + 1 } else { 0 };
            let before = history.last().map_or("open", |last| last.state);
            let state = match (good, bad) {
                (_, 0) => "fixed",
                (0, _) if matches!(before, "fixed" | "reopened") => "reopened",
                (0, _) => "open",
                _ => "flaky",
            };
            if state == before {
                continue;
            }
            let at = run.finished.unwrap_or(run.started);
            if let Some(last) = history.last_mut() {
                last.valid_to = Some(at);
            }
            history.push(Stretch {
                state,
                valid_from: at,
                valid_to: None,
                run: Some(run.id.clone()),
                model: Some(variant.model.clone()),
                prompt: variant.prompt.clone(),
                commit: run.git_commit.clone(),
            });
        }
    }
    let last = history.last().map_or("open", |last| last.state);
    let state = if last == "fixed" && passed >= STALE { "stale" } else { last };
    Life { case, state, runs: tried, history }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{Ending, Fingerprints, Trial, Variant};

    fn run(at: i64, model: &str, outcomes: &[Outcome]) -> RunRecord {
        let variant = Variant {
            name: model.into(),
            model: model.into(),
            prompt: None,
            params: Default::default(),
            fingerprint: String::new(),
        };
        let trial = |(outcome, attempt): (&Outcome, u32)| Trial {
            id: String::new(),
            run: format!("r{at}"),
            task: "c".into(),
            variant: model.into(),
            attempt,
            seed: None,
            trace: None,
            started: Timestamp(at),
            duration_us: 0,
            outcome: *outcome,
            ending: Ending::Exited { code: 0 },
            score: None,
            grades: Vec::new(),
            calls: 1,
            usage: Default::default(),
            cost_usd: None,
            infra_retries: 0,
            copy_of: None,
            stuck: false,
            why: None,
            answer_hash: None,
            replayed: None,
        };
        RunRecord {
            id: format!("r{at}"),
            name: None,
            suite: "regressions".into(),
            kind: "regression".into(),
            started: Timestamp(at),
            finished: Some(Timestamp(at)),
            trials_per_task: 1,
            tasks: vec!["c".into()],
            variants: vec![variant],
            fingerprints: Fingerprints::default(),
            git_commit: Some(format!("commit{at}")),
            holdback: String::new(),
            trials: outcomes.iter().zip(1..).map(trial).collect(),
        }
    }

    #[test]
    fn a_case_is_open_fixed_reopened_flaky_and_stale() {
        use Outcome::{Fail, Pass};
        let case = Case {
            id: "c".into(),
            suite: "regressions".into(),
            file: String::new(),
            level: "step".into(),
            group: None,
            reason: String::new(),
            trace: TraceId(1),
            call: 2,
            model: "m".into(),
            opened: Timestamp(5),
            details: Value::Null,
        };
        let mut runs = vec![
            run(3, "m", &[Pass]),
            run(10, "m", &[Fail]),
            run(20, "n", &[Pass, Pass]),
            run(30, "m", &[Fail]),
            run(40, "m", &[Pass, Fail]),
        ];
        let states =
            |life: &Life| life.history.iter().map(|stretch| (stretch.state, stretch.valid_from.0)).collect::<Vec<_>>();
        let all = life(case.clone(), &runs, None, None);
        assert_eq!(states(&all), [("open", 5), ("fixed", 20), ("reopened", 30), ("flaky", 40)]);
        assert_eq!(all.history[1].commit.as_deref(), Some("commit20"));
        assert_eq!(all.history[1].valid_to, Some(Timestamp(30)));
        assert_eq!(life(case.clone(), &runs, Some(Timestamp(25)), None).state, "fixed");
        assert_eq!(life(case.clone(), &runs, None, Some("n")).state, "fixed");
        runs.extend((50..75).map(|at| run(at, "m", &[Pass])));
        assert_eq!(life(case, &runs, None, None).state, "stale");
    }
}
