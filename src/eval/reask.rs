//! Recorded calls asked again, one by one, of another model or with another prompt, each with its recorded history. So every
//! step is compared by itself: a step that comes out differently does not spoil the ones after it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use serde::{Deserialize, Serialize};

use crate::capture::{Ask, Proxy, clock};
use crate::price::Table;
use crate::provider;
use crate::redact::Redactor;
use crate::replay::{Compared, Edited, Edits, compare};
use crate::trace::{CallId, Headers, Response, TraceId, Usage, Wire};

/// How often a question is asked that got no answer.
const TRIES: u32 = 5;
/// How often one is put off because the provider is busy and says so.
const TURNS: u32 = 30;
/// The longest pause between two of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// So many questions in a row without an answer, and the rest isn't asked: the provider is down, or doesn't know the model.
const GIVE_UP: usize = 20;
/// Headers of a recorded request that say how it wants to be understood.
const TELLING: [&str; 4] = ["content-type", "anthropic-version", "anthropic-beta", "openai-beta"];

/// A recorded call that is to be asked again.
#[derive(Debug, Clone)]
pub struct Question {
    pub trace: TraceId,
    pub call: CallId,
    /// Its number in the trace, from 1; 0 where nobody counted.
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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reanswer {
    pub trace: TraceId,
    pub call: CallId,
    pub number: usize,
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    pub recorded_usage: Usage,
    pub usage: Usage,
    pub recorded_cost_usd: Option<f64>,
    pub cost_usd: Option<f64>,
    pub recorded_latency_us: Option<u64>,
    pub latency_us: u64,
    /// What the other wire format could not carry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_carried: Vec<String>,
    /// Why there is no answer to compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// It never got as far as the provider.
    #[serde(skip)]
    unfit: bool,
}

/// How to ask.
pub struct Reask {
    pub edits: Edits,
    /// The upstream; the recorded one where `None`.
    pub upstream: Option<String>,
    /// Headers with keys, by upstream.
    pub keys: Box<dyn Fn(&str) -> Headers + Send + Sync>,
    pub prices: Table,
    /// How many at once.
    pub jobs: usize,
    /// How long one try may take.
    pub patience: Duration,
    /// What providers say of errors is kept without secrets.
    pub redactor: Arc<Redactor>,
}

/// Everyone waits when a provider says that it is busy.
#[derive(Default)]
pub(super) struct Pause(Mutex<Option<Instant>>);

impl Pause {
    fn until(&self) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).filter(|until| *until > clock::tick())
    }

    async fn over(&self) {
        while let Some(until) = self.until() {
            tokio::time::sleep_until(until.into()).await;
        }
    }

    fn extend(&self, by: Duration) {
        let end = clock::tick() + by;
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *until = Some(until.map_or(end, |until| until.max(end)));
    }
}

/// Asks all of them, each with the number of its attempt, in parallel, through a proxy, so that the answers are recorded in `into`.
/// A question is fetched when its turn comes, and `done` is told of each answer as it comes. True at the end when so many in a row
/// got none that the rest was not asked.
pub async fn reask(
    proxy: &Proxy,
    into: TraceId,
    questions: impl Iterator<Item = (Question, u32)>,
    how: &Reask,
    mut done: impl FnMut(Reanswer),
) -> bool {
    let pause = &Pause::default();
    let asked = questions.map(|(question, attempt)| one(proxy, into, question, attempt, how, pause));
    let mut answers = stream::iter(asked).buffer_unordered(how.jobs.max(1));
    let mut in_vain = 0;
    while let Some(answer) = answers.next().await {
        in_vain = match (&answer.error, answer.unfit) {
            (None, _) => 0,
            (Some(_), true) => in_vain,
            (Some(_), false) => in_vain + 1,
        };
        done(answer);
        if in_vain >= GIVE_UP {
            return true;
        }
    }
    false
}

pub(super) async fn one(
    proxy: &Proxy,
    into: TraceId,
    question: Question,
    attempt: u32,
    how: &Reask,
    pause: &Pause,
) -> Reanswer {
    let mut answer = Reanswer {
        trace: question.trace,
        call: question.call,
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
        unfit: false,
    };
    let Put { answer: told, not_carried, unfit } = put(proxy, into, &question, how, pause).await;
    (answer.not_carried, answer.unfit) = (not_carried, unfit);
    let said = |error: &str| Some(how.redactor.text(error).0.into_owned());
    match told {
        Err(error) => answer.error = said(&error),
        Ok((response, latency)) => {
            answer.latency_us = latency;
            answer.usage = response.usage;
            answer.cost_usd = cost(&response, how);
            match &response.error {
                Some(error) => answer.error = said(format!("{} {}", error.kind, error.message).trim()),
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
    /// It could not be asked that way, so it was never sent.
    pub unfit: bool,
}

/// Puts a question once, and again while whoever is asked is busy.
pub(super) async fn put(proxy: &Proxy, into: TraceId, question: &Question, how: &Reask, pause: &Pause) -> Put {
    let Edited { wire, target, headers, body, lost } =
        match how.edits.apply(question.wire, &question.target, &question.body) {
            Ok(edited) => edited,
            Err(error) => return Put { answer: Err(error.to_string()), not_carried: Vec::new(), unfit: true },
        };
    let upstream = upstream(question, how);
    let telling = |(name, _): &&(String, String)| TELLING.contains(&name.to_ascii_lowercase().as_str());
    let mut headers = headers.unwrap_or_else(|| question.headers.iter().filter(telling).cloned().collect());
    headers.extend((how.keys)(&upstream));
    let ask = Ask { trace: into, upstream, target, headers, body };
    Put { answer: patiently(proxy, wire, ask, how.patience, pause).await, not_carried: lost, unfit: false }
}

/// By the name the model gives itself, and where that has no price, by the name it was asked under.
fn cost(response: &Response, how: &Reask) -> Option<f64> {
    let by = |name: &str| how.prices.cost_with(name, &response.usage, &response.usage_raw);
    by(&response.model).or_else(|| by(&how.edits.model.as_ref()?.0))
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

/// Asks until there is an answer: who is busy is asked again later, as late as it says, and so is everyone else meanwhile.
async fn patiently(
    proxy: &Proxy,
    wire: Wire,
    ask: Ask,
    patience: Duration,
    pause: &Pause,
) -> Result<(Response, u64), String> {
    let mut step = Duration::from_millis(500);
    let (mut tries, mut turns) = (0, 0);
    loop {
        pause.over().await;
        let begun = clock::tick();
        let (why, busy, after) = match tokio::time::timeout(patience, proxy.ask(ask.clone())).await {
            Ok(Ok(told)) => {
                let response = provider::response(wire, told.status, &told.headers, &told.body);
                if !matches!(told.status, 408 | 409 | 429 | 500..) {
                    return Ok((response, clock::micros_since(begun)));
                }
                let why = response.error.map_or_else(|| format!("HTTP {}", told.status), |error| error.message);
                let after = retry_after(&told.headers);
                (why, matches!(told.status, 429 | 529) || after.is_some(), after)
            }
            Ok(Err(error)) => (error.to_string(), false, None),
            Err(_) => return Err(format!("no answer within {} s", patience.as_secs())),
        };
        (tries, turns) = if busy { (tries, turns + 1) } else { (tries + 1, turns) };
        if tries >= TRIES || turns >= TURNS {
            return Err(why);
        }
        let wait = after.unwrap_or(step).min(LONGEST_PAUSE);
        if busy {
            pause.extend(wait);
        } else {
            tokio::time::sleep(wait).await;
        }
        step = (step * 2).min(LONGEST_PAUSE);
    }
}

fn retry_after(headers: &Headers) -> Option<Duration> {
    let (_, value) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    value.trim().parse::<f64>().ok().filter(|seconds| (0.0..86_400.0).contains(seconds)).map(Duration::from_secs_f64)
}
