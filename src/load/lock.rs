//! One run at a time a pipeline: a lock that a dead process cannot hold.
//!
//! ```text
//! _tracklake/<pipeline>/lock     "run 20240725T094206Z (pid 4711)", locked while that process lives
//! ```

use super::{
    WriteError,
    store::{Guard, Store},
};
use crate::plan::Name;

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _guard: Guard,
}

impl Lock {
    /// Takes the lock of `pipeline`, or says who has it.
    pub(super) fn take(store: &Store, pipeline: &Name, run: &str) -> Result<Self, WriteError> {
        let path = path(pipeline);
        let holder = format!("run {run} (pid {})", std::process::id());
        match store.lock(&path, &holder)? {
            Ok(guard) => Ok(Self { _guard: guard }),
            Err(holder) => Err(WriteError::Locked { pipeline: pipeline.to_string(), holder }),
        }
    }
}

/// Who has the lock of `pipeline`; it is not taken.
pub(super) fn holder(store: &Store, pipeline: &Name) -> Result<Option<String>, WriteError> {
    store.holder(&path(pipeline))
}

/// The epoch before which commits of `pipeline` are void; nothing where none ever is.
pub(super) fn void_before(store: &Store, pipeline: &Name) -> Result<Option<u64>, WriteError> {
    store.void_before(&path(pipeline))
}

fn path(pipeline: &Name) -> String {
    format!("_tracklake/{pipeline}/lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_told_who_is_first() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let pipeline: Name = "p".parse().unwrap();

        let first = Lock::take(&store, &pipeline, "r1").unwrap();
        let err = Lock::take(&store, &pipeline, "r2").unwrap_err();
        Lock::take(&store, &"other".parse().unwrap(), "r2").unwrap();
        drop(first);
        Lock::take(&store, &pipeline, "r3").unwrap();

        let expected = format!("pipeline `p` is held by run r1 (pid {})", std::process::id());
        assert_eq!(err.to_string(), expected);
    }
}
