//! What a standing proxy has beside model calls: who may come in, `/healthz`, `/metrics`.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::{self, HeaderMap};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use super::forward::plain;
use super::proxy::Shared;
use super::tee::Down;

/// Carries the proxy's own token where `proxy-authorization` cannot be set.
pub const TOKEN_HEADER: &str = "x-holdback-token";

pub(super) fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// `/healthz` and `/metrics`.
pub(super) fn own_pages(shared: &Shared, parts: &Parts) -> Option<Response<Down>> {
    let get = parts.method == Method::GET || parts.method == Method::HEAD;
    match parts.uri.path() {
        "/healthz" if get => Some(health(shared)),
        "/metrics" if get => match token_of(&parts.headers, shared.token.as_deref()) {
            true => Some(metrics(shared)),
            false => Some(plain(StatusCode::UNAUTHORIZED, "the metrics want the proxy's token")),
        },
        _ => None,
    }
}

/// Lets a request in that shows the token, and takes the token out of it. Says the path and query that are left.
pub(super) fn admit(shared: &Shared, parts: &mut Parts) -> Result<String, Box<Response<Down>>> {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let Some(token) = &shared.token else {
        parts.headers.remove(TOKEN_HEADER);
        return Ok(target);
    };
    let in_path = target.strip_prefix("/token/").and_then(|rest| {
        let end = rest.find('/').unwrap_or(rest.len());
        same(&rest[..end], token).then(|| rest[end..].to_owned())
    });
    if in_path.is_none() && !token_of(&parts.headers, Some(token)) {
        let why = format!(
            "this proxy wants its token: as a bearer token in proxy-authorization, in {TOKEN_HEADER}, or as /token/TOKEN before the path"
        );
        return Err(Box::new(plain(StatusCode::PROXY_AUTHENTICATION_REQUIRED, why)));
    }
    parts.headers.remove(TOKEN_HEADER);
    parts.headers.remove(header::PROXY_AUTHORIZATION);
    Ok(in_path.map_or(target, |rest| if rest.is_empty() { "/".to_owned() } else { rest }))
}

fn token_of(headers: &HeaderMap, token: Option<&str>) -> bool {
    let Some(token) = token else { return true };
    let bearer = |name: header::HeaderName| {
        let value = headers.get(name)?.to_str().ok()?;
        value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer "))
    };
    let plain = headers.get(TOKEN_HEADER).and_then(|value| value.to_str().ok());
    [bearer(header::PROXY_AUTHORIZATION), plain, bearer(header::AUTHORIZATION)]
        .into_iter()
        .flatten()
        .any(|given| same(given, token))
}

/// Compares in a time that says nothing of where they differ.
fn same(given: &str, token: &str) -> bool {
    let differing = given.bytes().zip(token.bytes()).fold(0, |seen, (one, other)| seen | (one ^ other));
    given.len() == token.len() && differing == 0
}

fn health(shared: &Shared) -> Response<Down> {
    let counts = &shared.queue.counts;
    let lost = load(&counts.lost_calls);
    let errors = load(&counts.sink_errors);
    let (status, word) =
        if errors > 0 || lost > 0 { (StatusCode::SERVICE_UNAVAILABLE, "losing") } else { (StatusCode::OK, "ok") };
    let body = serde_json::json!({ "status": word, "lost_calls": lost, "store_errors": errors, "waiting": shared.queue.lag() });
    let mut response = Response::new(Down::text(format!("{body}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

#[expect(clippy::cast_precision_loss, reason = "a sum for a chart")]
fn metrics(shared: &Shared) -> Response<Down> {
    let counts = &shared.queue.counts;
    let mut text = String::new();
    let mut line = |name: &str, kind: &str, help: &str, value: &dyn std::fmt::Display| {
        let _ = write!(text, "# HELP holdback_{name} {help}\n# TYPE holdback_{name} {kind}\nholdback_{name} {value}\n");
    };
    for (name, help, counter) in [
        ("calls_total", "Model calls taken.", &counts.calls),
        ("call_errors_total", "Calls that failed.", &counts.errors),
        ("calls_refused_total", "Calls that a brake or holdback itself answered.", &counts.refused),
        ("other_requests_total", "Requests that are no model calls.", &counts.other_requests),
        ("lost_calls_total", "Calls that were made and could not be recorded.", &counts.lost_calls),
        ("cut_bodies_total", "Answers of which only a part could be kept.", &counts.cut_bodies),
        ("spilled_total", "Bodies that waited on disk for the recorder.", &counts.spilled),
        ("store_errors_total", "Events that the store would not take.", &counts.sink_errors),
        ("request_bytes_total", "Bytes of request bodies.", &counts.bytes_up),
        ("response_bytes_total", "Bytes of response bodies.", &counts.bytes_down),
        ("tokens_total", "Tokens read and written.", &counts.tokens),
        ("unpriced_calls_total", "Calls whose model has no price.", &counts.unpriced_calls),
        ("redactions_total", "Secrets replaced.", &counts.redactions),
        ("traces_total", "Traces seen.", &counts.traces),
    ] {
        line(name, "counter", help, &load(counter));
    }
    for figure in &shared.figures {
        line(figure.name, "counter", figure.help, &(figure.value)());
    }
    line(
        "spend_usd_total",
        "counter",
        "US dollars spent, as far as prices are known.",
        &(load(&counts.cost_units) as f64 / 1e8),
    );
    line("recorder_waiting", "gauge", "Messages that the recorder has not dealt with.", &shared.queue.lag());
    line("recorder_bytes", "gauge", "Bytes held for the recorder.", &shared.queue.weight());
    line("open_connections", "gauge", "Connections of clients.", &load(&counts.open_connections));
    line("open_calls", "gauge", "Calls under way.", &load(&counts.open_calls));
    let mut response = Response::new(Down::text(text));
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
