//! `holdback import` on files that are damaged, lie, or were made to do harm: each is told with its reason, and none stops the others.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::{holdback, json as parsed, stdout};

fn seed(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/import").join(name)).unwrap()
}

/// What became of each file, by its name, and the exit code.
fn import(folder: &Path, arguments: &[&str]) -> (impl Fn(&str) -> Value, i32) {
    let output = holdback(folder).arg("import").args(arguments).arg("--json").output().unwrap();
    let done: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let of = move |name: &str| {
        let one = done.iter().find(|one| one["file"].as_str().unwrap().ends_with(name));
        one.unwrap_or_else(|| panic!("{name} is not told of")).clone()
    };
    (of, output.status.code().unwrap())
}

/// An entry of an archive: name, method, bytes, and what it says of its size and mode.
struct Entry<'a> {
    name: &'a str,
    method: u16,
    bytes: &'a [u8],
    declared: Option<u32>,
    mode: u32,
    /// Whether it points at the bytes of the entry before it.
    shared: bool,
}

fn entry<'a>(name: &'a str, method: u16, bytes: &'a [u8]) -> Entry<'a> {
    Entry { name, method, bytes, declared: None, mode: 0o100_644, shared: false }
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let (mut out, mut directory, mut before) = (Vec::new(), Vec::new(), 0);
    let mut packed = Vec::new();
    for entry in entries {
        packed = match entry.method {
            _ if entry.shared => packed,
            8 => {
                let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
                packer.write_all(entry.bytes).unwrap();
                packer.finish().unwrap()
            }
            93 => zstd::encode_all(entry.bytes, 3).unwrap(),
            _ => entry.bytes.to_vec(),
        };
        let offset = if entry.shared { before } else { out.len() as u32 };
        before = offset;
        let mut head = vec![20, 0, 0, 0];
        head.extend(entry.method.to_le_bytes());
        head.extend([0; 8]);
        head.extend((packed.len() as u32).to_le_bytes());
        head.extend(entry.declared.unwrap_or(entry.bytes.len() as u32).to_le_bytes());
        head.extend((entry.name.len() as u16).to_le_bytes());
        head.extend([0; 2]);
        if !entry.shared {
            out.extend(b"PK\x03\x04");
            out.extend(&head);
            out.extend(entry.name.as_bytes());
            out.extend(&packed);
        }
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&head);
        directory.extend([0; 6]);
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(entry.name.as_bytes());
    }
    let (start, size, count) = (out.len() as u32, directory.len() as u32, (entries.len() as u16).to_le_bytes());
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([count, count].concat());
    out.extend([size.to_le_bytes(), start.to_le_bytes()].concat());
    out.extend([0, 0]);
    out
}

fn header(id: &str) -> Vec<u8> {
    json!({ "version": 2, "status": "success", "eval": { "eval_id": id, "task": "demo", "model": "openai/m", "created": "2026-01-02T03:04:05+00:00" }, "plan": {}, "stats": {} })
        .to_string()
        .into_bytes()
}

/// A sample as Inspect condenses it: texts of the pool point to attachments, events point into the pool.
fn sample(id: &str, epoch: u64, score: &str) -> Vec<u8> {
    json!({ "id": id, "epoch": epoch, "uuid": format!("{id}-{epoch}"), "scores": { "match": { "value": score } }, "attachments": { "h1": "the long question", "h2": "the long answer" },
        "events_data": { "messages": [{ "role": "system", "content": "be kind" }, { "role": "user", "content": "attachment://h1" }, { "role": "assistant", "content": "never read" }], "calls": [] },
        "events": [{ "event": "model", "uuid": format!("e-{id}-{epoch}"), "timestamp": "2026-01-02T03:04:05+00:00", "model": "openai/m", "input": [], "input_refs": [[0, 2]], "tools": [], "config": {},
            "output": { "model": "m", "choices": [{ "message": { "role": "assistant", "content": "attachment://h2" }, "stop_reason": "stop" }], "usage": { "input_tokens": 9, "output_tokens": 2, "total_tokens": 11 } } }] })
    .to_string()
    .into_bytes()
}

#[test]
fn a_whole_eval_archive_comes_in_as_a_run_with_its_texts_where_they_belong() {
    let folder = tempfile::tempdir().unwrap();
    let (head, first, second, again) =
        (header("e1"), sample("a/../b", 1, "I"), sample("a/../b", 2, "C"), sample("a/../b", 1, "C"));
    let whole = archive(&[
        entry("_journal/start.json", 8, &head),
        entry("samples/a/../b_epoch_1.json", 93, &first),
        entry("samples/a/../b_epoch_2.json", 8, &second),
        entry("summaries.json", 93, b"[]"),
        // An archive that was added to has the name twice; the last counts.
        entry("samples/a/../b_epoch_1.json", 8, &again),
        entry("header.json", 93, &head),
    ]);
    fs::write(folder.path().join("demo.eval"), whole).unwrap();
    let (of, code) = import(folder.path(), &["demo.eval"]);
    let tally = &of("demo.eval")["tally"];
    assert_eq!(
        (code, &tally["used"], &tally["trials"], &tally["calls"]),
        (0, &2.into(), &2.into(), &2.into()),
        "{tally}"
    );
    let runs = parsed(folder.path(), &["runs", "--json"]);
    assert_eq!(runs[0]["trials"], 2, "{runs}");
    let shown = stdout(folder.path(), &["traces", "show", "last", "--full"]);
    assert!(
        shown.contains("the long question") && shown.contains("the long answer") && shown.contains("be kind"),
        "{shown}"
    );
    assert!(!shown.contains("attachment://") && !shown.contains("never read"), "{shown}");
    let (of, _) = import(folder.path(), &["demo.eval"]);
    assert_eq!(of("demo.eval")["added_calls"], 0);
}

fn with<'a>(always: [Entry<'a>; 2], more: Vec<Entry<'a>>) -> Vec<Entry<'a>> {
    always.into_iter().chain(more).collect()
}

#[test]
fn archives_that_were_made_to_do_harm_are_refused_and_nothing_is_written_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("logs");
    fs::create_dir_all(&dir).unwrap();
    let (head, good) = (header("e2"), sample("s", 1, "C"));
    let zeros = vec![0; 40 << 20];
    let put = |name: &str, entries: &[Entry]| fs::write(dir.join(name), archive(entries)).unwrap();
    let always = || [entry("header.json", 8, &head), entry("samples/s_epoch_1.json", 8, &good)];
    put("bomb.eval", &with(always(), vec![entry("samples/bomb_epoch_1.json", 93, &zeros)]));
    put(
        "lie-small.eval",
        &with(always(), vec![Entry { declared: Some(1), ..entry("samples/l_epoch_1.json", 8, &zeros) }]),
    );
    put(
        "lie-big.eval",
        &with(always(), vec![Entry { declared: Some(u32::MAX - 1), ..entry("samples/l_epoch_1.json", 8, b"{}") }]),
    );
    put(
        "names.eval",
        &with(
            always(),
            vec![
                entry("../../escaped.json", 0, &good),
                entry("samples/../../escaped.json", 0, b"{"),
                entry("/tmp/holdback-escaped.json", 0, &good),
                entry("samples\\..\\escaped.json", 0, &good),
            ],
        ),
    );
    // What an unpacker would make a link of is read as what it holds: a path, which is no sample.
    put(
        "link.eval",
        &with(
            always(),
            vec![Entry { mode: 0o120_777, ..entry("samples/link_epoch_1.json", 0, b"../../../etc/passwd") }],
        ),
    );
    let many: Vec<String> = (0..300).map(|number| format!("samples/o{number}_epoch_1.json")).collect();
    let overlapping = many.iter().map(|name| Entry { shared: true, ..entry(name, 8, &zeros[..1 << 20]) });
    let first = [entry("header.json", 8, &head), entry("samples/x_epoch_1.json", 8, &zeros[..1 << 20])];
    put("overlap.eval", &first.into_iter().chain(overlapping).collect::<Vec<_>>());
    put("nothing.eval", &[entry("readme.txt", 0, b"hello")]);
    put("good.eval", &always());
    let (of, code) = import(folder.path(), &["logs"]);
    assert_eq!(code, 1);
    for (file, reason) in [
        ("bomb.eval", "zip bomb"),
        ("lie-small.eval", "size it declares"),
        ("lie-big.eval", "zip bomb"),
        ("link.eval", "expected value"),
    ] {
        let done = of(file);
        assert_eq!(
            (&done["error"], &done["tally"]["used"], &done["tally"]["damaged"]),
            (&Value::Null, &1.into(), &1.into()),
            "{done}"
        );
        assert!(done["tally"]["remarks"].to_string().contains(reason), "{done}");
    }
    assert_eq!((&of("names.eval")["tally"]["used"], &of("names.eval")["tally"]["damaged"]), (&1.into(), &1.into()));
    assert!(of("overlap.eval")["error"].as_str().unwrap().contains("on top of each other"));
    assert!(of("nothing.eval")["error"].as_str().unwrap().contains("no Inspect log"));
    assert_eq!(of("good.eval")["tally"]["trials"], 1);
    assert!(!folder.path().join("escaped.json").exists() && !Path::new("/tmp/holdback-escaped.json").exists());
}

#[test]
fn cut_marked_and_mixed_files_are_read_as_far_as_they_go() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("all");
    fs::create_dir_all(dir.join("deep/er")).unwrap();
    let claude = String::from_utf8(seed("claude-code.jsonl")).unwrap();
    let renamed = |name: &str| {
        claude
            .replace("\"sessionId\": \"", &format!("\"sessionId\": \"{name}-"))
            .replace("\"sessionId\":\"", &format!("\"sessionId\":\"{name}-"))
    };
    fs::write(dir.join("plain.jsonl"), &claude).unwrap();
    fs::write(dir.join("crlf.jsonl"), format!("\u{feff}{}", renamed("crlf").replace('\n', "\r\n"))).unwrap();
    fs::write(dir.join("cut.jsonl"), &renamed("cut")[..renamed("cut").trim_end().len() - 9]).unwrap();
    fs::write(
        dir.join("strange.jsonl"),
        format!("{}{{\"type\":\"new-in-2030\",\"sessionId\":\"x\",\"n\":1}}\nnot json\n", renamed("strange")),
    )
    .unwrap();
    fs::write(dir.join("deep/er/har.har"), seed("har.har")).unwrap();
    fs::write(dir.join("deep/otlp.pb"), seed("otlp.traces.pb")).unwrap();
    fs::write(dir.join("deep/rows.jsonl"), seed("rows.jsonl")).unwrap();
    fs::write(dir.join("notes.md"), "hello").unwrap();
    fs::write(dir.join("empty.jsonl"), "").unwrap();
    fs::write(dir.join("picture.png"), [0x89, b'P', b'N', b'G', 0, 1, 2, 3]).unwrap();
    let (of, code) = import(folder.path(), &["all"]);
    assert_eq!(code, 0);
    let calls = |name: &str| of(name)["tally"]["calls"].as_u64().unwrap();
    assert_eq!(calls("crlf.jsonl"), calls("plain.jsonl"));
    assert_eq!(of("crlf.jsonl")["tally"]["damaged"], 0);
    assert_eq!(of("cut.jsonl")["tally"]["skipped"]["a last line that was cut off"], 1, "{}", of("cut.jsonl"));
    let strange = of("strange.jsonl");
    assert_eq!(
        (&strange["tally"]["unknown"]["new-in-2030"], &strange["tally"]["damaged"]),
        (&1.into(), &1.into()),
        "{strange}"
    );
    for (name, format) in [("har.har", "har"), ("otlp.pb", "otlp"), ("rows.jsonl", "rows")] {
        assert_eq!(of(name)["format"], format);
    }
    for (name, why) in [
        ("notes.md", "text for people"),
        ("empty.jsonl", "an empty file"),
        ("picture.png", "not in a format known here"),
    ] {
        assert_eq!(of(name)["skipped"], why);
    }
    // A first line longer than what is usually looked at is a first line still.
    let long = renamed("long").lines().skip(1).collect::<Vec<_>>().join("\n");
    let long = long.replacen("\"look\"", &format!("\"{}\"", "look ".repeat(100_000)), 1);
    fs::write(folder.path().join("long.jsonl"), long).unwrap();
    assert_eq!(import(folder.path(), &["long.jsonl"]).0("long.jsonl")["format"], "claude-code");
    // A person is told the same.
    let told = holdback(folder.path()).args(["import", "all/strange.jsonl"]).output().unwrap();
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("1 new-in-2030") && told.contains("1 lines damaged"), "{told}");
}

#[test]
fn the_same_session_in_two_files_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        fs::create_dir_all(folder.path().join("all").join(name)).unwrap();
        for file in ["claude-code.jsonl", "codex.jsonl", "langfuse.json", "opencode.database.db"] {
            fs::write(folder.path().join("all").join(name).join(file), seed(file)).unwrap();
        }
    }
    let (of, code) = import(folder.path(), &["all"]);
    assert_eq!(code, 0);
    for file in ["claude-code.jsonl", "codex.jsonl", "langfuse.json", "opencode.database.db"] {
        let told = |name: &str| of(&format!("{name}/{file}"));
        let added = |name: &str| told(name)["added_calls"].as_u64().unwrap();
        assert_eq!(added("one") + added("two"), told("one")["tally"]["calls"].as_u64().unwrap(), "{file}");
    }
    let calls = |folder: &Path| -> u64 {
        let traces = parsed(folder, &["traces", "ls", "--json"]);
        traces.as_array().unwrap().iter().map(|trace| trace["calls"].as_u64().unwrap()).sum()
    };
    let before = calls(folder.path());
    assert_eq!(import(folder.path(), &["all/two"]).1, 0);
    assert_eq!(calls(folder.path()), before);
}

#[test]
fn a_line_of_200_megabytes_is_passed_over_and_the_next_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let claude = seed("claude-code.jsonl");
    let mut file = fs::File::create(folder.path().join("s.jsonl")).unwrap();
    file.write_all(b"{\"type\":\"user\",\"sessionId\":\"s\",\"junk\":\"").unwrap();
    // A hole in the file: it costs no disk, and is read as zeros.
    file.seek(SeekFrom::Start(200 << 20)).unwrap();
    file.write_all(b"\"}\n").unwrap();
    file.write_all(&claude).unwrap();
    drop(file);
    let (of, code) = import(folder.path(), &["s.jsonl", "--format", "claude-code"]);
    let done = of("s.jsonl");
    assert_eq!((code, &done["tally"]["calls"]), (0, &2.into()), "{done}");
    assert!(done["tally"]["skipped"].to_string().contains("too long"), "{done}");
}

#[test]
fn wrong_protobuf_circles_of_spans_and_wrong_formats_stop_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("all");
    fs::create_dir_all(&dir).unwrap();
    let mut cut = seed("otlp.traces.pb");
    cut.truncate(cut.len() - 40);
    fs::write(dir.join("cut.pb"), &cut).unwrap();
    fs::write(dir.join("noise.pb"), [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3]).unwrap();
    let span = |id: &str, parent: &str, call: bool| {
        let kind = if call { "chat" } else { "invoke_agent" };
        json!({ "traceId": "0123456789abcdef0123456789abcdef", "spanId": id, "parentSpanId": parent, "name": id, "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1600000000000000000",
            "attributes": [{ "key": "gen_ai.operation.name", "value": { "stringValue": kind } }, { "key": "gen_ai.request.model", "value": { "stringValue": "m" } }] })
    };
    let (a, b, c) = ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc");
    let circle = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span(a, b, false), span(b, c, true), span(c, a, false), span("dddddddddddddddd", "dddddddddddddddd", true)] }] }] });
    fs::write(dir.join("circle.json"), circle.to_string()).unwrap();
    fs::write(dir.join("good.jsonl"), seed("pi.jsonl")).unwrap();
    let (of, code) = import(folder.path(), &["all/cut.pb", "all/noise.pb", "--format", "otlp"]);
    assert_eq!(code, 1);
    for name in ["cut.pb", "noise.pb"] {
        assert!(of(name)["error"].as_str().unwrap().contains("no OTLP"), "{}", of(name));
    }
    let (of, code) = import(folder.path(), &["all/circle.json", "all/good.jsonl"]);
    assert_eq!((code, &of("circle.json")["tally"]["used"], &of("circle.json")["error"]), (0, &4.into(), &Value::Null));
    assert_eq!(of("good.jsonl")["error"], Value::Null);
    let traces = parsed(folder.path(), &["traces", "ls", "--json"]);
    assert!(traces.as_array().unwrap().len() >= 2, "{traces}");
}
