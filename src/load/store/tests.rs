//! What a destination must do, wherever it is.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use super::{Store, io_error};
use crate::load::WriteError;

/// Blows after a number of changes; from then on nothing changes, as after a kill.
#[derive(Debug, Clone)]
pub(in crate::load) struct Fuse(Arc<AtomicI64>);

impl Default for Fuse {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MAX)))
    }
}

impl Fuse {
    pub(in crate::load) fn set(&self, changes: i64) {
        self.0.store(changes, Ordering::SeqCst);
    }

    pub(in crate::load) fn left(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(super) fn burn(&self, path: &Path) -> Result<(), WriteError> {
        if self.0.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        self.set(0);
        Err(io_error("survive at", path)(io::Error::other("the fuse blew")))
    }
}

#[test]
fn no_path_leads_out_of_the_destination() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();

    for path in ["", "/etc/passwd", "..", "a/../b", "a//b", "./a", "a/.", r"a\..\b", "a\0"] {
        let err = store.absolute(path).unwrap_err();
        assert!(matches!(err, WriteError::Outside { .. }), "{path}: {err}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_in_the_destination_may_not_lead_out_of_it_but_the_destination_may_be_one() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("real/inner")).unwrap();
    std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink("/tmp", dir.path().join("real/out")).unwrap();
    std::os::unix::fs::symlink("inner", dir.path().join("real/in")).unwrap();

    let store = Store::open(&dir.path().join("link")).unwrap();

    assert!(matches!(store.create("out/a"), Err(WriteError::Outside { .. })));
    assert!(store.create("in/a").is_ok());
    assert!(dir.path().join("real/inner/a").exists());
}

#[test]
fn a_file_is_replaced_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();

    store.replace("a/b.json", b"old").unwrap();
    store.replace("a/b.json", b"new").unwrap();

    assert_eq!(store.read("a/b.json").unwrap().unwrap(), b"new");
    assert_eq!(store.list("a").unwrap().len(), 1);
    assert_eq!(store.read("a/c.json").unwrap(), None);
}
