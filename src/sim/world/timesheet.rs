//! The worklogs and approvals of the simulated Jira with the timesheet plugin.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::dice::{Dice, day_number, days_before, midnight, morning, noon};

/// Seconds and the server's own text for them.
const TIMES: [(i64, &str); 8] = [
    (3_600, "1h"),
    (5_400, "1h 30m"),
    (28_800, "1d"),
    (144_000, "1w"),
    (201_600, "1w 2d"),
    (900, "15m"),
    (0, "0h"),
    (37_860, "1d 2h 31m"),
];
const PEOPLE: [(&str, &str, &str, bool); 4] = [
    ("JIRAUSER10000", "admin", "admini", false),
    ("JIRAUSER11800", "pluto", "Плутон \"P.\" Орлов", false),
    ("JIRAUSER11801", "li.na", "李娜", false),
    ("JIRAUSER11802", "former", "Former, Colleague", true),
];
const PROJECTS: [(i64, &str); 2] = [(11_100, "AAA"), (11_200, "BBB")];

/// How far back work dates reach at the start.
const PAST_DAYS: i64 = 88;
/// How far ahead leave is planned.
const AHEAD_DAYS: i64 = 20;
/// Changes touch only dates that a nightly run reads again.
const TOUCHED_DAYS: i64 = 55;

/// Everything in the simulated Jira.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JiraWorld {
    /// The zone of the server's zone-less times.
    pub zone: String,
    /// All worklogs by ascending id, whoever may see their approvals.
    pub worklogs: Vec<JiraWorklog>,
    /// The worklogs deleted so far, oldest first.
    pub deleted: Vec<JiraDeletion>,
    /// The highest id given so far; none is given twice.
    pub last_id: i64,
    /// How many issues the world began with; a day adds in proportion.
    pub initial_issues: i64,
}

/// The four lists of the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JiraMode {
    /// Approvals that wait for the caller.
    Audit,
    /// The caller's own worklogs that wait for approval.
    View,
    /// Withdrawals that wait for the caller.
    RevokeAudit,
    /// The caller's own withdrawals.
    RevokeView,
}

impl JiraMode {
    /// The name in the `mode` parameter.
    pub fn name(self) -> &'static str {
        match self {
            JiraMode::Audit => "audit",
            JiraMode::View => "view",
            JiraMode::RevokeAudit => "revoke-audit",
            JiraMode::RevokeView => "revoke-view",
        }
    }

    /// Whether this list is about withdrawals, and shows [`JiraWorklog::revoke`].
    pub fn is_revoke(self) -> bool {
        match self {
            JiraMode::Audit | JiraMode::View => false,
            JiraMode::RevokeAudit | JiraMode::RevokeView => true,
        }
    }
}

/// A person.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JiraUser {
    /// The key, which is not the name.
    pub user_key: String,
    /// The log-in name.
    pub user_name: String,
    /// The name for people.
    pub display_name: String,
    /// The mail address.
    pub email_address: String,
    /// The avatar's URL, always the empty text.
    pub avatar: String,
    /// Whether the account is in use.
    pub is_active: bool,
    /// Whether the account was deleted.
    pub is_del: bool,
}

/// One worklog with its approval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JiraWorklog {
    /// The id.
    pub id: i64,
    /// The lists of the audit log it is in.
    pub modes: Vec<JiraMode>,
    /// Who worked.
    pub author: JiraUser,
    /// The issue's id.
    pub issue_id: i64,
    /// The issue's key.
    pub issue_key: String,
    /// The project's id.
    pub project_id: i64,
    /// The project's key.
    pub project_key: String,
    /// When it was recorded.
    pub create_time: DateTime<Utc>,
    /// When it was changed last.
    pub update_time: DateTime<Utc>,
    /// The work date; may lie ahead.
    pub start_date: NaiveDate,
    /// Seconds worked.
    pub time_worked: i64,
    /// The server's text for them.
    pub time_worked_text: String,
    /// The server's text for overtime; none is an absent field.
    pub over_time_text: Option<String>,
    /// The memo; none is absent or null.
    pub memo: Option<String>,
    /// Whether the caller may delete it for another.
    pub delete_others: bool,
    /// Whether the caller may edit it for another.
    pub edit_others: bool,
    /// The undocumented `activity` field of the work hour list.
    pub activity: String,
    /// The approval; none is absent or null.
    pub audit: Option<JiraAudit>,
    /// The withdrawal, shown in the revoke lists only.
    pub revoke: Option<JiraRevoke>,
}

/// An approval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JiraAudit {
    /// The id.
    pub id: i64,
    /// Who approves; none (before submission) is null.
    pub auditor: Option<JiraUser>,
    /// 0 not submitted, 1 pending, 2 audited; any other is unknown.
    pub status: i64,
    /// When it was decided, in whole seconds; none is null.
    pub audit_time: Option<DateTime<Utc>>,
    /// What was said; none is null.
    pub audit_comment: Option<String>,
}

/// A withdrawal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JiraRevoke {
    /// Why; none is null.
    pub undo_reason: Option<String>,
    /// Why not; none is null.
    pub reject_reason: Option<String>,
    /// 0 applying, 1 agreed, 2 rejected.
    pub status: i64,
}

/// A deleted worklog.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JiraDeletion {
    /// The id it had.
    pub id: i64,
    /// When it was deleted.
    pub deleted_at: DateTime<Utc>,
}

impl JiraWorld {
    pub(super) fn generate(seed: u64, issues: i64, today: NaiveDate) -> Self {
        let mut worklogs = Vec::new();
        for issue in 1..=issues {
            let mut dice = Dice::of(seed, "jira-issue", issue);
            for at in 0..dice.below(6) {
                let ahead = dice.chance(8);
                let days =
                    if ahead { -1 - dice.below(AHEAD_DAYS) } else { dice.below(PAST_DAYS + 1) };
                let date = days_before(today, days);
                worklogs.push(worklog(seed, 10_000 + issue * 10 + at, issue, date, noon(today)));
            }
        }
        // One status that no document names, in a list that every run reads.
        let strange = worklogs.iter_mut().find(|it| it.modes.contains(&JiraMode::View));
        if let Some(audit) = strange.and_then(|it| it.audit.as_mut()) {
            audit.status = 7;
        }
        let zone = chrono_tz::Europe::Moscow.name().to_owned();
        let last_id = 10_000 + issues * 10 + 9;
        JiraWorld { zone, worklogs, deleted: Vec::new(), last_id, initial_issues: issues }
    }

    pub(super) fn next_day(&mut self, seed: u64, today: NaiveDate) {
        let day = day_number(today);
        let from = days_before(today, TOUCHED_DAYS);
        let mut gone = Vec::new();
        for it in self.worklogs.iter_mut().filter(|it| it.start_date >= from) {
            let at = morning(today, it.id);
            let mut dice = Dice::of(seed ^ day.unsigned_abs(), "jira-day", it.id);
            match (it.id / 3 + day).rem_euclid(16) {
                0 | 1 => {
                    let (seconds, text) = dice.one_of(&TIMES);
                    (it.time_worked, it.time_worked_text) = (seconds, text.to_owned());
                    it.memo = Some(format!("edited: {}", dice.text()));
                    it.update_time = at;
                }
                4 => {
                    it.start_date = days_before(it.start_date, 2);
                    it.update_time = at;
                }
                8 => gone.push(JiraDeletion { id: it.id, deleted_at: at }),
                11..=13 => decide(it, at, &mut dice),
                _ => {}
            }
        }
        let ids: HashSet<i64> = gone.iter().map(|it| it.id).collect();
        self.worklogs.retain(|it| !ids.contains(&it.id));
        self.deleted.extend(gone);
        for _ in 0..=self.initial_issues / 10 {
            self.insert(seed, today, today);
        }
    }

    /// Adds a worklog with a new id on a work date; the handlers list it before the others of its date.
    pub(in crate::sim) fn insert(&mut self, seed: u64, today: NaiveDate, date: NaiveDate) {
        self.last_id += 1;
        let id = self.last_id;
        let issue = 1 + id % self.initial_issues.max(1);
        let mut new = worklog(seed, id, issue, date, noon(today));
        (new.create_time, new.update_time) = (morning(today, id), morning(today, id));
        self.worklogs.push(new);
    }
}

/// A pending approval is given: the worklog leaves both lists of pending ones.
fn decide(it: &mut JiraWorklog, at: DateTime<Utc>, dice: &mut Dice) {
    if let Some(audit) = it.audit.as_mut().filter(|audit| audit.status != 2) {
        audit.status = 2;
        audit.auditor = Some(person(0));
        audit.audit_time = Some(at);
        audit.audit_comment = dice.maybe_text();
        it.modes.retain(|mode| mode.is_revoke());
    }
}

fn worklog(seed: u64, id: i64, issue: i64, date: NaiveDate, now: DateTime<Utc>) -> JiraWorklog {
    let mut dice = Dice::of(seed, "jira-worklog", id);
    let create_time = dice.instant(date, now).max(midnight(days_before(now.date_naive(), 90)));
    let late = if dice.chance(30) { dice.below(50_000_000) } else { 0 };
    let update_time = (create_time + TimeDelta::milliseconds(late)).min(now);
    let (project_id, project_key) = PROJECTS[usize::from(issue % 2 == 0)];
    let (time_worked, text) = dice.one_of(&TIMES);
    let audit = dice.chance(85).then(|| audit(id, create_time, now, &mut dice));
    let status = audit.as_ref().map_or(0, |it| it.status);
    let revoke = (status == 2 && dice.chance(60)).then(|| JiraRevoke {
        undo_reason: dice.maybe_text(),
        reject_reason: dice.maybe_text(),
        status: dice.below(3),
    });
    let mut modes = Vec::new();
    if status != 2 {
        if dice.chance(70) {
            modes.push(JiraMode::Audit);
        }
        if dice.chance(70) {
            modes.push(JiraMode::View);
        }
    }
    if revoke.is_some() {
        modes.push(if id % 2 == 0 { JiraMode::RevokeAudit } else { JiraMode::RevokeView });
        if id % 5 == 0 {
            modes.push(JiraMode::Audit);
        }
    }
    JiraWorklog {
        id,
        modes,
        author: some_person(&mut dice),
        issue_id: 13_000 + issue,
        issue_key: format!("{project_key}-{issue}"),
        project_id,
        project_key: project_key.to_owned(),
        create_time,
        update_time,
        start_date: date,
        time_worked,
        time_worked_text: text.to_owned(),
        over_time_text: dice.chance(80).then(|| "0h".to_owned()),
        memo: dice.maybe_text(),
        delete_others: dice.chance(20),
        edit_others: dice.chance(20),
        activity: dice.text(),
        audit,
        revoke,
    }
}

fn audit(id: i64, after: DateTime<Utc>, now: DateTime<Utc>, dice: &mut Dice) -> JiraAudit {
    let status = dice.one_of(&[0, 1, 1, 2]);
    let decided = (after + TimeDelta::seconds(dice.below(40_000))).min(now);
    JiraAudit {
        id: id + 50_000,
        auditor: (status != 0).then(|| some_person(dice)),
        status,
        audit_time: (status == 2).then(|| super::dice::whole_seconds(decided)),
        audit_comment: (status == 2).then(|| dice.maybe_text()).flatten(),
    }
}

fn some_person(dice: &mut Dice) -> JiraUser {
    person(usize::try_from(dice.below(4)).unwrap_or(0))
}

fn person(at: usize) -> JiraUser {
    let (key, name, display, is_del) = PEOPLE[at];
    JiraUser {
        user_key: key.to_owned(),
        user_name: name.to_owned(),
        display_name: display.to_owned(),
        email_address: format!("{name}@example.com"),
        avatar: String::new(),
        is_active: !is_del,
        is_del,
    }
}
