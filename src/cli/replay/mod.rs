//! `holdback replay`: a recorded run again, from its tape, or from its tape up to a call and live from there.

mod keys;
mod origin;
mod place;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::models::{self, Change};
use super::record::{self, ToolUrl, environment};
use super::recording::{Limits, Recording};
use super::{Exit, Global, Misuse, out, tapes, traces};
use crate::capture::record::{self as story, Played, Recorded};
use crate::capture::{Fork, Pace, TapeSettings, Taped};
use crate::replay::{Ignore, KeptTool, Match, NotATape, Player, Report, Tape, ToolModes, ToolTape};
use crate::report::replay as render;
use crate::store::log::Reader;
use crate::trace::{Source, TraceId};
use place::{Place, Placing};

#[derive(Debug, Args)]
#[command(
    after_help = "The recorded command runs again (or the one after `--`), its calls are answered from the recording, and nothing \
                  leaves this machine. It works in a copy of the recorded work tree, never in your own files.\n\
                  Exit code: 0 it went the recorded way, 1 it left it, 4 it could not be replayed.\n\nExamples:\n  \
                  holdback replay last\n  \
                  holdback replay nightly -- python agent.py --new-flag\n  \
                  holdback replay last --from 4 --model anthropic/claude-haiku-4-5 --set temperature=0"
)]
pub struct Replay {
    /// Id, beginning of an id, name, or `last`
    trace: String,
    /// How alike a request and the recorded one have to be
    #[arg(long = "match", value_name = "HOW", value_enum, default_value_t = How::Normal)]
    how: How,
    /// A JSON path of requests that doesn't count, like $.metadata.run; any number of them
    #[arg(long, value_name = "PATH")]
    ignore: Vec<String>,
    /// Let requests that are not on the tape through to the real provider, and mark them
    #[arg(long)]
    loose: bool,
    /// Put recorded results in the place of tools: of MCP servers behind `holdback tool-tape` and of what --tool-url names. strict (the
    /// same arguments, which is the default), fifo (in the recorded order) or live; NAME=MODE for one tool or server
    #[arg(long, value_name = "[NAME=]MODE", num_args = 0..=1, require_equals = true, default_missing_value = "", value_delimiter = ',')]
    tape_tools: Option<Vec<String>>,
    /// A tool behind HTTP, where it isn't at the address it was recorded with
    #[arg(long, value_name = "NAME=URL")]
    tool_url: Vec<String>,
    /// How fast answers come: at once, or as they came when they were recorded
    #[arg(long, value_name = "PACE", value_enum, default_value_t = Speed::Full)]
    pace: Speed,
    /// Work in a copy of the recorded work tree, in a folder of your choice when one is given (this is the default)
    #[arg(long, value_name = "DIR", num_args = 0..=1, conflicts_with = "in_place")]
    worktree: Option<Option<std::path::PathBuf>>,
    /// Work in the current folder as it is, over your own files
    #[arg(long)]
    in_place: bool,
    /// Go live from this call on: the first live call, by its number in `holdback traces show`
    #[arg(long, value_name = "N")]
    from: Option<usize>,
    #[command(flatten)]
    change: Change,
    /// A name for the new trace
    #[arg(long)]
    name: Option<String>,
    /// Write the divergence report as a page
    #[arg(long, value_name = "FILE")]
    html: Option<std::path::PathBuf>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    recording: Recording,
    /// Print one JSON document; the command's own output goes to stderr
    #[arg(long)]
    json: bool,
    /// The command to run instead of the recorded one, after `--`
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    command: Vec<String>,
}

/// How alike a request and the recorded one have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum How {
    /// The same bytes, cache marks aside
    Strict,
    /// The same to the model: ids, times, process numbers, the order of parallel results aside
    Normal,
    /// The same course: who spoke and which tools were called
    Lenient,
}

impl From<How> for Match {
    fn from(how: How) -> Match {
        match how {
            How::Strict => Match::Strict,
            How::Normal => Match::Normal,
            How::Lenient => Match::Lenient,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Speed {
    Full,
    Real,
}

/// JSON paths from the command line.
pub fn paths(given: &[String]) -> anyhow::Result<Vec<Ignore>> {
    given.iter().map(|path| path.parse().map_err(|error| Misuse(format!("--ignore {error}")).into())).collect()
}

/// Runs a trace again.
pub fn run(global: &Global, args: Replay) -> anyhow::Result<Exit> {
    let store = global.existing_store()?;
    let reader = Arc::new(store.reader()?);
    let trace = traces::resolve(&reader, &args.trace)?;
    let stored = tapes::read(&reader, trace)?;
    let fork = fork(&args)?;
    let settings = args.recording.settings(&store, args.limits.clone())?;
    let about = stored.about;
    let urls = tool_urls(&args.tool_url, &about.tags)?;
    let command = if args.command.is_empty() { about.command.clone() } else { args.command.clone() };
    check(&args, &command, stored.reel.calls.len())?;
    if about.source == Source::Imported && !args.loose {
        may_be_played(&reader, trace)?;
    }
    let parent_call = args.from.and_then(|from| stored.reel.calls.get(from.checked_sub(1)?)).map(|call| call.call);
    let tape = Tape::new(stored.reel, args.how.into(), paths(&args.ignore)?, args.loose)?;
    let place = Place::find(&Placing {
        state: stored.state,
        recorded_cwd: about.cwd.as_deref(),
        own_command: !args.command.is_empty(),
        in_place: args.in_place,
        chosen: args.worktree.clone().flatten(),
        store: store.dir(),
    })?;
    if !args.json {
        eprintln!("holdback: {}", place.says);
    }
    let tools = tools(&args, &tape.0, stored.tools)?;
    let live = args.loose || args.from.is_some();
    let keys = if live { Vec::new() } else { keys::dummies(tape.0.calls(), about.agent.as_deref(), &environment()) };
    let redacted = tape.0.redacted_answers();
    if redacted > 0 {
        eprintln!("holdback: secrets were replaced in {redacted} answers of this tape: the loop gets placeholders");
    }
    let command = command.iter().map(|word| place.roots.word(word)).collect();
    let player = Player::new(tape, place.roots.clone(), Some(settings.proxy.redactor.clone()));
    let pace = if args.pace == Speed::Real { Pace::Real } else { Pace::Full };
    let with_tools = tools.is_some();
    let taped = Arc::new(Taped::new(player, TapeSettings { pace, loose: args.loose, fork }).with_tools(tools));
    let mut proxy = settings.proxy;
    proxy.content = about.content;
    let record = story::Record {
        command,
        name: args.name.clone(),
        tags: vec![("replay_of".to_owned(), trace.to_string())],
        cwd: place.dir.clone(),
        environment: environment(),
        brakes: settings.brakes,
        proxy,
        workspace: true,
        leave_out: Some(store.dir().to_owned()),
        intercept: None,
        tools: urls.into_iter().map(|tool| (tool.name, tool.live)).collect(),
        played: Some(Played {
            answers: taped.clone(),
            parent: (trace, parent_call),
            aside: args.json,
            tools: with_tools,
            variables: keys,
            enough: taped.enough(),
        }),
    };
    let writer = store.writer()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let recorded = runtime.block_on(story::record(record, writer))?;
    runtime.shutdown_timeout(Duration::from_millis(100));
    let report = taped.report(recorded.trace);
    tell(global, &args, &report, &recorded)
}

/// What can't be done is said before anything is.
fn check(args: &Replay, command: &[String], calls: usize) -> anyhow::Result<()> {
    let misuse = |why: String| Err(Misuse(why).into());
    if args.from.is_none() && !args.change.is_empty() {
        return misuse("what is asked otherwise is asked live: say from which call on with --from N".to_owned());
    }
    if command.is_empty() {
        return misuse(format!("{} was not recorded from a command: give one after --", args.trace));
    }
    if args.command.is_empty() && command.iter().any(|word| word.contains("[redacted:")) {
        return misuse(
            "the recorded command had a secret in it, which was not kept: give the command after --".to_owned(),
        );
    }
    match args.from {
        Some(from) if from == 0 || from > calls + 1 => {
            misuse(format!("--from {from}: the trace has calls 1 to {calls}"))
        }
        _ => Ok(()),
    }
}

/// What an imported trace rests on may be no tape.
fn may_be_played(reader: &Arc<Reader>, trace: TraceId) -> anyhow::Result<()> {
    match origin::why_not(reader, trace)? {
        Some(why) => Err(NotATape { trace, missing: vec![why] }.into()),
        None => Ok(()),
    }
}

/// What stands in for tools, where something shall.
fn tools(args: &Replay, tape: &Tape, kept: Vec<KeptTool>) -> anyhow::Result<Option<ToolTape>> {
    let Some(words) = &args.tape_tools else { return Ok(None) };
    let modes = ToolModes::read(words.iter().map(String::as_str));
    let modes = modes.map_err(|error| Misuse(format!("--tape-tools: {error}")))?;
    let tools = ToolTape::new(tape, kept, modes);
    if !args.json {
        eprintln!("holdback: {} recorded results stand in for tools", tools.results());
    }
    Ok(Some(tools))
}

/// Tools behind HTTP: those it was recorded with, and those given, which win.
fn tool_urls(given: &[String], tags: &[(String, String)]) -> anyhow::Result<Vec<ToolUrl>> {
    let mut urls = record::tool_urls(given)?;
    let recorded = tags.iter().filter(|(name, _)| name == record::TOOL_URL).map(|(_, url)| url);
    for tool in record::tool_urls(recorded)? {
        if !urls.iter().any(|known| known.name == tool.name) {
            urls.push(tool);
        }
    }
    Ok(urls)
}

fn fork(args: &Replay) -> anyhow::Result<Option<Fork>> {
    let Some(from) = args.from else { return Ok(None) };
    let models::Changed { edits, upstream, keys } = args.change.read(&environment())?;
    Ok(Some(Fork { from, edits, upstream, keys }))
}

fn tell(global: &Global, args: &Replay, report: &Report, recorded: &Recorded) -> anyhow::Result<Exit> {
    if let Some(path) = &args.html {
        out::publish(path, |file| {
            use std::io::Write;
            file.write_all(render::html(report).as_bytes()).context("writing the report")
        })?;
        eprintln!("wrote {}", path.display());
    }
    if args.json {
        let mut document = serde_json::to_value(report)?;
        document["exit_code"] = json!(recorded.exit_code());
        document["outcome"] = json!(recorded.outcome);
        document["cost_usd"] = json!(recorded.totals.cost_usd);
        out::json(&document)?;
    } else {
        out::text(out::printable(&render::text(report)))?;
        let name = global.paint().name(&recorded.trace.to_string()[..8]);
        eprintln!("holdback: trace {name}, exit code of the command {}", recorded.exit_code());
    }
    Ok(if report.divergences == 0 { Exit::Pass } else { Exit::Regression })
}
