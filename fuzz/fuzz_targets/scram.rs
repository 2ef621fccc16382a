//! The entry `scram` of tests/fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_entries::run("scram", data));
