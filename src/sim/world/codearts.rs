//! The issues, history and work hours of the simulated `CodeArts` Req.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::Serialize;

use super::dice::{Dice, day_number, days_before, mix, morning, noon, whole_seconds};

/// Hours as the API's text, as a number, and in seconds, worked out by hand.
const HOURS: [(&str, f64, i64); 7] = [
    ("2.0", 2.0, 7_200),
    ("0.5", 0.5, 1_800),
    ("1.25", 1.25, 4_500),
    ("7.75", 7.75, 27_900),
    ("8.0", 8.0, 28_800),
    ("0.1", 0.1, 360),
    ("0.0", 0.0, 0),
];
const TRACKERS: [(i64, &str); 5] =
    [(2, "Task"), (3, "Bug"), (5, "Epic"), (6, "Feature"), (7, "Story")];
const STATUSES: [(i64, &str); 6] =
    [(1, "新建"), (2, "进行中"), (3, "Resolved"), (4, "Testing"), (5, "Closed"), (6, "Rejected")];
const WORK_TYPES: [&str; 4] = ["R&D design", "Bug fix", "会议", "Leave"];
const PEOPLE: [(i64, &str, &str); 3] =
    [(1111, "li", "Li 小明"), (1112, "wang", "王, \"W\""), (1113, "olga", "Ольга")];

/// Changes of work hours touch only dates that a nightly run reads again.
const TOUCHED_DAYS: i64 = 55;

/// Everything in the simulated `CodeArts`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CodeArtsWorld {
    /// The zone of the zone-less times.
    pub zone: String,
    /// The projects; all issues and hours are in the first.
    pub projects: Vec<CodeArtsProject>,
    /// All issues by number, logically deleted ones included.
    pub issues: Vec<CodeArtsIssue>,
    /// All work hours by serial number.
    pub work_hours: Vec<CodeArtsHours>,
    /// How many issues the world began with; a day adds in proportion.
    pub initial_issues: i64,
}

/// A project.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CodeArtsProject {
    /// The id, 32 hexadecimal digits.
    pub project_id: String,
    /// The other id, a number.
    pub project_num_id: i64,
    /// The name.
    pub project_name: String,
    /// When it was made.
    pub created_time: DateTime<Utc>,
    /// When it was changed last.
    pub updated_time: DateTime<Utc>,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CodeArtsUser {
    /// The number.
    pub id: i64,
    /// The name.
    pub name: String,
    /// The name for people.
    pub nick_name: String,
    /// The id, 32 hexadecimal digits (`identifier`, `user_id`).
    pub identifier: String,
    /// The picture's id, where the history gives it.
    pub image_id: Option<String>,
}

/// One issue with its history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CodeArtsIssue {
    /// The serial number; decides which quirks the handlers show.
    pub number: i64,
    /// The id.
    pub id: i64,
    /// The title.
    pub name: String,
    /// The kind of issue.
    pub tracker: (i64, String),
    /// The status.
    pub status: (i64, String),
    /// The priority's name.
    pub priority_name: String,
    /// The severity's name; none is an absent object.
    pub severity_name: Option<String>,
    /// Who made it.
    pub creator: CodeArtsUser,
    /// Who works on it; none is an absent object.
    pub assigned_user: Option<CodeArtsUser>,
    /// The id of its parent; none is an absent object.
    pub parent_issue_id: Option<i64>,
    /// The iteration's name; none is a null object.
    pub iteration_name: Option<String>,
    /// When it was made, in whole seconds.
    pub created_time: DateTime<Utc>,
    /// When it was changed last, in whole seconds.
    pub updated_time: DateTime<Utc>,
    /// When it was closed, in whole seconds; none is the empty text.
    pub closed_time: Option<DateTime<Utc>>,
    /// The planned first date; none is the empty text or null.
    pub begin_date: Option<NaiveDate>,
    /// The planned last date; none is the empty text or null.
    pub end_date: Option<NaiveDate>,
    /// The planned hours.
    pub expected_work_hours: f64,
    /// The hours worked.
    pub actual_work_hours: f64,
    /// The hours worked, in seconds.
    pub actual_work_seconds: i64,
    /// The percentage done.
    pub done_ratio: i64,
    /// Whether it was logically deleted; such an issue is listed on demand only.
    pub deleted: bool,
    /// The history, oldest batch first.
    pub history: Vec<CodeArtsBatch>,
}

/// The changes that one user action made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CodeArtsBatch {
    /// The id that all rows of the batch share.
    pub id: i64,
    /// When the action took place.
    pub created_on: DateTime<Utc>,
    /// The notes; none is absent or null.
    pub notes: Option<String>,
    /// Who acted.
    pub user: CodeArtsUser,
    /// The changed fields; each is a row of its own in the API.
    pub details: Vec<CodeArtsDetail>,
}

/// One changed field.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CodeArtsDetail {
    /// The id.
    pub id: i64,
    /// The kind of property.
    pub property: String,
    /// The field's name.
    pub name: String,
    /// The value before; none is absent, which is not the empty text.
    pub old_value: Option<String>,
    /// The value after; none is absent.
    pub new_value: Option<String>,
    /// The operation, a text for people.
    pub operation: String,
}

/// One row of work hours; the API gives it no id.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CodeArtsHours {
    /// The serial number, which the API does not show.
    pub serial: i64,
    /// The project's name.
    pub project_name: String,
    /// Who worked.
    pub user: CodeArtsUser,
    /// The work date.
    pub work_date: NaiveDate,
    /// The hours as the API's text.
    pub work_hours_text: String,
    /// The hours as a number.
    pub work_hours: f64,
    /// The hours in seconds.
    pub work_seconds: i64,
    /// What was done; none is absent or null.
    pub summary: Option<String>,
    /// The kind of work.
    pub work_hours_type_name: String,
    /// The issue's id.
    pub issue_id: i64,
    /// The kind of issue.
    pub issue_type: String,
    /// The issue's title.
    pub subject: String,
    /// The date on which the issue was made.
    pub created_date: NaiveDate,
    /// The date on which the issue was closed; none is the empty text.
    pub closed_date: Option<NaiveDate>,
    /// When the hours were recorded, in whole seconds.
    pub created_time: DateTime<Utc>,
    /// When the hours were changed last, in whole seconds.
    pub updated_time: DateTime<Utc>,
}

impl CodeArtsWorld {
    pub(super) fn generate(seed: u64, issues: i64, today: NaiveDate) -> Self {
        let now = noon(today);
        let issue_of = |number: i64| {
            let age = Dice::of(seed, "codearts-age", number).below(90);
            let mut it = issue(seed, number, days_before(today, age), now);
            it.deleted = number == 8;
            it
        };
        let project = |at: i64, name: &str| CodeArtsProject {
            project_id: hex32(seed, "codearts-project", at),
            project_num_id: 3_000_000 + at,
            project_name: name.to_owned(),
            created_time: noon(days_before(today, 400)),
            updated_time: noon(days_before(today, 3)),
        };
        let mut world = CodeArtsWorld {
            zone: chrono_tz::Asia::Shanghai.name().to_owned(),
            projects: vec![project(1, "Core"), project(2, "空项目")],
            issues: (1..=issues).map(issue_of).collect(),
            work_hours: Vec::new(),
            initial_issues: issues,
        };
        for number in 1..=issues {
            let mut dice = Dice::of(seed, "codearts-hours-count", number);
            for _ in 0..dice.below(6) {
                let date = days_before(today, dice.below(89));
                world.add_hours(seed, number, date, now);
            }
        }
        // The same person, issue, hours and text twice on one day: both rows are real work.
        if let Some(mut twin) = world.work_hours.first().cloned() {
            twin.serial = world.next_serial();
            world.work_hours.push(twin);
        }
        world
    }

    pub(super) fn next_day(&mut self, seed: u64, today: NaiveDate) {
        let day = day_number(today);
        for it in &mut self.issues {
            if (it.number + day).rem_euclid(10) == 3 && !it.deleted {
                change_status(it, seed, morning(today, it.number), day);
            }
        }
        if let Some(it) = self.issues.iter_mut().find(|it| !it.deleted && it.number > 9) {
            it.deleted = true;
            it.updated_time = whole_seconds(morning(today, it.number));
        }
        let from = days_before(today, TOUCHED_DAYS);
        self.work_hours.retain(|it| it.work_date < from || (it.serial + day).rem_euclid(16) != 7);
        for it in self.work_hours.iter_mut().filter(|it| it.work_date >= from) {
            let mut dice = Dice::of(seed ^ day.unsigned_abs(), "codearts-hours-day", it.serial);
            match (it.serial + day).rem_euclid(16) {
                3 => set_hours(it, dice.one_of(&HOURS)),
                11 => it.work_date = days_before(it.work_date, 1),
                _ => continue,
            }
            it.updated_time = whole_seconds(morning(today, it.serial));
        }
        let last = self.issues.last().map_or(0, |it| it.number);
        let new = (self.initial_issues / 30).max(1);
        for number in last + 1..=last + new {
            self.issues.push(issue(seed, number, today, noon(today)));
            self.add_hours(seed, number, today, noon(today));
        }
        if last > 0 {
            self.add_hours(seed, 1, days_before(today, 1), noon(today));
        }
    }

    /// Makes one new issue, which the handlers list first.
    pub(in crate::sim) fn insert_issue(&mut self, seed: u64, today: NaiveDate) {
        let number = self.issues.last().map_or(1, |it| it.number + 1);
        self.issues.push(issue(seed, number, today, noon(today)));
    }

    /// Adds a batch of one row to an issue's history; it is the newest and listed first.
    pub(in crate::sim) fn insert_history(&mut self, seed: u64, today: NaiveDate, issue_id: i64) {
        if let Some(it) = self.issues.iter_mut().find(|it| it.id == issue_id) {
            let at = noon(today);
            let mut new = batch(seed, it.number, count(&it.history) + 1, at);
            new.details.truncate(1);
            it.history.push(new);
        }
    }

    /// Adds work hours on a date; the handlers list them before the others of their date.
    pub(in crate::sim) fn insert_hours(&mut self, seed: u64, today: NaiveDate, date: NaiveDate) {
        self.add_hours(seed, 1, date, noon(today));
    }

    fn next_serial(&self) -> i64 {
        self.work_hours.iter().map(|it| it.serial).max().unwrap_or(0) + 1
    }

    fn add_hours(&mut self, seed: u64, number: i64, date: NaiveDate, now: DateTime<Utc>) {
        let serial = self.work_hours.last().map_or(1, |it| it.serial + 1);
        let at = usize::try_from(number - 1).unwrap_or(0);
        let Some(issue) = self.issues.get(at) else { return };
        let mut dice = Dice::of(seed, "codearts-hours", serial);
        let created_time = whole_seconds(dice.instant(date, now));
        let mut hours = CodeArtsHours {
            serial,
            project_name: self
                .projects
                .first()
                .map(|it| it.project_name.clone())
                .unwrap_or_default(),
            user: some_person(seed, &mut dice),
            work_date: date,
            work_hours_text: String::new(),
            work_hours: 0.0,
            work_seconds: 0,
            summary: dice.maybe_text(),
            work_hours_type_name: dice.one_of(&WORK_TYPES).to_owned(),
            issue_id: issue.id,
            issue_type: issue.tracker.1.clone(),
            subject: issue.name.clone(),
            created_date: in_shanghai(issue.created_time),
            closed_date: issue.closed_time.map(in_shanghai),
            created_time,
            updated_time: created_time,
        };
        set_hours(&mut hours, dice.one_of(&HOURS));
        self.work_hours.push(hours);
    }
}

fn issue(seed: u64, number: i64, first: NaiveDate, now: DateTime<Utc>) -> CodeArtsIssue {
    let mut dice = Dice::of(seed, "codearts-issue", number);
    let created_time = whole_seconds(dice.instant(first, now));
    let n_batches = if number == 2 { 75 } else { 1 + dice.below(6) };
    let history: Vec<_> = (1..=n_batches)
        .map(|at| {
            let after = (now - created_time).num_milliseconds() / (n_batches + 1) * at;
            batch(seed, number, at, created_time + TimeDelta::milliseconds(after))
        })
        .collect();
    let latest = history.last().map_or(created_time, |it| it.created_on);
    let (status_id, status_name) = dice.one_of(&STATUSES);
    let (tracker_id, tracker_name) = dice.one_of(&TRACKERS);
    let (_, actual_work_hours, actual_work_seconds) = dice.one_of(&HOURS);
    let begin_date = dice.chance(60).then(|| days_before(first, dice.below(10)));
    CodeArtsIssue {
        number,
        id: 6_505_000 + number,
        name: dice.text(),
        tracker: (tracker_id, tracker_name.to_owned()),
        status: (status_id, status_name.to_owned()),
        priority_name: dice.one_of(&["Low", "中", "High"]).to_owned(),
        severity_name: dice.chance(70).then(|| "Major".to_owned()),
        creator: some_person(seed, &mut dice),
        assigned_user: dice.chance(80).then(|| some_person(seed, &mut dice)),
        parent_issue_id: (number > 3 && dice.chance(40))
            .then(|| 6_505_001 + dice.below(number - 1)),
        iteration_name: dice.chance(50).then(|| format!("迭代 {}", dice.below(5))),
        created_time,
        updated_time: whole_seconds(latest),
        closed_time: (status_id == 5).then(|| whole_seconds(latest)),
        begin_date,
        end_date: begin_date.map(|it| days_before(it, -dice.below(20))),
        expected_work_hours: dice.one_of(&HOURS).1,
        actual_work_hours,
        actual_work_seconds,
        done_ratio: dice.below(101),
        deleted: false,
        history,
    }
}

fn batch(seed: u64, number: i64, at: i64, created_on: DateTime<Utc>) -> CodeArtsBatch {
    let id = 11_000_000 + number * 1_000 + at;
    let mut dice = Dice::of(seed, "codearts-batch", id);
    let mut detail = |position: i64| {
        let value = |dice: &mut Dice| match dice.below(5) {
            0 => None,
            1 => Some(String::new()),
            2 => Some((created_on.timestamp_millis() - dice.below(1 << 32)).to_string()),
            _ => Some(dice.text()),
        };
        CodeArtsDetail {
            id: id * 4 + position,
            property: "attr".to_owned(),
            name: dice.one_of(&["due_date", "start_date", "status_id", "description"]).to_owned(),
            old_value: value(&mut dice),
            new_value: value(&mut dice),
            operation: dice.one_of(&["Batch edit", "New", "修改"]).to_owned(),
        }
    };
    let n_details = 1 + id % 3;
    let details = (0..n_details).map(&mut detail).collect();
    let mut user = some_person(seed, &mut dice);
    user.image_id = dice.chance(30).then(|| format!("img-{}", user.id));
    CodeArtsBatch { id, created_on, notes: dice.maybe_text(), user, details }
}

fn change_status(issue: &mut CodeArtsIssue, seed: u64, at: DateTime<Utc>, day: i64) {
    let (id, name) = STATUSES[usize::try_from((issue.status.0 + day).rem_euclid(6)).unwrap_or(0)];
    issue.status = (id, name.to_owned());
    issue.updated_time = whole_seconds(at);
    issue.closed_time = (id == 5).then_some(issue.updated_time);
    issue.history.push(batch(seed, issue.number, count(&issue.history) + 1, at));
}

fn set_hours(hours: &mut CodeArtsHours, (text, number, seconds): (&str, f64, i64)) {
    text.clone_into(&mut hours.work_hours_text);
    hours.work_hours = number;
    hours.work_seconds = seconds;
}

fn some_person(seed: u64, dice: &mut Dice) -> CodeArtsUser {
    let (id, name, nick_name) = dice.one_of(&PEOPLE);
    CodeArtsUser {
        id,
        name: name.to_owned(),
        nick_name: nick_name.to_owned(),
        identifier: hex32(seed, "codearts-user", id),
        image_id: None,
    }
}

fn hex32(seed: u64, kind: &str, number: i64) -> String {
    format!("{:016x}{:016x}", mix(seed, kind, number), mix(seed ^ 1, kind, number))
}

fn in_shanghai(at: DateTime<Utc>) -> NaiveDate {
    at.with_timezone(&chrono_tz::Asia::Shanghai).date_naive()
}

fn count<T>(items: &[T]) -> i64 {
    i64::try_from(items.len()).unwrap_or(i64::MAX)
}
