//! What is true in the simulated systems: plain records with absolute values.
//!
//! ```text
//!   seed, issues, today ──generate──▶ World ──next_day──▶ World
//!                                       │
//!        tests compute expected tables ─┴─ handlers render each API's own forms
//! ```
//!
//! The world holds the value that a perfect export would find: an instant in UTC, seconds as a number,
//! a text or none. How an API disguises it (zone-less text, business durations, ids as text) is the
//! handlers' matter, so that a test can compare an export with the world and share no code with either.
//! The same seed, size and date give the same world on every host.

use chrono::{DateTime, Days, NaiveDate, Utc};
use serde::Serialize;

pub mod tracker;
pub mod timesheet;
pub mod codearts;
mod dice;

pub use codearts::CodeArtsWorld;
pub use timesheet::JiraWorld;
pub use tracker::TrackerWorld;

pub(super) use dice::noon;

/// The data of the three systems on one day.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct World {
    /// The number all data is derived from.
    pub seed: u64,
    /// The world's current date; its clock stands at 12:00 UTC, so the date is the same in every zone used.
    pub today: NaiveDate,
    /// Yandex Tracker.
    pub tracker: TrackerWorld,
    /// Jira with the timesheet plugin.
    pub jira: JiraWorld,
    /// Huawei Cloud `CodeArts` Req.
    pub codearts: CodeArtsWorld,
}

impl World {
    /// Makes the world of a seed, with so many issues in each system.
    pub fn generate(seed: u64, issues: usize, today: NaiveDate) -> Self {
        let issues = i64::try_from(issues).unwrap_or(i64::MAX);
        World {
            seed,
            today,
            tracker: TrackerWorld::generate(seed, issues, today),
            jira: JiraWorld::generate(seed, issues, today),
            codearts: CodeArtsWorld::generate(seed, issues, today),
        }
    }

    /// The world's clock: noon UTC of its date; nothing is recorded later than this.
    pub fn now(&self) -> DateTime<Utc> {
        noon(self.today)
    }

    /// Moves the world on by one day: records are edited, re-dated, deleted and added in every system.
    pub fn next_day(&mut self) {
        self.today = self.today.checked_add_days(Days::new(1)).unwrap_or(self.today);
        self.tracker.next_day(self.seed, self.today);
        self.jira.next_day(self.seed, self.today);
        self.codearts.next_day(self.seed, self.today);
    }
}
