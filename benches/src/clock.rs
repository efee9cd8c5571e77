//! What a thread has used, and what machine it was.

use std::{fs, process::Command, time::Instant};

use rustix::time::{ClockId, clock_gettime};

/// Seconds of one round of a case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seconds {
    pub(crate) cpu: f64,
    pub(crate) wall: f64,
}

/// Whose CPU time counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    /// That of the thread that asks.
    Thread,
    /// That of all threads.
    Process,
}

/// Runs something and gives what was used for it.
pub(crate) fn time(clock: Clock, what: impl FnOnce()) -> Seconds {
    let (started, before) = (Instant::now(), clock.cpu());
    what();
    Seconds { cpu: clock.cpu() - before, wall: started.elapsed().as_secs_f64() }
}

/// The middle of the rounds, by CPU and by wall time each.
pub(crate) fn median(rounds: &[Seconds]) -> Seconds {
    let middle = |of: fn(&Seconds) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Seconds { cpu: middle(|it| it.cpu), wall: middle(|it| it.wall) }
}

/// The date, the commit, the machine and its load, for whoever compares.
pub(crate) fn machine() -> String {
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|it| it.strip_prefix("model name")).unwrap_or("unknown");
    let model = model.trim_start_matches(['\t', ' ', ':']);
    let cores = std::thread::available_parallelism().unwrap();
    let commit = Command::new("git").args(["describe", "--always", "--dirty"]).output().unwrap();
    let commit = String::from_utf8(commit.stdout).unwrap();
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("unknown");
    #[expect(clippy::disallowed_methods, reason = "when it was measured, not what")]
    let today = chrono::Utc::now().date_naive();
    format!("{today}, commit {}, {cores} cores of {model}, load {load}", commit.trim_end())
}

impl Clock {
    fn cpu(self) -> f64 {
        let now = clock_gettime(match self {
            Self::Thread => ClockId::ThreadCPUTime,
            Self::Process => ClockId::ProcessCPUTime,
        });
        #[expect(clippy::cast_precision_loss, reason = "seconds and nanoseconds of a short time")]
        let seconds = now.tv_sec as f64 + now.tv_nsec as f64 / 1e9;
        seconds
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
