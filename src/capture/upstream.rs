//! What the proxy forwards to: real providers by name, or an answer made here (a mock model, a tape).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{HeaderMap, Uri};

use crate::replay::{ToolAsked, ToolPlayed};
use crate::trace::{CallEnd, CallId, Headers, Note, TraceId, Wire};

/// Where the well-known providers live.
const KNOWN: [(&str, &str); 3] = [
    ("anthropic", "https://api.anthropic.com"),
    ("openai", "https://api.openai.com"),
    ("gemini", "https://generativelanguage.googleapis.com"),
];

/// An address that cannot be an upstream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is no address of an upstream: {why}; expected something like https://api.example.com or http://127.0.0.1:8000/base"
)]
pub struct BadUpstream {
    given: String,
    why: &'static str,
}

/// A server that speaks for a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    scheme: Scheme,
    authority: Authority,
    /// Put before every path; empty or `/something` without a slash at its end.
    prefix: String,
}

impl Live {
    /// Reads an address.
    ///
    /// # Errors
    /// When it is not an http or https URL, or has a user, a query or a fragment in it.
    pub fn parse(url: &str) -> Result<Self, BadUpstream> {
        let bad = |why| BadUpstream { given: url.to_owned(), why };
        let uri: Uri = url.trim().parse().map_err(|_| bad("it is not a URL"))?;
        let parts = uri.into_parts();
        let scheme = parts.scheme.ok_or_else(|| bad("it has no scheme"))?;
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(bad("its scheme is neither http nor https"));
        }
        let authority = parts.authority.ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it has a user or password in it, which belongs in the client's own headers"));
        }
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        if path.query().is_some() {
            return Err(bad("it has a query"));
        }
        Ok(Live { scheme, authority, prefix: path.path().trim_end_matches('/').to_owned() })
    }

    /// `scheme://host:port`, without a path.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    /// The path put before every request's own.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The same server without its path, which then has to be part of every request.
    #[must_use]
    pub fn without_prefix(mut self) -> Self {
        self.prefix.clear();
        self
    }

    /// The `Host` it wants to hear.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Where a request goes; `None` when the target is not a path.
    pub(super) fn uri(&self, target: &str) -> Option<Uri> {
        let path: PathAndQuery = match self.prefix.is_empty() {
            true => target.parse().ok()?,
            false => format!("{}{target}", self.prefix).parse().ok()?,
        };
        Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(path).build().ok()
    }

    fn is_at(&self, uri: &Uri) -> bool {
        let port = |authority: &Authority, scheme: &Scheme| {
            authority.port_u16().unwrap_or(if *scheme == Scheme::HTTPS { 443 } else { 80 })
        };
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else { return false };
        scheme == &self.scheme
            && authority.host().eq_ignore_ascii_case(self.authority.host())
            && port(authority, scheme) == port(&self.authority, &self.scheme)
            && !authority.as_str().contains('@')
    }
}

/// What a local upstream is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The trace the call belongs to, where the client named one.
    pub trace: Option<TraceId>,
    pub call: CallId,
    /// How many calls of that trace came before.
    pub turn: u64,
    /// What the trace was begun with as its key: the task and the trial, say.
    pub key: &'a str,
    pub wire: Wire,
    pub method: &'a str,
    pub target: &'a str,
    pub headers: &'a Headers,
    /// The whole body, decoded.
    pub body: &'a Bytes,
}

/// An answer made here.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The name to record as its upstream: `mock/echo`, `tape`, …
    pub upstream: String,
    pub status: u16,
    pub headers: Headers,
    /// The body in pieces, each after so long a wait.
    pub chunks: Vec<(Duration, Bytes)>,
    /// [`CallEnd::Cut`] breaks the connection off after the last piece; [`CallEnd::Refused`] is recorded as holdback's own word.
    pub end: CallEnd,
}

/// What a local upstream does with a call.
#[derive(Debug, Clone)]
pub enum Answer {
    Reply(Reply),
    /// It leaves the call to the real provider.
    Live,
    /// It leaves the call to a provider, asked otherwise.
    Elsewhere(Box<Elsewhere>),
}

/// A call that goes up differently from how it came in.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    /// The upstream's name; the call's own where `None`.
    pub upstream: Option<String>,
    /// Path and query.
    pub target: String,
    /// Headers in place of the client's; where `None` the client's go up.
    pub headers: Option<Headers>,
    pub body: Bytes,
    /// The wire format it is asked in. Where that is another than the client's, the answer is written anew.
    pub wire: Wire,
    /// Whether the client wants a stream.
    pub stream: bool,
}

/// Answers calls without a network: mock models, tapes.
pub trait Answers: Send + Sync {
    /// Answers one call. It must not block.
    fn answer(&self, asked: &Asked<'_>) -> Answer;

    /// Whether nothing may leave the machine: what is no model call is turned away too.
    fn offline(&self) -> bool {
        false
    }

    /// Answers for a tool; [`ToolPlayed::Live`] leaves it to the real one.
    fn tool(&self, _asked: &ToolAsked<'_>) -> ToolPlayed {
        ToolPlayed::Live
    }

    /// What is worth keeping in the trace, once the run is over.
    fn notes(&self, _trace: TraceId) -> Vec<Note> {
        Vec::new()
    }
}

/// Something that takes calls.
#[derive(Clone)]
pub enum Upstream {
    Live(Live),
    Local(Arc<dyn Answers>),
}

/// The upstreams a proxy knows, by name. It forwards to nothing else.
#[derive(Clone, Default)]
pub struct Upstreams {
    list: Vec<(Arc<str>, Upstream)>,
}

impl Upstreams {
    /// None at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Anthropic, OpenAI and Gemini at their own addresses.
    pub fn known() -> Self {
        let mut known = Self::none();
        for (name, url) in KNOWN {
            known.set(name, Upstream::Live(Live::parse(url).expect("the table holds good addresses")));
        }
        known
    }

    /// Gives a name its upstream, in place of what it had.
    pub fn set(&mut self, name: &str, upstream: Upstream) {
        match self.list.iter_mut().find(|(known, _)| &**known == name) {
            Some((_, old)) => *old = upstream,
            None => self.list.push((name.into(), upstream)),
        }
    }

    /// Gives a name its address, in place of what it had.
    ///
    /// # Errors
    /// When the address cannot be one.
    pub fn set_url(&mut self, name: &str, url: &str) -> Result<(), BadUpstream> {
        self.set(name, Upstream::Live(Live::parse(url)?));
        Ok(())
    }

    /// The upstream of a name.
    pub fn get(&self, name: &str) -> Option<(&Arc<str>, &Upstream)> {
        self.list.iter().find(|(known, _)| &**known == name).map(|(name, upstream)| (name, upstream))
    }

    /// All names, in the order given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|(name, _)| &**name)
    }

    /// Hosts that are spoken to behind TLS.
    pub(super) fn hosts(&self) -> Vec<String> {
        let host = |upstream: &Upstream| match upstream {
            Upstream::Live(live) if live.scheme == Scheme::HTTPS => Some(live.authority.to_string()),
            _ => None,
        };
        self.list.iter().filter_map(|(_, upstream)| host(upstream)).collect()
    }

    /// The upstream that lives at an absolute address, for clients that use us as their HTTP proxy.
    pub(super) fn at(&self, uri: &Uri) -> Option<(&Arc<str>, &Upstream)> {
        let here = |upstream: &Upstream| matches!(upstream, Upstream::Live(live) if live.is_at(uri));
        self.list.iter().find(|(_, upstream)| here(upstream)).map(|(name, upstream)| (name, upstream))
    }

    /// The upstream that a request without a name in it means, by its path and headers.
    pub(super) fn guess(&self, path: &str, headers: &HeaderMap) -> Option<(&Arc<str>, &Upstream)> {
        if let [(name, upstream)] = self.list.as_slice() {
            return Some((name, upstream));
        }
        self.get(provider_of(path, headers)?)
    }
}

fn provider_of(path: &str, headers: &HeaderMap) -> Option<&'static str> {
    let has = |name: &str| headers.contains_key(name);
    if has("anthropic-version") || path.starts_with("/v1/messages") || path == "/api/hello" {
        Some("anthropic")
    } else if has("x-goog-api-key")
        || path.starts_with("/v1beta")
        || path.starts_with("/v1alpha")
        || path.contains(":generateContent")
    {
        Some("gemini")
    } else if path.starts_with("/v1/") || path.ends_with("/chat/completions") || path.ends_with("/responses") {
        Some("openai")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_bad_ones_refused() {
        let live = Live::parse("https://openrouter.ai/api/").unwrap();
        assert_eq!((live.origin().as_str(), live.prefix()), ("https://openrouter.ai", "/api"));
        assert_eq!(live.uri("/v1/x?a=%2F").unwrap(), "https://openrouter.ai/api/v1/x?a=%2F");
        assert_eq!(Live::parse("http://h:1").unwrap().uri("/a").unwrap(), "http://h:1/a");
        for bad in ["", "host", "ftp://h", "https://u:p@h", "https://h/?q=1", "/path"] {
            let error = Live::parse(bad).unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains("https://api.example.com"), "{error}");
        }
    }

    #[test]
    fn a_request_without_a_name_is_known_by_its_path_and_headers() {
        let upstreams = Upstreams::known();
        let with = |name: &'static str| {
            HeaderMap::from_iter([(hyper::header::HeaderName::from_static(name), "x".parse().unwrap())])
        };
        for (path, headers, name) in [
            ("/v1/messages", HeaderMap::new(), Some("anthropic")),
            ("/v1/models", with("anthropic-version"), Some("anthropic")),
            ("/v1/models", HeaderMap::new(), Some("openai")),
            ("/v1/chat/completions", HeaderMap::new(), Some("openai")),
            ("/v1beta/models/g:streamGenerateContent", HeaderMap::new(), Some("gemini")),
            ("/anything", with("x-goog-api-key"), Some("gemini")),
            ("/anything", HeaderMap::new(), None),
        ] {
            assert_eq!(upstreams.guess(path, &headers).map(|(name, _)| &**name), name, "{path}");
        }
        let mut one = Upstreams::none();
        one.set_url("mine", "http://127.0.0.1:1").unwrap();
        assert_eq!(&**one.guess("/anything", &HeaderMap::new()).unwrap().0, "mine");
    }

    #[test]
    fn an_absolute_address_is_served_only_when_it_is_an_upstreams() {
        let upstreams = Upstreams::known();
        let at = |url: &str| upstreams.at(&url.parse().unwrap()).is_some();
        assert!(at("https://api.openai.com/v1/x") && at("https://API.openai.com:443/v1/x"));
        for other in [
            "http://169.254.169.254/latest",
            "https://api.openai.com.evil/x",
            "http://api.openai.com/v1",
            "https://api.openai.com:8443/",
            "https://a@api.openai.com/",
        ] {
            assert!(!at(other), "{other}");
        }
    }
}
