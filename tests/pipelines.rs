//! The shipped pipelines are what people's queries and schedules depend on: their names, columns,
//! types and variables are written down here a second time.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

use std::{env, fs, path::PathBuf};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;
use tracklake::{
    config::{self, Inputs, Unset},
    plan::{ColumnPlan, ColumnType, Name, Plan, ReplaceScope, StreamPlan, WriteMode, arrow_schema},
};

const SCHEMA: &str = "pipelines/schema.json";
const FIRST_LINE: &str = "# yaml-language-server: $schema=schema.json";

/// A shipped pipeline: its variables, and its streams.
struct Contract {
    pipeline: &'static str,
    /// Name, environment variable.
    vars: &'static [(&'static str, &'static str)],
    streams: &'static [Stream],
}

/// A stream: how it is written, and its columns before `_extra`.
struct Stream {
    name: &'static str,
    write: &'static str,
    partition_by: &'static str,
    /// A name and a type each; text where no type is given.
    columns: &'static str,
}

const CONTRACTS: [Contract; 3] = [
    Contract {
        pipeline: "codearts_req",
        vars: &[
            ("url", "CODEARTS_URL"),
            ("project_id", "CODEARTS_PROJECT_ID"),
            ("token", "CODEARTS_TOKEN"),
            ("iam_url", "CODEARTS_IAM_URL"),
            ("iam_domain", "CODEARTS_IAM_DOMAIN"),
            ("iam_user", "CODEARTS_IAM_USER"),
            ("iam_password", "CODEARTS_IAM_PASSWORD"),
            ("iam_project", "CODEARTS_IAM_PROJECT"),
            ("access_key", "HUAWEICLOUD_SDK_AK"),
            ("secret_key", "HUAWEICLOUD_SDK_SK"),
            ("security_token", "HUAWEICLOUD_SDK_SECURITY_TOKEN"),
            ("iam_project_id", "HUAWEICLOUD_SDK_PROJECT_ID"),
            ("issue", "CODEARTS_ISSUE"),
            ("zone", "CODEARTS_ZONE"),
            ("since", "CODEARTS_SINCE"),
            ("requests_per_second", "CODEARTS_REQUESTS_PER_SECOND"),
            ("max_in_flight", "CODEARTS_MAX_IN_FLIGHT"),
            ("max_requests", "CODEARTS_MAX_REQUESTS"),
            ("deadline", "CODEARTS_DEADLINE"),
        ],
        streams: &[
            Stream {
                name: "issues",
                write: "merge by id, newest updated_time",
                partition_by: "created_time",
                columns: "project_id, id int64, name, tracker_id int64, tracker_name, status_id int64, \
                    status_name, priority_name, severity_name, creator_id int64, creator_name, \
                    creator_nick_name, assigned_user_id int64, assigned_user_name, \
                    assigned_user_nick_name, parent_issue_id int64, iteration_name, created_time ts, \
                    updated_time ts, closed_time ts, begin_date date, end_date date, \
                    expected_work_hours float64, actual_work_hours float64, \
                    actual_work_seconds int64, done_ratio int64, deleted boolean",
            },
            Stream {
                name: "history",
                write: "append by record_id, detail_id",
                partition_by: "created_on",
                columns: "project_id, issue_id int64, record_id int64, created_on ts, notes, \
                    user_id int64, user_name, user_first_name, user_nick_name, user_identifier, \
                    user_image_id, detail_id int64, journal_id int64, property, field_name, \
                    old_value, new_value, operation",
            },
            Stream {
                name: "work_hours",
                write: "replace slice",
                partition_by: "work_date",
                columns: "project_id, project_name, user_id, user_name, nick_name, work_date date, \
                    work_hours float64, work_seconds int64, summary, work_hours_type_name, \
                    issue_id int64, issue_type, subject, created_time date, closed_time date, \
                    work_hours_created_time ts, work_hours_updated_time ts",
            },
        ],
    },
    Contract {
        pipeline: "jira_timesheet",
        vars: &[
            ("url", "JIRA_URL"),
            ("token", "JIRA_TOKEN"),
            ("user", "JIRA_USER"),
            ("password", "JIRA_PASSWORD"),
            ("project_keys", "JIRA_PROJECT_KEYS"),
            ("issue", "JIRA_ISSUE"),
            ("run_as", "JIRA_RUN_AS"),
            ("zone", "JIRA_ZONE"),
            ("since", "JIRA_SINCE"),
            ("requests_per_second", "JIRA_REQUESTS_PER_SECOND"),
            ("max_in_flight", "JIRA_MAX_IN_FLIGHT"),
            ("max_requests", "JIRA_MAX_REQUESTS"),
            ("deadline", "JIRA_DEADLINE"),
        ],
        streams: &[
            Stream {
                name: "audit_log",
                write: "replace slice by mode, log_id, audit_id",
                partition_by: "log_start_date",
                columns: "mode, log_id int64, log_author, log_author_user_key, log_author_user_name, \
                    log_author_display_name, log_author_email, log_author_avatar, \
                    log_author_is_active boolean, log_author_is_del boolean, issue_id int64, \
                    issue_key, project_id int64, project_key, log_create_time ts, \
                    log_update_time ts, log_start_date date, time_worked_seconds int64, \
                    time_worked_text, memo, delete_others_work_log boolean, \
                    edit_others_work_log boolean, audit_id int64, auditor, auditor_user_key, \
                    auditor_user_name, auditor_display_name, auditor_email, auditor_avatar, \
                    auditor_is_active boolean, auditor_is_del boolean, audit_status int64, \
                    audit_status_name, audit_time ts, audit_comment, revoke_undo_reason, \
                    revoke_reject_reason, revoke_status int64, revoke_status_name",
            },
            Stream {
                name: "worklogs",
                write: "replace slice",
                partition_by: "work_date",
                columns: "work_date date, log_id int64, issue_id int64, issue_key, author_user_key, \
                    author_user_name, author_display_name, author_email, time_worked_seconds int64, \
                    time_worked_text, over_time_text, memo",
            },
        ],
    },
    Contract {
        pipeline: "yandex_tracker",
        vars: &[
            ("url", "YANDEX_TRACKER_URL"),
            ("token", "YANDEX_TRACKER_TOKEN"),
            ("iam_token", "YANDEX_TRACKER_IAM_TOKEN"),
            ("passport_token", "YANDEX_TRACKER_PASSPORT_TOKEN"),
            ("service_account_key", "YANDEX_TRACKER_SERVICE_ACCOUNT_KEY"),
            ("iam_url", "YANDEX_TRACKER_IAM_URL"),
            ("org_id", "YANDEX_TRACKER_ORG_ID"),
            ("cloud_org_id", "YANDEX_TRACKER_CLOUD_ORG_ID"),
            ("query", "YANDEX_TRACKER_QUERY"),
            ("issue", "YANDEX_TRACKER_ISSUE"),
            ("zone", "YANDEX_TRACKER_ZONE"),
            ("hours_per_day", "YANDEX_TRACKER_HOURS_PER_DAY"),
            ("days_per_week", "YANDEX_TRACKER_DAYS_PER_WEEK"),
            ("requests_per_second", "YANDEX_TRACKER_REQUESTS_PER_SECOND"),
            ("max_in_flight", "YANDEX_TRACKER_MAX_IN_FLIGHT"),
            ("max_requests", "YANDEX_TRACKER_MAX_REQUESTS"),
            ("deadline", "YANDEX_TRACKER_DEADLINE"),
        ],
        streams: &[
            Stream {
                name: "issues",
                write: "merge by id, newest version",
                partition_by: "created_at",
                columns: "id, key, version int64, self, summary, queue_id, queue_key, queue_display, \
                    status_key, status_display, type_key, type_display, priority_key, \
                    priority_display, created_at ts, updated_at ts, created_by_id, \
                    created_by_display, updated_by_id, updated_by_display, assignee_id, \
                    assignee_display, spent, spent_seconds int64, estimation, \
                    estimation_seconds int64, original_estimation, \
                    original_estimation_seconds int64",
            },
            Stream {
                name: "worklogs",
                write: "replace slice by issue_id, id",
                partition_by: "start",
                columns: "id, version int64, self, issue_id, issue_key, issue_display, issue_self, \
                    comment, created_by_id, created_by_display, created_by_self, \
                    created_by_cloud_uid, created_by_passport_uid, updated_by_id, \
                    updated_by_display, updated_by_self, updated_by_cloud_uid, \
                    updated_by_passport_uid, created_at ts, updated_at ts, start ts, duration, \
                    duration_seconds int64",
            },
            Stream {
                name: "changelog",
                write: "append by id, field_id",
                partition_by: "updated_at",
                columns: "id, self, issue_id, issue_key, issue_display, updated_at ts, updated_by_id, \
                    updated_by_display, type, transport, field_id, field_display, from_value json, \
                    to_value json",
            },
        ],
    },
];

/// What a person would have to set, and nothing else.
const REQUIRED: [(&str, &str); 8] = [
    ("CODEARTS_PROJECT_ID", "9f4e6c0b3d2a4d6f8e1b5a7c9d0e2f41"),
    ("CODEARTS_TOKEN", "a-token"),
    ("JIRA_URL", "https://jira.example.com/jira"),
    ("JIRA_TOKEN", "a-token"),
    ("JIRA_ZONE", "Europe/Moscow"),
    ("YANDEX_TRACKER_TOKEN", "a-token"),
    ("YANDEX_TRACKER_ORG_ID", "1234567"),
    ("TZ", "America/New_York"),
];

#[test]
fn every_shipped_file_has_a_contract() {
    let mut names: Vec<String> = files().iter().map(|it| stem(it)).collect();
    names.sort();

    assert_eq!(names, CONTRACTS.map(|it| it.pipeline));
}

#[test]
fn every_pipeline_resolves_with_what_it_requires() {
    for Contract { pipeline, .. } in CONTRACTS {
        let plan = load(pipeline);

        assert_eq!(plan.pipeline.as_str(), pipeline);
        assert_eq!(plan.destination.formats.len(), 2, "{pipeline} writes both formats");
        assert!((plan.source.limits.requests_per_second - 10.0).abs() < f64::EPSILON);
        assert_eq!(plan.source.limits.max_in_flight, 8);
    }
}

#[test]
fn every_pipeline_is_valid_before_anything_is_set() {
    let inputs = Inputs::default().unset(Unset::Tolerated);

    for Contract { pipeline, streams, .. } in CONTRACTS {
        let plan = config::load(&file(pipeline), &inputs).unwrap_or_else(|err| panic!("{err:?}"));

        assert_eq!(plan.streams.len(), streams.len(), "{pipeline}");
    }
}

#[test]
fn variables_keep_their_names() {
    for Contract { pipeline, vars, .. } in CONTRACTS {
        let summary = config::summarize(&file(pipeline)).unwrap();

        let found: Vec<(&str, &str)> =
            summary.vars.iter().map(|it| (&*it.name, it.env.as_deref().unwrap_or("-"))).collect();
        assert_eq!(found, vars, "{pipeline}");
    }
}

#[test]
fn credentials_are_secret() {
    for Contract { pipeline, .. } in CONTRACTS {
        for var in config::summarize(&file(pipeline)).unwrap().vars {
            let secrets = ["token", "password", "access_key", "secret_key", "account_key"];
            let sounds_secret = secrets.iter().any(|it| var.name.ends_with(it));

            assert_eq!(var.secret, sounds_secret, "{pipeline}: {}", var.name);
        }
    }
}

#[test]
fn streams_and_columns_keep_their_names_and_types() {
    for Contract { pipeline, streams, .. } in CONTRACTS {
        let plan = load(pipeline);
        // Parents stand before their children in a plan, and in the files too.
        let found: Vec<&str> = plan.streams.iter().map(|it| it.name.as_str()).collect();
        let names: Vec<&str> = streams.iter().map(|it| it.name).collect();
        assert_eq!(found, names, "{pipeline}");

        for (stream, contract) in plan.streams.iter().zip(streams) {
            let at = format!("{pipeline}.{}", contract.name);
            let found: Vec<String> = stream.columns.iter().map(column).collect();
            let columns: Vec<&str> = contract.columns.split(", ").map(str::trim).collect();

            assert_eq!(found, columns, "{at}");
            assert_eq!(write_mode(stream), contract.write, "{at}");
            assert_eq!(stream.partition.column.as_str(), contract.partition_by, "{at}");
            assert_eq!(stream.partition.name.as_str(), "date", "{at}");
        }
    }
}

#[test]
fn files_have_the_extra_column_last() {
    for Contract { pipeline, .. } in CONTRACTS {
        for stream in load(pipeline).streams {
            let schema = arrow_schema(&stream.columns, stream.unknown_fields);

            let last = schema.fields().last().map(|it| it.name().as_str());
            assert_eq!(last, Some("_extra"), "{pipeline}.{}", stream.name);
        }
    }
}

/// To accept a change of the file format: `UPDATE=1 cargo test --test pipelines`.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn the_published_schema_is_current() {
    let schema = serde_json::to_string_pretty(&config::json_schema()).unwrap() + "\n";
    if env::var_os("UPDATE").is_some() {
        fs::write(SCHEMA, &schema).unwrap();
    }

    let published = fs::read_to_string(SCHEMA).unwrap();

    assert!(published == schema, "run `UPDATE=1 cargo test --test pipelines`");
}

#[test]
fn every_file_names_the_schema_first_and_keeps_to_it() {
    let (schemas, published) = schema();

    for file in files() {
        let text = fs::read_to_string(&file).unwrap();
        let document: Value = serde_saphyr::from_str(&text).unwrap();

        let first = text.lines().next();
        let valid = schemas.validate(&document, published);

        assert_eq!(first, Some(FIRST_LINE), "{}", file.display());
        assert!(valid.is_ok(), "{}: {}", file.display(), valid.unwrap_err());
    }
}

#[test]
fn the_schema_refuses_what_the_program_refuses() {
    let (schemas, published) = schema();
    let text = fs::read_to_string("pipelines/codearts_req.yaml").unwrap();
    let wrong = [
        ("type: int64", "type: int46"),
        ("paginate: { offset:", "paginate: { ofset:"),
        ("version: 1", "versoin: 1"),
        ("records: issues", "record: issues"),
        ("place: body", "place: boddy"),
    ];

    for (right, wrong) in wrong {
        let text = text.replacen(right, wrong, 1);
        let document: Value = serde_saphyr::from_str(&text).unwrap();

        assert!(schemas.validate(&document, published).is_err(), "the schema takes `{wrong}`");
        assert!(config::parse(&text, &inputs()).is_err(), "the program takes `{wrong}`");
    }
}

/// The published schema, ready to validate with.
fn schema() -> (Schemas, SchemaIndex) {
    let text = fs::read_to_string(SCHEMA).unwrap();
    let mut schemas = Schemas::new();
    let mut compiler = Compiler::new();
    compiler.add_resource(SCHEMA, serde_json::from_str(&text).unwrap()).unwrap();
    let published = compiler.compile(SCHEMA, &mut schemas).unwrap();
    (schemas, published)
}

fn inputs() -> Inputs {
    Inputs::new(REQUIRED.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

#[track_caller]
fn load(pipeline: &str) -> Plan {
    config::load(&file(pipeline), &inputs()).unwrap_or_else(|err| panic!("{err:?}"))
}

fn file(pipeline: &str) -> PathBuf {
    format!("pipelines/{pipeline}.yaml").into()
}

fn files() -> Vec<PathBuf> {
    let found = fs::read_dir("pipelines").unwrap().map(|it| it.unwrap().path());
    found.filter(|it| it.extension().is_some_and(|it| it == "yaml" || it == "yml")).collect()
}

fn stem(file: &std::path::Path) -> String {
    file.file_stem().unwrap().to_string_lossy().into_owned()
}

/// A column as the contract writes it.
fn column(column: &ColumnPlan) -> String {
    let kind = match &column.kind {
        ColumnType::String => return column.name.to_string(),
        ColumnType::Int64 | ColumnType::Duration { .. } => "int64",
        ColumnType::Float64 => "float64",
        ColumnType::Boolean => "boolean",
        ColumnType::Date { .. } => "date",
        ColumnType::Timestamp { .. } => "ts",
        ColumnType::Json => "json",
    };
    format!("{} {kind}", column.name)
}

/// A write mode as the contract writes it.
fn write_mode(stream: &StreamPlan) -> String {
    let key: Vec<&str> = stream.key().iter().map(Name::as_str).collect();
    let by = if key.is_empty() { String::new() } else { format!(" by {}", key.join(", ")) };
    match &stream.write {
        WriteMode::Append { .. } => format!("append{by}"),
        WriteMode::Merge { newest_by: Some(column), .. } => format!("merge{by}, newest {column}"),
        WriteMode::Merge { newest_by: None, .. } => format!("merge{by}"),
        WriteMode::Replace { scope: ReplaceScope::Slice, .. } => format!("replace slice{by}"),
        WriteMode::Replace { scope: ReplaceScope::All, .. } => format!("replace all{by}"),
    }
}
