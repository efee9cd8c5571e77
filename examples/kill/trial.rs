//! One trial: a run is killed, the next one ends, and everything is as if nothing had happened.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use chrono::NaiveDate;
use tempfile::TempDir;
use tracklake::sim::Simulator;

use crate::duck::{Duck, DuckSeen};
use crate::reader::{Seen, read_until};
use crate::support::table::Table;
use crate::tables::differences;
use crate::tree::{Listed, copy, left_over, list};

/// When a run is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Between its start and the time at which it would have ended.
    Random,
    /// A file is staged.
    Staging,
    /// A stream is committed.
    Journal,
    /// A file has come into place.
    Renamed,
}

impl Moment {
    /// A random moment is one of two: the others come close to each other.
    pub(crate) const ALL: [Moment; 6] = [
        Moment::Random,
        Moment::Random,
        Moment::Random,
        Moment::Staging,
        Moment::Journal,
        Moment::Renamed,
    ];
}

/// What all trials saw.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    at_journal: u32,
    at_staging: u32,
    at_rename: u32,
    random: u32,
    /// Runs, killed ones included.
    runs: u32,
    passes: u64,
    duck: Option<DuckSeen>,
    torn: usize,
    lost: usize,
    doubled: usize,
    stray: usize,
    /// What must not be, for a person.
    pub(crate) violations: Vec<String>,
}

impl Summary {
    pub(crate) fn kills(&self) -> u32 {
        self.at_journal + self.at_staging + self.at_rename + self.random
    }

    fn count(&mut self, moment: Moment) {
        match moment {
            Moment::Random => self.random += 1,
            Moment::Staging => self.at_staging += 1,
            Moment::Journal => self.at_journal += 1,
            Moment::Renamed => self.at_rename += 1,
        }
    }

    fn note_duck(&mut self, seen: DuckSeen) {
        let DuckSeen { reads, vanished, mixed, torn, doubled } = seen;
        let all = self.duck.get_or_insert_default();
        all.reads += reads;
        all.vanished += vanished;
        all.mixed += mixed;
        self.torn += torn.len();
        self.doubled += doubled.len();
        self.violations.extend(torn.into_iter().chain(doubled));
    }

    fn note(&mut self, seen: Seen) {
        let Seen { passes, torn, doubled } = seen;
        self.passes += passes;
        self.torn += torn.len();
        self.doubled += doubled.len();
        self.violations.extend(torn.into_iter().chain(doubled));
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at_journal, at_staging, at_rename, random, runs, passes, .. } = self;
        let Self { torn, lost, doubled, stray, .. } = self;
        write!(
            f,
            "kills: {}, at journal: {at_journal}, at staging: {at_staging}, at rename: {at_rename}, random: {random}, runs: {runs}, torn: {torn}, lost: {lost}, doubled: {doubled}, stray: {stray} ({passes} streams read)",
            self.kills()
        )?;
        let Some(DuckSeen { reads, vanished, mixed, .. }) = &self.duck else { return Ok(()) };
        write!(
            f,
            "; DuckDB: {reads} streams read, {mixed} of them with a row twice where files were replaced after they had been listed, {vanished} more where a listed file was gone or replaced"
        )
    }
}

/// A pipeline on a day.
pub(crate) struct Site<'a> {
    pub(crate) binary: PathBuf,
    pub(crate) simulator: &'a Simulator,
    pub(crate) pipeline: &'static str,
    pub(crate) first: NaiveDate,
    pub(crate) expected: &'a [(&'static str, Table)],
    pub(crate) duck: Option<&'a RefCell<Duck>>,
}

/// A run that nobody disturbed.
pub(crate) struct Undisturbed {
    pub(crate) output: TempDir,
    pub(crate) took: Duration,
}

impl Site<'_> {
    /// A run on a copy of yesterday's output, with its time.
    pub(crate) fn undisturbed(&self, yesterday: &Path, summary: &mut Summary) -> Undisturbed {
        let output = tempfile::tempdir().unwrap();
        copy(yesterday, output.path()).unwrap();
        let started = Instant::now();
        self.finish(output.path(), "undisturbed", summary);
        Undisturbed { output, took: started.elapsed() }
    }

    /// Kills one run, and perhaps the next; then lets one end.
    pub(crate) fn trial(
        &self,
        yesterday: &Path,
        took: Duration,
        moment: Moment,
        again: bool,
        dice: &mut fastrand::Rng,
        summary: &mut Summary,
    ) {
        let output = tempfile::tempdir().unwrap();
        copy(yesterday, output.path()).unwrap();
        if let Some(duck) = self.duck {
            duck.borrow_mut().watch(output.path(), self.pipeline);
        }
        let stop = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            let reader = scope.spawn(|| read_until(&stop, output.path(), self.pipeline));
            for moment in [Some(moment), again.then_some(Moment::Random)].into_iter().flatten() {
                let delay = took.mul_f64(dice.f64());
                summary.runs += 1;
                if self.kill(output.path(), moment, delay) {
                    summary.count(moment);
                }
            }
            self.finish(output.path(), &format!("after {moment:?}"), summary);
            stop.store(true, Relaxed);
            reader.join()
        });
        summary.note(seen.unwrap());
        if let Some(duck) = self.duck {
            summary.note_duck(duck.borrow_mut().stop());
        }
    }

    fn command(&self, output: &Path) -> Command {
        let first = self.first.to_string();
        let mut command = Command::new(&self.binary);
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["run", self.pipeline, "--json", "--output"])
            .arg(output)
            .env_clear()
            .env("TRACKLAKE_NOW", self.simulator.world().now().to_rfc3339())
            .envs(self.simulator.variables())
            .envs([("JIRA_SINCE", &first), ("CODEARTS_SINCE", &first)])
            .stdin(Stdio::null());
        for system in ["YANDEX_TRACKER", "JIRA", "CODEARTS"] {
            command.env(format!("{system}_REQUESTS_PER_SECOND"), "5000");
        }
        command
    }

    /// Starts a run and kills it; whether it was still there.
    fn kill(&self, output: &Path, moment: Moment, delay: Duration) -> bool {
        let own = output.join("_tracklake").join(self.pipeline);
        let visible = || {
            let files = list(&output.join("parquet")).into_iter().chain(list(&output.join("csv")));
            files.collect::<BTreeSet<Listed>>()
        };
        let before = visible();
        let mut command = self.command(output);
        let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        let is_time = || match moment {
            Moment::Random => started.elapsed() >= delay,
            Moment::Staging => {
                let staged = |it: &Listed| it.path.extension().is_some_and(|it| it == "staged");
                list(&own.join("staging")).iter().any(staged)
            }
            Moment::Journal => {
                let record = |it: &Listed| it.path.extension().is_some_and(|it| it == "json");
                list(&own.join("journal")).iter().any(record)
            }
            Moment::Renamed => visible().difference(&before).next().is_some(),
        };
        loop {
            if run.try_wait().unwrap().is_some() {
                return false;
            }
            if is_time() {
                run.kill().unwrap();
                // A run that ended in between has a code; one that was killed has none.
                return run.wait().unwrap().code().is_none();
            }
            std::thread::yield_now();
        }
    }

    /// Runs to the end and looks at what is there.
    fn finish(&self, output: &Path, when: &str, summary: &mut Summary) {
        let place = format!("{} on {}, {when}", self.pipeline, self.simulator.world().today);
        summary.runs += 1;
        let ended = self.command(output).output().unwrap();
        if ended.status.code() != Some(0) {
            summary.lost += 1;
            let text = String::from_utf8_lossy(&ended.stderr).into_owned();
            summary.violations.push(format!("{place}: {}\n{text}", ended.status));
            return;
        }
        let differences = differences(output, self.pipeline, self.expected);
        if !differences.is_empty() {
            let counted = |what: &str| -> usize {
                let number = |it: &str| it.split_whitespace().last()?.parse::<usize>().ok();
                differences.split(what).filter_map(number).sum()
            };
            summary.lost += counted(" missing").max(1);
            summary.doubled += counted(" unexpected");
            summary.violations.push(format!("{place}: {differences}"));
        }
        let stray = left_over(output);
        summary.stray += stray.len();
        if !stray.is_empty() {
            summary.violations.push(format!("{place}: left over: {stray:?}"));
        }
    }
}
