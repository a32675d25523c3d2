//! What real agents sent and wrote: byte for byte, and linear. Skipped, in so many words, where the corpus isn't.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use bytes::Bytes;
use holdback::context::Relation;
use holdback::store::log::{Kept, Reader};
use holdback::trace::TraceId;
use serde_json::Value;

use crate::common::*;

#[expect(clippy::disallowed_methods, reason = "tests are told where the corpus is")]
fn corpus() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("HOLDBACK_SHARED").map_or_else(beside, PathBuf::from);
    let corpus = shared.join("corpus");
    if !corpus.is_dir() {
        eprintln!("skipped: no corpus at {} (set HOLDBACK_SHARED)", corpus.display());
        return None;
    }
    Some(corpus)
}

fn read(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "zst") {
        zstd::decode_all(&bytes[..]).unwrap()
    } else {
        bytes
    }
}

fn captures(corpus: &Path) -> Vec<(String, Vec<Bytes>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(corpus.join("wire")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some((name, _)) = name.split_once(".wire.jsonl") else { continue };
        let text = String::from_utf8(read(&path)).unwrap();
        let bodies = text.lines().filter_map(|line| {
            let exchange: Value = serde_json::from_str(line).unwrap();
            let request = &exchange["request"];
            let text = request["body_text"].as_str().map(|text| Bytes::from(text.to_owned()));
            let base64 = || base64::engine::general_purpose::STANDARD.decode(request["body_b64"].as_str()?).ok();
            text.or_else(|| base64().map(Bytes::from))
        });
        found.push((name.to_owned(), bodies.collect()));
    }
    found.sort();
    found
}

fn files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, into) } else { into.push(path) }
    }
}

fn relations(reader: &Reader, trace: u128) -> Vec<Relation> {
    let entries = reader.entries(TraceId(trace)).unwrap();
    entries
        .iter()
        .filter_map(|entry| match &entry.what {
            Kept::CallStarted(_, call) => Some(call.context.relation),
            _ => None,
        })
        .collect()
}

#[test]
fn every_request_and_every_session_file_comes_back_byte_for_byte() {
    let Some(corpus) = corpus() else { return };
    let (_dir, store) = store();
    let mut writer = store.writer().unwrap();
    let captures = captures(&corpus);
    let mut call = 0;
    for (trace, (_, bodies)) in (1..).zip(&captures) {
        for body in bodies {
            call += 1;
            put(&mut writer, trace, call as i64, ask(call, body.clone()));
        }
    }
    let mut sessions = Vec::new();
    files(&corpus, &mut sessions);
    let sessions: Vec<_> =
        sessions.into_iter().map(|path| fs::read(path).unwrap()).filter(|bytes| !bytes.is_empty()).collect();
    for session in &sessions {
        call += 1;
        put(&mut writer, 9999, call as i64, ask(call, session.clone()));
        put(&mut writer, 9999, call as i64, answer(call, session.clone()));
    }
    drop(writer);
    let reader = store.reader().unwrap();
    for (trace, (name, bodies)) in (1..).zip(&captures) {
        if !bodies.is_empty() {
            assert!(requests(&reader, trace) == *bodies, "{name}");
        }
    }
    assert!(requests(&reader, 9999) == sessions);
    let checkup = reader.check(true).unwrap();
    assert!(checkup.is_sound(), "{:?}", checkup.findings);
    eprintln!("{} captures, {} requests, {} files", captures.len(), checkup.bodies, sessions.len());
}

#[test]
fn sixty_turns_are_stored_once_not_sixty_times() {
    let Some(corpus) = corpus() else { return };
    for (name, bodies) in captures(&corpus) {
        if bodies.len() < 40 {
            continue;
        }
        let (_dir, store) = store();
        let mut writer = store.writer().unwrap();
        for (call, body) in (0..).zip(&bodies) {
            put(&mut writer, 1, call as i64, ask(call, body.clone()));
        }
        drop(writer);
        let reader = store.reader().unwrap();
        let stored = reader.trace(TraceId(1)).unwrap().stored;
        let unique = unique_bytes(&bodies);
        let sent: usize = bodies.iter().map(Bytes::len).sum();
        let mut kinds = relations(&reader, 1);
        eprintln!("{name}: {} calls, {sent} bytes sent, {unique} unique, {stored} on disk", bodies.len());
        assert!(stored as usize <= unique * 6 / 5, "{name}: {stored} bytes for {unique} unique ones");
        kinds.dedup();
        eprintln!("{name}: {kinds:?}");
        let resets = kinds.iter().filter(|kind| **kind == Relation::Reset).count();
        assert_eq!(resets > 0, name.contains("compaction"), "{name}: {kinds:?}");
    }
}

/// Bytes of the different elements of the requests' lists and of their other members.
fn unique_bytes(bodies: &[Bytes]) -> usize {
    let mut seen = std::collections::HashSet::new();
    for body in bodies {
        let request: Value = serde_json::from_slice(body).unwrap();
        for member in request.as_object().unwrap().values() {
            match member {
                Value::Array(elements) => seen.extend(elements.iter().map(Value::to_string)),
                other => seen.extend([other.to_string()]),
            }
        }
    }
    seen.iter().map(String::len).sum()
}
