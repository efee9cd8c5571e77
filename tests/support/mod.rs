//! What several test binaries share; `README.md` beside this file lists it.

#![allow(dead_code, unused_imports, unused_macros, reason = "each test binary uses a part")]

pub(crate) mod table;
pub(crate) mod read;
pub(crate) mod run;
pub(crate) mod cli;
pub(crate) mod server;
