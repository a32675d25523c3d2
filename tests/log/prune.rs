//! Forgetting traces, and taking them elsewhere.

use holdback::context::BlockId;
use holdback::store::log::{Cursor, Finding, Kept, Policy, Store};
use holdback::trace::{CallId, Score, Timestamp, TraceId, What};
use serde_json::json;

use crate::common::*;

/// Traces that share their standing orders and first messages, several per segment.
fn shared_traces(store: &Store, writers: u64) -> Vec<(u128, Vec<Vec<u8>>)> {
    let mut traces = Vec::new();
    for writer_number in 0..writers {
        let mut writer = store.writer().unwrap();
        for number in 0..4u64 {
            let trace = u128::from(writer_number * 10 + number + 1);
            // The first ones are the same for all traces of a writer: their blocks stand in the first trace's records.
            let bodies: Vec<_> = (1..12)
                .map(|turns| {
                    let mut body = conversation(writer_number, turns, 200);
                    if turns > 6 {
                        body.extend_from_slice(format!("{trace}").as_bytes());
                    }
                    body
                })
                .collect();
            put(&mut writer, trace, number as i64 * 1000, started(&format!("t{trace}")));
            for (turn, body) in (0u64..).zip(&bodies) {
                let call = trace as u64 * 100 + turn;
                put(&mut writer, trace, number as i64 * 1000 + turn as i64, ask(call, body.clone()));
                put(&mut writer, trace, number as i64 * 1000 + turn as i64, answer(call, format!("answer {call}")));
            }
            put(&mut writer, trace, number as i64 * 1000 + 900, over());
            traces.push((trace, bodies));
        }
        writer.record("run", &format!("r{writer_number}"), Timestamp(1), &json!(writer_number)).unwrap();
    }
    traces
}

fn assert_sound(store: &Store) {
    let checkup = store.reader().unwrap().check(true).unwrap();
    assert!(checkup.findings.is_empty(), "{:?}", checkup.findings);
}

#[test]
fn removing_a_trace_leaves_what_others_share_with_it() {
    let (_dir, store) = store();
    let traces = shared_traces(&store, 2);
    let before = store.reader().unwrap().stats().bytes;
    let gone = [traces[0].0, traces[2].0, traces[5].0].map(TraceId);
    let pruned = store.remove(&gone, Timestamp(5000)).unwrap();
    assert_eq!(pruned.segments_rewritten, 2);
    assert!(pruned.bytes_after < before, "{pruned:?}, {before} before");
    let reader = store.reader().unwrap();
    assert_eq!(reader.traces().len(), traces.len() - gone.len());
    for (trace, bodies) in &traces {
        if gone.contains(&TraceId(*trace)) {
            assert!(reader.entries(TraceId(*trace)).is_err());
            assert!(reader.request(CallId(*trace as u64 * 100)).is_err());
        } else {
            assert_eq!(requests(&reader, *trace), *bodies);
        }
    }
    assert_eq!(reader.records("run").unwrap().len(), 2);
    assert_sound(&store);

    // Again, on what has been rewritten before.
    store.remove(&[TraceId(traces[1].0)], Timestamp(5000)).unwrap();
    assert_eq!(requests(&store.reader().unwrap(), traces[3].0), traces[3].1);
    assert_sound(&store);
    let all: Vec<_> = store.reader().unwrap().traces().iter().map(|trace| trace.id).collect();
    store.remove(&all, Timestamp(6000)).unwrap();
    assert!(store.reader().unwrap().traces().is_empty());
    assert_eq!(store.reader().unwrap().records("run").unwrap().len(), 2);
}

#[test]
fn policies_choose_by_age_size_and_failure() {
    let (_dir, store) = store();
    let traces = shared_traces(&store, 1);
    let mut writer = store.writer().unwrap();
    let mut failed = over();
    if let What::TraceEnded(ended) = &mut failed {
        ended.outcome = holdback::trace::TraceOutcome::Failed;
    }
    put(&mut writer, 77, 0, ask(7700, "x"));
    put(&mut writer, 77, 0, failed);
    put(&mut writer, 78, 0, ask(7800, "live"));
    let policy = Policy { before: Some(Timestamp(2000)), keep_failed: true, ..Policy::default() };
    let dry = store.prune(&policy, Timestamp(9), true).unwrap();
    assert_eq!(dry.traces, [TraceId(traces[0].0), TraceId(traces[1].0)]);
    assert_eq!(store.reader().unwrap().traces().len(), 6);
    let wet = store.prune(&policy, Timestamp(9), false).unwrap();
    assert_eq!(wet.traces, dry.traces);
    assert!(wet.bytes_after < wet.bytes_before);
    let tiny = Policy { max_bytes: Some(1), ..Policy::default() };
    store.prune(&tiny, Timestamp(9), false).unwrap();
    let left: Vec<_> = store.reader().unwrap().traces().iter().map(|trace| trace.id.0).collect();
    assert_eq!(left, [78], "only the live one stays");
    assert!(store.remove(&[TraceId(78)], Timestamp(9)).unwrap_err().to_string().contains("still being recorded"));
    put(&mut writer, 78, 5, answer(7800, "and goes on"));
    assert_eq!(requests(&store.reader().unwrap(), 78), ["live"]);
}

#[test]
fn a_cursor_hears_of_removals_and_goes_on_over_rewritten_segments() {
    let (_dir, store) = store();
    let traces = shared_traces(&store, 1);
    let mut cursor = Cursor::default();
    let mut read = |store: &Store| {
        let reader = store.reader().unwrap();
        let mut feed = reader.since(&cursor).unwrap();
        let entries: Vec<_> = feed.by_ref().map(Result::unwrap).map(|entry| entry.what).collect();
        let over = feed.must_start_over();
        cursor = feed.cursor();
        (entries, over)
    };
    assert_eq!(read(&store).0.len(), 4 * 24 + 1);
    store.remove(&[TraceId(traces[0].0)], Timestamp(9)).unwrap();
    assert_eq!(read(&store), (vec![Kept::Removed(TraceId(traces[0].0))], false));
    assert_eq!(read(&store), (vec![], false));

    let mut partly = Cursor::default();
    let reader = store.reader().unwrap();
    let mut feed = reader.since(&partly).unwrap();
    feed.by_ref().take(5).for_each(drop);
    partly.clone_from(&feed.cursor());
    store.remove(&[TraceId(traces[1].0)], Timestamp(9)).unwrap();
    let reader = store.reader().unwrap();
    assert!(reader.since(&partly).unwrap().must_start_over());
}

#[test]
fn a_trace_goes_out_as_a_file_and_comes_back_in() {
    let (_dir, store) = store();
    let traces = shared_traces(&store, 1);
    let trace = TraceId(traces[2].0);
    {
        let mut writer = store.writer().unwrap();
        put(&mut writer, trace.0, 8000, ask(555, vec![0xff, 0xfe, b'{']));
        let score = Score {
            name: "s".into(),
            by: "human".into(),
            value: Some(0.1),
            label: None,
            comment: None,
            call: Some(CallId(555)),
        };
        put(&mut writer, trace.0, 8001, What::Scored(score));
    }
    let reader = store.reader().unwrap();
    let mut file = Vec::new();
    reader.export(trace, &mut file).unwrap();
    let tell = |store: &Store, trace: TraceId| -> Vec<String> {
        let entries = store.reader().unwrap().entries(trace).unwrap();
        let text = |what: &Kept| match what {
            Kept::CallStarted(_, call) => format!("{:?} {:?}", call.request, call.sha256),
            what => format!("{what:?}"),
        };
        entries.iter().map(|entry| format!("{} {}", entry.at, text(&entry.what))).collect()
    };
    assert!(store.import(&file[..], None).unwrap_err().to_string().contains("already"));
    let (_dir, other) = crate::common::store();
    assert_eq!(other.import(&file[..], None).unwrap(), trace);
    assert_eq!(tell(&other, trace), tell(&store, trace));
    assert_eq!(requests(&other.reader().unwrap(), trace.0), requests(&reader, trace.0));
    assert_sound_but_lost(&other);

    // Removed and brought back: a new life of the same trace.
    store.remove(&[trace], Timestamp(9000)).unwrap();
    assert!(store.reader().unwrap().trace(trace).is_err());
    store.import(&file[..], None).unwrap();
    assert_eq!(requests(&store.reader().unwrap(), trace.0), requests(&other.reader().unwrap(), trace.0));
    // And once more beside itself.
    let twin = store.import(&file[..], Some(TraceId(999))).unwrap();
    assert_eq!(requests(&store.reader().unwrap(), twin.0).len(), 12);

    for cut in [0, 10, file.len() / 2, file.len() - 1] {
        assert!(other.import(&file[..cut], Some(TraceId(5))).is_err());
    }
    let newer = zstd::encode_all(&b"{\"holdback_trace\":2}\n"[..], 1).unwrap();
    assert!(other.import(&newer[..], None).unwrap_err().to_string().contains("update"));
}

fn assert_sound_but_lost(store: &Store) {
    let checkup = store.reader().unwrap().check(true).unwrap();
    assert!(checkup.findings.iter().all(|finding| matches!(finding, Finding::LostCall { .. })), "{checkup:?}");
}

#[test]
fn blocks_are_named_by_what_they_hold() {
    assert_eq!(BlockId::of([&b"ab"[..], b"c"]), BlockId::of([&b"abc"[..]]));
}
