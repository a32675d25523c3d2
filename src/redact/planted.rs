//! Secrets planted everywhere, none of which may come out; and look-alikes, all of which must.
//!
//! The secrets are put together at run time from their beginnings and letters of a fixed sequence, so that no scanner of
//! repositories takes this file for a leak.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const BASE62: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const HEX: &str = "0123456789abcdef";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const DIGITS: &str = "0123456789";

fn redactor() -> Redactor {
    Redactor::new(&Rules { salt: b"salt of a test".to_vec(), patterns: Vec::new() }).unwrap()
}

/// Letters that look random and are the same in every run. One of each class stands in front, as in any real key.
fn letters(alphabet: &str, len: usize, seed: u64) -> String {
    let alphabet = alphabet.as_bytes();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        alphabet[usize::try_from(state >> 33).unwrap() % alphabet.len()] as char
    };
    let ends = [alphabet[3] as char, alphabet[alphabet.len() - 3] as char, alphabet[alphabet.len() / 3] as char];
    ends.into_iter().chain(std::iter::from_fn(|| Some(next()))).take(len).collect()
}

/// `(name, text that holds it, the part that must not survive)`.
fn secrets() -> Vec<(&'static str, String, String)> {
    let plain: &[(&str, &str, &str, usize)] = &[
        ("openai", "sk-", BASE62, 48),
        ("openai project", "sk-proj-", BASE62, 120),
        ("openai service", "sk-svcacct-", BASE62, 80),
        ("anthropic", "sk-ant-api03-", BASE62, 93),
        ("openrouter", "sk-or-v1-", HEX, 64),
        ("deepseek", "sk-", HEX, 32),
        ("google", "AIza", BASE62, 35),
        ("aws", "AKIA", UPPER, 16),
        ("aws temporary", "ASIA", UPPER, 16),
        ("github", "ghp_", BASE62, 36),
        ("github oauth", "gho_", BASE62, 36),
        ("github user", "ghu_", BASE62, 36),
        ("github server", "ghs_", BASE62, 36),
        ("github refresh", "ghr_", BASE62, 76),
        ("github fine-grained", "github_pat_", BASE62, 82),
        ("gitlab", "glpat-", BASE62, 20),
        ("slack bot", "xoxb-123456789012-1234567890123-", BASE62, 24),
        ("slack user", "xoxp-123456789012-1234567890123-", BASE62, 32),
        ("stripe", "sk_live_", BASE62, 24),
        ("stripe restricted", "rk_live_", BASE62, 24),
        ("npm", "npm_", BASE62, 36),
        ("pypi", "pypi-AgEIcHlwaS5vcmc", BASE62, 120),
        ("hugging face", "hf_", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", 34),
        ("groq", "gsk_", BASE62, 52),
        ("xai", "xai-", BASE62, 80),
        ("replicate", "r8_", BASE62, 37),
        ("twilio", "SK", HEX, 32),
        ("digitalocean", "dop_v1_", HEX, 64),
        ("shopify", "shpat_", HEX, 32),
        ("databricks", "dapi", HEX, 32),
        ("vault", "hvs.", BASE62, 24),
    ];
    let mut all: Vec<(&str, String, String)> = plain
        .iter()
        .zip(1..)
        .map(|((name, start, alphabet, len), seed)| {
            let key = format!("{start}{}", letters(alphabet, *len, seed));
            (*name, key.clone(), key)
        })
        .collect();
    all.extend(secrets_in_context());
    all
}

fn secrets_in_context() -> Vec<(&'static str, String, String)> {
    let a = |len, seed| letters(BASE62, len, seed);
    let mut all = Vec::new();
    let mut plant = |name, before: &str, secret: String, after: &str| {
        all.push((name, format!("{before}{secret}{after}"), secret));
    };
    plant("sendgrid", "", format!("SG.{}.{}", a(22, 50), a(43, 51)), "");
    plant("telegram", "", format!("{}:AA{}", letters(DIGITS, 10, 52), a(33, 53)), "");
    plant(
        "telegram address",
        "https://api.telegram.org/bot",
        format!("{}:AA{}", letters(DIGITS, 10, 54), a(33, 55)),
        "/getMe",
    );
    plant("jwt", "", format!("eyJ{}.eyJ{}.{}", a(33, 56), a(80, 57), a(43, 58)), "");
    plant("discord", "", format!("MTIzNDU2Nzg5MDEyMzQ1Njc4.{}.{}", a(6, 59), a(38, 60)), "");
    plant(
        "slack webhook",
        "https://hooks.slack.com/services/",
        format!("T{}/B{}/{}", letters(UPPER, 8, 61), letters(UPPER, 8, 62), a(24, 63)),
        "",
    );
    plant("aws secret", "aws_secret_access_key = ", a(40, 64), "");
    plant(
        "azure storage",
        "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=",
        format!("{}==", a(86, 65)),
        ";EndpointSuffix=core",
    );
    plant("azure openai", "AZURE_OPENAI_API_KEY=", letters(HEX, 32, 66), "");
    plant(
        "azure signature",
        "https://shop.blob.core.windows.net/c?sv=2024-11-04&sig=",
        format!("{}%3D", a(43, 67)),
        "&se=2026",
    );
    plant("connection string", "postgres://shop:", "hunter2-but-longer".into(), "@db.internal:5432/shop");
    plant("basic address", "https://ci:", a(20, 68), "@git.example.com/shop.git");
    plant("env password", "DB_PASSWORD=", "correcthorsebattery".into(), "");
    plant("yaml secret", "client_secret: ", a(32, 69), "");
    plant("bearer", "Authorization: Bearer ", a(40, 70), "");
    plant("basic", "Authorization: Basic ", "c2hvcDpjb3JyZWN0IGhvcnNl".into(), "");
    plant("query", "https://maps.example.com/v1?key=", a(39, 71), "&lang=en");
    plant("cookie", "Set-Cookie: session=", a(40, 72), "; HttpOnly");
    let key = format!("MII{}", a(61, 73));
    plant(
        "pem",
        "-----BEGIN RSA PRIVATE KEY-----\n",
        format!("{key}\n{}\n{}", a(64, 74), a(20, 75)),
        "\n-----END RSA PRIVATE KEY-----\n",
    );
    all
}

/// Both spellings in which a secret could survive: as it is, and as a JSON string holds it.
fn survives(kept: &[u8], secret: &str) -> bool {
    let escaped = serde_json::to_string(secret).unwrap();
    [secret, escaped.trim_matches('"')].iter().any(|s| memchr::memmem::find(kept, s.as_bytes()).is_some())
}

#[test]
fn no_planted_secret_survives_in_a_body() {
    let redactor = redactor();
    assert!(secrets().len() >= 40);
    for (name, text, secret) in secrets() {
        let twice = json!({"stdout": format!("$ cat x\n{text}\n")}).to_string();
        let bodies = [
            text.clone(),
            format!("before\n{text}\nafter"),
            json!({"messages": [{"role": "user", "content": format!("it is\n{text}")}]}).to_string(),
            json!({"content": [{"type": "tool_result", "content": twice}]}).to_string(),
            json!({"a": json!({"b": json!({"c": text}).to_string()}).to_string()}).to_string(),
            json!({"t": format!("\u{1b}[32m{text}\u{1b}[0m")}).to_string(),
            json!({"t": text}).to_string().replace('/', "\\/").replace('&', "\\u0026").replace('=', "\\u003d"),
        ];
        for body in bodies {
            let (kept, count) = redactor.body(Bytes::from(body.clone()));
            assert!(!survives(&kept, &secret), "{name} survived in {body}");
            assert!(count >= 1, "{name}");
            assert_eq!(
                serde_json::from_str::<Value>(&body).is_ok(),
                serde_json::from_slice::<Value>(&kept).is_ok(),
                "{name}: {body}"
            );
            let (again, count) = redactor.body(kept.clone());
            assert_eq!((again, count), (kept, 0), "{name}: a second look changes nothing");
        }
    }
}

#[test]
fn equal_secrets_have_equal_placeholders_and_another_salt_has_others() {
    let key = format!("ghp_{}", letters(BASE62, 36, 7));
    let (one, _) = redactor().body(Bytes::from(format!("a {key} b")));
    let (other, _) = redactor().body(Bytes::from(json!([key]).to_string()));
    let placeholder = &one[2..one.len() - 2];
    assert!(placeholder.starts_with(b"[redacted:github-token:") && placeholder.ends_with(b"]"));
    assert!(memchr::memmem::find(&other, placeholder).is_some());
    let elsewhere = Redactor::new(&Rules { salt: b"other".to_vec(), patterns: Vec::new() }).unwrap();
    assert!(memchr::memmem::find(&elsewhere.body(Bytes::from(key)).0, placeholder).is_none());
}

#[test]
fn headers_and_targets_keep_their_names_and_lose_their_keys() {
    let redactor = redactor();
    let headers: Headers = [
        ("Authorization", "Bearer short"),
        ("x-api-key", "k"),
        ("Cookie", "a=b; c=d"),
        ("set-cookie", "a=b"),
        ("api-key", "1"),
        ("X-Goog-Api-Key", "2"),
        ("proxy-authorization", "Basic eA=="),
        ("x-amz-security-token", "3"),
        ("cf-access-token", "4"),
    ]
    .map(|(n, v)| (n.to_owned(), v.to_owned()))
    .to_vec();
    let (kept, count) = redactor.headers(&headers);
    assert_eq!(count, 9);
    assert!(kept[0].1.starts_with("Bearer [redacted:authorization:"), "{kept:?}");
    assert!(kept.iter().zip(&headers).all(|((name, value), (old, _))| name == old && value.contains("[redacted:")));
    assert_eq!(redactor.headers(&kept), (kept.clone(), 0), "stable");

    let harmless: Headers = [
        ("content-type", "application/json"),
        ("anthropic-ratelimit-tokens-remaining", "9"),
        ("x-request-id", "req_011CVLb"),
    ]
    .map(|(n, v)| (n.to_owned(), v.to_owned()))
    .to_vec();
    assert_eq!(redactor.headers(&harmless), (harmless.clone(), 0));

    let (target, count) = redactor.target("/v1beta/models/g:generateContent?key=abc&alt=sse&access_token=x");
    assert_eq!(count, 2);
    assert!(
        target.starts_with("/v1beta/models/g:generateContent?key=[redacted:key:") && target.contains("&alt=sse&"),
        "{target}"
    );
    for (name, text, secret) in secrets() {
        let (kept, _) = redactor.target(&format!("/x?q={secret}"));
        let alone = redactor.text(&secret).1 > 0;
        assert!(!alone || !kept.contains(&secret), "{name} in {kept}, from {text}");
    }
}

/// One event per piece, in the shapes that providers stream in.
fn streams(pieces: &[&str]) -> Vec<(&'static str, String)> {
    let sse =
        |make: &dyn Fn(&str) -> Value| pieces.iter().map(|p| format!("data: {}\n\n", make(p))).collect::<String>();
    let named = |make: &dyn Fn(&str) -> Value| {
        pieces.iter().map(|p| format!("event: x\ndata: {}\n\n", make(p))).collect::<String>()
    };
    let lines = |make: &dyn Fn(&str) -> Value| pieces.iter().map(|p| format!("{}\n", make(p))).collect::<String>();
    let gemini = |p: &str| json!({"candidates": [{"content": {"parts": [{"text": p}], "role": "model"}}]});
    let array = format!("[{}]", pieces.iter().map(|p| gemini(p).to_string()).collect::<Vec<_>>().join(",\r\n"));
    vec![
        (
            "chat",
            sse(&|p| json!({"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": p}}]}))
                + "data: [DONE]\n\n",
        ),
        (
            "chat tool",
            sse(
                &|p| json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 1, "function": {"arguments": p}}]}}]}),
            ),
        ),
        (
            "responses",
            named(&|p| json!({"type": "response.output_text.delta", "item_id": "m1", "output_index": 0, "delta": p})),
        ),
        (
            "messages",
            named(&|p| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": p}})),
        ),
        (
            "messages tool",
            named(
                &|p| json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": p}}),
            ),
        ),
        ("gemini", sse(&gemini)),
        ("gemini array", array),
        ("json lines", lines(&|p| json!({"message": {"content": p}}))),
        (
            "websocket",
            pieces.iter().map(|p| json!({"type": "response.output_text.delta", "delta": p}).to_string()).collect(),
        ),
        ("plain", pieces.iter().map(|p| format!("data: {}\n\n", p.replace('\n', " "))).collect()),
    ]
}

/// Every string of every event, joined in order: what a reader of the stream gets to see.
fn reassembled(kept: &[u8]) -> Vec<u8> {
    let events = events::split(kept);
    let threads = events::threads(kept, &events);
    threads
        .into_iter()
        .flat_map(|t| t.into_iter().flat_map(|r| json::decode(kept, r).text).chain(*b"\n").collect::<Vec<_>>())
        .collect()
}

#[test]
fn no_secret_survives_a_stream_however_it_is_cut() {
    let redactor = redactor();
    for (turn, (name, text, secret)) in secrets().into_iter().enumerate() {
        let text = format!("It is {text} .");
        for cut in 1..text.len() {
            // Two pieces, and three where the middle one is a few letters.
            let later = (cut + 3).min(text.len());
            for pieces in [vec![&text[..cut], &text[cut..]], vec![&text[..cut], &text[cut..later], &text[later..]]] {
                // Every secret at every place, and every wire with every secret; all at once would take a minute.
                for (wire, body) in streams(&pieces).into_iter().skip((cut + turn) % 4).step_by(4) {
                    if wire == "plain" && name == "pem" {
                        continue;
                    }
                    let chunk = |len: usize| Chunk { at: 1, len: len as u64 };
                    let middle = body.len() / 2;
                    let chunks = [chunk(middle), chunk(body.len() - middle)];
                    let (kept, chunks, count) = redactor.stream(Bytes::from(body), &chunks);
                    assert!(count >= 1, "{name} in {wire} cut at {cut}");
                    assert!(
                        !survives(&reassembled(&kept), &secret) && !survives(&kept, &secret),
                        "{name} in {wire} cut at {cut}"
                    );
                    assert_eq!(chunks.iter().map(|c| c.len).sum::<u64>(), kept.len() as u64);
                }
            }
        }
    }
}

#[test]
fn letter_by_letter_and_side_by_side() {
    let redactor = redactor();
    let key = format!("sk-ant-api03-{}", letters(BASE62, 93, 9));
    let letter: Vec<&str> = key.split("").filter(|p| !p.is_empty()).collect();
    for (wire, body) in streams(&letter) {
        let (kept, _, count) = redactor.stream(Bytes::from(body), &[]);
        assert_eq!(count, 1, "{wire}");
        let seen = String::from_utf8(reassembled(&kept)).unwrap();
        assert!(seen.contains("[redacted:anthropic-key:") && !seen.contains("sk-ant"), "{wire}: {seen}");
    }
    // Two tool calls that grow in turns, and the index behind the text.
    let other = format!("ghp_{}", letters(BASE62, 36, 11));
    let events = key.as_bytes().chunks(8).zip(other.as_bytes().chunks(3)).map(|(a, b)| {
        let [a, b] = [a, b].map(|p| String::from_utf8_lossy(p).into_owned());
        format!("data: {{\"delta\":{{\"arguments\":\"{a}\"}},\"output_index\":0}}\n\ndata: {{\"delta\":{{\"arguments\":\"{b}\"}},\"output_index\":1}}\n\n")
    });
    let (kept, _, count) = redactor.stream(Bytes::from(events.collect::<String>()), &[]);
    assert_eq!(count, 2, "{}", String::from_utf8_lossy(&kept));
}

#[test]
fn what_only_looks_like_a_secret_is_left_alone() {
    let redactor = redactor();
    let table = [
        "commit 031100c9f3b2a6d1e8c7f4a5b6d7e8f901234567 on main",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "id 550e8400-e29b-41d4-a716-446655440000, request req_011CVLbYdMQCGaPpvEvLmT5g, msg_01XFDUDYJgAACzvnptvVoYEL",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
        "use sk-learn, class sk-container-id-1, .sk-toggleable__label-arrow and sk-estimator-doc-link-2024-edition",
        "the task-1234567890abcdef1234567890 and disk-0123456789abcdef0123456789abcdef",
        "model claude-sonnet-4-5-20250929, gpt-5.2-2025-12-11, sk-mini",
        "max_tokens: 4096, \"total_tokens\": 123456789, token_count=17, tokenizer: cl100k_base",
        "password: string, \"password\": {\"type\": \"string\"}, password=None, secret = os.environ[\"SECRET_KEY\"]",
        "API_KEY=$API_KEY, api_key: ${{ secrets.API_KEY }}, token = get_token(user), OPENAI_API_KEY=your_api_key_here",
        "export PATH=/usr/bin PWD=/home/dev/shop, bypass=12345678a, compass: north2west3",
        "https://example.com/a?key=value&sort=asc&page_token=2, sorted(xs, key=lambda x: x.id2)",
        "http://localhost:8080/a@b, https://user@example.com/x, mailto:a@b.example, postgres://user:${PASS}@db/x",
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END PUBLIC KEY-----",
        "look for '-----BEGIN PRIVATE KEY-----' in the file",
        "Bearer authentication is used; Authorization: Bearer $TOKEN; Authorization: Bearer <token>",
        "\"prompt_cache_key\": \"01a1fdc4-4213-7750-8288-55c531953f86\", \"call_id\": \"call_fake000009\"",
        "Cookie: a small baked good; eyJ is how tokens begin; a.eyJfoo.bar",
        "encrypted_content\":\"gAAAAABo8JX9z2Kq7YpL4mWv1TzN6cRb3XsE5dUf0HgQiJkAlOyMnPrSt\"",
        "Basic understanding of the basic idea",
    ];
    for text in table {
        let (kept, count) = redactor.text(text);
        assert_eq!((kept.as_ref(), count), (text, 0));
        let body = Bytes::from(json!({"content": text}).to_string());
        let (kept, _) = redactor.body(body.clone());
        assert_eq!(kept, body);
        assert_eq!(kept.as_ptr(), body.as_ptr(), "nothing found, nothing copied");
    }
}

#[test]
fn patterns_of_the_users_own_work_and_bad_ones_say_what_is_wrong() {
    let rules = |name: &str, regex: &str| Rules {
        salt: vec![1],
        patterns: vec![Pattern { name: name.into(), regex: regex.into() }],
    };
    let redactor = Redactor::new(&rules("customer", r"customer (C-\d+)")).unwrap();
    let (kept, count) = redactor.text("customer C-4711 and C-12");
    assert_eq!(count, 1);
    assert!(kept.starts_with("customer [redacted:customer:") && kept.ends_with("] and C-12"), "{kept}");
    for (bad, says) in [(rules("x", "("), "\"x\""), (rules("a b", "x"), "letters"), (rules("x", "a*"), "empty")] {
        let error = Redactor::new(&bad).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_hollow_body_keeps_its_shape_and_says_nothing() {
    let redactor = redactor();
    let body = json!({
        "model": "gpt-5.2", "temperature": 0.5, "stream": true,
        "messages": [
            {"role": "user", "content": "our secret plan"},
            {"role": "assistant", "content": "", "tool_calls": [{"id": "call_1", "type": "function",
                "function": {"name": "lookup", "arguments": "{\"name\":\"Ada\"}"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "our secret plan"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "lookup", "input": {"name": "Ada", "type": "person", "n": 3}}]},
        ],
        "tools": [{"name": "lookup", "description": "finds people", "input_schema": {"type": "object"}}],
    });
    let kept: Value = serde_json::from_slice(&redactor.hollow(body.to_string().as_bytes())).unwrap();
    let text = kept.to_string();
    assert!(!["secret", "Ada", "person", "finds"].iter().any(|said| text.contains(said)), "{text}");
    for same in [
        "/model",
        "/temperature",
        "/messages/0/role",
        "/messages/1/tool_calls/0/function/name",
        "/messages/3/content/0/input/n",
        "/messages/2/tool_call_id",
        "/tools/0/name",
        "/tools/0/input_schema/type",
        "/messages/1/content",
    ] {
        assert_eq!(kept.pointer(same), body.pointer(same), "{same}");
    }
    assert_eq!(kept["messages"][0]["content"], kept["messages"][2]["content"][0]["text"], "equal texts, equal shapes");
    // A streamed answer has, put together, the shape that it has as a whole in the next request.
    for (wire, body) in streams(&["our ", "secret", " plan"]) {
        let (kept, chunks) = redactor.hollow_stream(body.as_bytes(), &[Chunk { at: 0, len: body.len() as u64 }]);
        let seen = String::from_utf8(reassembled(&kept)).unwrap();
        assert!(seen.contains(kept_text(&text)) && !seen.contains("secret"), "{wire}: {seen}");
        assert_eq!(chunks[0].len, kept.len() as u64);
    }
    for odd in [
        "our secret plan",
        "{\"a\": our secret plan",
        "data: {\"a\": \"our secret pl",
        ": our secret plan\n\ndata: x y\n\n",
    ] {
        assert!(!String::from_utf8_lossy(&redactor.hollow(odd.as_bytes())).contains("secret"), "{odd}");
    }
}

/// The shape of `our secret plan` in a hollow request.
fn kept_text(hollow: &str) -> &str {
    let at = hollow.find("[hollow:15:").expect("fifteen letters");
    &hollow[at..at + hollow[at..].find(']').expect("an end") + 1]
}

#[test]
fn a_body_that_goes_on_is_looked_at_from_where_it_is_new() {
    let redactor = redactor();
    let mut history = String::from("{\"messages\":[");
    let (mut earlier, mut seen) = (String::new(), Seen::default());
    for (n, (name, text, secret)) in secrets().into_iter().enumerate() {
        history
            .push_str(&json!({"role": "tool", "content": format!("{text}\n{}", "words. ".repeat(n * 40))}).to_string());
        let body = format!("{history}],\"stream\":true}}");
        let shared = earlier.bytes().zip(body.bytes()).take_while(|(a, b)| a == b).count();
        let (kept, count, now) = redactor.body_after(Bytes::from(body.clone()), shared, &seen);
        assert_eq!((kept.clone(), count), redactor.body(Bytes::from(body.clone())), "{name}");
        assert!(!survives(&kept, &secret), "{name}");
        (earlier, seen) = (body, now);
        history.push(',');
    }
}

#[test]
fn wherever_a_body_goes_on_differently_the_rest_is_looked_at_as_if_it_were_new() {
    let redactor = redactor();
    let long = format!("eyJ{}.eyJ{}.{}", letters(BASE62, 9000, 1), letters(BASE62, 9000, 2), letters(BASE62, 43, 3));
    let pem = format!(
        "-----BEGIN {} KEY-----\n{}\n",
        "PRIVATE",
        "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=\n".repeat(300)
    );
    let texts = secrets().into_iter().map(|(_, text, _)| text).chain([long, pem]);
    for text in texts {
        let whole = format!("{} {text} and so on, \"x\": 1", "some words. ".repeat(500));
        let start = whole.len() - text.len() - 17;
        for cut in (start..whole.len()).step_by((text.len() / 12).max(3)) {
            let at = (0..=cut).rev().find(|at| whole.is_char_boundary(*at)).unwrap();
            for (one, other) in
                [(whole.clone(), format!("{}\", y", &whole[..at])), (format!("{}!", &whole[..at]), whole.clone())]
            {
                let (_, _, seen) = redactor.body_after(Bytes::from(one.clone()), 0, &Seen::default());
                let shared = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
                let (kept, count, _) = redactor.body_after(Bytes::from(other.clone()), shared, &seen);
                assert_eq!((kept, count), redactor.body(Bytes::from(other)), "{at}");
            }
        }
    }
}

proptest! {
    #[test]
    fn redaction_is_idempotent_and_keeps_json_json(text in r#"[ -~\n]{0,80}"#, which in 0_usize..50, key in "[a-z_]{1,12}") {
        let redactor = redactor();
        let secrets = secrets();
        let secret = &secrets[which % secrets.len()].1;
        let body = json!({ key: [text, {"x": format!("{text} {secret}")}] }).to_string();
        let (kept, _) = redactor.body(Bytes::from(body));
        prop_assert!(serde_json::from_slice::<Value>(&kept).is_ok());
        prop_assert_eq!(redactor.body(kept.clone()), (kept, 0));
    }

    #[test]
    fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in r#"[\{\}\[\]":,\\a-u0-9= \n-]{0,120}"#) {
        let redactor = redactor();
        for body in [bytes, text.into_bytes()] {
            let (kept, chunks, _) = redactor.stream(Bytes::from(body.clone()), &[Chunk { at: 0, len: body.len() as u64 }]);
            prop_assert_eq!(chunks[0].len, kept.len() as u64);
            redactor.hollow(&body);
        }
    }
}
