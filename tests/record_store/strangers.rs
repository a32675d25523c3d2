//! Who may use a proxy, and where it goes.

use super::*;
use crate::fake::{Act, chat};

const ANSWER: &str = r#"{"id":"c1","object":"chat.completion","model":"gpt-x","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_to_its_upstreams_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let (fake, elsewhere) = (Fake::start(vec![Act::json(ANSWER)]).await, Fake::start(vec![Act::json(ANSWER)]).await);
    let proxy = Standing::start(folder.path(), &fake, &[]);
    let away = elsewhere.address;
    let body = chat(&["hi"]);
    for (target, headers) in [
        (format!("http://{away}{CHAT}"), String::new()),
        (format!("/up/http://{away}{CHAT}"), String::new()),
        (format!("/up/{away}{CHAT}"), String::new()),
        (format!("//{away}{CHAT}"), String::new()),
        (format!("/@{away}{CHAT}"), String::new()),
        (CHAT.to_owned(), format!("x-holdback-upstream: http://{away}\r\n")),
        (CHAT.to_owned(), format!("x-holdback-upstream: {away}\r\n")),
        (CHAT.to_owned(), format!("x-forwarded-host: {away}\r\nforwarded: host={away}\r\n")),
    ] {
        // What it answers may differ; where it goes may not.
        let _ = proxy.connect().await.post(&target, &headers, body.as_bytes()).await;
    }
    let mut client = proxy.connect().await;
    client.send(format!("CONNECT {away} HTTP/1.1\r\nHost: {away}\r\n\r\n").as_bytes()).await;
    let told = client.read().await.unwrap();
    assert!(told.status >= 400, "{told:?}");
    let mut client = proxy.connect().await;
    client.send(format!("POST {CHAT} HTTP/1.1\r\nHost: {away}\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes()).await;
    client.read().await.unwrap();
    proxy.stop();
    assert!(elsewhere.seen().is_empty(), "{:?}", elsewhere.seen());
    for seen in fake.seen() {
        assert_eq!(seen.header("host"), Some(fake.address.to_string().as_str()), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_the_token_stays_outside() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let refused = holdback(folder.path()).args(["proxy", "--listen", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("without a token"));

    let token = format!("open{}", "-sesame-41");
    let proxy = Standing::start(folder.path(), &fake, &["--token", &token]);
    let body = chat(&["hi"]);
    for headers in [String::new(), "x-holdback-token: wrong\r\n".to_owned(), "authorization: Bearer x\r\n".to_owned()] {
        let told = proxy.connect().await.post(CHAT, &headers, body.as_bytes()).await.unwrap();
        assert_eq!(told.status, 407, "{headers}");
    }
    assert!(fake.seen().is_empty());
    let mine = [
        (CHAT.to_owned(), format!("x-holdback-token: {token}\r\n")),
        (CHAT.to_owned(), format!("proxy-authorization: Bearer {token}\r\n")),
        (format!("/token/{token}{CHAT}"), String::new()),
    ];
    for (target, headers) in &mine {
        let told = proxy.connect().await.post(target, headers, body.as_bytes()).await.unwrap();
        assert_eq!(told.status, 200, "{target} {headers}");
    }
    proxy.stop();
    for seen in fake.seen() {
        assert!(!format!("{seen:?}").contains(&token), "the token goes no further: {seen:?}");
    }
    let health = json(folder.path(), &["doctor", "--json"]);
    assert_eq!(health["stats"]["calls"], 3);
    stdout(folder.path(), &["index"]);
    for (name, bytes) in files(&folder.path().join(".holdback")) {
        for spot in secrets::spots(&bytes) {
            assert!(memchr::memmem::find(&spot, token.as_bytes()).is_none(), "{name} holds the token");
        }
    }
}
