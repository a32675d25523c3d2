//! One request: where it belongs, whether it may pass, who answers it, and the answer on its way back.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};

use super::call::{Call, Closing, Opening};
use super::decode::Decoder;
use super::proxy::{Ask, AskError, Known, Shared, Told};
use super::queue::{Message, Started, add};
use super::route::{self, Route};
use super::spill::Pieces;
use super::tee::{BoxError, Down, Made, Up, chain};
use super::tunnel::{self, Inside};
use super::upstream::{Answer, Asked, Reply, Upstream};
use super::{clock, elsewhere, mock, serve, tools, websocket};
use crate::provider;
use crate::trace::{CallEnd, Headers, Note, Wire};

/// Headers that speak of one connection only.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// How long a call waits in strict mode for a recorder that lags.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves one request. An error closes the connection, as the upstream closed it on us.
pub(super) async fn handle(
    shared: Arc<Shared>,
    connection: u64,
    request: Request<Incoming>,
) -> Result<Response<Down>, BoxError> {
    let (mut parts, body) = request.into_parts();
    if let Err(why) = check_framing(&parts) {
        let mut answer = plain(StatusCode::BAD_REQUEST, why);
        // Nobody can say where the next request on this connection begins.
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return Ok(answer);
    }
    let (route, name, upstream) = match parts.extensions.remove::<Inside>() {
        Some(inside) => {
            let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
            (inside.route(target), inside.name, inside.upstream)
        }
        None => {
            if let Some(answer) = serve::own_pages(&shared, &parts) {
                return Ok(answer);
            }
            let given = match serve::admit(&shared, &mut parts) {
                Ok(given) => given,
                Err(answer) => return Ok(*answer),
            };
            if let (&Method::CONNECT, Some(intercept)) = (&parts.method, &shared.intercept) {
                return Ok(tunnel::connect(&shared, intercept.clone(), parts).await);
            }
            let route = route::read(&given, &parts.headers);
            if route.target == tools::PATH && parts.method == Method::POST {
                return tools::word(&shared, &route, body).await;
            }
            match find_upstream(&shared, &parts, &route) {
                Ok((name, upstream)) => (route, name, upstream),
                Err(why) => return Ok(refuse_unrouted(&route, &parts, &why)),
            }
        }
    };
    if parts.method == Method::CONNECT {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "no tunnel inside a tunnel"));
    }
    for ours in [route::TRACE_HEADER, route::UPSTREAM_HEADER] {
        parts.headers.remove(ours);
    }
    let known = route.belongs.trace().and_then(|trace| shared.known(trace));
    let asking = Asking { shared, connection, route, name, upstream, known, parts };
    if asking.shared.tools.iter().any(|tool| **tool == *asking.name) {
        return tools::exchange(asking, body).await;
    }
    if websocket::asked_for(&asking.parts) {
        return websocket::tunnel(asking).await;
    }
    if asking.parts.method == Method::POST { asking.call(body).await } else { asking.pass(body).await }
}

/// A request whose place is known.
pub(super) struct Asking {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: u64,
    pub(super) route: Route,
    pub(super) name: Arc<str>,
    pub(super) upstream: Upstream,
    pub(super) known: Option<Arc<Known>>,
    pub(super) parts: Parts,
}

/// What a call was let in with: its number in the trace, or the answer that turns it away.
pub(super) enum Entry {
    In(u64),
    Out(Box<Reply>),
}

impl Asking {
    pub(super) fn wire(&self) -> Wire {
        provider::detect(self.parts.method.as_str(), &self.route.target, &headers(&self.parts.headers), &[])
    }

    /// Asks the brakes, and in strict mode the recorder.
    pub(super) async fn enter(&self) -> Entry {
        let counts = &self.shared.queue.counts;
        if self.shared.strict {
            let lost = serve::load(&counts.sink_errors) + serve::load(&counts.lost_calls) > 0;
            if lost || !self.shared.queue.make_room(PATIENCE).await {
                let why = "holdback runs in strict mode and cannot record: see its messages";
                return Entry::Out(Box::new(refusal(provider::refusal(self.wire(), "not_recorded", why), 500)));
            }
        }
        let Some(known) = &self.known else { return Entry::In(0) };
        if known.held.limits().need_totals() {
            self.shared.queue.settle().await;
        }
        match known.held.enter() {
            Ok(turn) => Entry::In(turn),
            Err(pulled) => {
                let kind = format!("brake_{}", pulled.brake.replace('-', "_"));
                let why = format!("holdback stopped this loop: {}", pulled.why);
                Entry::Out(Box::new(refusal(provider::refusal(self.wire(), &kind, &why), 0)))
            }
        }
    }

    pub(super) fn started(&self) -> Box<Started> {
        Box::new(Started {
            call: crate::trace::CallId(0),
            at: clock::now(),
            belongs: self.route.belongs.clone(),
            held: None,
            connection: self.connection,
            upstream: self.name.clone(),
            method: self.parts.method.clone(),
            target: self.route.target.clone(),
            headers: self.parts.headers.clone(),
            body: Pieces::default(),
            weight: 0,
        })
    }

    /// A call of a model: recorded.
    async fn call(mut self, body: Incoming) -> Result<Response<Down>, BoxError> {
        let entry = self.enter().await;
        let held = match &entry {
            Entry::In(_) => self.known.as_ref().map(|known| known.held.clone()),
            Entry::Out(_) => None,
        };
        let call = Call::new(self.shared.queue.clone(), held.clone());
        let closing = Closing::new(call.clone(), self.shared.body_bytes);
        let mut started = self.started();
        (started.call, started.held) = (call.id, held);
        let turn = match entry {
            Entry::In(turn) => turn,
            Entry::Out(reply) => {
                started.upstream = reply.upstream.as_str().into();
                let mut opening = Opening::new(call, started);
                read_whole(body, &mut opening).await?;
                return Ok(made(*reply, closing));
            }
        };
        let local = self.known.as_ref().and_then(|known| known.answers.clone());
        let local = local.or_else(|| match &self.upstream {
            Upstream::Local(answers) => Some(answers.clone()),
            Upstream::Live(_) => None,
        });
        if local.is_none() && !self.shared.mock_models {
            let opening = Opening::new(call, started);
            return self.live(Up::stream(body, opening), closing).await;
        }
        // Someone has to look at the request before it goes anywhere. Who answers it is known only then.
        let mut waiting = Waiting::default();
        let whole = read(body, &mut waiting).await?;
        let plain = decoded(&self.parts.headers, &whole);
        let list = headers(&self.parts.headers);
        let target = self.route.target.clone();
        let wire = || provider::detect("POST", &target, &list, &plain);
        let key = self.known.as_ref().map_or("", |known| known.key.as_str());
        let trace = self.route.belongs.trace();
        let asked = |wire| Asked {
            trace,
            call: call.id,
            turn,
            key,
            wire,
            method: "POST",
            target: &target,
            headers: &list,
            body: &plain,
        };
        let mut answer = local.map(|local| local.answer(&asked(wire())));
        let open = matches!(answer, None | Some(Answer::Live));
        if self.shared.mock_models && open && mock::may_be_asked(&target, &plain) {
            answer = mock::answer(&asked(wire())).map(Answer::Reply).or(answer);
        }
        if let Some(Answer::Reply(reply)) = &answer {
            started.upstream = reply.upstream.as_str().into();
        }
        let mut opening = Opening::new(call.clone(), started);
        waiting.pieces.iter().for_each(|piece| opening.push(piece));
        opening.finish();
        match answer {
            Some(Answer::Reply(reply)) => Ok(made(reply, closing)),
            Some(Answer::Elsewhere(to)) => elsewhere::ask(self, *to, closing).await,
            _ => {
                self.parts.headers.remove(header::TRANSFER_ENCODING);
                self.live(Up::Whole(Some(whole)), closing).await
            }
        }
    }

    /// Sends a call up and its answer down.
    pub(super) async fn live(self, body: Up, mut closing: Closing) -> Result<Response<Down>, BoxError> {
        let (shared, name, target) = (self.shared.clone(), self.name.clone(), self.route.target.clone());
        let wire = || provider::detect("POST", &target, &Vec::new(), &[]);
        let Some(request) = self.into_upstream(body) else {
            let why = format!("{name} has no live address, and what answers for it left this call alone");
            let reply = refusal(provider::refusal(wire(), "no_upstream", &why), 0);
            return Ok(made(reply, closing));
        };
        match shared.pool.request(request).await {
            Ok(response) => {
                let (mut parts, body) = response.into_parts();
                strip_hop_by_hop(&mut parts.headers);
                closing.head(parts.status.as_u16(), &parts.headers);
                parts.version = Version::HTTP_11;
                Ok(Response::from_parts(parts, Down::live(body, Some(closing))))
            }
            Err(error) if error.is_connect() => {
                let why = format!("holdback could not reach {name}: {}", chain(&error));
                closing.finish(CallEnd::NoAnswer, Some(why.clone()));
                // Clients try again after this, as they do when they cannot connect themselves.
                let (status, mut list, body) = provider::refuse(wire(), 502, "", &why);
                list.retain(|(name, _)| name != "x-should-retry");
                let made = Made::new(vec![(Duration::ZERO, body)], false);
                Ok(respond(status, &list, Down::made(made, None, CallEnd::Complete)))
            }
            Err(error) => {
                closing.finish(CallEnd::NoAnswer, Some(chain(&error)));
                Err(error.into())
            }
        }
    }

    /// Anything that is no model call: passed on, noted, its body not kept.
    async fn pass(self, body: Incoming) -> Result<Response<Down>, BoxError> {
        add(&self.shared.queue.counts.other_requests, 1);
        if self.is_offline() {
            return Ok(plain(StatusCode::NOT_FOUND, "a tape has model calls only, and nothing leaves this machine"));
        }
        let (method, target) = (self.parts.method.to_string(), self.route.target.clone());
        let (shared, belongs, name) = (self.shared.clone(), self.route.belongs.clone(), self.name.clone());
        let Some(request) = self.into_upstream(Up::Through(body)) else {
            return Ok(plain(StatusCode::NOT_FOUND, "nothing here but model calls"));
        };
        let result = shared.pool.request(request).await;
        let status = result.as_ref().ok().map(|response| response.status().as_u16());
        let data = serde_json::json!({ "method": method, "target": target, "upstream": &*name, "status": status });
        let note = Note { kind: "request".to_owned(), call: None, data };
        shared.queue.send(Message::Noted(belongs, Box::new(note), clock::now()));
        match result {
            Ok(response) => {
                let (mut parts, body) = response.into_parts();
                strip_hop_by_hop(&mut parts.headers);
                parts.version = Version::HTTP_11;
                Ok(Response::from_parts(parts, Down::live(body, None)))
            }
            Err(error) if error.is_connect() => {
                let why = format!("holdback could not reach {name}: {}", chain(&error));
                Ok(plain(StatusCode::BAD_GATEWAY, why))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn into_upstream(mut self, body: Up) -> Option<Request<Up>> {
        let (uri, host) = self.destination()?;
        strip_hop_by_hop(&mut self.parts.headers);
        // We have already asked for the body ourselves.
        self.parts.headers.remove(header::EXPECT);
        self.parts.headers.insert(header::HOST, host);
        self.parts.uri = uri;
        self.parts.version = Version::HTTP_11;
        self.parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
        Some(Request::from_parts(self.parts, body))
    }

    /// Whether what answers this trace's calls keeps everything on this machine.
    pub(super) fn is_offline(&self) -> bool {
        self.known.as_ref().and_then(|known| known.answers.as_ref()).is_some_and(|answers| answers.offline())
    }

    pub(super) fn destination(&self) -> Option<(hyper::Uri, HeaderValue)> {
        let Upstream::Live(live) = &self.upstream else { return None };
        let host = HeaderValue::from_str(live.authority().as_str()).ok()?;
        Some((live.uri(&self.route.target)?, host))
    }
}

/// Requests that two servers could read as two different ones.
fn check_framing(parts: &Parts) -> Result<(), &'static str> {
    let lengths = parts.headers.get_all(header::CONTENT_LENGTH).iter().count();
    let encoded = parts.headers.contains_key(header::TRANSFER_ENCODING);
    if lengths > 1 {
        return Err("a request with more than one content-length is not passed on");
    }
    if lengths > 0 && encoded {
        return Err("a request with both content-length and transfer-encoding is not passed on");
    }
    if parts.headers.get_all(header::HOST).iter().count() > 1 {
        return Err("a request with more than one host is not passed on");
    }
    Ok(())
}

fn find_upstream(shared: &Shared, parts: &Parts, route: &Route) -> Result<(Arc<str>, Upstream), String> {
    let configured = || shared.upstreams.names().collect::<Vec<_>>().join(", ");
    if parts.method == Method::CONNECT {
        return Err("this proxy opens no tunnels: point the client's base URL here".to_owned());
    }
    let absolute = parts.version < Version::HTTP_2 && parts.uri.authority().is_some();
    let found = match &route.upstream {
        _ if absolute => shared.upstreams.at(&parts.uri).ok_or_else(|| {
            format!("{} is not an upstream; configured are: {}", parts.uri.authority().map_or("", |a| a.as_str()), configured())
        })?,
        Some(name) => {
            shared.upstreams.get(name).ok_or_else(|| format!("no upstream is called {name:?}; configured are: {}", configured()))?
        }
        None => shared.upstreams.guess(route.target.split('?').next().unwrap_or_default(), &parts.headers).ok_or_else(|| {
            format!(
                "no upstream is known for {}; name one with /up/NAME before the path or the header {}; configured are: {}",
                route.target,
                route::UPSTREAM_HEADER,
                configured()
            )
        })?,
    };
    Ok((found.0.clone(), found.1.clone()))
}

fn refuse_unrouted(route: &Route, parts: &Parts, why: &str) -> Response<Down> {
    let wire = provider::detect(parts.method.as_str(), &route.target, &headers(&parts.headers), &[]);
    let (_, list, body) = provider::refuse(wire, 404, "", &format!("holdback: {why}"));
    respond(404, &list, Down::text(body))
}

/// A refusal of ours as a reply; `status` 0 keeps the one it has.
pub(super) fn refusal((given, headers, body): (u16, Headers, Bytes), status: u16) -> Reply {
    let status = if status == 0 { given } else { status };
    Reply {
        upstream: "holdback".to_owned(),
        status,
        headers,
        chunks: vec![(Duration::ZERO, body)],
        end: CallEnd::Refused,
    }
}

/// An answer made here, on its way and recorded like any other.
pub(super) fn made(reply: Reply, mut closing: Closing) -> Response<Down> {
    let mut response = respond(reply.status, &reply.headers, Down::text(Bytes::new()));
    closing.head(response.status().as_u16(), response.headers());
    let breaks = reply.end == CallEnd::Cut;
    *response.body_mut() = Down::made(Made::new(reply.chunks, breaks), Some(closing), reply.end);
    response
}

pub(super) fn respond(status: u16, list: &Headers, body: Down) -> Response<Down> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in list {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            response.headers_mut().append(name, value);
        }
    }
    strip_hop_by_hop(response.headers_mut());
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

/// A short word of our own.
pub(super) fn plain(status: StatusCode, text: impl Into<String>) -> Response<Down> {
    let list = vec![("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())];
    respond(status.as_u16(), &list, Down::text(format!("holdback: {}\n", text.into())))
}

pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// Headers as they are kept: a value that isn't text keeps what can be read of it.
pub(super) fn headers(map: &HeaderMap) -> Headers {
    map.iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

/// A whole body without its content-encoding; as it is, when that cannot be taken off.
pub(super) fn decoded(headers: &HeaderMap, body: &Bytes) -> Bytes {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()) else {
        return body.clone();
    };
    let Some(mut decoder) = Decoder::new(encoding, body) else { return body.clone() };
    match decoder.push(body) {
        Ok(_) => Bytes::from(decoder.finish()),
        Err(_) => body.clone(),
    }
}

/// Takes the pieces of a body that is being read.
trait Takes {
    fn take(&mut self, piece: &Bytes);
}

impl Takes for Opening {
    fn take(&mut self, piece: &Bytes) {
        self.push(piece);
    }
}

/// Pieces kept until it is known who answers.
#[derive(Default)]
struct Waiting {
    pieces: Vec<Bytes>,
}

impl Takes for Waiting {
    fn take(&mut self, piece: &Bytes) {
        self.pieces.push(piece.clone());
    }
}

async fn read(mut body: Incoming, takes: &mut impl Takes) -> Result<Bytes, BoxError> {
    let mut whole = BytesMut::new();
    let mut only: Option<Bytes> = None;
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        takes.take(&piece);
        match only.take() {
            None if whole.is_empty() => only = Some(piece),
            first => {
                first.iter().for_each(|first| whole.extend_from_slice(first));
                whole.extend_from_slice(&piece);
            }
        }
    }
    Ok(only.unwrap_or_else(|| whole.freeze()))
}

async fn read_whole(body: Incoming, opening: &mut Opening) -> Result<Bytes, BoxError> {
    let whole = read(body, opening).await;
    opening.finish();
    whole
}

/// A call of our own, made through the front door so that it is recorded like everyone's.
pub(super) async fn ask(shared: &Arc<Shared>, address: std::net::SocketAddr, ask: Ask) -> Result<Told, AskError> {
    let url = format!("http://{address}/hb/{}/up/{}{}", ask.trace, ask.upstream, ask.target);
    let bad = |reason: String| AskError::Request { target: ask.target.clone(), reason };
    let mut request = Request::builder().method(Method::POST).uri(url);
    for (name, value) in &ask.headers {
        request = request.header(name, value);
    }
    if let Some(token) = &shared.token {
        request = request.header(serve::TOKEN_HEADER, token);
    }
    request = request.header(header::HOST, address.to_string());
    let request = request.body(Up::Whole(Some(ask.body.clone()))).map_err(|error| bad(error.to_string()))?;
    let response = shared.pool.request(request).await.map_err(|error| bad(chain(&error)))?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| AskError::Broken(chain(&error)))?.to_bytes();
    Ok(Told { status: parts.status.as_u16(), headers: headers(&parts.headers), body: decoded(&parts.headers, &body) })
}
