//! What several test binaries share; `README.md` beside this file lists it.

pub(crate) mod table;
pub(crate) mod read;
pub(crate) mod run;
