//! A tape behind the proxy: recorded answers in place of a provider's, and from a given call on a live model's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::watch;

use super::reading::DECODED;
use super::recorder::agents;
use super::upstream::{Answer, Answers, Asked, Elsewhere, Reply};
use super::{forward, mock};
use crate::provider;
use crate::replay::{
    Asking, CALL, Divergence, Edited, Edits, Played, Player, Report, TapeCall, ToolAsked, ToolPlayed, ToolTape,
};
use crate::trace::{CallEnd, CallId, Headers, Note, TraceId};

/// The upstream that recorded answers come from.
pub const TAPE: &str = "tape";

/// Who goes on asking after so many refusals is ended: a loop may take no for an answer or not.
const ENOUGH: u64 = 40;

/// How fast answers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// At once.
    #[default]
    Full,
    /// As slowly as they came when they were recorded.
    Real,
}

/// From where on a live model answers, and which.
#[derive(Debug, Clone)]
pub struct Fork {
    /// The first call, by its number on the tape, that is asked live.
    pub from: usize,
    pub edits: Edits,
    /// The upstream's name; the call's own where `None`.
    pub upstream: Option<String>,
    /// Headers with the key, where the upstream is another.
    pub keys: Headers,
}

/// How a tape is played.
#[derive(Debug, Clone, Default)]
pub struct TapeSettings {
    pub pace: Pace,
    /// Let requests that are not on the tape through to the real provider, and mark them.
    pub loose: bool,
    pub fork: Option<Fork>,
}

/// A tape as an upstream.
pub struct Taped {
    player: Mutex<Player>,
    /// The tools' recorded results, where tools are replayed too.
    tools: Option<Mutex<ToolTape>>,
    settings: TapeSettings,
    refused: AtomicU64,
    enough: watch::Sender<bool>,
    live: Mutex<Vec<Note>>,
}

impl Taped {
    /// Puts a player behind the proxy.
    pub fn new(player: Player, settings: TapeSettings) -> Self {
        let (refused, live) = (AtomicU64::new(0), Mutex::default());
        Taped { player: Mutex::new(player), tools: None, settings, refused, enough: watch::Sender::new(false), live }
    }

    /// Puts recorded results in the place of the tools.
    #[must_use]
    pub fn with_tools(self, tools: Option<ToolTape>) -> Self {
        Taped { tools: tools.map(Mutex::new), ..self }
    }

    /// True once the loop asks on and on though nothing answers.
    pub fn enough(&self) -> watch::Receiver<bool> {
        self.enough.subscribe()
    }

    /// What came of it so far.
    pub fn report(&self, trace: TraceId) -> Report {
        self.player().report(trace)
    }

    fn player(&self) -> MutexGuard<'_, Player> {
        self.player.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, asked: &Asked<'_>, kind: &str, why: &str) -> Answer {
        if self.refused.fetch_add(1, Ordering::Relaxed) >= ENOUGH {
            self.enough.send_replace(true);
        }
        Answer::Reply(forward::refusal(provider::refusal(asked.wire, kind, why), 0))
    }

    fn note(&self, call: CallId, data: serde_json::Value) {
        let note = Note { kind: "replay".to_owned(), call: Some(call), data };
        self.live.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }

    /// A request that the tape has no answer for.
    fn unmatched(&self, asked: &Asked<'_>, divergence: &Divergence) -> Answer {
        if self.settings.loose {
            self.player().went_live(asked.call, true);
            self.note(asked.call, json!({ "let_through": divergence.says }));
            return match mock::answer(asked) {
                Some(reply) => Answer::Reply(reply),
                None => Answer::Live,
            };
        }
        let hint = "`holdback replay --loose` lets such requests through";
        self.refuse(asked, "no_match", &format!("this request is not on the tape: {}; {hint}", divergence.says))
    }

    /// A call that the fork is about.
    fn forked(&self, fork: &Fork, asked: &Asked<'_>) -> Answer {
        let edited = match fork.edits.apply(asked.wire, asked.target, asked.body) {
            Ok(edited) => edited,
            Err(error) => return self.refuse(asked, "cannot_fork", &error.to_string()),
        };
        self.player().went_live(asked.call, false);
        let Edited { wire, target, headers, body, lost } = edited;
        let model = fork.edits.model.as_ref().map(|(model, _)| model.as_str());
        self.note(
            asked.call,
            json!({ "live": true, "model": model, "upstream": fork.upstream, "asked_in": wire, "not_carried": lost }),
        );
        let asked_now = Asked { target: &target, body: &body, ..*asked };
        if wire == asked.wire
            && let Some(reply) = mock::answer(&asked_now)
        {
            return Answer::Reply(reply);
        }
        let stream = provider::request(asked.wire, asked.target, asked.body).is_ok_and(|request| request.stream);
        let headers = match (headers, fork.keys.is_empty()) {
            (None, true) => None,
            // The same format at another provider: everything but the key goes up as it came.
            (None, false) => Some(with_keys(asked.headers, &fork.keys)),
            (Some(list), _) => Some(list.into_iter().chain(fork.keys.iter().cloned()).collect()),
        };
        Answer::Elsewhere(Box::new(Elsewhere { upstream: fork.upstream.clone(), target, headers, body, wire, stream }))
    }

    fn reply(&self, asked: &Asked<'_>, at: usize) -> Answer {
        let player = self.player();
        let Some(call) = player.tape().calls().get(at) else { return Answer::Live };
        match call.ended.end {
            CallEnd::Lost => {
                let why = format!("recorded call {} has no answer on the tape", call.number);
                drop(player);
                self.refuse(asked, "no_answer_recorded", &why)
            }
            CallEnd::NoAnswer => {
                let why = call.ended.summary.error.clone().unwrap_or_else(|| "no answer".to_owned());
                let (status, mut headers, body) = provider::refuse(asked.wire, 502, "", &why);
                headers.retain(|(name, _)| name != "x-should-retry");
                let chunks = vec![(Duration::ZERO, body)];
                Answer::Reply(Reply { upstream: TAPE.to_owned(), status, headers, chunks, end: CallEnd::Complete })
            }
            end => Answer::Reply(recorded(call, &player, self.settings.pace, end)),
        }
    }
}

impl Answers for Taped {
    fn answer(&self, asked: &Asked<'_>) -> Answer {
        let (agent, parent_agent) = agents(asked.headers);
        let asking = Asking {
            call: asked.call,
            wire: asked.wire,
            target: asked.target,
            body: asked.body,
            agent: agent.as_deref(),
            parent_agent: parent_agent.as_deref(),
        };
        let (played, forked) = {
            let mut player = self.player();
            let played = player.ask(&asking);
            let forked = self.settings.fork.as_ref().filter(|fork| match &played {
                Played::Call(at) => player.tape().calls().get(*at).is_some_and(|call| call.number >= fork.from),
                // Beyond the first live answer the loop says what nobody has recorded.
                Played::Nothing(_) => player.is_live() || fork.from > player.tape().calls().len(),
            });
            if forked.is_some() {
                player.forgive(asked.call);
            }
            (played, forked)
        };
        match (forked, played) {
            (Some(fork), _) => self.forked(fork, asked),
            (None, Played::Call(at)) => self.reply(asked, at),
            (None, Played::Nothing(divergence)) => self.unmatched(asked, &divergence),
        }
    }

    fn tool(&self, asked: &ToolAsked<'_>) -> ToolPlayed {
        let Some(tools) = &self.tools else { return ToolPlayed::Live };
        let mut player = self.player();
        // As it would have been asked then, and answered as it has to be now: the folder may be another.
        let played = match *asked {
            ToolAsked::Rpc { server, method, params } => {
                let params = player.as_recorded(Bytes::from(params.to_string()));
                let params = serde_json::from_slice(&params).unwrap_or_default();
                locked(tools).ask(&ToolAsked::Rpc { server, method, params: &params })
            }
            ToolAsked::Http { server, method, target, body } => {
                let body = player.as_recorded(Bytes::copy_from_slice(body.as_bytes()));
                let body = String::from_utf8_lossy(&body);
                locked(tools).ask(&ToolAsked::Http { server, method, target, body: &body })
            }
        };
        match played {
            ToolPlayed::Missing(why) => {
                player.tool_missing(&why, self.settings.loose);
                if self.settings.loose { ToolPlayed::Live } else { ToolPlayed::Missing(why) }
            }
            ToolPlayed::Rpc(answer) => {
                let moved = player.roots().forth(Bytes::from(answer.to_string()));
                ToolPlayed::Rpc(serde_json::from_slice(&moved).unwrap_or(answer))
            }
            ToolPlayed::Http(mut answer) => {
                let moved = player.roots().forth(Bytes::from(answer.body));
                answer.body = String::from_utf8_lossy(&moved).into_owned();
                ToolPlayed::Http(answer)
            }
            ToolPlayed::Live => {
                let real = match *asked {
                    ToolAsked::Rpc { method: CALL, params, .. } => params["name"].as_str().map(str::to_owned),
                    ToolAsked::Rpc { .. } => None,
                    ToolAsked::Http { server, .. } => Some(server.to_owned()),
                };
                if let Some(tool) = real {
                    let note = Note { kind: "replay".to_owned(), call: None, data: json!({ "live_tool": tool }) };
                    self.live.lock().unwrap_or_else(PoisonError::into_inner).push(note);
                }
                ToolPlayed::Live
            }
        }
    }

    fn offline(&self) -> bool {
        !self.settings.loose
    }

    fn notes(&self, trace: TraceId) -> Vec<Note> {
        let mut notes = std::mem::take(&mut *self.live.lock().unwrap_or_else(PoisonError::into_inner));
        let report = self.report(trace);
        let data = json!({
            "of": report.recorded, "calls": report.calls, "matched": report.matched, "live": report.live,
            "divergences": report.divergences, "first": report.first,
        });
        notes.push(Note { kind: "replay".to_owned(), call: report.first.as_ref().and_then(|first| first.call), data });
        notes
    }
}

fn locked(tools: &Mutex<ToolTape>) -> MutexGuard<'_, ToolTape> {
    tools.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_keys(headers: &Headers, keys: &Headers) -> Headers {
    let of_another = ["authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie", "host"];
    let kept = headers.iter().filter(|(name, _)| !of_another.contains(&name.to_ascii_lowercase().as_str()));
    kept.cloned().chain(keys.iter().cloned()).collect()
}

/// The recorded answer, in the pieces it came in.
fn recorded(call: &TapeCall, player: &Player, pace: Pace, end: CallEnd) -> Reply {
    let ended = &call.ended;
    let roots = player.roots();
    let (body, moved) = match roots.concern_answer(call.request.wire, ended) {
        Some(body) => (body, true),
        None => (ended.body.clone(), false),
    };
    let mut chunks = Vec::with_capacity(ended.chunks.len());
    let (mut at, mut before) = (0_usize, 0);
    for chunk in &ended.chunks {
        let wait =
            if pace == Pace::Real { Duration::from_micros(chunk.at.saturating_sub(before)) } else { Duration::ZERO };
        before = chunk.at;
        let len = usize::try_from(chunk.len).unwrap_or(usize::MAX);
        let upto = at.saturating_add(len).min(body.len());
        if moved {
            // The pieces have other lengths now: all of it comes with the last one.
            chunks.push((wait, Bytes::new()));
        } else {
            chunks.push((wait, body.slice(at..upto)));
        }
        at = upto;
    }
    match chunks.last_mut() {
        Some((_, last)) if moved => *last = body,
        None if !body.is_empty() => chunks.push((Duration::ZERO, body)),
        Some(_) | None => {}
    }
    // An empty piece would end the body before its time.
    let mut wait = Duration::ZERO;
    chunks.retain_mut(|(own, piece)| {
        wait += *own;
        let keep = !piece.is_empty();
        if keep {
            *own = std::mem::take(&mut wait);
        }
        keep
    });
    let headers = ended.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(DECODED)).cloned().collect();
    let end = match end {
        CallEnd::ClientGone | CallEnd::Cut => CallEnd::Cut,
        end => end,
    };
    Reply { upstream: TAPE.to_owned(), status: ended.status.unwrap_or(200), headers, chunks, end }
}
