//! The desk every importer works at: it hides secrets, names traces and calls by what they are, counts what was done with
//! each line, and hands events on.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Settings, TakeError, Taker, Trouble};
use crate::provider;
use crate::trace::{
    CallEnd, CallEnded, CallId, CallStarted, CallSummary, Chunk, Content, Headers, Note, Provenance, Response, Score,
    Source, Timestamp, TraceEnded, TraceEvent, TraceId, TraceOutcome, TraceStarted, Usage, What, Wire,
};
use crate::trial::RunRecord;

/// What became of a file.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Tally {
    /// Lines, or the records a document holds.
    pub lines: u64,
    /// Those that became calls, events, runs, or a part of one.
    pub used: u64,
    /// Those that say nothing worth keeping, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Those of a type not known here, by type. They are kept as events.
    pub unknown: BTreeMap<String, u64>,
    /// Those that could not be read at all.
    pub damaged: u64,
    pub traces: u64,
    pub calls: u64,
    pub events: u64,
    pub runs: u64,
    pub trials: u64,
    pub usage: Usage,
    pub cost_usd: Option<f64>,
    /// What a person should know of it.
    pub remarks: Vec<String>,
}

/// A trace to begin.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// What makes it this trace and no other: a session's id.
    pub key: String,
    /// Where the id itself is a trace id.
    pub id: Option<TraceId>,
    pub name: Option<String>,
    pub agent: Option<String>,
    pub at: Timestamp,
    pub cwd: Option<String>,
    pub git_commit: Option<String>,
    pub tags: Vec<(String, String)>,
    pub parent: Option<TraceId>,
    /// Why it isn't replay-grade; empty when its requests are those that were sent.
    pub why_not: &'static str,
    /// Where its fields come from, beside `requests` and `answers`.
    pub fields: &'static [(&'static str, Source)],
}

/// A call to be told.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// What makes it this call and no other in its trace.
    pub key: String,
    pub at: Timestamp,
    pub end_at: Option<Timestamp>,
    pub wire: Wire,
    pub upstream: String,
    /// `POST` when empty.
    pub method: String,
    pub target: String,
    pub request_headers: Headers,
    pub request: Bytes,
    /// Whether the request's secrets are hidden already.
    pub hidden: bool,
    pub status: Option<u16>,
    pub response_headers: Headers,
    pub response: Bytes,
    pub chunks: Vec<Chunk>,
    pub first_content: Option<u64>,
    pub end: CallEnd,
    pub summary: CallSummary,
    pub agent: Option<String>,
    pub parent_agent: Option<String>,
    pub retry_of: Option<CallId>,
}

/// See the module.
pub struct Desk<'a> {
    pub settings: &'a Settings<'a>,
    pub tally: Tally,
    /// What telemetry of other files of the job waits for.
    pub book: Option<&'a mut super::otlp::Book>,
    /// Files that others of the job said belong to their trace.
    pub belongs: Option<&'a mut HashMap<String, TraceId>>,
    taker: &'a mut dyn Taker,
    format: &'static str,
    file: &'a str,
    begun: &'a mut HashSet<TraceId>,
    /// What is to be said of the traces this file began, when all of it is known.
    origins: Vec<(TraceId, Timestamp, Provenance)>,
}

/// The words an exported trace was tagged with.
pub fn tags(trace: &Value) -> impl Iterator<Item = (String, String)> {
    trace["tags"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|tag| ("tag".to_owned(), tag.to_owned()))
}

/// A hash of words, each kept apart from the next.
pub fn digest(words: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for word in words {
        hasher.update((word.len() as u64).to_be_bytes());
        hasher.update(word);
    }
    hasher.finalize().into()
}

fn number<const N: usize>(hash: [u8; 32]) -> [u8; N] {
    let mut first = [0; N];
    first.copy_from_slice(&hash[..N]);
    first
}

/// The trace that a foreign session is here: the same session gives the same id, wherever its file lies.
pub fn trace_id(format: &str, key: &str) -> TraceId {
    TraceId(u128::from_be_bytes(number(digest(&["holdback import", format, key]))))
}

/// The call that a foreign call is here.
pub fn call_id(trace: TraceId, key: &str) -> CallId {
    CallId(u64::from_be_bytes(number(digest(&[&trace.to_string(), key]))))
}

impl<'a> Desk<'a> {
    pub(super) fn new(
        settings: &'a Settings<'a>,
        taker: &'a mut dyn Taker,
        format: &'static str,
        file: &'a str,
        begun: &'a mut HashSet<TraceId>,
    ) -> Self {
        Desk {
            settings,
            tally: Tally::default(),
            book: None,
            belongs: None,
            taker,
            format,
            file,
            begun,
            origins: Vec::new(),
        }
    }

    /// The file's path, as it was given.
    pub fn file(&self) -> &'a str {
        self.file
    }

    pub fn format(&self) -> &'static str {
        self.format
    }

    /// A line, or a record, was used.
    pub fn used(&mut self) {
        self.tally.lines += 1;
        self.tally.used += 1;
    }

    /// A line says nothing worth keeping.
    pub fn skipped(&mut self, why: &str) {
        self.tally.lines += 1;
        *self.tally.skipped.entry(why.to_owned()).or_default() += 1;
    }

    /// A line could not be read.
    pub fn damaged(&mut self) {
        self.tally.lines += 1;
        self.tally.damaged += 1;
    }

    /// A line of a type nobody here knows: counted, and kept as an event.
    pub fn unknown(&mut self, trace: TraceId, at: Timestamp, kind: &str, data: Value) -> Result<(), Trouble> {
        self.tally.lines += 1;
        *self.tally.unknown.entry(short(kind)).or_default() += 1;
        self.note(trace, at, &format!("{}.{}", self.format, short(kind)), None, data)
    }

    pub fn remark(&mut self, remark: impl Into<String>) {
        if self.tally.remarks.len() < 20 {
            self.tally.remarks.push(remark.into());
        }
    }

    /// Bytes of a body as they may be kept, and how many secrets were in them.
    pub fn hide(&self, body: Bytes) -> (Bytes, u32) {
        match self.settings.content {
            Content::Full => (body, 0),
            Content::Redacted => self.settings.redactor.body(body),
            Content::None => (self.settings.redactor.hollow(&body), 0),
        }
    }

    /// A text as it may be kept: a name, an error.
    pub fn hide_text(&self, text: &str) -> String {
        match self.settings.content {
            Content::Full => text.to_owned(),
            Content::Redacted | Content::None => self.settings.redactor.text(text).0.into_owned(),
        }
    }

    fn hide_json(&self, mut data: Value) -> Value {
        match self.settings.content {
            Content::Full => data,
            Content::Redacted => {
                self.settings.redactor.json(&mut data);
                data
            }
            Content::None => {
                let shape = self.settings.redactor.hollow(data.to_string().as_bytes());
                serde_json::from_slice(&shape).unwrap_or_default()
            }
        }
    }

    fn event(&mut self, trace: TraceId, at: Timestamp, what: What) -> Result<(), Trouble> {
        self.taker.event(&TraceEvent { trace, at, what }).map_err(Trouble::Keep)
    }

    /// Begins a trace, or goes on with one this job has begun already.
    pub fn begin(&mut self, about: About) -> Result<TraceId, Trouble> {
        let trace = about.id.unwrap_or_else(|| trace_id(self.format, &about.key));
        if !self.begun.insert(trace) {
            return Ok(trace);
        }
        self.tally.traces += 1;
        let hide = |text: String| self.hide_text(&text);
        let started = TraceStarted {
            name: about.name.map(hide),
            tags: about.tags.into_iter().map(|(key, value)| (key, self.hide_text(&value))).collect(),
            source: Source::Imported,
            content: self.settings.content,
            agent: about.agent.map(|agent| self.hide_text(&agent)),
            cwd: about.cwd.map(|cwd| self.hide_text(&cwd)),
            git_commit: about.git_commit,
            parent: about.parent.map(|parent| (parent, None)),
            ..TraceStarted::default()
        };
        self.event(trace, about.at, What::TraceStarted(started))?;
        let grade = about.why_not.is_empty();
        let requests = if grade { Source::Imported } else { Source::Derived };
        let own = [("requests", requests), ("answers", Source::Imported)];
        let fields = own.iter().chain(about.fields).map(|(name, source)| ((*name).to_owned(), *source)).collect();
        let provenance = Provenance {
            format: self.format.to_owned(),
            from: self.file.to_owned(),
            replay_grade: grade,
            why_not: about.why_not.to_owned(),
            fields,
        };
        self.origins.push((trace, about.at, provenance));
        Ok(trace)
    }

    /// Only now is it known whether a trace's requests are those that were sent.
    pub fn grade(&mut self, trace: TraceId, why_not: &str) {
        if let Some((_, _, provenance)) = self.origins.iter_mut().find(|(id, ..)| *id == trace) {
            provenance.replay_grade = why_not.is_empty();
            why_not.clone_into(&mut provenance.why_not);
            let requests = if why_not.is_empty() { Source::Imported } else { Source::Derived };
            provenance.fields.insert("requests".to_owned(), requests);
        }
    }

    /// The file is read: says of each trace it began what it rests on.
    pub(super) fn finish(&mut self) -> Result<(), Trouble> {
        for (trace, at, provenance) in std::mem::take(&mut self.origins) {
            let data = serde_json::to_value(provenance).expect("plain data becomes JSON");
            self.event(trace, at, What::Noted(Note { kind: Provenance::KIND.to_owned(), call: None, data }))?;
        }
        Ok(())
    }

    /// A later word on a trace: a name, a tag.
    pub fn more(
        &mut self,
        trace: TraceId,
        at: Timestamp,
        name: Option<&str>,
        agent: Option<&str>,
    ) -> Result<(), Trouble> {
        let started = TraceStarted {
            name: name.map(|name| self.hide_text(name)),
            agent: agent.map(|agent| self.hide_text(agent)),
            source: Source::Imported,
            content: self.settings.content,
            ..TraceStarted::default()
        };
        self.event(trace, at, What::TraceStarted(started))
    }

    /// Tells a call. Its times are those of the source, its order that of the file.
    pub fn call(&mut self, trace: TraceId, told: Told) -> Result<CallId, Trouble> {
        let call = call_id(trace, &told.key);
        let (request, in_request) = if told.hidden { (told.request, 0) } else { self.hide(told.request) };
        let redactor = self.settings.redactor;
        let (request_headers, in_headers) = redactor.headers(&told.request_headers);
        let (target, in_target) = redactor.target(&told.target);
        let started = CallStarted {
            wire: told.wire,
            upstream: told.upstream,
            method: if told.method.is_empty() { "POST".to_owned() } else { told.method },
            target,
            headers: request_headers,
            body: request,
            redactions: in_request + in_headers + in_target,
            agent: told.agent,
            parent_agent: told.parent_agent,
            retry_of: told.retry_of,
        };
        let (response_headers, in_headers) = redactor.headers(&told.response_headers);
        let (body, mut chunks, in_body) = redactor.keep(self.settings.content, told.response, &told.chunks);
        let end_at = told.end_at.unwrap_or(told.at).max(told.at);
        if chunks.is_empty() && !body.is_empty() {
            chunks = vec![Chunk { at: end_at.micros_since(told.at), len: body.len() as u64 }];
        }
        let mut summary = told.summary;
        summary.error = summary.error.map(|error| self.hide_text(&error));
        self.tally.calls += 1;
        add_usage(&mut self.tally.usage, &summary.usage);
        if let Some(cost) = summary.cost_usd {
            *self.tally.cost_usd.get_or_insert(0.0) += cost;
        }
        let first_byte = (!told.chunks.is_empty()).then(|| told.chunks[0].at);
        let ended = CallEnded {
            end: told.end,
            status: told.status,
            headers: response_headers,
            body,
            chunks,
            first_byte,
            first_content: told.first_content,
            redactions: in_headers + in_body,
            summary,
        };
        self.event(trace, told.at, What::CallStarted(call, started))?;
        self.event(trace, end_at, What::CallEnded(call, ended))?;
        Ok(call)
    }

    pub fn note(
        &mut self,
        trace: TraceId,
        at: Timestamp,
        kind: &str,
        call: Option<CallId>,
        data: Value,
    ) -> Result<(), Trouble> {
        self.tally.events += 1;
        let data = self.hide_json(data);
        self.event(trace, at, What::Noted(Note { kind: kind.to_owned(), call, data }))
    }

    pub fn score(&mut self, trace: TraceId, at: Timestamp, score: Score) -> Result<(), Trouble> {
        self.tally.events += 1;
        let comment = score.comment.as_deref().map(|comment| self.hide_text(comment));
        self.event(trace, at, What::Scored(Score { by: "import".to_owned(), comment, ..score }))
    }

    /// A trace has come to its end, and how.
    pub fn end(&mut self, trace: TraceId, at: Timestamp, failed: Option<String>) -> Result<(), Trouble> {
        if !self.settings.settled {
            return Ok(());
        }
        let outcome = if failed.is_some() { TraceOutcome::Failed } else { TraceOutcome::Ok };
        let reason = failed.map(|reason| self.hide_text(&reason));
        let ended = TraceEnded { outcome, exit_code: None, signal: None, reason, lost_calls: 0 };
        self.event(trace, at, What::TraceEnded(ended))
    }

    /// A run of somebody else's harness, or a part of one.
    pub fn run(&mut self, run: RunRecord) -> Result<(), Trouble> {
        self.tally.runs += 1;
        self.tally.trials += run.trials.len() as u64;
        self.taker.run(run).map_err(Trouble::Keep)
    }

    /// What a list shows of a call whose answer was read.
    pub fn summary(&self, response: &Response, asked: &str) -> CallSummary {
        let model = if response.model.is_empty() { asked } else { &response.model };
        let error = response.error.as_ref().map(|error| match error.kind.as_str() {
            "" => error.message.clone(),
            kind => format!("{kind}: {}", error.message),
        });
        CallSummary {
            model: model.to_owned(),
            usage: response.usage,
            cost_usd: self.settings.prices.cost_with(model, &response.usage, &response.usage_raw),
            stop: response.stop.as_ref().map(|stop| stop.as_str().to_owned()),
            error,
            tools_called: response
                .message
                .iter()
                .flat_map(|message| message.tool_calls())
                .map(|call| call.name.clone())
                .collect(),
        }
    }

    /// A call whose answer is known as a message rather than as bytes: written as a chat completion.
    pub fn answered(&self, response: &Response, asked: &str) -> Told {
        let mut response = response.clone();
        if response.model.is_empty() {
            asked.clone_into(&mut response.model);
        }
        let (response_headers, pieces) = provider::answer(Wire::OpenaiChat, false, &response);
        Told {
            wire: Wire::OpenaiChat,
            target: "/v1/chat/completions".to_owned(),
            status: Some(if response.error.is_some() { 500 } else { 200 }),
            response_headers,
            response: pieces.into_iter().next().unwrap_or_default(),
            summary: self.summary(&response, asked),
            ..Told::default()
        }
    }
}

/// A word from a file that becomes part of a name of ours.
fn short(word: &str) -> String {
    word.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.:/".contains(*c)).take(80).collect()
}

/// Adds up; what nobody said stays unknown.
pub fn add_usage(sum: &mut Usage, more: &Usage) {
    let add = |sum: &mut Option<u64>, more: Option<u64>| {
        if let Some(more) = more {
            *sum = Some(sum.unwrap_or(0).saturating_add(more));
        }
    };
    add(&mut sum.input, more.input);
    add(&mut sum.output, more.output);
    add(&mut sum.cache_read, more.cache_read);
    add(&mut sum.cache_write, more.cache_write);
    add(&mut sum.reasoning, more.reasoning);
}

/// A reason why something can't be kept.
impl From<TakeError> for Trouble {
    fn from(error: TakeError) -> Self {
        Trouble::Keep(error)
    }
}

/// A long line as the event that stands for it.
pub fn too_long(bytes: u64) -> Value {
    json!({ "bytes": bytes, "why": "longer than a line may be here; it was passed over" })
}
