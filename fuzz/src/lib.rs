//! What a fuzz target does with its bytes. `tests/import_hostile.rs` does the same with the seeds, cut and spoilt.

use std::collections::HashSet;
use std::io::{BufReader, Cursor, Read};
use std::sync::OnceLock;

use holdback::import::{self, Format, Kind, Opened, Settings, Shape, Source, TakeError, Taker, Tally, otlp};
use holdback::price::Table;
use holdback::redact::{Redactor, Rules};
use holdback::trace::{CallId, Content, Timestamp, TraceEvent, What};
use holdback::trial::RunRecord;

/// Takes everything, and sees to it that no call ends that was not begun and no trial belongs to another run.
#[derive(Debug, Default)]
pub struct Balanced {
    pub open: HashSet<CallId>,
    pub calls: usize,
    pub runs: usize,
}

impl Taker for Balanced {
    fn event(&mut self, event: &TraceEvent) -> Result<(), TakeError> {
        match &event.what {
            What::CallStarted(call, _) => drop(self.open.insert(*call)),
            What::CallEnded(call, _) => {
                self.calls += 1;
                assert!(self.open.remove(call), "{call} ended, but was not begun");
            }
            _ => {}
        }
        Ok(())
    }

    fn run(&mut self, run: RunRecord) -> Result<(), TakeError> {
        self.runs += 1;
        assert!(run.trials.iter().all(|trial| trial.run == run.id && run.tasks.contains(&trial.task)));
        Ok(())
    }
}

/// A redactor and prices, made once: they cost a thousand times what an import of a few bytes does.
pub fn settings(settled: bool) -> Settings<'static> {
    static MADE: OnceLock<(Redactor, Table)> = OnceLock::new();
    let (redactor, prices) = MADE
        .get_or_init(|| (Redactor::new(&Rules::default()).expect("the rules of the house compile"), Table::embedded()));
    Settings { redactor, content: Content::Redacted, prices, settled }
}

/// Any bytes as a file of a format: no panic, no hang, every call that is begun is ended, every line is accounted for.
pub fn import(format: &Format, bytes: &[u8]) -> (Tally, Balanced, bool) {
    let settings = settings(bytes.len().is_multiple_of(2));
    // Lines that stand across the pieces of a buffer are ordinary.
    let mut from = BufReader::with_capacity(7, bytes);
    let by_directory = bytes.starts_with(b"PK\x03\x04") || import::is_database(bytes);
    let starts = [[0x37, 0x7f, 0x06, 0x82], [0x37, 0x7f, 0x06, 0x83]];
    let log_at = bytes.windows(4).position(|four| by_directory && starts.iter().any(|start| start == four));
    let (file, log) = bytes.split_at(log_at.unwrap_or(bytes.len()));
    let (mut file, mut log) = (Cursor::new(file), Cursor::new(log));
    let mut source = Source {
        path: "job/trial/result.json",
        modified: Timestamp(1_700_000_000_000_000),
        from: &mut from,
        file: if by_directory { Some(&mut file) } else { None },
        // Whatever follows a database in a seed is its log.
        beside: if log.get_ref().is_empty() { None } else { Some(&mut log) },
    };
    let (mut taker, mut job) = (Balanced::default(), import::Job::default());
    let (tally, done) = import::import(format, &mut source, &settings, &mut job, &mut taker);
    let finished = job.finish(&settings, &mut taker);
    assert!(taker.open.is_empty(), "{}: a call without an end", format.name);
    let explained =
        tally.used + tally.skipped.values().sum::<u64>() + tally.unknown.values().sum::<u64>() + tally.damaged;
    assert_eq!(tally.lines, explained, "{}: {tally:?}", format.name);
    (tally, taker, done.and(finished).is_ok())
}

/// The same, by the format's name, as a target has it.
#[allow(dead_code)]
pub fn import_named(format: &str, bytes: &[u8]) {
    import(import::format(format).unwrap_or_else(|| panic!("no format is called {format}")), bytes);
}

/// Any bytes as what a listener is sent, in two requests: spans and logs, JSON and protobuf.
pub fn listen(bytes: &[u8]) {
    let (mut book, mut taker) = (otlp::Book::default(), Balanced::default());
    let settings = settings(true);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    for body in [bytes, first, second, bytes] {
        for signal in [otlp::Signal::Logs, otlp::Signal::Traces] {
            for is_json in [false, true] {
                let Ok(batch) = otlp::decode(signal, is_json, body) else { continue };
                book.receive(batch, Timestamp(1), "otlp", &settings, &mut taker).expect("this taker takes all");
            }
        }
    }
    book.settle(Timestamp(i64::MAX), "otlp", &settings, &mut taker).expect("this taker takes all");
    assert!(taker.open.is_empty());
}

/// Any bytes as a file nobody knows: its packing taken off, its format told, imported in it.
pub fn detect(bytes: &[u8]) {
    let mut plain = Vec::new();
    match import::open(bytes) {
        Ok(Opened::Plain(from)) => drop(from.take(1 << 20).read_to_end(&mut plain)),
        Ok(Opened::Zip) => plain.extend_from_slice(bytes),
        Err(_) => return,
    }
    if let Kind::Known(format) = import::detect(&Shape::of("folder/x.json", &plain)) {
        import(format, &plain);
    }
}
