//! Which columns of a dataset say how long, who and for what; told by their names alone, because a
//! dataset outlives its pipeline file. Pure.
//!
//! ```text
//! seconds    the first number whose name ends in `_seconds`, before those that were only planned
//! person     author, user, worker, employee, created_by, updated_by, assignee; by name before key or id
//! project    project, queue, team, space; by key before name or id
//! ```
//!
//! A column of seconds is not always hours of a day, and whether it is, only the pipeline's author knows. Rows are
//! shown instead where seconds would come twice or on another day:
//!
//! ```text
//! key [mode, log_id]           a log has a row, and its seconds, for every mode
//! partition_by created_at      a task's seconds are what was spent since, not on that day
//! ```

use crate::load::{DatasetColumn, DatasetShape};

/// Columns that a page is about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) seconds: Option<String>,
    pub(super) person: Option<String>,
    pub(super) project: Option<String>,
}

/// What a planned length of time is called.
const PLANNED: [&str; 5] = ["estimat", "expected", "planned", "remaining", "budget"];
/// Whom a row is of, the best first.
const PEOPLE: [&str; 7] =
    ["author", "user", "worker", "employee", "created_by", "updated_by", "assignee"];
/// How people read a name, the best first. An e-mail address is nothing for a page.
const CALLED: [&str; 7] =
    ["_display_name", "_display", "_name", "_user_name", "_login", "_key", "_id"];
/// What a row is for, the best first.
const PROJECTS: [&str; 4] = ["project", "queue", "team", "space"];
/// How projects are called.
const KEYED: [&str; 6] = ["_key", "", "_name", "_display_name", "_display", "_id"];

/// Chooses among the columns of a dataset.
pub(super) fn choose(columns: &[DatasetColumn]) -> Columns {
    let of = |types: &'static [&str]| {
        columns.iter().filter(|it| types.contains(&it.r#type.as_str())).map(|it| it.name.as_str())
    };
    let seconds = || of(&["Int64", "Float64"]).filter(|it| it.ends_with("_seconds"));
    let is_planned = |it: &&str| PLANNED.iter().any(|word| it.contains(word));
    let spent = seconds().find(|it| !is_planned(it)).or_else(|| seconds().next());
    let text = || of(&["Utf8"]);
    Columns {
        seconds: spent.map(str::to_owned),
        person: best(text(), &PEOPLE, &CALLED).map(str::to_owned),
        project: best(text(), &PROJECTS, &KEYED).map(str::to_owned),
    }
}

/// What the last word of a column's name is where it says which record a row is of.
const IDS: [&str; 6] = ["id", "key", "uuid", "guid", "number", "code"];
/// Words of a time at which somebody wrote a record, not at which what it tells of was.
const WRITTEN: [&str; 5] = ["created", "updated", "modified", "changed", "closed"];

/// Why the seconds of a dataset are not the hours of its partitions, if they are not.
pub(super) fn no_hours(shape: &DatasetShape, seconds: &str) -> Option<String> {
    let by = shape.partitioned_by.as_str();
    if by.split('_').any(|word| WRITTEN.contains(&word)) {
        return Some(format!(
            "Rows are shown and no hours, because a row's day is that of {by}, and its {seconds} may be of other days."
        ));
    }
    let is_text =
        |name: &str| shape.columns.iter().any(|it| it.name == name && it.r#type == "Utf8");
    let is_id = |name: &str| name.rsplit('_').next().is_some_and(|it| IDS.contains(&it));
    let is_of = |name: &str| {
        let stems = [
            best([name].into_iter(), &PEOPLE, &CALLED),
            best([name].into_iter(), &PROJECTS, &KEYED),
        ];
        PEOPLE.contains(&name) || stems.iter().any(Option::is_some)
    };
    let kind = shape.key.iter().find(|it| is_text(it) && !is_id(it) && !is_of(it))?;
    Some(format!(
        "Rows are shown and no hours, because the key has {kind}: the same {seconds} may stand in a row for each {kind}."
    ))
}

/// The column whose stem, and then whose ending, comes first in the lists; of equal ones the first.
fn best<'a>(
    columns: impl Iterator<Item = &'a str>,
    stems: &[&str],
    endings: &[&str],
) -> Option<&'a str> {
    let rank = |name: &str| {
        let ending = |stem: &str| {
            endings.iter().position(|ending| {
                let before = name.strip_suffix(&format!("{stem}{ending}"));
                before.is_some_and(|it| it.is_empty() || it.ends_with('_'))
            })
        };
        stems.iter().enumerate().find_map(|(nth, stem)| Some((nth, ending(stem)?)))
    };
    columns.filter_map(|it| Some((rank(it)?, it))).min_by_key(|it| it.0).map(|it| it.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(columns: &[&str], seconds: &str, person: &str, project: &str) {
        let column = |it: &&str| {
            let (name, r#type) = it.split_once(':').unwrap_or((it, "Utf8"));
            DatasetColumn { name: name.to_owned(), r#type: r#type.to_owned() }
        };
        let found = choose(&columns.iter().map(column).collect::<Vec<_>>());
        let some = |it: &str| (!it.is_empty()).then(|| it.to_owned());
        let expected =
            Columns { seconds: some(seconds), person: some(person), project: some(project) };
        assert_eq!(found, expected, "{columns:?}");
    }

    #[test]
    fn the_columns_of_the_shipped_pipelines_are_found() {
        check(
            &[
                "issue_key",
                "issue_display",
                "created_by_id",
                "created_by_display",
                "updated_by_display",
                "duration_seconds:Int64",
            ],
            "duration_seconds",
            "created_by_display",
            "",
        );
        check(
            &[
                "log_author",
                "log_author_user_key",
                "log_author_user_name",
                "log_author_display_name",
                "log_author_email",
                "project_id:Int64",
                "project_key",
                "time_worked_seconds:Int64",
            ],
            "time_worked_seconds",
            "log_author_display_name",
            "project_key",
        );
        check(
            &["project_id", "project_name", "user_id", "user_name", "work_seconds:Int64"],
            "work_seconds",
            "user_name",
            "project_name",
        );
    }

    #[test]
    fn seconds_are_hours_where_they_are_of_their_day_and_come_once() {
        // The streams of the shipped pipelines that have seconds, and others.
        let cases: [(&[&str], &str, &str); 10] = [
            (&["issue_id", "id"], "start", ""),
            (&["id"], "created_at", "that of created_at"),
            (&["mode", "log_id", "audit_id"], "log_start_date", "the key has mode"),
            (&[], "work_date", ""),
            (&["id"], "created_time", "that of created_time"),
            (&["user_name", "project_name", "day"], "day", ""),
            (&["team", "author"], "day", ""),
            (&["issue_key", "n"], "day", ""),
            (&["id", "state"], "day", "the key has state"),
            (&["id"], "recreated", ""),
        ];
        for (key, by, expected) in cases {
            let column = |name: &&str| {
                let r#type = match *name {
                    "n" => "Int64",
                    "day" => "Date32",
                    _ => "Utf8",
                };
                DatasetColumn { name: (*name).to_owned(), r#type: r#type.to_owned() }
            };
            let shape = DatasetShape {
                run: String::new(),
                key: key.iter().map(|it| (*it).to_owned()).collect(),
                partitioned_by: by.to_owned(),
                columns: key.iter().map(column).collect(),
            };
            let found = no_hours(&shape, "spent_seconds");
            assert_eq!(found.is_some(), !expected.is_empty(), "{key:?} {by}: {found:?}");
            assert!(found.unwrap_or_default().contains(expected), "{key:?} {by}");
        }
    }

    #[test]
    fn what_was_spent_goes_before_what_was_planned() {
        check(
            &["original_estimation_seconds:Int64", "spent_seconds:Float64"],
            "spent_seconds",
            "",
            "",
        );
        check(&["estimation_seconds:Int64"], "estimation_seconds", "", "");
        check(&["a_seconds:Int64", "b_seconds:Int64"], "a_seconds", "", "");
    }

    #[test]
    fn names_that_only_sound_alike_and_other_types_are_passed_over() {
        check(&["seconds:Int64", "spent_seconds:Utf8", "elapsed:Int64"], "", "", "");
        check(&["author_email", "authority_name", "user_id:Int64", "superuser_name"], "", "", "");
        check(&["projection", "subproject_key", "steam_name"], "", "", "");
    }

    #[test]
    fn a_name_goes_before_a_key_and_whoever_did_it_before_whoever_it_is_for() {
        check(&["assignee_display", "author_id"], "", "author_id", "");
        check(&["user_key", "user_name"], "", "user_name", "");
        check(&["team_name", "queue_id", "queue"], "", "", "queue");
    }
}
