//! Any bytes as requests to the OTLP listener.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holdback_fuzz::listen(bytes));
