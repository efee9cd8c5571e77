//! The issues, worklogs and changelogs of the simulated Yandex Tracker.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use super::dice::{Dice, day_number, days_before, mix, morning, noon};

/// Business durations (8 h a day, 5 days a week) with their seconds, worked out by hand.
const DURATIONS: [(&str, i64); 18] = [
    ("P3W", 432_000),
    ("P1W2DT3H", 212_400),
    ("P5DT20M", 145_200),
    ("PT0.5H", 1_800),
    ("PT1H30M", 5_400),
    ("P1D", 28_800),
    ("P1W", 144_000),
    ("P0Y0M1DT2H", 36_000),
    ("P1WT4H", 158_400),
    ("P2DT4H", 72_000),
    ("P1DT2H30M", 37_800),
    ("PT8H", 28_800),
    ("PT45M", 2_700),
    ("PT15S", 15),
    ("PT1M", 60),
    ("PT2H", 7_200),
    ("PT1H0M30S", 3_630),
    ("P0D", 0),
];

const QUEUES: [(&str, &str); 3] = [("OPS", "Operations"), ("DEV", "Разработка"), ("DOC", "文档")];
const STATUSES: [(&str, &str, &str); 4] = [
    ("1", "open", "Открыт"),
    ("2", "needInfo", "Need info"),
    ("3", "inProgress", "In progress"),
    ("8", "closed", "Closed"),
];
const TYPES: [(&str, &str, &str); 2] = [("1", "bug", "Ошибка"), ("2", "task", "Task")];
const PRIORITIES: [(&str, &str, &str); 2] =
    [("2", "normal", "Normal"), ("4", "critical", "Critical")];
const LOGINS: [(&str, &str); 5] = [
    ("ivanov", "Ivan Ivanov"),
    ("petrova", "Анна Петрова"),
    ("1130000012345678", "Li \"Lee\" Wei"),
    ("zhang.wei", "张伟"),
    ("robot-ops", "Robot, Ops"),
];

/// Everything in the simulated Yandex Tracker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrackerWorld {
    /// All issues by number; those with [`TrackerIssue::lost_access`] are no longer served.
    pub issues: Vec<TrackerIssue>,
    /// The members of the organisation.
    pub users: Vec<TrackerUser>,
    /// The queues, as references.
    pub queues: Vec<TrackerRef>,
    /// How many issues the world began with; a day adds in proportion.
    pub initial_issues: i64,
}

/// A reference to a queue, status, type or priority.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrackerRef {
    /// The id, as text.
    pub id: String,
    /// The key.
    pub key: String,
    /// The name for people.
    pub display: String,
}

/// A person as one record mentions them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrackerUser {
    /// The number in the person's `self` URL (`…/users/{uid}`).
    pub uid: i64,
    /// The login or a number as text.
    pub id: String,
    /// The name for people.
    pub display: String,
    /// The cloud id, where this record gives it.
    pub cloud_uid: Option<String>,
    /// The passport id, a JSON number, where this record gives it.
    pub passport_uid: Option<i64>,
}

/// A business duration: the text the API gives and the seconds it means.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BusinessDuration {
    /// The ISO 8601 text.
    pub text: String,
    /// Seconds, at 8 hours a day and 5 days a week.
    pub seconds: i64,
}

/// One issue with its worklogs and changelog.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrackerIssue {
    /// The serial number; decides which quirks the handlers show.
    pub number: i64,
    /// The id, 24 hexadecimal digits.
    pub id: String,
    /// The current key.
    pub key: String,
    /// The keys it had in other queues, which redirect.
    pub aliases: Vec<String>,
    /// The version, counted up by every change.
    pub version: i64,
    /// The summary.
    pub summary: String,
    /// The queue.
    pub queue: TrackerRef,
    /// The status.
    pub status: TrackerRef,
    /// The type.
    pub kind: TrackerRef,
    /// The priority.
    pub priority: TrackerRef,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it, a worklog or its changelog last changed.
    pub updated_at: DateTime<Utc>,
    /// Who made it.
    pub created_by: TrackerUser,
    /// Who changed it last.
    pub updated_by: TrackerUser,
    /// Who works on it; none is an absent field.
    pub assignee: Option<TrackerUser>,
    /// The time spent; none is an absent field.
    pub spent: Option<BusinessDuration>,
    /// The remaining estimate; none is an absent field.
    pub estimation: Option<BusinessDuration>,
    /// The first estimate; none is an absent field.
    pub original_estimation: Option<BusinessDuration>,
    /// Who follows it.
    pub followers: Vec<TrackerUser>,
    /// The name of a field of this queue only, `<24 hex>--name`.
    pub local_field: String,
    /// The value of that field; none is an absent field.
    pub local_value: Option<String>,
    /// The worklogs, by ascending id.
    pub worklogs: Vec<TrackerWorklog>,
    /// The changelog, oldest first.
    pub changelog: Vec<TrackerChange>,
    /// Whether search leaves it out and everything under it answers 403.
    pub lost_access: bool,
    /// Whether search lists it and its worklogs answer 403.
    pub worklogs_forbidden: bool,
}

/// One record of time spent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrackerWorklog {
    /// The id, sent as a number or as text.
    pub id: i64,
    /// The version in epoch milliseconds, sent as a number or as text.
    pub version: i64,
    /// The comment; none is absent or null.
    pub comment: Option<String>,
    /// Who recorded it.
    pub created_by: TrackerUser,
    /// Who changed it last.
    pub updated_by: TrackerUser,
    /// When it was recorded.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
    /// When the work began.
    pub start: DateTime<Utc>,
    /// How long it took, as text.
    pub duration_text: String,
    /// How long it took, in seconds of business time.
    pub duration_seconds: i64,
}

/// One entry of a changelog.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrackerChange {
    /// The id, 24 hexadecimal digits.
    pub id: String,
    /// When the change was made.
    pub updated_at: DateTime<Utc>,
    /// Who made it.
    pub updated_by: TrackerUser,
    /// What happened: `IssueCreated`, `IssueWorklogUpdated` and so on.
    pub kind: String,
    /// Through which door it came.
    pub transport: String,
    /// The fields that changed; none is an absent field, which is not the same as an empty list.
    pub fields: Option<Vec<TrackerFieldChange>>,
    /// The `worklog` block, sent as it stands.
    pub worklog: Option<Value>,
}

/// One field of a changelog entry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrackerFieldChange {
    /// The field's id.
    pub field_id: String,
    /// The field's name.
    pub field_display: String,
    /// The value before: null, text, number, object or list, sent as it stands.
    pub from: Value,
    /// The value after.
    pub to: Value,
}

impl TrackerIssue {
    /// Whether its worklogs can be read.
    pub fn is_readable(&self) -> bool {
        !self.lost_access && !self.worklogs_forbidden
    }
}

impl TrackerWorld {
    pub(super) fn generate(seed: u64, issues: i64, today: NaiveDate) -> Self {
        let one = |number: i64| {
            let mut dice = Dice::of(seed, "tracker-age", number);
            let age = 30 + dice.below(60);
            let active = dice.below(age + 1);
            let first = days_before(today, age);
            issue(seed, number, first, days_before(first, -active), noon(today))
        };
        TrackerWorld {
            issues: (1..=issues).map(one).collect(),
            users: (0..LOGINS.len()).map(|at| user(at, UserForm::Full)).collect(),
            queues: (0..QUEUES.len()).map(queue).collect(),
            initial_issues: issues,
        }
    }

    pub(super) fn next_day(&mut self, seed: u64, today: NaiveDate) {
        let day = day_number(today);
        // What can no longer be read stays as it was last seen, so a test may expect its rows.
        self.take_access_away(today);
        for it in self.issues.iter_mut().filter(|it| it.is_readable()) {
            let at = morning(today, it.number);
            let mut dice = Dice::of(seed ^ day.unsigned_abs(), "tracker-day", it.number);
            match (it.number + day).rem_euclid(12) {
                1 => edit_worklog(it, at, &mut dice),
                5 => redate_worklog(it, at),
                9 => delete_worklog(it, at),
                6 => add_worklog(it, at, &mut dice),
                _ => {}
            }
        }
        self.move_one(today);
        let last = self.issues.last().map_or(0, |it| it.number);
        let new = (self.initial_issues / 30).max(1);
        self.issues
            .extend((last + 1..=last + new).map(|n| issue(seed, n, today, today, noon(today))));
    }

    /// Makes one new issue that search lists first, as if somebody made it between two pages.
    pub(in crate::sim) fn insert(&mut self, seed: u64, today: NaiveDate) {
        let number = self.issues.last().map_or(1, |it| it.number + 1);
        self.issues.push(issue(seed, number, today, today, noon(today)));
    }

    /// One issue a day vanishes altogether; of another only the worklogs are refused.
    fn take_access_away(&mut self, today: NaiveDate) {
        let candidate = |it: &&mut TrackerIssue| {
            it.is_readable() && it.number % 7 == 0 && !it.worklogs.is_empty()
        };
        let mut open = self.issues.iter_mut().filter(candidate);
        if let Some(it) = open.next() {
            it.lost_access = true;
        }
        if let Some(it) = open.next() {
            it.worklogs_forbidden = true;
            let at = morning(today, it.number);
            note(it, at, "IssueUpdated", vec![tags(&json!(["private"]))], None);
        }
    }

    /// One issue a day goes to another queue: a new key, while the old one redirects.
    fn move_one(&mut self, today: NaiveDate) {
        let candidate = |it: &&mut TrackerIssue| {
            it.is_readable()
                && it.aliases.is_empty()
                && it.number % 5 == 1
                && !it.worklogs.is_empty()
        };
        if let Some(it) = self.issues.iter_mut().find(candidate) {
            let at = morning(today, it.number);
            let old = move_to_next_queue(it);
            let change = TrackerFieldChange {
                field_id: "key".into(),
                field_display: "Key".into(),
                from: json!(old),
                to: json!(it.key),
            };
            note(it, at, "IssueMoved", vec![change], None);
        }
    }
}

fn issue(
    seed: u64,
    number: i64,
    first: NaiveDate,
    last: NaiveDate,
    now: DateTime<Utc>,
) -> TrackerIssue {
    let mut dice = Dice::of(seed, "tracker-issue", number);
    let created_at = dice.instant(first, now);
    let n_worklogs = match number {
        2 => 130,
        5 => 60,
        it if it % 10 == 4 => 0,
        _ => 1 + dice.below(6),
    };
    let n_changes = if number == 6 { 120 } else { 1 + dice.below(8) };
    let span = (last - first).num_days() + 1;
    let worklogs: Vec<_> = (1..=n_worklogs)
        .map(|at| {
            let day = days_before(last, dice.below(span));
            worklog(number * 1000 + at, day, now, &mut dice)
        })
        .collect();
    let changelog: Vec<_> = (1..=n_changes)
        .map(|at| {
            let updated_at = created_at
                + (noon(last).max(created_at) - created_at) * i32_of(at - 1) / i32_of(n_changes);
            change(number, at, updated_at.min(now), &mut dice)
        })
        .collect();
    let latest_worklog = worklogs.iter().map(|it| it.updated_at).max();
    let latest_change = changelog.iter().map(|it| it.updated_at).max();
    let updated_at = latest_worklog.max(latest_change).map_or(created_at, |it| it.max(created_at));
    let queue = queue(index(number, QUEUES.len()));
    let mut issue = TrackerIssue {
        number,
        id: format!("6033f986{:016x}", mix(seed, "tracker-id", number)),
        key: format!("{}-{number}", queue.key),
        aliases: Vec::new(),
        version: 1 + n_worklogs + n_changes,
        summary: dice.text(),
        status: reference(dice.one_of(&STATUSES)),
        kind: reference(dice.one_of(&TYPES)),
        priority: reference(dice.one_of(&PRIORITIES)),
        created_at,
        updated_at,
        created_by: some_user(&mut dice, UserForm::Short),
        updated_by: some_user(&mut dice, UserForm::Short),
        assignee: dice.chance(70).then(|| some_user(&mut dice, UserForm::Short)),
        spent: maybe_duration(&mut dice),
        estimation: maybe_duration(&mut dice),
        original_estimation: maybe_duration(&mut dice),
        followers: (0..dice.below(3)).map(|_| some_user(&mut dice, UserForm::Short)).collect(),
        local_field: format!("{:024x}--stand", 0x60a1_0000_u64 + index(number, 3) as u64),
        local_value: dice.maybe_text(),
        queue,
        worklogs,
        changelog,
        lost_access: false,
        worklogs_forbidden: false,
    };
    if number == 3 {
        move_to_next_queue(&mut issue);
    }
    issue
}

fn worklog(id: i64, day: NaiveDate, now: DateTime<Utc>, dice: &mut Dice) -> TrackerWorklog {
    let start = dice.instant(day, now);
    let created_at = (start + TimeDelta::milliseconds(dice.below(30_000_000))).min(now);
    let late = if dice.chance(20) { dice.below(90_000_000) } else { 0 };
    let updated_at = (created_at + TimeDelta::milliseconds(late)).min(now);
    // The first worklogs walk through the whole table, so that every form is in every world.
    let (text, seconds) = if id % 1000 == 1 {
        DURATIONS[index(id / 1000, DURATIONS.len())]
    } else {
        dice.one_of(&DURATIONS)
    };
    let form = dice.one_of(&[UserForm::Short, UserForm::Full, UserForm::Cloud, UserForm::Passport]);
    TrackerWorklog {
        id,
        version: updated_at.timestamp_millis(),
        comment: dice.maybe_text(),
        created_by: some_user(dice, form),
        updated_by: some_user(dice, form),
        created_at,
        updated_at,
        start,
        duration_text: text.to_owned(),
        duration_seconds: seconds,
    }
}

/// An entry of every shape in turn: `from` and `to` are whatever the field's type makes of them.
fn change(number: i64, at: i64, updated_at: DateTime<Utc>, dice: &mut Dice) -> TrackerChange {
    let field = |id: &str, display: &str, from: Value, to: Value| TrackerFieldChange {
        field_id: id.to_owned(),
        field_display: display.to_owned(),
        from,
        to,
    };
    let status = |at: usize| {
        let (id, key, display) = STATUSES[at % STATUSES.len()];
        json!({"self": format!("https://api.tracker.yandex.net/v3/statuses/{id}"), "id": id, "key": key, "display": display})
    };
    let person = |at: usize| {
        let (id, display) = LOGINS[at % LOGINS.len()];
        json!({"self": format!("https://api.tracker.yandex.net/v3/users/{id}"), "id": id, "display": display})
    };
    let (kind, fields) = match (number + at).rem_euclid(8) {
        0 => ("IssueCreated", None),
        1 => ("IssueWorkflow", Some(vec![field("status", "Статус", status(0), status(2))])),
        2 => ("IssueUpdated", Some(vec![tags(&json!(["night", "ночь", "a,b"]))])),
        3 => {
            ("IssueUpdated", Some(vec![field("spent", "Spent", json!("PT1H"), json!("P1W2DT3H"))]))
        }
        4 => (
            "IssueUpdated",
            Some(vec![field("storyPoints", "Story points", json!(3), json!(at * 10 + 1))]),
        ),
        5 => (
            "IssueUpdated",
            Some(vec![field("followers", "Followers", json!([]), json!([person(0), person(3)]))]),
        ),
        6 => (
            "IssueUpdated",
            Some(vec![
                field("summary", "Summary", Value::Null, json!(dice.text())),
                field("assignee", "Assignee", person(1), Value::Null),
            ]),
        ),
        _ => ("IssueCommentAdded", Some(vec![])),
    };
    TrackerChange {
        id: change_id(number, at),
        updated_at,
        updated_by: some_user(dice, UserForm::Short),
        kind: kind.to_owned(),
        transport: "front".to_owned(),
        fields,
        worklog: None,
    }
}

fn edit_worklog(issue: &mut TrackerIssue, at: DateTime<Utc>, dice: &mut Dice) {
    let Some(it) = issue.worklogs.first_mut() else { return };
    let (text, seconds) = dice.one_of(&DURATIONS);
    let before = json!({"duration": it.duration_text});
    text.clone_into(&mut it.duration_text);
    it.duration_seconds = seconds;
    it.comment = Some(format!("edited: {}", dice.text()));
    it.updated_at = at;
    it.version = at.timestamp_millis();
    let block =
        json!([{"record": {"id": it.id.to_string()}, "from": before, "to": {"duration": text}}]);
    note(issue, at, "IssueWorklogUpdated", vec![], Some(block));
}

fn redate_worklog(issue: &mut TrackerIssue, at: DateTime<Utc>) {
    let Some(it) = issue.worklogs.last_mut() else { return };
    let before = it.start;
    it.start -= TimeDelta::days(3);
    it.updated_at = at;
    it.version = at.timestamp_millis();
    let block = json!([{"record": {"id": it.id.to_string()}, "from": {"start": before}, "to": {"start": it.start}}]);
    note(issue, at, "IssueWorklogUpdated", vec![], Some(block));
}

fn delete_worklog(issue: &mut TrackerIssue, at: DateTime<Utc>) {
    if issue.worklogs.is_empty() {
        return;
    }
    let gone = issue.worklogs.remove(issue.worklogs.len() / 2);
    let block = json!([{"record": {"id": gone.id.to_string()}, "from": {"duration": gone.duration_text}, "to": null}]);
    note(issue, at, "IssueWorklogRemoved", vec![], Some(block));
}

fn add_worklog(issue: &mut TrackerIssue, at: DateTime<Utc>, dice: &mut Dice) {
    let id = issue.worklogs.last().map_or(issue.number * 1000 + 900, |it| it.id + 1);
    let mut new = worklog(id, at.date_naive(), at, dice);
    (new.created_at, new.updated_at) = (at, at);
    new.version = at.timestamp_millis();
    let block = json!([{"record": {"id": id.to_string()}, "from": null, "to": {"duration": new.duration_text}}]);
    issue.worklogs.push(new);
    note(issue, at, "IssueWorklogAdded", vec![], Some(block));
}

/// Every change of an issue leaves an entry in its changelog and moves `updated_at`.
fn note(
    issue: &mut TrackerIssue,
    at: DateTime<Utc>,
    kind: &str,
    fields: Vec<TrackerFieldChange>,
    worklog: Option<Value>,
) {
    let serial = i64::try_from(issue.changelog.len()).unwrap_or(i64::MAX) + 1;
    issue.updated_at = issue.updated_at.max(at);
    issue.version += 1;
    issue.changelog.push(TrackerChange {
        id: change_id(issue.number, serial),
        updated_at: at,
        updated_by: issue.updated_by.clone(),
        kind: kind.to_owned(),
        transport: "api".to_owned(),
        fields: (!fields.is_empty()).then_some(fields),
        worklog,
    });
}

fn move_to_next_queue(issue: &mut TrackerIssue) -> String {
    let old = issue.key.clone();
    issue.queue = queue(index(issue.number + 1, QUEUES.len()));
    issue.key = format!("{}-{}", issue.queue.key, 900_000 + issue.number);
    issue.aliases.push(old.clone());
    old
}

fn tags(to: &Value) -> TrackerFieldChange {
    TrackerFieldChange {
        field_id: "tags".to_owned(),
        field_display: "Tags".to_owned(),
        from: Value::Null,
        to: to.clone(),
    }
}

fn change_id(number: i64, at: i64) -> String {
    format!("66a2{number:012x}{at:08x}")
}

/// How much of a person a record shows.
#[derive(Clone, Copy)]
enum UserForm {
    Short,
    Cloud,
    Passport,
    Full,
}

fn some_user(dice: &mut Dice, form: UserForm) -> TrackerUser {
    user(index(dice.below(1 << 20), LOGINS.len()), form)
}

fn user(at: usize, form: UserForm) -> TrackerUser {
    let (id, display) = LOGINS[at];
    let uid = 1_130_000_012_345_678 + i64::try_from(at).unwrap_or(0);
    let cloud = matches!(form, UserForm::Cloud | UserForm::Full);
    let passport = matches!(form, UserForm::Passport | UserForm::Full);
    TrackerUser {
        uid,
        id: id.to_owned(),
        display: display.to_owned(),
        cloud_uid: cloud.then(|| format!("ajeb{at:016x}")),
        passport_uid: passport.then_some(uid),
    }
}

fn queue(at: usize) -> TrackerRef {
    let (key, display) = QUEUES[at];
    TrackerRef { id: (at + 1).to_string(), key: key.to_owned(), display: display.to_owned() }
}

fn reference((id, key, display): (&str, &str, &str)) -> TrackerRef {
    TrackerRef { id: id.to_owned(), key: key.to_owned(), display: display.to_owned() }
}

fn maybe_duration(dice: &mut Dice) -> Option<BusinessDuration> {
    let (text, seconds) = dice.one_of(&DURATIONS);
    dice.chance(60).then(|| BusinessDuration { text: text.to_owned(), seconds })
}

fn index(number: i64, len: usize) -> usize {
    let len = i64::try_from(len).unwrap_or(1).max(1);
    usize::try_from(number.rem_euclid(len)).unwrap_or(0)
}

fn i32_of(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
