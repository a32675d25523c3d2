//! What a request is for matching: a few hashes, made from its outline. A block is read once, however often it is sent again.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::canon::{Said, SaidPart, mark, read_block, value_text};
use crate::context::{BlockId, Outline, Outlined};
use crate::provider;
use crate::trace::{Role, Wire};

/// How alike a request and a recorded one have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// The same bytes, cache marks aside.
    Strict,
    /// The same to the model: ids, times, process numbers, the order of parallel results and names of sessions aside.
    #[default]
    Normal,
    /// The same course: who spoke and which tools were called. Words, arguments, standing orders and parameters may differ.
    Lenient,
}

/// Members that hold a conversation, standing orders, tools.
const TALK: [&str; 4] = ["messages", "input", "contents", "prompt"];
const ORDERS: [&str; 5] = ["system", "instructions", "systemInstruction", "system_instruction", "developer"];
const TOOLS: [&str; 2] = ["tools", "functions"];
/// Parameters that name a session, a person or a turn: they are new at every run.
const PER_RUN: [&str; 10] = [
    "metadata",
    "client_metadata",
    "prompt_cache_key",
    "safety_identifier",
    "session_id",
    "user",
    "user_prompt_id",
    "request_id",
    "conversation_id",
    "labels",
];

/// Whether a parameter is new at every run.
pub fn is_per_run(name: &str) -> bool {
    PER_RUN.contains(&name)
}

/// A request, boiled down.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shape {
    pub(super) model: u64,
    pub(super) orders: u64,
    pub(super) tools: u64,
    pub(super) params: u64,
    /// `runs[i]` names the first `i + 1` turns of the conversation.
    pub(super) runs: Vec<u64>,
    /// Who spoke and which tools were called.
    course: u64,
    bytes: u64,
    wire: u64,
}

impl Shape {
    /// What has to be equal for two requests to match.
    pub(super) fn key(&self, how: Match) -> u64 {
        match how {
            Match::Strict => mark(&(self.wire, self.bytes)),
            Match::Normal => mark(&(self.talk(), self.model, self.orders, self.tools, self.params)),
            Match::Lenient => mark(&(self.wire, self.course)),
        }
    }

    /// Names the conversation, whatever it came with.
    pub(super) fn talk(&self) -> u64 {
        mark(&(self.wire, self.runs.last()))
    }

    /// How many turns two conversations share from the start.
    pub(super) fn shared(&self, other: &Shape) -> usize {
        // Each hash names all before it.
        self.runs.iter().zip(&other.runs).take_while(|(one, other)| one == other).count()
    }
}

/// Blocks that have been read.
#[derive(Debug, Default)]
pub struct Canons {
    said: HashMap<(BlockId, bool), Arc<Vec<Said>>>,
    values: HashMap<BlockId, u64>,
}

impl Canons {
    /// Whether a block needs no more reading.
    pub(super) fn knows(&self, id: &BlockId, name: &str) -> bool {
        let orders = ORDERS.contains(&name);
        if orders || TALK.contains(&name) {
            self.said.contains_key(&(*id, orders))
        } else {
            self.values.contains_key(id)
        }
    }

    fn said(&mut self, wire: Wire, id: BlockId, name: &str, bytes: impl FnOnce() -> Option<Bytes>) -> Arc<Vec<Said>> {
        let key = (id, ORDERS.contains(&name));
        if let Some(said) = self.said.get(&key) {
            return said.clone();
        }
        let said = Arc::new(bytes().map(|raw| read_block(wire, name, &raw)).unwrap_or_default());
        self.said.insert(key, said.clone());
        said
    }

    fn value(&mut self, id: BlockId, bytes: impl FnOnce() -> Option<Bytes>) -> u64 {
        *self.values.entry(id).or_insert_with(|| {
            let value = bytes().and_then(|raw| serde_json::from_slice::<Value>(&raw).ok()).unwrap_or_default();
            mark(&value_text(&value))
        })
    }
}

/// A request in outline, to be boiled down.
pub(super) struct Sketch<'a> {
    pub wire: Wire,
    pub target: &'a str,
}

impl Sketch<'_> {
    /// Boils it down. `bytes` has what the blocks say. Where `trails` has an outline that this one begins like, only what is new is
    /// walked through.
    pub(super) fn shape(
        &self,
        outline: Outline,
        canons: &mut Canons,
        trails: &mut Trails,
        bytes: &dyn Fn(&BlockId) -> Option<Bytes>,
    ) -> Shape {
        let talk = |piece: &Outlined| matches!(piece, Outlined::Block { name, .. } if TALK.contains(&&**name));
        let upto = outline.iter().rposition(talk).map_or(0, |last| last + 1);
        let mut walk = trails.before(self.wire, &outline[..upto]);
        for piece in &outline[walk.at..upto] {
            walk.step(self.wire, piece, canons, bytes);
        }
        walk.at = upto;
        let mut rest = walk.clone();
        for piece in &outline[upto..] {
            rest.step(self.wire, piece, canons, bytes);
        }
        if upto > 0 {
            trails.keep(Trail { wire: self.wire, outline, walk });
        }
        // What no wire format explains (events for a maker's statistics, say) is told apart by its path alone.
        let (model, params) = match self.wire {
            Wire::Raw => (0, 0),
            _ => self.rest(&rest.rest, !rest.talked),
        };
        rest.tools.sort_unstable();
        let Walk { mut talk, orders, tools, all, .. } = rest;
        if let Some(done) = talk.turn.take() {
            talk.end(done);
        }
        Shape {
            model,
            orders: mark(&(orders, talk.orders)),
            tools: mark(&tools),
            params,
            runs: talk.runs,
            course: talk.course,
            bytes: std::hash::Hasher::finish(&all),
            wire: mark(&(self.wire, verb(self.target))),
        }
    }

    /// Model and parameters, from what is left of the body without its blocks.
    fn rest(&self, rest: &[u8], without_talk: bool) -> (u64, u64) {
        let value: Value = serde_json::from_slice(rest).unwrap_or_default();
        let Value::Object(mut members) = value else { return (0, mark(&rest)) };
        if let Some(Value::Object(inner)) = members.get_mut("request") {
            let inner = std::mem::take(inner);
            members.extend(inner);
        }
        let named = members.remove("model").and_then(|model| model.as_str().map(str::to_owned)).unwrap_or_default();
        let model = provider::model_in_path(self.target).unwrap_or(named);
        members.retain(|name, _| {
            let name = name.as_str();
            !(TALK.contains(&name) && !without_talk
                || ORDERS.contains(&name)
                || TOOLS.contains(&name)
                || is_per_run(name))
        });
        (mark(&model), mark(&value_text(&Value::Object(members))))
    }
}

/// The path without version and query: the same question on another path (counting tokens, say) is another question.
fn verb(target: &str) -> &str {
    let path = target.split('?').next().unwrap_or_default().trim_end_matches('/');
    let last = path.rsplit('/').next().unwrap_or_default();
    last.rsplit_once(':').map_or(last, |(_, verb)| verb)
}

/// How far an outline was walked through, and what is known by then.
#[derive(Debug, Clone, Default)]
struct Walk {
    /// Pieces behind it.
    at: usize,
    /// All bytes.
    all: std::hash::DefaultHasher,
    /// The body without its blocks; a run of blocks that say something leaves one `null`.
    rest: Vec<u8>,
    /// The last thing in `rest` is such a `null`, and perhaps a comma was left out behind it.
    in_a_run: bool,
    comma: bool,
    orders: u64,
    tools: Vec<u64>,
    talked: bool,
    talk: Talk,
}

impl Walk {
    fn step(&mut self, wire: Wire, piece: &Outlined, canons: &mut Canons, bytes: &dyn Fn(&BlockId) -> Option<Bytes>) {
        let (name, id) = match piece {
            Outlined::Gap(gap) => {
                std::hash::Hash::hash(&gap[..], &mut self.all);
                if self.in_a_run && !self.comma && **gap == *b"," {
                    self.comma = true;
                } else {
                    self.leave(gap);
                }
                return;
            }
            Outlined::Block { name, id } => (&**name, *id),
        };
        std::hash::Hash::hash(&id.0, &mut self.all);
        let orders = ORDERS.contains(&name);
        if orders || TALK.contains(&name) || TOOLS.contains(&name) {
            if wire == Wire::Raw {
                // Told apart by its path alone.
            } else if orders {
                let said = canons.said(wire, id, name, || bytes(&id));
                let parts = said.iter().flat_map(|said| &said.parts).map(part_mark);
                self.orders = mark(&(self.orders, parts.collect::<Vec<_>>()));
            } else if TALK.contains(&name) {
                self.talked = true;
                canons.said(wire, id, name, || bytes(&id)).iter().for_each(|said| self.talk.hear(said));
            } else {
                self.tools.push(canons.value(id, || bytes(&id)));
            }
            if !self.in_a_run {
                self.leave(b"null");
            }
            (self.in_a_run, self.comma) = (true, false);
        } else if name.is_empty() {
            // A long stretch between blocks: as it is.
            self.leave(bytes(&id).as_deref().unwrap_or(b"null"));
        } else {
            self.leave(format!("\"{:x}\"", canons.value(id, || bytes(&id))).as_bytes());
        }
    }

    /// Adds to what is left of the body.
    fn leave(&mut self, bytes: &[u8]) {
        if self.comma {
            self.rest.push(b',');
        }
        self.rest.extend_from_slice(bytes);
        (self.in_a_run, self.comma) = (false, false);
    }
}

/// Conversations walked through lately: the next request of one mostly begins as the last did.
#[derive(Debug, Default)]
pub(super) struct Trails(Vec<Trail>);

#[derive(Debug)]
struct Trail {
    wire: Wire,
    outline: Outline,
    walk: Walk,
}

impl Trails {
    /// Conversations remembered: sub-agents take turns.
    const MOST: usize = 8;

    /// The longest walk that leads into an outline; from its beginning where none does.
    fn before(&mut self, wire: Wire, outline: &[Outlined]) -> Walk {
        let leads = |trail: &Trail| {
            let behind = trail.outline.get(..trail.walk.at);
            trail.wire == wire && behind.is_some_and(|behind| outline.starts_with(behind))
        };
        let found = self.0.iter().enumerate().filter(|(_, trail)| leads(trail)).max_by_key(|(_, trail)| trail.walk.at);
        found.map(|(at, _)| at).map_or_else(Walk::default, |at| self.0.remove(at).walk)
    }

    fn keep(&mut self, trail: Trail) {
        if self.0.len() >= Self::MOST {
            self.0.remove(0);
        }
        self.0.push(trail);
    }
}

/// A conversation in turns.
#[derive(Debug, Clone, Default)]
struct Talk {
    /// Standing orders that are messages of the conversation.
    orders: u64,
    runs: Vec<u64>,
    course: u64,
    calls: HashMap<u64, u64>,
    turn: Option<Turn>,
    begun: bool,
}

/// A turn being gathered: everything one side said until the other spoke.
#[derive(Debug, Clone, Default)]
struct Turn {
    model: bool,
    parts: Vec<u64>,
    /// Which call, and what came of it. Their order is that in which they ended, which says nothing.
    results: Vec<(u64, u64)>,
}

impl Talk {
    fn hear(&mut self, said: &Said) {
        if !self.begun && said.role == Role::System {
            self.orders = mark(&(self.orders, said.parts.iter().map(part_mark).collect::<Vec<_>>()));
            return;
        }
        self.begun = true;
        let model = said.role == Role::Assistant;
        if let Some(done) = self.turn.take_if(|turn| turn.model != model) {
            self.end(done);
        }
        let turn = self.turn.get_or_insert_with(|| Turn { model, ..Turn::default() });
        for part in &said.parts {
            match part {
                SaidPart::Words(words) => turn.parts.push(*words),
                SaidPart::Call { id, name, mark: call } => {
                    self.course = mark(&(self.course, name));
                    self.calls.insert(*id, *call);
                    turn.parts.push(*call);
                }
                SaidPart::Result { id, name, mark } => {
                    turn.results.push((self.calls.get(id).copied().unwrap_or(*name), *mark));
                }
            }
        }
    }

    fn end(&mut self, mut turn: Turn) {
        if turn.parts.is_empty() && turn.results.is_empty() {
            return;
        }
        turn.results.sort_unstable();
        let before = self.runs.last().copied().unwrap_or(0);
        self.course = mark(&(self.course, turn.model));
        self.runs.push(mark(&(before, turn.model, turn.parts, turn.results)));
    }
}

fn part_mark(part: &SaidPart) -> u64 {
    match part {
        SaidPart::Words(words) => *words,
        SaidPart::Call { mark, .. } | SaidPart::Result { mark, .. } => *mark,
    }
}

/// Members of a request that are its parameters.
pub(super) fn params(params: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    params.iter().filter(|(name, _)| !is_per_run(name))
}
