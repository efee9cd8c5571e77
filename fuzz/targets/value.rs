#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tracklake_fuzz::value(input));
