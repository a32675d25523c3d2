//! Watches the recorder's events go by on their way to the store, and keeps for each running trial what its graders will ask
//! for. So a trial is graded by exactly what is kept of it, without reading it back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::capture::TAPE;
use crate::grade;
use crate::provider;
use crate::signal::{self, Limits, Stuck};
use crate::trace::{
    CallEnd, CallEnded, CallId, CallStarted, Headers, Message, Part, Role, Sink, ToolResult, TraceEvent, TraceId, What,
};
use crate::trial::Replayed;

/// A provider that could not answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    pub upstream: String,
    pub status: Option<u16>,
    /// Seconds it asked to be left alone.
    pub retry_after: Option<f64>,
    pub what: String,
}

/// What is known of a trial's calls.
#[derive(Debug, Default)]
pub struct Seen {
    pub opening: Vec<Message>,
    pub steps: Vec<grade::Step>,
    pub stuck: Vec<String>,
    /// The providers' ids of the answers.
    pub answers: Vec<String>,
    /// How the loop kept to its tape.
    pub replayed: Option<Replayed>,
    /// Set while the last call to have ended was one that the provider could not answer.
    pub trouble: Option<Trouble>,
    watcher: Stuck,
    open: HashMap<CallId, (usize, CallStarted)>,
}

/// The trials that are being watched.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<HashMap<TraceId, Seen>>>);

impl Watch {
    /// Begins to watch a trace.
    pub fn begin(&self, trace: TraceId) {
        let seen = Seen { watcher: Stuck::new(Limits::default()), ..Seen::default() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(trace, seen);
    }

    /// Ends watching and hands over what was seen.
    pub fn take(&self, trace: TraceId) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&trace).unwrap_or_default()
    }

    fn see(&self, event: &TraceEvent) -> Option<Trouble> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = all.get_mut(&event.trace)?;
        match &event.what {
            What::CallStarted(id, call) => {
                seen.open.insert(*id, (seen.steps.len(), call.clone()));
                seen.steps.push(grade::Step { call: Some(*id), ..grade::Step::default() });
                None
            }
            What::CallEnded(id, ended) => {
                let (at, call) = seen.open.remove(id)?;
                seen.ended(at, &call, ended)
            }
            _ => None,
        }
    }
}

impl Seen {
    fn ended(&mut self, at: usize, call: &CallStarted, ended: &CallEnded) -> Option<Trouble> {
        let response = provider::response(call.wire, ended.status.unwrap_or(0), &ended.headers, &ended.body);
        let request = provider::request(call.wire, &call.target, &call.body).unwrap_or_default();
        if self.opening.is_empty() {
            self.opening.clone_from(&request.messages);
        }
        let mut step = signal::Step::of(&request, &response);
        (step.end, step.status, step.agent, step.retry_of) =
            (ended.end, ended.status, call.agent.clone(), call.retry_of);
        if let Some(reason) = self.watcher.feed(&step)
            && !self.stuck.contains(&reason)
        {
            self.stuck.push(reason);
        }
        let trouble = trouble(call, ended);
        // A brake's refusal is ours and says nothing about the provider.
        if ended.end != CallEnd::Refused {
            self.trouble.clone_from(&trouble);
        }
        if !response.id.is_empty() {
            self.answers.push(response.id);
        }
        let known = &mut self.steps[at];
        known.model = if ended.summary.model.is_empty() { request.model } else { ended.summary.model.clone() };
        known.results = news(&request.messages);
        known.said =
            response.message.filter(|_| response.error.is_none() && ended.status.is_none_or(|status| status < 400));
        known.usage = ended.summary.usage;
        known.cost_usd = ended.summary.cost_usd;
        known.latency_us = ended.chunks.last().map(|chunk| chunk.at).or(ended.first_byte).unwrap_or(0);
        known.first_content_us = ended.first_content;
        known.error.clone_from(&ended.summary.error);
        known.redactions = ended.redactions;
        trouble
    }

    /// What a recorded trace has.
    pub fn recorded(opening: Vec<Message>, steps: Vec<grade::Step>) -> Self {
        Seen { opening, steps, ..Seen::default() }
    }

    /// The last thing the model said in words.
    pub fn answer(&self) -> Option<String> {
        let said =
            |step: &grade::Step| step.said.as_ref().map(Message::plain_text).filter(|text| !text.trim().is_empty());
        self.steps.iter().rev().find_map(said)
    }
}

/// The results of tools that came in since the model last spoke.
fn news(messages: &[Message]) -> Vec<ToolResult> {
    let from = messages.iter().rposition(|message| message.role == Role::Assistant).map_or(0, |at| at + 1);
    let parts = messages[from..].iter().flat_map(|message| &message.parts);
    parts.filter_map(|part| if let Part::ToolResult(result) = part { Some(result.clone()) } else { None }).collect()
}

/// Whether a call failed for a reason that lies with the provider or the way to it, and not with what was asked.
fn trouble(call: &CallStarted, ended: &CallEnded) -> Option<Trouble> {
    let status = ended.status;
    let theirs = match (ended.end, status) {
        // What a provider could not answer when it was recorded is part of the tape.
        _ if call.upstream == TAPE => false,
        (CallEnd::Refused | CallEnd::ClientGone, _) => false,
        (CallEnd::NoAnswer | CallEnd::Cut | CallEnd::Lost, _) => true,
        (CallEnd::Complete, Some(401 | 402 | 403 | 408 | 409 | 425 | 429)) => true,
        (CallEnd::Complete, Some(status)) if status >= 500 => true,
        (CallEnd::Complete, _) => ended.summary.error.as_deref().is_some_and(|error| {
            let error = error.to_lowercase();
            ["overloaded", "rate_limit", "rate limit", "server_error", "unavailable"]
                .iter()
                .any(|word| error.contains(word))
        }),
    };
    theirs.then(|| Trouble {
        upstream: call.upstream.clone(),
        status,
        retry_after: retry_after(&ended.headers),
        what: match (&ended.summary.error, status) {
            (Some(error), _) => error.clone(),
            (None, Some(status)) => format!("{} answered {status}", call.upstream),
            (None, None) => format!("{} gave no whole answer", call.upstream),
        },
    })
}

pub(super) fn retry_after(headers: &Headers) -> Option<f64> {
    let header = |wanted: &str| {
        headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let millis = header("retry-after-ms").and_then(|value| value.parse::<f64>().ok()).map(|millis| millis / 1000.0);
    let seconds = || header("retry-after").and_then(|value| value.parse::<f64>().ok());
    millis.or_else(seconds).filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
}

/// A sink that shows every event to a [`Watch`] before it passes it on.
pub struct Witness<S> {
    inner: S,
    watch: Watch,
    troubled: tokio::sync::mpsc::UnboundedSender<Trouble>,
}

impl<S> Witness<S> {
    /// Puts a watch before a sink; provider troubles are told to `troubled` as they come.
    pub fn new(inner: S, watch: Watch, troubled: tokio::sync::mpsc::UnboundedSender<Trouble>) -> Self {
        Witness { inner, watch, troubled }
    }
}

impl<S: Sink> Sink for Witness<S> {
    type Error = S::Error;

    fn accept(&mut self, event: &TraceEvent) -> Result<(), S::Error> {
        // A grader must not see what the store does not have.
        self.inner.accept(event)?;
        if let Some(trouble) = self.watch.see(event) {
            // Nobody listens any more once the run has ended.
            let _ = self.troubled.send(trouble);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::trace::{CallSummary, Timestamp, Wire};

    #[derive(Default)]
    struct Nowhere;

    impl Sink for Nowhere {
        type Error = std::io::Error;
        fn accept(&mut self, _: &TraceEvent) -> Result<(), std::io::Error> {
            Ok(())
        }
    }

    fn event(what: What) -> TraceEvent {
        TraceEvent { trace: TraceId(7), at: Timestamp(0), what }
    }

    #[test]
    fn calls_become_steps_and_troubles_are_told() {
        let watch = Watch::default();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut witness = Witness::new(Nowhere, watch.clone(), tell);
        watch.begin(TraceId(7));
        let call = CallStarted {
            wire: Wire::OpenaiChat,
            upstream: "openai".to_owned(),
            target: "/v1/chat/completions".to_owned(),
            body: Bytes::from_static(b"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}"),
            ..CallStarted::default()
        };
        let headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("Retry-After".to_owned(), "3".to_owned()),
        ];
        let busy = CallEnded { status: Some(429), headers: headers.clone(), ..CallEnded::default() };
        let body = b"{\"id\":\"r1\",\"model\":\"m\",\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"Ho\"},\"finish_reason\":\"stop\"}]}";
        let fine = CallEnded {
            status: Some(200),
            headers,
            body: Bytes::from_static(body),
            summary: CallSummary { cost_usd: Some(0.5), ..CallSummary::default() },
            ..CallEnded::default()
        };
        for (id, ended) in [(1, busy), (2, fine)] {
            witness.accept(&event(What::CallStarted(CallId(id), call.clone()))).unwrap();
            witness.accept(&event(What::CallEnded(CallId(id), ended))).unwrap();
        }
        let trouble = told.try_recv().unwrap();
        assert_eq!((trouble.status, trouble.retry_after), (Some(429), Some(3.0)));
        let seen = watch.take(TraceId(7));
        assert_eq!(seen.steps.len(), 2);
        assert!(seen.steps[0].said.is_none());
        assert_eq!(seen.answer().as_deref(), Some("Ho"));
        assert_eq!((seen.trouble.clone(), seen.answers.len()), (None, 1));
        assert_eq!(seen.opening.len(), 1);
    }
}
