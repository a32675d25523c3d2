//! Importers against anything: seeds of every format, cut at every place, with bytes turned over and words of other formats in
//! them. Nothing panics, nothing hangs, and every call that was begun is ended. The fuzz targets run the same for longer.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::collections::HashSet;
use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};

use holdback::import::{self, FORMATS, Kind, Settings, Shape, Source, TakeError, Taker, Tally};
use holdback::price::Table;
use holdback::redact::{Redactor, Rules};
use holdback::trace::{CallId, Content, Timestamp, TraceEvent, What};
use holdback::trial::RunRecord;

#[derive(Default)]
struct Balanced {
    open: HashSet<CallId>,
    calls: usize,
    runs: usize,
}

impl Taker for Balanced {
    fn event(&mut self, event: &TraceEvent) -> Result<(), TakeError> {
        match &event.what {
            What::CallStarted(call, _) => drop(self.open.insert(*call)),
            What::CallEnded(call, _) => {
                self.calls += 1;
                assert!(self.open.remove(call));
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

fn import_bytes(format: &import::Format, bytes: &[u8], redactor: &Redactor, prices: &Table) -> (Tally, Balanced, bool) {
    let settings = Settings { redactor, content: Content::Redacted, prices, settled: true };
    let mut from = BufReader::with_capacity(7, bytes);
    let mut file = Cursor::new(bytes);
    let archive = bytes.starts_with(b"PK\x03\x04");
    let mut source = Source {
        path: "job/trial/result.json",
        modified: Timestamp(1_700_000_000_000_000),
        from: &mut from,
        file: if archive { Some(&mut file) } else { None },
    };
    let mut taker = Balanced::default();
    let (tally, done) = import::import(format, &mut source, &settings, &mut import::Job::default(), &mut taker);
    assert!(taker.open.is_empty(), "{}", format.name);
    (tally, taker, done.is_ok())
}

fn seeds() -> Vec<(&'static import::Format, Vec<u8>, PathBuf)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/import");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Kind::Known(format) = import::detect(&Shape::of(&name, &bytes)) else { panic!("{name}: not known") };
        assert_eq!(name.split('.').next(), Some(format.name), "{name} is taken for {}", format.name);
        found.push((format, bytes, path));
    }
    found
}

#[test]
fn every_format_has_a_seed_that_imports_whole() {
    let (redactor, prices) = (Redactor::new(&Rules::default()).unwrap(), Table::embedded());
    let seeds = seeds();
    for format in FORMATS {
        let (_, bytes, path) = seeds
            .iter()
            .find(|(known, ..)| known.name == format.name)
            .unwrap_or_else(|| panic!("no seed of {}", format.name));
        let (tally, taker, done) = import_bytes(format, bytes, &redactor, &prices);
        assert!(done && tally.damaged == 0, "{}: {tally:?}", path.display());
        assert!(taker.calls > 0 || taker.runs > 0 || format.name == "swe-bench", "{}: {tally:?}", path.display());
        let explained =
            tally.used + tally.skipped.values().sum::<u64>() + tally.unknown.values().sum::<u64>() + tally.damaged;
        assert_eq!(tally.lines, explained, "{}", path.display());
    }
}

#[test]
fn cut_and_spoilt_files_of_every_format_do_no_harm() {
    let (redactor, prices) = (Redactor::new(&Rules::default()).unwrap(), Table::embedded());
    for (format, bytes, _) in seeds() {
        let step = (bytes.len() / 60).max(1);
        for at in (0..bytes.len()).step_by(step) {
            import_bytes(format, &bytes[..at], &redactor, &prices);
            let mut spoilt = bytes.clone();
            spoilt[at] = spoilt[at].wrapping_add(1);
            import_bytes(format, &spoilt, &redactor, &prices);
            let mut doubled = bytes[..at].to_vec();
            doubled.extend_from_slice(&bytes[at / 2..]);
            import_bytes(format, &doubled, &redactor, &prices);
        }
    }
}

#[test]
fn every_importer_survives_the_files_of_all_others_and_values_of_the_wrong_type() {
    let (redactor, prices) = (Redactor::new(&Rules::default()).unwrap(), Table::embedded());
    for (_, bytes, _) in seeds() {
        let text = String::from_utf8_lossy(&bytes);
        let swapped = [
            text.replace('"', ""),
            text.replace(": \"", ": [\""),
            text.replace(":\"", ":7,\"x\":\""),
            text.replace('1', "-1e400"),
            text.replace('[', "{").replace(']', "}"),
            text.replace("null", "[[[[]]]]"),
            format!("\u{feff}{}", text.replace('\n', "\r\n")),
        ];
        for format in FORMATS {
            import_bytes(format, &bytes, &redactor, &prices);
            for other in &swapped {
                import_bytes(format, other.as_bytes(), &redactor, &prices);
            }
        }
    }
}
