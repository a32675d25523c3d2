//! Importers against anything: seeds of every format, cut at every place, with bytes turned over and words of other formats in
//! them. Nothing panics, nothing hangs, and every call that was begun is ended. The fuzz targets run the same for longer.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::path::Path;

use holdback::import::{self, FORMATS, Kind, Shape};

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

/// The seeds, each with the format it is named for. What was once a crash need not look like its format.
fn seeds() -> Vec<(&'static import::Format, Vec<u8>, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/import");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let named = import::format(name.split('.').next().unwrap()).unwrap_or_else(|| panic!("{name}: no such format"));
        found.push((named, std::fs::read(&path).unwrap(), name));
    }
    found
}

#[test]
fn every_format_has_seeds_that_import_whole_and_a_fuzz_target() {
    let targets = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml")).unwrap();
    let seeds: Vec<_> = seeds().into_iter().filter(|(.., name)| !name.contains(".crash-")).collect();
    for format in FORMATS {
        assert!(seeds.iter().any(|(known, ..)| known.name == format.name), "no seed of {}", format.name);
        let target = format!("{{ name = {:?}, path = \"fuzz_targets/importer.rs\" }}", format.name);
        assert!(targets.contains(&target), "fuzz/Cargo.toml lacks {target}");
    }
    for (format, bytes, name) in seeds {
        let Kind::Known(known) = import::detect(&Shape::of(&name, &bytes)) else { panic!("{name}: not known") };
        assert_eq!(known.name, format.name, "{name}");
        let (tally, taker, done) = fuzz::import(format, &bytes);
        assert!(done && tally.damaged == 0, "{name}: {tally:?}");
        assert!(taker.calls + taker.runs > 0 || tally.events > 0, "{name}: {tally:?}");
    }
}

#[test]
fn cut_and_spoilt_files_of_every_format_do_no_harm() {
    for (format, bytes, _) in seeds() {
        let step = (bytes.len() / 60).max(1);
        for at in (0..bytes.len()).step_by(step) {
            fuzz::import(format, &bytes[..at]);
            let mut spoilt = bytes.clone();
            spoilt[at] = spoilt[at].wrapping_add(1);
            fuzz::import(format, &spoilt);
            let mut doubled = bytes[..at].to_vec();
            doubled.extend_from_slice(&bytes[at / 2..]);
            fuzz::import(format, &doubled);
            fuzz::detect(&doubled);
            fuzz::listen(&doubled);
        }
    }
}

#[test]
fn every_importer_survives_the_files_of_all_others_and_values_of_the_wrong_type() {
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
            fuzz::import(format, &bytes);
            for other in &swapped {
                fuzz::import(format, other.as_bytes());
            }
        }
    }
}
