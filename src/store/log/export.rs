//! One trace as one file, and back: JSON lines inside of zstd, described in docs/trace-format.md.

use std::io::{self, BufRead, BufReader, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::entry::{Entry, Kept};
use super::reader::Reader;
use super::record::{CallMeta, EndMeta, call_meta, end_meta, hex};
use super::{LogError, Store};
use crate::trace::{
    CallEnded, CallId, CallStarted, Chunk, Note, Score, Sink, Timestamp, TraceEnded, TraceEvent, TraceId, TraceStarted,
    What,
};

/// The format of the file.
const FORMAT: u64 = 1;
const LEVEL: i32 = 6;
/// Requests repeat each other at a distance: zstd may look back this far (2 to the power of it).
const WINDOW_LOG: u32 = 27;

#[derive(Serialize, Deserialize)]
struct First {
    holdback_trace: u64,
    trace: TraceId,
    holdback: String,
}

/// A body: as text where it is UTF-8.
#[derive(Serialize, Deserialize)]
struct Body {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_b64: Option<String>,
}

impl Body {
    fn of(bytes: &[u8]) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Body { body: Some(text.to_owned()), body_b64: None },
            Err(_) => Body { body: None, body_b64: Some(STANDARD.encode(bytes)) },
        }
    }

    fn bytes(self) -> Option<Bytes> {
        match (self.body, self.body_b64) {
            (Some(text), None) => Some(text.into()),
            (None, Some(text)) => STANDARD.decode(text).ok().map(Bytes::from),
            (None, None) => Some(Bytes::new()),
            (Some(_), Some(_)) => None,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    TraceStarted {
        at: Timestamp,
        about: TraceStarted,
    },
    CallStarted {
        at: Timestamp,
        request: Box<CallMeta>,
        #[serde(flatten)]
        body: Body,
    },
    CallEnded {
        at: Timestamp,
        answer: Box<EndMeta>,
        chunks: Vec<Chunk>,
        #[serde(flatten)]
        body: Body,
    },
    Noted {
        at: Timestamp,
        note: Note,
    },
    Scored {
        at: Timestamp,
        score: Score,
    },
    TraceEnded {
        at: Timestamp,
        ending: TraceEnded,
    },
}

impl Reader {
    /// Writes one trace as a file of its own, bodies byte for byte.
    ///
    /// # Errors
    /// When there is no such trace, a body cannot be rebuilt, or `out` refuses.
    pub fn export(&self, trace: TraceId, out: impl Write) -> Result<(), LogError> {
        let entries = self.entries(trace)?;
        let writing =
            |source: io::Error| LogError::Io { doing: "exporting a trace", path: trace.to_string().into(), source };
        let mut packer = zstd::stream::Encoder::new(out, LEVEL).map_err(writing)?;
        packer.long_distance_matching(true).map_err(writing)?;
        packer.window_log(WINDOW_LOG).map_err(writing)?;
        let first = First { holdback_trace: FORMAT, trace, holdback: env!("CARGO_PKG_VERSION").to_owned() };
        put(&mut packer, &first).map_err(writing)?;
        for entry in entries {
            if let Some(line) = self.line(entry)? {
                put(&mut packer, &line).map_err(writing)?;
            }
        }
        packer.finish().and_then(|mut out| out.flush()).map_err(writing)
    }

    fn line(&self, entry: Entry) -> Result<Option<Line>, LogError> {
        let at = entry.at;
        Ok(Some(match entry.what {
            Kept::TraceStarted(_, about) => Line::TraceStarted { at, about },
            Kept::CallStarted(_, call) => {
                let body = self.request_at(&entry.place)?;
                let request = CallStarted { body: body.clone(), ..call.request };
                let request = Box::new(call_meta(call.call, &request, call.sha256, call.context));
                Line::CallStarted { at, request, body: Body::of(&body) }
            }
            Kept::CallEnded(_, call, mut ended) => {
                let (answer, chunks) = (Box::new(end_meta(call, &ended)), std::mem::take(&mut ended.chunks));
                Line::CallEnded { at, answer, chunks, body: Body::of(&ended.body) }
            }
            Kept::Noted(_, note) => Line::Noted { at, note },
            Kept::Scored(_, score) => Line::Scored { at, score },
            Kept::TraceEnded(_, ending) => Line::TraceEnded { at, ending },
            // Whoever reads the file sees that the end is missing.
            Kept::CallLost(..) | Kept::Record(_) | Kept::Removed(_) => return Ok(None),
        }))
    }
}

fn put(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// Why a file could not be brought in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is here: nothing was added.
    #[error("trace {0} is in this store already")]
    Present(TraceId),
    /// The file is not one of ours, or damaged.
    #[error("line {line}: {what}")]
    Bad { line: usize, what: String },
    /// Made by a newer holdback.
    #[error("the trace file has format {0}; this holdback reads up to {FORMAT}: please update holdback")]
    Newer(u64),
    /// It could not be kept.
    #[error("{0}")]
    Keep(Box<dyn std::error::Error + Send + Sync>),
}

/// Reads a trace file.
pub struct TraceFile<R: Read> {
    /// The trace's id where it was recorded.
    pub trace: TraceId,
    lines: io::Lines<BufReader<zstd::stream::Decoder<'static, BufReader<R>>>>,
}

impl<R: Read> TraceFile<R> {
    /// Opens a trace file.
    ///
    /// # Errors
    /// When it is none, or a newer holdback made it.
    pub fn open(file: R) -> Result<Self, ImportError> {
        let bad = |what: String| ImportError::Bad { line: 1, what };
        let mut unpacker = zstd::stream::Decoder::new(file).map_err(|error| bad(error.to_string()))?;
        unpacker.window_log_max(WINDOW_LOG).map_err(|error| bad(error.to_string()))?;
        let mut lines = BufReader::new(unpacker).lines();
        let first = lines.next().ok_or_else(|| bad("the file is empty".to_owned()))?;
        let first = first.map_err(|error| bad(format!("this is not a trace file: {error}")))?;
        let value: serde_json::Value = serde_json::from_str(&first).unwrap_or_default();
        match value["holdback_trace"].as_u64() {
            Some(found) if found > FORMAT => return Err(ImportError::Newer(found)),
            Some(_) => {}
            None => return Err(bad("this is not a trace file: it does not begin with \"holdback_trace\"".to_owned())),
        }
        let first: First = serde_json::from_value(value).map_err(|error| bad(error.to_string()))?;
        Ok(TraceFile { trace: first.trace, lines })
    }

    /// Hands every event to a sink. With another `trace` than the file's own the calls get other ids too, so that both
    /// can live in one store.
    ///
    /// # Errors
    /// When a line is damaged, a body has another hash than it should, or the sink refuses.
    pub fn pour(self, trace: TraceId, sink: &mut impl Sink) -> Result<u64, ImportError> {
        let turn = self.trace.0 ^ trace.0;
        let turn = (turn >> 64) as u64 ^ turn as u64;
        let mut events = 0;
        for (line, number) in self.lines.zip(2..) {
            let bad = |what: String| ImportError::Bad { line: number, what };
            let line = line.map_err(|error| bad(format!("the file is cut short or damaged: {error}")))?;
            let line: Line = serde_json::from_str(&line).map_err(|error| bad(error.to_string()))?;
            let (at, what) = event(line, |call| CallId(call.0 ^ turn)).map_err(bad)?;
            sink.accept(&TraceEvent { trace, at, what }).map_err(|error| ImportError::Keep(Box::new(error)))?;
            events += 1;
        }
        Ok(events)
    }
}

impl Store {
    /// Brings a trace file in, under its own id or as another trace.
    ///
    /// # Errors
    /// When the file is damaged, the trace is here already, or it could not be kept.
    pub fn import(&self, file: impl Read, as_trace: Option<TraceId>) -> Result<TraceId, ImportError> {
        let keep = |error: LogError| ImportError::Keep(Box::new(error));
        let file = TraceFile::open(file)?;
        let trace = as_trace.unwrap_or(file.trace);
        if self.reader().map_err(keep)?.trace(trace).is_ok() {
            return Err(ImportError::Present(trace));
        }
        let mut writer = self.writer().map_err(keep)?;
        file.pour(trace, &mut writer)?;
        Ok(trace)
    }
}

fn event(line: Line, rename: impl Fn(CallId) -> CallId) -> Result<(Timestamp, What), String> {
    let spoilt = || "the body is neither text nor base64".to_owned();
    Ok(match line {
        Line::TraceStarted { at, about } => (at, What::TraceStarted(about)),
        Line::CallStarted { at, request, body } => {
            let body = body.bytes().ok_or_else(spoilt)?;
            let hash: [u8; 32] = Sha256::digest(&body).into();
            if hex(&hash) != request.sha256 {
                return Err(format!("the body of call {} is not the one that was recorded", request.call));
            }
            let call = rename(request.call);
            let request = CallStarted {
                wire: request.wire,
                upstream: request.upstream,
                method: request.method,
                target: request.target,
                headers: request.headers,
                body,
                redactions: request.redactions,
                agent: request.agent,
                parent_agent: request.parent_agent,
                retry_of: request.retry_of.map(rename),
            };
            (at, What::CallStarted(call, request))
        }
        Line::CallEnded { at, answer, chunks, body } => {
            let body = body.bytes().ok_or_else(spoilt)?;
            let ended = CallEnded {
                end: answer.end,
                status: answer.status,
                headers: answer.headers,
                body,
                chunks,
                first_byte: answer.first_byte,
                first_content: answer.first_content,
                redactions: answer.redactions,
                summary: answer.summary,
            };
            (at, What::CallEnded(rename(answer.call), ended))
        }
        Line::Noted { at, note } => (at, What::Noted(Note { call: note.call.map(rename), ..note })),
        Line::Scored { at, score } => (at, What::Scored(Score { call: score.call.map(rename), ..score })),
        Line::TraceEnded { at, ending } => (at, What::TraceEnded(ending)),
    })
}
