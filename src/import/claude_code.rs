//! Claude Code transcripts. A model's answer is spread over one line per content block, each with the whole usage: lines are
//! put together by `message.id` and counted once. Sub-agents, in the same file or their own, become agents of the same trace;
//! what a sub-agent's file repeats of its parent is known by the ids it repeats.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::claude_request::Requests;
use super::lines::{Line, Lines};
use super::shape::text;
use super::thread::Thread;
use super::{About, Desk, Format, Shape, Source, Told, Trouble, desk, time, usage};
use crate::trace::{CallSummary, Source as From, Timestamp, TraceId, Usage, Wire};

pub const FORMAT: Format =
    Format { name: "claude-code", about: "Claude Code transcripts, with sub-agents and request records", fits, read };

const WHY: &str =
    "transcripts keep what was said, not the requests: they are put together from it, without system prompt and tools";

fn fits(shape: &Shape<'_>) -> bool {
    let bookkeeping = ["queue-operation", "file-history-snapshot", "api-request", "last-prompt", "attachment"];
    shape.line(|line| {
        let session = line.get("sessionId").is_some();
        let message = session && line.get("parentUuid").is_some() && line.get("isSidechain").is_some();
        let parts = line.get("message").is_some_and(|message| message.get("parts").is_some());
        (message && !parts)
            || (session && bookkeeping.contains(&text(line, "type")))
            || (text(line, "type") == "summary" && line.get("leafUuid").is_some())
            || (text(line, "type") == "file-history-snapshot")
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    uuid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    parent_uuid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    session_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    agent_id: Option<Cow<'a, str>>,
    #[serde(default)]
    is_sidechain: Option<bool>,
    #[serde(default)]
    is_api_error_message: Option<bool>,
    #[serde(default)]
    is_compact_summary: Option<bool>,
    #[serde(borrow, default)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    cwd: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    request_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    request_ref: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    subtype: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    rendered_role: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    rendered: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    stop_reason: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
}

/// An answer that is coming in, a block a line.
struct Pending {
    key: String,
    request: Option<String>,
    model: String,
    stop: Option<String>,
    blocks: Vec<String>,
    tools: Vec<String>,
    usage: Usage,
    usage_raw: Value,
    asked_at: Timestamp,
    last_at: Timestamp,
    /// Tool results that came while blocks were still coming.
    results: Vec<String>,
}

/// One agent's conversation.
#[derive(Default)]
struct Lane {
    agent: Option<String>,
    parent: Option<String>,
    thread: Thread,
    /// Where in the conversation a line stands.
    places: HashMap<u64, usize>,
    /// Where the last answer ends.
    answered: usize,
    pending: Option<Pending>,
    last_at: Timestamp,
    ended: bool,
}

struct Session<'d, 'a> {
    desk: &'d mut Desk<'a>,
    began: Timestamp,
    trace: Option<TraceId>,
    lanes: Vec<Lane>,
    /// Which lane a line belongs to, by its uuid.
    homes: HashMap<u64, usize>,
    seen: HashSet<u64>,
    requests: Option<Requests>,
    /// Calls whose request was not to be had whole.
    derived: u64,
    name: Option<String>,
    /// The folder it ran in, where a line has said so by the time the trace begins.
    cwd: Option<String>,
    last: Timestamp,
}

fn key(word: &str) -> u64 {
    let hash = desk::digest(&[word]);
    u64::from_be_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]])
}

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let mut session = Session {
        desk,
        began: source.modified,
        trace: None,
        lanes: Vec::new(),
        homes: HashMap::new(),
        seen: HashSet::new(),
        requests: None,
        derived: 0,
        name: None,
        cwd: None,
        last: Timestamp::default(),
    };
    let mut lines = Lines::new(&mut *source.from);
    while let Some(line) = lines.next()? {
        match line {
            Line::TooLong { bytes } => session.too_long(bytes)?,
            Line::Whole { bytes, last } => match serde_json::from_slice::<Envelope<'_>>(bytes) {
                Ok(line) => session.line(&line, bytes)?,
                Err(_) => session.odd(bytes, last)?,
            },
        }
    }
    session.finish()
}

impl Session<'_, '_> {
    fn trace(&mut self, session: Option<&str>, at: Timestamp) -> Result<TraceId, Trouble> {
        if let Some(trace) = self.trace {
            return Ok(trace);
        }
        let own = session.unwrap_or_else(|| self.desk.file()).to_owned();
        let short = own.split('-').next().unwrap_or(&own);
        let about = About {
            name: Some(format!("claude-code {short}")),
            agent: Some("claude-code".to_owned()),
            at,
            cwd: self.cwd.take(),
            why_not: WHY,
            fields: &[("usage", From::Imported), ("cost_usd", From::Derived), ("times", From::Derived)],
            key: own,
            ..About::default()
        };
        let trace = self.desk.begin(about)?;
        self.trace = Some(trace);
        Ok(trace)
    }

    fn too_long(&mut self, bytes: u64) -> Result<(), Trouble> {
        let at = self.last.max(self.began);
        let trace = self.trace(None, at)?;
        self.desk.note(trace, at, "claude-code.too_long", None, desk::too_long(bytes))?;
        self.desk.skipped("a line that is too long");
        Ok(())
    }

    /// A line that isn't shaped like the others.
    fn odd(&mut self, bytes: &[u8], last: bool) -> Result<(), Trouble> {
        match serde_json::from_slice::<Value>(bytes) {
            Ok(value) => {
                let at = self.last.max(self.began);
                let trace = self.trace(None, at)?;
                self.desk.unknown(trace, at, text(&value, "type"), value.clone())
            }
            Err(_) if last => {
                self.desk.skipped("a last line that was cut off");
                Ok(())
            }
            Err(_) => {
                self.desk.damaged();
                Ok(())
            }
        }
    }

    fn line(&mut self, line: &Envelope<'_>, bytes: &[u8]) -> Result<(), Trouble> {
        let at = line.timestamp.as_deref().and_then(time::of_text).unwrap_or(self.last);
        self.last = self.last.max(at);
        if self.trace.is_none() && self.cwd.is_none() {
            self.cwd = line.cwd.as_deref().filter(|cwd| !cwd.is_empty()).map(str::to_owned);
        }
        match &*line.kind {
            "user" | "assistant" | "attachment" => {
                let at = if at == Timestamp::default() { self.began } else { at };
                self.trace(line.session_id.as_deref(), at)?;
                let lane = self.lane(line);
                match (&*line.kind, line.message) {
                    ("assistant", Some(message)) => self.assistant(lane, line, message, at)?,
                    ("user", Some(message)) => self.user(lane, line, message, at)?,
                    ("attachment", _) => self.attachment(lane, line)?,
                    _ => {}
                }
                if let Some(uuid) = &line.uuid {
                    let place = self.lanes[lane].thread.len();
                    self.lanes[lane].places.insert(key(uuid), place);
                    self.homes.insert(key(uuid), lane);
                }
                self.lanes[lane].last_at = at;
                self.desk.used();
                Ok(())
            }
            "system" => {
                let lane = self.lane(line);
                if let Some(uuid) = &line.uuid {
                    self.homes.insert(key(uuid), lane);
                }
                self.system(lane, line, bytes, at)
            }
            kind => self.bookkeeping(kind, line, bytes, at),
        }
    }

    /// The conversation a line belongs to.
    fn lane(&mut self, line: &Envelope<'_>) -> usize {
        let agent = line.agent_id.as_deref();
        let aside = line.is_sidechain == Some(true) || agent.is_some();
        let home = line.parent_uuid.as_deref().and_then(|parent| self.homes.get(&key(parent)).copied());
        let found = match (agent, aside) {
            (Some(agent), _) => self.lanes.iter().position(|lane| lane.agent.as_deref() == Some(agent)),
            (None, false) => self.lanes.iter().position(|lane| lane.agent.is_none()),
            // Older versions wrote sub-agents into the same file, and named them by nothing but their first line.
            (None, true) => home.filter(|home| self.lanes[*home].agent.is_some()),
        };
        found.unwrap_or_else(|| {
            let name = agent
                .map(str::to_owned)
                .or_else(|| aside.then(|| line.uuid.as_deref().unwrap_or("sidechain").to_owned()));
            self.lanes.push(Lane { agent: name, parent: None, ..Lane::default() });
            self.lanes.len() - 1
        })
    }

    fn assistant(&mut self, lane: usize, line: &Envelope<'_>, raw: &RawValue, at: Timestamp) -> Result<(), Trouble> {
        let Ok(message) = serde_json::from_str::<Message<'_>>(raw.get()) else { return Ok(()) };
        let id = message.id.as_deref().or(line.request_id.as_deref()).or(line.uuid.as_deref()).unwrap_or_default();
        if line.is_api_error_message == Some(true) || message.model.as_deref() == Some("<synthetic>") {
            let trace = self.trace(None, at)?;
            let content: Value =
                message.content.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
            return self.desk.note(trace, at, "claude-code.api_error", None, json!({ "content": content }));
        }
        let current = self.lanes[lane].pending.as_ref().is_some_and(|pending| pending.key == id);
        if !current {
            if self.seen.contains(&key(id)) {
                // A copy of what was told already: a resumed session, or a sub-agent that begins with its parent's words.
                return Ok(());
            }
            self.flush(lane)?;
            self.seen.insert(key(id));
            let asked_at = self.lanes[lane].last_at;
            let asked_at = if asked_at == Timestamp::default() || asked_at > at { at } else { asked_at };
            self.lanes[lane].pending = Some(Pending {
                key: id.to_owned(),
                request: line.request_ref.as_deref().map(str::to_owned),
                model: message.model.as_deref().unwrap_or_default().to_owned(),
                stop: None,
                blocks: Vec::new(),
                tools: Vec::new(),
                usage: Usage::default(),
                usage_raw: Value::Null,
                asked_at,
                last_at: at,
                results: Vec::new(),
            });
        }
        let Some(pending) = &mut self.lanes[lane].pending else { return Ok(()) };
        pending.last_at = at;
        if let Some(stop) = message.stop_reason {
            pending.stop = Some(stop.into_owned());
        }
        if let Some(told) = message.usage.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok()) {
            let read = usage::read(&told, usage::Cached::Beside);
            // Lines repeat it; while the answer streams, early ones have less.
            if read.total() >= pending.usage.total() {
                (pending.usage, pending.usage_raw) = (read, told);
            }
        }
        let Some(content) = message.content else { return Ok(()) };
        match serde_json::from_str::<Vec<&RawValue>>(content.get()) {
            Ok(blocks) => {
                for block in blocks {
                    if let Ok(Block { kind: Some(kind), name: Some(name) }) =
                        serde_json::from_str::<Block<'_>>(block.get())
                        && kind.ends_with("tool_use")
                    {
                        pending.tools.push(name.into_owned());
                    }
                    pending.blocks.push(block.get().to_owned());
                }
            }
            Err(_) => {
                let text: Value = serde_json::from_str(content.get()).unwrap_or_default();
                pending.blocks.push(json!({ "type": "text", "text": text }).to_string());
            }
        }
        Ok(())
    }

    fn user(&mut self, lane: usize, line: &Envelope<'_>, raw: &RawValue, at: Timestamp) -> Result<(), Trouble> {
        let Ok(message) = serde_json::from_str::<Message<'_>>(raw.get()) else { return Ok(()) };
        let Some(content) = message.content else { return Ok(()) };
        let blocks = serde_json::from_str::<Vec<&RawValue>>(content.get()).unwrap_or_default();
        let is_result = |block: &&RawValue| {
            serde_json::from_str::<Block<'_>>(block.get())
                .is_ok_and(|block| block.kind.as_deref() == Some("tool_result"))
        };
        if blocks.iter().any(is_result)
            && let Some(pending) = &mut self.lanes[lane].pending
        {
            pending.results.extend(blocks.iter().map(|block| block.get().to_owned()));
            return Ok(());
        }
        self.flush(lane)?;
        let here = &mut self.lanes[lane];
        let place = line.parent_uuid.as_deref().and_then(|parent| here.places.get(&key(parent)).copied());
        if line.is_compact_summary == Some(true) {
            here.thread.clear();
            here.answered = 0;
        } else if let Some(place) = place.filter(|place| *place < here.answered) {
            // The user went back and said something else.
            here.thread.truncate(place);
            here.answered = place;
        }
        here.last_at = at;
        let spelt = format!("{{\"role\":\"user\",\"content\":{}}}", content.get());
        self.say(lane, spelt)
    }

    /// Adds a message to a conversation.
    fn say(&mut self, lane: usize, message: String) -> Result<(), Trouble> {
        if let Some(requests) = &mut self.requests
            && let Ok(value) = serde_json::from_str::<Value>(&message)
        {
            let desk = &*self.desk;
            requests.learn(&value, |bytes| desk.hide(bytes).0);
        }
        let (hidden, _) = self.desk.hide(message.into());
        self.lanes[lane].thread.push(&hidden);
        Ok(())
    }

    /// Text that was sent along without being said by anybody.
    fn attachment(&mut self, lane: usize, line: &Envelope<'_>) -> Result<(), Trouble> {
        let (Some(role), Some(rendered)) = (line.rendered_role.as_deref(), line.rendered) else { return Ok(()) };
        let rendered: Value = serde_json::from_str(rendered.get()).unwrap_or_default();
        let texts = rendered.as_array().into_iter().flatten().map(|one| text(one, "content"));
        let texts: Vec<Value> =
            texts.filter(|said| !said.is_empty()).map(|said| json!({ "type": "text", "text": said })).collect();
        if texts.is_empty() {
            return Ok(());
        }
        self.flush(lane)?;
        let role = if role == "assistant" { "assistant" } else { "user" };
        let (hidden, _) = self.desk.hide(json!({ "role": role, "content": texts }).to_string().into());
        self.lanes[lane].thread.push(&hidden);
        Ok(())
    }

    fn system(&mut self, lane: usize, line: &Envelope<'_>, bytes: &[u8], at: Timestamp) -> Result<(), Trouble> {
        let trace = self.trace(line.session_id.as_deref(), at)?;
        let subtype = line.subtype.as_deref().unwrap_or("system");
        if subtype.contains("compact_boundary") {
            self.flush(lane)?;
            let here = &mut self.lanes[lane];
            here.thread.clear();
            here.places.clear();
            here.answered = 0;
        }
        let data: Value = serde_json::from_slice(bytes).unwrap_or_default();
        self.desk.used();
        self.desk.note(trace, at, &format!("claude-code.{subtype}"), None, data)
    }

    fn bookkeeping(&mut self, kind: &str, line: &Envelope<'_>, bytes: &[u8], at: Timestamp) -> Result<(), Trouble> {
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        if kind.starts_with("api-request") {
            let desk = &*self.desk;
            if self.requests.get_or_insert_default().take(&value, |bytes| desk.hide(bytes).0) {
                self.desk.used();
                return Ok(());
            }
        }
        match kind {
            "summary" | "ai-title" | "custom-title" | "agent-name" => {
                let title =
                    ["summary", "aiTitle", "customTitle", "title", "agentName"].iter().map(|key| text(&value, key));
                if let Some(title) = title.into_iter().find(|title| !title.is_empty()) {
                    self.name = Some(title.to_owned());
                }
                self.desk.used();
                Ok(())
            }
            "cost-state" => {
                let at = if at == Timestamp::default() { self.began } else { at };
                let trace = self.trace(line.session_id.as_deref(), at)?;
                self.desk.used();
                self.desk.note(trace, at, "claude-code.cost-state", None, value)
            }
            "queue-operation"
            | "last-prompt"
            | "atis-latch"
            | "file-history-snapshot"
            | "tools-used"
            | "progress"
            | "mode"
            | "permission-mode"
            | "worktree-state"
            | "pr-link"
            | "tag"
            | "file-history-delta"
            | "result"
            | "bridge-session" => {
                self.desk.skipped("bookkeeping of the program");
                Ok(())
            }
            _ => {
                let at = if at == Timestamp::default() { self.began } else { at };
                let trace = self.trace(line.session_id.as_deref(), at)?;
                self.desk.unknown(trace, at, kind, value)
            }
        }
    }

    /// An answer is whole: tells it, and what its tools gave back.
    fn flush(&mut self, lane: usize) -> Result<(), Trouble> {
        let Some(pending) = self.lanes[lane].pending.take() else { return Ok(()) };
        let trace = self.trace(None, pending.last_at)?;
        let blocks = pending.blocks.join(",");
        let stop = pending.stop.as_deref();
        let response = format!(
            "{{\"id\":{},\"type\":\"message\",\"role\":\"assistant\",\"model\":{},\"content\":[{blocks}],\"stop_reason\":{},\"usage\":{}}}",
            Value::from(pending.key.as_str()),
            Value::from(pending.model.as_str()),
            stop.map_or(Value::Null, Value::from),
            pending.usage_raw,
        );
        let desk = &*self.desk;
        let whole =
            pending.request.as_deref().and_then(|id| self.requests.as_ref()?.request(id, |bytes| desk.hide(bytes).0));
        let mut request_headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let here = &mut self.lanes[lane];
        let request = match whole {
            Some(request) => {
                if !request.betas.is_empty() {
                    request_headers.push(("anthropic-beta".to_owned(), request.betas.join(",")));
                }
                request.body
            }
            None => {
                self.derived += 1;
                here.thread.body("{\"messages\":", &format!(",\"model\":{}}}", Value::from(pending.model.as_str())))
            }
        };
        let summary = CallSummary {
            cost_usd: desk.settings.prices.cost_with(&pending.model, &pending.usage, &pending.usage_raw),
            model: pending.model,
            usage: pending.usage,
            stop: stop.map(word),
            error: None,
            tools_called: pending.tools,
        };
        let ended = matches!(summary.stop.as_deref(), Some("end" | "refusal"));
        let told = Told {
            key: pending.key,
            at: pending.asked_at,
            end_at: Some(pending.last_at),
            wire: Wire::AnthropicMessages,
            upstream: "anthropic".to_owned(),
            target: "/v1/messages".to_owned(),
            request_headers,
            request,
            hidden: true,
            status: Some(200),
            response: response.into(),
            summary,
            agent: here.agent.clone(),
            parent_agent: here.parent.clone(),
            ..Told::default()
        };
        self.desk.call(trace, told)?;
        self.lanes[lane].ended = ended;
        self.say(lane, format!("{{\"role\":\"assistant\",\"content\":[{blocks}]}}"))?;
        if !pending.results.is_empty() {
            self.say(lane, format!("{{\"role\":\"user\",\"content\":[{}]}}", pending.results.join(",")))?;
        }
        self.lanes[lane].answered = self.lanes[lane].thread.len();
        Ok(())
    }

    fn finish(mut self) -> Result<(), Trouble> {
        for lane in 0..self.lanes.len() {
            // While a file grows, its last answer may still get blocks.
            if self.desk.settings.settled {
                self.flush(lane)?;
            }
        }
        let Some(trace) = self.trace else { return Ok(()) };
        if self.derived == 0 && self.desk.tally.calls > 0 {
            self.desk.grade(trace, "");
        }
        if let Some(name) = self.name.take() {
            self.desk.more(trace, self.last, Some(&name), None)?;
        }
        let main = self.lanes.iter().find(|lane| lane.agent.is_none());
        if main.is_some_and(|lane| lane.ended) {
            self.desk.end(trace, self.last, None)?;
        }
        Ok(())
    }
}

/// Why it stopped, in the one vocabulary.
fn word(stop: &str) -> String {
    match stop {
        "end_turn" | "stop_sequence" => "end",
        "tool_use" => "tools",
        "max_tokens" | "model_context_window_exceeded" => "length",
        other => other,
    }
    .to_owned()
}
