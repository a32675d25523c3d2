//! Foreign bytes to traces and runs: session files of agents, exports of observability tools, wire logs, results of other
//! harnesses. One file per format, registered below; which one a file is in is told by its content.
//!
//! An importer reads from a [`std::io::BufRead`], keeps little in memory, works at a [`Desk`] that redacts, names and counts,
//! and never fails for one bad line. Its output is the recorder's: events, as if the calls had been seen on the wire.

mod atif;
mod chat;
mod claude_code;
mod claude_request;
mod codex;
mod desk;
mod exchange;
mod gemini_cli;
mod har;
mod harbor;
mod inspect;
mod langfuse;
mod langsmith;
mod lines;
mod open;
mod opencode;
mod openhands;
mod openhands_sdk;
mod opik;
pub mod otlp;
mod pi;
mod promptfoo;
mod qwen_code;
mod raw;
mod records;
mod results;
mod rows;
mod said;
mod shape;
mod sidecar;
mod spans;
mod sqlite;
mod stream;
mod sweagent;
mod tau2;
mod thread;
mod time;
mod usage;
mod vcr;
mod wire_log;
mod zip;

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, Read, Seek};

use crate::price::Table;
use crate::redact::Redactor;
use crate::trace::{Content, Timestamp, TraceEvent, TraceId};
use crate::trial::RunRecord;

pub use desk::{About, Desk, Tally, Told, add_usage, call_id, trace_id};
pub use open::{Opened, open};
pub use shape::Shape;

/// Whether a file that begins like this is read where its directory says, not from its beginning on.
pub fn is_database(head: &[u8]) -> bool {
    head.starts_with(sqlite::MAGIC)
}

/// Why something could not be kept.
pub type TakeError = Box<dyn std::error::Error + Send + Sync>;

/// Takes what importers tell.
pub trait Taker {
    /// Takes an event.
    ///
    /// # Errors
    /// When it can't be kept.
    fn event(&mut self, event: &TraceEvent) -> Result<(), TakeError>;

    /// Takes a run, or a part of one: parts have the same id and are put together by whoever takes them.
    ///
    /// # Errors
    /// When it can't be kept.
    fn run(&mut self, run: RunRecord) -> Result<(), TakeError>;
}

/// Why a file could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("it can't be read: {0}")]
    Read(#[from] io::Error),
    #[error("{0}")]
    Bad(String),
    #[error("it could not be kept: {0}")]
    Keep(TakeError),
}

/// What holds for every file.
pub struct Settings<'a> {
    pub redactor: &'a Redactor,
    pub content: Content,
    pub prices: &'a Table,
    /// Whether files are done growing: what stands at the end of one is then its end.
    pub settled: bool,
}

/// A file that can be read anywhere in it.
pub trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// A file to import, unpacked and from its beginning.
pub struct Source<'a> {
    pub path: &'a str,
    /// When it was last written: the time of what has none of its own.
    pub modified: Timestamp,
    pub from: &'a mut dyn BufRead,
    /// The file itself, for archives and databases, which are read where their directory says.
    pub file: Option<&'a mut dyn ReadSeek>,
    /// What a database has not yet taken over from the log beside it.
    pub beside: Option<&'a mut dyn ReadSeek>,
}

/// Reads one format.
pub type Reader = fn(&mut Source<'_>, &mut Desk<'_>) -> Result<(), Trouble>;

/// A format.
pub struct Format {
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// Whether a file looks like it.
    pub fits: fn(&Shape<'_>) -> bool,
    pub read: Reader,
}

/// All formats, those that are told most surely first.
pub const FORMATS: &[Format] = &[
    wire_log::FORMAT,
    claude_code::FORMAT,
    qwen_code::FORMAT,
    codex::FORMAT,
    gemini_cli::FORMAT,
    pi::FORMAT,
    har::FORMAT,
    vcr::FORMAT,
    stream::CHUNKS,
    stream::SCRIPT,
    atif::FORMAT,
    langfuse::FORMAT,
    sweagent::FORMAT,
    openhands::FORMAT,
    opencode::FORMAT,
    otlp::FORMAT,
    otlp::SPANS,
    opik::FORMAT,
    langsmith::FORMAT,
    inspect::FORMAT,
    promptfoo::FORMAT,
    tau2::FORMAT,
    harbor::FORMAT,
    rows::AIDER,
    rows::REPORTS,
    exchange::FORMAT,
    rows::ROWS,
];

/// What a file turned out to be.
#[derive(Clone, Copy)]
pub enum Kind {
    Known(&'static Format),
    /// Stands beside traces and holds none: why.
    Sidecar(&'static str),
    Unknown,
}

/// Tells by its first bytes what a file is.
pub fn detect(shape: &Shape<'_>) -> Kind {
    if let Some(why) = sidecar::named(shape) {
        return Kind::Sidecar(why);
    }
    if let Some(format) = FORMATS.iter().find(|format| (format.fits)(shape)) {
        return Kind::Known(format);
    }
    sidecar::shaped(shape).map_or(Kind::Unknown, Kind::Sidecar)
}

/// A format by its name.
pub fn format(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// What files that belong together share: the traces they have begun, and what telemetry waits for.
#[derive(Default)]
pub struct Job {
    begun: HashSet<TraceId>,
    book: otlp::Book,
    belongs: HashMap<String, TraceId>,
}

impl Job {
    /// Its files are read: tells what has waited for more.
    ///
    /// # Errors
    /// When nothing can be kept.
    pub fn finish(&mut self, settings: &Settings<'_>, taker: &mut dyn Taker) -> Result<(), Trouble> {
        self.book.settle(Timestamp(i64::MAX), "otlp", settings, taker)
    }
}

/// Imports a file that was told to be in a format.
///
/// # Errors
/// When it can't be read, isn't what it was told to be, or nothing can be kept. What was told before stays told.
pub fn import(
    format: &Format,
    source: &mut Source<'_>,
    settings: &Settings<'_>,
    job: &mut Job,
    taker: &mut dyn Taker,
) -> (Tally, Result<(), Trouble>) {
    let mut desk = Desk::new(settings, taker, format.name, source.path, &mut job.begun);
    desk.book = Some(&mut job.book);
    desk.belongs = Some(&mut job.belongs);
    let done = (format.read)(source, &mut desk);
    let done = done.and(desk.finish());
    (desk.tally, done)
}

/// A whole document, when it isn't too big to be held.
fn document(from: &mut dyn BufRead) -> Result<serde_json::Value, Trouble> {
    let bytes = whole(from)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    serde_json::from_slice(bytes).map_err(|error| Trouble::Bad(format!("it is no whole JSON document: {error}")))
}

/// Documents bigger than this are refused.
const BIGGEST: u64 = 512 << 20;

fn whole(from: &mut dyn BufRead) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    from.take(BIGGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BIGGEST {
        return Err(Trouble::Bad(format!("a single document of more than {} MB can't be read", BIGGEST >> 20)));
    }
    Ok(bytes)
}
