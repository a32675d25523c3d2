//! What a segment holds, in short: one part per trace, one row per record. Kept beside the segment as a file that can
//! be made again at any time, so that lists need not read the records themselves.

use std::collections::HashMap;

use super::record::{Meta, kind};
use super::sums::{add_agent, add_usage, merge_tags};
use crate::context::codec::{Take, put_bytes, put_number};
use crate::trace::{CallEnd, CallId, Content, Source, Timestamp, TraceId, TraceOutcome, TraceStarted, Usage};

/// One record of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub offset: u64,
    /// Which part it belongs to; `NO_PART` for what belongs to no trace.
    pub part: u32,
    pub kind: u8,
    /// The call it starts or ends; 0 for others.
    pub call: CallId,
}

pub const NO_PART: u32 = u32::MAX;
const ROW: usize = 24;

/// What a segment holds of one trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub trace: TraceId,
    pub first: Timestamp,
    pub last: Timestamp,
    /// What the trace says of itself, as far as lists show it.
    pub name: Option<String>,
    pub agent: Option<String>,
    pub tags: Vec<(String, String)>,
    pub about: Option<(Source, Content)>,
    pub ended: Option<Ended>,
    pub calls: u64,
    pub failed: u64,
    pub unpriced: u64,
    pub usage: Usage,
    pub cost_usd: Option<f64>,
    pub models: Vec<String>,
    /// Sub-agents that named themselves, each with its parent.
    pub agents: Vec<(String, Option<String>)>,
    pub error: Option<String>,
    pub stored: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// Calls that began here and did not end here.
    pub open: Vec<CallId>,
    /// Calls that ended here and did not begin here.
    pub strays: Vec<CallId>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    pub outcome: TraceOutcome,
    pub exit_code: Option<i32>,
    pub reason: Option<String>,
    pub lost_calls: u64,
}

/// A record that belongs to no trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kindred {
    pub kind: String,
    pub id: String,
    /// The run it belongs to, when it says so.
    pub of: Option<String>,
    pub offset: u64,
}

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Side {
    pub writer: String,
    pub started: Timestamp,
    /// Up to where the segment was read.
    pub covers: u64,
    /// Nothing will be added any more.
    pub sealed: bool,
    pub parts: Vec<Part>,
    pub rows: Vec<Row>,
    pub records: Vec<Kindred>,
    /// How many records there are, also where they themselves are not read.
    pub record_count: u64,
    /// Traces that a record in here removes, with that record's offset.
    pub removed: Vec<(TraceId, u64)>,
    by_trace: HashMap<TraceId, u32>,
}

impl Part {
    fn new(trace: TraceId, first: Timestamp) -> Self {
        Part {
            trace,
            first,
            last: first,
            name: None,
            agent: None,
            tags: Vec::new(),
            about: None,
            ended: None,
            calls: 0,
            failed: 0,
            unpriced: 0,
            usage: Usage::default(),
            cost_usd: None,
            models: Vec::new(),
            agents: Vec::new(),
            error: None,
            stored: 0,
            request_bytes: 0,
            response_bytes: 0,
            open: Vec::new(),
            strays: Vec::new(),
        }
    }

    fn started(&mut self, said: &TraceStarted) {
        self.name = said.name.clone().or(self.name.take());
        self.agent = said.agent.clone().or(self.agent.take());
        merge_tags(&mut self.tags, &said.tags);
        self.about = Some((said.source, said.content));
    }

    fn call_ended(&mut self, end: &super::record::EndMeta) {
        match self.open.iter().rposition(|call| *call == end.call) {
            Some(at) => drop(self.open.swap_remove(at)),
            None => self.strays.push(end.call),
        }
        let summary = &end.summary;
        self.failed += u64::from(end.end != CallEnd::Complete || summary.error.is_some());
        self.response_bytes += end.body_len;
        add_usage(&mut self.usage, &summary.usage);
        match summary.cost_usd {
            Some(cost) => *self.cost_usd.get_or_insert(0.0) += cost,
            None => self.unpriced += u64::from(summary.usage.is_known()),
        }
        if !summary.model.is_empty() && !self.models.contains(&summary.model) {
            self.models.push(summary.model.clone());
        }
        if summary.error.is_some() {
            self.error.clone_from(&summary.error);
        }
    }
}

impl Side {
    /// A side index of nothing yet.
    pub fn new(writer: String, started: Timestamp, covers: u64) -> Self {
        Side { writer, started, covers, ..Side::default() }
    }

    /// Where the part of a trace is.
    pub fn part_of(&self, trace: TraceId) -> Option<u32> {
        self.by_trace.get(&trace).copied()
    }

    /// Takes in one record.
    pub fn add(&mut self, offset: u64, stored: u64, kind: u8, meta: &Meta) {
        self.covers = offset + stored;
        let mut row = Row { offset, part: NO_PART, kind, call: CallId(0) };
        if let Some((trace, at)) = meta.stamp() {
            let parts = &mut self.parts;
            row.part = *self.by_trace.entry(trace).or_insert_with(|| {
                parts.push(Part::new(trace, at));
                (parts.len() - 1) as u32
            });
            let part = &mut self.parts[row.part as usize];
            part.first = part.first.min(at);
            part.last = part.last.max(at);
            part.stored += stored;
            match meta {
                Meta::TraceStarted(m) => part.started(&m.what),
                Meta::CallStarted(m) => {
                    row.call = m.what.call;
                    part.calls += 1;
                    part.request_bytes += m.what.body_len;
                    part.open.push(m.what.call);
                    if let Some(agent) = &m.what.agent {
                        add_agent(&mut part.agents, agent, m.what.parent_agent.as_deref());
                    }
                }
                Meta::CallEnded(m) => {
                    row.call = m.what.call;
                    part.call_ended(&m.what);
                }
                Meta::TraceEnded(m) => {
                    part.ended = Some(Ended {
                        outcome: m.what.outcome,
                        exit_code: m.what.exit_code,
                        reason: m.what.reason.clone(),
                        lost_calls: m.what.lost_calls,
                    });
                }
                Meta::Noted(_) | Meta::Scored(_) | Meta::Record(_) | Meta::Removed(_) | Meta::Other => {}
            }
        }
        match meta {
            Meta::Record(m) => {
                self.record_count += 1;
                self.records.push(Kindred { kind: m.kind.clone(), id: m.id.clone(), of: m.of.clone(), offset });
            }
            Meta::Removed(m) => self.removed.push((m.trace, offset)),
            _ => {}
        }
        self.rows.push(row);
    }

    /// The part of it that lists need.
    pub fn without_rows(&self) -> Self {
        Side {
            writer: self.writer.clone(),
            parts: self.parts.clone(),
            removed: self.removed.clone(),
            rows: Vec::new(),
            records: Vec::new(),
            by_trace: HashMap::new(),
            ..*self
        }
    }
}

const LINE: &[u8] = b"holdback side index, format 3\n";
/// Bytes before the sections: line, salt, then length and checksum of each of the two sections.
const HEAD: usize = LINE.len() + 4 + 2 * 12;

/// The two sections of a side index file: what lists need, and what finds single records.
impl Side {
    /// The whole file.
    pub fn encode(&self, salt: u32) -> Vec<u8> {
        let mut short = Vec::new();
        put_bytes(&mut short, self.writer.as_bytes());
        put_number(&mut short, self.started.0 as u64);
        put_number(&mut short, self.covers);
        short.push(u8::from(self.sealed));
        put_number(&mut short, self.record_count);
        put_number(&mut short, self.parts.len() as u64);
        self.parts.iter().for_each(|part| put_part(&mut short, part));
        put_number(&mut short, self.removed.len() as u64);
        for (trace, offset) in &self.removed {
            short.extend_from_slice(&trace.0.to_le_bytes());
            put_number(&mut short, *offset);
        }
        let mut long = Vec::with_capacity(self.rows.len() * ROW);
        put_number(&mut long, self.records.len() as u64);
        for record in &self.records {
            put_bytes(&mut long, record.kind.as_bytes());
            put_bytes(&mut long, record.id.as_bytes());
            put_text(&mut long, record.of.as_ref());
            put_number(&mut long, record.offset);
        }
        for row in &self.rows {
            long.extend_from_slice(&row.offset.to_le_bytes());
            long.extend_from_slice(&row.call.0.to_le_bytes());
            long.extend_from_slice(&row.part.to_le_bytes());
            long.extend_from_slice(&[row.kind, 0, 0, 0]);
        }
        let mut out = Vec::with_capacity(HEAD + short.len() + long.len());
        out.extend_from_slice(LINE);
        out.extend_from_slice(&salt.to_le_bytes());
        for section in [&short, &long] {
            out.extend_from_slice(&(section.len() as u64).to_le_bytes());
            out.extend_from_slice(&crc32fast::hash(section).to_le_bytes());
        }
        out.extend_from_slice(&short);
        out.extend_from_slice(&long);
        out
    }

    /// The first section, without rows and records, from the beginning of a file; `None` when it isn't whole.
    pub fn decode_short(file: &[u8]) -> Option<(Self, Sections)> {
        let sections = Sections::read(file)?;
        let bytes = sections.short(file)?;
        let mut take = Take(bytes);
        let mut side = Side::new(take.text()?.to_owned(), Timestamp(take.number()? as i64), take.number()?);
        side.sealed = take.raw(1)?[0] != 0;
        side.record_count = take.number()?;
        let count = take.count()?;
        side.parts.reserve(count);
        for _ in 0..count {
            side.parts.push(take_part(&mut take)?);
        }
        let count = take.count()?;
        for _ in 0..count {
            let trace = TraceId(u128::from_le_bytes(take.raw(16)?.try_into().ok()?));
            side.removed.push((trace, take.number()?));
        }
        Some((side, sections))
    }

    /// Fills in rows and records from the whole file.
    pub fn decode_long(&mut self, file: &[u8], sections: &Sections) -> Option<()> {
        let bytes = sections.long(file)?;
        let mut take = Take(bytes);
        let count = take.count()?;
        for _ in 0..count {
            let (kind, id) = (take.text()?.to_owned(), take.text()?.to_owned());
            self.records.push(Kindred { kind, id, of: take_text(&mut take)?, offset: take.number()? });
        }
        let (rows, rest) = take.0.as_chunks::<ROW>();
        if !rest.is_empty() {
            return None;
        }
        let number = |row: &[u8; ROW], at: usize| u64::from_le_bytes(row[at..at + 8].try_into().unwrap_or_default());
        self.rows = rows
            .iter()
            .map(|row| Row {
                offset: number(row, 0),
                call: CallId(number(row, 8)),
                part: u32::from_le_bytes([row[16], row[17], row[18], row[19]]),
                kind: row[20],
            })
            .collect();
        self.by_trace = self.parts.iter().zip(0..).map(|(part, at)| (part.trace, at)).collect();
        Some(())
    }
}

/// Where the sections of a side index file lie.
#[derive(Debug, Clone, Copy)]
pub struct Sections {
    pub salt: u32,
    lens: [u64; 2],
    sums: [u32; 2],
}

impl Sections {
    fn read(file: &[u8]) -> Option<Self> {
        let mut take = Take(file.strip_prefix(LINE)?);
        let salt = u32::from_le_bytes(take.raw(4)?.try_into().ok()?);
        let mut sections = Sections { salt, lens: [0; 2], sums: [0; 2] };
        for (len, sum) in sections.lens.iter_mut().zip(&mut sections.sums) {
            *len = u64::from_le_bytes(take.raw(8)?.try_into().ok()?);
            *sum = u32::from_le_bytes(take.raw(4)?.try_into().ok()?);
        }
        Some(sections)
    }

    /// How many bytes of the file the first section needs, given its beginning.
    pub fn short_len(file: &[u8]) -> Option<usize> {
        let sections = Sections::read(file)?;
        HEAD.checked_add(usize::try_from(sections.lens[0]).ok()?)
    }

    fn short<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        let section = file.get(HEAD..HEAD.checked_add(usize::try_from(self.lens[0]).ok()?)?)?;
        (crc32fast::hash(section) == self.sums[0]).then_some(section)
    }

    fn long<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        let start = HEAD.checked_add(usize::try_from(self.lens[0]).ok()?)?;
        let section = file.get(start..start.checked_add(usize::try_from(self.lens[1]).ok()?)?)?;
        (crc32fast::hash(section) == self.sums[1]).then_some(section)
    }
}

fn put_text(out: &mut Vec<u8>, text: Option<&String>) {
    // One more than the length, so that nothing and an empty text stay apart.
    put_number(out, text.map_or(0, |text| text.len() as u64 + 1));
    out.extend_from_slice(text.map_or("", String::as_str).as_bytes());
}

fn take_text(take: &mut Take<'_>) -> Option<Option<String>> {
    match take.size()?.checked_sub(1) {
        None => Some(None),
        Some(len) => Some(Some(str::from_utf8(take.raw(len)?).ok()?.to_owned())),
    }
}

fn put_maybe(out: &mut Vec<u8>, number: Option<u64>) {
    out.push(u8::from(number.is_some()));
    put_number(out, number.unwrap_or(0));
}

fn take_maybe(take: &mut Take<'_>) -> Option<Option<u64>> {
    let some = take.raw(1)?[0] != 0;
    let number = take.number()?;
    Some(some.then_some(number))
}

const OUTCOMES: [TraceOutcome; 4] =
    [TraceOutcome::Ok, TraceOutcome::Failed, TraceOutcome::Killed, TraceOutcome::Braked];
const SOURCES: [Source; 3] = [Source::Recorded, Source::Imported, Source::Derived];
const CONTENTS: [Content; 3] = [Content::Full, Content::Redacted, Content::None];

fn index_of<T: PartialEq>(all: &[T], one: &T) -> u8 {
    all.iter().position(|known| known == one).unwrap_or(0) as u8
}

fn put_part(out: &mut Vec<u8>, part: &Part) {
    out.extend_from_slice(&part.trace.0.to_le_bytes());
    put_number(out, part.first.0 as u64);
    put_number(out, part.last.0 as u64);
    put_text(out, part.name.as_ref());
    put_text(out, part.agent.as_ref());
    put_number(out, part.tags.len() as u64);
    for (key, value) in &part.tags {
        put_bytes(out, key.as_bytes());
        put_bytes(out, value.as_bytes());
    }
    match &part.about {
        None => out.push(0),
        Some((source, content)) => {
            out.extend_from_slice(&[1, index_of(&SOURCES, source), index_of(&CONTENTS, content)]);
        }
    }
    match &part.ended {
        None => out.push(0),
        Some(ended) => {
            out.extend_from_slice(&[1, index_of(&OUTCOMES, &ended.outcome)]);
            put_maybe(out, ended.exit_code.map(|code| u64::from(code.cast_unsigned())));
            put_text(out, ended.reason.as_ref());
            put_number(out, ended.lost_calls);
        }
    }
    let usage = &part.usage;
    [part.calls, part.failed, part.unpriced, part.stored, part.request_bytes, part.response_bytes]
        .iter()
        .for_each(|number| put_number(out, *number));
    [usage.input, usage.output, usage.cache_read, usage.cache_write, usage.reasoning, part.cost_usd.map(f64::to_bits)]
        .iter()
        .for_each(|number| put_maybe(out, *number));
    put_number(out, part.models.len() as u64);
    part.models.iter().for_each(|model| put_bytes(out, model.as_bytes()));
    put_number(out, part.agents.len() as u64);
    for (agent, parent) in &part.agents {
        put_bytes(out, agent.as_bytes());
        put_text(out, parent.as_ref());
    }
    put_text(out, part.error.as_ref());
    for calls in [&part.open, &part.strays] {
        put_number(out, calls.len() as u64);
        calls.iter().for_each(|call| out.extend_from_slice(&call.0.to_le_bytes()));
    }
}

fn take_part(take: &mut Take<'_>) -> Option<Part> {
    let trace = TraceId(u128::from_le_bytes(take.raw(16)?.try_into().ok()?));
    let mut part = Part::new(trace, Timestamp(take.number()? as i64));
    part.last = Timestamp(take.number()? as i64);
    part.name = take_text(take)?;
    part.agent = take_text(take)?;
    for _ in 0..take.count()? {
        part.tags.push((take.text()?.to_owned(), take.text()?.to_owned()));
    }
    if take.raw(1)?[0] != 0 {
        let [source, content] = take.raw(2)?.try_into().ok()?;
        part.about = Some((*SOURCES.get(usize::from(source))?, *CONTENTS.get(usize::from(content))?));
    }
    if take.raw(1)?[0] != 0 {
        part.ended = Some(Ended {
            outcome: *OUTCOMES.get(usize::from(take.raw(1)?[0]))?,
            exit_code: take_maybe(take)?.map(|code| (code as u32).cast_signed()),
            reason: take_text(take)?,
            lost_calls: take.number()?,
        });
    }
    for number in [
        &mut part.calls,
        &mut part.failed,
        &mut part.unpriced,
        &mut part.stored,
        &mut part.request_bytes,
        &mut part.response_bytes,
    ] {
        *number = take.number()?;
    }
    let usage = &mut part.usage;
    for number in
        [&mut usage.input, &mut usage.output, &mut usage.cache_read, &mut usage.cache_write, &mut usage.reasoning]
    {
        *number = take_maybe(take)?;
    }
    part.cost_usd = take_maybe(take)?.map(f64::from_bits);
    for _ in 0..take.count()? {
        part.models.push(take.text()?.to_owned());
    }
    for _ in 0..take.count()? {
        part.agents.push((take.text()?.to_owned(), take_text(take)?));
    }
    part.error = take_text(take)?;
    for calls in [&mut part.open, &mut part.strays] {
        for _ in 0..take.count()? {
            calls.push(CallId(u64::from_le_bytes(take.raw(8)?.try_into().ok()?)));
        }
    }
    Some(part)
}

/// Whether a record of this kind starts a call.
pub fn starts_call(row: &Row) -> bool {
    row.kind == kind::CALL_STARTED
}

#[cfg(test)]
mod tests {
    use super::super::record::{RecordMeta, Stamped};
    use super::*;
    use crate::trace::{CallEnded, CallStarted, CallSummary, TraceEnded};

    fn side() -> Side {
        let mut side = Side::new("w".into(), Timestamp(-5), 40);
        let stamped = |trace| (TraceId(trace), Timestamp(trace as i64 * 10));
        for trace in 1..4 {
            let (id, at) = stamped(trace);
            let about = TraceStarted {
                name: Some(format!("t{trace}")),
                tags: vec![("k".into(), "v".into()), ("k".into(), "w".into())],
                ..TraceStarted::default()
            };
            let call = CallId(trace as u64);
            let request = super::super::record::call_meta(call, &CallStarted::default(), [0; 32], Default::default());
            let summary = CallSummary {
                model: "m".into(),
                usage: Usage { input: Some(3), ..Usage::default() },
                cost_usd: (trace == 1).then_some(0.25),
                error: (trace == 2).then(|| "no".into()),
                ..CallSummary::default()
            };
            let ended = CallEnded { summary, ..CallEnded::default() };
            let end = super::super::record::end_meta(call, &ended);
            let over = TraceEnded {
                outcome: TraceOutcome::Failed,
                exit_code: Some(-1),
                signal: None,
                reason: None,
                lost_calls: 2,
            };
            side.add(side.covers, 10, kind::TRACE_STARTED, &Meta::TraceStarted(Stamped { trace: id, at, what: about }));
            let meta = Meta::CallStarted(Box::new(Stamped { trace: id, at, what: request }));
            side.add(side.covers, 10, kind::CALL_STARTED, &meta);
            if trace < 3 {
                let meta = Meta::CallEnded(Box::new(Stamped { trace: id, at: Timestamp(99), what: end }));
                side.add(side.covers, 10, kind::CALL_ENDED, &meta);
            }
            side.add(side.covers, 10, kind::TRACE_ENDED, &Meta::TraceEnded(Stamped { trace: id, at, what: over }));
        }
        for of in [None, Some("r0".to_owned())] {
            let meta = RecordMeta { at: Timestamp(1), kind: "run".into(), id: "r1".into(), of };
            side.add(side.covers, 10, kind::RECORD, &Meta::Record(meta));
        }
        side.removed.push((TraceId(9), 7));
        side
    }

    #[test]
    fn a_side_index_comes_back_from_its_file() {
        let side = side();
        assert_eq!(side.parts[0].tags, [("k".to_owned(), "w".to_owned())]);
        assert_eq!((side.parts[0].cost_usd, side.parts[1].failed, side.parts[2].open.len()), (Some(0.25), 1, 1));
        let file = side.encode(77);
        assert!(Sections::short_len(&file[..HEAD]).unwrap() < file.len());
        let (mut back, sections) = Side::decode_short(&file).unwrap();
        assert_eq!(sections.salt, 77);
        back.decode_long(&file, &sections).unwrap();
        assert_eq!(back, side);
        let part = back.part_of(TraceId(2));
        assert_eq!(back.rows.iter().filter(|row| Some(row.part) == part).count(), 4);
    }

    #[test]
    fn a_damaged_file_is_no_side_index() {
        let file = side().encode(1);
        for at in 0..file.len() {
            let mut broken = file.clone();
            broken[at] ^= 0x10;
            let whole =
                Side::decode_short(&broken).and_then(|(mut side, s)| side.decode_long(&broken, &s).map(|()| s.salt));
            assert!(whole.is_none() || whole != Some(1), "byte {at}");
            assert!(
                Side::decode_short(&file[..at]).is_none_or(|(mut side, s)| side.decode_long(&file[..at], &s).is_none())
            );
        }
    }
}
