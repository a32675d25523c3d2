//! `holdback traces show`: a trace as a person reads it, or the raw bytes of one of its calls.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::agents::ShownAgent;
use super::conversation::{self, Conversation, ShownCall};
use super::list;
use crate::cli::{Exit, Global, Misuse, out};
use crate::context::Relation;
use crate::store::log::{Kept, Reader, TraceSummary};
use crate::trace::{CallEnd, Message, Part, Provenance, Role, Source, TraceStarted};

/// Characters of one message shown without --full.
const SHORT: usize = 400;

#[derive(Debug, Default, Args)]
#[command(after_help = "Examples:\n  holdback traces show last\n  holdback traces show last --call 2 --request | jq .")]
pub struct Show {
    /// Id, beginning of an id, name, or `last`
    trace: String,
    /// Only this call, by its number
    #[arg(long, value_name = "N")]
    call: Option<usize>,
    /// Print the bytes of the call's request body, exactly as kept
    #[arg(long, requires = "call", conflicts_with_all = ["response", "json"])]
    request: bool,
    /// Print the bytes of the call's response body, exactly as kept
    #[arg(long, requires = "call", conflicts_with = "json")]
    response: bool,
    /// Show long messages whole
    #[arg(long)]
    full: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Show {
    /// Show a trace, by a word that names it.
    pub fn of(trace: &str) -> Self {
        Show { trace: trace.to_owned(), ..Show::default() }
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    summary: &'a TraceSummary,
    #[serde(flatten)]
    conversation: &'a Conversation,
    command: &'a [String],
    cwd: Option<&'a str>,
    git_commit: Option<&'a str>,
    git_dirty: Option<bool>,
}

/// Shows a trace.
pub fn run(global: &Global, args: &Show) -> anyhow::Result<Exit> {
    let store = global.existing_store()?;
    let reader = store.reader()?;
    let trace = super::resolve(&reader, &args.trace)?;
    let mut conversation = conversation::read(&reader, trace)?;
    if let Some(number) = args.call {
        let calls = conversation.calls.len();
        conversation.calls.retain(|call| call.number == number);
        if conversation.calls.is_empty() {
            return Err(Misuse(format!("trace {} has {calls} calls, there is no call {number}", args.trace)).into());
        }
    }
    if args.request || args.response {
        return raw(&reader, &conversation.calls[0], args.request, trace);
    }
    let summary = &reader.trace(trace)?;
    let about = &conversation.about;
    if args.json {
        out::json(&Shown {
            summary,
            conversation: &conversation,
            command: &about.command,
            cwd: about.cwd.as_deref(),
            git_commit: about.git_commit.as_deref(),
            git_dirty: about.git_dirty,
        })?;
        return Ok(Exit::Pass);
    }
    let paint = global.paint();
    let mut text = heading(summary, about, paint);
    text.push_str(&agents(&conversation.agent_tree, paint));
    text.push_str(&origin(&conversation, paint));
    for call in &conversation.calls {
        text.push('\n');
        text.push_str(&one_call(call, args.full, paint));
    }
    text.push_str(&aside(&conversation, paint));
    out::text(text)?;
    Ok(Exit::Pass)
}

fn raw(reader: &Reader, call: &ShownCall, request: bool, trace: crate::trace::TraceId) -> anyhow::Result<Exit> {
    if request {
        out::bytes(&reader.request(call.call)?)?;
        return Ok(Exit::Pass);
    }
    for entry in reader.entries(trace)? {
        if let Kept::CallEnded(_, id, ended) = entry.what
            && id == call.call
        {
            out::bytes(&ended.body)?;
            return Ok(Exit::Pass);
        }
    }
    Err(Misuse(format!("call {} has no response", call.number)).into())
}

fn heading(summary: &TraceSummary, about: &TraceStarted, paint: out::Paint) -> String {
    let mut text = String::new();
    let name = summary.name.as_deref().unwrap_or("trace");
    let _ = writeln!(text, "{} {}", paint.bold(&out::printable(name)), paint.dim(&summary.id.to_string()));
    let mut line = |what: &str, value: String| {
        let _ = writeln!(text, "  {} {value}", paint.dim(&format!("{what:<8}")));
    };
    if !about.command.is_empty() {
        line("command", out::printable(&about.command.join(" ")));
    }
    if let Some(cwd) = &about.cwd {
        line("in", out::printable(cwd));
    }
    if let Some(commit) = &about.git_commit {
        let dirty = if about.git_dirty == Some(true) { ", with uncommitted changes" } else { "" };
        line("commit", out::printable(&format!("{}{dirty}", &commit.chars().take(12).collect::<String>())));
    }
    line("started", format!("{} UTC", summary.started));
    let mut status = list::status(summary, paint);
    if let Some(reason) = summary.reason.as_ref().or(summary.error.as_ref()) {
        let _ = write!(status, " · {}", out::printable(&out::shorten(reason, 160)));
    }
    line("status", status);
    let usage = &summary.usage;
    let mut figures =
        format!("{} calls · {}", summary.calls, out::duration(summary.last.micros_since(summary.started)));
    if usage.is_known() {
        let cached = usage.cache_read.filter(|&n| n > 0).map(|n| format!(" + {} cached", out::count(n)));
        let _ = write!(
            figures,
            " · {} in{} · {} out",
            out::count(usage.input.unwrap_or(0)),
            cached.unwrap_or_default(),
            out::count(usage.output.unwrap_or(0))
        );
    }
    let _ = write!(figures, " · {}", out::dollars(summary.cost_usd));
    if summary.unpriced_calls > 0 {
        let _ = write!(figures, " ({} calls of a model without a price not counted)", summary.unpriced_calls);
    }
    line("figures", figures);
    if summary.lost_calls > 0 {
        line("lost", paint.bad(&format!("{} calls were made and could not be stored", summary.lost_calls)));
    }
    text
}

/// The sub-agents, where there are any: one line each, children behind their parents.
fn agents(tree: &[ShownAgent], paint: out::Paint) -> String {
    let mut text = String::new();
    let deepest = tree.iter().map(|agent| agent.depth).max().unwrap_or(0);
    for (at, agent) in tree.iter().enumerate() {
        if at == 0 {
            let _ = writeln!(text, "  {} {} sub-agents, {deepest} deep", paint.dim("agents  "), tree.len());
        }
        let mut facts = vec![format!("{} calls", agent.calls)];
        if agent.failed_calls > 0 {
            facts.push(format!("{} failed", agent.failed_calls));
        }
        if agent.tokens > 0 {
            facts.push(format!("{} tokens", out::count(agent.tokens)));
        }
        if agent.cost_usd.is_some() {
            facts.push(out::dollars(agent.cost_usd));
        }
        let name = out::printable(&out::shorten(&agent.agent, 40));
        // However deep they go, the line stays readable.
        let indent = "  ".repeat(agent.depth.min(20));
        let _ = writeln!(text, "         {indent}{} {}", paint.name(&name), paint.dim(&facts.join(" · ")));
    }
    text
}

/// Where an imported trace comes from, and what it is good for.
fn origin(conversation: &Conversation, paint: out::Paint) -> String {
    let mut text = String::new();
    let notes = conversation.notes.iter().filter(|(_, note)| note.kind == Provenance::KIND);
    for origin in notes.filter_map(|(_, note)| serde_json::from_value::<Provenance>(note.data.clone()).ok()) {
        let from = out::printable(&format!("{}, {}", origin.format, origin.from));
        let _ = writeln!(text, "  {} {from}", paint.dim("imported"));
        let why = match origin.replay_grade {
            true => "yes: the requests are those that were sent".to_owned(),
            false => out::printable(&format!("no: {}", origin.why_not)),
        };
        let _ = writeln!(text, "  {} {why}", paint.dim("replay  "));
        let words = [(Source::Recorded, "recorded"), (Source::Imported, "imported"), (Source::Derived, "derived")];
        let fields = words.iter().filter_map(|(source, word)| {
            let of = origin.fields.iter().filter(|(_, from)| *from == source);
            let names: Vec<&str> = of.map(|(name, _)| name.as_str()).collect();
            (!names.is_empty()).then(|| format!("{word}: {}", names.join(", ")))
        });
        let fields = out::printable(&fields.collect::<Vec<_>>().join(" · "));
        let _ = writeln!(text, "  {} {fields}", paint.dim("fields  "));
    }
    text
}

fn one_call(call: &ShownCall, full: bool, paint: out::Paint) -> String {
    let mut text = String::new();
    let mut facts = vec![format!("{} {}", call.wire.as_str(), out::printable(&call.model)).trim_end().to_owned()];
    if let Some(agent) = &call.agent {
        facts.push(format!("agent {}", out::printable(agent)));
    }
    facts.push(match (call.took_us, call.first_content_us) {
        (Some(took), Some(first)) => format!("{} (first content {})", out::duration(took), out::duration(first)),
        (Some(took), None) => out::duration(took),
        (None, _) => "open".to_owned(),
    });
    if call.usage.is_known() {
        let read =
            call.usage.input.unwrap_or(0) + call.usage.cache_read.unwrap_or(0) + call.usage.cache_write.unwrap_or(0);
        facts.push(format!("{} in / {} out", out::count(read), out::count(call.usage.output.unwrap_or(0))));
    }
    if call.cost_usd.is_some() {
        facts.push(out::dollars(call.cost_usd));
    }
    if let Some(word) = place(call) {
        facts.push(word);
    }
    let _ = writeln!(text, "{} {}", paint.bold(&format!("#{}", call.number)), paint.dim(&facts.join(" · ")));
    for message in &call.new_messages {
        said(&mut text, message, full, paint);
    }
    if let Some(answer) = &call.answer {
        said(&mut text, answer, full, paint);
    }
    if let Some(error) = &call.error {
        let status = call.status.map(|status| format!("{status} ")).unwrap_or_default();
        let _ = writeln!(text, "  {} {status}{}", paint.bad("error    "), out::printable(&out::shorten(error, 300)));
    }
    match call.end {
        None | Some(CallEnd::Complete) => {}
        Some(end) => {
            let _ = writeln!(text, "  {} {}", paint.bad("ended    "), end.as_str().replace('_', " "));
        }
    }
    text
}

/// How a call hangs in the tree, when it isn't simply the next turn.
fn place(call: &ShownCall) -> Option<String> {
    if let Some(number) = call.retry_of {
        return Some(format!("retry of #{number}"));
    }
    let from = call.from.map(|number| format!(" of #{number}")).unwrap_or_default();
    match call.relation {
        Relation::Root => (call.number > 1).then(|| "new conversation".to_owned()),
        Relation::Extend => {
            call.from.filter(|from| from + 1 != call.number).map(|from| format!("goes on from #{from}"))
        }
        Relation::Retry => Some(format!("repeat{from}")),
        Relation::Fork => Some(format!("fork{from} after {} messages", call.kept_messages)),
        Relation::Reset => Some(format!("new history{from} (compacted)")),
    }
}

fn said(text: &mut String, message: &Message, full: bool, paint: out::Paint) {
    let who = match message.role {
        Role::System => paint.dim("system   "),
        Role::User => paint.name("user     "),
        Role::Assistant => paint.good("assistant"),
        Role::Tool => paint.dim("tool     "),
    };
    let mut line = |what: &str, words: &str| {
        let words = out::printable(&bounded(words, full));
        let mut lines = words.lines();
        let _ = writeln!(text, "  {who} {what}{}", lines.next().unwrap_or(""));
        for more in lines {
            let _ = writeln!(text, "            {more}");
        }
    };
    for part in &message.parts {
        match part {
            Part::Text { text } => line("", text),
            Part::Thinking { text, .. } if text.is_empty() => line(&paint.dim("(sealed thinking)"), ""),
            Part::Thinking { text, .. } => line(&paint.dim("thinks: "), text),
            Part::ToolCall(call) => line(
                &format!("{} ", paint.name(&format!("→ {}", out::printable(&call.name)))),
                &call.arguments.to_string(),
            ),
            Part::ToolResult(result) if result.is_error => line(&paint.bad("← error: "), &result.text),
            Part::ToolResult(result) => line("← ", &result.text),
            Part::Refusal { text } => line(&paint.bad("refuses: "), text),
            Part::Other { value } => line(&paint.dim("other: "), &value.to_string()),
        }
    }
}

fn bounded(words: &str, full: bool) -> String {
    if full || words.chars().count() <= SHORT {
        return words.to_owned();
    }
    let kept: String = words.chars().take(SHORT).collect();
    format!("{kept}… ({} characters more, --full shows them)", words.chars().count() - SHORT)
}

/// Notes and scores, after the calls.
fn aside(conversation: &Conversation, paint: out::Paint) -> String {
    let mut text = String::new();
    for (at, note) in conversation.notes.iter().filter(|(_, note)| note.kind != Provenance::KIND) {
        let _ = writeln!(
            text,
            "\n{} {}",
            paint.dim(&format!("{at} {}", out::printable(&note.kind))),
            out::printable(&out::shorten(&note.data.to_string(), 200))
        );
    }
    for (_, score) in &conversation.scores {
        let value = score.value.map(|value| value.to_string()).or_else(|| score.label.clone()).unwrap_or_default();
        let _ = writeln!(
            text,
            "\nscore {} {} {}",
            paint.bold(&out::printable(&score.name)),
            out::printable(&value),
            paint.dim(&out::printable(&format!("by {}", score.by)))
        );
    }
    text
}
