//! Published files are what the check says they are, in every format.

use std::{fs, path::Path};

use serde_json::Value;

use super::{
    publish,
    support::{FORMATS, TestRow, append, name, row, stream, tree},
};
use crate::{
    load::{Damage, Inspection, ReadScopes, Rewrite, VerifiedStream, WriteError},
    plan::{CsvCompression, CsvPlan, FormatPlan, ReplaceScope, StreamPlan, WriteMode},
};

fn verify(path: &Path) -> VerifiedStream {
    let inspection = Inspection::open(&path.into(), &name("p")).unwrap().unwrap();
    inspection.verify(&[name("s")]).unwrap().remove(0)
}

#[track_caller]
fn check(path: &Path, expected: &[(&str, Damage)]) {
    let found = verify(path).problems;
    let damages: Vec<_> = found.iter().map(|it| (it.path.as_str(), it.damage)).collect();
    assert_eq!(damages, expected, "{found:?}");
}

/// Text of every kind that is quoted, in several partitions.
fn rows() -> Vec<TestRow> {
    let texts = ["", "a \"b\", c", "two\nlines", "=1+1", "\"\n\"", "plain"];
    (0..600).map(|id| row(id, id % 3, texts[usize::try_from(id % 6).unwrap()])).collect()
}

fn without_key() -> StreamPlan {
    stream(WriteMode::Replace { scope: ReplaceScope::All, key: Vec::new() })
}

#[test]
fn every_format_alone_and_beside_parquet_is_sound() {
    let escaped =
        FormatPlan::Csv(CsvPlan { compression: CsvCompression::Gzip, escape_formulas: true });
    for format in FORMATS.into_iter().chain([escaped]) {
        for mut formats in [vec![format], vec![FormatPlan::Parquet, format]] {
            formats.dedup();
            for plan in [stream(append()), without_key()] {
                let dir = tempfile::tempdir().unwrap();
                publish(dir.path(), &formats, &plan, &rows());
                let before = tree(dir.path());

                let found = verify(dir.path());

                assert_eq!((found.rows, found.problems), (600, Vec::new()), "{formats:?}");
                assert_eq!(tree(dir.path()), before);
            }
        }
    }
}

#[test]
fn a_stream_without_rows_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &FORMATS[..2], &stream(append()), &[]);

    check(dir.path(), &[]);
}

#[test]
fn a_compressed_file_with_other_lines_of_the_same_size_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let zstd = FORMATS[3];
    publish(dir.path(), &[FormatPlan::Parquet, zstd], &stream(append()), &rows());
    let path = "csv/p/s/date=2024-07-26/part-0.csv.zst";
    let absolute = dir.path().join(path);
    let mut bytes = fs::read(&absolute).unwrap();
    let half = bytes.len() / 2;
    bytes[half] ^= 0x55;
    replace(&absolute, &bytes);

    let found = verify(dir.path()).problems;

    assert!(!found.is_empty() && found.iter().all(|it| it.path == path), "{found:?}");
}

#[test]
fn keys_that_stand_twice_are_named() {
    let dir = tempfile::tempdir().unwrap();
    // What a run without a key publishes, said to be keyed.
    let twice = [row(1, 0, "a"), row(1, 0, "b"), row(1, 2, "c"), row(2, 0, "d")];
    publish(dir.path(), &[FormatPlan::Parquet], &without_key(), &twice);
    edit(dir.path(), |manifest| manifest["key"] = serde_json::json!(["id"]));

    let found = verify(dir.path()).problems;

    let reasons: Vec<(&str, &str)> =
        found.iter().map(|it| (it.path.as_str(), it.reason.as_str())).collect();
    let (first, third) = (
        "parquet/p/s/date=2024-07-25/part-0.parquet",
        "parquet/p/s/date=2024-07-27/part-0.parquet",
    );
    let elsewhere = format!("1 row repeats a key of `{first}`: first id=1");
    assert_eq!(
        reasons,
        [(first, "1 row repeats a key of the same file: first id=1"), (third, elsewhere.as_str())]
    );
}

#[test]
fn counts_and_keys_of_a_manifest_that_lies_are_found() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &FORMATS[..2], &stream(append()), &[row(1, 0, "a"), row(2, 1, "b")]);
    edit(dir.path(), |manifest| manifest["files"][0]["rows"] = Value::from(7));

    check(dir.path(), &[("csv/p/s/date=2024-07-25/part-0.csv", Damage::Rows); 2]);

    edit(dir.path(), |manifest| {
        manifest["files"][0]["rows"] = Value::from(1);
        manifest["rows"] = Value::from(5);
    });
    check(dir.path(), &[("_tracklake/p/manifests/s.json", Damage::Manifest)]);

    replace(&dir.path().join("_tracklake/p/manifests/s.json"), b"{");
    check(dir.path(), &[("_tracklake/p/manifests/s.json", Damage::Manifest)]);
}

#[test]
fn files_without_a_manifest_are_extra_and_a_stream_that_is_nowhere_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &[FormatPlan::Parquet], &stream(append()), &[row(1, 0, "a")]);
    fs::remove_file(dir.path().join("_tracklake/p/manifests/s.json")).unwrap();

    check(dir.path(), &[("parquet/p/s/date=2024-07-25/part-0.parquet", Damage::Extra)]);
    fs::remove_dir_all(dir.path().join("parquet")).unwrap();
    assert!(!verify(dir.path()).is_published);
    check(dir.path(), &[]);
}

#[test]
fn a_run_that_holds_the_pipeline_is_not_disturbed() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &[FormatPlan::Parquet], &stream(append()), &[row(1, 0, "a")]);
    let destination = super::support::open(dir.path(), &[FormatPlan::Parquet]);
    let inspection = Inspection::open(&dir.path().into(), &name("p")).unwrap().unwrap();

    let err = inspection.verify(&[name("s")]).unwrap_err();

    assert!(matches!(err, WriteError::Locked { .. }), "{err}");
    let writer = destination.stream(&stream(append()), 1 << 20).unwrap();
    let staged = writer.finish(&ReadScopes::Nothing, Rewrite::Changed).unwrap();
    staged.publish(&Value::Null).unwrap();
    destination.close();
    check(dir.path(), &[]);
}

#[test]
fn looking_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("lake");

    assert!(Inspection::open(&nowhere.into(), &name("p")).unwrap().is_none());
    let inspection = Inspection::open(&dir.path().into(), &name("p")).unwrap().unwrap();
    assert_eq!(inspection.holder().unwrap(), None);
    assert_eq!(inspection.unfinished().unwrap(), None);
    assert_eq!(inspection.reports(5).unwrap(), []);
    inspection.verify(&[name("s")]).unwrap();

    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

pub(super) fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let path = path.join("_tracklake/p/manifests/s.json");
    let mut manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    replace(&path, manifest.to_string().as_bytes());
}

#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn replace(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
}
