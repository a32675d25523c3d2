//! Any bytes through the importer this target is named for: one target for each of `holdback::import::FORMATS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holdback_fuzz::import_named(env!("CARGO_BIN_NAME"), bytes));
