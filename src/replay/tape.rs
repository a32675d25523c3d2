//! A recorded trace made ready to be played: what each of its requests was, and what was answered.

use std::sync::Arc;

use bytes::Bytes;

use super::ignore::Ignore;
use super::shape::{Canons, Match, Shape, Sketch, Trails};
use super::socket::{self, OverHttp};
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
    /// Calls that were not made over plain HTTP, as they would have been.
    pub(super) over_http: OverHttp,
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
        let mut missing = missing(&reel);
        let over_http = socket::whole(&reel.calls, &reel.bodies);
        if !over_http.broken.is_empty() {
            let numbers: Vec<String> = over_http.broken.iter().map(usize::to_string).collect();
            let which = numbers.join(", ");
            missing.push(format!("call {which} goes on, over a WebSocket, from an answer that is not in the trace"));
        }
        if !missing.is_empty() && (!loosely || reel.calls.is_empty()) {
            return Err(NotATape { trace: reel.trace, missing });
        }
        let mut canons = Canons::default();
        let mut calls = Vec::with_capacity(reel.calls.len());
        let mut redacted = false;
        let mut trails = Trails::default();
        for (recorded, number) in reel.calls.into_iter().zip(1..) {
            let Recorded { call, request, outline, ended } = recorded;
            redacted |= request.redactions > 0;
            let whole = whole || over_http.requests.contains_key(&call);
            let shape = match ignore.is_empty() && !whole {
                true => {
                    let sketch = Sketch { wire: request.wire, target: &request.target };
                    sketch.shape(outline, &mut canons, &mut trails, &|id| reel.blocks.get(id).cloned())
                }
                false => {
                    let body =
                        over_http.requests.get(&call).cloned().or_else(|| (reel.bodies)(call)).unwrap_or_default();
                    shape_of(&request, &blanked(body, &ignore), &mut canons, &mut trails)
                }
            };
            let lost = || CallEnded { end: CallEnd::Lost, ..CallEnded::default() };
            calls.push(TapeCall { call, number, request, ended: ended.map_or_else(lost, |ended| *ended), shape });
        }
        Ok((Tape { trace: reel.trace, how, ignore, calls, redacted, bodies: reel.bodies, over_http }, canons))
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
        let call = self.calls.get(at)?.call;
        self.over_http.requests.get(&call).cloned().or_else(|| (self.bodies)(call))
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
fn shape_of(request: &CallStarted, body: &[u8], canons: &mut Canons, trails: &mut Trails) -> Shape {
    let mut fresh = Blocks::new();
    let (pieces, _) =
        outline(body, None, |id, name| canons.knows(id, name), |id, _, bytes| drop(fresh.insert(id, bytes.into())));
    let sketch = Sketch { wire: request.wire, target: &request.target };
    sketch.shape(pieces, canons, trails, &|id| fresh.get(id).cloned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tape_lacks_is_named_by_call() {
        let call = |id: u64, ended: Option<CallEnded>| Recorded {
            call: CallId(id),
            request: CallStarted { method: "POST".into(), body: Bytes::from_static(b"{}"), ..CallStarted::default() },
            outline: Outline::new(),
            ended: ended.map(Box::new),
        };
        let good = || CallEnded { status: Some(200), body: Bytes::from_static(b"{}"), ..CallEnded::default() };
        let reel = |calls: Vec<Recorded>| Reel {
            trace: TraceId(1),
            content: Content::Redacted,
            source: Source::Recorded,
            lost_calls: 0,
            calls,
            blocks: Arc::default(),
            bodies: Box::new(|_| None),
        };
        let bare = CallStarted { method: "POST".into(), ..CallStarted::default() };
        let cases = [
            (reel(Vec::new()), "it has no calls"),
            (reel(vec![call(1, Some(good())), call(2, None)]), "broke off before call 2 was answered"),
            (reel(vec![call(1, Some(CallEnded::default()))]), "the answer of call 1 was not recorded as it came"),
            (Reel { lost_calls: 3, ..reel(vec![call(1, Some(good()))]) }, "3 of its calls could not be kept"),
            (Reel { content: Content::None, ..reel(vec![call(1, Some(good()))]) }, "--content none"),
            (
                Reel {
                    source: Source::Imported,
                    ..reel(vec![call(1, Some(CallEnded { body: Bytes::new(), ..good() }))])
                },
                "the answer of call 1 has no bytes",
            ),
            (reel(vec![Recorded { request: bare, ..call(1, Some(good())) }]), "the request of call 1 is damaged"),
        ];
        for (reel, word) in cases {
            let said = match Tape::new(reel, Match::Normal, Vec::new(), false) {
                Ok(_) => panic!("{word}: it was taken for a tape"),
                Err(error) => error.to_string(),
            };
            assert!(said.contains(word), "{word}: {said}");
        }
    }
}
