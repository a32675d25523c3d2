//! Writing and reading when nothing goes wrong.

use holdback::context::Relation;
use holdback::store::log::{Cursor, Entry, Kept, Status, Store};
use holdback::trace::{CallId, Note, Score, Timestamp, TraceId, What};
use serde_json::json;

use crate::common::*;

#[test]
fn a_trace_comes_back_as_it_was_written() {
    let (_dir, store) = store();
    let mut writer = store.writer().unwrap();
    let bodies: Vec<_> = (1..6).map(|turns| conversation(1, turns * 2 - 1, 300)).collect();
    put(&mut writer, 1, 10, started("first"));
    for (call, body) in (1..).zip(&bodies) {
        put(&mut writer, 1, call as i64 * 100, ask(call, body.clone()));
        put(&mut writer, 1, call as i64 * 100 + 50, answer(call, format!("answer {call}")));
    }
    let note = Note { kind: "file".into(), call: Some(CallId(1)), data: json!({"path": "a"}) };
    let score =
        Score { name: "ok".into(), by: "human".into(), value: Some(1.0), label: None, comment: None, call: None };
    put(&mut writer, 1, 900, What::Noted(note.clone()));
    put(&mut writer, 1, 901, What::Scored(score.clone()));

    for sealed in [false, true] {
        let reader = store.reader().unwrap();
        assert_eq!(requests(&reader, 1), bodies);
        let entries = reader.entries(TraceId(1)).unwrap();
        assert!(entries.iter().any(|entry| entry.what == Kept::Noted(TraceId(1), note.clone())));
        assert!(entries.iter().any(|entry| entry.what == Kept::Scored(TraceId(1), score.clone())));
        let answers: Vec<_> = entries
            .iter()
            .filter_map(|entry| match &entry.what {
                Kept::CallEnded(_, call, ended) => Some((call.0, ended.body.clone(), ended.chunks[0].len)),
                _ => None,
            })
            .collect();
        assert_eq!(answers[4], (5, "answer 5".into(), 8));
        let relations: Vec<_> = entries
            .iter()
            .filter_map(|entry| match &entry.what {
                Kept::CallStarted(_, call) => Some((call.context.relation, call.context.kept, call.said.len())),
                _ => None,
            })
            .collect();
        assert_eq!(relations[0], (Relation::Root, 0, 1));
        assert_eq!(relations[4], (Relation::Extend, 7, 2));

        let summary = &reader.traces()[0];
        assert_eq!(summary.name.as_deref(), Some("first"));
        assert_eq!((summary.calls, summary.usage.input, summary.cost_usd), (5, Some(50), Some(2.5)));
        assert_eq!(summary.models, ["m-1"]);
        assert_eq!(summary.status, if sealed { Status::Ended } else { Status::Live });
        if !sealed {
            put(&mut writer, 1, 1000, over());
            drop(store.writer().unwrap());
        }
    }
}

#[test]
fn words_for_traces_are_understood() {
    let (_dir, store) = store();
    let mut writer = store.writer().unwrap();
    assert!(store.reader().unwrap().resolve("last").is_err());
    let [a, b] = [0xabc0_u128 << 112, 0xabd0_u128 << 112];
    put(&mut writer, a, 10, started("one"));
    put(&mut writer, b, 20, started("two"));
    let reader = store.reader().unwrap();
    for (word, expected) in [("last", b), ("one", a), ("abd", b), ("ABC0", a), (&TraceId(a).to_string(), a)] {
        assert_eq!(reader.resolve(word).unwrap(), TraceId(expected), "{word}");
    }
    for word in ["ab", "", "nothing"] {
        assert!(reader.resolve(word).is_err(), "{word:?}");
    }
    assert!(reader.resolve("ab").unwrap_err().to_string().contains("2 traces"));
}

#[test]
fn the_latest_record_of_an_id_counts() {
    let (_dir, store) = store();
    let mut writer = store.writer().unwrap();
    writer.record("run", "r1", Timestamp(1), &json!({"done": false})).unwrap();
    writer.record("trial", "t1", Timestamp(1), &json!({})).unwrap();
    writer.record("run", "r2", Timestamp(2), &json!(2)).unwrap();
    let mut other = store.writer().unwrap();
    other.record("run", "r1", Timestamp(3), &json!({"done": true})).unwrap();
    drop((writer, other));
    let runs = store.reader().unwrap().records("run").unwrap();
    let runs: Vec<_> = runs.into_iter().map(|run| (run.id, run.data)).collect();
    assert_eq!(runs, [("r1".to_owned(), json!({"done": true})), ("r2".to_owned(), json!(2))]);
}

fn read(store: &Store, cursor: &mut Cursor, upto: usize) -> Vec<Entry> {
    let reader = store.reader().unwrap();
    let mut feed = reader.since(cursor).unwrap();
    assert!(!feed.must_start_over());
    let entries: Vec<_> = feed.by_ref().take(upto).map(Result::unwrap).collect();
    let json = serde_json::to_string(&feed.cursor()).unwrap();
    *cursor = serde_json::from_str(&json).unwrap();
    entries
}

#[test]
fn a_cursor_goes_on_where_it_stopped_in_every_segment() {
    let (_dir, store) = store();
    let mut cursor = Cursor::default();
    let mut writers: Vec<_> = (0..3).map(|_| store.writer().unwrap()).collect();
    let mut seen = Vec::new();
    for round in 0..20u64 {
        for (number, writer) in (0..).zip(&mut writers) {
            let call = round * 10 + number;
            put(writer, u128::from(number), call as i64, ask(call, conversation(number, round as usize + 1, 50)));
            put(writer, u128::from(number), call as i64, answer(call, "fine"));
        }
        seen.extend(read(&store, &mut cursor, 4));
    }
    put(&mut writers[0], 0, 999, ask(999, "never answered"));
    drop(writers);
    seen.extend(read(&store, &mut cursor, usize::MAX));
    let lost: Vec<_> = seen.iter().filter(|entry| matches!(entry.what, Kept::CallLost(..))).collect();
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].what, Kept::CallLost(TraceId(0), CallId(999)));
    let mut places: Vec<_> = seen.iter().map(|entry| entry.place.clone()).collect();
    places.sort();
    places.dedup();
    assert_eq!(places.len(), 20 * 3 * 2 + 2);
    assert!(read(&store, &mut cursor, usize::MAX).is_empty());
    assert!(cursor.segments.values().all(|mark| mark.done));
}

#[test]
fn a_feed_gives_each_block_once_per_segment_and_names_what_was_said() {
    let (_dir, store) = store();
    let mut writer = store.writer().unwrap();
    for turns in 1..5 {
        put(&mut writer, 1, turns as i64, ask(turns as u64, conversation(3, turns, 40)));
    }
    let entries = read(&store, &mut Cursor::default(), usize::MAX);
    let calls: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.what {
            Kept::CallStarted(_, call) => Some(call),
            _ => None,
        })
        .collect();
    let fresh: Vec<Vec<&str>> =
        calls.iter().map(|call| call.fresh.iter().map(|block| &*block.name).collect()).collect();
    assert_eq!(fresh[0], ["system", "messages", "tools"]);
    assert_eq!(fresh[1..], vec![vec!["messages"]; 3]);
    assert!(calls[0].setup_blocks.is_some() && calls[1].setup_blocks.is_none());
    assert_eq!(calls[0].setup, calls[3].setup);
    for call in &calls {
        assert_eq!(call.said.len(), 1);
        assert_eq!(call.said[0].id, call.fresh.iter().find(|block| &*block.name == "messages").unwrap().id);
    }
}

#[test]
fn a_writer_rolls_its_segments_and_nothing_is_lost_between_them() {
    let (_dir, store) = store();
    let mut writer = store.writer().unwrap().rolling_at(20_000);
    let bodies: Vec<_> = (1..40).map(|turns| conversation(7, turns, 900)).collect();
    put(&mut writer, 1, 0, started("long"));
    for (call, body) in (1..).zip(&bodies) {
        put(&mut writer, 1, call as i64, ask(call, body.clone()));
        if call > 1 {
            put(&mut writer, 1, call as i64, answer(call - 1, "late"));
        }
    }
    let live = store.reader().unwrap();
    assert!(live.stats().segments > 2, "{:?}", live.stats());
    assert_eq!((live.stats().live_segments, live.traces()[0].open_calls), (1, 1));
    assert_eq!(requests(&live, 1), bodies);
    let relations = live.entries(TraceId(1)).unwrap();
    let roots = relations
        .iter()
        .filter(|entry| matches!(&entry.what, Kept::CallStarted(_, call) if call.context.relation == Relation::Root));
    assert_eq!(roots.count(), 1);
    drop(writer);
    let after = store.reader().unwrap();
    assert_eq!(requests(&after, 1), bodies);
    assert_eq!((after.traces()[0].status, after.traces()[0].open_calls), (Status::CutOff, 1));
    assert_eq!(kinds(&after.entries(TraceId(1)).unwrap()).last(), Some(&"call_lost"));
}

#[test]
fn readers_that_only_look_leave_no_store_behind() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none");
    assert!(Store::existing(&missing).is_err());
    assert!(!missing.exists());
    let (_dir, store) = store();
    drop(store.writer().unwrap());
    assert!(Store::existing(store.dir()).is_ok());
    assert_eq!(std::fs::read_dir(store.dir().join("log")).unwrap().count(), 0);
}

#[test]
fn records_of_one_run_are_found_without_those_of_others() {
    let (_dir, store) = store();
    let mut writer = store.writer().unwrap();
    for run in ["r1", "r2"] {
        for n in 0..600 {
            let data = json!({"run": run, "n": n});
            writer.record("trial", &format!("{run}-{n}"), Timestamp(n), &data).unwrap();
        }
    }
    writer.record("trial", "r1-5", Timestamp(1000), &json!({"run": "r1", "n": 77})).unwrap();
    writer.record("trial", "odd", Timestamp(1), &json!({"run": "r1", "n": "no number"})).unwrap();
    writer.record("evidence", "r1-5", Timestamp(1), &json!({"kept": true})).unwrap();
    for live in [true, false] {
        if !live {
            drop(std::mem::replace(&mut writer, store.writer().unwrap()));
        }
        #[derive(serde::Deserialize)]
        struct Row {
            n: i64,
        }
        let reader = store.reader().unwrap();
        let found = reader.records_of::<Row>("trial", "r1").unwrap();
        assert_eq!((found.found.len(), found.unreadable), (600, vec!["odd".to_owned()]));
        assert_eq!(found.found.iter().map(|row| row.n).sum::<i64>(), (0..600).sum::<i64>() - 5 + 77);
        assert!(reader.records_of::<Row>("trial", "r3").unwrap().found.is_empty());
        assert_eq!(reader.record("evidence", "r1-5").unwrap().unwrap().data, json!({"kept": true}));
        assert!(reader.record("evidence", "r1-6").unwrap().is_none());
    }
}
