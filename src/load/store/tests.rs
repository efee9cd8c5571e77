//! What a destination must do, wherever it is.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use parquet::file::reader::{ChunkReader as _, Length as _};

use super::{EntryKind, Refusal, RefusalKind, Store, io_error};
use crate::{
    load::WriteError,
    plan::{DestinationPath, LeasePlan},
};

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

/// A place to write to, opened as often as one likes.
struct Place {
    kind: &'static str,
    path: DestinationPath,
}

impl Place {
    fn open(&self) -> Store {
        // Nothing here waits for a lease to run out.
        let lease = LeasePlan { length: Duration::from_hours(1), single_writer: false };
        Store::of(&self.path, lease).unwrap()
    }
}

/// Runs a check in a directory, in a bucket, and in a folder of one.
fn for_each_place(check: impl Fn(&Place)) {
    static NUMBER: AtomicI64 = AtomicI64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("output");
    for (kind, path) in [
        ("directory", DestinationPath::Directory(inside)),
        ("bucket", format!("memory://suite{number}").parse().unwrap()),
        ("folder", format!("memory://suite{number}-f/a/b").parse().unwrap()),
    ] {
        check(&Place { kind, path });
    }
}

fn names(store: &Store, path: &str) -> Vec<String> {
    let kind = |it: EntryKind| if it == EntryKind::Directory { "/" } else { "" };
    let list = store.list(path).unwrap();
    list.into_iter().map(|it| format!("{}{}", it.name, kind(it.kind))).collect()
}

fn written(store: &Store, path: &str, content: &[u8]) {
    let mut file = store.create(path).unwrap();
    file.write_all(content).unwrap();
    assert_eq!(file.bytes(), content.len() as u64);
    file.finish().unwrap();
}

#[test]
fn what_is_written_is_read_and_listed() {
    for_each_place(|place| {
        let store = place.open();
        assert_eq!(store.read("a/x").unwrap(), None);
        assert_eq!(store.size("a/x").unwrap(), None);
        assert!(!store.has_directory("a").unwrap(), "{}", place.kind);
        assert!(store.open_file("a/x").is_err());
        assert!(store.open_stored("a/x").is_err());
        assert_eq!(names(&store, "a"), [""; 0]);

        written(&store, "a/date=2024-07-25 %3A/part-0", b"one");
        store.replace("a/x", b"old").unwrap();
        store.replace("a/x", b"new").unwrap();
        store.commit("a/y", b"record").unwrap();

        let store = place.open();
        assert_eq!(names(&store, "a"), ["date=2024-07-25 %3A/", "x", "y"], "{}", place.kind);
        assert_eq!(store.read("a/x").unwrap().unwrap(), b"new");
        assert_eq!(store.read("a/y").unwrap().unwrap(), b"record");
        assert_eq!(store.size("a/date=2024-07-25 %3A/part-0").unwrap(), Some(3));
        assert!(store.has_directory("a").unwrap());
        let mut text = String::new();
        let (mut file, absolute) = store.open_file("a/x").unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "new");
        assert!(absolute.display().to_string().ends_with("/a/x"));
        for directory in ["a", "a/date=2024-07-25 %3A", "nowhere"] {
            store.sync_directory(directory).unwrap();
        }
    });
}

#[test]
fn a_large_file_arrives_whole_and_can_be_read_at_places() {
    let content: Vec<u8> = (0..20_000_000_u32).map(|it| it.to_le_bytes()[0]).collect();
    for_each_place(|place| {
        let store = place.open();
        written(&store, "a/large", &content);

        let (stored, _) = store.open_stored("a/large").unwrap();
        assert_eq!(stored.len(), content.len() as u64);
        for (start, length) in [(content.len() - 8, 8), (content.len() - 70_000, 70_000), (5, 9)] {
            let read = stored.get_bytes(start as u64, length).unwrap();
            assert_eq!(read, content[start..start + length], "{}", place.kind);
        }
        assert!(stored.get_bytes(content.len() as u64 - 1, 2).is_err());
        assert!(stored.bytes().unwrap() == content);
    });
}

#[test]
fn a_file_that_is_not_finished_is_not_there_in_a_bucket() {
    for_each_place(|place| {
        let store = place.open();
        let mut file = store.create("a/x").unwrap();
        file.write_all(&vec![0; 9 << 20]).unwrap();
        file.flush().unwrap();
        drop(file);

        let is_there = store.size("a/x").unwrap().is_some();
        assert_eq!(is_there, place.kind == "directory");
    });
}

#[test]
fn a_file_that_moves_takes_the_place_of_another_and_may_be_gone_already() {
    for_each_place(|place| {
        let store = place.open();
        written(&store, "staging/0", b"new");
        written(&store, "data/part-0", b"old");

        store.rename("staging/0", "data/part-0").unwrap();

        assert_eq!(store.read("data/part-0").unwrap().unwrap(), b"new");
        assert_eq!(store.read("staging/0").unwrap(), None);
        assert!(store.rename("staging/0", "data/part-0").is_err(), "{}", place.kind);
        store.remove("data/part-0").unwrap();
        store.remove("data/part-0").unwrap();
        store.remove_if_empty("data").unwrap();
        assert!(!store.has_directory("data").unwrap(), "{}", place.kind);
    });
}

#[test]
fn what_is_below_a_name_goes_and_what_only_begins_like_it_stays() {
    for_each_place(|place| {
        let store = place.open();
        for path in ["a/b/x", "a/b/c/y", "a/bc/z"] {
            written(&store, path, b"1");
        }

        store.remove_all("a/b").unwrap();
        store.remove_all("a/b").unwrap();

        assert_eq!(names(&store, "a"), ["bc/"], "{}", place.kind);
    });
}

#[test]
fn a_log_goes_on_where_its_last_whole_piece_ends() {
    for_each_place(|place| {
        let store = place.open();
        assert_eq!(store.log_size("r/s.spool").unwrap(), None);
        let mut log = store.append_log("r/s.spool", 0).unwrap();
        for piece in [b"first ", b"second", b" third"] {
            log.write_all(piece).unwrap();
            log.flush().unwrap();
        }
        assert_eq!(log.bytes(), 18);
        drop(log);
        assert_eq!(store.log_size("r/s.spool").unwrap(), Some(18), "{}", place.kind);

        // In the middle of what was flushed at once.
        let mut log = place.open().append_log("r/s.spool", 9).unwrap();
        log.write_all(b"!").unwrap();
        log.flush().unwrap();
        drop(log);

        let (mut file, _) = store.open_log("r/s.spool").unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "first sec!", "{}", place.kind);
        store.remove_log("r/s.spool").unwrap();
        store.remove_log("r/s.spool").unwrap();
        assert_eq!(store.log_size("r/s.spool").unwrap(), None);
        assert_eq!(names(&store, "r"), [""; 0]);
    });
}

#[test]
fn a_lock_is_one_runs_until_it_lets_go() {
    for_each_place(|place| {
        let (one, other) = (place.open(), place.open());
        assert_eq!(other.holder("p/lock").unwrap(), None);
        let guard = one.lock("p/lock", "run r1").unwrap().unwrap();

        let holder = other.holder("p/lock").unwrap().unwrap();
        assert!(holder.starts_with("run r1"), "{holder}");
        assert_eq!(one.epoch().is_some(), place.kind != "directory");
        assert!(!one.is_void(one.epoch()));

        drop(guard);
        assert_eq!(other.holder("p/lock").unwrap(), None);
        let again = other.lock("p/lock", "run r2").unwrap().unwrap();
        assert!(other.epoch() > one.epoch() || place.kind == "directory");
        drop(again);
        assert_eq!(names(&other, "p"), ["lock"]);
    });
}

#[test]
fn a_path_that_leads_out_is_refused_everywhere() {
    for_each_place(|place| {
        let store = place.open();
        for path in ["", "/etc/passwd", "..", "a/../b", "a//b", "./a", r"a\..\b", "a\0"] {
            for err in [
                store.absolute(path).unwrap_err(),
                store.read(path).unwrap_err(),
                store.remove(path).unwrap_err(),
                store.replace(path, b"").unwrap_err(),
            ] {
                assert!(matches!(err, WriteError::Outside { .. }), "{}: {path}: {err}", place.kind);
            }
        }
    });
}

#[test]
fn a_commit_of_a_run_that_lost_its_lease_is_taken_back_and_one_that_comes_late_is_void() {
    let path: DestinationPath = "memory://late/x".parse().unwrap();
    let lease = LeasePlan { length: Duration::from_hours(1), single_writer: false };
    let first = Store::of(&path, lease).unwrap();
    let guard = first.lock("p/lock", "run r1").unwrap().unwrap();
    first.recovered("p/journal").unwrap();
    let epoch = first.epoch();
    // Another run takes it over, as it may once the lease has run out.
    let lock = first.read("p/lock").unwrap().unwrap();
    let mut over: serde_json::Value = serde_json::from_slice(&lock).unwrap();
    over["holder"] = serde_json::Value::Null;
    over["nonce"] = "none".into();
    first.replace("p/lock", over.to_string().as_bytes()).unwrap();
    let second = Store::of(&path, lease).unwrap();
    let second_guard = second.lock("p/lock", "run r2").unwrap().unwrap();
    second.recovered("p/journal").unwrap();

    let err = first.commit("p/journal/s.json", b"record").unwrap_err();

    let WriteError::Io { source, .. } = &err else { panic!("{err}") };
    assert_eq!(Refusal::kind_of(source), Some(RefusalKind::LeaseLost));
    assert_eq!(second.read("p/journal/s.json").unwrap(), None);
    // From now on it changes nothing at all.
    assert!(first.replace("p/x", b"").is_err());
    assert!(first.rename("p/lock", "p/y").is_err());
    drop(guard);
    let third = {
        drop(second_guard);
        let store = Store::of(&path, lease).unwrap();
        let guard = store.lock("p/lock", "run r3").unwrap().unwrap();
        (store, guard)
    };
    assert!(third.0.is_void(epoch));
    assert!(!third.0.is_void(third.0.epoch()));
    assert!(!third.0.is_void(None));
}
