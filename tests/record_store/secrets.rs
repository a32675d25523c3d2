//! Secrets in everything that is said, both ways, in every spelling of it: none may be found in the store.

use std::io::Write;

use holdback::store::log::{Kept, Store};
use serde_json::json;

use super::planted::{Planted, letters, secrets};
use super::*;
use crate::fake::{Act, chat, sse};

/// Bytes as they are, and whatever in them unpacks with zstd.
pub fn spots(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![bytes.to_vec()];
    for at in memchr::memmem::find_iter(bytes, &[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut plain = Vec::new();
        if let Ok(mut frame) = zstd::Decoder::new(&bytes[at..]).map(zstd::Decoder::single_frame) {
            // What comes before a broken place counts too.
            let _ = frame.read_to_end(&mut plain);
        }
        all.push(plain);
    }
    all
}

/// Everything that can be got out of a store, and its files as they are.
fn everything(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    stdout(folder, &["index"]);
    let traces = json(folder, &["traces", "ls", "-n", "0", "--json"]);
    for trace in traces.as_array().unwrap() {
        let id = trace["id"].as_str().unwrap();
        all.push((format!("show {id}"), stdout(folder, &["traces", "show", id, "--json"])));
        all.push((format!("show --full {id}"), stdout(folder, &["traces", "show", id, "--full"])));
        all.push((format!("export {id}"), stdout(folder, &["traces", "export", id])));
    }
    let store = Store::existing(folder.join(".holdback")).unwrap();
    let reader = store.reader().unwrap();
    for trace in reader.traces() {
        for entry in reader.entries(trace.id).unwrap() {
            all.push((format!("an entry of {}", trace.id), format!("{:?}", entry.what).into_bytes()));
            match entry.what {
                Kept::CallStarted(_, started) => {
                    let call = started.call;
                    all.push((format!("request of {call}"), reader.request(call).unwrap().to_vec()));
                }
                Kept::CallEnded(_, call, ended) => all.push((format!("response of {call}"), ended.body.to_vec())),
                _ => {}
            }
        }
    }
    drop(reader);
    let tables = json(folder, &["sql", "--json", "SELECT table_name FROM duckdb_tables() WHERE NOT internal"]);
    assert!(tables.as_array().unwrap().len() >= 10, "{tables}");
    for table in tables.as_array().unwrap() {
        let name = table["table_name"].as_str().unwrap();
        all.push((format!("table {name}"), stdout(folder, &["sql", "--json", &format!("SELECT * FROM \"{name}\"")])));
    }
    all.extend(files(&folder.join(".holdback")));
    all.into_iter().flat_map(|(name, bytes)| spots(&bytes).into_iter().map(move |spot| (name.clone(), spot))).collect()
}

/// The places where any of these words stands, as it is or as JSON spells it.
fn found<'a>(spots: &[(String, Vec<u8>)], words: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut found = Vec::new();
    for (what, word) in words {
        let once = serde_json::to_string(word).unwrap();
        let twice = serde_json::to_string(once.trim_matches('"')).unwrap();
        for spelling in [word, once.trim_matches('"'), twice.trim_matches('"')] {
            let finder = memchr::memmem::Finder::new(spelling);
            found.extend(
                spots.iter().filter(|(_, bytes)| finder.find(bytes).is_some()).map(|(at, _)| format!("{what}: {at}")),
            );
        }
    }
    found.sort();
    found.dedup();
    found
}

fn answer(text: &str) -> String {
    json!({"id": "c1", "object": "chat.completion", "model": "gpt-x", "choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": format!("it is\n{text}\nindeed")}}]})
    .to_string()
}

/// A stream of deltas of three characters each.
fn deltas(text: &str, delta: impl Fn(&str) -> Value) -> Vec<String> {
    let letters: Vec<char> = format!("it is {text} indeed").chars().collect();
    let mut events: Vec<String> =
        letters.chunks(3).map(|some| sse(&delta(&some.iter().collect::<String>()).to_string(), None)).collect();
    events.push(sse("{}", Some("stop")));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn as_chunks(pieces: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut all = Act::chunks(&[]);
    all.extend(pieces.into_iter().map(|piece| [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat()));
    all.push(b"0\r\n\r\n".to_vec());
    all
}

/// The ways an answer may hold a secret.
fn answers(text: &str) -> Vec<Act> {
    let whole = answer(text);
    let json_type = "Content-Type: application/json\r\n";
    let spoken = deltas(text, |piece| json!({"content": piece}));
    let called = deltas(text, |piece| json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}));
    let events: Vec<&str> = spoken.iter().map(String::as_str).collect();
    let arguments: Vec<&str> = called.iter().map(String::as_str).collect();
    // One event, cut by the network wherever it likes.
    let event = sse(&json!({"content": text}).to_string(), Some("stop")).into_bytes();
    let bits: Vec<Vec<u8>> = event.chunks(event.len() / 7 + 1).map(<[u8]>::to_vec).collect();
    let header = text.replace('\n', " ");
    vec![
        Act::json(&whole),
        Act::with(&format!("{json_type}Content-Encoding: gzip\r\n"), &gzip(whole.as_bytes())),
        Act::stream(&events),
        Act::stream(&arguments),
        Act::Say(as_chunks(bits)),
        Act::status(400, &json!({"error": {"type": "invalid", "message": format!("cannot read {text}")}}).to_string()),
        Act::with(&format!("{json_type}X-Debug: {header}\r\nSet-Cookie: id={header}\r\n"), whole.as_bytes()),
        Act::SayAndClose(Act::chunks(&events[..events.len() - 3])),
    ]
}

/// A request that says it as the user, in a tool call and in a tool result, in a header and in the address.
fn request(planted: &Planted) -> (String, String, String) {
    let text = &planted.text;
    let twice = json!({"stdout": format!("$ cat .env\n{text}\n")}).to_string();
    let body = json!({"model": "gpt-x", "messages": [
        {"role": "system", "content": format!("the key is {text}")},
        {"role": "user", "content": [{"type": "text", "text": text}]},
        {"role": "assistant", "tool_calls": [{"id": "t1", "type": "function",
            "function": {"name": "sh", "arguments": json!({"command": format!("echo '{text}'")}).to_string()}}]},
        {"role": "tool", "tool_call_id": "t1", "content": twice},
    ]});
    let line = text.replace('\n', " ");
    let headers =
        format!("X-Note: {line}\r\nAuthorization: Bearer {line}\r\nCookie: a={line}\r\nX-Api-Key: {line}\r\n");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:~@/".contains(c);
    let query = if text.chars().all(plain) { format!("?note={text}&key={}", planted.secret) } else { String::new() };
    (query, headers, body.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_planted_secret_is_in_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let ways = answers("").len() as u64;
    let planted: Vec<Vec<Planted>> = (0..ways).map(secrets).collect();
    assert!(planted[0].len() >= 40);
    let acts = (0..planted[0].len()).flat_map(|at| (0..ways as usize).map(move |way| (at, way)));
    let order: Vec<(usize, usize)> = acts.collect();
    let acts = order.iter().map(|(at, way)| answers(&planted[*way][*at].text).swap_remove(*way)).collect();
    let fake = Fake::start(acts).await;
    let proxy = Standing::start(folder.path(), &fake, &[]);
    for (at, way) in &order {
        let planted = &planted[*way][*at];
        let (query, headers, body) = request(planted);
        let target = format!("/hb/{:032x}{CHAT}{query}", way + 1);
        let told = proxy.connect().await.post(&target, &headers, body.as_bytes()).await;
        assert!(told.is_some(), "{} {way}", planted.name);
    }
    proxy.stop();
    for (seen, (at, way)) in fake.seen().iter().zip(&order) {
        let (query, _, body) = request(&planted[*way][*at]);
        assert_eq!(seen.body, body.as_bytes(), "what is forwarded is never altered");
        assert!(seen.target.ends_with(&query));
    }
    let spots = everything(folder.path());
    let words = planted.iter().flatten().map(|planted| (planted.name, planted.secret.as_str()));
    let looked_into =
        spots.iter().any(|(at, bytes)| at.ends_with(".hblog") && memchr::memmem::find(bytes, b"the key is ").is_some());
    assert!(looked_into, "what the log packs is seen by this test");
    let found = found(&spots, words);
    assert!(found.is_empty(), "{} places:\n{}", found.len(), found.join("\n"));
    assert_eq!(json(folder.path(), &["doctor", "--verify", "--json"])["stats"]["calls"], order.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn authorisation_and_cookies_are_never_kept() {
    let folder = tempfile::tempdir().unwrap();
    let word = |at| letters("abcdefghijklmnopqrstuvwxyz", 24, at);
    let theirs = format!("Content-Type: application/json\r\nSet-Cookie: id={}; Path=/\r\n", word(1));
    let fake = Fake::start(vec![Act::with(&theirs, answer("fine").as_bytes())]).await;
    let proxy = Standing::start(folder.path(), &fake, &["--content", "full"]);
    let names = ["Authorization", "Proxy-Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie"];
    let headers: String = names.iter().zip(2..).map(|(name, at)| format!("{name}: {}\r\n", word(at))).collect();
    let target = format!("{CHAT}?key={}", word(20));
    proxy.connect().await.post(&target, &headers, chat(&["the text stays"]).as_bytes()).await.unwrap();
    proxy.stop();
    let spots = everything(folder.path());
    let words: Vec<String> = [1, 2, 3, 4, 5, 6, 7, 20].map(word).to_vec();
    assert_eq!(found(&spots, words.iter().map(|word| ("header", word.as_str()))), Vec::<String>::new());
    assert!(!found(&spots, [("text", "the text stays")]).is_empty(), "full means full");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_content_no_text_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let word = |at| letters("abcdefghijklmnopqrstuvwxyz", 20, at);
    let mut acts: Vec<Act> = (0..8).map(|way| answers(&word(100 + way as u64)).swap_remove(way)).collect();
    acts[6] = Act::json(&answer(&word(106))); // its way is a header, which is no text
    let fake = Fake::start(acts).await;
    let proxy = Standing::start(folder.path(), &fake, &["--content", "none"]);
    let mut words = Vec::new();
    for way in 0..8 {
        let text = word(way);
        words.extend([text.clone(), word(100 + way)]);
        let planted = Planted { name: "text", secret: text.clone(), text };
        let (_, _, body) = request(&planted);
        proxy.connect().await.post(CHAT, "", body.as_bytes()).await.unwrap();
    }
    proxy.stop();
    let spots = everything(folder.path());
    let found = found(&spots, words.iter().map(|word| (word.as_str(), word.as_str())));
    assert!(found.is_empty(), "{}", found.join("\n"));
    let shape = &json(folder.path(), &["sql", "--json", "SELECT count(*) AS n FROM calls"])[0]["n"];
    assert_eq!(shape, 8);
}
