//! How a request body is put together again: what it copies from an earlier request, and what is its own.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::block::{Cut, Name, bare_parts, restore};
use super::codec::{Take, put_bytes, put_number};
use super::ids::BlockId;
use super::split::{Split, What};

/// A block's place: the record that holds it, and which of that record's own blocks it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct At {
    pub record: u64,
    pub nth: u32,
}

/// Where a block's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The next so many bytes of this record's data.
    Here {
        len: usize,
    },
    There(At),
}

/// One step of putting a body together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// So many pieces of the base, from this one on.
    Copy {
        from: u32,
        count: u32,
    },
    /// The next so many bytes of this record's data, in no block.
    Gap {
        len: usize,
    },
    Block {
        name: Name,
        id: BlockId,
        source: Source,
        cuts: Vec<Cut>,
    },
}

/// A whole body, step by step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The earlier record whose pieces are copied.
    pub base: Option<u64>,
    pub ops: Vec<Op>,
}

/// What readers want to know of a request besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extras {
    /// The messages that its parent in the tree of contexts didn't have.
    pub said: Vec<(Name, BlockId)>,
    /// Names everything else that has a name: standing orders, tools, long parameters.
    pub setup: BlockId,
    /// The blocks of the setup, unless an earlier record of the segment gives them.
    pub setup_blocks: Option<Vec<(Name, BlockId)>>,
}

const COPY: u8 = 0;
const GAP: u8 = 1;
const HERE: u8 = 2;
const THERE: u8 = 3;

impl Plan {
    /// The plan for a body and the data it needs, as slices of the body, given where blocks stand already. `record` is
    /// the place that the record will have. The third value lists the record's own blocks.
    pub fn make<'a>(
        body: &'a [u8],
        split: &'a Split,
        base: Option<u64>,
        record: u64,
        known: impl Fn(&BlockId) -> Option<At>,
    ) -> (Self, Vec<&'a [u8]>, Vec<BlockId>) {
        let mut plan = Plan { base, ops: Vec::new() };
        let mut data = Vec::new();
        let mut own: HashMap<BlockId, u32> = HashMap::new();
        let mut own_order = Vec::new();
        for (at, piece) in split.pieces.iter().enumerate() {
            if let (Some(_), Some(from)) = (base, split.from[at]) {
                match plan.ops.last_mut() {
                    Some(Op::Copy { from: first, count }) if *first + *count == from => *count += 1,
                    _ => plan.ops.push(Op::Copy { from, count: 1 }),
                }
                continue;
            }
            let bytes = &body[split.range(at)];
            let What::Block(block) = &piece.what else {
                data.push(bytes);
                plan.ops.push(Op::Gap { len: bytes.len() });
                continue;
            };
            let there = own.get(&block.id).map(|nth| At { record, nth: *nth }).or_else(|| known(&block.id));
            let source = there.map_or(Source::Here { len: block.len }, Source::There);
            if there.is_none() {
                data.extend(bare_parts(bytes, &block.cuts));
                own.insert(block.id, own_order.len() as u32);
                own_order.push(block.id);
            }
            let (name, id, cuts) = (Arc::clone(&block.name), block.id, block.cuts.clone());
            plan.ops.push(Op::Block { name, id, source, cuts });
        }
        (plan, data, own_order)
    }

    /// Plan and extras as bytes.
    pub fn encode(&self, extras: &Extras, out: &mut Vec<u8>) {
        let mut names = Names::default();
        let mut ops = Vec::new();
        put_number(&mut ops, self.base.map_or(0, |base| base + 1));
        put_number(&mut ops, self.ops.len() as u64);
        let mut places = HashMap::new();
        for (at, op) in self.ops.iter().enumerate() {
            match op {
                Op::Copy { from, count } => {
                    ops.push(COPY);
                    put_number(&mut ops, u64::from(*from));
                    put_number(&mut ops, u64::from(*count));
                }
                Op::Gap { len } => {
                    ops.push(GAP);
                    put_number(&mut ops, *len as u64);
                }
                Op::Block { name, id, source, cuts } => {
                    let name_at = names.number(name);
                    places.insert((name_at, *id), at as u64);
                    put_block(&mut ops, name_at, *id, *source, cuts);
                }
            }
        }
        let mut list = |blocks: &[(Name, BlockId)], ops: &mut Vec<u8>| {
            put_number(ops, blocks.len() as u64);
            for (name, id) in blocks {
                let name_at = names.number(name);
                match places.get(&(name_at, *id)) {
                    Some(at) => put_number(ops, at + 1),
                    None => {
                        put_number(ops, 0);
                        put_number(ops, name_at);
                        ops.extend_from_slice(&id.0);
                    }
                }
            }
        };
        list(&extras.said, &mut ops);
        ops.extend_from_slice(&extras.setup.0);
        ops.push(u8::from(extras.setup_blocks.is_some()));
        if let Some(blocks) = &extras.setup_blocks {
            list(blocks, &mut ops);
        }
        put_number(out, names.0.len() as u64);
        names.0.iter().for_each(|name| put_bytes(out, name.as_bytes()));
        out.extend_from_slice(&ops);
    }

    /// The plan and what follows it, for [`Extras::decode`]; `None` for what no [`Plan::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Option<(Self, Rest<'_>)> {
        let mut take = Take(bytes);
        let count = take.count()?;
        let names = (0..count).map(|_| take.text().map(Name::from)).collect::<Option<Vec<_>>>()?;
        let base = take.number()?.checked_sub(1);
        let count = take.count()?;
        let mut ops = Vec::with_capacity(count);
        for _ in 0..count {
            ops.push(match take.raw(1)?[0] {
                COPY => Op::Copy { from: take_u32(&mut take)?, count: take_u32(&mut take)? },
                GAP => Op::Gap { len: take.size()? },
                tag @ (HERE | THERE) => take_block(&mut take, tag, &names)?,
                _ => return None,
            });
        }
        Some((Plan { base, ops }, Rest { names, take }))
    }
}

/// The part of an encoded plan that holds the extras.
#[derive(Debug)]
pub struct Rest<'a> {
    names: Vec<Name>,
    take: Take<'a>,
}

impl Extras {
    /// The extras of a plan.
    pub fn decode(plan: &Plan, rest: Rest<'_>) -> Option<Self> {
        let Rest { names, mut take } = rest;
        let list = |take: &mut Take<'_>| {
            let count = take.count()?;
            let one = |take: &mut Take<'_>| match take.size()?.checked_sub(1) {
                Some(at) => match plan.ops.get(at)? {
                    Op::Block { name, id, .. } => Some((Arc::clone(name), *id)),
                    Op::Copy { .. } | Op::Gap { .. } => None,
                },
                None => Some((Arc::clone(names.get(take.size()?)?), BlockId(take.half_hash()?))),
            };
            (0..count).map(|_| one(take)).collect::<Option<Vec<_>>>()
        };
        let said = list(&mut take)?;
        let setup = BlockId(take.half_hash()?);
        let setup_blocks = if take.raw(1)?[0] == 0 { None } else { Some(list(&mut take)?) };
        Some(Extras { said, setup, setup_blocks })
    }
}

#[derive(Default)]
struct Names(Vec<Name>);

impl Names {
    fn number(&mut self, name: &Name) -> u64 {
        let at = self.0.iter().position(|known| known == name).unwrap_or_else(|| {
            self.0.push(Arc::clone(name));
            self.0.len() - 1
        });
        at as u64
    }
}

fn put_block(out: &mut Vec<u8>, name: u64, id: BlockId, source: Source, cuts: &[Cut]) {
    out.push(if matches!(source, Source::Here { .. }) { HERE } else { THERE });
    put_number(out, name);
    out.extend_from_slice(&id.0);
    match source {
        Source::Here { len } => put_number(out, len as u64),
        Source::There(At { record, nth }) => {
            put_number(out, record);
            put_number(out, u64::from(nth));
        }
    }
    put_number(out, cuts.len() as u64);
    for cut in cuts {
        put_number(out, cut.at as u64);
        put_bytes(out, &cut.bytes);
    }
}

fn take_u32(take: &mut Take<'_>) -> Option<u32> {
    u32::try_from(take.number()?).ok()
}

fn take_block(take: &mut Take<'_>, tag: u8, names: &[Name]) -> Option<Op> {
    let name = Arc::clone(names.get(take.size()?)?);
    let id = BlockId(take.half_hash()?);
    let source = match tag {
        HERE => Source::Here { len: take.size()? },
        _ => Source::There(At { record: take.number()?, nth: take_u32(take)? }),
    };
    let count = take.count()?;
    let cut = |take: &mut Take<'_>| Some(Cut { at: take.size()?, bytes: take.bytes()?.to_vec() });
    let cuts = (0..count).map(|_| cut(take)).collect::<Option<Vec<_>>>()?;
    Some(Op::Block { name, id, source, cuts })
}

/// A record's plan and data, ready to be copied from.
#[derive(Debug)]
pub struct Loaded {
    pub plan: Plan,
    pub(super) data: Bytes,
    /// For each op: the number of its first piece, and where its bytes begin in `data`.
    pub(super) spots: Vec<(u32, usize)>,
    /// The ops that hold the record's own blocks.
    own: Vec<usize>,
}

impl Loaded {
    /// Checks a plan against its data.
    pub fn new(plan: Plan, data: Bytes) -> Option<Self> {
        let (mut piece, mut byte) = (0u32, 0usize);
        let mut spots = Vec::with_capacity(plan.ops.len());
        let mut own = Vec::new();
        for (at, op) in plan.ops.iter().enumerate() {
            spots.push((piece, byte));
            let (pieces, bytes) = match op {
                Op::Copy { count, .. } => (*count, 0),
                Op::Gap { len } => (1, *len),
                Op::Block { source: Source::Here { len }, .. } => {
                    own.push(at);
                    (1, *len)
                }
                Op::Block { source: Source::There(_), .. } => (1, 0),
            };
            piece = piece.checked_add(pieces)?;
            byte = byte.checked_add(bytes)?;
        }
        (byte == data.len()).then_some(Loaded { plan, data, spots, own })
    }

    /// The record's own blocks: name, id and bytes.
    pub fn own_blocks(&self) -> impl Iterator<Item = (&Name, BlockId, Bytes)> {
        self.own.iter().filter_map(|at| match &self.plan.ops[*at] {
            Op::Block { name, id, source: Source::Here { len }, .. } => {
                let start = self.spots[*at].1;
                Some((name, *id, self.data.slice(start..start + len)))
            }
            _ => None,
        })
    }

    /// Bytes of data.
    pub fn data_len(&self) -> usize {
        self.data.len()
    }

    fn own_block(&self, nth: u32) -> Option<&[u8]> {
        let at = *self.own.get(nth as usize)?;
        let Op::Block { source: Source::Here { len }, .. } = &self.plan.ops[at] else { return None };
        let start = self.spots[at].1;
        self.data.get(start..start + len)
    }
}

/// Why a body could not be put together.
#[derive(Debug)]
pub enum Broken<E> {
    /// A record it needs could not be had.
    Load(E),
    /// The record at this place doesn't hold what others expect of it.
    Record(u64),
}

/// A walk through a range of one record's pieces.
struct Walk {
    place: u64,
    record: Arc<Loaded>,
    op: usize,
    next: u32,
    end: u32,
}

/// Puts together the body of the request at `place`. `load` fetches records and should remember a few.
///
/// # Errors
/// When a record is missing or doesn't fit.
pub fn rebuild<E>(
    place: u64,
    len_hint: usize,
    mut load: impl FnMut(u64) -> Result<Arc<Loaded>, E>,
) -> Result<Vec<u8>, Broken<E>> {
    let mut out = Vec::with_capacity(len_hint);
    let record = load(place).map_err(Broken::Load)?;
    let mut stack = vec![Walk { place, record, op: 0, next: 0, end: u32::MAX }];
    while let Some(walk) = stack.last_mut() {
        let (Some(op), true) = (walk.record.plan.ops.get(walk.op), walk.next < walk.end) else {
            let whole = walk.next >= walk.end || walk.end == u32::MAX;
            if !whole {
                return Err(Broken::Record(walk.place));
            }
            stack.pop();
            continue;
        };
        let (first, byte) = walk.record.spots[walk.op];
        let place = walk.place;
        match op {
            Op::Copy { from, count } => {
                let broken = || Broken::Record(place);
                let skip = walk.next - first;
                let upto = (*count).min(walk.end.saturating_sub(first));
                let base = walk.record.plan.base.filter(|base| *base < place).ok_or_else(broken)?;
                let next = from.checked_add(skip).ok_or_else(broken)?;
                let end = from.checked_add(upto).ok_or_else(broken)?;
                walk.next = first + upto;
                walk.op += 1;
                let record = load(base).map_err(Broken::Load)?;
                let op = record.spots.partition_point(|(first, _)| *first <= next).saturating_sub(1);
                stack.push(Walk { place: base, record, op, next, end });
            }
            Op::Gap { len } => {
                out.extend_from_slice(&walk.record.data[byte..byte + len]);
                walk.next += 1;
                walk.op += 1;
            }
            Op::Block { source, cuts, .. } => {
                let there;
                let bare = match source {
                    Source::Here { len } => walk.record.data.get(byte..byte + len),
                    Source::There(at) if at.record > place => None,
                    Source::There(at) => {
                        there = load(at.record).map_err(Broken::Load)?;
                        there.own_block(at.nth)
                    }
                };
                bare.and_then(|bare| restore(bare, cuts, &mut out)).ok_or(Broken::Record(place))?;
                walk.next += 1;
                walk.op += 1;
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::split::{Earlier, split};
    use super::*;
    use proptest::prelude::*;

    /// A log of nothing but request bodies, in memory.
    #[derive(Default)]
    struct Bodies {
        records: HashMap<u64, Arc<Loaded>>,
        seen: HashMap<BlockId, At>,
        stored: usize,
    }

    impl Bodies {
        fn store(&mut self, record: u64, body: &[u8], base: Option<(u64, &Split, Option<&[u8]>)>) -> Split {
            let earlier = base.map(|(_, split, body)| Earlier { pieces: &split.pieces, body, shared: 0 });
            let new = split(body, earlier);
            let (plan, data, own) =
                Plan::make(body, &new, base.map(|(at, ..)| at), record, |id| self.seen.get(id).copied());
            let data = data.concat();
            let (_, places) = new.conversation("");
            let (setup, _) = new.setup(&places);
            let extras = Extras { setup, ..Extras::default() };
            let mut bytes = Vec::new();
            plan.encode(&extras, &mut bytes);
            self.stored += bytes.len() + data.len();
            let (decoded, rest) = Plan::decode(&bytes).expect("decodes");
            assert_eq!(decoded, plan);
            assert_eq!(Extras::decode(&decoded, rest), Some(extras));
            for (nth, id) in (0..).zip(own) {
                self.seen.insert(id, At { record, nth });
            }
            self.records.insert(record, Arc::new(Loaded::new(decoded, data.into()).expect("fits")));
            new
        }

        fn load(&self, record: u64) -> Vec<u8> {
            rebuild(record, 0, |at| self.records.get(&at).cloned().ok_or(())).expect("rebuilds")
        }
    }

    fn message(text: &str, marked: bool) -> String {
        let mark = if marked { r#","cache_control":{"type":"ephemeral"}"# } else { "" };
        format!(r#"{{"role":"user","content":[{{"type":"text","text":"{text}"{mark}}}]}}"#)
    }

    fn request(messages: &[String]) -> Vec<u8> {
        let orders = "be kind ".repeat(100);
        format!(r#"{{"model":"m","system":"{orders}","messages":[{}],"stream":true}}"#, messages.join(",")).into_bytes()
    }

    #[test]
    fn a_loop_with_a_wandering_cache_mark_is_stored_linearly_and_rebuilt_exactly() {
        for keep_bodies in [true, false] {
            let mut bodies = Bodies::default();
            let mut texts: Vec<String> = Vec::new();
            let mut sent: Vec<Vec<u8>> = Vec::new();
            let mut last: Option<(u64, Split)> = None;
            for turn in 0..200u64 {
                texts.push(format!("turn {turn} {}", "word ".repeat(40)));
                let marked = |at: usize| at + 1 == texts.len();
                let messages: Vec<_> = texts.iter().enumerate().map(|(at, text)| message(text, marked(at))).collect();
                let body = request(&messages);
                let base =
                    last.as_ref().map(|(at, split)| (*at, split, sent.last().map(|b| &b[..]).filter(|_| keep_bodies)));
                let new = bodies.store(turn, &body, base);
                last = Some((turn, new));
                sent.push(body);
            }
            for (at, body) in sent.iter().enumerate() {
                assert_eq!(bodies.load(at as u64), *body);
            }
            let unique: usize = texts.iter().map(|text| message(text, false).len()).sum::<usize>() + 1000;
            assert!(bodies.stored < unique * 2, "{} for {unique}", bodies.stored);
        }
    }

    #[test]
    fn plans_that_point_nowhere_are_refused() {
        let block =
            |at| Op::Block { name: "m".into(), id: BlockId::default(), source: Source::There(at), cuts: vec![] };
        let cut = Op::Block {
            name: "m".into(),
            id: BlockId::default(),
            source: Source::Here { len: 0 },
            cuts: vec![Cut { at: 9, bytes: vec![] }],
        };
        let plans = [
            Plan { base: Some(5), ops: vec![Op::Copy { from: 0, count: 1 }] },
            Plan { base: None, ops: vec![Op::Copy { from: 0, count: 1 }] },
            Plan { base: None, ops: vec![block(At { record: 6, nth: 0 })] },
            Plan { base: None, ops: vec![block(At { record: 5, nth: 3 })] },
            Plan { base: None, ops: vec![cut] },
            Plan { base: Some(4), ops: vec![Op::Copy { from: 0, count: 2 }] },
            Plan { base: Some(4), ops: vec![Op::Copy { from: u32::MAX, count: 2 }] },
        ];
        let gap = Loaded::new(Plan { base: None, ops: vec![Op::Gap { len: 1 }] }, Bytes::from_static(b"x"));
        let gap = Arc::new(gap.expect("fits"));
        for plan in plans {
            let loaded = Arc::new(Loaded::new(plan.clone(), Bytes::new()).expect("fits"));
            let body = rebuild(5, 0, |at| match at {
                4 => Ok(Arc::clone(&gap)),
                5 => Ok(Arc::clone(&loaded)),
                _ => Err(()),
            });
            assert!(body.is_err(), "{plan:?} gave {body:?}");
        }
        assert!(Loaded::new(Plan { base: None, ops: vec![Op::Gap { len: 2 }] }, Bytes::new()).is_none());
    }

    fn fragment() -> impl Strategy<Value = Vec<u8>> {
        let words: Vec<&'static [u8]> = vec![
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b"\"",
            b"\\",
            b" ",
            b"\"messages\":[",
            b"\"role\":\"user\"",
            b"\xff",
            b"{\"role\":\"assistant\",\"content\":\"a\"}",
            b"\"cache_control\":{\"type\":\"ephemeral\"}",
            b"\"tools\":",
            b"{\"messages\":[",
            b"]}",
            b"\"request\":{",
            b"null",
            b"1e9",
            b"\"system\":\"be kind\"",
            b"\"a\":",
            b"{}",
        ];
        prop_oneof![
            4 => prop::sample::select(words).prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 0..90),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn whatever_was_stored_comes_back(
            parts in prop::collection::vec(fragment(), 0..30),
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3usize, fragment()), 0..8),
            keep_bodies: bool,
        ) {
            let mut bodies = Bodies::default();
            let mut body: Vec<Vec<u8>> = parts;
            let mut sent = vec![body.concat()];
            for (at, gone, fragment) in edits {
                let at = at.index(body.len() + 1);
                let end = (at + gone).min(body.len());
                body.splice(at..end, [fragment]);
                sent.push(body.concat());
            }
            let mut last: Option<(u64, Split)> = None;
            for (number, body) in (0u64..).zip(&sent) {
                let before = number.checked_sub(1).map(|before| &sent[before as usize][..]).filter(|_| keep_bodies);
                let base = last.as_ref().map(|(at, split)| (*at, split, before));
                let new = bodies.store(number, body, base);
                last = Some((number, new));
            }
            for (number, body) in (0u64..).zip(&sent) {
                prop_assert_eq!(&bodies.load(number), body);
            }
        }

        #[test]
        fn nonsense_is_no_plan(bytes: Vec<u8>) {
            if let Some((plan, rest)) = Plan::decode(&bytes) {
                let _ = Extras::decode(&plan, rest);
                let _ = Loaded::new(plan, Bytes::new());
            }
        }
    }
}
