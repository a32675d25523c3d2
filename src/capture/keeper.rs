//! The keeper: one thread that hands events to the sink, while the recorder reads the next calls. What the sink would not take is
//! counted here, call by call, and told when its trace ends.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::Receiver;

use tokio::sync::oneshot;

use super::proxy::Totals;
use super::queue::{Queue, add};
use super::tee::chain;
use crate::trace::{CallId, Sink, Timestamp, TraceEnded, TraceEvent, TraceId, What};

/// Traces whose losses are remembered until they end. Beyond that only the proxy's own counters know.
const TRACES: usize = 4096;

/// What the recorder hands over.
pub(super) enum Keep {
    Event(Box<TraceEvent>),
    /// A call whose request or answer got lost before.
    Lost(TraceId, CallId),
    /// All that came of a message has been handed over; so much it weighed.
    Done(u64),
    Flush(oneshot::Sender<()>),
    End(Box<Ending>),
}

/// A trace ends.
pub(super) struct Ending {
    pub(super) trace: TraceId,
    pub(super) at: Timestamp,
    pub(super) ended: TraceEnded,
    pub(super) totals: Totals,
    pub(super) tell: oneshot::Sender<Totals>,
}

/// What could not be kept of a trace.
#[derive(Default)]
struct Losses {
    calls: u64,
    error: Option<String>,
}

struct Keeper<'a, S> {
    queue: &'a Queue,
    sink: S,
    /// Calls whose beginning could not be kept: their end would be worse than nothing.
    unbegun: HashSet<CallId>,
    losses: HashMap<TraceId, Losses>,
}

/// Runs until the recorder is gone.
pub(super) fn run<S: Sink>(batches: &Receiver<Vec<Keep>>, queue: &Queue, sink: S) {
    let mut keeper = Keeper { queue, sink, unbegun: HashSet::new(), losses: HashMap::new() };
    while let Ok(batch) = batches.recv() {
        batch.into_iter().for_each(|keep| keeper.keep(keep));
    }
}

impl<S: Sink> Keeper<'_, S> {
    fn keep(&mut self, keep: Keep) {
        match keep {
            Keep::Event(event) => self.event(&event),
            Keep::Lost(trace, call) => {
                self.unbegun.remove(&call);
                self.lose(trace);
            }
            Keep::Done(weight) => self.queue.done(weight),
            Keep::Flush(tell) => {
                let _ = tell.send(());
            }
            Keep::End(ending) => self.end(*ending),
        }
    }

    fn event(&mut self, event: &TraceEvent) {
        match &event.what {
            What::CallStarted(call, _) => {
                if !self.accept(event) {
                    self.unbegun.insert(*call);
                }
            }
            What::CallEnded(call, _) => {
                if self.unbegun.remove(call) || !self.accept(event) {
                    self.lose(event.trace);
                }
            }
            _ => {
                self.accept(event);
            }
        }
    }

    /// Whether the sink took it.
    fn accept(&mut self, event: &TraceEvent) -> bool {
        let Err(error) = self.sink.accept(event) else { return true };
        add(&self.queue.counts.sink_errors, 1);
        self.of(event.trace).error = Some(chain(&error));
        false
    }

    fn lose(&mut self, trace: TraceId) {
        add(&self.queue.counts.lost_calls, 1);
        self.of(trace).calls += 1;
    }

    fn of(&mut self, trace: TraceId) -> &mut Losses {
        if self.losses.len() >= TRACES && !self.losses.contains_key(&trace) {
            self.losses.clear();
        }
        self.losses.entry(trace).or_default()
    }

    fn end(&mut self, ending: Ending) {
        let Ending { trace, at, mut ended, mut totals, tell } = ending;
        totals.lost_calls += self.losses.get(&trace).map_or(0, |losses| losses.calls);
        ended.lost_calls += totals.lost_calls;
        self.accept(&TraceEvent { trace, at, what: What::TraceEnded(ended) });
        totals.sink_error = self.losses.remove(&trace).and_then(|losses| losses.error);
        let _ = tell.send(totals);
    }
}
