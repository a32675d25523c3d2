//! Traces that fit what a person asks for. The statement is put together from fixed pieces; what was asked is always a value.

use duckdb::types::Value;

use super::{Error, Index};
use crate::trace::Timestamp;

/// What is asked for; what is left out fits everything.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Search {
    /// In the name, the agent, the reason, the beginning of the id, or anything that was said.
    pub text: String,
    pub tool: String,
    pub model: String,
    pub tag: Option<(String, String)>,
    /// `ok`, `failed`, `killed`, `braked`, `live`, `cut_off`; `wrong` for whatever did not go well.
    pub outcome: String,
    /// At least so many dollars.
    pub min_cost: Option<f64>,
    /// Begun at or after, and before.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Without a score of this name by this scorer.
    pub unscored: Option<(String, String)>,
    /// Only what comes after the trace that began then and has this id: the next page.
    pub after: Option<(Timestamp, String)>,
    /// So many are passed over, and so many shown.
    pub skip: u32,
    pub most: u32,
}

/// A trace that fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub trace_id: String,
    pub name: Option<String>,
    pub agent: Option<String>,
    pub state: String,
    pub outcome: Option<String>,
    pub reason: Option<String>,
    pub started_at: Timestamp,
    /// When its last call ended, as far as that is known.
    pub ended_at: Option<Timestamp>,
    pub tags: String,
    pub calls: i64,
    pub failed_calls: i64,
    pub models: Option<String>,
    pub tokens: Option<i64>,
    pub cost_usd: Option<f64>,
    pub unpriced_calls: i64,
}

const SUMMARIES: &str = "
SELECT t.trace_id, t.name, t.agent, t.state, t.outcome, t.reason, t.started_at, coalesce(t.ended_at, c.last_at) AS ended_at,
       t.tags::VARCHAR AS tags, coalesce(c.calls, 0) AS calls, coalesce(c.failed_calls, 0) AS failed_calls, c.models, c.tokens,
       c.cost_usd, coalesce(c.unpriced_calls, 0) AS unpriced_calls
FROM fitting AS f JOIN traces AS t ON t.trace_id = f.trace_id
LEFT JOIN (
    SELECT trace_id, count(*) AS calls, max(started_at) AS last_at,
           count(*) FILTER (state <> 'open' AND (state <> 'complete' OR status >= 400 OR error IS NOT NULL)) AS failed_calls,
           string_agg(DISTINCT model, ', ' ORDER BY model) AS models,
           sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0) + coalesce(cache_read_tokens, 0)
               + coalesce(cache_write_tokens, 0))::BIGINT AS tokens,
           sum(cost_usd) AS cost_usd, count(*) FILTER (cost_usd IS NULL AND output_tokens > 0) AS unpriced_calls
    FROM calls WHERE trace_id IN (SELECT trace_id FROM fitting) GROUP BY trace_id
) AS c ON c.trace_id = t.trace_id
ORDER BY t.started_at DESC, t.trace_id";

/// Where a text was said: messages are read through once, and only those that hold it are looked up.
const SAID: &str = "
hits AS MATERIALIZED (SELECT message_id FROM messages WHERE contains(lower(text), ?)),
said AS MATERIALIZED (
    SELECT trace_id FROM contexts WHERE message_id IN (SELECT message_id FROM hits)
    UNION SELECT trace_id FROM calls WHERE answer_id IN (SELECT message_id FROM hits)
), ";

/// The condition for a text.
const TEXT: &str = "(contains(lower(concat_ws(' ', name, agent, reason)), ?) OR starts_with(trace_id, ?) \
     OR trace_id IN (SELECT trace_id FROM said))";

/// The same among what was said from an instant on, and no other text is looked at. The instant stands in the statement itself:
/// only so does DuckDB pass over what is older.
fn said_since(Timestamp(micros): Timestamp) -> String {
    format!(
        "
said AS MATERIALIZED (
    SELECT s.trace_id FROM (
        SELECT trace_id, message_id FROM contexts WHERE said_at >= make_timestamp({micros})
        UNION ALL SELECT trace_id, answer_id FROM calls WHERE started_at >= make_timestamp({micros})
    ) AS s JOIN messages AS m ON m.message_id = s.message_id
    GROUP BY s.trace_id HAVING bool_or(contains(lower(m.text), ?))
), "
    )
}

/// Of so many traces the words are looked at first: what is said often is found there.
const LATELY: u32 = 2_000;

const WRONG: &str = "(coalesce(outcome, 'ok') <> 'ok' OR state = 'cut_off' OR trace_id IN (SELECT trace_id FROM calls \
     WHERE state <> 'open' AND (state <> 'complete' OR status >= 400 OR error IS NOT NULL)))";

impl Search {
    /// The statement, and the values in it. `lately` are the traces from an instant on alone.
    fn statement(&self, lately: Option<Timestamp>) -> (String, Vec<Value>) {
        let mut conditions: Vec<&str> = vec!["true"];
        let mut values: Vec<Value> = Vec::new();
        let text = |text: &str| Value::Text(text.to_owned());
        if !self.text.is_empty() {
            let lower = self.text.to_lowercase();
            conditions.push(TEXT);
            values.extend([&lower, &lower, &lower].map(|word| text(word)));
        }
        if !self.tool.is_empty() {
            conditions.push("trace_id IN (SELECT trace_id FROM tool_calls WHERE tool = ?)");
            values.push(text(&self.tool));
        }
        if !self.model.is_empty() {
            conditions.push("trace_id IN (SELECT trace_id FROM calls WHERE model = ?)");
            values.push(text(&self.model));
        }
        if let Some((key, value)) = &self.tag {
            // A path into JSON has no way to write a quotation mark.
            conditions.push("json_extract_string(tags, ?) = ?");
            values.extend([text(&format!("$.\"{}\"", key.replace('"', ""))), text(value)]);
        }
        match self.outcome.as_str() {
            "" => {}
            "wrong" => conditions.push(WRONG),
            "live" | "cut_off" => {
                conditions.push("state = ?");
                values.push(text(&self.outcome));
            }
            outcome => {
                conditions.push("outcome = ?");
                values.push(text(outcome));
            }
        }
        if let Some(least) = self.min_cost {
            conditions.push("trace_id IN (SELECT trace_id FROM calls GROUP BY trace_id HAVING sum(cost_usd) >= ?)");
            values.push(Value::Double(least));
        }
        for (at, condition) in [(self.since.max(lately), "started_at >= ?"), (self.until, "started_at < ?")] {
            if let Some(Timestamp(micros)) = at {
                conditions.push(condition);
                values.push(Value::Timestamp(duckdb::types::TimeUnit::Microsecond, micros));
            }
        }
        if let Some((name, by)) = &self.unscored {
            conditions.push("trace_id NOT IN (SELECT trace_id FROM scores WHERE name = ? AND scored_by = ?)");
            values.extend([text(name), text(by)]);
        }
        if let Some((Timestamp(micros), id)) = &self.after {
            // In the order of the list. The first condition alone lets DuckDB pass over whole row groups.
            conditions.push("started_at <= ? AND (started_at < ? OR trace_id > ?)");
            let at = Value::Timestamp(duckdb::types::TimeUnit::Microsecond, *micros);
            values.extend([at.clone(), at, text(id)]);
        }
        values.extend([Value::BigInt(i64::from(self.most)), Value::BigInt(i64::from(self.skip))]);
        let conditions = conditions.join(" AND ");
        let fitting = format!(
            "SELECT trace_id FROM traces WHERE {conditions} ORDER BY started_at DESC, trace_id LIMIT ? OFFSET ?"
        );
        let said = match lately {
            _ if self.text.is_empty() => String::new(),
            Some(lately) => said_since(lately),
            None => SAID.to_owned(),
        };
        (format!("WITH {said}fitting AS MATERIALIZED ({fitting}){SUMMARIES}"), values)
    }
}

impl Index {
    /// The traces that fit, the newest first.
    ///
    /// # Errors
    /// When DuckDB cannot answer.
    pub fn search(&self, search: &Search) -> Result<Vec<Found>, Error> {
        if let Some(lately) = self.lately(search)? {
            let found = self.found(search.statement(Some(lately)))?;
            if found.len() == search.most as usize {
                return Ok(found);
            }
        }
        self.found(search.statement(None))
    }

    /// From when on there are not too many traces to look for a text in them first; `None` when these are all, or no text is
    /// asked for.
    fn lately(&self, search: &Search) -> Result<Option<Timestamp>, Error> {
        if search.text.is_empty() {
            return Ok(None);
        }
        let before =
            [search.until, search.after.as_ref().map(|(at, _)| Timestamp(at.0 + 1))].into_iter().flatten().min();
        let before = before.map_or(i64::MAX / 2, |at| at.0);
        let sql =
            "SELECT started_at FROM traces WHERE epoch_us(started_at) < ? ORDER BY started_at DESC LIMIT 1 OFFSET ?";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query(duckdb::params![before, LATELY])?;
        Ok(rows.next()?.map(|row| row.get("started_at")).transpose()?)
    }

    fn found(&self, (sql, values): (String, Vec<Value>)) -> Result<Vec<Found>, Error> {
        let mut statement = self.connection.prepare(&sql)?;
        let rows = statement.query_map(duckdb::params_from_iter(values), |row| {
            Ok(Found {
                trace_id: row.get("trace_id")?,
                name: row.get("name")?,
                agent: row.get("agent")?,
                state: row.get("state")?,
                outcome: row.get("outcome")?,
                reason: row.get("reason")?,
                started_at: row.get("started_at")?,
                ended_at: row.get("ended_at")?,
                tags: row.get("tags")?,
                calls: row.get("calls")?,
                failed_calls: row.get("failed_calls")?,
                models: row.get("models")?,
                tokens: row.get("tokens")?,
                cost_usd: row.get("cost_usd")?,
                unpriced_calls: row.get("unpriced_calls")?,
            })
        })?;
        Ok(rows.collect::<duckdb::Result<_>>()?)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::store::index::{Caller, Folded};
    use crate::store::log::{Durability, Store};
    use crate::trace::{CallId, CallStarted, Sink, TraceEvent, TraceId, TraceStarted, What, Wire};

    /// So many traces, each with a word that all say; every 700th says another one too.
    fn store(folder: &std::path::Path, traces: u64) -> Store {
        let store = Store::open(folder, Durability::Os).unwrap();
        let mut writer = store.writer().unwrap();
        for n in 0..traces {
            let (trace, at) = (TraceId(u128::from(n) + 1), Timestamp(1_760_000_000_000_000 + n as i64 / 2 * 1_000_000));
            let seldom = if n % 700 == 5 { "and seldom" } else { "" };
            let body =
                format!("{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"OFTEN {seldom} {n}\"}}]}}");
            let call = CallStarted {
                wire: Wire::OpenaiChat,
                target: "/v1/chat/completions".to_owned(),
                body: body.into(),
                ..CallStarted::default()
            };
            for what in [What::TraceStarted(TraceStarted::default()), What::CallStarted(CallId(n + 1), call)] {
                writer.accept(&TraceEvent { trace, at, what }).unwrap();
            }
        }
        store
    }

    #[test]
    fn what_is_said_often_and_what_is_said_seldom_is_found_page_by_page() {
        let folder = tempfile::tempdir().unwrap();
        let all = u64::from(LATELY) + 150;
        let store = store(folder.path(), all);
        let (waiting, folding) = (&mut |_: &_| ControlFlow::Continue(()), &mut |_: &Folded| {});
        let index = Index::open(&store, &mut Caller { purpose: "test", waiting, folding }).unwrap();
        let pages = |text: &str| {
            let mut search = Search { text: text.to_owned(), most: 600, ..Search::default() };
            let mut found: Vec<Found> = Vec::new();
            loop {
                let page = index.search(&search).unwrap();
                let Some(last) = page.last() else { return found };
                search.after = Some((last.started_at, last.trace_id.clone()));
                found.extend(page);
            }
        };
        let often = pages("often");
        assert_eq!(often.len() as u64, all);
        let in_order = |pair: &[Found]| {
            (std::cmp::Reverse(pair[0].started_at), &pair[0].trace_id)
                < (std::cmp::Reverse(pair[1].started_at), &pair[1].trace_id)
        };
        assert!(often.windows(2).all(in_order), "the newest first, none twice");
        assert_eq!(pages("SELDOM").len(), 4);
        assert_eq!(pages("never").len(), 0);
    }
}
