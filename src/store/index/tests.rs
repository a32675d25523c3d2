//! Whole folds over made-up logs: an index that grew must equal one made at once.

use std::sync::Arc;

use bytes::Bytes;

use super::database::Database;
use super::fold::{Folded, Source, fold_feed};
use crate::context::{BlockId, ContextId, Placed, Relation};
use crate::store::log::{Cursor, Entry, Fresh, Kept, LogError, Mark, Named, Place, Record, StartedCall};
use crate::trace::{
    CallEnd, CallEnded, CallId, CallStarted, CallSummary, Note, Score, Timestamp, TraceEnded, TraceId, TraceOutcome,
    TraceStarted, Usage, Wire,
};

/// A log in memory: entries of some segments, each in its order.
#[derive(Default, Clone)]
pub(super) struct FakeLog {
    pub entries: Vec<Entry>,
    /// Segments whose writer is gone.
    pub done: Vec<&'static str>,
}

pub(super) struct FakeFeed {
    left: std::vec::IntoIter<Entry>,
    cursor: Cursor,
    done: Vec<&'static str>,
}

impl Iterator for FakeFeed {
    type Item = Result<Entry, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(entry) = self.left.next() else {
            for segment in self.done.drain(..) {
                self.cursor.segments.entry(segment.to_owned()).or_default().done = true;
            }
            return None;
        };
        let mark = self.cursor.segments.entry(entry.place.segment.to_string()).or_default();
        mark.offset = entry.place.offset + 1;
        Some(Ok(entry))
    }
}

impl Source for FakeFeed {
    fn cursor(&self) -> Cursor {
        self.cursor.clone()
    }
}

impl FakeLog {
    /// Adds an entry to a segment; its offset is its place among them.
    pub fn add(&mut self, segment: &'static str, at: i64, what: Kept) {
        let offset = self.entries.iter().filter(|entry| &*entry.place.segment == segment).count() as u64;
        let place = Place { segment: Arc::from(segment), offset };
        self.entries.push(Entry { place, at: Timestamp(at), what });
    }

    /// What has come since: removals first, then segment by segment, as the log's own reader gives it.
    pub fn since(&self, cursor: &Cursor) -> FakeFeed {
        let mark = |segment: &str| cursor.segments.get(segment).copied().unwrap_or_default();
        let fresh = |entry: &&Entry| entry.place.offset >= Mark::offset(mark(&entry.place.segment));
        let mut left: Vec<Entry> = self.entries.iter().filter(fresh).cloned().collect();
        left.sort_by_key(|entry| (!matches!(entry.what, Kept::Removed(_)), entry.place.clone()));
        FakeFeed { left: left.into_iter(), cursor: cursor.clone(), done: self.done.clone() }
    }
}

impl Mark {
    fn offset(self) -> u64 {
        self.offset
    }
}

/// A small random walk, so that every seed is another history of recorders.
struct Walk(u64);

impl Walk {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

#[derive(Clone)]
struct Ongoing {
    trace: TraceId,
    said: Vec<BlockId>,
    calls: Vec<(CallId, usize)>,
    open: Vec<CallId>,
}

struct Recorder {
    segment: &'static str,
    known: Vec<BlockId>,
    traces: Vec<Ongoing>,
}

fn chat_message(role: &str, text: &str) -> (BlockId, Bytes) {
    let json = serde_json::json!({"role": role, "content": text}).to_string();
    (BlockId::of([json.as_bytes()]), Bytes::from(json))
}

fn setup() -> (BlockId, Vec<Named>, Vec<Fresh>) {
    let (order, order_bytes) = chat_message("system", "Be brief.");
    let tool = Bytes::from_static(br#"{"type":"function","function":{"name":"ls","parameters":{"type":"object"}}}"#);
    let tool_id = BlockId::of([&tool[..]]);
    let named = |name: &str, id| Named { name: Arc::from(name), id };
    let blocks = vec![named("messages", order), named("tools", tool_id)];
    let fresh = vec![
        Fresh { name: Arc::from("messages"), id: order, bytes: order_bytes },
        Fresh { name: Arc::from("tools"), id: tool_id, bytes: tool },
    ];
    (BlockId::of([&order.0[..], &tool_id.0[..]]), blocks, fresh)
}

/// A call that says `new` after the first `kept` messages of its trace.
fn started(recorder: &mut Recorder, at: usize, call: CallId, kept: usize, new: &[String]) -> Kept {
    let trace = &mut recorder.traces[at];
    trace.said.truncate(kept);
    let mut said = Vec::new();
    let mut fresh = Vec::new();
    let (setup, setup_blocks, setup_fresh) = setup();
    let first = !recorder.known.contains(&setup);
    if first {
        recorder.known.push(setup);
        fresh.extend(setup_fresh);
    }
    for text in new {
        let (id, bytes) = chat_message("user", text);
        said.push(Named { name: Arc::from("messages"), id });
        if !recorder.known.contains(&id) {
            recorder.known.push(id);
            fresh.push(Fresh { name: Arc::from("messages"), id, bytes });
        }
        trace.said.push(id);
    }
    let id = trace.said.iter().fold(ContextId::default(), |context, said| context.then(*said));
    let parent = trace.calls.iter().rev().find(|(_, messages)| *messages >= kept).filter(|_| kept > 0);
    let context = Placed {
        id,
        parent: parent.map(|(call, _)| *call),
        relation: if parent.is_some() { Relation::Extend } else { Relation::Root },
        kept: kept as u32,
        messages: trace.said.len() as u32,
    };
    trace.calls.push((call, trace.said.len()));
    trace.open.push(call);
    Kept::CallStarted(
        trace.trace,
        Box::new(StartedCall {
            call,
            request: CallStarted {
                wire: Wire::OpenaiChat,
                upstream: "mock".to_owned(),
                method: "POST".to_owned(),
                target: "/v1/chat/completions".to_owned(),
                ..CallStarted::default()
            },
            body_len: 100,
            sha256: [0; 32],
            context,
            said,
            setup,
            setup_blocks: first.then_some(setup_blocks),
            fresh,
            stored: 10,
        }),
    )
}

fn ended(text: &str) -> CallEnded {
    let body = serde_json::json!({
        "id": format!("r-{text}"), "object": "chat.completion", "model": "mock/m",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": text,
            "tool_calls": [{"id": format!("t-{text}"), "type": "function", "function": {"name": "ls", "arguments": "{}"}}]}}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    });
    CallEnded {
        end: CallEnd::Complete,
        status: Some(200),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Bytes::from(body.to_string()),
        summary: CallSummary {
            model: "mock/m".to_owned(),
            usage: Usage { input: Some(7), output: Some(3), ..Usage::default() },
            cost_usd: Some(0.25),
            ..CallSummary::default()
        },
        ..CallEnded::default()
    }
}

/// The next thing a recorder tells of one of its traces, if there is anything to tell.
fn happening(walk: &mut Walk, recorder: &mut Recorder, call: CallId, step: usize) -> Option<Kept> {
    let which = walk.below(recorder.traces.len());
    let trace = recorder.traces[which].clone();
    Some(match walk.below(9) {
        0..=2 => {
            let kept = walk.below(trace.said.len() + 1).max(trace.said.len().saturating_sub(walk.below(3)));
            let new: Vec<String> = (0..=walk.below(2)).map(|_| format!("word {}", walk.below(40))).collect();
            started(recorder, which, call, kept, &new)
        }
        3 | 4 => {
            let call = recorder.traces[which].open.pop()?;
            Kept::CallEnded(trace.trace, call, Box::new(ended(&format!("answer {}", walk.below(30)))))
        }
        5 => Kept::Noted(trace.trace, Note { kind: "x".to_owned(), call: None, data: serde_json::json!({"n": step}) }),
        6 => Kept::Scored(
            trace.trace,
            Score {
                name: "good".to_owned(),
                by: "human".to_owned(),
                value: Some(0.5),
                label: None,
                comment: None,
                call: trace.calls.first().map(|(call, _)| *call),
            },
        ),
        7 => Kept::TraceStarted(
            trace.trace,
            TraceStarted {
                tags: vec![("step".to_owned(), step.to_string())],
                agent: Some(format!("agent {}", walk.below(3))),
                ..TraceStarted::default()
            },
        ),
        _ if walk.below(2) == 0 => record(walk, step),
        _ => Kept::TraceEnded(
            trace.trace,
            TraceEnded { outcome: TraceOutcome::Ok, exit_code: Some(0), signal: None, reason: None, lost_calls: 0 },
        ),
    })
}

/// Some recorders, each with a segment, at work at once.
fn history(seed: u64, steps: usize) -> FakeLog {
    let mut walk = Walk(seed);
    let mut log = FakeLog::default();
    let mut recorders: Vec<Recorder> = ["s-a", "s-b", "s-c"]
        .into_iter()
        .map(|segment| Recorder { segment, known: Vec::new(), traces: Vec::new() })
        .collect();
    let mut next = 1;
    for step in 0..steps {
        let who = walk.below(recorders.len());
        let recorder = &mut recorders[who];
        // Clocks stand still now and then: the order must not hang on them.
        let at = 1_700_000_000_000_000 + (step / 3) as i64;
        next += 1;
        if recorder.traces.is_empty() || walk.below(8) == 0 {
            let trace = TraceId(next);
            recorder.traces.push(Ongoing { trace, said: Vec::new(), calls: Vec::new(), open: Vec::new() });
            let name = (walk.below(2) == 0).then(|| format!("trace {next}"));
            log.add(recorder.segment, at, Kept::TraceStarted(trace, TraceStarted { name, ..TraceStarted::default() }));
            continue;
        }
        let Some(what) = happening(&mut walk, recorder, CallId(next as u64), step) else { continue };
        log.add(recorder.segment, at, what);
    }
    // One recorder dies in the middle of things.
    let dead = &recorders[0];
    for trace in &dead.traces {
        for call in &trace.open {
            log.add(dead.segment, 1_800_000_000_000_000, Kept::CallLost(trace.trace, *call));
        }
    }
    log.done.push(dead.segment);
    log
}

fn record(walk: &mut Walk, step: usize) -> Kept {
    let run = format!("run-{}", walk.below(2));
    if walk.below(3) == 0 {
        let data = serde_json::json!({
            "id": run, "name": format!("nightly {}", walk.below(9)), "suite": "s", "kind": "regression", "started": step,
            "trials_per_task": 3, "tasks": ["a"], "holdback": "0.1.0", "fingerprints": {"suite": "1", "graders": "2"},
            "variants": [{"name": "m", "model": "mock/m", "fingerprint": "3"}],
        });
        return Kept::Record(Record { kind: "run".to_owned(), id: run, data });
    }
    let attempt = walk.below(3);
    let id = format!("{run}-a-m-{attempt}");
    let pass = walk.below(2) == 0;
    let data = serde_json::json!({
        "id": id, "run": run, "task": "a", "variant": "m", "attempt": attempt + 1, "started": step, "duration_us": 1500,
        "outcome": if pass { "pass" } else { "fail" }, "ending": "exited", "code": 0,
        "grades": [{"label": "contains", "kind": "contains", "fingerprint": "f", "required": true, "weight": 1.0,
            "grade": "scored", "score": 1.0, "pass": pass}],
    });
    Kept::Record(Record { kind: "trial".to_owned(), id, data })
}

fn fold(database: &Database, log: &FakeLog) -> Folded {
    let cursor = database.cursor().unwrap();
    fold_feed(database, cursor.clone(), log.since(&cursor), &|_| None, &mut |_| {}).unwrap()
}

/// Every table of two indexes, row for row, whatever the order.
fn assert_same(dir: &std::path::Path, what: &str) {
    let connection = duckdb::Connection::open_in_memory().unwrap();
    for name in ["grown", "fresh"] {
        let file = dir.join(format!("{name}.duckdb"));
        connection.execute_batch(&format!("ATTACH '{}' AS {name} (READ_ONLY)", file.display())).unwrap();
    }
    let mut statement = connection
        .prepare("SELECT table_name FROM duckdb_tables() WHERE database_name = 'fresh' AND table_name <> 'index_state'")
        .unwrap();
    let tables: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(tables.len() >= 14, "{tables:?}");
    for table in tables {
        for (one, other) in [("grown", "fresh"), ("fresh", "grown")] {
            let sql =
                format!("SELECT r::VARCHAR FROM (FROM {one}.{table} EXCEPT ALL FROM {other}.{table}) AS r ORDER BY 1");
            let mut statement = connection.prepare(&sql).unwrap();
            let extra: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            assert!(extra.is_empty(), "{what}: only in the {one} {table}:\n{}", extra[..extra.len().min(5)].join("\n"));
        }
    }
}

#[test]
fn an_index_that_grew_equals_one_made_at_once() {
    for seed in 1..=6 {
        let dir = tempfile::tempdir().unwrap();
        let whole = history(seed, 240);
        let grown = Database::create(&dir.path().join("grown.duckdb")).unwrap();
        let mut walk = Walk(seed + 100);
        let mut upto = 0;
        let mut calls = 0;
        while upto < whole.entries.len() {
            upto = (upto + 1 + walk.below(60)).min(whole.entries.len());
            let done = if upto == whole.entries.len() { whole.done.clone() } else { Vec::new() };
            calls += fold(&grown, &FakeLog { entries: whole.entries[..upto].to_vec(), done }).calls;
        }
        assert_eq!(fold(&grown, &whole), Folded::default(), "nothing is folded twice");
        grown.close().unwrap();
        let fresh = Database::create(&dir.path().join("fresh.duckdb")).unwrap();
        let folded = fold(&fresh, &whole);
        assert_eq!(folded.calls, calls);
        assert!(folded.calls > 20 && folded.unreadable == 0, "{folded:?}");
        fresh.close().unwrap();
        assert_same(dir.path(), &format!("seed {seed}"));
    }
}
