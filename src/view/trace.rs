//! One trace: its facts, and its calls as a waterfall that opens into the conversation. Calls come piece by piece, so that five
//! hundred of them open as fast as five.

use std::collections::HashMap;

use maud::{Markup, html};
use serde_json::Value;

use super::agents::ShownAgent;
use super::conversation::{self, Conversation, ShownCall};
use super::door::{Ask, Reply};
use super::{Error, View, call, frame, scores};
use crate::context::Relation;
use crate::report::page::words::{count, dollars, minute, seconds, shorten, tokens};
use crate::store::log::{Reader, Status, TraceSummary};
use crate::trace::{CallId, Chunk, Headers, Message, Note, Timestamp};

/// Calls that come with the page itself, and calls that a page lists.
const AT_ONCE: usize = 6;
const LISTED: usize = 1000;

/// A trace, read whole.
#[derive(Debug)]
pub struct Loaded {
    pub summary: TraceSummary,
    pub conversation: Conversation,
    /// When the pieces of each answer came, and the headers they came with.
    pub answers: HashMap<CallId, (Vec<Chunk>, Headers)>,
}

impl Loaded {
    /// Reads a trace.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn read(reader: &Reader, summary: TraceSummary) -> Result<Loaded, Error> {
        let mut answers = HashMap::new();
        let conversation = conversation::read_with(reader, summary.id, &mut |call, ended| {
            answers.insert(call, (ended.chunks.clone(), ended.headers.clone()));
        })?;
        Ok(Loaded { summary, conversation, answers })
    }

    /// A call by its number.
    ///
    /// # Errors
    /// When there is no such call.
    pub fn call(&self, number: &str) -> Result<&ShownCall, Error> {
        let at: Option<usize> = number.parse().ok().and_then(|number: usize| number.checked_sub(1));
        let calls = &self.conversation.calls;
        at.and_then(|at| calls.get(at))
            .ok_or_else(|| Error::Missing(format!("this trace has {} calls, and no call {number}", calls.len())))
    }

    /// What it is called.
    pub fn name(&self) -> String {
        self.summary.name.clone().unwrap_or_else(|| self.summary.id.to_string()[..8].to_owned())
    }
}

/// From when to when, in microseconds.
struct Span {
    start: Timestamp,
    length: f64,
}

impl Span {
    fn of(loaded: &Loaded) -> Span {
        let start = loaded.summary.started;
        Span { start, length: (loaded.summary.last.micros_since(start) as f64).max(1.0) }
    }

    fn share(&self, micros: f64) -> f64 {
        (100.0 * micros / self.length).clamp(0.0, 100.0)
    }
}

/// The page.
pub fn page(view: &View, ask: &Ask, word: &str) -> Result<Reply, Error> {
    let loaded = view.trace(word)?;
    let (summary, calls) = (&loaded.summary, &loaded.conversation.calls);
    let span = Span::of(&loaded);
    let name = loaded.name();
    let from = match ask.get("from") {
        "" => 0,
        from => from.parse::<usize>().map_err(|_| Error::Asked(format!("from {from:?}: expected a call's number")))?,
    };
    let from = (from.saturating_sub(1) / LISTED) * LISTED;
    let live = summary.status == Status::Live;
    let body = html! {
        nav.crumbs aria-label="Where" { a href="/traces" { "Traces" } " / " span { (shorten(&name, 60)) } }
        h1 { (shorten(&name, 100)) " " (frame::standing(summary)) }
        @if let Some(why) = summary.reason.as_ref().or(summary.error.as_ref()) { p.lead { (shorten(why, 300)) } }
        (facts(&loaded))
        div.inline { a.button href=(super::promote::link(&summary.id.to_string())) { "Promote to a case" } }
        form.inline method="get" action="/diff" {
            input type="hidden" name="a" value=(summary.id);
            label { "Beside another trace: " input name="b" required placeholder="id or name"; }
            button type="submit" { "Compare" }
        }
        (scores::given(&loaded, ask))
        (contexts(calls))
        (agents(&loaded.conversation.agent_tree))
        (tools(calls))
        (files(&loaded))
        section {
            div.heading {
                h2 { "Calls" }
                div.tools id="fold" hidden {
                    button type="button" data-fold="open" { "Open all" } " " button type="button" data-fold="close" { "Waterfall only" }
                    span.note { " keys: " kbd { "j" } " " kbd { "k" } " move, " kbd { "o" } " open, " kbd { "/" } " search" }
                }
            }
            div.scale aria-hidden="true" { span { "0" } span { (seconds(span.length / 2e6)) } span { (seconds(span.length / 1e6)) } }
            div.calls id="calls" data-follow=[live.then(|| follow(&loaded))] {
                @for (at, call) in calls.iter().enumerate().skip(from).take(LISTED) { (row(&loaded, call, &span, at < AT_ONCE)) } }
            @if live { p.note id="following" role="status" { "It goes on: calls appear as they are made." } }
            (parts(&summary.id.to_string(), calls.len(), from))
            @if calls.is_empty() { p.note { "No model was called." } }
        }
        (notes(&loaded.conversation.notes))
    };
    Ok(Reply::Page(frame::page("/traces", &name, &body)))
}

/// The other parts of a trace of very many calls.
fn parts(id: &str, calls: usize, from: usize) -> Markup {
    html! { @if calls > LISTED {
        nav.below aria-label="Parts of the trace" { @for first in (1..=calls).step_by(LISTED) {
            a.button href={ "/traces/" (id) "?from=" (first) "#calls" } aria-current=[(first == from + 1).then_some("true")] { "#" (first) " to #" (calls.min(first + LISTED - 1)) } " "
        } }
    } }
}

/// The line of a call in the page of its trace.
pub fn link(id: &str, number: usize) -> String {
    match number > LISTED {
        true => format!("/traces/{id}?from={number}#c{number}"),
        false => format!("/traces/{id}#c{number}"),
    }
}

/// The first call that may still change; the next one when all have ended.
pub fn open_from(calls: &[ShownCall]) -> usize {
    calls.iter().position(|call| call.end.is_none()).unwrap_or(calls.len()) + 1
}

/// Where a page hears how a trace goes on.
fn follow(loaded: &Loaded) -> String {
    format!("/traces/{}/events?from={}", loaded.summary.id, open_from(&loaded.conversation.calls))
}

/// The lines of a trace's calls from a number on, for a page that follows it.
pub fn rows(loaded: &Loaded, from: usize) -> Markup {
    let span = Span::of(loaded);
    html! { @for call in loaded.conversation.calls.iter().skip(from.saturating_sub(1)).take(LISTED) { (row(loaded, call, &span, false)) } }
}

fn facts(loaded: &Loaded) -> Markup {
    let (summary, about) = (&loaded.summary, &loaded.conversation.about);
    let took = summary.last.micros_since(summary.started) as f64 / 1e6;
    let cost = match (summary.cost_usd, summary.unpriced_calls) {
        (Some(usd), 0) => dollars(usd),
        (Some(usd), n) => format!("≥ {}, without {}", dollars(usd), count(n, "call")),
        (None, _) => "no price".to_owned(),
    };
    let fact = |what: &str, value: &str| html! { div.long[value.len() > 30] { dt { (what) } dd { (value) } } };
    html! {
        dl.facts.card {
            (fact("calls", &match summary.failed_calls { 0 => summary.calls.to_string(), n => format!("{}, {n} failed", summary.calls) }))
            (fact("took", &seconds(took)))
            (fact("tokens", &if summary.usage.is_known() { tokens(summary.usage.total() as f64) } else { "–".to_owned() }))
            (fact("cost", &cost))
            (fact("started", &format!("{} UTC", minute(summary.started))))
            @if let Some(agent) = &summary.agent { (fact("agent", agent)) }
            @if !summary.models.is_empty() { (fact("models", &summary.models.join(", "))) }
            @if let Some(code) = summary.exit_code { (fact("exit code", &code.to_string())) }
            @if summary.lost_calls > 0 { (fact("not stored", &count(summary.lost_calls, "call"))) }
            @if let Some(commit) = &about.git_commit {
                (fact("commit", &format!("{}{}", commit.chars().take(12).collect::<String>(), if about.git_dirty == Some(true) { ", changed" } else { "" })))
            }
            @if !about.command.is_empty() { (fact("command", &shorten(&about.command.join(" "), 300))) }
            @if let Some(cwd) = &about.cwd { (fact("in", cwd)) }
            @if !summary.tags.is_empty() {
                @let tags: Vec<String> = summary.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
                (fact("tags", &tags.join(" ")))
            }
            (fact("id", &summary.id.to_string()))
        }
    }
}

/// A call's line, with its bar in the waterfall; what it says comes with it or is fetched when it is seen.
fn row(loaded: &Loaded, call: &ShownCall, span: &Span, at_once: bool) -> Markup {
    let from = span.share(call.started.micros_since(span.start) as f64);
    let end = call.took_us.unwrap_or_else(|| loaded.summary.last.micros_since(call.started));
    let width = span.share(end as f64).max(0.4).min(100.0 - from).max(0.4);
    let first = call.first_content_us.map(|first| 100.0 * first as f64 / (end as f64).max(1.0));
    let bad = call.error.is_some() || call.end.is_some_and(|end| end != crate::trace::CallEnd::Complete);
    let to = format!("/traces/{}/calls/{}", loaded.summary.id, call.number);
    html! {
        details.call.bad[bad] id={ "c" (call.number) } open[at_once] data-piece=[(!at_once).then(|| format!("{to}/piece"))] {
            summary {
                span.no { "#" (call.number) }
                span.model { (shorten(&call.model, 40)) }
                span.lane aria-hidden="true" {
                    i.wait style={ "left:" (format!("{from:.2}%")) ";width:" (format!("{width:.2}%")) } {
                        @if let Some(first) = first { b style={ "left:" (format!("{:.1}%", first.clamp(0.0, 100.0))) } {} }
                    }
                }
                span.took { @match call.took_us { Some(us) => { (seconds(us as f64 / 1e6)) } None => { "open" } } }
                span.use { (usage(call)) }
                span.marks {
                    @if let Some(place) = place(call) { span.tag { (place) } " " }
                    @if let Some(agent) = &call.agent { span.tag { (shorten(agent, 24)) } " " }
                    @if bad { span.tag.bad { (call.status.map(|status| status.to_string()).unwrap_or_default()) " failed" } }
                }
            }
            @if at_once { (call::inside(loaded, call)) } @else { div.inside.later { a href=(to) { "Show call " (call.number) } } }
        }
    }
}

/// Tokens in and out, and cost.
pub fn usage(call: &ShownCall) -> String {
    let mut words = Vec::new();
    if call.usage.is_known() {
        let read = [call.usage.input, call.usage.cache_read, call.usage.cache_write].into_iter().flatten().sum::<u64>();
        words.push(format!("{} → {}", tokens(read as f64), tokens(call.usage.output.unwrap_or(0) as f64)));
    }
    words.extend(call.cost_usd.map(dollars));
    words.join(" · ")
}

/// How a call hangs in the tree, when it isn't simply the next turn.
fn place(call: &ShownCall) -> Option<String> {
    if let Some(number) = call.retry_of {
        return Some(format!("retry of #{number}"));
    }
    let of = call.from.map(|number| format!(" of #{number}")).unwrap_or_default();
    match call.relation {
        Relation::Root => (call.number > 1).then(|| "new conversation".to_owned()),
        Relation::Extend => {
            call.from.filter(|from| from + 1 != call.number).map(|from| format!("goes on from #{from}"))
        }
        Relation::Retry => Some(format!("repeat{of}")),
        Relation::Fork => Some(format!("fork{of} after {}", count(u64::from(call.kept_messages), "message"))),
        Relation::Reset => Some(format!("compacted{}", of.replace(" of ", " from "))),
    }
}

/// One line of conversation: from a call to a call, how it began, and how many lines it hangs below.
struct Line {
    first: usize,
    last: usize,
    how: Option<String>,
    depth: usize,
}

/// The lines of conversation, each behind the one it left.
fn lines(calls: &[ShownCall]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    // Which line a call is in.
    let mut of: Vec<usize> = Vec::with_capacity(calls.len());
    for call in calls {
        let from = call.from.and_then(|number| of.get(number - 1).copied());
        let goes_on = matches!(call.relation, Relation::Extend | Relation::Retry)
            && from.is_some_and(|line| Some(lines[line].last) == call.from || lines[line].last + 1 == call.number);
        of.push(match from.filter(|_| goes_on) {
            Some(line) => {
                lines[line].last = call.number;
                line
            }
            None => {
                let depth = from.map_or(0, |line| lines[line].depth + 1);
                lines.push(Line { first: call.number, last: call.number, how: place(call), depth });
                lines.len() - 1
            }
        });
    }
    lines
}

/// Where conversations begin, fork and are compacted, where there is more than one straight line.
fn contexts(calls: &[ShownCall]) -> Markup {
    let lines = lines(calls);
    if lines.len() < 2 {
        return html! {};
    }
    let compacted = calls.iter().filter(|call| call.relation == Relation::Reset).count();
    html! {
        details.card.contexts {
            summary { b { "Contexts" } " " span.note { (lines.len()) " lines of conversation" @if compacted > 0 { ", compacted " (count(compacted as u64, "time")) } } }
            ul.tree { @for line in lines.iter().take(LISTED) {
                li style={ "margin-left:" (line.depth.min(24)) "rem" } {
                    a href={ "#c" (line.first) } { "#" (line.first) } @if line.last > line.first { " to " a href={ "#c" (line.last) } { "#" (line.last) } }
                    " " span.note { (line.how.as_deref().unwrap_or("the beginning")) } }
            } }
        }
    }
}

/// The sub-agents as the tree they form.
fn agents(tree: &[ShownAgent]) -> Markup {
    html! { @if !tree.is_empty() {
        details.card {
            summary { b { "Agents" } " " span.note { (count(tree.len() as u64, "sub-agent")) } }
            ul.tree { @for agent in tree.iter().take(200) { li style={ "margin-left:" (agent.depth.min(20) - 1) "rem" } {
                b { (shorten(&agent.agent, 80)) } " " span.note { (count(agent.calls as u64, "call")) @if agent.failed_calls > 0 { ", " (agent.failed_calls) " failed" }
                    " · " (tokens(agent.tokens as f64)) " tokens" @if let Some(usd) = agent.cost_usd { " · " (dollars(usd)) } }
            } } }
        }
    } }
}

/// Which tools were called how often, and where.
fn tools(calls: &[ShownCall]) -> Markup {
    let mut used: Vec<(&str, u64, Vec<usize>)> = Vec::new();
    for call in calls {
        for tool in call.answer.iter().flat_map(Message::tool_calls) {
            match used.iter_mut().find(|(name, ..)| *name == tool.name) {
                Some((_, times, numbers)) => {
                    *times += 1;
                    numbers.push(call.number);
                    numbers.dedup();
                }
                None => used.push((&tool.name, 1, vec![call.number])),
            }
        }
    }
    used.sort_by_key(|(_, times, _)| std::cmp::Reverse(*times));
    html! { @if !used.is_empty() {
        details.card {
            summary { b { "Tools" } " " span.note { (count(used.iter().map(|(_, times, _)| *times).sum(), "call")) " of " (count(used.len() as u64, "tool")) } }
            ul.files { @for (name, times, numbers) in used.iter().take(100) { li {
                code { (shorten(name, 80)) } " " span.note { (times) " ×, at" }
                @for number in numbers.iter().take(24) { " " a href={ "#c" (number) } { "#" (number) } }
                @if numbers.len() > 24 { " …" }
            } } }
        }
    } }
}

/// Files that changed, call by call.
fn files(loaded: &Loaded) -> Markup {
    let numbers: HashMap<CallId, usize> =
        loaded.conversation.calls.iter().map(|call| (call.call, call.number)).collect();
    let told: Vec<(Option<usize>, &Value)> = loaded
        .conversation
        .notes
        .iter()
        .filter(|(_, note)| note.kind == "files" && note.data["changed"].as_array().is_some_and(|all| !all.is_empty()))
        .map(|(_, note)| (note.call.and_then(|call| numbers.get(&call).copied()), &note.data["changed"]))
        .collect();
    html! {
        @if !told.is_empty() {
            details.card {
                summary { b { "Files" } " " span.note { "that changed in " (count(told.len() as u64, "step")) } }
                ul.files { @for (number, changed) in &told { li {
                    @if let Some(number) = number { a href={ "#c" (number) } { "after #" (number) } ": " }
                    @for (at, one) in changed.as_array().into_iter().flatten().take(40).enumerate() {
                        @if at > 0 { ", " }
                        code { (one["path"].as_str().unwrap_or("?")) } " " span.note { (one["status"].as_str().unwrap_or("")) }
                    }
                } } }
            }
        }
    }
}

fn notes(notes: &[(Timestamp, Note)]) -> Markup {
    let others: Vec<_> = notes.iter().filter(|(_, note)| note.kind != "files").collect();
    html! {
        @if !others.is_empty() {
            section { h2 { "Notes" } ul.notes { @for (at, note) in others {
                li { span.note { (minute(*at)) } " " b { (note.kind) } " " code { (shorten(&note.data.to_string(), 400)) } }
            } } }
        }
    }
}
