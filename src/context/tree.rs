//! The tree of contexts: what a call's conversation is to the conversations its trace has seen before.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::ids::{BlockId, ContextId};
use crate::trace::CallId;

/// What a call is to the call it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// A conversation of its own.
    #[default]
    Root,
    /// The parent's conversation, and more.
    Extend,
    /// The parent's conversation again, word for word.
    Retry,
    /// It keeps some of a conversation that has gone on differently.
    Fork,
    /// The same agent with a new and shorter history: what compaction leaves behind.
    Reset,
}

impl Relation {
    /// The word stored in the index.
    pub fn as_str(self) -> &'static str {
        match self {
            Relation::Root => "root",
            Relation::Extend => "extend",
            Relation::Retry => "retry",
            Relation::Fork => "fork",
            Relation::Reset => "reset",
        }
    }
}

/// A call's place in its trace's tree. Messages are counted without the standing orders that lead a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Placed {
    /// Names the standing orders and the whole conversation.
    pub id: ContextId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<CallId>,
    pub relation: Relation,
    /// How many messages it shares with its parent, from the first on.
    pub kept: u32,
    /// How many messages it has.
    pub messages: u32,
}

/// What one call says, reduced to names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conversation {
    /// Names the standing orders: system prompts, instructions, leading system messages.
    pub orders: BlockId,
    /// Names the agent the client says it is; empty where it doesn't.
    pub agent: String,
    /// The messages after the standing orders, normalised.
    pub messages: Vec<BlockId>,
    /// Where in `messages` the model speaks for the first time.
    pub first_answer: Option<usize>,
}

/// The contexts one trace has seen: one line of history for each branch that is still growing.
#[derive(Debug, Clone, Default)]
pub struct Contexts {
    tips: Vec<Tip>,
    /// By history: the last call that had just this history, and whether another went on from it.
    calls: HashMap<ContextId, (CallId, bool)>,
}

#[derive(Debug, Clone)]
struct Tip {
    call: CallId,
    orders: BlockId,
    agent: String,
    said: Vec<BlockId>,
    /// `history[i]` names the first `i + 1` messages.
    history: Vec<ContextId>,
}

/// Branches and histories kept for one trace. Beyond that the oldest are forgotten, and what comes back to them looks new.
const MOST_TIPS: usize = 256;
const MOST_CALLS: usize = 65_536;
/// A conversation that short is no history to be compacted.
const SHORT: usize = 3;

/// A call's place, and what there is to remember of it once it is stored.
#[derive(Debug, Clone)]
pub struct Placement {
    pub placed: Placed,
    history: Vec<ContextId>,
    grows: Option<usize>,
}

impl Contexts {
    /// Where a call belongs. Nothing is remembered until [`Contexts::remember`].
    pub fn place(&self, said: &Conversation) -> Placement {
        let mut history = self.known_history(&said.messages);
        let mut so_far = history.last().copied().unwrap_or_default();
        for message in &said.messages[history.len()..] {
            so_far = so_far.then(*message);
            history.push(so_far);
        }
        let (relation, parent, kept, grows) = self.relate(said, &history);
        let placed = Placed {
            id: so_far.then(said.orders),
            parent,
            relation,
            kept: u32::try_from(kept).unwrap_or(u32::MAX),
            messages: u32::try_from(history.len()).unwrap_or(u32::MAX),
        };
        Placement { placed, history, grows }
    }

    /// The names of as much of a history as one of the last tips had too: a long one is not named anew for each call.
    fn known_history(&self, messages: &[BlockId]) -> Vec<ContextId> {
        const TRIED: usize = 8;
        let same = |tip: &Tip| tip.said.iter().zip(messages).take_while(|(one, other)| one == other).count();
        let best = self.tips.iter().rev().take(TRIED).map(|tip| (same(tip), tip)).max_by_key(|(same, _)| *same);
        let mut history = Vec::with_capacity(messages.len());
        history.extend(best.iter().flat_map(|(same, tip)| &tip.history[..*same]));
        history
    }

    fn relate(&self, said: &Conversation, history: &[ContextId]) -> (Relation, Option<CallId>, usize, Option<usize>) {
        let root = (Relation::Root, None, 0, None);
        let nearest = self.tips.iter().enumerate().map(|(at, tip)| {
            let shared = shared(&tip.history, history);
            let kin = usize::from(tip.orders == said.orders) + usize::from(tip.agent == said.agent);
            ((shared, kin, at), tip)
        });
        let Some(((kept, _, at), tip)) = nearest.max_by_key(|(rank, _)| *rank) else { return root };
        let answered = said.first_answer.is_some_and(|first| first < kept);
        let same_orders = tip.orders == said.orders;
        if kept == 0 || !(answered || same_orders) {
            return self.reset(said, history).unwrap_or(root);
        }
        let known = self.calls.get(&history[kept - 1]);
        let whole_tip = kept == tip.history.len();
        if kept == history.len() {
            return match known {
                Some((call, _)) => (Relation::Retry, Some(*call), kept, whole_tip.then_some(at)),
                None => (Relation::Fork, Some(tip.call), kept, None),
            };
        }
        match known {
            Some((call, went_on)) if !went_on => (Relation::Extend, Some(*call), kept, whole_tip.then_some(at)),
            Some((call, _)) if answered => (Relation::Fork, Some(*call), kept, None),
            None if answered => (Relation::Fork, Some(tip.call), kept, None),
            // Only the user's words are left of a longer conversation: that is what compaction does.
            _ if history.len() < tip.history.len() => (Relation::Reset, Some(tip.call), kept, None),
            known => (Relation::Fork, Some(known.map_or(tip.call, |(call, _)| *call)), kept, None),
        }
    }

    fn reset(
        &self,
        said: &Conversation,
        history: &[ContextId],
    ) -> Option<(Relation, Option<CallId>, usize, Option<usize>)> {
        let before = self.tips.iter().rev().find(|tip| tip.orders == said.orders && tip.agent == said.agent)?;
        let shrunk = before.history.len() >= SHORT && history.len() < before.history.len() && !history.is_empty();
        shrunk.then_some((Relation::Reset, Some(before.call), 0, None))
    }

    /// Remembers a call that was placed, after it has been stored.
    pub fn remember(&mut self, call: CallId, said: Conversation, placement: Placement) {
        let Placement { placed, history, grows } = placement;
        if let (Relation::Extend | Relation::Fork, Some(kept)) = (placed.relation, placed.kept.checked_sub(1))
            && let Some((_, went_on)) = history.get(kept as usize).and_then(|id| self.calls.get_mut(id))
        {
            *went_on = true;
        }
        if self.calls.len() >= MOST_CALLS {
            self.calls.clear();
        }
        if let Some(tip) = history.last() {
            self.calls.insert(*tip, (call, false));
        }
        if let Some(at) = grows {
            self.tips.remove(at);
        } else if self.tips.len() >= MOST_TIPS {
            self.tips.remove(0);
        }
        self.tips.push(Tip { call, orders: said.orders, agent: said.agent, said: said.messages, history });
    }

    /// Bytes of memory this takes, roughly.
    pub fn weight(&self) -> usize {
        self.calls.len() * 48 + self.tips.iter().map(|tip| 96 + tip.history.len() * 32).sum::<usize>()
    }
}

/// How many ids two histories share from the start. Each id names all before it, so one search by halves is enough.
fn shared(a: &[ContextId], b: &[ContextId]) -> usize {
    // Most branches of a long trace have nothing in common with a call.
    if a.first() != b.first() {
        return 0;
    }
    let most = a.len().min(b.len());
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if a[middle - 1] == b[middle - 1] {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

/// A call and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    pub call: CallId,
    pub placed: Placed,
    /// Positions, in the same list, of the calls that come from it.
    pub children: Vec<usize>,
}

/// The tree of a trace's calls, given in the order they were made: every call with its children, and the positions of
/// those without a parent. A parent that is not in the list (pruned, or recorded elsewhere) makes a root.
pub fn tree(calls: &[(CallId, Placed)]) -> (Vec<Branch>, Vec<usize>) {
    let mut branches: Vec<Branch> = Vec::with_capacity(calls.len());
    let mut roots = Vec::new();
    let mut at: HashMap<CallId, usize> = HashMap::with_capacity(calls.len());
    for (call, placed) in calls {
        let here = branches.len();
        match placed.parent.and_then(|parent| at.get(&parent)) {
            Some(&parent) => branches[parent].children.push(here),
            None => roots.push(here),
        }
        branches.push(Branch { call: *call, placed: *placed, children: Vec::new() });
        at.insert(*call, here);
    }
    (branches, roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages are letters; upper case is the model's. `s` names the standing orders.
    fn conversation(orders: &str, text: &str) -> Conversation {
        Conversation {
            orders: BlockId::of([orders.as_bytes()]),
            agent: String::new(),
            messages: text.bytes().map(|letter| BlockId::of([&[letter][..]])).collect(),
            first_answer: text.bytes().position(|letter| letter.is_ascii_uppercase()),
        }
    }

    fn relations(calls: &[(&str, &str)]) -> Vec<(Relation, Option<u64>, u32)> {
        let mut contexts = Contexts::default();
        let mut out = Vec::new();
        for (number, (orders, text)) in (1..).zip(calls) {
            let said = conversation(orders, text);
            let placement = contexts.place(&said);
            out.push((placement.placed.relation, placement.placed.parent.map(|call| call.0), placement.placed.kept));
            contexts.remember(CallId(number), said, placement);
        }
        out
    }

    #[test]
    fn relations_between_calls_come_out_as_what_they_are() {
        use Relation::{Extend, Fork, Reset, Retry, Root};
        type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [(Relation, Option<u64>, u32)]);
        let cases: &[Case] = &[
            (
                "a loop",
                &[("s", "a"), ("s", "aAb"), ("s", "aAbBc")],
                &[(Root, None, 0), (Extend, Some(1), 1), (Extend, Some(2), 3)],
            ),
            (
                "a retry, then on",
                &[("s", "a"), ("s", "a"), ("s", "aAb")],
                &[(Root, None, 0), (Retry, Some(1), 1), (Extend, Some(2), 1)],
            ),
            (
                "a fork in the middle",
                &[("s", "a"), ("s", "aAb"), ("s", "aAbBc"), ("s", "aAx")],
                &[(Root, None, 0), (Extend, Some(1), 1), (Extend, Some(2), 3), (Fork, Some(3), 2)],
            ),
            (
                "a fork where a call stood",
                &[("s", "a"), ("s", "aAb"), ("s", "aAbBc"), ("s", "aAbXy")],
                &[(Root, None, 0), (Extend, Some(1), 1), (Extend, Some(2), 3), (Fork, Some(2), 3)],
            ),
            (
                "compaction",
                &[("s", "a"), ("s", "aAb"), ("s", "aAbBc"), ("s", "z"), ("s", "zZy")],
                &[
                    (Root, None, 0),
                    (Extend, Some(1), 1),
                    (Extend, Some(2), 3),
                    (Reset, Some(3), 0),
                    (Extend, Some(4), 1),
                ],
            ),
            (
                "compaction that keeps the user's words",
                &[("s", "a"), ("s", "aAb"), ("s", "aAbBc"), ("s", "az")],
                &[(Root, None, 0), (Extend, Some(1), 1), (Extend, Some(2), 3), (Reset, Some(3), 1)],
            ),
            (
                "two agents in turns",
                &[("s", "a"), ("t", "b"), ("s", "aAc"), ("t", "bBd")],
                &[(Root, None, 0), (Root, None, 0), (Extend, Some(1), 1), (Extend, Some(2), 1)],
            ),
            (
                "the title of a conversation is not a retry of it",
                &[("title", "a"), ("s", "a")],
                &[(Root, None, 0), (Root, None, 0)],
            ),
            (
                "orders that change with the clock",
                &[("1 o'clock", "a"), ("1 o'clock", "aAb"), ("2 o'clock", "aAbBc")],
                &[(Root, None, 0), (Extend, Some(1), 1), (Extend, Some(2), 3)],
            ),
        ];
        for (name, calls, expected) in cases {
            assert_eq!(relations(calls), *expected, "{name}");
        }
    }

    #[test]
    fn the_tree_lists_children_and_takes_orphans_for_roots() {
        let placed = |parent: Option<u64>| Placed { parent: parent.map(CallId), ..Placed::default() };
        let calls = [(1, None), (2, Some(1)), (3, Some(1)), (4, Some(99))].map(|(id, p)| (CallId(id), placed(p)));
        let (branches, roots) = tree(&calls);
        assert_eq!(roots, [0, 3]);
        assert_eq!(branches[0].children, [1, 2]);
    }
}
