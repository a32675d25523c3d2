//! The way from the proxy to the recorder: bounded in bytes, never waited for. When memory for it runs short, what has waited
//! longest waits on disk instead (see [`super::spill`]); what fits nowhere is dropped and counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::{HeaderMap, Method};
use tokio::sync::{Notify, oneshot};

use super::brake::Held;
use super::proxy::Totals;
use super::route::Belongs;
use super::spill::{Pieces, Spill};
use crate::trace::{CallEnd, CallId, Note, Timestamp, TraceEnded, TraceId, TraceStarted};

/// What a message weighs beside its body and headers.
pub(super) const OVERHEAD: u64 = 1024;
/// Messages the recorder takes at once, and hands on together.
const BATCH: usize = 32;
/// And no more of the memory there is than this part, with its last one: what is taken cannot be spilled any more.
const SHARE: u64 = 64;
/// How long the recorder lies on after it was woken, so that what belongs together is dealt with at once: waking a thread for each
/// message costs more than most messages do.
const NAP: Duration = Duration::from_micros(500);
/// Smaller bodies stay in memory: moving them costs more than it gives.
const WORTH_SPILLING: u64 = 4096;

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
    pub(super) body: Pieces,
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
    pub(super) chunks: Pieces,
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
    /// Requests and answers that waited on disk for a recorder that lags.
    pub spilled: AtomicU64,
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

/// Messages in the order they were sent.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Message>,
    /// The number of the first one; each has one more than the one before.
    first: u64,
    /// Everything before this number has been spilled, or is not worth it.
    looked_at: u64,
    recorder_sleeps: bool,
    recorder_naps: bool,
    /// Somebody waits for the recorder.
    hurry: bool,
    spiller_sleeps: bool,
    /// The recorder is gone.
    closed: bool,
}

pub(super) struct Queue {
    line: Mutex<Line>,
    news: Condvar,
    pressure: Condvar,
    /// Bytes that calls under way and messages not yet dealt with hold.
    weight: AtomicU64,
    limit: u64,
    spill: Option<Spill>,
    sent: AtomicU64,
    done: AtomicU64,
    progress: Notify,
    pub(super) counts: Counts,
}

/// Where the recorder takes its messages from.
pub(super) struct Outlet {
    queue: Arc<Queue>,
}

impl Queue {
    pub(super) fn new(limit: u64, spill: Option<Spill>) -> (Arc<Self>, Outlet) {
        let queue = Arc::new(Queue {
            line: Mutex::default(),
            news: Condvar::new(),
            pressure: Condvar::new(),
            weight: AtomicU64::new(0),
            limit,
            spill,
            sent: AtomicU64::new(0),
            done: AtomicU64::new(0),
            progress: Notify::new(),
            counts: Counts::default(),
        });
        (queue.clone(), Outlet { queue })
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims room for so many bytes of a body. The last eighth is left to what calls need besides, so that a call whose body
    /// waits on disk can still be told of.
    pub(super) fn claim(&self, bytes: u64) -> bool {
        self.claim_below(bytes, self.limit - self.limit / 8)
    }

    /// Claims room for what a message holds beside its body.
    pub(super) fn claim_overhead(&self, bytes: u64) -> bool {
        self.claim_below(bytes, self.limit)
    }

    fn claim_below(&self, bytes: u64, limit: u64) -> bool {
        let before = self.weight.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= limit;
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

    /// Whether so much waits that the next call might not fit.
    pub(super) fn is_crowded(&self) -> bool {
        self.weight() > self.limit / 4 * 3
    }

    fn under_pressure(&self) -> bool {
        self.weight() > self.limit / 2
    }

    /// Messages that wait, for the metrics.
    pub(super) fn lag(&self) -> u64 {
        self.sent.load(Ordering::Relaxed).saturating_sub(self.done.load(Ordering::Relaxed))
    }

    /// Sends; false when the recorder is gone.
    pub(super) fn send(&self, message: Message) -> bool {
        let mut line = self.line();
        if line.closed {
            return false;
        }
        line.hurry |= message.is_waited_for();
        line.waiting.push_back(message);
        self.sent.fetch_add(1, Ordering::AcqRel);
        let rouse = line.recorder_naps && (line.hurry || line.waiting.len() >= BATCH);
        line.recorder_naps &= !rouse;
        let wake = std::mem::take(&mut line.recorder_sleeps) || rouse;
        let spill = line.spiller_sleeps && self.under_pressure();
        line.spiller_sleeps &= !spill;
        drop(line);
        // Waking a thread is a system call: only when it sleeps.
        if wake {
            self.news.notify_one();
        }
        if spill {
            self.pressure.notify_one();
        }
        true
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
        if self.done.load(Ordering::Acquire) < target {
            let mut line = self.line();
            line.hurry = true;
            line.recorder_naps = false;
            drop(line);
            self.news.notify_one();
        }
        self.wait_until(Duration::from_secs(1), || self.done.load(Ordering::Acquire) >= target).await;
    }

    /// Waits until there is room for the next call; false when there is none after so long.
    pub(super) async fn make_room(&self, patience: Duration) -> bool {
        self.wait_until(patience, || !self.is_crowded()).await
    }

    async fn wait_until(&self, patience: Duration, come: impl Fn() -> bool) -> bool {
        let wait = async {
            loop {
                let progress = self.progress.notified();
                if come() {
                    break;
                }
                progress.await;
            }
        };
        tokio::time::timeout(patience, wait).await.is_ok()
    }

    /// Moves bodies to disk whenever memory for them runs short, until the recorder is gone. Neither the proxy nor the recorder
    /// ever waits for it: a body is copied out first, and let go of only once it is on disk.
    pub(super) fn keep_spilling(&self) {
        let Some(spill) = &self.spill else { return };
        while let Some(number) = self.next_to_spill() {
            let Some(pieces) = self.with_pieces(number, |pieces, _| pieces.clone()) else { continue };
            let Ok(spilled) = spill.put(&pieces) else {
                // The disk is full or broken: try again when the next message comes.
                self.line().looked_at = number + 1;
                continue;
            };
            let moved = self.with_pieces(number, |pieces, weight| {
                let freed = pieces.len();
                *pieces = spilled.into();
                *weight -= freed;
                freed
            });
            match moved {
                Some(freed) => {
                    self.release(freed);
                    self.progress.notify_waiters();
                    add(&self.counts.spilled, 1);
                }
                // The recorder was faster.
                None => spill.free(&spilled),
            }
        }
    }

    /// The number of a message whose body should go to disk; `None` at the end of all.
    fn next_to_spill(&self) -> Option<u64> {
        let mut line = self.line();
        loop {
            if line.closed {
                return None;
            }
            let end = line.first + line.waiting.len() as u64;
            let mut at = line.looked_at.max(line.first);
            while self.under_pressure() && at < end {
                let index = usize::try_from(at - line.first).ok()?;
                if line.waiting[index].pieces().is_some_and(|(pieces, _)| pieces.len() >= WORTH_SPILLING) {
                    line.looked_at = at;
                    return Some(at);
                }
                at += 1;
            }
            line.looked_at = at.min(end);
            line.spiller_sleeps = true;
            line = self.pressure.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Looks at the body of a message that still waits in memory, and at its weight.
    fn with_pieces<T>(&self, number: u64, look: impl FnOnce(&mut Pieces, &mut u64) -> T) -> Option<T> {
        let mut line = self.line();
        let index = usize::try_from(number.checked_sub(line.first)?).ok()?;
        let (pieces, weight) = line.waiting.get_mut(index)?.pieces()?;
        Some(look(pieces, weight))
    }

    /// A body, from wherever it waits; `None` when the disk did not give it back.
    pub(super) fn fetch(&self, pieces: Pieces) -> Option<Vec<(u64, bytes::Bytes)>> {
        match pieces {
            Pieces::Here(list) => Some(list),
            Pieces::There(spilled) => {
                let spill = self.spill.as_ref()?;
                let list = spill.get(&spilled);
                spill.free(&spilled);
                list.ok()
            }
        }
    }
}

impl Message {
    /// Whether somebody waits until it has been dealt with.
    fn is_waited_for(&self) -> bool {
        matches!(self, Message::End(..) | Message::Flush(_) | Message::Stop)
    }

    /// The body it carries, and the weight of the whole.
    fn pieces(&mut self) -> Option<(&mut Pieces, &mut u64)> {
        match self {
            Message::Started(started) => Some((&mut started.body, &mut started.weight)),
            Message::Ended(ended) => Some((&mut ended.chunks, &mut ended.weight)),
            _ => None,
        }
    }
}

impl Outlet {
    /// The next messages, as soon as there is one.
    pub(super) fn batch(&mut self) -> Vec<Message> {
        let news = &self.queue.news;
        let mut line = self.queue.line();
        if line.waiting.is_empty() {
            while line.waiting.is_empty() {
                line.recorder_sleeps = true;
                line = news.wait(line).unwrap_or_else(PoisonError::into_inner);
            }
            line.recorder_naps = true;
            let naps = |line: &mut Line| line.recorder_naps && !line.hurry && line.waiting.len() < BATCH;
            line = news.wait_timeout_while(line, NAP, naps).unwrap_or_else(PoisonError::into_inner).0;
        }
        (line.recorder_sleeps, line.recorder_naps, line.hurry) = (false, false, false);
        let (mut batch, mut weight) = (Vec::with_capacity(BATCH), 0);
        while batch.len() < BATCH && weight <= self.queue.limit / SHARE {
            let Some(mut message) = line.waiting.pop_front() else { break };
            weight += message.pieces().map_or(0, |(_, weight)| *weight);
            batch.push(message);
            line.first += 1;
        }
        batch
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let mut line = self.queue.line();
        line.closed = true;
        // Whoever waits for an answer hears that there will be none.
        let left = std::mem::take(&mut line.waiting);
        drop(line);
        drop(left);
        self.queue.pressure.notify_one();
    }
}
