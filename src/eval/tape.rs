//! A trial against a tape: the suite's loop, answered from a recording, to its end or up to a call.

use std::sync::Arc;

use super::ask;
use super::plan::{self, Slot};
use super::recorded::Reeled;
use super::trial::Shared;
use super::workspace::Workspace;
use crate::capture::{Fork, TapeSettings, Taped};
use crate::provider::{self, mock};
use crate::replay::{BadPath, Edits, Ignore, Kind, Match, Player, Report, Roots, Tape, ToolModes, ToolTape};
use crate::suite::Likeness;
use crate::trace::{Headers, TraceId, Wire};
use crate::trial::{Departure, Replayed, Variant};

/// A tape, ready for one trial.
pub(super) struct Play {
    pub taped: Arc<Taped>,
    pub of: TraceId,
    /// The store has the recording.
    pub stored: bool,
    /// The model that was asked when it was recorded, as `provider/model`: what the loop asks for must not depend on the model
    /// under test, or no request would be the recorded one.
    pub model: String,
}

/// Makes a task's tape ready for a trial, apart from the async threads; `None` for tasks without one.
pub(super) async fn ready(
    shared: &Arc<Shared>,
    slot: &Slot,
    workspace: Option<Workspace>,
) -> (Option<Workspace>, Result<Option<Play>, String>) {
    let (workspace, word) = match (workspace, &shared.task(slot).tape) {
        (Some(workspace), Some(word)) => (workspace, word.clone()),
        (other, _) => return (other, Ok(None)),
    };
    let (theirs, slot) = (shared.clone(), slot.clone());
    let ready = tokio::task::spawn_blocking(move || {
        let play = play(&theirs, &slot, &word, &workspace);
        (Some(workspace), play.map(Some))
    });
    ready.await.unwrap_or_else(|_| (None, Err("the tape could not be made ready".to_owned())))
}

fn play(shared: &Shared, slot: &Slot, word: &str, workspace: &Workspace) -> Result<Play, String> {
    let suite = &shared.loaded.suite;
    let task = shared.task(slot);
    let cannot = |why: String| format!("the tape {word:?} can't be played: {why}");
    let Reeled { reel, tools, cwd, trial, stored } = shared.traces.tape(word)?;
    let of = reel.trace;
    let ignore: Result<Vec<Ignore>, BadPath> = suite.ignore.iter().map(|path| path.parse()).collect();
    let ignore = ignore.map_err(|error| cannot(error.to_string()))?;
    let how = match suite.likeness {
        Likeness::Strict => Match::Strict,
        Likeness::Normal => Match::Normal,
        Likeness::Lenient => Match::Lenient,
    };
    let (tape, canons) = Tape::new(reel, how, ignore, false).map_err(|error| cannot(error.to_string()))?;
    let count = tape.calls().len();
    if let Some(from) = task.live_from.filter(|from| *from > count + 1) {
        return Err(cannot(format!("live_from is {from}, and it has calls 1 to {count}")));
    }
    let modes =
        ToolModes::read(task.tape_tools.iter().map(String::as_str)).map_err(|error| cannot(error.to_string()))?;
    let tools = (!task.tape_tools.is_empty()).then(|| ToolTape::new(&tape, tools, modes));
    let model = model(&tape);
    let mut roots = Roots::none();
    if let Some(then) = &cwd {
        roots.add(then, &workspace.dir.to_string_lossy());
        // Home and temporary folder stand beside the workspace, then as now.
        if let (true, Some((then, _))) = (trial, then.rsplit_once('/')) {
            roots.add(then, &workspace.home.to_string_lossy());
        }
    }
    let fork = task.live_from.map(|from| fork(shared, shared.variant(slot), from));
    let player = Player::new((tape, canons), roots, Some(shared.redactor.clone()));
    let settings = TapeSettings { fork, ..TapeSettings::default() };
    let taped = Taped::new(player, settings).with_tools(tools);
    Ok(Play { taped: Arc::new(taped), of, stored, model })
}

/// The model that the first recorded call asked for.
fn model(tape: &Tape) -> String {
    let Some(first) = tape.calls().first() else { return String::new() };
    let (wire, target) = (first.request.wire, &first.request.target);
    let asked = tape.body(0).and_then(|body| provider::request(wire, target, &body).ok());
    let name = asked.map(|request| request.model).unwrap_or_default();
    let provider = match wire {
        Wire::AnthropicMessages => "anthropic",
        Wire::OpenaiChat | Wire::OpenaiResponses => "openai",
        Wire::Gemini => "gemini",
        _ => first.request.upstream.as_str(),
    };
    if name.is_empty() || mock::is_mock(&name) { name } else { format!("{provider}/{name}") }
}

/// From a call on the model under test answers; a loop that picks its own asks its own.
fn fork(shared: &Shared, variant: &Variant, from: usize) -> Fork {
    let set = variant.params.clone().into_iter().collect();
    if variant.model == plan::OWN_LOOP {
        let edits = Edits { set, ..Edits::default() };
        return Fork { from, edits, upstream: None, keys: Headers::new() };
    }
    let model = shared.model(variant);
    let address = ask::address(&model);
    let (wire, upstream) = match mock::is_mock(&model) {
        true => (Wire::Raw, None),
        false => (address.wire, Some(address.upstream)),
    };
    let keys = shared.keys.get(model.split('/').next().unwrap_or_default()).cloned().unwrap_or_default();
    let edits = Edits { model: Some((address.model, wire)), set, ..Edits::default() };
    Fork { from, edits, upstream, keys }
}

/// What came of it, as the trial keeps it.
pub(super) fn replayed(report: &Report) -> Replayed {
    let first = report.first.as_ref().map(|first| Departure {
        kind: kind(first.kind).to_owned(),
        number: first.number,
        recorded_number: first.recorded_number,
        says: first.says.clone(),
        tool: first.cause.as_ref().map(|cause| cause.tool.clone()),
    });
    Replayed {
        of: report.recorded,
        calls: report.calls,
        matched: report.matched,
        live: report.live,
        divergences: report.divergences,
        first,
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Changed => "changed",
        Kind::Repeated => "repeated",
        Kind::Extra => "extra",
        Kind::Missing => "missing",
        Kind::Tool => "tool",
        Kind::Answer => "answer",
    }
}
