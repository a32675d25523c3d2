//! The way from the proxy to the recorder: bounded in bytes, never waited for. What doesn't fit is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{HeaderMap, Method};
use tokio::sync::{Notify, oneshot};

use super::brake::Held;
use super::proxy::Totals;
use super::route::Belongs;
use super::{clock, ids};
use crate::trace::{CallEnd, CallId, Note, Timestamp, TraceEnded, TraceId, TraceStarted};

/// What a message weighs beside its body: headers, bookkeeping.
const OVERHEAD: u64 = 2048;

/// What the recorder is told.
pub(super) enum Message {
    Begin(TraceId, Box<TraceStarted>, Arc<Held>, Timestamp),
    Started(Box<Started>),
    Ended(Box<Ended>),
    Noted(Belongs, Box<Note>, Timestamp),
    End(TraceId, Box<TraceEnded>, Timestamp, oneshot::Sender<Totals>),
    /// Answered when everything sent before it has been dealt with.
    Flush(oneshot::Sender<()>),
    Stop,
}

/// A request has been read.
pub(super) struct Started {
    pub(super) call: CallId,
    pub(super) at: Timestamp,
    pub(super) belongs: Belongs,
    pub(super) held: Option<Arc<Held>>,
    /// Which of the proxy's connections it came on.
    pub(super) connection: u64,
    pub(super) upstream: Arc<str>,
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<Bytes>,
    pub(super) weight: u64,
}

/// An answer has been passed on, as far as it came.
pub(super) struct Ended {
    pub(super) call: CallId,
    pub(super) at: Timestamp,
    pub(super) end: CallEnd,
    pub(super) status: Option<u16>,
    pub(super) headers: HeaderMap,
    /// Microseconds since the request, and what came.
    pub(super) chunks: Vec<(u64, Bytes)>,
    pub(super) weight: u64,
    /// Whether all of the body is in `chunks`; the queue was full or the body too long when not.
    pub(super) whole: bool,
    pub(super) error: Option<String>,
}

/// Numbers of a running proxy, for people and for Prometheus.
#[derive(Debug, Default)]
pub struct Counts {
    pub calls: AtomicU64,
    pub errors: AtomicU64,
    pub refused: AtomicU64,
    /// Requests that are no model calls: passed on, noted.
    pub other_requests: AtomicU64,
    /// Calls that were made and could not be kept.
    pub lost_calls: AtomicU64,
    /// Answers of which only a part could be kept.
    pub cut_bodies: AtomicU64,
    /// Events the store would not take.
    pub sink_errors: AtomicU64,
    pub bytes_up: AtomicU64,
    pub bytes_down: AtomicU64,
    pub tokens: AtomicU64,
    /// Hundred-millionths of a US dollar.
    pub cost_units: AtomicU64,
    pub unpriced_calls: AtomicU64,
    pub redactions: AtomicU64,
    pub traces: AtomicU64,
    pub open_connections: AtomicU64,
    pub open_calls: AtomicU64,
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

pub(super) struct Queue {
    sender: mpsc::Sender<Message>,
    /// Bytes that calls under way and messages not yet dealt with hold.
    weight: AtomicU64,
    limit: u64,
    sent: AtomicU64,
    done: AtomicU64,
    progress: Notify,
    pub(super) counts: Counts,
}

impl Queue {
    pub(super) fn new(limit: u64) -> (Arc<Self>, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel();
        let queue = Queue {
            sender,
            weight: AtomicU64::new(0),
            limit,
            sent: AtomicU64::new(0),
            done: AtomicU64::new(0),
            progress: Notify::new(),
            counts: Counts::default(),
        };
        (Arc::new(queue), receiver)
    }

    /// Claims room for so many bytes.
    pub(super) fn claim(&self, bytes: u64) -> bool {
        let before = self.weight.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.limit;
        if !fits {
            self.release(bytes);
        }
        fits
    }

    pub(super) fn release(&self, bytes: u64) {
        self.weight.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes held at the moment, for the metrics.
    pub(super) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Messages that wait, for the metrics.
    pub(super) fn lag(&self) -> u64 {
        self.sent.load(Ordering::Relaxed).saturating_sub(self.done.load(Ordering::Relaxed))
    }

    /// Sends; false when the recorder is gone.
    pub(super) fn send(&self, message: Message) -> bool {
        self.sent.fetch_add(1, Ordering::AcqRel);
        let sent = self.sender.send(message).is_ok();
        if !sent {
            self.done.fetch_add(1, Ordering::AcqRel);
        }
        sent
    }

    /// The recorder has dealt with one message.
    pub(super) fn done(&self, weight: u64) {
        self.release(weight);
        self.done.fetch_add(1, Ordering::AcqRel);
        self.progress.notify_waiters();
    }

    /// Waits until everything sent so far has been dealt with, but never long: brakes want fresh sums, not a stopped loop.
    pub(super) async fn settle(&self) {
        let target = self.sent.load(Ordering::Acquire);
        let caught_up = async {
            loop {
                let progress = self.progress.notified();
                if self.done.load(Ordering::Acquire) >= target {
                    break;
                }
                progress.await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), caught_up).await;
    }
}

const PENDING: u8 = 0;
const SENT: u8 = 1;
const LOST: u8 = 2;

/// A call under way, as both directions of it see it.
pub(super) struct Call {
    pub(super) queue: Arc<Queue>,
    pub(super) id: CallId,
    pub(super) begun: Instant,
    pub(super) held: Option<Arc<Held>>,
    start: AtomicU8,
}

impl Call {
    pub(super) fn new(queue: Arc<Queue>, held: Option<Arc<Held>>) -> Arc<Self> {
        add(&queue.counts.calls, 1);
        add(&queue.counts.open_calls, 1);
        Arc::new(Call { queue, id: ids::call(), begun: clock::tick(), held, start: AtomicU8::new(PENDING) })
    }

    fn lose(&self) {
        if self.start.swap(LOST, Ordering::AcqRel) != LOST {
            add(&self.queue.counts.lost_calls, 1);
            if let Some(held) = &self.held {
                held.lose();
            }
        }
    }
}

/// Tells the recorder of a request, once: when it has been read, or when nobody will read on.
pub(super) struct Opening {
    call: Arc<Call>,
    started: Option<Box<Started>>,
}

impl Opening {
    pub(super) fn new(call: Arc<Call>, mut started: Box<Started>) -> Self {
        let fits = call.queue.claim(OVERHEAD);
        if !fits {
            call.lose();
        }
        started.weight = OVERHEAD;
        Opening { call, started: fits.then_some(started) }
    }

    /// The next piece of the body.
    pub(super) fn push(&mut self, piece: &Bytes) {
        add(&self.call.queue.counts.bytes_up, piece.len() as u64);
        let Some(started) = &mut self.started else { return };
        if self.call.queue.claim(piece.len() as u64) {
            started.weight += piece.len() as u64;
            started.body.push(piece.clone());
        } else {
            self.call.queue.release(started.weight);
            self.started = None;
            self.call.lose();
        }
    }

    /// The body is whole.
    pub(super) fn finish(&mut self) {
        let Some(started) = self.started.take() else { return };
        let weight = started.weight;
        if self.call.queue.send(Message::Started(started)) {
            self.call.start.store(SENT, Ordering::Release);
        } else {
            self.call.queue.release(weight);
            self.call.lose();
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Tells the recorder how a call ended, once. Dropped before its end it says that the client has gone.
pub(super) struct Closing {
    call: Arc<Call>,
    ended: Option<Box<Ended>>,
    limit: u64,
}

impl Closing {
    pub(super) fn new(call: Arc<Call>, limit: u64) -> Self {
        let ended = Ended {
            call: call.id,
            at: Timestamp::default(),
            end: CallEnd::ClientGone,
            status: None,
            headers: HeaderMap::new(),
            chunks: Vec::new(),
            weight: 0,
            whole: true,
            error: None,
        };
        Closing { call, ended: Some(Box::new(ended)), limit }
    }

    /// The answer begins.
    pub(super) fn head(&mut self, status: u16, headers: HeaderMap) {
        if let Some(ended) = &mut self.ended {
            ended.status = Some(status);
            ended.headers = headers;
        }
    }

    /// The next piece of the body.
    pub(super) fn push(&mut self, piece: &Bytes) {
        add(&self.call.queue.counts.bytes_down, piece.len() as u64);
        let Some(ended) = &mut self.ended else { return };
        let fits =
            ended.whole && ended.weight + piece.len() as u64 <= self.limit && self.call.queue.claim(piece.len() as u64);
        if fits {
            ended.weight += piece.len() as u64;
            ended.chunks.push((clock::micros_since(self.call.begun), piece.clone()));
        } else if ended.whole {
            ended.whole = false;
            add(&self.call.queue.counts.cut_bodies, 1);
        }
    }

    /// The end has come.
    pub(super) fn finish(&mut self, end: CallEnd, error: Option<String>) {
        let Some(mut ended) = self.ended.take() else { return };
        let queue = &self.call.queue;
        queue.counts.open_calls.fetch_sub(1, Ordering::Relaxed);
        ended.at = clock::now();
        ended.end = end;
        ended.error = error;
        let weight = ended.weight;
        let known = self.call.start.load(Ordering::Acquire) != LOST;
        if known && queue.claim(OVERHEAD) {
            ended.weight += OVERHEAD;
            if queue.send(Message::Ended(ended)) {
                return;
            }
            queue.release(OVERHEAD);
        }
        queue.release(weight);
        self.call.lose();
        if let Some(held) = &self.call.held {
            held.leave(0, None);
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.finish(CallEnd::ClientGone, None);
    }
}
