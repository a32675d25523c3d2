//! Requests of holdback's own to services that it does not record: graders that are called back, targets behind HTTP, the
//! demo's agent. Nothing is followed or tried again.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::header::{HeaderName, HeaderValue};
use reqwest::{Client, Method, redirect};

use super::forward::decoded;
use super::proxy::{AskError, Told};
use super::tee::chain;
use crate::trace::Headers;

/// The most that is read of an answer.
const MOST: usize = 16 << 20;

/// Makes requests over connections it keeps.
#[derive(Clone)]
pub struct Fetcher(Result<Client, String>);

impl Default for Fetcher {
    fn default() -> Self {
        // An error says that a provider of cryptography is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().redirect(redirect::Policy::none()).build();
        Fetcher(client.map_err(|error| chain(&error)))
    }
}

impl Fetcher {
    /// Makes one request and reads the whole answer, unpacked where it came packed.
    ///
    /// # Errors
    /// When the address is none, nobody answers in time, or the answer breaks off or is too long.
    pub async fn fetch(
        &self,
        method: &str,
        url: &str,
        headers: &Headers,
        body: Bytes,
        limit: Duration,
    ) -> Result<Told, AskError> {
        let bad = |reason: String| AskError::Request { target: url.to_owned(), reason };
        let client = self.0.as_ref().map_err(|reason| bad(reason.clone()))?;
        let method: Method = method.parse().map_err(|_| bad(format!("{method:?} is no method")))?;
        let mut request = client.request(method, url).body(body).timeout(limit);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let silent = |error: &reqwest::Error| match error.is_timeout() {
            true => format!("no answer within {} s", limit.as_secs_f64()),
            false => chain(error),
        };
        let mut response = request.send().await.map_err(|error| bad(silent(&error)))?;
        let mut body = BytesMut::new();
        while let Some(piece) = response.chunk().await.map_err(|error| AskError::Broken(silent(&error)))? {
            if body.len() + piece.len() > MOST {
                return Err(AskError::Broken(format!("the answer is longer than {MOST} bytes")));
            }
            body.extend_from_slice(&piece);
        }
        let name_and_value = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let headers = response.headers().iter().map(name_and_value).collect();
        Ok(Told { status: response.status().as_u16(), headers, body: decoded(response.headers(), &body.freeze()) })
    }
}
