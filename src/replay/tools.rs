//! Recorded tool results in place of the tools: what a tool answered when the trace was recorded, by its name and arguments.
//!
//! Two sources. What a tool's stand-in kept word for word (notes of kind `tool`), and, for tools nobody stood in for, the
//! conversation itself: the next request of the loop holds the result of every call of a tool.

use std::collections::{BTreeMap, HashSet};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::canon::settled;
use super::tape::Tape;
use crate::provider;
use crate::trace::{Headers, Message, Part, Role, ToolCall, ToolResult};

/// The kind of note that keeps what a tool was asked and answered.
pub const TOOL_NOTE: &str = "tool";

/// Ids of this length are random; shorter ones may come again in another conversation.
const UNIQUE: usize = 16;

/// How a tool is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ToolMode {
    /// From the recording, when it was called with the same arguments.
    #[default]
    Strict,
    /// From the recording, in the recorded order: the same arguments first, otherwise whatever came next.
    Fifo,
    /// By the real one.
    Live,
}

/// A word that is no mode of a tool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not known: write strict, fifo or live, or NAME=live for one tool")]
pub struct BadToolMode(String);

/// How each tool is answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolModes {
    all: ToolMode,
    named: BTreeMap<String, ToolMode>,
}

impl FromStr for ToolMode {
    type Err = BadToolMode;

    fn from_str(word: &str) -> Result<Self, BadToolMode> {
        match word {
            "strict" => Ok(ToolMode::Strict),
            "fifo" => Ok(ToolMode::Fifo),
            "live" => Ok(ToolMode::Live),
            other => Err(BadToolMode(other.to_owned())),
        }
    }
}

impl ToolModes {
    /// Reads `strict`, `fifo` and `live` for all tools, and `NAME=live` for one.
    ///
    /// # Errors
    /// The first word that is none of these.
    pub fn read<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, BadToolMode> {
        let mut modes = ToolModes::default();
        for word in words.into_iter().filter(|word| !word.is_empty()) {
            match word.rsplit_once('=') {
                Some((name, mode)) => {
                    modes.named.insert(name.to_owned(), mode.parse().map_err(|_| BadToolMode(word.to_owned()))?);
                }
                None => modes.all = word.parse()?,
            }
        }
        Ok(modes)
    }

    /// The mode of a tool that goes by any of these names.
    fn of(&self, names: &[&str]) -> ToolMode {
        names.iter().find_map(|name| self.named.get(*name)).copied().unwrap_or(self.all)
    }
}

/// What a tool is asked.
#[derive(Debug, Clone, Copy)]
pub enum ToolAsked<'a> {
    /// In JSON-RPC, as MCP servers are: a tool is called with `tools/call`.
    Rpc { server: &'a str, method: &'a str, params: &'a Value },
    /// In plain HTTP.
    Http { server: &'a str, method: &'a str, target: &'a str, body: &'a str },
}

/// What a tool answered over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpAnswer {
    pub status: u16,
    #[serde(default)]
    pub headers: Headers,
    #[serde(default)]
    pub body: String,
}

/// What the recording has for it.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolPlayed {
    /// `{"result": …}` or `{"error": …}`.
    Rpc(Value),
    Http(HttpAnswer),
    /// The real one is to be asked.
    Live,
    /// Nothing, and why: a divergence, not a reason to make something up.
    Missing(String),
}

/// What was kept of one exchange with a tool: the data of a note of kind [`TOOL_NOTE`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptTool {
    /// Who answered: the name of a server, or its command.
    pub server: String,
    #[serde(flatten)]
    pub said: Said,
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    Rpc {
        method: String,
        #[serde(default)]
        params: Value,
        /// `{"result": …}` or `{"error": …}`.
        answer: Value,
    },
    Http {
        method: String,
        target: String,
        #[serde(default)]
        body: String,
        answer: HttpAnswer,
    },
}

/// A recorded call of a tool.
#[derive(Debug)]
struct Entry {
    /// Nobody knows whose tool it was when only the conversation tells of it.
    server: Option<String>,
    name: String,
    key: String,
    answer: Value,
    used: bool,
}

/// Something recorded that is no call of a tool: a list of tools, a page.
#[derive(Debug)]
struct Other {
    server: String,
    /// Method, target and body, or a method of JSON-RPC and its parameters.
    what: String,
    method: String,
    answer: Reply,
    used: bool,
}

/// How that was answered.
#[derive(Debug)]
enum Reply {
    Rpc(Value),
    Http(HttpAnswer),
}

/// The recorded results of a trace.
#[derive(Debug, Default)]
pub struct ToolTape {
    modes: ToolModes,
    calls: Vec<Entry>,
    others: Vec<Other>,
}

impl ToolTape {
    /// Collects them. `kept` is what stand-ins kept; tools they kept nothing of are read from the conversation.
    pub fn new(tape: &Tape, kept: Vec<KeptTool>, modes: ToolModes) -> Self {
        let mut tools = ToolTape { modes, ..ToolTape::default() };
        for KeptTool { server, said } in kept {
            match said {
                Said::Rpc { method, params, answer } if method == CALL => {
                    let name = params["name"].as_str().unwrap_or_default().to_owned();
                    let key = key(&params["arguments"]);
                    tools.calls.push(Entry { server: Some(server), name, key, answer, used: false });
                }
                Said::Rpc { method, params, answer } => {
                    let what = rpc_key(&method, &params);
                    tools.others.push(Other { server, what, method, answer: Reply::Rpc(answer), used: false });
                }
                Said::Http { method, target, body, answer } => {
                    let what = http_key(&method, &target, &body);
                    tools.others.push(Other { server, what, method, answer: Reply::Http(answer), used: false });
                }
            }
        }
        let known: Vec<Entry> = spoken(tape).into_iter().filter(|entry| !tools.knows(&entry.name)).collect();
        tools.calls.extend(known);
        tools
    }

    /// Whether a stand-in kept something of the tool that a model knows by this name.
    fn knows(&self, spoken: &str) -> bool {
        self.calls.iter().any(|entry| entry.server.is_some() && is_called(spoken, &entry.name))
    }

    /// How many results there are.
    pub fn results(&self) -> usize {
        self.calls.len()
    }

    /// What was answered to this when it was recorded.
    pub fn ask(&mut self, asked: &ToolAsked<'_>) -> ToolPlayed {
        match *asked {
            ToolAsked::Rpc { server, method, params } if method == CALL => self.call(server, params),
            ToolAsked::Rpc { server, method, params } => self.rpc(server, method, params),
            ToolAsked::Http { server, method, target, body } => self.http(server, method, target, body),
        }
    }

    fn call(&mut self, server: &str, params: &Value) -> ToolPlayed {
        let name = params["name"].as_str().unwrap_or_default();
        let mode = self.modes.of(&[name, server]);
        if mode == ToolMode::Live {
            return ToolPlayed::Live;
        }
        let key = key(&params["arguments"]);
        let ours = |entry: &Entry| match &entry.server {
            Some(_) => entry.name == name,
            None => is_called(&entry.name, name),
        };
        // Two servers may have a tool of the same name.
        let fit = |entry: &Entry| match &entry.server {
            Some(own) => u8::from(own != server),
            None => u8::from(entry.name != name && !entry.name.contains(server)),
        };
        let all: Vec<usize> = (0..self.calls.len()).filter(|at| ours(&self.calls[*at])).collect();
        let nearest = all.iter().map(|at| fit(&self.calls[*at])).min();
        let free = |at: &&usize| !self.calls[**at].used && Some(fit(&self.calls[**at])) == nearest;
        let same = all.iter().filter(free).find(|at| self.calls[**at].key == key);
        let found = same.or_else(|| all.iter().filter(free).find(|_| mode == ToolMode::Fifo)).copied();
        if let Some(entry) = found.and_then(|at| self.calls.get_mut(at)) {
            entry.used = true;
            return ToolPlayed::Rpc(entry.answer.clone());
        }
        let asked_before = all.iter().any(|at| self.calls[*at].key == key);
        ToolPlayed::Missing(match (all.is_empty(), asked_before) {
            (true, _) => format!("the tool {name} was never called when it was recorded"),
            (false, true) => {
                format!("the tool {name} was called with these arguments once more than it had been: {key}")
            }
            (false, false) => format!("the tool {name} was never called with these arguments: {key}"),
        })
    }

    /// Lists and greetings have no effect: they are answered as often as they are asked for.
    fn rpc(&mut self, server: &str, method: &str, params: &Value) -> ToolPlayed {
        let what = rpc_key(method, params);
        let mut found = None;
        for other in self.others.iter_mut().filter(|other| other.server == server && other.method == method) {
            let Reply::Rpc(answer) = &other.answer else { continue };
            let (exact, fresh) = (other.what == what, !other.used);
            // The greeting names a version of the client, and means the same.
            let rank = (exact, fresh);
            if (exact || method == "initialize") && found.as_ref().is_none_or(|(best, _, _)| rank > *best) {
                found = Some((rank, answer.clone(), &mut other.used));
            }
        }
        match found {
            Some((_, answer, used)) => {
                *used = true;
                ToolPlayed::Rpc(answer)
            }
            None => ToolPlayed::Live,
        }
    }

    fn http(&mut self, server: &str, method: &str, target: &str, body: &str) -> ToolPlayed {
        let mode = self.modes.of(&[server]);
        if mode == ToolMode::Live {
            return ToolPlayed::Live;
        }
        let what = http_key(method, target, body);
        let free = |other: &Other| !other.used && other.server == server && matches!(other.answer, Reply::Http(_));
        let same = self.others.iter().position(|other| free(other) && other.what == what);
        let next = || self.others.iter().position(|other| free(other) && other.method == method);
        let found = same.or_else(|| if mode == ToolMode::Fifo { next() } else { None });
        match found.and_then(|at| self.others.get_mut(at)) {
            Some(Other { answer: Reply::Http(answer), used, .. }) => {
                *used = true;
                ToolPlayed::Http(answer.clone())
            }
            _ => ToolPlayed::Missing(format!("{server} was not asked this when it was recorded: {method} {target}")),
        }
    }
}

/// The method that calls a tool.
pub const CALL: &str = "tools/call";

/// Whether a model's name of a tool is that of an MCP server's tool: clients put the server's name before it.
fn is_called(spoken: &str, name: &str) -> bool {
    match spoken.strip_suffix(name) {
        Some("") => !name.is_empty(),
        Some(before) => !name.is_empty() && before.ends_with(['_', '.', '-', '/', ':']),
        None => false,
    }
}

/// Arguments in one spelling, without what differs between two identical runs.
fn key(arguments: &Value) -> String {
    let read = match arguments {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| arguments.clone()),
        Value::Null => json!({}),
        other => other.clone(),
    };
    settled(&sorted(&read).to_string()).into_owned()
}

fn rpc_key(method: &str, params: &Value) -> String {
    let mut params = params.clone();
    if let Some(map) = params.as_object_mut() {
        map.remove("_meta");
    }
    format!("{method} {}", key(&params))
}

fn http_key(method: &str, target: &str, body: &str) -> String {
    let body = serde_json::from_str::<Value>(body).map_or_else(|_| settled(body).into_owned(), |value| key(&value));
    format!("{method} {} {body}", settled(target))
}

/// The same with the members of all maps in order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<&String, Value> = map.iter().map(|(key, value)| (key, sorted(value))).collect();
            ordered.into_iter().map(|(key, value)| (key.clone(), value)).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// The results that the conversation itself holds, whoever of the agents asked for them, in the order they were told.
fn spoken(tape: &Tape) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut seen: HashSet<(Option<String>, String, String, String)> = HashSet::new();
    for (at, call) in tape.calls().iter().enumerate() {
        let body = tape.body(at).unwrap_or_default();
        let Ok(request) = provider::request(call.request.wire, &call.request.target, &body) else { continue };
        let news = request.messages.iter().rposition(|message| message.role == Role::Assistant).unwrap_or(0);
        for (place, result) in results(&request.messages) {
            let Some(asked) = asked(&request.messages[..place], result) else { continue };
            let key = key(&asked.arguments);
            let id =
                (call.request.agent.clone(), asked.id.clone(), format!("{} {key}", asked.name), result.text.clone());
            let first = seen.insert(id);
            // Short ids come again in other conversations of the same loop; the tail of a conversation is always new.
            let is_new = first || (asked.id.len() < UNIQUE && place > news && call.request.retry_of.is_none());
            if is_new {
                let content = json!([{"type": "text", "text": result.text}]);
                let answer = json!({"result": {"content": content, "isError": result.is_error}});
                entries.push(Entry { server: None, name: asked.name.clone(), key, answer, used: false });
            }
        }
    }
    entries
}

fn results(messages: &[Message]) -> impl Iterator<Item = (usize, &ToolResult)> {
    let parts = messages.iter().enumerate().flat_map(|(at, message)| message.parts.iter().map(move |part| (at, part)));
    parts.filter_map(|(at, part)| if let Part::ToolResult(result) = part { Some((at, result)) } else { None })
}

/// The call that a result belongs to: by its id, or by its name where the wire has no ids.
fn asked<'a>(before: &'a [Message], result: &ToolResult) -> Option<&'a ToolCall> {
    let mut calls = before.iter().rev().flat_map(Message::tool_calls);
    if result.id.is_empty() {
        return calls.find(|call| call.name == result.name);
    }
    calls.find(|call| call.id == result.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(server: &str, name: &str, arguments: Value, answer: &str) -> KeptTool {
        let params = json!({"name": name, "arguments": arguments});
        let said = Said::Rpc { method: CALL.to_owned(), params, answer: json!({"result": answer}) };
        KeptTool { server: server.to_owned(), said }
    }

    fn tools(kept: Vec<KeptTool>, words: &[&str]) -> ToolTape {
        let mut tools = ToolTape { modes: ToolModes::read(words.iter().copied()).unwrap(), ..ToolTape::default() };
        for KeptTool { server, said } in kept {
            if let Said::Rpc { params, answer, .. } = said {
                let name = params["name"].as_str().unwrap().to_owned();
                let key = key(&params["arguments"]);
                tools.calls.push(Entry { server: (server != "?").then_some(server), name, key, answer, used: false });
            }
        }
        tools
    }

    fn ask(tools: &mut ToolTape, server: &str, name: &str, arguments: Value) -> String {
        let params = json!({"name": name, "arguments": arguments});
        match tools.ask(&ToolAsked::Rpc { server, method: CALL, params: &params }) {
            ToolPlayed::Rpc(answer) => answer["result"].as_str().unwrap().to_owned(),
            ToolPlayed::Missing(why) => format!("missing: {why}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn results_come_by_name_and_arguments() {
        let recorded = || {
            vec![
                kept("shop", "look", json!({"id": 1, "x": [2]}), "one"),
                kept("shop", "look", json!({"id": 2}), "two"),
                kept("bank", "look", json!({"id": 1, "x": [2]}), "money"),
                kept("shop", "look", json!({"id": 2}), "two again"),
            ]
        };
        let mut strict = tools(recorded(), &[]);
        assert_eq!(ask(&mut strict, "shop", "look", json!({"id": 2})), "two", "in any order");
        assert_eq!(ask(&mut strict, "shop", "look", json!({"x": [2], "id": 1})), "one", "spelt in any order");
        assert_eq!(ask(&mut strict, "bank", "look", json!({"id": 1, "x": [2]})), "money");
        assert_eq!(ask(&mut strict, "shop", "look", json!({"id": 2})), "two again");
        assert!(ask(&mut strict, "shop", "look", json!({"id": 2})).contains("once more than it had been"));
        assert!(ask(&mut strict, "shop", "look", json!({"id": 9})).contains("never called with these arguments"));
        assert!(ask(&mut strict, "shop", "burn", json!({})).contains("never called when"));
        let mut fifo = tools(recorded(), &["fifo"]);
        assert_eq!(ask(&mut fifo, "shop", "look", json!({"id": 2})), "two", "what fits is taken first");
        assert_eq!(ask(&mut fifo, "shop", "look", json!({"id": 9})), "one");
        let mut live = tools(recorded(), &["strict", "look=live"]);
        assert_eq!(ask(&mut live, "shop", "look", json!({"id": 2})), "Live");
        assert!(ToolModes::read(["look=sometimes"]).unwrap_err().to_string().contains("NAME=live"));
    }

    #[test]
    fn a_tool_is_known_under_the_name_that_clients_give_it() {
        for (spoken, name, same) in [
            ("look", "look", true),
            ("mcp__shop__look", "look", true),
            ("shop_look", "look", true),
            ("overlook", "look", false),
            ("look", "", false),
        ] {
            assert_eq!(is_called(spoken, name), same, "{spoken} {name}");
        }
        let mut tools = tools(
            vec![kept("?", "mcp__bank__look", json!({}), "b"), kept("?", "mcp__shop__look", json!({}), "s")],
            &[],
        );
        assert_eq!(ask(&mut tools, "shop", "look", json!({})), "s");
    }

    #[test]
    fn notes_are_read_as_they_were_written() {
        let answer = HttpAnswer { status: 200, headers: Vec::new(), body: "{}".to_owned() };
        let http = Said::Http { method: "GET".to_owned(), target: "/x".to_owned(), body: String::new(), answer };
        for one in [kept("s", "look", json!({}), "x"), KeptTool { server: "s".to_owned(), said: http }] {
            let text = serde_json::to_string(&one).unwrap();
            assert_eq!(serde_json::from_str::<KeptTool>(&text).unwrap(), one, "{text}");
        }
    }
}
