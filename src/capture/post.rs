//! A plain HTTP client for the calls that holdback itself makes. It changes nothing: no redirects, no decoding, no retries.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::trace::Headers;

/// A call that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer from {url}: {reason}")]
pub struct NoAnswer {
    url: String,
    reason: String,
}

/// The TLS settings of everything this process connects to: rustls with ring, and the system's certificates.
fn use_ring() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        // An error says that a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

fn client() -> Result<reqwest::Client, NoAnswer> {
    use_ring();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| NoAnswer { url: "anywhere".to_owned(), reason: chain(&error) })
}

/// Posts a body and waits for the whole answer: status, headers, body as it came.
///
/// # Errors
/// When no whole answer comes.
pub async fn post(url: &str, headers: &Headers, body: Bytes) -> Result<(u16, Headers, Bytes), NoAnswer> {
    let failed = |error: reqwest::Error| NoAnswer { url: url.to_owned(), reason: chain(&error) };
    let mut request = client()?.post(url).body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let headers = response.headers().iter().map(header).collect();
    let body = response.bytes().await.map_err(failed)?;
    Ok((status, headers, body))
}

/// An error with its causes, which reqwest doesn't print by itself.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}
