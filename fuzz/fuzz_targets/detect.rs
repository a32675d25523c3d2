//! Any bytes as a file of an unknown kind.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holdback_fuzz::detect(bytes));
