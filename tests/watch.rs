//! `holdback watch` beside a live `holdback proxy`: labels, signals, rubrics on a share, budgets, alerts, drift.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

struct Here(tempfile::TempDir);

/// A child that ends with the test.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Here {
    fn new() -> Self {
        Here(tempfile::tempdir().unwrap())
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdback"));
        command.args(args).current_dir(self.dir()).env_remove("HOLDBACK_STORE");
        command
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir().join(name), text).unwrap();
    }

    /// A proxy at work, and its address.
    fn proxy(&self, more: &[&str]) -> (Held, String) {
        let args = [&["proxy", "--listen", "127.0.0.1:0", "--mock"], more].concat();
        let mut child = self.command(&args).stderr(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("http://") {
            line.clear();
            assert!(told.read_line(&mut line).unwrap() > 0, "the proxy ended");
        }
        // What it says later goes nowhere, and must not hold it up.
        std::thread::spawn(move || std::io::copy(&mut told, &mut std::io::sink()));
        let address = line.split("http://").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        (Held(child), address)
    }

    /// Looks once, and returns what was seen.
    fn watch(&self, more: &[&str]) -> Vec<Value> {
        let args = [&["watch", "--rules", "rules.yaml", "--once", "--json"], more].concat();
        let output = self.command(&args).output().unwrap();
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "{out}{err}");
        let seen: Value = serde_json::from_str(&out).unwrap();
        seen["watched"].as_array().unwrap().clone()
    }

    /// Looks until so much was seen in all: the recorder needs a moment to write down what it saw.
    fn watch_until(&self, count: usize) -> Vec<Value> {
        let start = Instant::now();
        let mut seen = Vec::new();
        while seen.len() < count {
            seen.extend(self.watch(&[]));
            assert!(start.elapsed() < Duration::from_secs(60), "{} of {count}: {seen:?}", seen.len());
        }
        seen
    }
}

/// Says something to a mock model through the proxy, as a client would, in a trace of its own.
fn say(address: &str, trace: &str, model: &str, messages: &[(&str, &str)]) {
    let messages: Vec<Value> = messages.iter().map(|(role, text)| json!({"role": role, "content": text})).collect();
    let body = json!({"model": model, "messages": messages}).to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /hb/{trace}/up/openai/v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn id(n: usize) -> String {
    format!("{:032x}", n + 1)
}

/// A user who asks, corrects, and loses patience.
fn unhappy(address: &str, n: usize) {
    let first = ("user", "Fix the failing test");
    let then = ("assistant", "Fix the failing test");
    say(address, &id(n), "mock/echo", &[first]);
    say(address, &id(n), "mock/echo", &[first, then, ("user", "no, that's not what I asked for")]);
    say(address, &id(n), "mock/echo", &[first, then, ("user", "it is still broken, this is useless")]);
}

#[test]
fn a_live_proxy_is_watched_with_signals_intents_rubrics_and_a_command_hook() {
    let here = Here::new();
    here.write("judge.yaml", "criteria: {a: [{when: useless, say: no, reason: r}, {say: yes}]}\n");
    here.write(
        "r.yaml",
        "rubric: r\nprinciples: [{principle: p, criteria: [{id: a, ask: Is the user content?, see: [transcript], required: true}]}]\n",
    );
    here.write(
        "rules.yaml",
        "idle: 0\nrubrics: [{rubric: r.yaml, judge: 'mock/judge:judge.yaml'}]\nalerts:\n  \
         - {on: [unhappy, rubric], command: 'cat >> told.jsonl; echo >> told.jsonl'}\n  - {on: [stuck], command: 'touch never'}\n",
    );
    let (_proxy, address) = here.proxy(&[]);
    unhappy(&address, 0);
    say(&address, &id(1), "mock/echo", &[("user", "I want a refund for order A-17")]);
    let mut seen = here.watch_until(2);
    // A trace that goes on after it was looked at is looked at again: the last word counts.
    seen.extend(here.watch(&[]));
    let last = |n: usize| seen.iter().rev().find(|one| one["trace"] == id(n)).unwrap().clone();
    let (angry, calm) = (last(0), last(1));
    assert_eq!(angry["calls"], 3, "{angry}");
    let signal = angry["signals"].as_array().unwrap().iter().find(|seen| seen["signal"] == "unhappy").unwrap();
    assert_eq!((&signal["level"], &signal["value"]), (&json!("bad"), &json!(2.0)), "{signal}");
    assert!(angry["intents"].as_array().unwrap().contains(&json!("fix")), "{angry}");
    assert_eq!(calm["intents"], json!(["refund"]));
    let whole = |one: &Value| one["rubrics"][0]["grades"][0]["pass"].clone();
    assert_eq!((whole(&angry), whole(&calm)), (json!(false), json!(true)));
    let criterion = &angry["rubrics"][0]["grades"][1];
    assert!(
        criterion["label"] == "r/a" && criterion["reasons"][0].as_str().unwrap().contains("\"useless\""),
        "{criterion}"
    );
    let told = std::fs::read_to_string(here.dir().join("told.jsonl")).unwrap();
    let alerts: Vec<Value> = told.lines().filter(|l| !l.is_empty()).map(|l| serde_json::from_str(l).unwrap()).collect();
    let kinds: Vec<&str> = alerts.iter().map(|alert| alert["alert"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"unhappy") && kinds.contains(&"rubric"), "{kinds:?}");
    assert!(alerts.iter().all(|alert| alert["trace"] == id(0)), "{told}");
    assert!(!here.dir().join("never").exists());
    // Nothing is looked at twice, and judges' own traces not at all.
    assert_eq!(here.watch(&["--all"]), Vec::<Value>::new());
}

#[test]
fn labels_and_counts_work_where_no_text_is_kept() {
    let here = Here::new();
    here.write("rules.yaml", "idle: 0\n");
    let (_proxy, address) = here.proxy(&["--content", "none"]);
    unhappy(&address, 0);
    let start = Instant::now();
    let angry = loop {
        let seen = here.watch(&["--all"]);
        if let Some(one) = seen.into_iter().find(|one| one["calls"] == 3) {
            break one;
        }
        assert!(start.elapsed() < Duration::from_secs(60));
    };
    let signal = angry["signals"].as_array().unwrap().iter().find(|seen| seen["signal"] == "unhappy");
    assert_eq!(signal.map(|signal| &signal["value"]), Some(&json!(2.0)), "{angry}");
    assert!(angry["intents"].as_array().unwrap().contains(&json!("fix")), "{angry}");
    assert_eq!(angry["counts"]["corrections"], json!(2.0));
    for entry in std::fs::read_dir(here.dir().join(".holdback/log")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let holds = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
        assert!(!holds(b"useless") && !holds(b"failing test"), "no text is kept");
    }
}

#[test]
fn rubrics_read_a_share_within_a_budget_and_a_webhook_is_told() {
    let here = Here::new();
    here.write("r.yaml", "rubric: r\nprinciples: [{principle: p, criteria: [{id: a, ask: Is it?}]}]\n");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = listener.local_addr().unwrap();
    let rules = |budget: &str, sample: &str| {
        format!(
            "idle: 0\nrubrics: [{{rubric: r.yaml, judge: 'mock/judge?say=no', sample: {sample}}}]\nbudget: {budget}\n\
             alerts: [{{on: [rubric], webhook: 'http://{hook}/x', quiet: 3600}}]\n"
        )
    };
    here.write("rules.yaml", &rules("{traces: 2}", "1"));
    let told = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        while !bytes.ends_with(b"}") {
            let read = stream.read(&mut piece).unwrap();
            bytes.extend_from_slice(&piece[..read]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        String::from_utf8(bytes).unwrap()
    });
    let (_proxy, address) = here.proxy(&[]);
    (0..5).for_each(|n| say(&address, &id(n), "mock/echo", &[("user", "hello there")]));
    let seen = here.watch_until(5);
    let judged = seen.iter().filter(|one| !one["rubrics"].as_array().unwrap().is_empty()).count();
    assert_eq!(judged, 2, "the day's budget is two traces");
    let told = told.join().unwrap();
    assert!(told.starts_with("POST /x") && told.contains("\"alert\":\"rubric\""), "{told}");
    here.write("rules.yaml", &rules("{}", "0"));
    say(&address, &id(9), "mock/echo", &[("user", "hello again")]);
    assert_eq!(here.watch_until(1)[0]["rubrics"], json!([]), "a share of nothing");
}

#[test]
fn a_change_is_told_once() {
    let here = Here::new();
    here.write("rules.yaml", "idle: 0\ndrift: {alpha: 0.2}\nalerts: [{on: [drift], command: 'cat >> drift.jsonl'}]\n");
    let (_proxy, address) = here.proxy(&[]);
    for n in 0..60 {
        match n < 30 {
            true => say(&address, &id(n), "mock/echo", &[("user", "hello")]),
            false => unhappy(&address, n),
        }
    }
    here.watch_until(60);
    let told = std::fs::read_to_string(here.dir().join("drift.jsonl")).unwrap_or_default();
    assert!(told.contains("corrections went from 0.000"), "{told}");
    say(&address, &id(99), "mock/echo", &[("user", "hello")]);
    here.watch_until(1);
    let again = std::fs::read_to_string(here.dir().join("drift.jsonl")).unwrap();
    assert_eq!(again.matches("corrections went").count(), told.matches("corrections went").count(), "told once");
}

#[test]
fn rules_that_make_no_sense_are_told_before_anything_begins() {
    let here = Here::new();
    for (rules, want) in [("alerts: [{on: [stuk], command: x}]", "stuck"), ("idel: 1", "idel"), ("[", "rules.yaml")] {
        here.write("rules.yaml", rules);
        let output = here.command(&["watch", "--rules", "rules.yaml", "--once"]).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert!(err.contains(want), "{err}");
    }
    let mut watching = Held(here.command(&["watch", "--rules", "none.yaml"]).stderr(Stdio::null()).spawn().unwrap());
    assert_eq!(watching.0.wait().unwrap().code(), Some(2));
}
