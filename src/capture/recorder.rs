//! The recorder: one thread that turns what the proxy saw into events, for the keeper to hand to the sink. Whatever goes wrong
//! here never reaches the loop: it is counted, and said at the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use tokio::sync::oneshot;

use super::brake::{self, Held};
use super::conversation::{Asked, Conversations, Placed};
use super::forward;
use super::keeper::{Ending, Keep};
use super::proxy::Totals;
use super::queue::{Ended, Message, Outlet, Queue, Started, add};
use super::reading::{self, Read};
use super::route::Belongs;
use super::tape::TAPE;
use crate::price::Table;
use crate::provider;
use crate::redact::{Clean, Lately, Redactor};
use crate::signal::{self, Limits, Step, Stuck};
use crate::trace::{
    CallEnd, CallEnded, CallId, CallStarted, Content, Headers, LABELS, Note, ProviderError, Request, Source, Timestamp,
    TraceEnded, TraceEvent, TraceId, TraceOutcome, TraceStarted, Usage, What, Wire,
};

/// Traces remembered at once; the one unused for longest is forgotten first. What it said is in the store.
const TRACES: usize = 4096;
/// Answers that may wait for their request to be told.
const EARLY: usize = 1024;
/// Failed requests remembered per trace, to know a retry by.
const FAILED: usize = 64;

pub(super) struct Settings {
    pub(super) content: Content,
    pub(super) prices: Table,
    pub(super) redactor: Arc<Redactor>,
}

/// Runs until it is told to stop, or nobody keeps what it says.
pub(super) fn run(mut messages: Outlet, queue: Arc<Queue>, settings: Settings, keeper: &SyncSender<Vec<Keep>>) {
    let mut recorder = Recorder {
        queue,
        settings,
        out: Vec::new(),
        clean: Clean::default(),
        books: HashMap::new(),
        open: HashMap::new(),
        early: HashMap::new(),
        conversations: Conversations::default(),
        lately: Lately::default(),
        used: 0,
    };
    loop {
        let mut over = false;
        for message in messages.batch() {
            if matches!(message, Message::Stop) {
                over = true;
                break;
            }
            let weight = recorder.take(message);
            recorder.out.push(Keep::Done(weight));
        }
        if keeper.send(std::mem::take(&mut recorder.out)).is_err() || over {
            break;
        }
    }
}

/// What is remembered of a trace.
#[derive(Default)]
struct Book {
    content: Content,
    held: Option<Arc<Held>>,
    totals: Totals,
    agents: std::collections::HashSet<String>,
    /// Marks of requests that failed, oldest first, and the call that made them.
    failed: Vec<(Mark, CallId)>,
    stuck: Option<Stuck>,
    used: u64,
}

/// Length and checksum of a request body: equal ones are the same request. Of a long one the beginning and the end are looked at,
/// where requests of one loop differ.
type Mark = (usize, u32);

fn mark(body: &[u8]) -> Mark {
    const HEAD: usize = 4 << 10;
    const TAIL: usize = 28 << 10;
    let mut sum = crc32fast::Hasher::new();
    if body.len() <= HEAD + TAIL {
        sum.update(body);
    } else {
        sum.update(&body[..HEAD]);
        sum.update(&body[body.len() - TAIL..]);
    }
    (body.len(), sum.finalize())
}

/// What is remembered of a call until its answer is there.
struct Open {
    trace: TraceId,
    wire: Wire,
    mark: Mark,
    model: Option<String>,
    /// For the conversation, where only that tells the trace.
    asked: Option<Asked>,
    /// For the stuck signal.
    request: Option<Request>,
    held: Option<Arc<Held>>,
    agent: Option<String>,
    retry_of: Option<CallId>,
    connection: u64,
    /// The answer it carries on from, where that told its trace.
    from: Option<u64>,
    lost: bool,
    /// Answered from a tape.
    free: bool,
}

struct Recorder {
    queue: Arc<Queue>,
    settings: Settings,
    /// What the keeper gets next.
    out: Vec<Keep>,
    clean: Clean,
    books: HashMap<TraceId, Book>,
    open: HashMap<CallId, Open>,
    early: HashMap<CallId, Box<Ended>>,
    conversations: Conversations,
    lately: Lately,
    used: u64,
}

impl Recorder {
    /// Deals with one message and says what it weighed.
    fn take(&mut self, message: Message) -> u64 {
        match message {
            Message::Begin(trace, started, held, at) => {
                let content = started.content;
                let book = self.book(trace, None, at);
                (book.content, book.held) = (content, Some(held));
                self.put(trace, at, What::TraceStarted(*started));
                0
            }
            Message::Started(started) => {
                let weight = started.weight;
                let call = started.call;
                self.started(*started);
                match self.early.remove(&call) {
                    Some(ended) => weight + self.ended(*ended),
                    None => weight,
                }
            }
            Message::Ended(ended) if self.open.contains_key(&ended.call) => self.ended(*ended),
            Message::Ended(ended) => {
                if self.early.len() >= EARLY {
                    self.early.clear();
                    add(&self.queue.counts.lost_calls, EARLY as u64);
                }
                self.early.insert(ended.call, ended);
                0
            }
            Message::Noted(belongs, note, at) => {
                if let Some(trace) = belongs.trace() {
                    self.begin(trace, &belongs, at);
                    self.put(trace, at, What::Noted(*note));
                }
                0
            }
            Message::End(trace, ended, at, tell) => {
                self.end(trace, *ended, at, tell);
                0
            }
            Message::Flush(tell) => {
                self.out.push(Keep::Flush(tell));
                0
            }
            Message::Stop => 0,
        }
    }

    fn put(&mut self, trace: TraceId, at: Timestamp, what: What) {
        self.out.push(Keep::Event(Box::new(TraceEvent { trace, at, what })));
    }

    /// The book of a trace, opened when there is none.
    fn book(&mut self, trace: TraceId, name: Option<&str>, at: Timestamp) -> &mut Book {
        self.used += 1;
        if !self.books.contains_key(&trace) {
            self.forget_the_oldest();
            add(&self.queue.counts.traces, 1);
            let content = self.settings.content;
            self.books.insert(trace, Book { content, ..Book::default() });
            if let Some(name) = name {
                let name = (!name.is_empty()).then(|| name.to_owned());
                let started = TraceStarted { name, source: Source::Recorded, content, ..TraceStarted::default() };
                self.put(trace, at, What::TraceStarted(started));
            }
        }
        let used = self.used;
        let book = self.books.entry(trace).or_default();
        book.used = used;
        book
    }

    fn begin(&mut self, trace: TraceId, belongs: &Belongs, at: Timestamp) {
        let name = match belongs {
            Belongs::Trace(_, Some(name)) => name.clone(),
            Belongs::Session(_, who, name) => format!("{who} {name}"),
            Belongs::Trace(_, None) | Belongs::Unknown => String::new(),
        };
        self.book(trace, Some(&name), at);
    }

    fn forget_the_oldest(&mut self) {
        if self.books.len() < TRACES {
            return;
        }
        let mut ages: Vec<_> = self.books.values().map(|book| book.used).collect();
        let (_, middle, _) = ages.select_nth_unstable(TRACES / 4);
        let middle = *middle;
        self.books.retain(|_, book| book.used > middle);
    }

    fn started(&mut self, started: Started) {
        let pieces = self.queue.fetch(started.body);
        let gone = pieces.is_none();
        let raw = reading::joined(pieces.unwrap_or_default());
        let plain = forward::decoded(&started.headers, &raw);
        let headers = reading::kept_headers(&started.headers, plain.as_ptr() != raw.as_ptr());
        drop(raw);
        let wire = provider::detect(started.method.as_str(), &started.target, &headers, &plain);
        let unknown = started.belongs == Belongs::Unknown;
        let watched = started.held.as_ref().is_some_and(|held| held.limits().stop_on_stuck);
        let wordless = self.settings.content == Content::None;
        let request =
            (unknown || watched || wordless).then(|| provider::request(wire, &started.target, &plain).ok()).flatten();
        let placed = match started.belongs.trace() {
            Some(trace) => Placed { trace, from: None },
            None => self.conversations.place(request.as_ref(), started.connection),
        };
        let trace = placed.trace;
        self.begin(trace, &started.belongs, started.at);
        let mark = mark(&plain);
        let (agent, parent_agent) = agents(&headers);
        let book = self.book(trace, None, started.at);
        let content = book.content;
        book.agents.extend(agent.clone());
        let retry_of = book.failed.iter().position(|(failed, _)| *failed == mark).map(|at| book.failed.remove(at).1);
        let redactor = self.settings.redactor.clone();
        let (headers, in_headers) = self.clean.headers(&redactor, headers);
        let (target, in_target) = self.clean.target(&redactor, &started.target);
        let (body, in_body) = match content {
            Content::Redacted => self.lately.redact(&redactor, trace, plain.clone()),
            content => {
                let (body, _, count) = redactor.keep(content, plain.clone(), &[]);
                (body, count)
            }
        };
        let redactions = in_headers + in_target + in_body;
        add(&self.queue.counts.redactions, u64::from(redactions));
        let call = CallStarted {
            wire,
            upstream: started.upstream.to_string(),
            method: started.method.to_string(),
            target,
            headers,
            body,
            redactions,
            agent: agent.clone(),
            parent_agent,
            retry_of,
        };
        if !gone {
            self.put(trace, started.at, What::CallStarted(started.call, call));
        }
        let model = reading::model_asked(&started.target, &plain);
        let open = Open {
            trace,
            wire,
            mark,
            model,
            asked: request.as_ref().filter(|_| unknown).map(Asked::of),
            request: request.filter(|_| watched || wordless),
            held: started.held,
            agent,
            retry_of,
            connection: started.connection,
            from: placed.from,
            lost: gone,
            free: *started.upstream == *TAPE,
        };
        self.open.insert(started.call, open);
    }

    /// Deals with the end of a call and says what its messages weighed.
    fn ended(&mut self, mut ended: Ended) -> u64 {
        let weight = ended.weight;
        let pieces = self.queue.fetch(std::mem::take(&mut ended.chunks)).unwrap_or_else(|| {
            ended.whole = false;
            add(&self.queue.counts.cut_bodies, 1);
            Vec::new()
        });
        let Some(open) = self.open.remove(&ended.call) else { return weight };
        let call = ended.call;
        let mut read = reading::read(open.wire, ended, pieces, &self.settings.prices, open.model.as_deref());
        if open.free {
            // It was paid for when it was recorded.
            read.summary.cost_usd = read.summary.cost_usd.map(|_| 0.0);
        }
        self.count(&open, &read);
        let failed = read.summary.error.is_some() || !matches!(read.end, CallEnd::Complete | CallEnd::Refused);
        if let Some(book) = self.books.get_mut(&open.trace) {
            if failed {
                if book.failed.len() >= FAILED {
                    book.failed.remove(0);
                }
                book.failed.push((open.mark, call));
            }
            watch(book, &open, &read, call);
        }
        if let Some(from) = open.from.filter(|_| failed) {
            self.conversations.give_back(open.trace, from);
        }
        if let Some(asked) = open.asked.as_ref().filter(|_| !failed) {
            self.conversations.learn(open.trace, open.connection, asked, &read.response);
        }
        let content = self.books.get(&open.trace).map_or(self.settings.content, |book| book.content);
        let redactor = self.settings.redactor.clone();
        let (headers, in_headers) = self.clean.headers(&redactor, read.headers);
        let (body, chunks, in_body) = redactor.keep(content, read.body, &read.chunks);
        add(&self.queue.counts.redactions, u64::from(in_headers + in_body));
        let mut summary = read.summary;
        summary.error = match content {
            Content::Full => summary.error,
            Content::Redacted => summary.error.map(|error| redactor.text(&error).0.into_owned()),
            Content::None => summary.error.map(|error| wordless(&redactor, read.response.error.as_ref(), error)),
        };
        let event = CallEnded {
            end: read.end,
            status: read.status,
            headers,
            body,
            chunks,
            first_byte: read.first_byte,
            first_content: read.first_content,
            redactions: in_headers + in_body,
            summary,
        };
        match open.lost {
            true => self.out.push(Keep::Lost(open.trace, call)),
            false => self.put(open.trace, read.at, What::CallEnded(call, event)),
        }
        // What is to be known of the words is told now: nobody can find it out later.
        let words = open.request.as_ref().filter(|_| content == Content::None && !open.lost);
        if let Some(data) = words.and_then(signal::labels) {
            self.put(open.trace, read.at, What::Noted(Note { kind: LABELS.to_owned(), call: Some(call), data }));
        }
        weight
    }

    /// Adds a call to the sums: of its trace, of the proxy, of the brakes.
    fn count(&mut self, open: &Open, read: &Read) {
        let counts = &self.queue.counts;
        let tokens = read.summary.usage.total();
        let cost = read.summary.cost_usd;
        let failed = u64::from(read.summary.error.is_some());
        add(&counts.tokens, tokens);
        add(&counts.cost_units, brake::units(cost.unwrap_or(0.0)));
        let unpriced = u64::from(cost.is_none() && read.summary.usage.is_known());
        add(&counts.unpriced_calls, unpriced);
        let braked = open.held.as_ref().is_some_and(|held| held.pulled().is_some());
        if let Some(held) = &open.held {
            held.leave(tokens, cost);
        }
        let Some(book) = self.books.get_mut(&open.trace) else { return };
        let totals = &mut book.totals;
        if read.end == CallEnd::Refused {
            add(&counts.refused, 1);
            totals.refused += 1;
            return;
        }
        add(&counts.errors, failed);
        totals.calls += 1;
        totals.errors += failed;
        totals.retries += u64::from(open.retry_of.is_some());
        totals.overshoot_calls += u64::from(braked);
        totals.unpriced_calls += unpriced;
        totals.usage = sum(totals.usage, read.summary.usage);
        totals.cost_usd = match (totals.cost_usd, cost) {
            (Some(sum), Some(more)) => Some(sum + more),
            (sum, more) => sum.or(more),
        };
    }

    fn end(&mut self, trace: TraceId, mut ended: TraceEnded, at: Timestamp, tell: oneshot::Sender<Totals>) {
        let book = self.book(trace, None, at);
        let mut totals = std::mem::take(&mut book.totals);
        totals.agents = book.agents.len() as u64;
        let held = book.held.take();
        totals.lost_calls += held.as_ref().map_or(0, |held| held.lost());
        if let Some((held, pulled)) = held.as_ref().and_then(|held| Some((held, held.pulled()?))) {
            totals.pulled = Some(pulled.clone());
            let data = serde_json::json!({
                "brake": pulled.brake,
                "why": pulled.why,
                "refused_calls": held.refused(),
                "overshoot_calls": totals.overshoot_calls,
                "still_in_flight": held.flying(),
            });
            self.put(trace, at, What::Noted(Note { kind: "brake".to_owned(), call: None, data }));
            if held.refused() > 0 {
                ended.outcome = TraceOutcome::Braked;
            }
            ended.reason = ended.reason.or_else(|| Some(format!("{}: {}", pulled.brake, pulled.why)));
        }
        self.books.remove(&trace);
        self.out.push(Keep::End(Box::new(Ending { trace, at, ended, totals, tell })));
    }
}

/// Lets the stuck signal look at a call.
fn watch(book: &mut Book, open: &Open, read: &Read, call: CallId) {
    let Some(held) = open.held.as_ref().filter(|held| held.limits().stop_on_stuck) else { return };
    let Some(request) = &open.request else { return };
    let mut step = Step::of(request, &read.response);
    step.call = Some(call);
    step.agent.clone_from(&open.agent);
    step.end = read.end;
    step.status = read.status;
    step.retry_of = open.retry_of;
    if let Some(why) = book.stuck.get_or_insert_with(|| Stuck::new(Limits::default())).feed(&step) {
        held.stuck(why);
    }
}

/// An error without the provider's words, which like to quote what was asked. Our own words on a broken connection stay.
fn wordless(redactor: &Redactor, told: Option<&ProviderError>, ours: String) -> String {
    let Some(told) = told else { return ours };
    let shape = redactor.hollow(told.message.as_bytes());
    let parts = [told.kind.as_str(), &String::from_utf8_lossy(&shape)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
}

fn sum(one: Usage, other: Usage) -> Usage {
    let add = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    };
    Usage {
        input: add(one.input, other.input),
        output: add(one.output, other.output),
        cache_read: add(one.cache_read, other.cache_read),
        cache_write: add(one.cache_write, other.cache_write),
        reasoning: add(one.reasoning, other.reasoning),
    }
}

/// The sub-agent that asks, and its parent, where the client names them.
pub(super) fn agents(headers: &Headers) -> (Option<String>, Option<String>) {
    let get =
        |name: &str| headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    (get("x-claude-code-agent-id"), get("x-claude-code-parent-agent-id"))
}
