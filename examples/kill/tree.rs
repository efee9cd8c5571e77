//! Files and directories below an output.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file as it was when it was listed: another one under its name has another number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Listed {
    pub(crate) path: PathBuf,
    /// Its number, size and time of change.
    identity: (u64, u64, i64, i64),
}

/// The files below a directory, in order; what goes while it is listed is not there.
pub(crate) fn list(dir: &Path) -> Vec<Listed> {
    let mut found = Vec::new();
    walk(dir, &mut |it| found.push(it));
    found.sort();
    found
}

/// A file as it is now.
pub(crate) fn list_one(path: &Path) -> Option<Listed> {
    let about = fs::metadata(path).ok()?;
    let identity = (about.ino(), about.size(), about.mtime(), about.mtime_nsec());
    Some(Listed { path: path.to_owned(), identity })
}

fn walk(dir: &Path, found: &mut dyn FnMut(Listed)) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let Ok(about) = entry.metadata() else { continue };
        if about.is_dir() {
            walk(&entry.path(), found);
        } else if let Some(file) = list_one(&entry.path()) {
            found(file);
        }
    }
}

/// Copies a directory.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// What a run that has ended must not leave: passing files, and partitions without files.
pub(crate) fn left_over(output: &Path) -> Vec<PathBuf> {
    let is_passing = |path: &Path| {
        let text = path.to_string_lossy();
        ["/staging/", "/journal/", "/resume/"].iter().any(|it| text.contains(it))
            || text.ends_with(".new")
            || text.ends_with(".staged")
    };
    let mut found: Vec<PathBuf> = list(output).into_iter().map(|it| it.path).collect();
    found.retain(|it| is_passing(it));
    empty_partitions(&output.join("parquet"), &mut found);
    empty_partitions(&output.join("csv"), &mut found);
    found
}

fn empty_partitions(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let is_partition =
        |it: &Path| it.file_name().is_some_and(|it| it.to_string_lossy().contains('='));
    let mut is_empty = true;
    for path in entries.flatten().map(|it| it.path()) {
        is_empty = false;
        if path.is_dir() {
            empty_partitions(&path, found);
        }
    }
    if is_empty && is_partition(dir) {
        found.push(dir.to_owned());
    }
}
