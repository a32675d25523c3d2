//! A second model asked behind production's back: production never notices, whatever becomes of it.

use std::path::Path;

use holdback::eval::Sampling;
use holdback::trace::CallId;

use super::*;
use crate::fake::{Act, chat};

const ANSWER: &str = r#"{"id":"c1","object":"chat.completion","model":"gpt-x","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":1000,"total_tokens":2000}}"#;

/// Production calls, each answered as without a shadow.
async fn produce(proxy: &Standing, calls: usize) {
    let mut client = proxy.connect().await;
    for at in 0..calls {
        let target = format!("/hb/{:032x}{CHAT}", at % 4 + 1);
        let told = client.post(&target, "", chat(&[&format!("number {at}")]).as_bytes()).await.unwrap();
        assert_eq!((told.status, told.whole, told.text().as_str()), (200, true, ANSWER));
    }
}

/// A figure of the proxy's metrics.
async fn figure(proxy: &Standing, name: &str) -> u64 {
    let mut client = proxy.connect().await;
    client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let text = client.read().await.unwrap().text();
    let line =
        text.lines().find(|line| line.starts_with(&format!("holdback_{name} "))).unwrap_or_else(|| panic!("{text}"));
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

async fn reaches(proxy: &Standing, name: &str, least: u64) {
    for _ in 0..1200 {
        if figure(proxy, name).await >= least {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name} never came to {least}");
}

fn shown(folder: &Path) -> Value {
    let output = holdback(folder).args(["shadow", "--json", "-n", "0"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {} {}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sampled_share_is_asked_and_compared_and_everyone_can_tell_which() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let proxy = Standing::start(folder.path(), &fake, &["--shadow", "model=mock/echo,sample=0.5,seed=3,waiting=1000"]);
    produce(&proxy, 60).await;
    reaches(&proxy, "shadow_seen_total", 60).await;
    let sampled = figure(&proxy, "shadow_sampled_total").await;
    reaches(&proxy, "shadow_answered_total", sampled).await;
    let said = proxy.stop();
    assert!(said.contains("asking mock/echo about 50 % of calls"), "{said}");
    assert!(said.contains(&format!("mock/echo answered {sampled} of {sampled} calls sampled out of 60")), "{said}");

    // Seed and call say which were chosen, today and tomorrow.
    let sampling = Sampling { sample: 0.5, seed: 3 };
    let mut chosen = Vec::new();
    for trace in 1..=4 {
        let shown = json(folder.path(), &["traces", "show", &format!("{trace:032x}"), "--json"]);
        let calls = shown["calls"].as_array().unwrap().iter().map(|call| call["call"].as_str().unwrap().to_owned());
        chosen.extend(calls.filter(|call| sampling.chooses(call.parse::<CallId>().unwrap())));
    }
    let shown = shown(folder.path());
    let mut asked: Vec<String> =
        shown["steps"].as_array().unwrap().iter().map(|step| step["call"].as_str().unwrap().to_owned()).collect();
    chosen.sort();
    asked.sort();
    assert_eq!((asked.len() as u64, &asked), (sampled, &chosen));
    assert!((10..=50).contains(&sampled), "30 of 60 are expected, and {sampled} were chosen");
    // "hello" against the prompt's own words: the same move, other words, and numbers that a person can look up.
    let summary = &shown["models"][0]["summary"];
    assert_eq!(
        (summary["same_decision"]["value"].as_f64(), summary["same_decision"]["n"].as_u64()),
        (Some(1.0), Some(sampled))
    );
    assert!(summary["same_decision"]["interval"]["lower"].as_f64().unwrap() > 0.5, "{summary}");
    let step = &shown["steps"][0];
    assert!(step["number"].as_u64().unwrap() > 0 && step["compared"]["similarity"].as_f64().unwrap() < 1.0, "{step}");
    let record = &shown["shadows"][0];
    assert_eq!(
        (record["seen"].as_u64(), record["lost"].as_u64(), record["live"].as_bool()),
        (Some(60), Some(0), Some(false))
    );
    let answers = json(folder.path(), &["traces", "ls", "--tag", "shadow=mock/echo", "--json"]);
    assert_eq!((answers.as_array().unwrap().len(), answers[0]["calls"].as_u64()), (1, Some(sampled)), "{answers}");
    assert_eq!(answers[0]["source"], "derived");
    let table = String::from_utf8(stdout(folder.path(), &["shadow"])).unwrap();
    assert!(
        table.contains("SAMPLED") && table.contains("same move") && table.contains("intervals are 95 %"),
        "{table}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_hangs_is_dropped_and_counted_and_a_killed_proxy_loses_what_the_log_says() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let stalled = Fake::start(vec![Act::SayAndStall(Vec::new())]).await;
    let second = format!("second=http://{}", stalled.address);
    let more = ["--upstream", &second, "--shadow", "model=second/m,sample=1,calls=1000,waiting=4,jobs=2"];
    let proxy = Standing::start(folder.path(), &fake, &more);
    produce(&proxy, 40).await;
    reaches(&proxy, "shadow_sampled_total", 40).await;
    let dropped = figure(&proxy, "shadow_dropped_total").await;
    assert!(dropped >= 40 - 2 - 4, "two under way, four waiting, {dropped} of 40 dropped");
    assert_eq!((figure(&proxy, "lost_calls_total").await, figure(&proxy, "calls_total").await), (0, 40));
    until("the shadow asks two at once", || stalled.seen().len() == 2).await;
    until("the log says so", || shown(folder.path())["shadows"][0]["sampled"] == 40).await;
    proxy.kill_9();

    let record = &shown(folder.path())["shadows"][0];
    let of = |name: &str| record[name].as_u64().unwrap();
    assert_eq!((of("answered"), of("failed"), of("withheld"), record["live"].as_bool()), (0, 0, 0, Some(false)));
    assert_eq!(of("lost"), 40 - of("dropped"), "{record}");
    let answers = json(folder.path(), &["traces", "ls", "--tag", "shadow=second/m", "--json"]);
    assert_eq!((answers[0]["calls"].as_u64(), answers[0]["open_calls"].as_u64()), (Some(2), Some(2)), "{answers}");
    let all = json(folder.path(), &["traces", "ls", "-n", "0", "--json"]);
    let production = all.as_array().unwrap().iter().filter(|trace| trace["source"] == "recorded");
    assert_eq!(production.map(|trace| trace["calls"].as_u64().unwrap()).sum::<u64>(), 40);
    let health = json(folder.path(), &["doctor", "--verify", "--json"]);
    assert_eq!(health["sound"].as_bool(), Some(true), "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_refuses_or_is_not_there_is_nobodys_business() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let no = Act::status(401, r#"{"error":{"message":"no such key","type":"auth"}}"#);
    let refusing = Fake::start(vec![no]).await;
    let second = format!("second=http://{}", refusing.address);
    let more = ["--upstream", &second, "--shadow", "model=second/m,sample=1,calls=1000"];
    let proxy = Standing::start(folder.path(), &fake, &more);
    produce(&proxy, 6).await;
    reaches(&proxy, "shadow_failed_total", 6).await;
    assert_eq!(figure(&proxy, "call_errors_total").await, 0);
    let said = proxy.stop();
    assert_eq!(said.matches("no such key").count(), 1, "told once: {said}");
    let shown = shown(folder.path());
    assert_eq!(shown["shadows"][0]["failed"], 6);
    assert!(shown["steps"][0]["error"].as_str().unwrap().contains("no such key"), "{shown}");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = format!("second=http://{nobody}");
    let more = ["--upstream", &down, "--shadow", "model=second/m,sample=1,calls=1000"];
    let proxy = Standing::start(folder.path(), &fake, &more);
    produce(&proxy, 6).await;
    reaches(&proxy, "shadow_sampled_total", 6).await;
    assert_eq!((figure(&proxy, "call_errors_total").await, figure(&proxy, "lost_calls_total").await), (0, 0));
    proxy.kill_9();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_ends_it_and_a_call_limit_too() {
    let folder = tempfile::tempdir().unwrap();
    let prices = "date: 2026-11-01\nsource: ours\nproviders: {second: {models: {m: {input: 1.0, output: 1.0}}}}\n";
    std::fs::write(folder.path().join("prices.yaml"), prices).unwrap();
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let second = Fake::start(vec![Act::json(&ANSWER.replace("gpt-x", "m"))]).await;
    let address = format!("second=http://{}", second.address);
    for (limit, most) in [("budget=0.0059", 4), ("calls=5", 5)] {
        let shadow = format!("model=second/m,sample=1,waiting=1000,jobs=1,{limit}");
        let proxy = Standing::start(
            folder.path(),
            &fake,
            &["--upstream", &address, "--prices", "prices.yaml", "--shadow", &shadow],
        );
        produce(&proxy, 12).await;
        reaches(&proxy, "shadow_withheld_total", 12 - most).await;
        let said = proxy.stop();
        assert!(said.contains("second/m is asked no more"), "{said}");
        let shown = shown(folder.path());
        let record = shown["shadows"].as_array().unwrap().last().unwrap();
        let of = |name: &str| record[name].as_u64().unwrap();
        assert_eq!((of("sampled"), of("withheld"), of("lost")), (12, 12 - of("answered"), 0), "{record}");
        assert!(of("answered") <= most, "{record}");
        assert!(record["stopped"].is_string(), "{record}");
        if limit.starts_with("budget") {
            // Two thousand tokens at a dollar the million: what was under way is all that it may overshoot by.
            let spent = record["cost_usd"].as_f64().unwrap();
            assert!((0.0059..0.0059 + 0.002).contains(&spent), "{record}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_provider_is_asked_in_its_format_and_hears_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let provider = tempfile::tempdir().unwrap();
    let second = Standing::start(provider.path(), &fake, &["--mock"]);
    let address = format!("anthropic=http://{}", second.address);
    let more = ["--upstream", &address, "--shadow", "model=anthropic/mock/echo,sample=1,calls=10"];
    let proxy = Standing::start(folder.path(), &fake, &more);
    let secret = planted::secrets(1).remove(0).secret;
    let body = chat(&[&format!("My key is {secret}, keep it.")]);
    let told = proxy.connect().await.post(CHAT, "authorization: Bearer mine\r\n", body.as_bytes()).await.unwrap();
    assert_eq!(told.status, 200);
    reaches(&proxy, "shadow_answered_total", 1).await;
    proxy.stop();
    second.stop();
    let asked = json(provider.path(), &["traces", "show", "last", "--json"]);
    assert_eq!(asked["calls"][0]["wire"], "anthropic_messages");
    assert!(asked.to_string().contains("My key is [redacted:"), "{asked}");
    for kept in [folder.path(), provider.path()] {
        for (path, bytes) in files(kept) {
            assert!(fake::find(&bytes, secret.as_bytes()).is_none(), "the secret is in {path}");
        }
    }
    let shown = shown(folder.path());
    assert_eq!(shown["models"][0]["summary"]["answered"], 1, "{shown}");
}

#[test]
fn what_cannot_work_is_refused_before_anything_listens() {
    let folder = tempfile::tempdir().unwrap();
    for (more, word) in [
        (&["--shadow", "sample=0.1"][..], "model= is missing"),
        (&["--shadow", "model=nowhere/m,calls=5"], "no upstream is called"),
        (&["--shadow", "model=openai/no-such-model"], "give calls=N"),
        (&["--shadow", "model=openai/no-such-model,budget=5"], "a budget can't be held"),
        (&["--shadow", "model=mock/echo", "--content", "none"], "--content none"),
    ] {
        let output = holdback(folder.path()).args(["proxy", "--listen", "127.0.0.1:0"]).args(more).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {said}");
        assert!(said.contains(word), "{more:?}: {said}");
    }
    let output = holdback(folder.path()).arg("shadow").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
