//! What is true at the source, and what may stand of it in the tables. It knows nothing of runs.
//!
//! Whatever is done to an issue or below it moves the issue's `updated_at`, as trackers do. Losing access
//! and getting it back does not.

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::table::Cell;

/// The streams, in the order of [`Allowed`].
pub(crate) const STREAMS: [&str; 3] = ["issues", "logs", "notes"];

/// How an issue can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Open,
    /// It is listed; what is below it answers 403.
    Forbidden,
    /// It is not listed, and what is below it answers 404.
    Hidden,
}

/// What happens to an issue. A log is meant by its number modulo how many there are.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Its text changes, and perhaps its date.
    Edit {
        day: u8,
    },
    AddLogs {
        day: u8,
        count: u8,
    },
    EditLog {
        log: usize,
        day: u8,
    },
    DeleteLog {
        log: usize,
    },
    DeleteLogs,
    AddNote {
        day: u8,
    },
    /// Access is lost, or lost in another way.
    Lose(Access),
    /// Access comes back; what was changed meanwhile has its old `updated_at` unless it is touched.
    Return {
        is_touched: bool,
    },
}

/// The rows of an issue in a stream, sorted, each as often as it is there.
pub(crate) type Rows = Vec<String>;

/// The rows of a stream that one issue may have.
#[derive(Debug, Clone)]
struct Allowed {
    /// Any one of these, never parts of two.
    sets: Vec<Rows>,
    /// Access was lost, and nothing has happened since it came back: nobody has to notice.
    is_stale: bool,
}

#[derive(Debug, Clone)]
struct Issue {
    version: i64,
    updated: i64,
    day: u8,
    /// Day and minutes.
    logs: BTreeMap<i64, (u8, i64)>,
    /// Days.
    notes: BTreeMap<i64, u8>,
    access: Access,
    allowed: [Allowed; 3],
}

/// A source of issues, each with logs that come, go and change, and notes that only come.
#[derive(Debug)]
pub(crate) struct World {
    /// Minutes since [`start`].
    clock: i64,
    /// They are numbered from 1 on.
    issues: BTreeMap<i64, Issue>,
    /// Of a log or a note.
    last_id: i64,
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_721_865_600, 0).unwrap_or_default()
}

fn instant(minutes: i64) -> DateTime<Utc> {
    start() + TimeDelta::minutes(minutes)
}

fn date(day: u8) -> NaiveDate {
    start().date_naive() + Days::new(day.into())
}

/// A row as text.
pub(crate) fn row(partition: &str, cells: &[Cell]) -> String {
    let cells: Vec<String> = cells.iter().map(ToString::to_string).collect();
    format!("{partition}: {}", cells.join(", "))
}

fn row_of(day: u8, cells: &[Cell]) -> String {
    row(&format!("date={}", date(day)), cells)
}

impl Issue {
    fn is_readable(&self, stream: usize) -> bool {
        self.access == Access::Open || (self.access == Access::Forbidden && stream == 0)
    }

    fn rows(&self, id: i64, stream: usize) -> Rows {
        let text = |it: i64| Cell::Text(format!("text {it}"));
        let mut rows: Rows = match stream {
            0 => {
                let cells = [
                    id.into(),
                    self.version.into(),
                    date(self.day).into(),
                    instant(self.updated).into(),
                ];
                vec![row_of(self.day, &cells)]
            }
            1 => {
                let logs = self.logs.iter();
                logs.map(|(log, (day, minutes))| {
                    let cells = [id.into(), (*log).into(), date(*day).into(), (*minutes).into()];
                    row_of(*day, &cells)
                })
                .collect()
            }
            _ => {
                let notes = self.notes.iter();
                notes
                    .map(|(note, day)| {
                        let cells = [id.into(), (*note).into(), date(*day).into(), text(*note)];
                        row_of(*day, &cells)
                    })
                    .collect()
            }
        };
        rows.sort();
        rows
    }

    /// What can be read now may stand from now on.
    fn offer(&mut self, id: i64) {
        for stream in 0..STREAMS.len() {
            if self.is_readable(stream) {
                let rows = self.rows(id, stream);
                self.allowed[stream].sets.push(rows);
            }
        }
    }

    fn touch(&mut self, id: i64, clock: i64) {
        self.version += 1;
        self.updated = clock;
        for stream in 0..STREAMS.len() {
            self.allowed[stream].is_stale &= !self.is_readable(stream);
        }
        self.offer(id);
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self { clock: 0, issues: BTreeMap::new(), last_id: 0 };
        for (issue, day) in [(0, 0), (1, 1), (2, 2)] {
            world.add_issue(day);
            world.change(issue, &Change::AddLogs { day: 1, count: 1 + day });
            world.change(issue, &Change::AddNote { day: 2 });
        }
        world
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        instant(self.clock)
    }

    pub(crate) fn wait(&mut self, minutes: u16) {
        self.clock += i64::from(minutes);
    }

    pub(crate) fn add_issue(&mut self, day: u8) {
        let id = self.issues.keys().last().map_or(1, |it| it + 1);
        let allowed = Allowed { sets: vec![Rows::new()], is_stale: false };
        let issue = Issue {
            version: 0,
            updated: self.clock,
            day,
            logs: BTreeMap::new(),
            notes: BTreeMap::new(),
            access: Access::Open,
            allowed: [allowed.clone(), allowed.clone(), allowed],
        };
        self.issues.entry(id).or_insert(issue).touch(id, self.clock);
    }

    /// Changes an issue, which is meant by its number modulo how many there are.
    pub(crate) fn change(&mut self, issue: usize, change: &Change) {
        let forbidden = self.issues.values().filter(|it| it.access == Access::Forbidden).count();
        let Self { clock, issues, last_id } = self;
        let at = issue % issues.len();
        let Some((id, issue)) = issues.iter_mut().nth(at) else { return };
        let nth = |issue: &Issue, log: &usize| {
            let at = log.checked_rem(issue.logs.len())?;
            issue.logs.keys().nth(at).copied()
        };
        match change {
            Change::Edit { day } => issue.day = *day,
            Change::AddLogs { day, count } => {
                for _ in 0..*count {
                    *last_id += 1;
                    issue.logs.insert(*last_id, (*day, *clock));
                }
            }
            Change::EditLog { log, day } => {
                if let Some(log) = nth(issue, log) {
                    issue.logs.insert(log, (*day, *clock));
                }
            }
            Change::DeleteLog { log } => {
                let log = nth(issue, log);
                issue.logs.retain(|it, _| Some(*it) != log);
            }
            Change::DeleteLogs => issue.logs.clear(),
            Change::AddNote { day } => {
                *last_id += 1;
                issue.notes.insert(*last_id, *day);
            }
            // Three parents that are all refused fail a stream, as `tests/hostile` shows: nothing
            // would be published as long as they are.
            Change::Lose(Access::Forbidden) if forbidden >= 2 => return,
            Change::Lose(access) => {
                issue.access = *access;
                for stream in 0..STREAMS.len() {
                    issue.allowed[stream].is_stale |= !issue.is_readable(stream);
                }
                // What was hidden may be listed again.
                issue.offer(*id);
                return;
            }
            Change::Return { is_touched } => {
                issue.access = Access::Open;
                if !is_touched {
                    issue.offer(*id);
                    return;
                }
            }
        }
        issue.touch(*id, *clock);
    }

    /// A run that reads everything may remove what nobody lists.
    pub(crate) fn refresh(&mut self) {
        for issue in self.issues.values_mut().filter(|it| it.access == Access::Hidden) {
            for allowed in &mut issue.allowed {
                allowed.sets.push(Rows::new());
            }
        }
    }

    /// Compares a stream's rows, by issue, with what may stand; later they may only be as they are now.
    ///
    /// What can be read, and has moved since it could be, is exactly as it is at the source. Of the rest
    /// stands what was there at one time, as a whole.
    pub(crate) fn settle(
        &mut self,
        stream: usize,
        found: &mut BTreeMap<i64, Rows>,
    ) -> Result<(), String> {
        for (id, issue) in &mut self.issues {
            let mut rows = found.remove(id).unwrap_or_default();
            rows.sort();
            if issue.is_readable(stream) && !issue.allowed[stream].is_stale {
                issue.allowed[stream].sets = vec![issue.rows(*id, stream)];
            }
            let allowed = &mut issue.allowed[stream].sets;
            if !allowed.contains(&rows) {
                let name = STREAMS[stream];
                return Err(format!(
                    "{name} of issue {id} are\n{rows:#?}\nexpected one of\n{allowed:#?}"
                ));
            }
            *allowed = vec![rows];
        }
        if found.is_empty() { Ok(()) } else { Err(format!("nobody had these: {found:#?}")) }
    }

    /// The issues that moved within a time, oldest first.
    pub(crate) fn listed(&self, since: DateTime<Utc>, until: DateTime<Utc>) -> Vec<Value> {
        let is_listed = |(_, it): &(&i64, &Issue)| {
            it.access != Access::Hidden && (since..=until).contains(&instant(it.updated))
        };
        let mut listed: Vec<(&i64, &Issue)> = self.issues.iter().filter(is_listed).collect();
        listed.sort_by_key(|(id, it)| (it.updated, **id));
        let record = |(id, it): (&i64, &Issue)| {
            json!({
                "id": id,
                "version": it.version,
                "day": date(it.day),
                "updated_at": instant(it.updated).to_rfc3339(),
            })
        };
        listed.into_iter().map(record).collect()
    }

    /// What is below an issue, or the status that says why not.
    pub(crate) fn below(&self, id: i64, stream: &str) -> Result<Vec<Value>, u16> {
        let issue = self.issues.get(&id).ok_or(404u16)?;
        match issue.access {
            Access::Open => {}
            Access::Forbidden => return Err(403),
            Access::Hidden => return Err(404),
        }
        let logs = issue
            .logs
            .iter()
            .map(|(id, (day, minutes))| json!({ "id": id, "day": date(*day), "minutes": minutes }));
        let notes = issue
            .notes
            .iter()
            .map(|(id, day)| json!({ "id": id, "day": date(*day), "text": format!("text {id}") }));
        Ok(if stream == "logs" { logs.collect() } else { notes.collect() })
    }
}
