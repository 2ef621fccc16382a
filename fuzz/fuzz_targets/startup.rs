//! The entry `startup` of tests/fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_entries::run("startup", data));
