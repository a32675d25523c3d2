//! What must be remembered between requests: spans of one trace come in many, late, twice, and in any order.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::attributes::text;
use super::{Batch, Log, Span, genai, logs};
use crate::import::spans::{self, Seen};
use crate::import::{About, Desk, Settings, Taker, Tally, Trouble, call_id, trace_id};
use crate::trace::{Source as From, Timestamp, TraceId};

const WHY: &str = "telemetry keeps messages and parameters at best, not the request that was sent";
/// Things remembered, of each kind: more, and the memory starts anew.
const MOST: usize = 200_000;

/// A call without what was said in it: a log may still tell.
struct Waiting {
    trace: TraceId,
    span: (u128, u64),
    seen: Seen,
    since: Timestamp,
}

/// See the module.
#[derive(Default)]
pub struct Book {
    begun: HashSet<TraceId>,
    /// Spans that were told.
    told: HashSet<(u128, u64)>,
    /// Answers that were told, by their id: an SDK's own span beside its instrumentation's is the same call.
    answered: HashSet<(u128, String)>,
    /// Spans around a call: when one of them looks like a call, it only wraps it.
    around: HashSet<(u128, u64)>,
    logs: HashMap<(u128, u64), Vec<Log>>,
    waiting: Vec<Waiting>,
    /// Calls that only an agent's log told of, and whose it was.
    from_logs: Vec<(TraceId, String, Seen, Timestamp)>,
    /// Services whose spans tell their calls.
    services: HashSet<String>,
    last: HashMap<TraceId, Timestamp>,
}

fn service(resource: &serde_json::Map<String, Value>) -> String {
    text(resource, &["service.name"]).to_owned()
}

impl Book {
    /// Takes what a request brought. With `keep_waiting` a call that waits for its messages is kept as an event already, so
    /// that nothing is lost when the power goes.
    ///
    /// # Errors
    /// When it can't be kept.
    pub fn receive(
        &mut self,
        batch: Batch,
        now: Timestamp,
        from: &str,
        settings: &Settings<'_>,
        taker: &mut dyn Taker,
    ) -> Result<Tally, Trouble> {
        let mut begun = std::mem::take(&mut self.begun);
        let mut desk = Desk::new(settings, taker, "otlp", from, &mut begun);
        let done = self.take(&mut desk, batch, now, true).and_then(|()| desk.finish());
        let tally = std::mem::take(&mut desk.tally);
        self.begun = begun;
        self.forget();
        done.map(|()| tally)
    }

    /// Tells what has waited since before `until`.
    ///
    /// # Errors
    /// When it can't be kept.
    pub fn settle(
        &mut self,
        until: Timestamp,
        from: &str,
        settings: &Settings<'_>,
        taker: &mut dyn Taker,
    ) -> Result<(), Trouble> {
        if self.waiting.is_empty() && self.from_logs.is_empty() {
            return Ok(());
        }
        let mut begun = std::mem::take(&mut self.begun);
        let mut desk = Desk::new(settings, taker, "otlp", from, &mut begun);
        let done = self.tell_waiting(&mut desk, until).and_then(|()| desk.finish());
        self.begun = begun;
        done
    }

    fn forget(&mut self) {
        if self.told.len() > MOST {
            self.told.clear();
        }
        if self.answered.len() > MOST {
            self.answered.clear();
        }
        if self.around.len() > MOST {
            self.around.clear();
        }
        if self.logs.len() > MOST / 10 {
            self.logs.clear();
        }
        if self.last.len() > MOST {
            self.last.clear();
        }
    }

    /// Takes a batch at a desk.
    pub(super) fn take(
        &mut self,
        desk: &mut Desk<'_>,
        batch: Batch,
        now: Timestamp,
        keep_waiting: bool,
    ) -> Result<(), Trouble> {
        for _ in 0..batch.rejected {
            desk.damaged();
        }
        for log in batch.logs {
            self.log(desk, log, now)?;
        }
        // Inner spans end, and come, before those around them; one batch may have them in any order.
        let mut spans = batch.spans;
        spans.sort_by_key(|span| (span.trace, std::cmp::Reverse(span.start)));
        for span in &spans {
            if genai::is_call(span) || self.around.contains(&(span.trace, span.id)) {
                self.around.insert((span.trace, span.parent));
            }
        }
        spans.sort_by_key(|span| span.start);
        for span in spans {
            self.span(desk, &span, now, keep_waiting)?;
        }
        Ok(())
    }

    fn trace(
        &mut self,
        desk: &mut Desk<'_>,
        id: u128,
        at: Timestamp,
        resource: &serde_json::Map<String, Value>,
    ) -> Result<TraceId, Trouble> {
        let trace = TraceId(id);
        let last = self.last.entry(trace).or_insert(at);
        *last = (*last).max(at);
        let name = service(resource);
        desk.begin(About {
            id: Some(trace),
            at,
            agent: (!name.is_empty()).then_some(name),
            why_not: WHY,
            fields: &[("usage", From::Imported), ("cost_usd", From::Derived), ("times", From::Imported)],
            ..About::default()
        })
    }

    fn span(&mut self, desk: &mut Desk<'_>, span: &Span, now: Timestamp, keep_waiting: bool) -> Result<(), Trouble> {
        let here = (span.trace, span.id);
        if !self.told.insert(here) {
            desk.skipped("a span that came twice");
            return Ok(());
        }
        let trace = self.trace(desk, span.trace, span.start, &span.resource)?;
        let mut seen = genai::seen(span);
        if seen.is_call && self.around.contains(&here) {
            seen.is_call = false;
        }
        desk.used();
        if span.parent == 0 {
            desk.more(trace, span.start, Some(&span.name), None)?;
        }
        if !seen.is_call {
            spans::event(desk, trace, &seen)?;
            return if span.parent == 0 {
                desk.end(trace, span.end.max(span.start), span.error.clone())
            } else {
                Ok(())
            };
        }
        self.services.insert(service(&span.resource));
        if let Some(logs) = self.logs.get(&here) {
            logs::fill(&mut seen, logs);
        }
        let answer = (span.trace, seen.response_id.clone());
        let is_empty = seen.input.is_null() && seen.output.is_null();
        if !seen.response_id.is_empty() {
            if self.answered.contains(&answer) {
                return spans::event(desk, trace, &seen);
            }
            // One that waits with the same answer is this call, told with less.
            let same = self
                .waiting
                .iter()
                .position(|waiting| waiting.trace == trace && waiting.seen.response_id == seen.response_id);
            if let (Some(at), false) = (same, is_empty) {
                let other = self.waiting.swap_remove(at);
                if !keep_waiting {
                    spans::event(desk, trace, &other.seen)?;
                }
            } else if same.is_some() {
                return spans::event(desk, trace, &seen);
            }
        }
        if is_empty {
            if keep_waiting {
                spans::event(desk, trace, &seen)?;
            }
            self.waiting.push(Waiting { trace, span: here, seen, since: now });
            return Ok(());
        }
        self.answered.insert(answer);
        spans::call(desk, trace, &seen)
    }

    fn log(&mut self, desk: &mut Desk<'_>, log: Log, now: Timestamp) -> Result<(), Trouble> {
        desk.used();
        let session = logs::session(&log).to_owned();
        let trace = match (log.trace, session.as_str()) {
            (0, "") => trace_id("otlp", &format!("logs of {}", service(&log.resource))).0,
            (0, session) => trace_id("otlp", session).0,
            (trace, _) => trace,
        };
        let id = self.trace(desk, trace, log.at, &log.resource)?;
        if logs::is_content(&log) {
            let key = (trace, log.span);
            let call = call_id(id, &format!("{:016x}", log.span));
            desk.note(id, log.at, logs::name(&log), Some(call), logs::raw(&log))?;
            self.logs.entry(key).or_default().push(log);
            if let (Some(at), Some(logs)) =
                (self.waiting.iter().position(|waiting| waiting.span == key), self.logs.get(&key))
            {
                logs::fill(&mut self.waiting[at].seen, logs);
            }
            return Ok(());
        }
        if let Some(call) = logs::call(&log) {
            let known = self.from_logs.iter().any(|(_, _, seen, _)| seen.id == call.id);
            if known {
                return desk.note(id, log.at, logs::name(&log), None, logs::raw(&log));
            }
            self.from_logs.push((id, service(&log.resource), call, now));
            return desk.note(id, log.at, logs::name(&log), None, logs::raw(&log));
        }
        desk.note(id, log.at, logs::name(&log), None, logs::raw(&log))
    }

    /// Tells the calls that have waited long enough.
    pub(super) fn tell_waiting(&mut self, desk: &mut Desk<'_>, until: Timestamp) -> Result<(), Trouble> {
        let (mut ready, later): (Vec<Waiting>, Vec<Waiting>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.since <= until);
        self.waiting = later;
        ready.sort_by_key(|waiting| waiting.seen.start);
        for waiting in ready {
            if !waiting.seen.response_id.is_empty() {
                self.answered.insert((waiting.span.0, waiting.seen.response_id.clone()));
            }
            spans::call(desk, waiting.trace, &waiting.seen)?;
        }
        let (ready, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.from_logs).into_iter().partition(|(.., since)| *since <= until);
        self.from_logs = later;
        for (trace, service, seen, _) in ready {
            // Where spans tell the calls, the same service's logs only repeat them.
            if !self.services.contains(&service) {
                spans::call(desk, trace, &seen)?;
            }
        }
        Ok(())
    }
}
