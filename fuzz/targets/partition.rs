#![no_main]

libfuzzer_sys::fuzz_target!(|value: &str| {
    let directory = tracklake::load::partition_directory("date", Some(value));
    tracklake_fuzz::partition(value, &directory);
});
