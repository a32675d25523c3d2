//! A call under way, as both directions of it see it: what of it goes into the queue, and what happens when it doesn't fit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::HeaderValue;

use super::brake::Held;
use super::queue::{Ended, Message, OVERHEAD, Queue, Started, add};
use super::spill::Pieces;
use super::{clock, ids};
use crate::trace::{CallEnd, CallId, Timestamp};

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

/// A piece to keep. A small one is copied: kept as it is, it would keep the whole buffer it was read into from being used again,
/// and weigh more than it says.
fn own(piece: &Bytes) -> Bytes {
    const SMALL: usize = 8 * 1024;
    if piece.len() < SMALL { Bytes::copy_from_slice(piece) } else { piece.clone() }
}

fn weight_of(headers: &HeaderMap) -> u64 {
    headers.iter().map(|(name, value)| (name.as_str().len() + value.len()) as u64).sum()
}

/// Tells the recorder of a request, once: when it has been read, or when nobody will read on.
pub(super) struct Opening {
    call: Arc<Call>,
    started: Option<Box<Started>>,
}

impl Opening {
    pub(super) fn new(call: Arc<Call>, mut started: Box<Started>) -> Self {
        let overhead = OVERHEAD + weight_of(&started.headers) + started.target.len() as u64;
        let fits = call.queue.claim_overhead(overhead);
        if !fits {
            call.lose();
        }
        started.weight = overhead;
        Opening { call, started: fits.then_some(started) }
    }

    /// The next piece of the body.
    pub(super) fn push(&mut self, piece: &Bytes) {
        add(&self.call.queue.counts.bytes_up, piece.len() as u64);
        let Some(started) = &mut self.started else { return };
        if self.call.queue.claim(piece.len() as u64) {
            started.weight += piece.len() as u64;
            started.body.push(0, own(piece));
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
            chunks: Pieces::default(),
            weight: 0,
            whole: true,
            error: None,
        };
        Closing { call, ended: Some(Box::new(ended)), limit }
    }

    /// The answer begins.
    pub(super) fn head(&mut self, status: u16, headers: &HeaderMap) {
        if let Some(ended) = &mut self.ended {
            ended.status = Some(status);
            // Copied for the same reason as small pieces are.
            let own = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
            ended.headers = headers.iter().map(|(name, value)| (name.clone(), own(value))).collect();
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
            ended.chunks.push(clock::micros_since(self.call.begun), own(piece));
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
        let overhead = OVERHEAD + weight_of(&ended.headers);
        if known && queue.claim_overhead(overhead) {
            ended.weight += overhead;
            if queue.send(Message::Ended(ended)) {
                return;
            }
            queue.release(overhead);
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
