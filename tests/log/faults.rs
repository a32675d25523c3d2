//! Killed writers, full disks, flipped bytes, and a crowd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use holdback::store::log::{Cursor, Durability, Finding, Kept, LogError, Status, Store};
use holdback::trace::TraceId;

use crate::common::*;

const CHILD: &str = "HOLDBACK_TEST_CHILD";

/// Not a test by itself: the writer that the tests below start, with orders in the environment.
#[test]
#[expect(clippy::disallowed_methods, reason = "a child gets its orders from the environment")]
fn child() {
    let Ok(orders) = std::env::var(CHILD) else { return };
    let [dir, trace, calls, acks] = orders.split('|').collect::<Vec<_>>().try_into().unwrap();
    let trace: u128 = trace.parse().unwrap();
    let store = Store::open(dir, Durability::Os).unwrap();
    let mut writer = store.writer().unwrap().rolling_at(60_000);
    put(&mut writer, trace, 0, started(&format!("child {trace}")));
    for turn in 1..=calls.parse().unwrap() {
        let call = trace as u64 * 100_000 + turn;
        put(&mut writer, trace, turn as i64, ask(call, conversation(trace as u64, turn as usize % 60, 400)));
        put(&mut writer, trace, turn as i64, answer(call, words(call, 700)));
        // The acknowledgement: this many calls are kept.
        fs::write(acks, turn.to_string()).unwrap();
    }
    put(&mut writer, trace, 1_000_000, over());
}

#[expect(clippy::disallowed_methods, reason = "a writer that can be killed is a process of its own")]
fn spawn(store: &Path, trace: u128, calls: u64, acks: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["faults::child", "--exact", "--quiet"])
        .env(CHILD, format!("{}|{trace}|{calls}|{}", store.display(), acks.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn acked(acks: &Path) -> u64 {
    fs::read_to_string(acks).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[test]
fn what_was_acknowledged_outlives_two_hundred_killed_writers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Store::open(&path, Durability::Os).unwrap();
    let mut promised = Vec::new();
    let mut state = 42u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for batch in 0..50u128 {
        // Four at a time, each killed at a moment of its own.
        let mut children: Vec<_> = (1..=4)
            .map(|number| {
                let trace = batch * 4 + number;
                let acks = dir.path().join(format!("acks-{trace}"));
                (trace, spawn(&path, trace, u64::MAX, &acks), acks)
            })
            .collect();
        for (trace, child, acks) in &mut children {
            let calls = random(25);
            while acked(acks) < calls {
                std::thread::sleep(Duration::from_micros(300));
            }
            std::thread::sleep(Duration::from_micros(random(3000)));
            child.kill().unwrap();
            child.wait().unwrap();
            promised.push((*trace, acked(acks)));
        }
        if batch % 10 == 0 {
            store.reader().unwrap().traces();
        }
    }
    let reader = store.reader().unwrap();
    let checkup = reader.check(true).unwrap();
    assert!(checkup.is_sound(), "{:?}", checkup.findings);
    for (trace, calls) in &promised {
        if *calls == 0 {
            continue;
        }
        let summary = reader.trace(TraceId(*trace)).unwrap();
        assert_eq!(summary.status, Status::CutOff);
        assert!(summary.calls - summary.open_calls >= *calls && summary.open_calls <= 1, "{summary:?} {calls}");
        let bodies = requests(&reader, *trace);
        for (turn, body) in (1..=*calls as usize).zip(&bodies) {
            assert!(*body == conversation(*trace as u64, turn % 60, 400), "trace {trace}, call {turn}");
        }
    }
    let mut feed = reader.since(&Cursor::default()).unwrap();
    let ends = feed.by_ref().filter(|entry| matches!(entry.as_ref().unwrap().what, Kept::CallEnded(..))).count();
    assert!(ends as u64 >= promised.iter().map(|(_, calls)| calls).sum());
    assert!(feed.cursor().segments.values().all(|mark| mark.done));
    let torn = checkup.findings.iter().filter(|finding| matches!(finding, Finding::TornTail { .. })).count();
    eprintln!("{} calls acknowledged, {torn} torn tails", promised.iter().map(|(_, calls)| calls).sum::<u64>());
}

#[test]
fn two_hundred_writers_at_once_lose_nothing_and_repeat_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let acks = |trace: u128| dir.path().join(format!("acks-{trace}"));
    let children: Vec<_> = (1..=200).map(|trace| spawn(&path, trace, 3, &acks(trace))).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let store = Store::existing(&path).unwrap();
    let reader = store.reader().unwrap();
    let traces = reader.traces();
    assert_eq!(traces.len(), 200);
    assert!(traces.iter().all(|trace| (trace.calls, trace.open_calls, trace.status) == (3, 0, Status::Ended)));
    let entries: Vec<_> = reader.since(&Cursor::default()).unwrap().map(Result::unwrap).collect();
    assert_eq!(entries.len(), 200 * 8);
    let checkup = reader.check(true).unwrap();
    assert_eq!((checkup.bodies, checkup.findings.len()), (600, 0));
}

/// A file system of a few megabytes, gone again with the guard.
struct Small(PathBuf);

#[expect(clippy::disallowed_methods, reason = "only mount can make a disk that is soon full")]
impl Small {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then(|| Small(at.to_path_buf()))
    }
}

impl Drop for Small {
    #[expect(clippy::disallowed_methods, reason = "what was mounted is taken away")]
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_an_error_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_small) = Small::mount(dir.path(), "2m") else {
        eprintln!("skipped: a small file system cannot be mounted here");
        return;
    };
    let filler = dir.path().join("filler");
    fs::write(&filler, vec![1; 1 << 20]).unwrap();
    let store = Store::open(dir.path().join("store"), Durability::Fsync).unwrap();
    let mut writer = store.writer().unwrap();
    let mut kept = Vec::new();
    let mut turn = 0;
    let mut fill = |writer: &mut _, kept: &mut Vec<u64>, most: u64| {
        for _ in 0..most {
            turn += 1;
            let body = words(turn, 30_000);
            match try_put(writer, 1, turn as i64, ask(turn, body)) {
                Ok(()) => kept.push(turn),
                Err(error) => return Some(error),
            }
        }
        None
    };
    let error = fill(&mut writer, &mut kept, 1000).expect("the disk is full");
    let LogError::Io { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    assert!(fill(&mut writer, &mut kept, 1).is_some(), "it stays full");
    let whole = |kept: &[u64]| {
        let bodies = requests(&store.reader().unwrap(), 1);
        assert!(
            bodies.iter().map(|body| &body[..]).eq(kept
                .iter()
                .map(|turn| words(*turn, 30_000))
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_bytes))
        );
    };
    whole(&kept);
    fs::remove_file(&filler).unwrap();
    assert!(fill(&mut writer, &mut kept, 5).is_none(), "there is room again");
    whole(&kept);
    drop(writer);
    let checkup = store.reader().unwrap().check(true).unwrap();
    assert!(checkup.is_sound(), "{:?}", checkup.findings);
}

fn segment(store: &Store) -> PathBuf {
    let files = fs::read_dir(store.dir().join("log")).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "hblog")).unwrap()
}

#[test]
fn a_flipped_byte_costs_one_record_and_doctor_names_it() {
    let (_dir, store) = store();
    let mut writer = store.writer().unwrap();
    for call in 1..=30u64 {
        put(&mut writer, u128::from(call % 3), call as i64, ask(call, conversation(call % 3, call as usize, 300)));
        put(&mut writer, u128::from(call % 3), call as i64, answer(call, words(call, 500)));
    }
    drop(writer);
    let path = segment(&store);
    let whole = fs::read(&path).unwrap();
    let reader = store.reader().unwrap();
    let entries: Vec<_> = reader.since(&Cursor::default()).unwrap().map(Result::unwrap).collect();
    for (number, entry) in entries.iter().enumerate() {
        let mut broken = whole.clone();
        let next = entries.get(number + 1).map_or(whole.len(), |next| next.place.offset as usize);
        let at = entry.place.offset as usize + (number * 37) % (next - entry.place.offset as usize);
        broken[at] ^= 0x40;
        fs::write(&path, &broken).unwrap();
        let reader = store.reader().unwrap();
        let checkup = reader.check(true).unwrap();
        let bad: Vec<_> = checkup
            .findings
            .iter()
            .filter(|finding| match finding {
                Finding::BadRecord { offset, bytes, .. } | Finding::TornTail { offset, bytes, .. } => {
                    *offset == entry.place.offset && *offset + *bytes == next as u64
                }
                _ => false,
            })
            .collect();
        assert_eq!(bad.len(), 1, "byte {at}: {:?}", checkup.findings);
        let left = reader.since(&Cursor::default()).unwrap().filter(|entry| entry.is_ok()).count();
        assert_eq!(left, entries.len() - 1, "byte {at}");
        // Other traces don't notice; in its own, only requests that build on the lost one can't be rebuilt.
        let trace = entry.what.trace();
        let others = checkup.findings.iter().all(|finding| match finding {
            Finding::WrongBody { trace: hurt, .. } => {
                Some(*hurt) == trace && matches!(entry.what, Kept::CallStarted(..))
            }
            _ => true,
        });
        assert!(others, "byte {at}: {:?}", checkup.findings);
    }
    // The beginning of the file: everything is still there.
    for at in [3, 40, 60] {
        let mut broken = whole.clone();
        broken[at] ^= 1;
        fs::write(&path, &broken).unwrap();
        let _ = fs::remove_file(path.with_extension("hbidx"));
        let reader = store.reader().unwrap();
        assert_eq!(reader.traces().len(), 3, "byte {at}");
        assert!(reader.check(true).unwrap().findings.len() <= 1);
    }
}

#[test]
fn a_torn_tail_is_cut_wherever_it_tears() {
    let (_dir, store) = store();
    let mut writer = store.writer().unwrap();
    for call in 1..=4u64 {
        put(&mut writer, 1, call as i64, ask(call, conversation(1, call as usize, 100)));
    }
    drop(writer);
    let path = segment(&store);
    let whole = fs::read(&path).unwrap();
    let reader = store.reader().unwrap();
    let ends: Vec<_> = reader.since(&Cursor::default()).unwrap().map(|entry| entry.unwrap().place.offset).collect();
    drop(reader);
    for len in (0..whole.len()).rev().step_by(7) {
        fs::write(&path, &whole[..len]).unwrap();
        let _ = fs::remove_file(path.with_extension("hbidx"));
        let reader = store.reader().unwrap();
        let expected = ends.iter().skip(1).filter(|end| **end <= len as u64).count();
        let calls = reader.traces().first().map_or(0, |trace| trace.calls as usize);
        assert_eq!(calls, expected, "cut at {len}");
        if calls > 0 {
            assert!(reader.check(true).unwrap().is_sound(), "cut at {len}");
        }
    }
}

#[test]
fn what_a_newer_holdback_made_is_refused_by_name() {
    let (_dir, store) = store();
    drop({
        let mut writer = store.writer().unwrap();
        put(&mut writer, 1, 0, started("x"));
        writer
    });
    let path = segment(&store);
    let text = fs::read(&path).unwrap();
    let newer = [&b"holdback trace log, format 7\n"[..], b"something else"].concat();
    fs::write(&path, newer).unwrap();
    let _ = fs::remove_file(path.with_extension("hbidx"));
    let error = store.reader().unwrap_err().to_string();
    assert!(error.contains("format 7") && error.contains("update holdback"), "{error}");
    fs::write(&path, text).unwrap();
    assert_eq!(store.reader().unwrap().traces().len(), 1);
}
