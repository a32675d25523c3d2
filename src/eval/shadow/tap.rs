//! The tap: a sink that hands everything on, and a copy of chosen calls to the shadow if it has room for them. It runs on the
//! recorder's side of the queue and waits for nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::{Figures, Sampling, add};
use crate::trace::{CallEnd, CallEnded, CallId, CallStarted, Sink, TraceEvent, TraceId, What, Wire};

/// Bytes of chosen calls that may wait, for their answer or for the shadow.
const ROOM: u64 = 64 << 20;
/// Calls under way that are remembered. Some never end: those that got lost.
const UNDER_WAY: usize = 1 << 16;

/// A chosen call, over and kept.
pub(super) struct Chosen {
    pub(super) trace: TraceId,
    pub(super) call: CallId,
    pub(super) request: CallStarted,
    pub(super) ended: CallEnded,
    pub(super) weight: u64,
}

/// What is known of a call under way.
enum Open {
    Passed,
    Chosen(Box<CallStarted>, u64),
    NoRoom,
}

pub(super) struct Tap {
    sampling: Sampling,
    figures: Arc<Figures>,
    line: mpsc::Sender<Box<Chosen>>,
    open: HashMap<CallId, Open>,
}

/// A sink with a tap, or without one.
pub struct Tapped<S> {
    sink: S,
    tap: Option<Tap>,
}

impl<S> Tapped<S> {
    /// Only the sink.
    pub fn plain(sink: S) -> Self {
        Tapped { sink, tap: None }
    }

    pub(super) fn new(sink: S, sampling: Sampling, figures: Arc<Figures>, line: mpsc::Sender<Box<Chosen>>) -> Self {
        Tapped { sink, tap: Some(Tap { sampling, figures, line, open: HashMap::new() }) }
    }
}

impl<S: Sink> Sink for Tapped<S> {
    type Error = S::Error;

    fn accept(&mut self, event: &TraceEvent) -> Result<(), S::Error> {
        // What could not be kept is not worth asking about.
        self.sink.accept(event)?;
        if let Some(tap) = &mut self.tap {
            match &event.what {
                What::CallStarted(call, started) => tap.started(*call, started),
                What::CallEnded(call, ended) => tap.ended(event.trace, *call, ended),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Tap {
    fn started(&mut self, call: CallId, started: &CallStarted) {
        if started.method != "POST" || matches!(started.wire, Wire::Raw | Wire::Embeddings) {
            return;
        }
        if self.open.len() >= UNDER_WAY {
            for (_, open) in self.open.drain() {
                if let Open::Chosen(_, weight) = open {
                    self.figures.held.fetch_sub(weight, Ordering::Relaxed);
                }
            }
        }
        let open = match self.sampling.chooses(call) {
            false => Open::Passed,
            true => match self.claim(started.body.len() as u64) {
                Some(weight) => Open::Chosen(Box::new(started.clone()), weight),
                None => Open::NoRoom,
            },
        };
        self.open.insert(call, open);
    }

    fn claim(&self, bytes: u64) -> Option<u64> {
        let before = self.figures.held.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes <= ROOM {
            return Some(bytes);
        }
        self.release(bytes);
        None
    }

    fn release(&self, bytes: u64) {
        self.figures.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn ended(&mut self, trace: TraceId, call: CallId, ended: &CallEnded) {
        let Some(open) = self.open.remove(&call) else { return };
        let good = ended.end == CallEnd::Complete && ended.status == Some(200) && ended.summary.error.is_none();
        add(&self.figures.seen, u64::from(good));
        match open {
            Open::Passed => {}
            Open::Chosen(_, weight) if !good => self.release(weight),
            Open::Chosen(request, weight) => {
                add(&self.figures.sampled, 1);
                let more = ended.body.len() as u64;
                self.release(weight);
                let Some(weight) = self.claim(weight + more) else {
                    add(&self.figures.dropped, 1);
                    return;
                };
                let chosen = Chosen { trace, call, request: *request, ended: ended.clone(), weight };
                if self.line.try_send(Box::new(chosen)).is_err() {
                    self.release(weight);
                    add(&self.figures.dropped, 1);
                }
            }
            Open::NoRoom if good => {
                add(&self.figures.sampled, 1);
                add(&self.figures.dropped, 1);
            }
            Open::NoRoom => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::eval::shadow::load;
    use crate::trace::Timestamp;

    struct Nowhere;

    impl Sink for Nowhere {
        type Error = std::convert::Infallible;
        fn accept(&mut self, _: &TraceEvent) -> Result<(), Self::Error> {
            Ok(())
        }
    }

    fn call(tapped: &mut Tapped<Nowhere>, id: u64, body: usize, wire: Wire, status: u16) {
        let event = |what| TraceEvent { trace: TraceId(1), at: Timestamp(0), what };
        let body = Bytes::from(vec![b' '; body]);
        let started = CallStarted { wire, method: "POST".into(), body, ..CallStarted::default() };
        tapped.accept(&event(What::CallStarted(CallId(id), started))).unwrap();
        let ended = CallEnded { status: Some(status), ..CallEnded::default() };
        tapped.accept(&event(What::CallEnded(CallId(id), ended))).unwrap();
    }

    #[test]
    fn good_calls_are_chosen_as_long_as_there_is_room_and_the_rest_is_counted() {
        let figures = Arc::new(Figures::default());
        let (line, mut chosen) = mpsc::channel(2);
        let mut tapped = Tapped::new(Nowhere, Sampling { sample: 1.0, seed: 0 }, figures.clone(), line);
        call(&mut tapped, 1, 10, Wire::OpenaiChat, 200);
        call(&mut tapped, 2, 10, Wire::OpenaiChat, 500);
        call(&mut tapped, 3, 10, Wire::Embeddings, 200);
        call(&mut tapped, 4, (ROOM + 1) as usize, Wire::Gemini, 200);
        call(&mut tapped, 5, 10, Wire::Gemini, 200);
        call(&mut tapped, 6, 10, Wire::Gemini, 200);
        let counted = [&figures.seen, &figures.sampled, &figures.dropped, &figures.held].map(load);
        assert_eq!(counted, [4, 4, 2, 20], "seen, sampled, dropped, bytes that wait");
        let waiting: Vec<u64> = std::iter::from_fn(|| chosen.try_recv().ok()).map(|chosen| chosen.call.0).collect();
        assert_eq!(waiting, [1, 5]);
        // Nobody listens any more: production doesn't notice.
        drop(chosen);
        call(&mut tapped, 7, 10, Wire::Gemini, 200);
        assert_eq!((load(&figures.sampled), load(&figures.dropped)), (5, 3));
    }
}
