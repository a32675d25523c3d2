//! TLS interception through the built binary: a real TLS server with an authority of its own, real curl, and what is left
//! of it all afterwards.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, ServerConfig};

use super::*;
use crate::fake::{chat, sse};

/// An authority that nobody trusts but who is told to.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    fn acceptor(&self, host: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        // A certificate that is called as who signed it passes for one that signed itself.
        params.distinguished_name.push(rcgen::DnType::CommonName, host);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// What a server was asked: targets and bodies.
type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A server behind TLS, called `localhost`, and what it was asked.
struct Behind {
    port: u16,
    seen: Seen,
}

impl Behind {
    async fn start(authority: &Authority) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = authority.acceptor("localhost");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), shared.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| answer(request, seen.clone()));
                    let _ =
                        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Behind { port, seen }
    }

    fn seen(&self) -> Vec<(String, Vec<u8>)> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(request: Request<Incoming>, seen: Seen) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let target = request.uri().path_and_query().unwrap().to_string();
    let body = request.into_body().collect().await?.to_bytes();
    seen.lock().unwrap().push((target, body.to_vec()));
    let events =
        [sse(r#"{"content":"hel"}"#, None), sse(r#"{"content":"lo"}"#, Some("stop")), "data: [DONE]\n\n".into()];
    let mut response = Response::new(Full::new(Bytes::from(events.concat())));
    response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
    Ok(response)
}

/// Runs a script under `holdback record`, which itself trusts the test's authority.
fn record(folder: &Path, more: &[&str], script: &str) -> std::process::Output {
    let mut command = holdback(folder);
    for name in
        ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"]
    {
        command.env_remove(name);
    }
    command.env("SSL_CERT_FILE", folder.join("theirs.pem")).args(["record", "--name", "tls"]).args(more);
    command.args(["--", "sh", "-c", script]).output().unwrap()
}

fn has_curl() -> bool {
    let there =
        Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !there {
        println!("skipped: no curl here");
    }
    there
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_host_is_read_and_every_other_is_tunnelled_unread() {
    if !has_curl() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    std::fs::write(folder.path().join("theirs.pem"), &authority.pem).unwrap();
    let (listed, other) = (Behind::start(&authority).await, Behind::start(&authority).await);
    std::fs::write(folder.path().join("said"), chat(&["hello over TLS"])).unwrap();
    std::fs::write(folder.path().join("private"), chat(&["nobody's business"])).unwrap();
    let (listed_at, other_at) = (format!("localhost:{}", listed.port), format!("localhost:{}", other.port));
    // By HTTP/2 and by HTTP/1.1; a host off the list; and a client that trusts only what it trusted before.
    let script = format!(
        "set -e; ask() {{ curl -sS --fail \"$@\"; }}
        ask -d @said https://{listed_at}{CHAT}; ask --http1.1 -d @said 'https://{listed_at}{CHAT}?x=%2F' > /dev/null
        ask -d @private https://{other_at}{CHAT}
        if ask --cacert theirs.pem https://{listed_at}/ 2> refused; then exit 9; fi
        echo $SSL_CERT_FILE $NODE_EXTRA_CA_CERTS > files; cat $SSL_CERT_FILE > bundle"
    );
    let output = record(folder.path(), &["--tls-intercept", "--hosts", &listed_at], &script);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert_eq!(out.matches("data: [DONE]").count(), 2, "what is answered reaches the command: {out}");
    let seen = listed.seen();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(
        (seen[1].0.as_str(), seen[1].1.as_slice()),
        (&*format!("{CHAT}?x=%2F"), chat(&["hello over TLS"]).as_bytes())
    );
    assert_eq!(other.seen().len(), 1);

    let shown = json(folder.path(), &["traces", "show", "tls", "--json"]);
    let calls = shown["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2, "{shown:#}");
    for call in calls {
        assert_eq!((call["upstream"].as_str(), call["end"].as_str()), (Some(&*listed_at), Some("complete")));
        assert_eq!(call["answer"]["parts"][0]["text"], "hello", "{call}");
    }
    let tunnels: Vec<&Value> = shown["notes"].as_array().unwrap().iter().map(|note| &note[1]).collect();
    let tunnels: Vec<&Value> = tunnels.into_iter().filter(|note| note["kind"] == "tunnel").collect();
    let unread = tunnels.iter().find(|note| note["data"]["host"] == *other_at).unwrap();
    let bytes = |way: &str| unread["data"][way].as_u64().unwrap();
    assert!(bytes("sent") > 300 && bytes("received") > 1000 && unread["data"]["error"].is_null(), "{unread}");
    let refused = tunnels.iter().find(|note| note["data"]["host"] == *listed_at).unwrap();
    assert!(refused["data"]["error"].as_str().unwrap().contains("certificate"), "{refused}");
    for (name, bytes) in files(&folder.path().join(".holdback")) {
        for spot in secrets::spots(&bytes) {
            assert!(memchr::memmem::find(&spot, b"nobody's business").is_none(), "{name} holds what was tunnelled");
        }
    }

    // The authority is gone with the run, and its key never was in a file.
    let bundle = std::fs::read_to_string(folder.path().join("bundle")).unwrap();
    assert!(bundle.contains(authority.pem.trim()) && !bundle.contains("PRIVATE"), "{bundle}");
    let named = std::fs::read_to_string(folder.path().join("files")).unwrap();
    assert_eq!(named.split_whitespace().count(), 2);
    assert!(named.split_whitespace().all(|file| !Path::new(file).exists()), "{named}");
}

#[tokio::test(flavor = "multi_thread")]
async fn brakes_hold_inside_and_the_upstreams_behind_tls_are_the_hosts_when_none_is_named() {
    if !has_curl() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    std::fs::write(folder.path().join("theirs.pem"), &authority.pem).unwrap();
    let behind = Behind::start(&authority).await;
    std::fs::write(folder.path().join("said"), chat(&["again"])).unwrap();
    let url = format!("https://localhost:{}", behind.port);
    let script = format!("for at in 1 2 3; do curl -sS -o /dev/null -w '%{{http_code}} ' -d @said {url}{CHAT}; done");
    let upstream = format!("mine={url}");
    let output = record(folder.path(), &["--tls-intercept", "--upstream", &upstream, "--max-calls", "2"], &script);
    let said = String::from_utf8_lossy(&output.stdout);
    let codes: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(codes[..2], ["200", "200"], "{said} {}", String::from_utf8_lossy(&output.stderr));
    assert!(codes[2].starts_with('4'), "{said}");
    assert_eq!(behind.seen().len(), 2);
    let shown = json(folder.path(), &["traces", "show", "tls", "--json"]);
    assert_eq!((shown["calls"][0]["upstream"].as_str(), shown["outcome"].as_str()), (Some("mine"), Some("braked")));
}

#[test]
fn interception_that_cannot_be_had_is_said_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &[&str], proxy: &str| {
        let mut command = holdback(folder.path());
        command.env("HTTPS_PROXY", proxy).arg("record").args(more).args(["--", "touch", "ran"]);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run(&["--hosts", "a.example"], "");
    assert!(code == Some(2) && said.contains("--tls-intercept"), "{said}");
    let (code, said) = run(&["--tls-intercept"], "http://proxy.example:3128");
    assert!(code == Some(2) && said.contains("HTTPS_PROXY is set"), "{said}");
    assert!(!folder.path().join("ran").exists());
}
