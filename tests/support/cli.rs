//! Runs the program on a pipeline file of the test's own, and reads back what it wrote.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use arrow::{
    array::{Array, AsArray},
    datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimestampMicrosecondType},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

/// The clock of every run.
pub(crate) const NOW: &str = "2024-07-25T12:00:00Z";

/// A row by its columns; the partition is in it under its own name.
pub(crate) type Row = BTreeMap<String, Value>;

/// A directory with a pipeline file and an output.
pub(crate) struct Workspace {
    dir: tempfile::TempDir,
}

/// How a run ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
        let Output { status, stdout, stderr } = output;
        Self { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// The report that `--json` prints.
    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

impl Workspace {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.path().join("output")
    }

    /// A run of `yaml`, ready to start: alone with its environment, its clock and its directory.
    pub(crate) fn command(&self, yaml: &str, args: &[&str]) -> Command {
        self.subcommand("run", yaml, &[&["--json"], args].concat())
    }

    /// Any command about `yaml`, ready to start.
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    pub(crate) fn subcommand(&self, name: &str, yaml: &str, args: &[&str]) -> Command {
        fs::write(self.path().join("own.yaml"), yaml).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tracklake"));
        command.current_dir(self.path()).args([name, "own.yaml"]).args(args);
        if !args.contains(&"--output") {
            command.args(["--output", "output"]);
        }
        command
            .env_clear()
            .env("TRACKLAKE_NOW", NOW)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `yaml` to its end.
    pub(crate) fn run(&self, yaml: &str, args: &[&str], env: &[(&str, &str)]) -> Ended {
        let mut command = self.command(yaml, args);
        Ended::of(&command.envs(env.iter().copied()).output().unwrap())
    }

    /// The files below `output`, by their paths in it.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        collect(&self.output(), &self.output(), &mut found);
        found
    }

    /// What readers see and what later runs build upon: the datasets and their manifests.
    pub(crate) fn published(&self) -> BTreeMap<String, Vec<u8>> {
        let is_published = |path: &String| {
            path.starts_with("parquet/") || path.starts_with("csv/") || path.contains("/manifests/")
        };
        self.files().into_iter().filter(|(path, _)| is_published(path)).collect()
    }

    /// The rows of a stream's Parquet files, in the order of the files.
    pub(crate) fn rows(&self, stream: &str) -> Vec<Row> {
        let dir = self.output().join("parquet/own").join(stream);
        let mut files = BTreeMap::new();
        collect(&dir, &dir, &mut files);
        let mut rows = Vec::new();
        for path in files.keys().filter(|it| it.ends_with(".parquet")) {
            let file = File::open(dir.join(path)).unwrap();
            for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
                let batch = batch.unwrap();
                let schema = batch.schema();
                for row in 0..batch.num_rows() {
                    let partition = path.split('/').filter_map(|it| it.split_once('='));
                    let partition = partition.map(|(k, v)| (k.to_owned(), Value::from(v)));
                    let cells = schema.fields().iter().zip(batch.columns());
                    let cells = cells.map(|(it, array)| (it.name().clone(), cell(array, row)));
                    rows.push(partition.chain(cells).collect());
                }
            }
        }
        rows
    }
}

fn collect(root: &Path, dir: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.map(|it| it.unwrap().path()) {
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(name, fs::read(&path).unwrap());
        }
    }
}

fn cell(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Utf8 => Value::from(array.as_string::<i32>().value(row)),
        DataType::Int64 => Value::from(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::from(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Value::from(array.as_boolean().value(row)),
        DataType::Date32 => {
            let date = array.as_primitive::<Date32Type>().value_as_date(row).unwrap();
            Value::from(date.to_string())
        }
        DataType::Timestamp(..) => {
            let array = array.as_primitive::<TimestampMicrosecondType>();
            let instant = array.value_as_datetime(row).unwrap();
            Value::from(format!("{}Z", instant.format("%Y-%m-%dT%H:%M:%S%.f")))
        }
        other => panic!("no column has the type {other}"),
    }
}
