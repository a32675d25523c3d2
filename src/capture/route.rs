//! Reads from a request which trace it belongs to and which upstream it names, and takes that out of it again.

use hyper::HeaderMap;

use super::ids;
use crate::trace::TraceId;

/// Names the trace, where no path can be set.
pub const TRACE_HEADER: &str = "x-holdback-trace";
/// Names the upstream, where no path can be set.
pub const UPSTREAM_HEADER: &str = "x-holdback-upstream";

/// Headers in which clients name their session: who, and the header.
const SESSIONS: [(&str, &str); 6] = [
    ("claude-code", "x-claude-code-session-id"),
    ("codex", "session-id"),
    ("session", "session_id"),
    ("opencode", "x-session-affinity"),
    ("session", "x-session-id"),
    ("conversation", "conversation_id"),
];

/// How a request says which trace it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Belongs {
    /// It names the trace; free names are kept as the trace's own.
    Trace(TraceId, Option<String>),
    /// It names a session of a client: the trace, who names it so, and how.
    Session(TraceId, &'static str, String),
    /// Only what is said in it can tell.
    Unknown,
}

impl Belongs {
    /// The trace, where the request itself tells.
    pub fn trace(&self) -> Option<TraceId> {
        match self {
            Belongs::Trace(trace, _) | Belongs::Session(trace, ..) => Some(*trace),
            Belongs::Unknown => None,
        }
    }
}

/// What a request's address and headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub belongs: Belongs,
    /// The upstream it names.
    pub upstream: Option<String>,
    /// Path and query as the upstream shall see them.
    pub target: String,
}

/// Reads path prefixes (`/hb/TRACE`, `/up/NAME`) and headers.
pub fn read(target: &str, headers: &HeaderMap) -> Route {
    let (mut trace, mut upstream, mut rest) = (None, None, target);
    loop {
        if let (None, Some((name, after))) = (trace, segment(rest, "/hb/")) {
            (trace, rest) = (Some(name), after);
        } else if let (None, Some((name, after))) = (upstream, segment(rest, "/up/")) {
            (upstream, rest) = (Some(name), after);
        } else {
            break;
        }
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty());
    let belongs = match trace.or_else(|| header(TRACE_HEADER)) {
        Some(name) => named(name),
        None => trace_parent(headers)
            .map(|trace| Belongs::Trace(trace, None))
            .or_else(|| session(headers))
            .unwrap_or(Belongs::Unknown),
    };
    let upstream = upstream.or_else(|| header(UPSTREAM_HEADER)).map(str::to_owned);
    let target = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    Route { belongs, upstream, target }
}

/// A trace by its id, or by any other name someone gave it.
pub fn named(name: &str) -> Belongs {
    match name.parse() {
        Ok(id) => Belongs::Trace(id, None),
        Err(_) => Belongs::Trace(ids::trace_named("named", name), Some(name.to_owned())),
    }
}

/// `/hb/abc/v1?x` -> `abc`, `/v1?x`.
fn segment<'a>(target: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    let rest = target.strip_prefix(prefix)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    (end > 0).then(|| rest.split_at(end))
}

fn trace_parent(headers: &HeaderMap) -> Option<TraceId> {
    let mut fields = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (_version, trace) = (fields.next()?, fields.next()?);
    trace.parse().ok().filter(|trace| *trace != TraceId(0))
}

fn session(headers: &HeaderMap) -> Option<Belongs> {
    SESSIONS.iter().find_map(|(who, header)| {
        let name = headers.get(*header)?.to_str().ok().filter(|name| !name.is_empty())?;
        Some(Belongs::Session(ids::trace_named(who, name), who, name.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "000102030405060708090a0b0c0d0e0f";

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| (hyper::header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn prefixes_are_read_in_any_order_and_taken_away() {
        let trace = Belongs::Trace(ID.parse().unwrap(), None);
        for (target, upstream, rest) in [
            (format!("/hb/{ID}/v1/messages?beta=true"), None, "/v1/messages?beta=true"),
            (format!("/hb/{ID}/up/openai/v1/x"), Some("openai"), "/v1/x"),
            (format!("/up/openai/hb/{ID}/v1/x%2Fy"), Some("openai"), "/v1/x%2Fy"),
            (format!("/hb/{ID}"), None, "/"),
            (format!("/hb/{ID}?a=1"), None, "/?a=1"),
            (format!("/hb/{ID}/hb/other/x"), None, "/hb/other/x"),
        ] {
            let route = read(&target, &HeaderMap::new());
            assert_eq!(
                route,
                Route { belongs: trace.clone(), upstream: upstream.map(str::to_owned), target: rest.to_owned() }
            );
        }
        assert_eq!(read("/hb//x", &HeaderMap::new()).target, "/hb//x");
    }

    #[test]
    fn the_path_wins_then_our_header_then_the_trace_parent_then_a_session() {
        let parent = format!("00-{ID}-0001020304050607-01");
        let all = headers(&[(TRACE_HEADER, "mine"), ("traceparent", &parent), ("session-id", "s")]);
        assert_eq!(read(&format!("/hb/{ID}/x"), &all).belongs, Belongs::Trace(ID.parse().unwrap(), None));
        assert_eq!(read("/x", &all).belongs, named("mine"));
        let some = headers(&[("traceparent", &parent), ("session-id", "s")]);
        assert_eq!(read("/x", &some).belongs, Belongs::Trace(ID.parse().unwrap(), None));
        let bad = headers(&[("traceparent", "00-zz-1-01"), ("session-id", "s")]);
        assert_eq!(read("/x", &bad).belongs, Belongs::Session(ids::trace_named("codex", "s"), "codex", "s".into()));
        assert_eq!(read("/x", &HeaderMap::new()).belongs, Belongs::Unknown);
    }
}
