//! A loop that goes round in circles, noticed while it runs: the same tool calls with the same results again and again,
//! alone or in a cycle, the same words to the same words, the same error whatever is tried, or nothing new for long.
//!
//! What counts is what came back. Asking for the same thing and getting another answer is waiting or working; only the
//! same question with the same answer is a circle. Calls are told apart by conversation (a call's id is found again in
//! the request that brings its result), so sub-agents that all begin alike are not a circle either.

use std::collections::{HashMap, VecDeque};

use super::step::{Mark, Step};
use super::{Found, Level, Story};

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

/// The whole trace through the watcher: the first time in each conversation that it says so.
pub fn signal(story: &Story<'_>) -> Vec<Found> {
    let mut watcher = Stuck::new(Limits::default());
    let mut found: Vec<Found> = Vec::new();
    for (at, step) in story.steps.iter().enumerate() {
        let Some(says) = watcher.feed(step) else { continue };
        match found.last_mut() {
            // It goes on saying so: one finding that counts.
            Some(last) => last.value += 1.0,
            None => found.push(Found { level: Level::Bad, at, value: 1.0, says }),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::made::Loop;
    use super::*;

    /// At which step the watcher first says so, and what.
    fn stuck(steps: &[Step]) -> Option<(usize, String)> {
        let mut watcher = Stuck::new(Limits::default());
        steps.iter().enumerate().find_map(|(at, step)| watcher.feed(step).map(|reason| (at, reason)))
    }

    #[test]
    fn the_same_call_with_the_same_result_is_a_circle() {
        let mut made = Loop::new();
        for n in 0..7 {
            made.bash("cat x", &format!("Chunk ID: {n}abcd\nWall time: 0.{n}1 seconds\nno such file"));
        }
        let (at, reason) = stuck(&made.steps).unwrap();
        assert_eq!(at, 5, "the sixth request brings the fifth result");
        assert_eq!(reason, "the same call of bash with the same result 5 times in a row");
    }

    #[test]
    fn asking_again_and_hearing_something_new_is_not() {
        let mut polling = Loop::new();
        let mut reading = Loop::new();
        for n in 0..60 {
            polling.bash("gh run view", &format!("{n} of 60 jobs done"));
            reading.bash(&format!("seq {n} 800"), "the same old lines");
        }
        assert_eq!(stuck(&polling.steps), None);
        assert_eq!(stuck(&reading.steps), None, "other commands, if always the same result");
    }

    #[test]
    fn cycles_of_two_to_four_are_found_with_results_in_any_order() {
        for period in 2..=4 {
            let mut made = Loop::new();
            for n in 0..30 {
                let pair = [(["a", "b", "c", "d"][n % period], Ok("same")), ("e", Ok("too"))];
                made.tools("bash", &if n % 3 == 0 { [pair[1], pair[0]] } else { pair });
            }
            let (at, reason) = stuck(&made.steps).unwrap();
            assert!(at == period * 4 && reason.contains(&format!("{period} exchanges")), "{period}: {at} {reason}");
        }
    }

    #[test]
    fn one_error_whatever_is_tried_is_stuck_and_different_ones_are_not() {
        let mut same = Loop::new();
        let mut others = Loop::new();
        for n in 0..12 {
            same.tools("edit", &[(&format!("try {n}"), Err("old_string not found"))]);
            others.tools("edit", &[(&format!("try {n}"), Err(&format!("line {n}: expected `;`")))]);
        }
        assert_eq!(stuck(&same.steps).unwrap(), (8, "the same tool error 8 times in a row".to_owned()));
        assert_eq!(stuck(&others.steps), None);
    }

    #[test]
    fn wandering_among_known_places_is_no_progress() {
        let mut made = Loop::new();
        for n in [0, 1, 2, 3, 4, 5, 0, 3, 1, 5, 2, 4, 4, 0, 2, 1, 3, 5, 0, 5, 1, 2, 4, 3, 0] {
            made.bash(&format!("look {n}"), &format!("place {n}"));
        }
        let (at, reason) = stuck(&made.steps).unwrap();
        assert!(at == 22 && reason.contains("nothing new in 16"), "{at} {reason}");
    }

    #[test]
    fn the_same_words_back_and_forth_are_a_circle_and_a_vote_is_not() {
        let mut made = Loop::new();
        for _ in 0..8 {
            made.says("I am done.", "please go on");
        }
        assert!(stuck(&made.steps).unwrap().1.contains("the same words"));
        // The same question asked eight times beside each other.
        let mut vote = Loop::new();
        for _ in 0..8 {
            let history = vote.history.clone();
            vote.says("Paris", "").history = history;
        }
        assert_eq!(stuck(&vote.steps), None);
    }

    #[test]
    fn agents_that_begin_alike_and_failed_calls_are_not_a_circle() {
        let mut steps = Vec::new();
        for n in 0..9 {
            let mut agent = Loop::new();
            agent.bash("ls", "a b c").bash("cat a", "aaa").says("done", "");
            // Ids are the provider's: no two conversations share one.
            for step in &mut agent.steps {
                step.asked.iter_mut().for_each(|asked| asked.id += &format!("_{n}"));
                step.results.iter_mut().for_each(|result| result.id += &format!("_{n}"));
            }
            steps.push(agent.steps);
        }
        let interleaved: Vec<Step> = (0..3).flat_map(|at| steps.iter().map(move |agent| agent[at].clone())).collect();
        assert_eq!(stuck(&interleaved), None);

        let mut failing = Loop::new();
        failing.bash("ls", "a");
        for _ in 0..20 {
            failing.fails("overloaded_error");
        }
        assert_eq!(stuck(&failing.bash("cat a", "aaa").steps), None);
    }

    #[test]
    fn memory_stays_bounded() {
        let mut watcher = Stuck::new(Limits::default());
        for n in 0..5000 {
            let mut agent = Loop::new();
            agent.bash("ls", "a").bash("cat a", "b");
            for step in &mut agent.steps {
                step.agent = Some(format!("agent {n}"));
                step.asked.iter_mut().for_each(|asked| asked.id += &format!("_{n}"));
                step.results.iter_mut().for_each(|result| result.id += &format!("_{n}"));
                watcher.feed(step);
            }
        }
        assert!(watcher.conversations.len() <= CONVERSATIONS && watcher.open.len() <= OPEN_CALLS);
        assert_eq!(watcher.open.len(), watcher.open_order.len());
    }
}
