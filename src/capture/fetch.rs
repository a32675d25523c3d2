//! Requests of holdback's own to services that are no models: graders that are called back, targets behind HTTP. Not recorded.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{Method, Request, Uri, header};

use super::client::{self, Pool};
use super::forward::decoded;
use super::proxy::{AskError, Told};
use super::tee::{Up, chain};
use crate::trace::Headers;

/// The most that is read of an answer.
const MOST: usize = 16 << 20;

/// Makes requests over connections it keeps.
#[derive(Clone)]
pub struct Fetcher(Pool);

impl Default for Fetcher {
    fn default() -> Self {
        Fetcher(client::pool(true))
    }
}

impl Fetcher {
    /// Makes one request and reads the whole answer.
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
        let uri: Uri = url.parse().map_err(|_| bad("it is not an address".to_owned()))?;
        let host = uri.authority().ok_or_else(|| bad("it has no host".to_owned()))?.as_str().to_owned();
        let method: Method = method.parse().map_err(|_| bad(format!("{method:?} is no method")))?;
        let mut request = Request::builder().method(method).uri(uri).header(header::HOST, host);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Up::Whole(Some(body))).map_err(|error| bad(error.to_string()))?;
        let exchange = async {
            let response = self.0.request(request).await.map_err(|error| bad(chain(&error)))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MOST).collect().await.map_err(|error| AskError::Broken(error.to_string()))?;
            let name_and_value = |(name, value): (&header::HeaderName, &header::HeaderValue)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            };
            let headers = parts.headers.iter().map(name_and_value).collect();
            Ok(Told { status: parts.status.as_u16(), headers, body: decoded(&parts.headers, &body.to_bytes()) })
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(told) => told,
            Err(_) => Err(bad(format!("no answer within {} s", limit.as_secs_f64()))),
        }
    }
}
