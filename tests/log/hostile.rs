//! Bodies nobody should send, and everybody does one day.

use bytes::Bytes;
use holdback::trace::TraceId;
use proptest::prelude::*;

use crate::common::*;

#[test]
fn hostile_bodies_come_back_byte_for_byte() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(10_000), close.repeat(10_000)).into_bytes();
    let message = br#"{"role":"user","content":"#;
    let bodies: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"not JSON at all".to_vec(),
        vec![0xff; 5000],
        b"{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xc3\x28\"}]}".to_vec(),
        br#"{"messages":[],"messages":[{"role":"user"}],"model":"a","model":"b"}"#.to_vec(),
        deep("[", "]"),
        deep("{\"messages\":[", "]}"),
        deep("{\"a\":", "}"),
        [&b"{\"messages\":["[..], message, &deep("[", "]"), b"}]}"].concat(),
        br#"{"messages":[{"role":"user","content":"cut"#.to_vec(),
        br#"{"messages":[{"content":"\ud800\u0000"}],"x":1e999,"y":-0.0}"#.to_vec(),
        b"\xef\xbb\xbf{\"messages\":[]}".to_vec(),
        b"\n\n { \"messages\" : [ { } , { } ] } \n".to_vec(),
        b"\xd7hbb\x1a\x00\x00\x00".repeat(100),
    ];
    let (_dir, store) = store();
    let mut writer = store.writer().unwrap();
    for round in 0..2u64 {
        for (number, body) in (0u64..).zip(&bodies) {
            put(&mut writer, 1, number as i64, ask(round * 100 + number, body.clone()));
            put(&mut writer, 1, number as i64, answer(round * 100 + number, body.clone()));
        }
    }
    drop(writer);
    let reader = store.reader().unwrap();
    let back = requests(&reader, 1);
    for (number, body) in bodies.iter().chain(&bodies).enumerate() {
        assert!(back[number] == body, "body {number}");
    }
    assert!(reader.check(true).unwrap().findings.is_empty());
    let stats = reader.stats();
    assert!(stats.bytes < stats.request_bytes, "{stats:?}");
}

#[test]
fn a_body_of_a_hundred_megabytes_is_a_body() {
    let (_dir, store) = store();
    let mut writer = store.writer().unwrap();
    let image = words(1, 1 << 20).repeat(100);
    let body = |more: &str| Bytes::from(format!(r#"{{"messages":[{{"role":"user","content":"{image}"}}{more}]}}"#));
    let bodies = [body(""), body(r#",{"role":"assistant","content":"big"}"#)];
    for (call, body) in (0..).zip(&bodies) {
        put(&mut writer, 1, 0, ask(call, body.clone()));
    }
    drop(writer);
    let reader = store.reader().unwrap();
    assert!(requests(&reader, 1) == bodies);
    assert!(reader.check(true).unwrap().is_sound());
    assert!(reader.trace(TraceId(1)).unwrap().stored < 110 << 20, "the second one shares the first one's block");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_of_any_traces_come_back(
        bodies in prop::collection::vec((0u128..3, prop::collection::vec(any::<u8>(), 0..300), 0usize..6), 1..20),
        roll in prop::sample::select(vec![1u64, 2000, u64::MAX]),
    ) {
        let (_dir, store) = store();
        let mut writer = store.writer().unwrap().rolling_at(roll);
        let mut sent: [Vec<Vec<u8>>; 3] = Default::default();
        for (call, (trace, tail, turns)) in (0..).zip(bodies) {
            let mut body = conversation(trace as u64, turns, 30);
            body.extend_from_slice(&tail);
            put(&mut writer, trace, call as i64, ask(call, body.clone()));
            sent[trace as usize].push(body);
        }
        let reader = store.reader().unwrap();
        for (trace, bodies) in (0..).zip(&sent) {
            if !bodies.is_empty() {
                prop_assert!(requests(&reader, trace) == *bodies);
            }
        }
        drop(writer);
        prop_assert!(store.reader().unwrap().check(true).unwrap().is_sound());
    }
}
