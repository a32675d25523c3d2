//! The rows of the tables, each in the order of its table's columns (a test holds them to sql/schema.sql).

use std::borrow::Cow;
use std::fmt;

use duckdb::types::{FromSql, FromSqlError, FromSqlResult, TimeUnit, ToSql, ToSqlOutput, ValueRef};
use duckdb::{Appender, Row};

use crate::trace::Timestamp;

/// An id as the hex digits it is read by, without an allocation for each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Hex<const N: usize>([u8; N]);

pub(super) type Hex16 = Hex<16>;
pub(super) type Hex32 = Hex<32>;

impl<const N: usize> Hex<N> {
    fn of(bytes: &[u8]) -> Self {
        let digits = b"0123456789abcdef";
        let mut hex = [b'0'; N];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(bytes) {
            pair[0] = digits[usize::from(byte >> 4)];
            pair[1] = digits[usize::from(byte & 15)];
        }
        Hex(hex)
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits are ASCII")
    }
}

impl From<u64> for Hex16 {
    fn from(id: u64) -> Self {
        Hex::of(&id.to_be_bytes())
    }
}

impl Hex32 {
    /// The bytes the digits stand for.
    pub(super) fn bytes(&self) -> [u8; 16] {
        u128::from_str_radix(self.as_str(), 16).expect("hex digits are a number").to_be_bytes()
    }
}

impl From<[u8; 16]> for Hex32 {
    fn from(id: [u8; 16]) -> Self {
        Hex::of(&id)
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const N: usize> ToSql for Hex<N> {
    fn to_sql(&self) -> duckdb::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(&self.0)))
    }
}

impl<const N: usize> FromSql for Hex<N> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        let digits: [u8; N] = text.as_bytes().try_into().map_err(|_| FromSqlError::InvalidType)?;
        digits.iter().all(u8::is_ascii_hexdigit).then_some(Hex(digits)).ok_or(FromSqlError::InvalidType)
    }
}

/// A word of a fixed vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word(pub Cow<'static, str>);

impl From<&'static str> for Word {
    fn from(word: &'static str) -> Self {
        Word(Cow::Borrowed(word))
    }
}

impl ToSql for Word {
    fn to_sql(&self) -> duckdb::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0.as_bytes())))
    }
}

impl FromSql for Word {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        String::column_result(value).map(|word| Word(Cow::Owned(word)))
    }
}

/// A TIMESTAMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(pub i64);

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        // The outermost values mean the infinities to DuckDB.
        Time(at.0.clamp(-i64::MAX + 1, i64::MAX - 1))
    }
}

impl ToSql for Time {
    fn to_sql(&self) -> duckdb::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Timestamp(TimeUnit::Microsecond, self.0)))
    }
}

impl FromSql for Time {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Timestamp(TimeUnit::Microsecond, micros) => Ok(Time(micros)),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// What can be appended to its table.
pub(super) trait TableRow: Sized {
    const TABLE: &'static str;
    #[cfg_attr(not(test), expect(dead_code, reason = "for the test that holds rows to the schema"))]
    const COLUMNS: &'static [&'static str];
    fn append(&self, appender: &mut Appender<'_>) -> duckdb::Result<()>;
    fn read(row: &Row<'_>) -> duckdb::Result<Self>;
}

macro_rules! table_row {
    ($name:ident, $table:literal, { $($field:ident: $kind:ty,)* }) => {
        #[derive(Debug, Clone, PartialEq)]
        pub(super) struct $name {
            $(pub $field: $kind,)*
        }

        impl TableRow for $name {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [&'static str] = &[$(stringify!($field)),*];

            fn append(&self, appender: &mut Appender<'_>) -> duckdb::Result<()> {
                appender.append_row(&[$(&self.$field as &dyn ToSql),*][..])
            }

            fn read(row: &Row<'_>) -> duckdb::Result<Self> {
                let mut next = 0..;
                let mut column = || next.next().unwrap_or(usize::MAX);
                Ok($name { $($field: row.get(column())?,)* })
            }
        }
    };
}

table_row!(TraceRow, "traces", {
    trace_id: Hex32,
    name: Option<String>,
    agent: Option<String>,
    source: Word,
    content: Word,
    state: Word,
    outcome: Option<Word>,
    reason: Option<String>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    started_at: Time,
    ended_at: Option<Time>,
    lost_calls: i64,
    command: Option<String>,
    cwd: Option<String>,
    git_commit: Option<String>,
    git_dirty: Option<bool>,
    parent_trace_id: Option<Hex32>,
    parent_call_id: Option<Hex16>,
    tags: String,
});

table_row!(CallRow, "calls", {
    call_id: Hex16,
    trace_id: Hex32,
    state: Word,
    started_at: Time,
    duration_ms: Option<f64>,
    first_byte_ms: Option<f64>,
    first_content_ms: Option<f64>,
    wire: Word,
    upstream: String,
    method: String,
    target: String,
    model: Option<String>,
    status: Option<i16>,
    stop: Option<String>,
    error: Option<String>,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    cache_read_tokens: Option<i64>,
    cache_write_tokens: Option<i64>,
    reasoning_tokens: Option<i64>,
    cost_usd: Option<f64>,
    agent: Option<String>,
    parent_agent: Option<String>,
    retry_of: Option<Hex16>,
    parent_call_id: Option<Hex16>,
    relation: Word,
    context_id: Hex32,
    setup_id: Hex32,
    kept_messages: i32,
    messages: i32,
    answer_id: Option<Hex32>,
    tools_called: i32,
    response_id: Option<String>,
    request_bytes: i64,
    response_bytes: Option<i64>,
    redactions: i32,
});

table_row!(MessageRow, "messages", {
    message_id: Hex32,
    role: Word,
    text: Option<String>,
    thinking: Option<String>,
    parts: Option<String>,
});

table_row!(ContextRow, "contexts", {
    trace_id: Hex32,
    call_id: Hex16,
    depth: i32,
    message_id: Hex32,
    said_at: Time,
});

table_row!(SetupRow, "setups", {
    setup_id: Hex32,
    position: i32,
    part: String,
    block_id: Hex32,
});

table_row!(ToolRow, "tools", {
    tool_id: Hex32,
    tool: String,
    description: Option<String>,
    parameters: Option<String>,
});

table_row!(ToolCallRow, "tool_calls", {
    trace_id: Hex32,
    call_id: Hex16,
    position: i32,
    tool_call_id: Option<String>,
    tool: String,
    arguments: Option<String>,
    asked_at: Time,
});

table_row!(ToolResultRow, "tool_results", {
    message_id: Hex32,
    position: i32,
    tool_call_id: Option<String>,
    tool: Option<String>,
    is_error: bool,
    text_bytes: i64,
});

table_row!(EventRow, "events", {
    trace_id: Hex32,
    call_id: Option<Hex16>,
    happened_at: Time,
    kind: String,
    data: Option<String>,
});

table_row!(ScoreRow, "scores", {
    trace_id: Hex32,
    call_id: Option<Hex16>,
    scored_at: Time,
    name: String,
    scored_by: String,
    value: Option<f64>,
    label: Option<String>,
    comment: Option<String>,
});

table_row!(RunRow, "runs", {
    run_id: String,
    name: Option<String>,
    suite: String,
    kind: String,
    started_at: Time,
    finished_at: Option<Time>,
    trials_per_task: i32,
    tasks: i32,
    git_commit: Option<String>,
    holdback_version: String,
    suite_fingerprint: String,
    graders_fingerprint: String,
    judge_fingerprint: String,
    prices_fingerprint: String,
    target_fingerprint: String,
    recorded_at: Time,
    record: String,
});

table_row!(VariantRow, "variants", {
    run_id: String,
    variant: String,
    model: String,
    prompt: Option<String>,
    params: String,
    fingerprint: String,
});

table_row!(TrialRow, "trials", {
    trial_id: String,
    run_id: String,
    task: String,
    variant: String,
    attempt: i32,
    seed: Option<u64>,
    trace_id: Option<Hex32>,
    started_at: Time,
    duration_ms: f64,
    outcome: Word,
    ending: Word,
    score: Option<f64>,
    why: Option<String>,
    calls: i32,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    cache_read_tokens: Option<i64>,
    cache_write_tokens: Option<i64>,
    reasoning_tokens: Option<i64>,
    cost_usd: Option<f64>,
    infra_retries: i32,
    copy_of: Option<String>,
    stuck: bool,
    answer_hash: Option<String>,
    recorded_at: Time,
    record: String,
});

table_row!(GradeRow, "grades", {
    run_id: String,
    trial_id: String,
    label: String,
    kind: String,
    grade: Word,
    score: Option<f64>,
    pass: Option<bool>,
    required: bool,
    weight: f64,
    reason: Option<String>,
    fingerprint: String,
});

table_row!(VerdictRow, "verdicts", {
    verdict_id: String,
    verdict: Option<String>,
    baseline_run: Option<String>,
    candidate_run: Option<String>,
    recorded_at: Time,
    record: String,
});

table_row!(CaseRow, "cases", {
    record_id: String,
    suite: String,
    case_id: String,
    level: String,
    kind: Option<String>,
    reason: Option<String>,
    group_id: Option<String>,
    trace_id: Option<String>,
    call_number: Option<i32>,
    model: Option<String>,
    git_commit: Option<String>,
    opened_at: Time,
    failed: Option<i32>,
    asked: Option<i32>,
    recorded_at: Time,
    record: String,
});

table_row!(PartRow, "trace_parts", {
    trace_id: Hex32,
    segment: String,
    recorded_at: Time,
    kind: Word,
    part: Option<String>,
});

/// Counts fit SQL's signed integers, or stop at their end.
pub(super) fn int(n: impl TryInto<i32>) -> i32 {
    n.try_into().unwrap_or(i32::MAX)
}

/// As [`int`], for big ones.
pub(super) fn big(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::database::Database;
    use super::*;

    fn held<R: TableRow>(database: &Database) {
        let mut statement = database
            .connection()
            .prepare("SELECT column_name FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index")
            .unwrap();
        let columns: Vec<String> =
            statement.query_map([R::TABLE], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(columns, R::COLUMNS, "{}", R::TABLE);
    }

    #[test]
    fn every_row_has_the_columns_of_its_table_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::create(&dir.path().join("index.duckdb")).unwrap();
        held::<TraceRow>(&database);
        held::<CallRow>(&database);
        held::<MessageRow>(&database);
        held::<ContextRow>(&database);
        held::<SetupRow>(&database);
        held::<ToolRow>(&database);
        held::<ToolCallRow>(&database);
        held::<ToolResultRow>(&database);
        held::<EventRow>(&database);
        held::<ScoreRow>(&database);
        held::<RunRow>(&database);
        held::<VariantRow>(&database);
        held::<TrialRow>(&database);
        held::<GradeRow>(&database);
        held::<VerdictRow>(&database);
        held::<CaseRow>(&database);
        held::<PartRow>(&database);
    }
}
