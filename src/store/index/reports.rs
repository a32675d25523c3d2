//! The reports other rooms ask for: one file of SQL, one function, one type of row each.

use duckdb::types::{FromSql, FromSqlError, FromSqlResult, TimeUnit, ToSql, ToSqlOutput, Value, ValueRef};
use serde::Serialize;

use super::{Error, Index};
use crate::trace::Timestamp;

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Timestamp(TimeUnit::Microsecond, micros) => Ok(Timestamp(micros)),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self) -> duckdb::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(Value::Timestamp(TimeUnit::Microsecond, self.0)))
    }
}

/// A day in UTC, printed as `2026-11-21`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct Day(i32);

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&super::answer::date(i64::from(self.0)))
    }
}

impl From<Day> for String {
    fn from(day: Day) -> String {
        day.to_string()
    }
}

impl FromSql for Day {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Date32(days) => Ok(Day(days)),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

macro_rules! report {
    (
        $(#[$doc:meta])* $function:ident($($given:ident: $given_kind:ty),*) from $file:literal,
        $(#[$row_doc:meta])* $row:ident { $($field:ident: $kind:ty,)* }
    ) => {
        $(#[$row_doc])*
        #[derive(Debug, Clone, PartialEq, Serialize)]
        pub struct $row {
            $(pub $field: $kind,)*
        }

        impl Index {
            $(#[$doc])*
            ///
            /// # Errors
            /// When DuckDB cannot answer.
            pub fn $function(&self, $($given: $given_kind),*) -> Result<Vec<$row>, Error> {
                let mut statement = self.connection.prepare(include_str!(concat!("../sql/", $file)))?;
                let rows = statement.query_map(duckdb::params![$($given),*], |row| {
                    Ok($row { $($field: row.get(stringify!($field))?,)* })
                })?;
                Ok(rows.collect::<duckdb::Result<_>>()?)
            }
        }
    };
}

report! {
    /// Cases opened by a time, with what runs have tried of them by then; only those of a model, where one is named.
    cases_opened(until: Timestamp, model: Option<&str>) from "cases_opened.sql",
    /// A case as it was opened, and how often it was tried since.
    OpenedCase {
        suite: String,
        case_id: String,
        record: String,
        runs: u64,
        passed_in_a_row: u64,
    }
}

report! {
    /// The lives of cases up to a time: as a whole, or for one model.
    case_life(until: Timestamp, model: Option<&str>) from "case_life.sql",
    /// One stretch of a case's life.
    CaseStretch {
        suite: String,
        case_id: String,
        state: String,
        valid_from: Timestamp,
        valid_to: Option<Timestamp>,
        run_id: Option<String>,
        models: Option<String>,
        prompts: Option<String>,
        git_commit: Option<String>,
    }
}

report! {
    /// The newest traces, `most` of them, with what their calls add up to.
    recent_traces(most: u32) from "recent_traces.sql",
    /// A trace in a list.
    RecentTrace {
        trace_id: String,
        name: Option<String>,
        agent: Option<String>,
        state: String,
        outcome: Option<String>,
        started_at: Timestamp,
        calls: i64,
        failed_calls: i64,
        models: Option<String>,
        input_tokens: Option<i64>,
        output_tokens: Option<i64>,
        cost_usd: Option<f64>,
    }
}

report! {
    /// The calls of one trace in the order they were made.
    trace_calls(trace_id: &str) from "trace_calls.sql",
    /// A call in a list.
    TraceCall {
        call_id: String,
        state: String,
        started_at: Timestamp,
        duration_ms: Option<f64>,
        first_content_ms: Option<f64>,
        upstream: String,
        model: Option<String>,
        status: Option<i32>,
        stop: Option<String>,
        error: Option<String>,
        input_tokens: Option<i64>,
        output_tokens: Option<i64>,
        cache_read_tokens: Option<i64>,
        cost_usd: Option<f64>,
        agent: Option<String>,
        retry_of: Option<String>,
        relation: String,
        messages: i32,
        tools_called: i32,
    }
}

report! {
    /// What was spent by day (UTC) and model, the newest day first.
    cost_by_day() from "cost_by_day.sql",
    /// What one model cost on one day. `unpriced_calls` were answered by a model without a price and are in no sum of dollars.
    DayCost {
        day: Day,
        model: Option<String>,
        upstream: String,
        calls: i64,
        input_tokens: Option<i64>,
        output_tokens: Option<i64>,
        cache_read_tokens: Option<i64>,
        cache_write_tokens: Option<i64>,
        cost_usd: Option<f64>,
        unpriced_calls: i64,
    }
}

report! {
    /// Pass rate of every suite, model and task, over all runs.
    pass_rate() from "pass_rate.sql",
    /// How often one model passed one task. `trials` are those that could be measured, copies left out.
    PassRate {
        suite: String,
        model: Option<String>,
        task: String,
        trials: i64,
        passed: i64,
        invalid: i64,
        pass_rate: Option<f64>,
        cost_usd: Option<f64>,
    }
}

report! {
    /// The outcomes of a suite's newest runs, `most` of them, task by task; copies left out.
    run_outcomes(suite: &str, most: u32) from "run_outcomes.sql",
    /// One task's trials in one variant of a run; `letters` has one for each, in the order of the attempts: p for pass, f for fail,
    /// i for invalid.
    RunOutcomes {
        run_id: String,
        variant: String,
        model: String,
        fingerprint: String,
        kind: String,
        started_at: Timestamp,
        git_commit: Option<String>,
        trials_per_task: i32,
        task: String,
        letters: String,
    }
}

report! {
    /// The newest runs, `most` of them, with what their trials come to.
    run_list(most: u32) from "run_list.sql",
    /// A run in a list.
    ListedRun {
        run_id: String,
        name: Option<String>,
        suite: String,
        kind: String,
        started_at: Timestamp,
        finished_at: Option<Timestamp>,
        trials_per_task: i32,
        tasks: i32,
        git_commit: Option<String>,
        models: Option<String>,
        passed: i64,
        failed: i64,
        invalid: i64,
        copies: i64,
        cost_usd: Option<f64>,
    }
}

report! {
    /// The newest verdicts, `most` of them.
    verdict_list(most: u32) from "verdict_list.sql",
    /// A verdict in a list; `record` is the whole of it.
    ListedVerdict {
        verdict_id: String,
        verdict: Option<String>,
        baseline_run: Option<String>,
        candidate_run: Option<String>,
        recorded_at: Timestamp,
        record: String,
    }
}

report! {
    /// Models by how often they were asked, in the newest calls.
    models_used() from "models_used.sql",
    /// A model and its calls.
    ModelUse { word: String, uses: i64, }
}

report! {
    /// Tools by how often they were called, in the newest calls.
    tools_used() from "tools_used.sql",
    /// A tool and its calls.
    ToolUse { word: String, uses: i64, }
}

report! {
    /// Tags, as `key=value`, by how many of the newest traces have them.
    tags_used() from "tags_used.sql",
    /// A tag and its traces.
    TagUse { word: String, uses: i64, }
}

report! {
    /// What loops came to in a span of time, over all and by model, agent, tag and day; trials of suites are left out.
    production_groups(since: Timestamp, until: Timestamp) from "production_groups.sql",
    /// Traces of one kind; `what` is all, model, agent, tag or day.
    ProductionGroup {
        what: String,
        word: Option<String>,
        traces: i64,
        ok: i64,
        failed: i64,
        killed: i64,
        braked: i64,
        cut_off: i64,
        unknown: i64,
        stuck: i64,
        calls: Option<i64>,
        failed_calls: Option<i64>,
        tokens: Option<i64>,
        cost_usd: Option<f64>,
        unpriced_calls: Option<i64>,
        p50_s: Option<f64>,
        p95_s: Option<f64>,
    }
}

report! {
    /// Why loops did not end well in a span of time.
    production_reasons(since: Timestamp, until: Timestamp) from "production_reasons.sql",
    /// A reason, with numbers and ids taken out of it.
    ProductionReason { outcome: Option<String>, why: String, traces: i64, newest_trace: String, }
}

report! {
    /// How tools did in a span of time, the slowest first.
    production_tools(since: Timestamp, until: Timestamp) from "production_tools.sql",
    /// A tool.
    ProductionTool { tool: String, asked: i64, answered: i64, failed: i64, p50_ms: Option<f64>, p95_ms: Option<f64>, }
}

report! {
    /// When and where loops ran in a span of time.
    production_spans(since: Timestamp, until: Timestamp) from "production_spans.sql",
    /// A trace's time and folder.
    ProductionSpan { trace_id: String, started_at: Timestamp, ended_at: Option<Timestamp>, cwd: Option<String>, }
}

report! {
    /// How long whole answers took, by model.
    latency() from "latency.sql",
    /// Percentiles of one model, in milliseconds.
    Latency {
        model: Option<String>,
        upstream: String,
        calls: i64,
        p50_ms: Option<f64>,
        p95_ms: Option<f64>,
        p99_ms: Option<f64>,
        first_content_p50_ms: Option<f64>,
        first_content_p95_ms: Option<f64>,
    }
}

report! {
    /// How often each tool was used and how often it failed.
    tool_errors() from "tool_errors.sql",
    /// One tool. `answered` counts the uses whose result was sent back to a model.
    ToolErrors {
        tool: String,
        asked: i64,
        answered: i64,
        failed: i64,
        error_rate: Option<f64>,
        p50_ms: Option<f64>,
        p95_ms: Option<f64>,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::database::Database;

    #[test]
    fn every_file_of_sql_is_prepared_by_duckdb_and_used() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::create(&dir.path().join("index.duckdb")).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
        let code: String = fs::read_dir(source.join("index"))
            .unwrap()
            .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
            .collect();
        for file in fs::read_dir(source.join("sql")).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(
                code.contains(&format!("\"{name}\"")) || code.contains(&format!("sql/{name}\"")),
                "{name} is used nowhere"
            );
            let sql = fs::read_to_string(&path).unwrap();
            assert!(sql.starts_with("-- "), "{name}: begin with a line that says what it is for");
            assert!(
                !sql.to_uppercase().contains("TIMESTAMPTZ") && !sql.contains("now()"),
                "{name}: TIMESTAMP is UTC here"
            );
            if !matches!(name, "schema.sql" | "views.sql") {
                let prepared = database.connection().prepare(&sql);
                assert!(prepared.is_ok(), "{name}: {}", prepared.err().unwrap());
            }
        }
    }
}
