//! opencode sessions: its database, and what `opencode export` writes of it. Messages with their parts; the usage counts beside
//! the cache, the cost is opencode's own.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::shape::text;
use super::sqlite::{self, Database, Place, Row, Table};
use super::thread::Thread;
use super::{About, Desk, Format, Source, Told, Trouble, chat, document, time, usage};
use crate::trace::{
    Message, Part, ProviderError, Response, Role, Source as From, Stop, Timestamp, ToolCall, ToolResult, TraceId, Usage,
};

pub const FORMAT: Format = Format {
    name: "opencode",
    about: "opencode's database (opencode.db) and exported sessions",
    fits: |shape| {
        shape.all(&["info", "messages", "messages[].info"])
            || shape.all(&["info.id", "messages[].parts"])
            || shape.head.starts_with(sqlite::MAGIC)
    },
    read,
};

const WHY: &str = "a session keeps what was said, not the standing orders, tools and parameters of its requests";
/// What a model is given in place of what was said before a compaction.
const COMPACTED: &str = "What did we do so far?";

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let (path, modified) = (source.path, source.modified);
    if let Some(file) = &mut source.file {
        let beside = source.beside.as_mut().map(|log| &mut **log as &mut dyn super::ReadSeek);
        return database(&mut Database::open(&mut **file, beside)?, modified, desk);
    }
    let whole = document(source.from)?;
    let mut session = Session::begin(desk, &whole["info"], path, modified)?;
    let messages = whole["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, message) in messages.iter().enumerate() {
        let parts = message["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
        session.message(desk, &message["info"], parts, index + 1 == messages.len())?;
    }
    session.end(desk)
}

/// Messages of a session and parts of a message: when, id, and where they are.
type Places = HashMap<String, Vec<(i64, String, Place)>>;

/// The database holds all sessions there ever were: only where each row is stays in memory, not what it says.
fn database(file: &mut Database<'_>, modified: Timestamp, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let mut tables = file.tables()?;
    let mut table = |name: &str| {
        tables.remove(name).ok_or_else(|| {
            Trouble::Bad(format!("it is an SQLite database, but none of opencode's: it has no table {name:?}"))
        })
    };
    let (sessions, messages, parts) = (table("session")?, table("message")?, table("part")?);
    let mut begun: Vec<Row> = Vec::new();
    file.scan(&sessions, |_, row| {
        match row {
            Ok(row) => begun.push(row),
            Err(trouble) => broken(desk, &trouble),
        }
        Ok(())
    })?;
    begun.sort_by_cached_key(|row| (row.get("time_created").and_then(Value::as_i64), of(row, "id").to_owned()));
    let mut said = places(file, &messages, "session_id", desk)?;
    let mut held = places(file, &parts, "message_id", desk)?;
    // What was said in sessions that are gone is worth as much.
    let known: Vec<String> = begun.iter().map(|row| of(row, "id").to_owned()).collect();
    let mut lost: Vec<&String> = said.keys().filter(|id| !known.contains(id)).collect();
    lost.sort();
    begun.extend(lost.into_iter().map(|id| Row::from_iter([("id".to_owned(), id.as_str().into())])));
    for row in &begun {
        let Some(places) = said.remove(of(row, "id")) else {
            desk.skipped("sessions in which nothing was said");
            continue;
        };
        let mut session = Session::begin(desk, &about(row), of(row, "id"), modified)?;
        let count = places.len();
        for (index, (_, id, place)) in places.into_iter().enumerate() {
            let Some(info) = data(file, &messages, place, &id, desk) else { continue };
            let mut inner = Vec::new();
            for (_, id, place) in held.remove(&id).unwrap_or_default() {
                inner.extend(data(file, &parts, place, &id, desk));
            }
            session.message(desk, &info, &inner, index + 1 == count)?;
        }
        session.end(desk)?;
    }
    if file.has_changed() {
        desk.remark("opencode wrote to it meanwhile: import it again for what is new");
    }
    Ok(())
}

fn of<'a>(row: &'a Row, column: &str) -> &'a str {
    row.get(column).and_then(Value::as_str).unwrap_or_default()
}

fn broken(desk: &mut Desk<'_>, trouble: &Trouble) {
    desk.remark(trouble.to_string());
    desk.damaged();
}

/// Where the rows of a table are, by what they belong to, in the order they were written in.
fn places(file: &mut Database<'_>, table: &Table, by: &str, desk: &mut Desk<'_>) -> Result<Places, Trouble> {
    let mut found = Places::new();
    file.scan(table, |place, row| {
        match row {
            Ok(row) => {
                let when = row.get("time_created").and_then(Value::as_i64).unwrap_or_default();
                found.entry(of(&row, by).to_owned()).or_default().push((when, of(&row, "id").to_owned(), place));
            }
            Err(trouble) => broken(desk, &trouble),
        }
        Ok(())
    })?;
    // Ids grow with time; their order is opencode's own.
    found.values_mut().for_each(|list| list.sort_by(|a, b| (&a.1, a.0).cmp(&(&b.1, b.0))));
    Ok(found)
}

/// What a row says, as JSON with its id.
fn data(file: &mut Database<'_>, table: &Table, place: Place, id: &str, desk: &mut Desk<'_>) -> Option<Value> {
    let read = file.row(table, place).and_then(|row| {
        let mut data: Map<String, Value> = serde_json::from_str(of(&row, "data"))
            .map_err(|error| Trouble::Bad(format!("the row {id:?} holds no JSON object: {error}")))?;
        data.insert("id".to_owned(), id.into());
        Ok(Value::from(data))
    });
    read.map_err(|trouble| broken(desk, &trouble)).ok()
}

/// A session's row, as an export has it.
fn about(row: &Row) -> Value {
    json!({
        "id": row.get("id"), "title": row.get("title"), "directory": row.get("directory"),
        "parentID": row.get("parent_id"), "time": { "created": row.get("time_created") },
    })
}

/// A session that is being told.
struct Session {
    trace: TraceId,
    thread: Thread,
    last: Timestamp,
}

impl Session {
    fn begin(desk: &mut Desk<'_>, about: &Value, path: &str, modified: Timestamp) -> Result<Self, Trouble> {
        let began = time::read(&about["time"]["created"]).unwrap_or(modified);
        let id = text(about, "id");
        let trace = desk.begin(About {
            key: if id.is_empty() { path.to_owned() } else { id.to_owned() },
            name: [text(about, "title"), id].into_iter().find(|name| !name.is_empty()).map(str::to_owned),
            agent: Some("opencode".to_owned()),
            at: began,
            cwd: about["directory"].as_str().map(str::to_owned),
            parent: about["parentID"].as_str().map(|parent| super::trace_id("opencode", parent)),
            why_not: WHY,
            fields: &[("usage", From::Imported), ("cost_usd", From::Imported), ("times", From::Imported)],
            ..About::default()
        })?;
        Ok(Session { trace, thread: Thread::default(), last: began })
    }

    fn message(&mut self, desk: &mut Desk<'_>, info: &Value, list: &[Value], is_last: bool) -> Result<(), Trouble> {
        let (said, results) = parts(list);
        let at = time::read(&info["time"]["created"]).unwrap_or(self.last);
        let end = time::read(&info["time"]["completed"]).unwrap_or(at);
        self.last = self.last.max(end);
        let assistant = text(info, "role") == "assistant";
        if assistant && is_last && info["time"]["completed"].is_null() && info["error"].is_null() {
            // Told now, it could not be told whole later.
            desk.skipped("answers that had not ended");
            return Ok(());
        }
        let one = Message { role: if assistant { Role::Assistant } else { Role::User }, parts: said };
        if assistant {
            call(desk, self.trace, info, &one, &mut self.thread, at, end)?;
        }
        let compacted = assistant && info["summary"] == true && info["error"].is_null();
        if compacted {
            self.thread.clear();
            self.thread.push(json!({ "role": "user", "content": COMPACTED }).to_string().as_bytes());
        }
        for element in chat::elements(&one).into_iter().chain(results.iter().flat_map(chat::elements)) {
            let (hidden, _) = desk.hide(element.to_string().into());
            self.thread.push(&hidden);
        }
        desk.used();
        Ok(())
    }

    fn end(self, desk: &mut Desk<'_>) -> Result<(), Trouble> {
        desk.end(self.trace, self.last, None)
    }
}

/// What a message says, and what its tools gave back.
fn parts(list: &[Value]) -> (Vec<Part>, Vec<Message>) {
    let (mut said, mut results) = (Vec::new(), Vec::new());
    for part in list {
        match text(part, "type") {
            "text" => said.push(Part::Text { text: text(part, "text").to_owned() }),
            "reasoning" => said.push(Part::Thinking { text: text(part, "text").to_owned(), signature: String::new() }),
            "tool" => {
                let state = &part["state"];
                let id = text(part, "callID").to_owned();
                said.push(Part::ToolCall(ToolCall {
                    id: id.clone(),
                    name: text(part, "tool").to_owned(),
                    arguments: state["input"].clone(),
                }));
                let is_error = text(state, "status") == "error";
                let words = if is_error { text(state, "error") } else { text(state, "output") };
                if matches!(text(state, "status"), "completed" | "error") {
                    let result =
                        ToolResult { id, name: text(part, "tool").to_owned(), text: words.to_owned(), is_error };
                    results.push(Message { role: Role::Tool, parts: vec![Part::ToolResult(result)] });
                }
            }
            "file" => said.push(Part::Other { value: part.clone() }),
            "compaction" => said.push(Part::Text { text: COMPACTED.to_owned() }),
            // Marks of steps, snapshots, patches: nothing that was said.
            _ => {}
        }
    }
    (said, results)
}

/// Counts. Thoughts stand beside the answer since there is a total, which tells.
fn used(tokens: &Value) -> Usage {
    let mut used = usage::read(tokens, usage::Cached::Beside);
    let all = [used.input, used.output, used.reasoning, used.cache_read, used.cache_write];
    let all = all.iter().flatten().fold(0_u64, |sum, count| sum.saturating_add(*count));
    if tokens["total"].as_u64() == Some(all) {
        used.output = used.output.map(|output| output.saturating_add(used.reasoning.unwrap_or(0)));
    }
    used
}

fn call(
    desk: &mut Desk<'_>,
    trace: TraceId,
    info: &Value,
    message: &Message,
    thread: &mut Thread,
    at: Timestamp,
    end: Timestamp,
) -> Result<(), Trouble> {
    let model = text(info, "modelID");
    let failed = &info["error"];
    let error = failed.is_object().then(|| ProviderError {
        kind: text(failed, "name").to_owned(),
        message: text(&failed["data"], "message").to_owned(),
    });
    let response = Response {
        model: model.to_owned(),
        message: (!message.parts.is_empty()).then(|| message.clone()),
        stop: Some(match text(info, "finish") {
            "length" => Stop::Length,
            "content-filter" => Stop::Refusal,
            _ if message.tool_calls().next().is_some() => Stop::Tools,
            _ => Stop::End,
        }),
        usage: used(&info["tokens"]),
        usage_raw: json!({}),
        complete: error.is_none(),
        error,
        ..Response::default()
    };
    let mut told = desk.answered(&response, model);
    told.summary.usage = response.usage;
    told.summary.cost_usd = info["cost"].as_f64().or(told.summary.cost_usd);
    let told = Told {
        key: text(info, "id").to_owned(),
        at,
        end_at: Some(end),
        upstream: text(info, "providerID").to_owned(),
        request: thread.chat(model, &[]),
        hidden: true,
        ..told
    };
    desk.call(trace, told).map(|_| ())
}
