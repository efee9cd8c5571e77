//! Another reader: DuckDB, in a Python process that goes on through all trials.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;
use serde_json::json;

use crate::reader::KEYS;

/// What DuckDB saw.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct DuckSeen {
    /// How often it read a stream whole.
    pub(crate) reads: u64,
    /// How often a file was gone between listing and reading.
    pub(crate) vanished: u64,
    /// How often a stream had a row twice, of which files were replaced after they had been listed.
    pub(crate) mixed: u64,
    /// What it could not read although all files were there.
    pub(crate) torn: Vec<String>,
    /// Rows that were there twice in files that were all there at one time.
    pub(crate) doubled: Vec<String>,
}

/// A process that reads with DuckDB.
pub(crate) struct Duck {
    process: Child,
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Duck {
    /// Starts it with a Python that has DuckDB.
    pub(crate) fn start(python: &Path) -> Self {
        let keys: serde_json::Map<_, _> =
            KEYS.iter().map(|(stream, key)| ((*stream).to_owned(), json!(key))).collect();
        let mut process = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/kill/read_forever.py"))
            .arg(json!(keys).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let asks = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, asks, answers }
    }

    /// Lets it read the streams of a pipeline until [`stop`](Self::stop).
    pub(crate) fn watch(&mut self, output: &Path, pipeline: &str) {
        writeln!(self.asks, "{}", output.join("parquet").join(pipeline).display()).unwrap();
    }

    /// What it has seen.
    pub(crate) fn stop(&mut self) -> DuckSeen {
        writeln!(self.asks, "stop").unwrap();
        let answer = self.answers.next().unwrap().unwrap();
        serde_json::from_str(&answer).unwrap()
    }
}

impl Drop for Duck {
    fn drop(&mut self) {
        // It reads nothing that anybody waits for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
