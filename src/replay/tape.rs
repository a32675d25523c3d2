//! A recorded trace made ready to be played: what each of its requests was, and what was answered.

use std::sync::Arc;

use bytes::Bytes;

use super::ignore::Ignore;
use super::shape::{Canons, Match, Shape, Sketch};
use crate::context::{Blocks, Outline, outline};
use crate::trace::{CallEnd, CallEnded, CallId, CallStarted, Content, Source, TraceId};

/// A trace that cannot be played, and what it lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("trace {trace} cannot be replayed: {}", missing.join("; "))]
pub struct NotATape {
    pub trace: TraceId,
    pub missing: Vec<String>,
}

/// A recorded call, as the log keeps it.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub call: CallId,
    /// Its `body` may be empty: the outline says what was in it.
    pub request: CallStarted,
    pub outline: Outline,
    /// `None` for a call that never ended.
    pub ended: Option<Box<CallEnded>>,
}

/// Puts a recorded request together, for those who want to read it.
pub type Bodies = dyn Fn(CallId) -> Option<Bytes> + Send + Sync;

/// A call on the tape.
#[derive(Debug, Clone)]
pub struct TapeCall {
    pub call: CallId,
    /// From 1, in the order in which they were asked.
    pub number: usize,
    pub request: CallStarted,
    pub ended: CallEnded,
    pub(super) shape: Shape,
}

/// A trace, ready to be played.
pub struct Tape {
    pub trace: TraceId,
    pub how: Match,
    pub(super) ignore: Vec<Ignore>,
    pub(super) calls: Vec<TapeCall>,
    /// Requests had secrets in them that were replaced: what comes in has to be read the same way.
    pub(super) redacted: bool,
    bodies: Box<Bodies>,
}

/// What a tape is made from.
pub struct Reel {
    pub trace: TraceId,
    pub content: Content,
    pub source: Source,
    /// Calls that were made and could not be kept.
    pub lost_calls: u64,
    pub calls: Vec<Recorded>,
    pub blocks: Arc<Blocks>,
    pub bodies: Box<Bodies>,
}

impl Tape {
    /// Makes a trace ready. `Ok` has a tape; with `loosely`, what is missing is no obstacle.
    ///
    /// # Errors
    /// When what was recorded is not enough to answer from.
    pub fn new(reel: Reel, how: Match, ignore: Vec<Ignore>, loosely: bool) -> Result<(Self, Canons), NotATape> {
        Self::make(reel, how, ignore, loosely, false)
    }

    /// The same from whole bodies, where those are not what the outlines say: folders in them were turned round.
    ///
    /// # Errors
    /// When there is nothing to compare.
    pub fn with_bodies(reel: Reel, how: Match, ignore: Vec<Ignore>) -> Result<(Self, Canons), NotATape> {
        Self::make(reel, how, ignore, true, true)
    }

    fn make(
        reel: Reel,
        how: Match,
        ignore: Vec<Ignore>,
        loosely: bool,
        whole: bool,
    ) -> Result<(Self, Canons), NotATape> {
        let missing = missing(&reel);
        if !missing.is_empty() && (!loosely || reel.calls.is_empty()) {
            return Err(NotATape { trace: reel.trace, missing });
        }
        let mut canons = Canons::default();
        let mut calls = Vec::with_capacity(reel.calls.len());
        let mut redacted = false;
        for (recorded, number) in reel.calls.into_iter().zip(1..) {
            let Recorded { call, request, outline, ended } = recorded;
            redacted |= request.redactions > 0;
            let shape = match ignore.is_empty() && !whole {
                true => {
                    let sketch = Sketch { wire: request.wire, target: &request.target, outline: &outline };
                    sketch.shape(&mut canons, &|id| reel.blocks.get(id).cloned())
                }
                false => {
                    let body = (reel.bodies)(call).unwrap_or_default();
                    shape_of(&request, &blanked(body, &ignore), &mut canons)
                }
            };
            let lost = || CallEnded { end: CallEnd::Lost, ..CallEnded::default() };
            calls.push(TapeCall { call, number, request, ended: ended.map_or_else(lost, |ended| *ended), shape });
        }
        Ok((Tape { trace: reel.trace, how, ignore, calls, redacted, bodies: reel.bodies }, canons))
    }

    /// Its calls, in the order in which they were asked.
    pub fn calls(&self) -> &[TapeCall] {
        &self.calls
    }

    /// How many answers are not what the provider said word for word, because secrets in them were replaced.
    pub fn redacted_answers(&self) -> usize {
        self.calls.iter().filter(|call| call.ended.redactions > 0).count()
    }

    /// A recorded request's body.
    pub fn body(&self, at: usize) -> Option<Bytes> {
        (self.bodies)(self.calls.get(at)?.call)
    }
}

/// A request without what is not to be looked at.
pub(super) fn blanked(body: Bytes, ignore: &[Ignore]) -> Bytes {
    let Ok(mut value) = serde_json::from_slice(&body) else { return body };
    for path in ignore {
        path.blank(&mut value);
    }
    value.to_string().into()
}

/// A whole body, boiled down.
pub(super) fn shape_of(request: &CallStarted, body: &[u8], canons: &mut Canons) -> Shape {
    let mut fresh = Blocks::new();
    let (pieces, _) =
        outline(body, None, |id, name| canons.knows(id, name), |id, _, bytes| drop(fresh.insert(id, bytes.into())));
    let sketch = Sketch { wire: request.wire, target: &request.target, outline: &pieces };
    sketch.shape(canons, &|id| fresh.get(id).cloned())
}

fn missing(reel: &Reel) -> Vec<String> {
    let mut missing = Vec::new();
    if reel.calls.is_empty() {
        missing.push("it has no calls".to_owned());
    }
    if reel.content == Content::None {
        missing.push("it was recorded with `--content none`, so what was said is not in it".to_owned());
    }
    if reel.lost_calls > 0 {
        missing.push(format!("{} of its calls could not be kept when it was recorded", reel.lost_calls));
    }
    let numbers = |wanted: &dyn Fn(&Recorded) -> bool| {
        let found: Vec<String> = reel
            .calls
            .iter()
            .zip(1..)
            .filter(|(call, _)| wanted(call))
            .map(|(_, number): (_, usize)| number.to_string())
            .collect();
        (!found.is_empty()).then(|| found.join(", "))
    };
    if let Some(which) = numbers(&|call| call.ended.is_none()) {
        missing.push(format!("the recording broke off before call {which} was answered"));
    }
    let silent = |call: &Recorded| {
        let ended = call.ended.as_deref();
        ended.is_some_and(|ended| ended.end == CallEnd::Complete && ended.status.is_none())
    };
    if let Some(which) = numbers(&silent) {
        missing.push(format!("the answer of call {which} was not recorded as it came"));
    }
    if reel.source == Source::Imported {
        let bare = |call: &Recorded| {
            call.ended.as_deref().is_some_and(|ended| ended.body.is_empty() && ended.status == Some(200))
        };
        if let Some(which) = numbers(&bare) {
            missing.push(format!("it was imported, and the answer of call {which} has no bytes"));
        }
    }
    if let Some(which) =
        numbers(&|call| call.outline.is_empty() && call.request.body.is_empty() && call.request.method == "POST")
    {
        missing.push(format!("the request of call {which} is damaged (`holdback doctor` says more)"));
    }
    missing
}
