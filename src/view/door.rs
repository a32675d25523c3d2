//! Who may come in, what they ask, and what goes out: host, origin and token are looked at here, and nowhere else.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use maud::Markup;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::{
    Error, View, calibration, call, diff, failures, filters, frame, label, live, promote, runs, scores, trace, traces,
};

/// The cookie that holds the session's token.
const COOKIE: &str = "holdback_view";
/// Bytes of a form at the most.
const FORM: usize = 64 * 1024;
/// Nothing but what this server sends, and no script in a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What somebody asks.
#[derive(Debug)]
pub struct Ask {
    pub path: Vec<String>,
    pub query: Vec<(String, String)>,
    pub form: Vec<(String, String)>,
    /// Whether they hold the session's token.
    pub trusted: bool,
    /// Goes into every form.
    pub csrf: Option<String>,
}

impl Ask {
    /// A value of the query, trimmed; empty when it isn't there.
    pub fn get(&self, name: &str) -> &str {
        self.query.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.trim())
    }

    /// A value of the form.
    pub fn field(&self, name: &str) -> &str {
        self.form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.trim())
    }
}

/// What is answered.
#[derive(Debug)]
pub enum Reply {
    Page(Markup),
    /// A piece of a page.
    Piece(Markup),
    /// Bytes as they were recorded: shown as text, whatever they are.
    Raw(Vec<u8>),
    Asset(&'static str, &'static str),
    /// Go there instead.
    There(String),
}

#[derive(Clone)]
struct Shared {
    view: Arc<View>,
    closing: watch::Receiver<bool>,
}

/// Everything that is served.
pub fn app(view: Arc<View>, closing: watch::Receiver<bool>) -> Router {
    Router::new().fallback(answer).with_state(Shared { view, closing })
}

async fn answer(State(Shared { view, closing }): State<Shared>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if let Err(refused) = right_host(&view, &parts.headers) {
        return sent(StatusCode::MISDIRECTED_REQUEST, Reply::Page(frame::wrong("Not here", &refused)));
    }
    let given = decoded(parts.uri.query().unwrap_or(""));
    if let (Some(token), Some((_, shown))) = (&view.token, given.iter().find(|(key, _)| key == "token")) {
        return session(token, shown, parts.uri.path());
    }
    let trusted =
        view.token.as_ref().is_some_and(|token| cookie(&parts.headers).is_some_and(|known| same(&known, token)));
    let csrf = view.token.as_ref().filter(|_| trusted).map(|token| csrf(token));
    let path: Vec<String> = parts.uri.path().split('/').filter(|part| !part.is_empty()).map(unescaped).collect();
    let mut ask = Ask { path, query: given, form: Vec::new(), trusted, csrf };
    if parts.method == Method::POST {
        if let Err(refused) = may_write(&view, &ask, &parts.headers) {
            return sent(StatusCode::FORBIDDEN, Reply::Page(frame::wrong("Not allowed", &refused)));
        }
        let Ok(bytes) = to_bytes(body, FORM).await else {
            return sent(StatusCode::PAYLOAD_TOO_LARGE, Reply::Page(frame::wrong("Too much", "the form is too long")));
        };
        ask.form = decoded(&String::from_utf8_lossy(&bytes));
        if !ask.csrf.as_ref().is_some_and(|csrf| same(ask.field("csrf"), csrf)) {
            let why = "this form is not from a page of this view: load the page again";
            return sent(StatusCode::FORBIDDEN, Reply::Page(frame::wrong("Not allowed", why)));
        }
    } else if parts.method != Method::GET && parts.method != Method::HEAD {
        return sent(
            StatusCode::METHOD_NOT_ALLOWED,
            Reply::Page(frame::wrong("Not this way", "only GET and POST are known")),
        );
    }
    if ask.path == ["live", "events"] {
        return live::events(view, closing);
    }
    if let ["traces", id, "events"] = ask.path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        let from = ask.get("from").parse().unwrap_or(0);
        return live::of_trace(view, closing, (*id).to_owned(), from);
    }
    let write = parts.method == Method::POST;
    // DuckDB and the disk may take their time; other pages don't wait for it.
    let done = tokio::task::spawn_blocking(move || if write { written(&view, &ask) } else { page(&view, &ask) }).await;
    match done {
        Ok(Ok(reply)) => sent(StatusCode::OK, reply),
        Ok(Err(error)) => failed(&error),
        Err(_) => sent(
            StatusCode::INTERNAL_SERVER_ERROR,
            Reply::Page(frame::wrong("Something broke", "this page could not be made; that is a fault of holdback")),
        ),
    }
}

/// Every page there is.
fn page(view: &View, ask: &Ask) -> Result<Reply, Error> {
    let path: Vec<&str> = ask.path.iter().map(String::as_str).collect();
    match path.as_slice() {
        [] | ["traces"] => traces::list(view, ask),
        ["traces", id] => trace::page(view, ask, id),
        ["traces", id, "calls", number] => call::page(view, ask, id, number),
        ["traces", id, "calls", number, "piece"] => call::piece(view, id, number),
        ["traces", id, "calls", number, "request"] => call::request(view, id, number),
        ["traces", id, "calls", number, "response"] => call::response(view, id, number),
        ["diff"] => diff::page(view, ask),
        ["runs"] => runs::list(view, ask),
        ["runs", id] => runs::one(view, ask, id),
        ["compare"] => runs::compare(view, ask),
        ["verdicts"] => runs::verdicts(view, ask),
        ["verdicts", id] => runs::verdict(view, ask, id),
        ["failures"] => failures::page(view, ask),
        ["failures", "groups"] => failures::groups(view, ask),
        ["promote"] => promote::page(view, ask),
        ["label"] => label::start(view, ask),
        ["label", "traces"] => scores::desk(view, ask),
        ["label", "runs", run] => label::desk(view, ask, run),
        ["calibration"] => calibration::list(view, ask),
        ["calibration", rubric] => calibration::one(view, ask, rubric),
        ["live"] => live::page(view, ask),
        ["assets", "page.css"] => Ok(Reply::Asset("text/css; charset=utf-8", crate::report::page::STYLE)),
        ["assets", "view.css"] => Ok(Reply::Asset("text/css; charset=utf-8", include_str!("assets/view.css"))),
        ["assets", "page.js"] => Ok(Reply::Asset("text/javascript; charset=utf-8", crate::report::page::SCRIPT)),
        ["assets", "view.js"] => Ok(Reply::Asset("text/javascript; charset=utf-8", include_str!("assets/view.js"))),
        ["favicon.ico"] | ["assets", "icon.svg"] => Ok(Reply::Asset("image/svg+xml", include_str!("assets/icon.svg"))),
        _ => Err(Error::Missing("there is no such page".to_owned())),
    }
}

/// Everything that can be done.
fn written(view: &View, ask: &Ask) -> Result<Reply, Error> {
    let path: Vec<&str> = ask.path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["traces", id, "score"] => scores::give(view, ask, id),
        ["label", "runs", run] => label::give(view, ask, run),
        ["promote"] => promote::write(view, ask),
        ["filters"] => filters::keep(view, ask),
        ["filters", "forget"] => filters::forget(view, ask),
        _ => Err(Error::Missing("there is nothing to do here".to_owned())),
    }
}

fn failed(error: &Error) -> Response<Body> {
    let (status, title) = match error {
        Error::Missing(_) | Error::Index(crate::store::index::Error::NoRun { .. }) => {
            (StatusCode::NOT_FOUND, "Not found")
        }
        Error::Asked(_) | Error::Gate(_) | Error::Index(crate::store::index::Error::ManyRuns { .. }) => {
            (StatusCode::BAD_REQUEST, "That can't be shown")
        }
        Error::Forbidden(_) => (StatusCode::FORBIDDEN, "Not allowed"),
        Error::Index(_) | Error::Log(_) | Error::Case(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "The store could not be read")
        }
    };
    sent(status, Reply::Page(frame::wrong(title, &error.to_string())))
}

fn sent(status: StatusCode, reply: Reply) -> Response<Body> {
    let mut status = status;
    let mut place = None;
    let (kind, body) = match reply {
        Reply::Page(markup) | Reply::Piece(markup) => ("text/html; charset=utf-8", Body::from(markup.into_string())),
        Reply::Raw(bytes) => ("text/plain; charset=utf-8", Body::from(bytes)),
        Reply::Asset(kind, text) => (kind, Body::from(text)),
        Reply::There(to) => {
            status = StatusCode::SEE_OTHER;
            place = Some(to);
            ("text/plain; charset=utf-8", Body::empty())
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(place) = place.and_then(|place| HeaderValue::from_str(&place).ok()) {
        headers.insert(header::LOCATION, place);
    }
    guard(headers);
    response
}

/// What every answer carries.
pub fn guard(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// A page elsewhere that is given our address by its name server asks with its own name.
fn right_host(view: &View, headers: &HeaderMap) -> Result<(), String> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    match view.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) {
        true => Ok(()),
        false => Err(format!("this view answers at {} and not under other names", view.hosts[0])),
    }
}

fn may_write(view: &View, ask: &Ask, headers: &HeaderMap) -> Result<(), String> {
    if view.token.is_none() {
        return Err("this view only reads; start it with --write to let it keep scores".to_owned());
    }
    if !ask.trusted {
        return Err("open the address that `holdback view` printed, with its token, first".to_owned());
    }
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let ours = |origin: &str| view.hosts.iter().any(|host| origin == format!("http://{host}"));
    match origin.is_some_and(ours) {
        true => Ok(()),
        false => Err("this was sent from a page of somebody else's".to_owned()),
    }
}

/// Takes the token out of the address and into a cookie.
fn session(token: &str, shown: &str, path: &str) -> Response<Body> {
    if !same(shown, token) {
        return sent(StatusCode::FORBIDDEN, Reply::Page(frame::wrong("Not allowed", "that is not this view's token")));
    }
    // `//name` would be another server's address.
    let mut response = sent(StatusCode::SEE_OTHER, Reply::There(format!("/{}", path.trim_start_matches(['/', '\\']))));
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned()).next()
}

fn csrf(token: &str) -> String {
    Sha256::digest(format!("csrf {token}")).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares in a time that says nothing of where they differ.
fn same(given: &str, known: &str) -> bool {
    let differing = given.bytes().zip(known.bytes()).fold(0, |seen, (one, other)| seen | (one ^ other));
    given.len() == known.len() && differing == 0
}

fn decoded(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes()).map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
}

/// A part of a path, its percent signs resolved.
fn unescaped(part: &str) -> String {
    // A plus sign is itself in a path.
    let safe = part.replace('+', "%2B").replace('=', "%3D").replace('&', "%26");
    let (key, value) = form_urlencoded::parse(safe.as_bytes()).next().unwrap_or_default();
    if value.is_empty() { key.into_owned() } else { format!("{key}={value}") }
}

/// Text as a value in an address.
pub fn escaped(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_put_together() {
        assert_eq!(unescaped("a%2Fb+c%20d=e&f"), "a/b+c d=e&f");
        assert_eq!(escaped("a/b c&d"), "a%2Fb%20c%26d");
        assert_eq!(
            decoded("q=a+b&tag=x%3Dy"),
            [("q".to_owned(), "a b".to_owned()), ("tag".to_owned(), "x=y".to_owned())]
        );
    }

    #[test]
    fn a_token_never_leads_to_another_server() {
        for path in ["//evil.example/x", "/\\evil.example", "/traces"] {
            let response = session("abc", "abc", path);
            let place = response.headers()[header::LOCATION].to_str().unwrap();
            assert!(place.starts_with('/') && !place.starts_with("//") && !place.contains('\\'), "{place}");
        }
        assert_eq!(session("abc", "abd", "/").status(), StatusCode::FORBIDDEN);
    }
}
