//! `holdback ask` over many calls: a busy provider, one that refuses all, and an ask that is killed on the way.

use std::path::Path;

use super::*;
use crate::fake::{Act, chat};

const ANSWER: &str = r#"{"id":"c1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":10,"total_tokens":20}}"#;
const TRACES: usize = 3;

/// Calls in three traces.
async fn record(folder: &Path, calls: usize) {
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let proxy = Standing::start(folder, &fake, &[]);
    let mut client = proxy.connect().await;
    for at in 0..calls {
        let target = format!("/hb/{:032x}{CHAT}", at % TRACES + 1);
        client.post(&target, "", chat(&[&format!("number {at}")]).as_bytes()).await.unwrap();
    }
    proxy.stop();
}

fn ask(folder: &Path, second: &Fake, more: &[&str]) -> Command {
    let mut command = holdback(folder);
    command.arg("ask").args((1..=TRACES).map(|trace| format!("{trace:032x}")));
    command.args(["--model", "second/m", "--upstream", &format!("second=http://{}", second.address), "--json"]);
    command.args(more);
    command
}

/// Runs it off the test's own thread, which has to serve the provider: exit code, document, stderr.
async fn asked(mut command: Command) -> (Option<i32>, Value, String) {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let document = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {} {said}", String::from_utf8_lossy(&output.stdout)));
    (output.status.code(), document, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_provider_is_waited_for_and_one_that_refuses_all_is_not_asked_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), 60).await;
    let busy =
        b"HTTP/1.1 429 X\r\nRetry-After: 0.2\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}".to_vec();
    let mut acts = vec![Act::Say(vec![busy]); 12];
    acts.push(Act::json(ANSWER));
    let second = Fake::start(acts).await;
    let (code, report, _) = asked(ask(folder.path(), &second, &["-j", "4"])).await;
    assert_eq!((code, report["summary"]["answered"].as_u64()), (Some(0), Some(60)), "{}", report["summary"]);
    assert_eq!(second.seen().len(), 60 + 12, "each is asked until it is answered, and no more");
    let numbers: Vec<_> =
        report["steps"].as_array().unwrap().iter().map(|step| step["number"].as_u64().unwrap()).collect();
    let in_order: Vec<u64> = (0..TRACES).flat_map(|_| 1..=20).collect();
    assert_eq!(numbers, in_order, "in the order of the traces, whoever answered first");

    let refusing = Fake::start(vec![Act::status(401, r#"{"error":{"message":"no such key"}}"#)]).await;
    let (code, report, said) = asked(ask(folder.path(), &refusing, &["-j", "4"])).await;
    assert_eq!((code, report["gave_up"].as_bool()), (Some(4), Some(true)), "{said}");
    assert!(said.contains("no such key") && refusing.seen().len() < 30, "{} were asked: {said}", refusing.seen().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ask_that_is_killed_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), 30).await;
    let mut acts = vec![Act::json(ANSWER); 10];
    acts.push(Act::SayAndStall(Vec::new()));
    let stalling = Fake::start(acts).await;
    let mut command = ask(folder.path(), &stalling, &["-j", "2"]);
    let mut child = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let mut first = String::new();
    BufReader::new(child.0.stderr.take().unwrap()).read_line(&mut first).unwrap();
    let trace = first.split("--resume ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    // Two at once: when the twelfth is asked, ten have been answered and kept.
    until("it stalls", || stalling.seen().len() == 12).await;
    child.0.kill().unwrap();
    drop(child);

    let healthy = Fake::start(vec![Act::json(ANSWER)]).await;
    let (code, report, _) = asked(ask(folder.path(), &healthy, &["-j", "2", "--resume", &trace])).await;
    assert_eq!((code, report["summary"]["answered"].as_u64()), (Some(0), Some(30)), "{report}");
    assert_eq!(healthy.seen().len(), 20, "what was answered is not asked again");
    let then = report["trace"].as_str().unwrap().to_owned();
    let (_, again, _) = asked(ask(folder.path(), &healthy, &["--resume", &then])).await;
    assert_eq!((healthy.seen().len(), again["summary"]["answered"].as_u64()), (20, Some(30)));
    for (more, word) in [
        (&["--resume", &*trace, "-k", "2"][..], "another one"),
        (&["--resume", "00000000000000000000000000000001"], "no answers of"),
    ] {
        let output = ask(folder.path(), &healthy, more).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(word), "{said}");
    }
}
