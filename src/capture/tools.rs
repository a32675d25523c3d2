//! Tools beside the models: what their stand-ins (`holdback tool-tape`) tell and ask, and tools that are services behind HTTP.
//! What they answer is kept in the trace; when tools are replayed, it is given back from there.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::forward::{Asking, decoded, headers, plain, respond, strip_hop_by_hop};
use super::proxy::Shared;
use super::queue::Message;
use super::route::Route;
use super::tee::{BoxError, Down, Up, chain};
use super::{clock, upstream};
use crate::replay::{CALL, HttpAnswer, KeptTool, Said, TOOL_NOTE, ToolAsked, ToolPlayed};
use crate::trace::{Content, Headers, Note};

/// Where stand-ins speak to us, behind the trace's own prefix.
pub const PATH: &str = "/holdback/tool";
/// What a stand-in shall do: `record` or `replay`. Without it, it only passes on.
pub const MODE: &str = "HOLDBACK_TOOLS";
/// The most that is kept of one exchange.
const MOST: usize = 8 << 20;

/// What a stand-in says. With an answer it tells, without one it asks.
#[derive(Deserialize)]
struct Word {
    server: String,
    method: String,
    #[serde(default)]
    params: Value,
    #[serde(default)]
    answer: Option<Value>,
}

/// The variable that holds the address of a tool behind HTTP.
pub fn variable(name: &str) -> String {
    let upper = name.to_uppercase();
    format!("HOLDBACK_TOOL_{}", upper.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_"))
}

/// What a stand-in has to say.
pub(super) async fn word(shared: &Arc<Shared>, route: &Route, body: Incoming) -> Result<Response<Down>, BoxError> {
    let body = body.collect().await?.to_bytes();
    let word: Word = match serde_json::from_slice(&body) {
        Ok(word) => word,
        Err(error) => return Ok(plain(StatusCode::BAD_REQUEST, format!("not a word of a tool's stand-in: {error}"))),
    };
    let Some(trace) = route.belongs.trace() else {
        return Ok(plain(StatusCode::NOT_FOUND, "a tool belongs to a trace"));
    };
    let Word { server, method, params, answer } = word;
    if let Some(answer) = answer {
        keep(shared, route, KeptTool { server, said: Said::Rpc { method, params, answer } });
        return Ok(respond(204, &Vec::new(), Down::text(Bytes::new())));
    }
    let answers = shared.known(trace).and_then(|known| known.answers.clone());
    let asked = ToolAsked::Rpc { server: &server, method: &method, params: &params };
    let said = match answers.map_or(ToolPlayed::Live, |answers| answers.tool(&asked)) {
        ToolPlayed::Rpc(answer) => json!({ "answer": answer }),
        ToolPlayed::Missing(why) => json!({ "answer": missing(&method, &why) }),
        ToolPlayed::Live | ToolPlayed::Http(_) => json!({ "live": true }),
    };
    Ok(json_response(200, &said))
}

/// The answer to what was not recorded: an error that the model can read, and nothing made up.
fn missing(method: &str, why: &str) -> Value {
    let text = format!("holdback: no recorded result: {why}");
    match method {
        CALL => json!({"result": {"content": [{"type": "text", "text": text}], "isError": true}}),
        _ => json!({"error": {"code": -32000, "message": text}}),
    }
}

fn json_response(status: u16, value: &Value) -> Response<Down> {
    let list = vec![("content-type".to_owned(), "application/json".to_owned())];
    respond(status, &list, Down::text(value.to_string()))
}

/// Keeps an exchange in the trace, without its secrets.
fn keep(shared: &Shared, route: &Route, kept: KeptTool) {
    if shared.content == Content::None {
        return;
    }
    let Ok(mut data) = serde_json::to_value(&kept) else { return };
    if shared.content == Content::Redacted {
        shared.redactor.json(&mut data);
    }
    if data.to_string().len() > MOST {
        return;
    }
    let note = Note { kind: TOOL_NOTE.to_owned(), call: None, data };
    shared.queue.send(Message::Noted(route.belongs.clone(), Box::new(note), clock::now()));
}

/// A request in JSON-RPC.
struct Rpc {
    /// `None` for what wants no answer.
    id: Option<Value>,
    method: String,
    params: Value,
}

impl Rpc {
    fn read(body: &[u8]) -> Option<Self> {
        let mut value: Value = serde_json::from_slice(body).ok()?;
        if value["jsonrpc"] != "2.0" {
            return None;
        }
        let method = value["method"].as_str().unwrap_or_default().to_owned();
        Some(Rpc { id: value.get("id").cloned(), method, params: value["params"].take() })
    }

    /// The answer to it in what came back: one document, or the event of a stream.
    fn answer_in(&self, body: &str) -> Option<Value> {
        let mine = |value: &Value| value.get("id") == self.id.as_ref();
        let events = body.lines().filter_map(|line| line.strip_prefix("data:"));
        let all = std::iter::once(body).chain(events).filter_map(|text| serde_json::from_str::<Value>(text).ok());
        let found = all.rev().find(mine)?;
        ["result", "error"].into_iter().find_map(|key| found.get(key).map(|value| json!({ key: value })))
    }

    fn reply(&self, mut answer: Value) -> Response<Down> {
        answer["jsonrpc"] = json!("2.0");
        answer["id"] = self.id.clone().unwrap_or_default();
        json_response(200, &answer)
    }
}

/// A request to a tool behind HTTP.
pub(super) async fn exchange(asking: Asking, body: Incoming) -> Result<Response<Down>, BoxError> {
    let whole = body.collect().await?.to_bytes();
    let text = String::from_utf8_lossy(&decoded(&asking.parts.headers, &whole)).into_owned();
    let rpc = if asking.parts.method == Method::POST { Rpc::read(text.as_bytes()) } else { None };
    if let Some(answers) = asking.known.as_ref().and_then(|known| known.answers.clone())
        && let Some(response) = played(&asking, answers.as_ref(), rpc.as_ref(), &text)
    {
        return Ok(response);
    }
    live(asking, whole, rpc, text).await
}

/// The recorded answer; `None` where the real one is to be asked.
fn played(asking: &Asking, answers: &dyn upstream::Answers, rpc: Option<&Rpc>, body: &str) -> Option<Response<Down>> {
    let (server, method) = (&*asking.name, asking.parts.method.as_str());
    let Some(rpc) = rpc else {
        let has = |name: &str| asking.parts.headers.contains_key(name);
        let accepts =
            asking.parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if method == "GET" && accepts.contains("text/event-stream") {
            return Some(plain(StatusCode::METHOD_NOT_ALLOWED, "nobody speaks up by itself here"));
        }
        if method == "DELETE" && has("mcp-session-id") {
            return Some(plain(StatusCode::OK, "the session is over"));
        }
        let asked = ToolAsked::Http { server, method, target: &asking.route.target, body };
        return match answers.tool(&asked) {
            ToolPlayed::Http(HttpAnswer { status, headers, body }) => Some(respond(status, &headers, Down::text(body))),
            ToolPlayed::Missing(why) => {
                let why = format!("holdback: no recorded answer: {why}");
                Some(json_response(424, &json!({"error": {"type": "no_recorded_result", "message": why}})))
            }
            ToolPlayed::Live | ToolPlayed::Rpc(_) => None,
        };
    };
    let asked = ToolAsked::Rpc { server, method: &rpc.method, params: &rpc.params };
    match (&rpc.id, rpc.method.is_empty()) {
        (Some(_), false) => match answers.tool(&asked) {
            ToolPlayed::Rpc(answer) => Some(rpc.reply(answer)),
            ToolPlayed::Missing(why) => Some(rpc.reply(missing(&rpc.method, &why))),
            ToolPlayed::Live | ToolPlayed::Http(_) => None,
        },
        // A notification, or an answer to the server: nobody waits for a word.
        _ => Some(respond(202, &Vec::new(), Down::text(Bytes::new()))),
    }
}

/// The real tool, asked and kept.
async fn live(mut asking: Asking, whole: Bytes, rpc: Option<Rpc>, text: String) -> Result<Response<Down>, BoxError> {
    // What comes packed could not be kept as it is read.
    asking.parts.headers.remove(header::ACCEPT_ENCODING);
    asking.parts.headers.remove(header::TRANSFER_ENCODING);
    let (shared, route, name) = (asking.shared.clone(), asking.route.clone(), asking.name.clone());
    let method = asking.parts.method.to_string();
    let Some(request) = asking.into_upstream(Up::Whole(Some(whole))) else {
        return Ok(plain(StatusCode::NOT_FOUND, format!("the tool {name} has no address")));
    };
    let response = match shared.pool.request(request).await {
        Ok(response) => response,
        Err(error) => {
            let why = format!("holdback could not reach the tool {name}: {}", chain(&error));
            return Ok(plain(StatusCode::BAD_GATEWAY, why));
        }
    };
    let (mut parts, body) = response.into_parts();
    strip_hop_by_hop(&mut parts.headers);
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // A stream without a question may never end.
    if rpc.is_none() && kind.starts_with("text/event-stream") {
        return Ok(Response::from_parts(parts, Down::live(body, None)));
    }
    let came = body.collect().await?.to_bytes();
    let read = String::from_utf8_lossy(&decoded(&parts.headers, &came)).into_owned();
    let said = match rpc {
        Some(rpc) if rpc.id.is_none() || rpc.method.is_empty() => None,
        Some(rpc) => rpc.answer_in(&read).map(|answer| Said::Rpc { method: rpc.method, params: rpc.params, answer }),
        None => {
            let list: Headers = headers(&parts.headers).into_iter().filter(|(name, _)| telling(name)).collect();
            let answer = HttpAnswer { status: parts.status.as_u16(), headers: list, body: read };
            Some(Said::Http { method, target: route.target.clone(), body: text, answer })
        }
    };
    if let Some(said) = said {
        keep(&shared, &route, KeptTool { server: name.to_string(), said });
    }
    Ok(respond(parts.status.as_u16(), &headers(&parts.headers), Down::text(came)))
}

/// Headers of an answer that say what it is; the others are of that one connection, or secrets.
fn telling(name: &str) -> bool {
    ["content-type", "location", "link", "etag", "last-modified", "retry-after"].contains(&name)
        || name.starts_with("x-ratelimit")
}
