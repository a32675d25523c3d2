//! Puts the questions of rubrics to judges: through the proxy, so that judging is recorded like everything else, and each
//! question once, because what was answered is remembered.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::ask::{self, Address};
use crate::capture::{Ask, Begin, Proxy, ids};
use crate::grade::Evidence;
use crate::grade::rubric::{
    self, CriterionReading, Exhibit, Heard, How, Question, Reading, Ruling, Said, Vote, combined, hear, reminder,
};
use crate::provider;
use crate::redact::Redactor;
use crate::suite::{Criterion, Rubric, hash_hex};
use crate::trace::{Headers, Message, Role, TraceEnded, TraceId, TraceOutcome, TraceStarted};

/// How often a judge that is busy or broken is asked before its verdict is broken.
const TRIES: u32 = 4;
/// How often in a row a judge may fail before it is not asked any more.
const STRIKES: u32 = 8;
/// How often a judge may ask for more steps.
const MORE: u32 = 3;
/// The longest wait that a provider's `retry-after` is granted.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// An answer that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// Hash of the judge and of everything it was asked.
    pub key: String,
    pub judge: String,
    pub answer: String,
}

/// What judging needs to know.
#[derive(Debug, Clone)]
pub struct Judging {
    /// Headers with the keys of providers.
    pub keys: BTreeMap<String, Headers>,
    /// Questions at once.
    pub at_once: usize,
    /// What was answered before.
    pub memory: Vec<Judged>,
    /// The first wait for a judge that is busy; it doubles.
    pub patience: Duration,
}

impl Default for Judging {
    fn default() -> Self {
        Judging { keys: BTreeMap::new(), at_once: 32, memory: Vec::new(), patience: Duration::from_secs(1) }
    }
}

/// What is read, and as what it is recorded.
#[derive(Debug, Clone, Copy)]
pub struct Sitting<'a> {
    pub rubric: &'a Rubric,
    /// The rubric's folder: files of mock judges are found there.
    pub dir: &'a Path,
    pub evidence: &'a Evidence,
    /// What the trace of the questions is called.
    pub name: &'a str,
    pub tags: &'a [(String, String)],
    /// The possible answers in the opposite order.
    pub swapped: bool,
}

/// Judges, and what they have said so far.
#[derive(Debug)]
pub struct Judges {
    keys: BTreeMap<String, Headers>,
    at_once: Semaphore,
    patience: Duration,
    memory: Mutex<HashMap<String, String>>,
    fresh: Mutex<Vec<Judged>>,
    /// Failures in a row, by judge.
    strikes: Mutex<HashMap<String, u32>>,
    redactor: Arc<Redactor>,
}

/// One reading on its way: its trace begins with the first question that has to be asked.
struct Session<'a> {
    proxy: &'a Proxy,
    sitting: Sitting<'a>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    trace: Option<TraceId>,
    asked: u32,
    remembered: u32,
}

/// Who is asked, and the how-manieth time.
#[derive(Clone, Copy)]
struct Member<'a> {
    model: &'a str,
    repeat: u32,
    strong: bool,
}

impl Judges {
    /// Judges that have said nothing yet but what is remembered. What they are shown passes the redactor first.
    pub fn new(judging: Judging, redactor: Arc<Redactor>) -> Self {
        Judges {
            keys: judging.keys,
            at_once: Semaphore::new(judging.at_once.max(1)),
            patience: judging.patience,
            memory: Mutex::new(judging.memory.into_iter().map(|judged| (judged.key, judged.answer)).collect()),
            fresh: Mutex::default(),
            strikes: Mutex::default(),
            redactor,
        }
    }

    /// The answers that were not remembered before, each handed out once: whoever keeps records keeps them.
    pub fn take_fresh(&self) -> Vec<Judged> {
        std::mem::take(&mut *self.fresh.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads a trial by a rubric.
    pub async fn read(&self, proxy: &Proxy, sitting: Sitting<'_>) -> Reading {
        let session = Session { proxy, sitting, state: Mutex::default() };
        let rubric = sitting.rubric;
        let all: Vec<&Criterion> = rubric.criteria().map(|(_, criterion)| criterion).collect();
        let mut groups: Vec<Vec<&Criterion>> = Vec::new();
        for criterion in &all {
            match groups.iter_mut().find(|group| rubric.grouped && group[0].see == criterion.see) {
                Some(group) => group.push(criterion),
                None => groups.push(vec![criterion]),
            }
        }
        let read = join_all(groups.iter().map(|group| self.group(&session, group))).await;
        let mut criteria: Vec<CriterionReading> = Vec::new();
        let mut suspicious: Vec<String> = Vec::new();
        for (readings, found) in read {
            criteria.extend(readings);
            suspicious.extend(found.into_iter().filter(|passage| !suspicious.contains(passage)).collect::<Vec<_>>());
        }
        criteria.sort_by_key(|read| all.iter().position(|criterion| criterion.id == read.id));
        let mut reading = Reading { suspicious, ..Reading::new(rubric, criteria) };
        let state = session.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        (reading.asked, reading.remembered, reading.trace) = (state.asked, state.remembered, state.trace);
        if let Some(trace) = state.trace {
            let outcome = TraceOutcome::Ok;
            let ended = TraceEnded { outcome, exit_code: None, signal: None, reason: None, lost_calls: 0 };
            reading.cost_usd = proxy.end(trace, ended).await.cost_usd;
        }
        reading
    }

    async fn group(&self, session: &Session<'_>, group: &[&Criterion]) -> (Vec<CriterionReading>, Vec<String>) {
        let sitting = session.sitting;
        let judge = &sitting.rubric.judge;
        let redacted = |text: &str| self.redactor.text(text).0.into_owned();
        let exhibit = Exhibit::of(sitting.evidence, &group[0].see).with_texts(redacted);
        let suspicious = rubric::instructions(&exhibit.whole());
        let members = judge.members();
        if members.is_empty() {
            let why = format!("the rubric {} names no judge", sitting.rubric.rubric);
            let nobody = |criterion: &&Criterion| {
                combined(criterion, judge.combine, vec![Vote::of("", 1, false, Err(why.clone()))])
            };
            return (group.iter().map(nobody).collect(), suspicious);
        }
        let repeats = judge.repeats.max(1);
        let all =
            members.iter().flat_map(|model| (1..=repeats).map(move |repeat| Member { model, repeat, strong: false }));
        let heard = join_all(all.map(|member| self.member(session, group, &exhibit, member))).await;
        let mut votes: Vec<Vec<Vote>> = vec![Vec::new(); group.len()];
        for member in heard {
            votes.iter_mut().zip(member).for_each(|(votes, vote)| votes.push(vote));
        }
        if let Some(strong) = &judge.cascade {
            let open: Vec<usize> = (0..group.len()).filter(|at| is_unsure(group[*at], &votes[*at])).collect();
            if !open.is_empty() {
                let asked: Vec<&Criterion> = open.iter().map(|at| group[*at]).collect();
                let member = Member { model: strong, repeat: 1, strong: true };
                let heard = self.member(session, &asked, &exhibit, member).await;
                open.iter().zip(heard).for_each(|(at, vote)| votes[*at].push(vote));
            }
        }
        let one = |(criterion, votes): (&&Criterion, Vec<Vote>)| combined(criterion, judge.combine, votes);
        (group.iter().zip(votes).map(one).collect(), suspicious)
    }

    /// One judge's votes on a group of criteria, in their order.
    async fn member(
        &self,
        session: &Session<'_>,
        group: &[&Criterion],
        exhibit: &Exhibit,
        member: Member<'_>,
    ) -> Vec<Vote> {
        let rubric = session.sitting.rubric;
        let mut rulings: Vec<Option<Ruling>> = vec![None; group.len()];
        let mut whys = vec![String::new(); group.len()];
        let mut wanted: Vec<usize> = Vec::new();
        let (mut more, mut again) = (0, false);
        let doubts = rubric.judge.cascade.is_some() && !member.strong;
        let put = |wanted: &[usize]| {
            rubric::question(rubric, group, exhibit, How { wanted, swapped: session.sitting.swapped, doubts })
        };
        let mut question = put(&wanted);
        let mut messages = vec![Message::text(Role::User, question.user.clone())];
        loop {
            let (answer, key) = match self.answer(session, member, &question, &messages).await {
                Ok(answered) => answered,
                Err(why) => {
                    whys.iter_mut().for_each(|known| known.clone_from(&why));
                    break;
                }
            };
            let why = match hear(&answer, group, exhibit) {
                Heard::Need(numbers) if more < MORE => {
                    self.remember(key, member.model, &answer);
                    more += 1;
                    wanted.extend(numbers);
                    question = put(&wanted);
                    messages = vec![Message::text(Role::User, question.user.clone())];
                    continue;
                }
                Heard::Need(_) => "it asks for more steps again and again".to_owned(),
                Heard::Malformed(why) => why,
                Heard::Rulings(heard) => match take(heard, &mut rulings, &mut whys) {
                    Some(why) => why,
                    None => {
                        self.remember(key, member.model, &answer);
                        break;
                    }
                },
            };
            for (known, _) in
                whys.iter_mut().zip(&rulings).filter(|(known, ruling)| ruling.is_none() && known.is_empty())
            {
                known.clone_from(&why);
            }
            if again {
                break;
            }
            again = true;
            messages.push(Message::text(Role::Assistant, answer));
            messages.push(Message::text(Role::User, reminder(&why)));
        }
        let vote = |(ruling, why): (Option<Ruling>, String)| {
            Vote::of(member.model, member.repeat, member.strong, ruling.ok_or(why))
        };
        rulings.into_iter().zip(whys).map(vote).collect()
    }

    /// The answer to a question, remembered or asked for, and the key to remember it by if it is of use.
    async fn answer(
        &self,
        session: &Session<'_>,
        member: Member<'_>,
        question: &Question,
        messages: &[Message],
    ) -> Result<(String, Option<String>), String> {
        let model = beside(member.model, session.sitting.dir);
        let address = ask::address(&model);
        let judge = &session.sitting.rubric.judge;
        let asked = ask::Question {
            system: &question.system,
            messages,
            tools: &[],
            params: params(judge, &model),
            seed: (judge.repeats > 1).then_some(u64::from(member.repeat)),
        };
        let (mut headers, body) = ask::encode(&address, &asked);
        let spelled = format!("{}\n{}\n{}", member.model, member.repeat, String::from_utf8_lossy(&body));
        let key = hash_hex(spelled.as_bytes()) + &hash_hex(format!("again {spelled}").as_bytes());
        // A mock that reads a file may have other rules by now, and costs nothing to ask.
        let keeps = !model.starts_with("mock/judge:") && !model.starts_with("mock/script:");
        let known =
            keeps.then(|| self.memory.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()).flatten();
        if let Some(answer) = known {
            session.state.lock().unwrap_or_else(PoisonError::into_inner).remembered += 1;
            return Ok((answer, None));
        }
        if self.strikes.lock().unwrap_or_else(PoisonError::into_inner).get(member.model).is_some_and(|n| *n >= STRIKES)
        {
            return Err(format!("{} failed {STRIKES} times in a row and is not asked any more", member.model));
        }
        let provider = model.split('/').next().unwrap_or_default();
        headers.extend(self.keys.get(provider).into_iter().flatten().cloned());
        let told = self.told(session, &address, headers, body).await;
        let mut strikes = self.strikes.lock().unwrap_or_else(PoisonError::into_inner);
        match told {
            Ok(answer) => {
                strikes.remove(member.model);
                Ok((answer, keeps.then_some(key)))
            }
            Err(why) => {
                *strikes.entry(member.model.to_owned()).or_default() += 1;
                Err(format!("the judge {}: {why}", member.model))
            }
        }
    }

    /// Remembers an answer that was of use; one that wasn't may turn out better another time.
    fn remember(&self, key: Option<String>, judge: &str, answer: &str) {
        let Some(key) = key else { return };
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.insert(key.clone(), answer.to_owned()).is_none() {
            let judged = Judged { key, judge: judge.to_owned(), answer: answer.to_owned() };
            self.fresh.lock().unwrap_or_else(PoisonError::into_inner).push(judged);
        }
    }

    /// Asks, and asks again while the provider is busy or broken.
    async fn told(
        &self,
        session: &Session<'_>,
        address: &Address,
        headers: Headers,
        body: bytes::Bytes,
    ) -> Result<String, String> {
        let Ok(_turn) = self.at_once.acquire().await else { return Err("nobody judges any more".to_owned()) };
        let trace = session.trace();
        let mut why = String::new();
        for attempt in 0..TRIES {
            let (upstream, target) = (address.upstream.clone(), address.target.clone());
            let ask = Ask { trace, upstream, target, headers: headers.clone(), body: body.clone() };
            let mut wait = self.patience * 2_u32.pow(attempt);
            match session.proxy.ask(ask).await {
                Err(error) => why = error.to_string(),
                Ok(told) => {
                    let response = provider::response(address.wire, told.status, &told.headers, &told.body);
                    if told.status < 400 && response.error.is_none() && response.complete {
                        let text = response.message.map(|message| message.plain_text()).unwrap_or_default();
                        return Ok(text);
                    }
                    let said = response.error.map(|error| format!("{} {}", error.kind, error.message));
                    why = match (told.status, said) {
                        (status, Some(said)) if status >= 400 => format!("it answered {status}: {}", said.trim()),
                        (_, Some(said)) => said.trim().to_owned(),
                        (status, None) if status >= 400 => format!("it answered {status}"),
                        _ => "its answer broke off".to_owned(),
                    };
                    if matches!(told.status, 400..=404 | 405..=407 | 410 | 413..=424) {
                        return Err(why);
                    }
                    wait = wait.max(super::witness::retry_after(&told.headers).map_or(wait, Duration::from_secs_f64));
                }
            }
            if attempt + 1 < TRIES {
                tokio::time::sleep(wait.min(LONGEST_WAIT)).await;
            }
        }
        Err(format!("{why} ({TRIES} times)"))
    }
}

impl Session<'_> {
    /// The trace of this reading, begun when there is something to record.
    fn trace(&self) -> TraceId {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked += 1;
        *state.trace.get_or_insert_with(|| {
            let trace = ids::trace();
            let mut tags = vec![("judge".to_owned(), self.sitting.rubric.rubric.clone())];
            tags.extend(self.sitting.tags.iter().cloned());
            let started = TraceStarted { name: Some(self.sitting.name.to_owned()), tags, ..TraceStarted::default() };
            let key = format!("judge {}", self.sitting.name);
            self.proxy.begin(trace, Begin { started, key, ..Begin::default() });
            trace
        })
    }
}

/// Takes what was ruled where nothing was ruled yet; why the rest is void, when some of it is.
fn take(heard: Vec<Result<Ruling, String>>, rulings: &mut [Option<Ruling>], whys: &mut [String]) -> Option<String> {
    let mut wrong = Vec::new();
    for ((heard, ruling), known) in heard.into_iter().zip(rulings).zip(whys).filter(|((_, ruling), _)| ruling.is_none())
    {
        match heard {
            Ok(heard) => *ruling = Some(heard),
            Err(why) => {
                known.clone_from(&why);
                wrong.push(why);
            }
        }
    }
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

/// Whether a stronger judge should be asked.
fn is_unsure(criterion: &Criterion, votes: &[Vote]) -> bool {
    let doubtful = |vote: &Vote| !vote.sure || !matches!(vote.said, Said::Level { .. });
    let sides: Vec<bool> =
        votes.iter().filter_map(|vote| vote.level()).map(|level| level >= criterion.pass_at()).collect();
    votes.iter().any(doubtful) || sides.iter().any(|side| *side != sides[0])
}

/// A mock judge's file, found beside the rubric.
fn beside(model: &str, dir: &Path) -> String {
    for kind in ["mock/judge:", "mock/script:"] {
        if let Some(file) = model.strip_prefix(kind).filter(|file| Path::new(file).is_relative()) {
            let path: PathBuf = dir.join(file);
            return format!("{kind}{}", path.to_string_lossy());
        }
    }
    model.to_owned()
}

/// The parameters of a question, under the names of the provider.
fn params(judge: &crate::suite::JudgeSpec, model: &str) -> Map<String, Value> {
    let mut params: Map<String, Value> = judge.params.clone().into_iter().collect();
    if let Some(temperature) = judge.temperature {
        params.entry("temperature").or_insert_with(|| json!(temperature));
    }
    match model.split('/').next() {
        Some("openai") => {
            params.entry("response_format").or_insert_with(|| json!({"type": "json_object"}));
        }
        Some("gemini" | "google") => {
            params.entry("responseMimeType").or_insert_with(|| json!("application/json"));
        }
        _ => {}
    }
    params
}
