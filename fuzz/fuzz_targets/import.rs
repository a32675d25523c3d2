//! Any bytes through any importer: no panic, no hang, and every call that is begun is ended. The first byte picks the format.
#![no_main]

use std::collections::HashSet;
use std::io::Cursor;

use holdback::import::{self, FORMATS, Settings, Shape, Source, TakeError, Taker};
use holdback::price::Table;
use holdback::redact::{Redactor, Rules};
use holdback::trace::{CallId, Content, Timestamp, TraceEvent, What};
use holdback::trial::RunRecord;
use libfuzzer_sys::fuzz_target;

#[derive(Default)]
struct Balanced(HashSet<CallId>);

impl Taker for Balanced {
    fn event(&mut self, event: &TraceEvent) -> Result<(), TakeError> {
        match &event.what {
            What::CallStarted(call, _) => drop(self.0.insert(*call)),
            What::CallEnded(call, _) => assert!(self.0.remove(call)),
            _ => {}
        }
        Ok(())
    }
    fn run(&mut self, _: RunRecord) -> Result<(), TakeError> {
        Ok(())
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (pick, bytes) = input;
    let redactor = Redactor::new(&Rules::default()).unwrap();
    let prices = Table::embedded();
    let settings = Settings { redactor: &redactor, content: Content::Redacted, prices: &prices, settled: pick < 128 };
    let _ = import::detect(&Shape::of("x", bytes));
    let mut from = bytes;
    let mut file = Cursor::new(bytes);
    let mut source = Source {
        path: "job/trial/result.json",
        modified: Timestamp(1),
        from: &mut from,
        file: if bytes.starts_with(b"PK") { Some(&mut file) } else { None },
    };
    let mut taker = Balanced::default();
    let format = &FORMATS[usize::from(pick & 127) % FORMATS.len()];
    let _ = import::import(format, &mut source, &settings, &mut import::Job::default(), &mut taker);
    assert!(taker.0.is_empty());
});
