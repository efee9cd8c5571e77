//! The inputs from which `cargo fuzz` starts, and all that it has found, as ordinary tests.

#[expect(dead_code, unreachable_pub, clippy::panic, reason = "it is the fuzzer's, too")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::{fs, path::Path};

/// Every seed of a target.
#[expect(clippy::unwrap_used, reason = "a test's own files")]
fn for_each_seed(target: &str, check: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap() {
        check(&fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 7, "{count} seeds of {target}");
}

#[test]
fn pages_give_rows_and_rejects_that_add_up() {
    for_each_seed("page", targets::page);
}

#[test]
fn values_of_any_form_fit_or_are_rejected_as_every_type() {
    for_each_seed("value", targets::value);
}

#[test]
fn a_pipeline_is_a_plan_or_has_mistakes_with_their_places() {
    for_each_seed("pipeline", targets::pipeline);
}
