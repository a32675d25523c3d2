//! The web view over plain HTTP: nothing that was recorded becomes markup, nobody from elsewhere gets in, nothing is written
//! without the token.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use holdback::grade::Evidence;
use holdback::grade::rubric::criteria_fingerprint;
use holdback::store::log::{Durability, Store};
use holdback::suite::load_rubric;
use holdback::trace::{
    CallEnd, CallEnded, CallId, CallStarted, CallSummary, Note, Score, Sink, Timestamp, TraceEnded, TraceEvent,
    TraceId, TraceOutcome, TraceStarted, What, Wire,
};
use holdback::view::{Desk, View, serve};
use serde_json::json;
use tokio::sync::oneshot;

/// Closes whatever it may stand in.
const NASTY: &str = "\"'></title></textarea></script><script>pwned()</script><img src=x onerror=pwned()>";
const RUBRIC: &str = "r <script>pwned()</script>";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A call and its answer; the third one failed.
fn exchange(call: u64) -> [What; 2] {
    let body = json!({"model": NASTY, "messages": [
        {"role": "system", "content": NASTY},
        {"role": "user", "content": format!("{NASTY} {call}")},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "a", "type": "function", "function": {"name": NASTY, "arguments": json!({"x": NASTY}).to_string()}}]},
        {"role": "tool", "tool_call_id": "a", "content": NASTY}], "tools": [{"type": "function", "function": {"name": NASTY, "description": NASTY, "parameters": {}}}]});
    let answer = json!({"id": NASTY, "model": NASTY, "choices": [{"index": 0, "finish_reason": NASTY, "message": {"role": "assistant", "content": NASTY}}]});
    let body = body.to_string().into_bytes();
    let started = What::CallStarted(
        CallId(call),
        CallStarted {
            wire: Wire::OpenaiChat,
            upstream: NASTY.to_owned(),
            method: "POST".to_owned(),
            target: format!("/v1/chat/completions?{NASTY}"),
            body: body.into(),
            agent: Some(NASTY.to_owned()),
            ..CallStarted::default()
        },
    );
    let body =
        if call == 3 { json!({"error": {"type": NASTY, "message": NASTY}}).to_string() } else { answer.to_string() };
    let ended = What::CallEnded(
        CallId(call),
        CallEnded {
            end: CallEnd::Complete,
            status: Some(if call == 3 { 400 } else { 200 }),
            headers: vec![("x-nasty".to_owned(), NASTY.to_owned())],
            body: body.into_bytes().into(),
            summary: CallSummary {
                model: NASTY.to_owned(),
                stop: Some(NASTY.to_owned()),
                error: (call == 3).then(|| NASTY.to_owned()),
                ..CallSummary::default()
            },
            ..CallEnded::default()
        },
    );
    [started, ended]
}

/// A trace whose every field is an attack.
fn plant(store: &Store) -> TraceId {
    let trace = TraceId(0xabcd_0000_0000_0000_0000_0000_0000_0001);
    let mut writer = store.writer().unwrap();
    let mut at = 1_760_000_000_000_000;
    let mut say = |what: What| {
        at += 1000;
        writer.accept(&TraceEvent { trace, at: Timestamp(at), what }).unwrap();
    };
    say(What::TraceStarted(TraceStarted {
        name: Some(NASTY.to_owned()),
        tags: vec![(NASTY.to_owned(), NASTY.to_owned())],
        agent: Some(NASTY.to_owned()),
        command: vec![NASTY.to_owned(), NASTY.to_owned()],
        cwd: Some(NASTY.to_owned()),
        git_commit: Some(NASTY.to_owned()),
        ..TraceStarted::default()
    }));
    (1..=3).flat_map(exchange).for_each(&mut say);
    say(What::Noted(Note { kind: NASTY.to_owned(), call: None, data: json!({NASTY: NASTY}) }));
    let changed = json!({"changed": [{"path": NASTY, "status": NASTY}]});
    say(What::Noted(Note { kind: "files".to_owned(), call: Some(CallId(1)), data: changed }));
    let label = Some(NASTY.to_owned());
    say(What::Scored(Score {
        name: NASTY.to_owned(),
        by: NASTY.to_owned(),
        value: None,
        label: label.clone(),
        comment: label,
        call: None,
    }));
    let reason = Some(NASTY.to_owned());
    say(What::TraceEnded(TraceEnded {
        outcome: TraceOutcome::Failed,
        exit_code: Some(1),
        signal: None,
        reason,
        lost_calls: 0,
    }));
    plant_run(&mut writer, trace);
    trace
}

fn plant_run(writer: &mut holdback::store::log::Writer, trace: TraceId) {
    let at = Timestamp(1_760_000_001_000_000);
    let run = json!({"id": "run1", "name": NASTY, "suite": NASTY, "kind": "regression", "started": at, "finished": at, "trials_per_task": 2,
        "tasks": [NASTY], "variants": [{"name": NASTY, "model": NASTY, "fingerprint": "f"}],
        "fingerprints": {"suite": "s", "graders": "g"}, "git_commit": NASTY, "holdback": "0"});
    for attempt in 1..=2 {
        let trial = json!({"id": format!("t{attempt}"), "run": "run1", "task": NASTY, "variant": NASTY, "attempt": attempt, "trace": trace,
            "started": at, "duration_us": 5, "outcome": "fail", "ending": "exited", "code": 0, "why": NASTY, "grades": [{"label": NASTY, "kind": "contains",
            "fingerprint": "g", "required": true, "weight": 1.0, "grade": "scored", "score": 0.0, "pass": false, "reasons": [NASTY]}]});
        writer.record("trial", &format!("t{attempt}"), at, &trial).unwrap();
    }
    writer.record("run", "run1", at, &run).unwrap();
    let rubric = load_rubric("r.yaml", &rubric()).unwrap();
    let said = json!({"judge": NASTY, "repeat": 1, "said": "level", "level": 1, "quote": NASTY, "at": NASTY, "reason": format!("JUDGED {NASTY}")});
    let reading = json!({"rubric": RUBRIC, "fingerprint": rubric.fingerprint(), "pass": 0.5, "criteria": [{"id": "a", "ask": NASTY, "weight": 1.0,
        "required": true, "levels": 2, "pass_at": 2, "votes": [said], "grade": "scored", "score": 0.0, "pass": false, "reasons": [NASTY], "verdict": "no"}]});
    for attempt in 1..=2 {
        let mut evidence = serde_json::to_value(Evidence::new(NASTY, NASTY)).unwrap();
        evidence["prompt"] = json!(NASTY);
        evidence["files"] = json!([{"path": NASTY, "len": 3, "change": "added", "text": NASTY}]);
        evidence["got"] = json!([[{"need": "judge", "rubric": "r.yaml"}, {"got": "judge", "reading": reading}]]);
        writer.record("evidence", &format!("t{attempt}"), at, &evidence).unwrap();
    }
    let label = json!({"run": "run1", "trial": "t2", "task": NASTY, "variant": NASTY, "rubric": RUBRIC, "criteria": criteria_fingerprint(&rubric),
        "criterion": "a", "word": "yes", "by": format!("OTHER {NASTY}")});
    writer.record("label", "l1", at, &label).unwrap();
    writer.record("filter", "f1", at, &json!({"name": NASTY, "query": "q=x"})).unwrap();
    let verdict = json!({"verdict": "pass", "why": NASTY, "suites": [], "baseline_run": NASTY, "candidate_run": NASTY});
    writer.record("verdict", "v1", at, &verdict).unwrap();
}

/// A rubric whose every word is an attack, as far as a rubric may be one.
fn rubric() -> String {
    json!({"rubric": RUBRIC, "about": NASTY, "judge": {"model": format!("mock/{NASTY}")}, "principles": [{"principle": NASTY, "criteria": [
        {"id": "a", "ask": format!("{NASTY}?"), "see": ["prompt", "answer", "files"], "required": true, "yes": {"means": NASTY}, "no": {"means": NASTY}}]}]})
    .to_string()
}

/// A view that is served as long as this lives.
struct Served {
    address: SocketAddr,
    store: Store,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Served {
    fn new(token: Option<&str>) -> Served {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store"), Durability::Os).unwrap();
        plant(&store);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let file = folder.path().join("r.yaml");
        std::fs::write(&file, rubric()).unwrap();
        let desk = Desk { folder: folder.path().to_owned(), rubrics: vec![file], by: "ann".to_owned() };
        let view = View::new(store.clone(), address, token.map(str::to_owned)).used_by(desk);
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let stop = async move {
                    let _ = stopped.await;
                };
                serve(view, listener, stop).await.unwrap();
            });
        });
        Served { address, store, stop: Some(stop), thread: Some(thread), _folder: folder }
    }

    /// Asks, and gives status, headers and body.
    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "host") {
            text.push_str(&format!("host: {}\r\n", self.address));
        }
        headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
        stream.write_all(format!("{text}\r\n{body}").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String, String) {
        self.ask("GET", path, &[], "")
    }

    /// Scores people gave the trace.
    fn labels(&self) -> usize {
        let reader = self.store.reader().unwrap();
        let trace = reader.traces()[0].id;
        let entries = reader.entries(trace).unwrap();
        let human = |kept: &holdback::store::log::Kept| matches!(kept, holdback::store::log::Kept::Scored(_, score) if score.by == "human");
        entries.iter().filter(|entry| human(&entry.what)).count()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        let done = self.thread.take().unwrap().join();
        assert!(done.is_ok() || std::thread::panicking());
    }
}

#[test]
fn nothing_that_was_recorded_becomes_markup() {
    let served = Served::new(Some(TOKEN));
    let id = served.store.reader().unwrap().traces()[0].id;
    let asked = "%22%27%3E%3Cscript%3Epwned()%3C%2Fscript%3E";
    for path in [
        "/".to_owned(),
        format!("/traces?q={asked}&tool={asked}&model={asked}&tag={asked}%3D{asked}&outcome={asked}"),
        format!("/traces?cost={asked}"),
        format!("/traces?since={asked}"),
        format!("/traces/{id}"),
        format!("/traces/{asked}"),
        format!("/traces/{id}/calls/1"),
        format!("/traces/{id}/calls/3"),
        format!("/traces/{id}/calls/2/piece"),
        format!("/traces/{id}/calls/{asked}"),
        format!("/diff?a={id}&b={id}"),
        format!("/diff?a={asked}&b={asked}"),
        "/runs".to_owned(),
        "/runs/run1".to_owned(),
        format!("/runs/{asked}"),
        "/compare?baseline=run1&candidate=run1".to_owned(),
        format!("/compare?baseline={asked}&candidate={asked}"),
        "/verdicts".to_owned(),
        "/verdicts/v1".to_owned(),
        "/failures".to_owned(),
        "/failures/groups?days=100000".to_owned(),
        "/failures/groups?days=100000&piece=yes".to_owned(),
        "/promote".to_owned(),
        format!("/promote?what={id}"),
        format!("/promote?what={id}&call=1&never={asked}"),
        format!("/promote?what={asked}&call={asked}"),
        format!("/promote?what={id}&suite={asked}"),
        "/label".to_owned(),
        "/label/traces".to_owned(),
        "/label/runs/run1".to_owned(),
        format!("/label/runs/run1?rubric={asked}"),
        format!("/label/runs/run1?criterion={asked}"),
        format!("/label/runs/run1?undo={asked}%2Fa&at={asked}&after={asked}"),
        "/calibration".to_owned(),
        "/calibration/r%20%3Cscript%3Epwned()%3C%2Fscript%3E".to_owned(),
        format!("/calibration/{asked}"),
        "/live".to_owned(),
    ] {
        let (status, head, body) = served.get(&path);
        assert!(status < 500, "{path}: {status}\n{body}");
        assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self';"), "{path}: {head}");
        assert!(!body.contains("<script>") && !body.contains("<img"), "{path}: something got through\n{body}");
    }
    // What was recorded is there all the same, as the text it is.
    let (_, _, page) = served.get(&format!("/traces/{id}"));
    assert!(page.contains("&lt;script&gt;pwned()"), "{page}");
    assert!(served.get("/traces?q=pwned").2.contains("/traces/abcd"), "the search finds what was said");
    // Raw bytes are never a page.
    let (status, head, body) = served.get(&format!("/traces/{id}/calls/1/request"));
    assert!(
        status == 200 && body.contains("<script>") && head.contains("text/plain") && head.contains("nosniff"),
        "{head}"
    );
}

#[test]
fn nobody_gets_out_of_the_store_or_in_under_another_name() {
    let served = Served::new(None);
    for path in [
        "/../../etc/passwd",
        "/assets/../../../etc/passwd",
        "/assets/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/traces/..%2f..%2fetc%2fpasswd",
        "/runs/..%2f..%2fetc%2fpasswd",
        "/verdicts/%00",
        "/traces/%ff%fe",
    ] {
        let (status, _, body) = served.get(path);
        assert!(status == 404 && !body.contains("root:"), "{path}: {status}");
    }
    for host in ["evil.example", "evil.example:4242", "", "127.0.0.1", "localhost:1"] {
        let (status, _, body) = served.ask("GET", "/", &[("host", host)], "");
        assert_eq!(status, 421, "{host}: {body}");
    }
    let port = served.address.port().to_string();
    assert_eq!(served.ask("GET", "/", &[("host", &format!("localhost:{port}"))], "").0, 200);
    assert_eq!(served.ask("DELETE", "/traces", &[], "").0, 405);
    assert_eq!(served.get("/traces?after=x").0, 400);
}

#[test]
fn nothing_is_written_without_the_token_from_a_page_of_our_own() {
    let served = Served::new(Some(TOKEN));
    let id = served.store.reader().unwrap().traces()[0].id;
    let (path, form) = (format!("/traces/{id}/score"), "application/x-www-form-urlencoded");
    let origin = format!("http://{}", served.address);
    let cookie = format!("holdback_view={TOKEN}");
    let (status, head, _) = served.get(&format!("/traces/{id}?token={TOKEN}"));
    assert!(
        status == 303 && head.contains("httponly; samesite=strict") && !head.contains(&format!("token={TOKEN}")[..])
            || head.contains("set-cookie"),
        "{head}"
    );
    assert_eq!(served.get("/?token=wrong").0, 403);
    let (_, _, page) = served.ask("GET", &format!("/traces/{id}"), &[("cookie", &cookie)], "");
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert!(!served.get(&format!("/traces/{id}")).2.contains("name=\"csrf\""), "a form is only for who may use it");
    let good = format!("label=fail&comment=because&csrf={csrf}");
    let typed = ("content-type", form);
    for (headers, body) in [
        (vec![typed], good.clone()),
        (vec![typed, ("origin", origin.as_str())], good.clone()),
        (vec![typed, ("cookie", cookie.as_str())], good.clone()),
        (vec![typed, ("cookie", cookie.as_str()), ("origin", "http://evil.example")], good.clone()),
        (vec![typed, ("cookie", cookie.as_str()), ("origin", origin.as_str())], "label=fail&csrf=wrong".to_owned()),
        (vec![typed, ("cookie", "holdback_view=wrong"), ("origin", origin.as_str())], good.clone()),
    ] {
        assert_eq!(served.ask("POST", &path, &headers, &body).0, 403, "{headers:?} {body}");
    }
    assert_eq!(served.labels(), 0);
    let headers = [typed, ("cookie", cookie.as_str()), ("origin", origin.as_str())];
    assert_eq!(served.ask("POST", &path, &headers, &format!("label=perhaps&csrf={csrf}")).0, 400);
    assert_eq!(served.ask("POST", &path, &headers, &good).0, 303);
    assert_eq!(served.labels(), 1);
    let reading = Served::new(None);
    let headers = [typed, ("cookie", cookie.as_str()), ("origin", origin.as_str())];
    assert_eq!(reading.ask("POST", &path, &headers, &good).0, 403);
}

#[test]
fn the_live_list_comes_at_once_and_ends_with_the_view() {
    let mut served = Served::new(None);
    let mut stream = TcpStream::connect(served.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    stream.write_all(format!("GET /live/events HTTP/1.1\r\nhost: {}\r\n\r\n", served.address).as_bytes()).unwrap();
    let mut heard = String::new();
    let mut buffer = [0u8; 4096];
    while !heard.contains("/traces/abcd") {
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "{heard}");
        heard.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    assert!(heard.contains("text/event-stream") && heard.contains("data: "), "{heard}");
    let _ = served.stop.replace(oneshot::channel().0).unwrap().send(());
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

/// Labels by the rubric that are in the store: trial, word, who.
fn words(served: &Served) -> Vec<(String, serde_json::Value, String)> {
    let records = served.store.reader().unwrap().records("label").unwrap();
    let text = |record: &holdback::store::log::Record, name: &str| record.data[name].as_str().unwrap().to_owned();
    let mut all: Vec<_> =
        records.iter().map(|record| (text(record, "trial"), record.data["word"].clone(), text(record, "by"))).collect();
    all.sort_by_key(|(trial, _, by)| (by.clone(), trial.clone()));
    all.retain(|(_, _, by)| by == "ann");
    all
}

#[test]
fn labels_are_given_blind_and_taken_back_and_the_judge_is_held_against_them() {
    let served = Served::new(Some(TOKEN));
    let (cookie, origin) = (format!("holdback_view={TOKEN}"), format!("http://{}", served.address));
    let page = |path: &str| served.ask("GET", path, &[("cookie", &cookie)], "");
    let (status, _, first) = page("/label/runs/run1");
    assert_eq!(status, 200, "{first}");
    for secret in ["JUDGED", "OTHER", "mock/"] {
        assert!(!first.contains(secret), "whoever labels must not see {secret}\n{first}");
    }
    assert!(!served.get("/label/runs/run1").2.contains("name=\"word\""), "without the token there is nothing to press");
    let csrf = first.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("cookie", cookie.as_str()),
        ("origin", origin.as_str()),
    ];
    let rubric = "r%20%3Cscript%3Epwned()%3C%2Fscript%3E";
    let say = |about: &str, word: &str, headers: &[(&str, &str)]| {
        let body = format!("csrf={csrf}&rubric={rubric}&about={about}&word={word}");
        served.ask("POST", "/label/runs/run1", headers, &body)
    };
    assert_eq!(say("t1%2Fa", "no", &headers[..1]).0, 403);
    assert_eq!(say("t1%2Fa", "no", &headers[..2]).0, 403);
    for (about, word, wanted) in
        [("t1%2Fa", "3", 400), ("t1%2Fa", "maybe", 400), ("t9%2Fa", "no", 404), ("t1%2Fb", "no", 404), ("", "no", 404)]
    {
        assert_eq!(say(about, word, &headers).0, wanted, "{about} {word}");
    }
    assert_eq!(words(&served), []);
    let (status, head, _) = say("t1%2Fa", "no", &headers);
    assert!(status == 303 && head.contains("undo=t1%2fa"), "{head}");
    assert_eq!(words(&served), [("t1".to_owned(), json!("no"), "ann".to_owned())]);
    // The next question is about the other trial; the last answer can be taken back.
    let place = head.split("location: ").nth(1).unwrap().lines().next().unwrap().replace("undo=t1%2fa", "undo=t1%2Fa");
    let (_, _, next) = page(&place);
    assert!(next.contains("value=\"t2/a\"") && next.contains("value=\"back\""), "{next}");
    let (_, head, _) = say("t1%2Fa", "back", &headers);
    assert!(head.contains("at=t1%2fa"), "{head}");
    assert_eq!(words(&served), [("t1".to_owned(), json!(null), "ann".to_owned())]);
    assert!(page("/label/runs/run1").2.contains("value=\"t1/a\""), "what was taken back is open again");
    say("t1%2Fa", "no", &headers);
    say("t2%2Fa", "yes", &headers);
    assert!(page("/label/runs/run1").2.contains("All done"));
    // Two people, one judge that failed both: agreement and confusion with their counts.
    let (status, _, page) = page(&format!("/calibration/{rubric}"));
    assert!(status == 200 && page.contains("Judge too lenient") && page.contains("People among themselves"), "{page}");
    assert!(page.contains("3 labelled items"), "{page}");
}

#[test]
fn searches_are_kept_in_the_store_and_forgotten_again() {
    let served = Served::new(Some(TOKEN));
    let (cookie, origin) = (format!("holdback_view={TOKEN}"), format!("http://{}", served.address));
    let page = |path: &str| served.ask("GET", path, &[("cookie", &cookie)], "").2;
    let first = page("/traces?q=order&tag=a%3Db");
    let csrf = first.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("cookie", cookie.as_str()),
        ("origin", origin.as_str()),
    ];
    let good = format!("csrf={csrf}&q=order&tag=a%3Db&name=Late+orders&after=1&evil=%2F%2Fx");
    assert_eq!(served.ask("POST", "/filters", &headers[..2], &good).0, 403);
    assert_eq!(served.ask("POST", "/filters", &headers, &format!("csrf={csrf}")).0, 400);
    let (status, head, _) = served.ask("POST", "/filters", &headers, &good);
    assert!(status == 303 && head.contains("location: /traces?q=order&tag=a%3db"), "{head}");
    // Everybody who looks at the store sees it, as a link.
    assert!(served.get("/traces").2.contains("href=\"/traces?q=order&amp;tag=a%3Db\""));
    assert!(!served.get("/traces").2.contains("/filters/forget"), "only who may write can forget");
    let id = page("/traces").split("Late orders").next().unwrap().len();
    let id = page("/traces")[id..].split("name=\"id\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert_eq!(served.ask("POST", "/filters/forget", &headers, &format!("csrf={csrf}&id=none")).0, 404);
    assert_eq!(served.ask("POST", "/filters/forget", &headers, &format!("csrf={csrf}&id={id}")).0, 303);
    assert!(!served.get("/traces").2.contains("Late orders"));
}

#[test]
fn a_case_is_written_below_the_folder_and_by_nobody_else() {
    let served = Served::new(Some(TOKEN));
    let (cookie, origin) = (format!("holdback_view={TOKEN}"), format!("http://{}", served.address));
    let id = served.store.reader().unwrap().traces()[0].id;
    let page = served.ask("GET", &format!("/promote?what={id}"), &[("cookie", &cookie)], "").2;
    // What an attack says is shown as text, and a case of it is a task all the same.
    assert!(page.contains("proven red") && page.contains("name=\"csrf\""), "{page}");
    assert!(
        !served.get(&format!("/promote?what={id}")).2.contains("name=\"csrf\""),
        "a button is only for who may press it"
    );
    let suites = served._folder.path().join("suites");
    assert!(!suites.exists(), "looking writes nothing");
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("cookie", cookie.as_str()),
        ("origin", origin.as_str()),
    ];
    let good = format!("csrf={csrf}&what={id}");
    assert_eq!(served.ask("POST", "/promote", &headers[..1], &good).0, 403);
    assert_eq!(served.ask("POST", "/promote", &headers[..2], &good).0, 403);
    assert_eq!(served.ask("POST", "/promote", &headers, &format!("what={id}")).0, 403);
    for bad in ["..%2Fx.yaml", "%2Ftmp%2Fx.yaml", "suites%2F..%2F..%2Fx.yaml", "x.sh", ".git%2Fx.yaml"] {
        assert_eq!(served.ask("POST", "/promote", &headers, &format!("{good}&suite={bad}")).0, 400, "{bad}");
    }
    assert_eq!(served.ask("POST", "/promote", &headers, &format!("csrf={csrf}")).0, 400);
    assert!(!suites.exists());
    let (status, head, body) = served.ask("POST", "/promote", &headers, &good);
    assert!(status == 303 && head.contains(&format!("location: /promote?what={id}")), "{head}{body}");
    assert!(suites.join("regressions.yaml").is_file());
    assert_eq!(
        std::fs::read_dir(suites.join("../traces"))
            .map_or(0, Iterator::count)
            .max(std::fs::read_dir(suites.join("traces")).map_or(0, Iterator::count)),
        1
    );
    assert_eq!(served.store.reader().unwrap().records("case").unwrap().len(), 1);
    // Once more makes no second case.
    assert_eq!(served.ask("POST", "/promote", &headers, &good).0, 303);
    assert_eq!(served.store.reader().unwrap().records("case").unwrap().len(), 1);
    assert!(served.get(&format!("/promote?what={id}")).2.contains("one case, not two"));
}

#[test]
fn a_page_goes_on_where_the_one_before_ended() {
    let served = Served::new(None);
    let mut writer = served.store.writer().unwrap();
    for n in 0..120u64 {
        // Three at a time begin at the same instant.
        let at = Timestamp(1_770_000_000_000_000 + (n as i64 / 3) * 1_000_000);
        let what = What::TraceStarted(TraceStarted { name: Some(format!("many-{n:03}")), ..TraceStarted::default() });
        writer.accept(&TraceEvent { trace: TraceId(1000 + u128::from(n)), at, what }).unwrap();
    }
    drop(writer);
    let mut seen = Vec::new();
    let mut next = Some("/traces?q=many".to_owned());
    while let Some(path) = next {
        let (status, _, page) = served.get(&path);
        assert_eq!(status, 200, "{page}");
        let names = page.split(">many-").skip(1).map(|rest| rest[..3].parse::<u64>().unwrap());
        seen.extend(names);
        let older = page
            .split("<a href=\"")
            .find(|rest| rest.contains("rel=\"next\"") && rest.find("rel=\"next\"") < rest.find('>'));
        next = older.map(|rest| rest.split('"').next().unwrap().replace("&amp;", "&"));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..120).collect::<Vec<_>>());
}
