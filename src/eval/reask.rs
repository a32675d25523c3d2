//! Recorded calls asked again, one by one, of another model or with another prompt, each with its recorded history. So every
//! step is compared by itself: a step that comes out differently does not spoil the ones after it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::capture::{Ask, Proxy, clock};
use crate::price::Table;
use crate::provider;
use crate::replay::{Compared, Edited, Edits, compare};
use crate::trace::{Headers, Response, TraceId, Usage, Wire};

/// How often a question is asked that got no answer.
const TRIES: u32 = 5;
/// The longest pause between two of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Headers of a recorded request that say how it wants to be understood.
const TELLING: [&str; 4] = ["content-type", "anthropic-version", "anthropic-beta", "openai-beta"];

/// A recorded call that is to be asked again.
#[derive(Debug, Clone)]
pub struct Question {
    pub trace: TraceId,
    /// Its number in the trace, from 1.
    pub number: usize,
    pub wire: Wire,
    pub upstream: String,
    pub target: String,
    pub headers: Headers,
    pub body: Bytes,
    pub recorded: Response,
    pub cost_usd: Option<f64>,
    pub latency_us: Option<u64>,
}

/// What came back for one of them.
#[derive(Debug, Clone, Serialize)]
pub struct Reanswer {
    pub trace: TraceId,
    pub number: usize,
    pub attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    pub recorded_usage: Usage,
    pub usage: Usage,
    pub recorded_cost_usd: Option<f64>,
    pub cost_usd: Option<f64>,
    pub recorded_latency_us: Option<u64>,
    pub latency_us: u64,
    /// What the other wire format could not carry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_carried: Vec<String>,
    /// Why there is no answer to compare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How to ask.
pub struct Reask {
    pub edits: Edits,
    /// The upstream; the recorded one where `None`.
    pub upstream: Option<String>,
    /// Headers with keys, by upstream.
    pub keys: Box<dyn Fn(&str) -> Headers + Send + Sync>,
    pub prices: Table,
    /// How often each is asked.
    pub k: u32,
    /// How many at once.
    pub jobs: usize,
}

/// Asks all of them, in parallel, through a proxy, so that the answers are recorded in `into`. `done` is told of each.
pub async fn reask(
    proxy: &Proxy,
    into: TraceId,
    questions: &[Question],
    how: &Reask,
    done: impl Fn(),
) -> Vec<Reanswer> {
    let room = Arc::new(Semaphore::new(how.jobs.max(1)));
    let every = questions.iter().flat_map(|question| (1..=how.k).map(move |attempt| (question, attempt)));
    let asked = every.map(|(question, attempt)| {
        let (room, done) = (room.clone(), &done);
        async move {
            let _turn = room.acquire().await;
            let answer = one(proxy, into, question, attempt, how).await;
            done();
            answer
        }
    });
    futures_util::future::join_all(asked).await
}

async fn one(proxy: &Proxy, into: TraceId, question: &Question, attempt: u32, how: &Reask) -> Reanswer {
    let mut answer = Reanswer {
        trace: question.trace,
        number: question.number,
        attempt,
        compared: None,
        recorded_usage: question.recorded.usage,
        usage: Usage::default(),
        recorded_cost_usd: question.cost_usd,
        cost_usd: None,
        recorded_latency_us: question.latency_us,
        latency_us: 0,
        not_carried: Vec::new(),
        error: None,
    };
    let Put { answer: told, not_carried } = put(proxy, into, question, how).await;
    answer.not_carried = not_carried;
    match told {
        Err(error) => answer.error = Some(error),
        Ok((response, latency)) => {
            answer.latency_us = latency;
            answer.usage = response.usage;
            answer.cost_usd = how.prices.cost_with(&response.model, &response.usage, &response.usage_raw);
            match &response.error {
                Some(error) => answer.error = Some(format!("{} {}", error.kind, error.message).trim().to_owned()),
                None => answer.compared = Some(compare(&question.recorded, &response)),
            }
        }
    }
    answer
}

/// What came of a question that was put once.
pub(super) struct Put {
    /// The answer, and how long it took.
    pub answer: Result<(Response, u64), String>,
    pub not_carried: Vec<String>,
}

/// Puts a question once, and again while whoever is asked is busy.
pub(super) async fn put(proxy: &Proxy, into: TraceId, question: &Question, how: &Reask) -> Put {
    let Edited { wire, target, headers, body, lost } =
        match how.edits.apply(question.wire, &question.target, &question.body) {
            Ok(edited) => edited,
            Err(error) => return Put { answer: Err(error.to_string()), not_carried: Vec::new() },
        };
    let upstream = upstream(question, how);
    let telling = |(name, _): &&(String, String)| TELLING.contains(&name.to_ascii_lowercase().as_str());
    let mut headers = headers.unwrap_or_else(|| question.headers.iter().filter(telling).cloned().collect());
    headers.extend((how.keys)(&upstream));
    let ask = Ask { trace: into, upstream, target, headers, body };
    Put { answer: patiently(proxy, wire, ask).await, not_carried: lost }
}

/// Mock models have an upstream of their own, whatever was recorded.
fn upstream(question: &Question, how: &Reask) -> String {
    let mock = |(model, wire): &(String, Wire)| provider::mock::is_mock(model) && *wire == Wire::Raw;
    match (&how.upstream, &how.edits.model) {
        (Some(upstream), _) => upstream.clone(),
        (None, Some(model)) if mock(model) => "mock".to_owned(),
        (None, _) if question.upstream.starts_with("mock") => "mock".to_owned(),
        (None, _) => question.upstream.clone(),
    }
}

/// Asks until there is an answer: who is busy is asked again later, as late as it says.
async fn patiently(proxy: &Proxy, wire: Wire, ask: Ask) -> Result<(Response, u64), String> {
    let mut pause = Duration::from_millis(500);
    let mut tries = 1;
    loop {
        let begun = clock::tick();
        let told = proxy.ask(ask.clone()).await;
        let (why, after) = match told {
            Ok(told) => {
                let response = provider::response(wire, told.status, &told.headers, &told.body);
                if !matches!(told.status, 408 | 409 | 429 | 500..) {
                    return Ok((response, clock::micros_since(begun)));
                }
                let why = response.error.map_or_else(|| format!("HTTP {}", told.status), |error| error.message);
                (why, retry_after(&told.headers))
            }
            Err(error) => (error.to_string(), None),
        };
        if tries >= TRIES {
            return Err(why);
        }
        tokio::time::sleep(after.unwrap_or(pause).min(LONGEST_PAUSE)).await;
        pause *= 2;
        tries += 1;
    }
}

fn retry_after(headers: &Headers) -> Option<Duration> {
    let (_, value) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    value.trim().parse::<f64>().ok().filter(|seconds| (0.0..86_400.0).contains(seconds)).map(Duration::from_secs_f64)
}
