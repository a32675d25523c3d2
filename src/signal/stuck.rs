//! A loop that goes round in circles, noticed while it runs: the same tool calls with the same results again and again,
//! alone or in a cycle, the same words to the same words, the same error whatever is tried, or nothing new for long.
//!
//! What counts is what came back. Asking for the same thing and getting another answer is waiting or working; only the
//! same question with the same answer is a circle. Calls are told apart by conversation (a call's id is found again in
//! the request that brings its result), so sub-agents that all begin alike are not a circle either.

use std::collections::{HashMap, VecDeque};

use super::step::{Mark, Step};

/// How much repetition is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The same exchange this many times in a row.
    pub repeats: usize,
    /// A cycle of two to four exchanges this many times round.
    pub cycles: usize,
    /// The same tool error this many times with nothing but errors between.
    pub errors: usize,
    /// This many exchanges, none of which was new.
    pub stale: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { repeats: 5, cycles: 4, errors: 8, stale: 16 }
    }
}

/// Exchanges remembered per conversation: enough for [`Limits::stale`] and the longest cycle.
const REMEMBERED: usize = 64;
/// Conversations and open tool calls remembered; the oldest are forgotten first.
const CONVERSATIONS: usize = 64;
const OPEN_CALLS: usize = 1024;
const LONGEST_CYCLE: usize = 4;

/// Watches a trace call by call, in bounded memory.
#[derive(Debug, Default)]
pub struct Stuck {
    limits: Limits,
    conversations: HashMap<u64, Conversation>,
    open: HashMap<String, Open>,
    open_order: VecDeque<String>,
    last: u64,
}

/// A tool call whose result hasn't been seen yet, or has (then it is a retry that brings it again).
#[derive(Debug)]
struct Open {
    conversation: u64,
    asked: Mark,
    tool: String,
    answered: bool,
}

/// One thing done and what came of it.
#[derive(Debug, Clone)]
struct Exchange {
    mark: Mark,
    what: String,
}

/// An answer whose consequences will come as text: words, or tool calls of a wire without ids.
#[derive(Debug)]
struct Pending {
    mark: Mark,
    what: String,
    ids: Vec<String>,
}

#[derive(Debug, Default)]
struct Conversation {
    recent: VecDeque<Exchange>,
    pending: Option<Pending>,
    stale: usize,
    errors: usize,
    last_error: Option<Mark>,
    messages: usize,
    used: u64,
}

impl Stuck {
    /// A watcher with these limits.
    pub fn new(limits: Limits) -> Self {
        Stuck { limits, ..Stuck::default() }
    }

    /// Takes a finished call; the reason, in words, once the loop is stuck.
    pub fn feed(&mut self, step: &Step) -> Option<String> {
        // A call that failed is asked again with the same news in it: only the one that is answered counts.
        if !step.is_answered() {
            return None;
        }
        self.last += 1;
        let (now, limits) = (self.last, self.limits);
        let agent = agent_lane(step);
        let (id, exchange) = match self.by_ids(step) {
            Some(found) => found,
            None => (agent, self.lane(agent).by_order(step)),
        };
        let conversation = self.lane(id);
        conversation.used = now;
        let reason = conversation.take(step, exchange, &limits);
        // Whoever begins without results begins a conversation of its own.
        self.remember(step, if id == agent { now } else { id });
        self.lane(agent).expect(step);
        self.forget();
        reason
    }

    fn lane(&mut self, id: u64) -> &mut Conversation {
        let last = self.last;
        self.conversations.entry(id).or_insert_with(|| Conversation { used: last, ..Conversation::default() })
    }

    /// The conversation that this call's results belong to, and the exchange they complete; no exchange when they have
    /// been seen before.
    fn by_ids(&mut self, step: &Step) -> Option<(u64, Option<Exchange>)> {
        let mut pairs = Vec::new();
        let mut conversation = None;
        for result in &step.results {
            let Some(open) = self.open.get_mut(&result.id) else { continue };
            conversation = Some(open.conversation);
            if !std::mem::replace(&mut open.answered, true) {
                pairs.push((open.asked, result.mark, open.tool.clone()));
            }
        }
        let conversation = conversation?;
        let lane = self.lane(agent_lane(step));
        if lane.pending.as_ref().is_some_and(|p| step.results.iter().any(|r| p.ids.contains(&r.id))) {
            lane.pending = None;
        }
        // Parallel results come in the order they finished, which says nothing.
        pairs.sort_unstable();
        let marks = pairs.iter().flat_map(|(asked, got, _)| [*asked, *got]);
        let exchange = (!pairs.is_empty()).then(|| Exchange { mark: together(marks), what: names(&pairs) });
        Some((conversation, exchange))
    }

    fn remember(&mut self, step: &Step, conversation: u64) {
        for asked in step.asked.iter().filter(|asked| !asked.id.is_empty()) {
            let open = Open { conversation, asked: asked.mark, tool: asked.tool.clone(), answered: false };
            if self.open.insert(asked.id.clone(), open).is_none() {
                self.open_order.push_back(asked.id.clone());
            }
        }
        while self.open_order.len() > OPEN_CALLS {
            let oldest = self.open_order.pop_front();
            oldest.and_then(|id| self.open.remove(&id));
        }
    }

    fn forget(&mut self) {
        if self.conversations.len() > CONVERSATIONS
            && let Some(oldest) = self.conversations.iter().min_by_key(|(_, c)| c.used).map(|(id, _)| *id)
        {
            self.conversations.remove(&oldest);
        }
    }
}

/// Where calls without ids are followed: one lane per agent. Numbered conversations are small, these are not.
fn agent_lane(step: &Step) -> u64 {
    Mark::of(step.agent.as_deref().unwrap_or("").as_bytes()).0 | 1 << 63
}

fn together(marks: impl Iterator<Item = Mark>) -> Mark {
    Mark::of(&marks.flat_map(|mark| mark.0.to_be_bytes()).collect::<Vec<u8>>())
}

fn names(pairs: &[(Mark, Mark, String)]) -> String {
    let mut tools: Vec<&str> = pairs.iter().map(|(_, _, tool)| tool.as_str()).collect();
    tools.dedup();
    format!("the same call of {} with the same result", tools.join(", "))
}

impl Conversation {
    /// The exchange that this call completes, when its wire has no ids: what was answered last, and what came of it.
    /// Only a conversation that has grown has gone on; equal calls beside each other are a vote, not a loop.
    fn by_order(&mut self, step: &Step) -> Option<Exchange> {
        let grown = step.messages > std::mem::replace(&mut self.messages, step.messages);
        let pending = self.pending.take_if(|_| grown)?;
        let news = step.results.iter().map(|result| result.mark).chain(step.said);
        Some(Exchange { mark: together(std::iter::once(pending.mark).chain(news)), what: pending.what })
    }

    /// Notes an answer whose consequences may come without ids.
    fn expect(&mut self, step: &Step) {
        let what = match (step.asked.is_empty(), step.text) {
            (true, None) => return,
            (true, Some(_)) => "the same words, answered by the same words,".to_owned(),
            (false, _) => names(&step.asked.iter().map(|a| (a.mark, a.mark, a.tool.clone())).collect::<Vec<_>>()),
        };
        let marks = step.asked.iter().map(|asked| asked.mark);
        // What a model says beside its calls varies without meaning anything; alone, it is all there is.
        let mark = if step.asked.is_empty() { together(step.text.into_iter()) } else { together(marks) };
        let ids = step.asked.iter().map(|asked| asked.id.clone()).filter(|id| !id.is_empty()).collect();
        self.pending = Some(Pending { mark, what, ids });
    }

    fn take(&mut self, step: &Step, exchange: Option<Exchange>, limits: &Limits) -> Option<String> {
        let reason = self.take_errors(step, limits);
        let Some(exchange) = exchange else { return reason };
        let known = self.recent.iter().any(|earlier| earlier.mark == exchange.mark);
        self.stale = if known { self.stale + 1 } else { 0 };
        self.recent.push_back(exchange);
        if self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
        self.circle(limits).or(reason).or_else(|| {
            (self.stale >= limits.stale)
                .then(|| format!("nothing new in {} tool results or answers in a row", self.stale))
        })
    }

    fn take_errors(&mut self, step: &Step, limits: &Limits) -> Option<String> {
        for result in &step.results {
            if !result.is_error {
                (self.errors, self.last_error) = (0, None);
            } else if self.last_error == Some(result.mark) {
                self.errors += 1;
            } else {
                (self.errors, self.last_error) = (1, Some(result.mark));
            }
        }
        (self.errors >= limits.errors).then(|| format!("the same tool error {} times in a row", self.errors))
    }

    /// The shortest cycle that the last exchanges go round in.
    fn circle(&self, limits: &Limits) -> Option<String> {
        (1..=LONGEST_CYCLE).find_map(|period| {
            let times = if period == 1 { limits.repeats } else { limits.cycles };
            let needed = period * times;
            let from = self.recent.len().checked_sub(needed)?;
            let turns =
                (from + period..self.recent.len()).all(|at| self.recent[at].mark == self.recent[at - period].mark);
            turns.then(|| match period {
                1 => format!("{} {times} times in a row", self.recent[from].what),
                _ => format!("the same {period} exchanges in a circle, {times} times round"),
            })
        })
    }
}
