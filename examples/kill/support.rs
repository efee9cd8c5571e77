//! The helpers of the tests that this program uses, too.

#![allow(dead_code, unused_imports, unused_macros, reason = "a part of what tests share")]

#[path = "../../tests/support/table.rs"]
pub(crate) mod table;
#[path = "../../tests/support/read.rs"]
pub(crate) mod read;
