//! What a query answers: rows with types, and their words in JSON and CSV.

use duckdb::core::{LogicalTypeHandle, LogicalTypeId as Id};
use duckdb::types::{TimeUnit, Value};
use duckdb::{Connection, Row};
use serde_json::value::RawValue;

use super::Error;

/// The answer to a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The columns' names, in order; they need not differ.
    pub columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

/// One value of an answer.
#[derive(Debug, Clone, PartialEq)]
struct Cell {
    value: Value,
    /// Whether a text is to be taken as the JSON it is.
    json: bool,
}

impl Answer {
    /// Runs `sql`, which is one statement.
    pub(super) fn to(connection: &Connection, sql: &str) -> Result<Answer, duckdb::Error> {
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query([])?;
        let ran = rows.as_ref().expect("a query that has just run has its statement");
        let columns = ran.column_names();
        let kinds: Vec<Taken> = (0..columns.len()).map(|column| taken(&ran.column_logical_type(column))).collect();
        if !kinds.contains(&Taken::AsText) {
            return Ok(Answer { columns, rows: collect(rows, &kinds)? });
        }
        // Types the driver can't hand over are put into words by DuckDB itself.
        let list = (1..).zip(&kinds).map(|(n, kind)| match kind {
            Taken::AsText => format!("#{n}::VARCHAR"),
            Taken::Json | Taken::Typed => format!("#{n}"),
        });
        let wrapped = format!("SELECT {} FROM ({sql}\n)", list.collect::<Vec<_>>().join(", "));
        let mut statement = connection.prepare(&wrapped)?;
        let rows = collect(statement.query([])?, &kinds)?;
        Ok(Answer { columns, rows })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows as words for a table; NULL is `None`. Text that isn't a string is as in [`Answer::json`].
    pub fn texts(&self) -> impl Iterator<Item = Vec<Option<String>>> + '_ {
        self.rows.iter().map(|row| row.iter().map(Cell::text).collect())
    }

    /// Whether every value of a column is a number or missing, so that a table sets it to the right.
    pub fn is_number(&self, column: usize) -> bool {
        self.rows.iter().all(|row| row.get(column).is_some_and(|cell| is_number(&cell.value)))
    }

    /// A bare JSON array with one object per row and line. Numbers keep all their digits (HUGEINT and DECIMAL too),
    /// JSON columns are embedded as they are, a time is text in UTC, a BLOB is base64 text, and what JSON
    /// has no word for (NaN, the infinities) is text. Of two columns with one name the second is called `name_2`.
    pub fn json(&self) -> String {
        let names = distinct(&self.columns);
        let mut out = String::from("[");
        for (i, row) in self.rows.iter().enumerate() {
            out.push_str(if i == 0 { "\n{" } else { ",\n{" });
            for (j, (name, cell)) in names.iter().zip(row).enumerate() {
                if j > 0 {
                    out.push(',');
                }
                push_text(&mut out, name);
                out.push(':');
                cell.json(&mut out);
            }
            out.push('}');
        }
        out.push_str(if self.rows.is_empty() { "]\n" } else { "\n]\n" });
        out
    }

    /// CSV with a header line; NULL is an empty field, an empty text is `""`.
    pub fn csv(&self) -> Vec<u8> {
        let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
        let wrote = writer.write_record(&self.columns).and_then(|()| {
            self.texts().try_for_each(|row| writer.write_record(row.iter().map(|cell| cell.as_deref().unwrap_or(""))))
        });
        wrote.expect("memory takes every record, and all have as many fields as the header");
        writer.into_inner().expect("memory takes everything")
    }
}

/// How a column's values come out of the driver.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Taken {
    Typed,
    Json,
    AsText,
}

fn taken(kind: &LogicalTypeHandle) -> Taken {
    if kind.get_alias().as_deref() == Some("JSON") {
        return Taken::Json;
    }
    if typed(kind) { Taken::Typed } else { Taken::AsText }
}

/// Whether the driver hands over values of this type without loss.
fn typed(kind: &LogicalTypeHandle) -> bool {
    let children = |to: usize| (0..to).all(|i| typed(&kind.child(i)));
    match kind.try_id() {
        Ok(
            Id::Boolean
            | Id::Tinyint
            | Id::Smallint
            | Id::Integer
            | Id::Bigint
            | Id::UTinyint
            | Id::USmallint
            | Id::UInteger
            | Id::UBigint
            | Id::Hugeint
            | Id::Float
            | Id::Double
            | Id::Decimal
            | Id::Timestamp
            | Id::TimestampS
            | Id::TimestampMs
            | Id::TimestampNs
            | Id::Date
            | Id::Time
            | Id::Varchar
            | Id::Blob,
        ) => true,
        Ok(Id::List | Id::Array) => children(1),
        Ok(Id::Struct) => children(kind.num_children()),
        _ => false,
    }
}

fn collect(mut rows: duckdb::Rows<'_>, kinds: &[Taken]) -> Result<Vec<Vec<Cell>>, duckdb::Error> {
    let cell = |row: &Row<'_>, i: usize| Ok(Cell { value: row.get::<_, Value>(i)?, json: kinds[i] == Taken::Json });
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push((0..kinds.len()).map(|i| cell(row, i)).collect::<Result<Vec<_>, duckdb::Error>>()?);
    }
    Ok(all)
}

impl Cell {
    fn text(&self) -> Option<String> {
        match &self.value {
            Value::Null => None,
            Value::Text(text) | Value::Enum(text) => Some(text.clone()),
            value => {
                let mut out = String::new();
                write_json(value, &mut out);
                let bare = out.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                Some(bare.map(str::to_owned).unwrap_or(out))
            }
        }
    }

    fn json(&self, out: &mut String) {
        match &self.value {
            Value::Text(text) if self.json && serde_json::from_str::<&RawValue>(text).is_ok() => {
                // A line break between tokens means nothing, and one row stays one line.
                out.extend(text.chars().map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c }));
            }
            value => write_json(value, out),
        }
    }
}

fn is_number(value: &Value) -> bool {
    use Value::{
        BigInt, Decimal, Double, Float, HugeInt, Int, Null, SmallInt, TinyInt, UBigInt, UHugeInt, UInt, USmallInt,
        UTinyInt,
    };
    matches!(
        value,
        Null | TinyInt(_)
            | SmallInt(_)
            | Int(_)
            | BigInt(_)
            | HugeInt(_)
            | UTinyInt(_)
            | USmallInt(_)
            | UInt(_)
            | UBigInt(_)
            | UHugeInt(_)
            | Float(_)
            | Double(_)
            | Decimal(_)
    )
}

fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Boolean(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::TinyInt(n) => push(out, n),
        Value::SmallInt(n) => push(out, n),
        Value::Int(n) => push(out, n),
        Value::BigInt(n) => push(out, n),
        Value::HugeInt(n) => push(out, n),
        Value::UTinyInt(n) => push(out, n),
        Value::USmallInt(n) => push(out, n),
        Value::UInt(n) => push(out, n),
        Value::UBigInt(n) => push(out, n),
        Value::UHugeInt(n) => push(out, n),
        Value::Decimal(n) => push(out, n),
        // Debug keeps a trailing .0, so that a reader sees a fraction's type, and the shortest digits that read back.
        Value::Float(n) if n.is_finite() => out.push_str(&format!("{n:?}")),
        Value::Double(n) if n.is_finite() => out.push_str(&format!("{n:?}")),
        Value::Float(n) => push_text(out, infinite(f64::from(*n))),
        Value::Double(n) => push_text(out, infinite(*n)),
        Value::Text(text) | Value::Enum(text) => push_text(out, text),
        Value::Blob(bytes) | Value::Geometry(bytes) => {
            push_text(out, &base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes));
        }
        Value::Timestamp(unit, n) => push_text(out, &timestamp(*unit, *n)),
        Value::Date32(days) => push_text(out, &date(i64::from(*days))),
        Value::Time64(unit, n) => push_text(out, &time_of_day(nanos(*unit, *n))),
        Value::List(items) | Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_json(item, out);
            }
            out.push(']');
        }
        Value::Struct(fields) => {
            out.push('{');
            for (i, (name, item)) in fields.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                push_text(out, name);
                out.push(':');
                write_json(item, out);
            }
            out.push('}');
        }
        // Never asked of the driver: see `typed`.
        other => push_text(out, &format!("{other:?}")),
    }
}

fn push(out: &mut String, value: &dyn std::fmt::Display) {
    use std::fmt::Write;
    let _ = write!(out, "{value}");
}

fn push_text(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).expect("a text is always JSON"));
}

fn infinite(n: f64) -> &'static str {
    match (n.is_nan(), n > 0.0) {
        (true, _) => "NaN",
        (false, true) => "Infinity",
        (false, false) => "-Infinity",
    }
}

fn nanos(unit: TimeUnit, n: i64) -> i128 {
    let factor = match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    i128::from(n) * factor
}

fn timestamp(unit: TimeUnit, n: i64) -> String {
    match n {
        i64::MAX => return "infinity".to_owned(),
        n if n == -i64::MAX => return "-infinity".to_owned(),
        _ => {}
    }
    let nanos = nanos(unit, n);
    let day = 86_400_000_000_000;
    let days = i64::try_from(nanos.div_euclid(day)).unwrap_or(i64::MAX);
    format!("{} {}", date(days), time_of_day(nanos.rem_euclid(day)))
}

fn time_of_day(nanos: i128) -> String {
    let (seconds, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match fraction {
        0 => clock,
        _ => format!("{clock}.{}", format!("{fraction:09}").trim_end_matches('0')),
    }
}

/// Days since 1970 in the proleptic Gregorian calendar, after Howard Hinnant's `civil_from_days`: DuckDB's dates
/// reach further than any date type at hand.
pub(super) fn date(days: i64) -> String {
    match days {
        2_147_483_647 => return "infinity".to_owned(),
        -2_147_483_647 => return "-infinity".to_owned(),
        _ => {}
    }
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    match year {
        1.. => format!("{year:04}-{month:02}-{day:02}"),
        _ => format!("{:04}-{month:02}-{day:02} (BC)", 1 - year),
    }
}

/// Names made to differ, so that no value of a row object is lost.
fn distinct(names: &[String]) -> Vec<String> {
    let mut taken = std::collections::HashSet::new();
    let fresh = |name: &String| {
        let mut candidate = name.clone();
        let mut n = 1;
        while !taken.insert(candidate.clone()) {
            n += 1;
            candidate = format!("{name}_{n}");
        }
        candidate
    };
    names.iter().map(fresh).collect()
}

/// DuckDB's own words, which name line and column, with what a person can do about it.
pub(super) fn sql_error(error: &duckdb::Error) -> Error {
    let text = error.to_string();
    let refused = |what: &str| text.contains(what);
    let hint = if refused("read-only mode") {
        "\n\n`holdback sql` only reads: the index mirrors the recorded log."
    } else if refused("disabled by configuration") || refused("configuration has been locked") {
        "\n\n`holdback sql` reads the index only: no files, networks, extensions or settings."
    } else if super::is_damage(&text) {
        "\n\nThe index file is damaged; the log is not: `holdback index --rebuild` makes it anew."
    } else if refused("Catalog Error: Table with name") {
        "\n\nThe tables and views: `holdback sql \"show tables\"`, and docs/schema.md."
    } else {
        ""
    };
    Error::Sql(format!("{}{hint}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(sql: &str) -> Answer {
        Answer::to(&Connection::open_in_memory().unwrap(), sql).unwrap()
    }

    #[test]
    fn every_kind_of_value_is_told_faithfully() {
        for (sql, json, text) in [
            ("NULL", "null", ""),
            ("true", "true", "true"),
            ("(-128)::TINYINT", "-128", "-128"),
            ("9223372036854775807::BIGINT", "9223372036854775807", "9223372036854775807"),
            ("18446744073709551615::UBIGINT", "18446744073709551615", "18446744073709551615"),
            (
                "(-170141183460469231731687303715884105728)::HUGEINT",
                "-170141183460469231731687303715884105728",
                "-170141183460469231731687303715884105728",
            ),
            ("1.10::DECIMAL(10,2)", "1.10", "1.10"),
            (
                "12345678901234567890.123456789012345678::DECIMAL(38,18)",
                "12345678901234567890.123456789012345678",
                "12345678901234567890.123456789012345678",
            ),
            ("0.1::DOUBLE", "0.1", "0.1"),
            ("1e300::DOUBLE", "1e300", "1e300"),
            ("2::DOUBLE", "2.0", "2.0"),
            ("'nan'::DOUBLE", "\"NaN\"", "NaN"),
            ("'-inf'::FLOAT", "\"-Infinity\"", "-Infinity"),
            ("'a\"b\nü'", "\"a\\\"b\\nü\"", "a\"b\nü"),
            ("'\\xFF\\x00'::BLOB", "\"/wA=\"", "/wA="),
            ("TIMESTAMP '2026-11-21 11:27:03.123456'", "\"2026-11-21 11:27:03.123456\"", "2026-11-21 11:27:03.123456"),
            ("TIMESTAMP '1969-12-31 23:59:59.5'", "\"1969-12-31 23:59:59.5\"", "1969-12-31 23:59:59.5"),
            ("TIMESTAMP_S '2026-01-01 00:00:00'", "\"2026-01-01 00:00:00\"", "2026-01-01 00:00:00"),
            ("'infinity'::TIMESTAMP", "\"infinity\"", "infinity"),
            ("DATE '2024-02-29'", "\"2024-02-29\"", "2024-02-29"),
            ("DATE '0044-03-15 (BC)'", "\"0044-03-15 (BC)\"", "0044-03-15 (BC)"),
            ("TIME '01:02:03.5'", "\"01:02:03.5\"", "01:02:03.5"),
            ("INTERVAL '1 month 2 days'", "\"1 month 2 days\"", "1 month 2 days"),
            ("[1, NULL, 3]", "[1,null,3]", "[1,null,3]"),
            ("{'a': 1, 'b': ['x']}", "{\"a\":1,\"b\":[\"x\"]}", "{\"a\":1,\"b\":[\"x\"]}"),
            ("MAP {'k': 1}", "\"{k=1}\"", "{k=1}"),
            ("'b'::ENUM('a', 'b')", "\"b\"", "b"),
            ("'{\"z\":1,\"a\":1.50}'::JSON", "{\"z\":1,\"a\":1.50}", "{\"z\":1,\"a\":1.50}"),
            ("[NULL::JSON]", "[null]", "[null]"),
            (
                "340282366920938463463374607431768211455::UHUGEINT",
                "\"340282366920938463463374607431768211455\"",
                "340282366920938463463374607431768211455",
            ),
            ("'101'::BIT", "\"101\"", "101"),
        ] {
            let answer = answer(&format!("SELECT {sql} AS v"));
            assert_eq!(answer.json(), format!("[\n{{\"v\":{json}}}\n]\n"), "{sql}");
            assert_eq!(answer.texts().next().unwrap()[0].as_deref().unwrap_or(""), text, "{sql}");
        }
    }

    #[test]
    fn every_type_duckdb_has_comes_through() {
        let answer = answer("SELECT * FROM test_all_types()");
        assert_eq!(answer.len(), 3);
        let rows: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&answer.json()).unwrap();
        assert!(rows.iter().all(|row| row.len() == answer.columns.len()));
        assert!(rows[2].values().all(serde_json::Value::is_null), "the last row is all NULL");
        assert_eq!(String::from_utf8(answer.csv()).unwrap().lines().next().unwrap(), answer.columns.join(","));
    }

    #[test]
    fn columns_of_one_name_are_all_there() {
        let answer = answer("SELECT 1 AS a, 2 AS a, 3 AS a_2, INTERVAL 1 DAY AS a");
        assert_eq!(answer.json(), "[\n{\"a\":1,\"a_2\":2,\"a_2_2\":3,\"a_3\":\"1 day\"}\n]\n");
    }

    #[test]
    fn no_rows_are_an_empty_array_and_a_header() {
        let answer = answer("SELECT 1 AS a, 'x' AS b WHERE false");
        assert!(answer.is_empty());
        assert_eq!((answer.json().as_str(), answer.csv().as_slice()), ("[]\n", &b"a,b\n"[..]));
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let answer = answer("SELECT 'a,b' AS x, 'say \"hi\"' AS y, NULL AS z, [1] AS l");
        assert_eq!(String::from_utf8(answer.csv()).unwrap(), "x,y,z,l\n\"a,b\",\"say \"\"hi\"\"\",,[1]\n");
        assert!(!answer.is_number(0) && answer.is_number(2));
    }

    #[test]
    fn reading_statements_other_than_select_answer_too() {
        for sql in [
            "SHOW TABLES",
            "DESCRIBE SELECT 1",
            "EXPLAIN SELECT 1",
            "VALUES (1)",
            "SUMMARIZE SELECT 1 AS a",
            "FROM range(2)",
        ] {
            let _ = answer(sql);
        }
        assert_eq!(answer("PIVOT (SELECT 1 AS a, 'x' AS b) ON b USING sum(a)").columns, ["x"]);
    }
}
