//! Programs whose processes are measured, the release binary first of all.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use wait4::Wait4 as _;

use crate::clock::Seconds;

/// The repository.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What a process has used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) seconds: Seconds,
    /// Bytes of memory at the peak.
    pub(crate) peak: u64,
}

impl Used {
    /// The middle of the rounds, each figure by itself.
    pub(crate) fn median(rounds: &[Self]) -> Self {
        let seconds: Vec<Seconds> = rounds.iter().map(|it| it.seconds).collect();
        let mut peaks: Vec<u64> = rounds.iter().map(|it| it.peak).collect();
        peaks.sort_unstable();
        Self { seconds: crate::clock::median(&seconds), peak: peaks[peaks.len() / 2] }
    }
}

/// Runs a program to its end; what it prints is dropped.
pub(crate) fn run(command: &mut Command) -> Used {
    let started = Instant::now();
    let child = command.stdout(Stdio::null()).spawn().unwrap();
    let ended = child.wait4().unwrap();
    assert!(ended.status.success(), "{command:?}: {}", ended.status);
    let used = ended.rusage;
    Used {
        seconds: Seconds {
            cpu: (used.utime + used.stime).as_secs_f64(),
            wall: started.elapsed().as_secs_f64(),
        },
        peak: used.maxrss,
    }
}

/// Builds the release binary and says where it is.
pub(crate) fn build() -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--bin", "tracklake", "--message-format", "json"])
        .current_dir(ROOT)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "cargo build: {}", built.status);
    let messages = String::from_utf8(built.stdout).unwrap();
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    };
    messages.lines().rev().find_map(executable).unwrap()
}

/// `tracklake run` of a pipeline whose text is given.
pub(crate) fn tracklake(binary: &Path, pipeline: &str, url: &str, dir: &Path) -> Command {
    fs::create_dir_all(dir).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a file of the measurement's own")]
    fs::write(dir.join("bench.yaml"), pipeline).unwrap();
    let mut command = Command::new(binary);
    command.args(["run", "bench", "--json", "--quiet", "--set", &format!("url={url}")]);
    command.arg("--pipelines").arg(dir).arg("--output").arg(dir.join("output"));
    command
}
