//! The entry `session_state` of tests/fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_entries::run("session_state", data));
