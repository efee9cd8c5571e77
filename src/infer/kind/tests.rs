use super::*;

/// What is proposed for these values, which are JSON, under a name.
#[track_caller]
fn check(name: &str, values: &[&str], kind: &str, remark: &str) {
    let words = names::words(&[name.to_owned()]);
    let trees: Vec<Tree> = values.iter().map(|it| Tree::parse(it.as_bytes()).unwrap()).collect();
    let trees: Vec<&Tree> = trees.iter().collect();

    let guess = of_scalars(&words, &trees, None);

    let Guess { kind: found, note, question, seconds } = guess;
    let second = seconds.map(|(kind, _)| format!(" + {}", super::super::yaml::kind(&kind)));
    let found = super::super::yaml::kind(&found) + &second.unwrap_or_default();
    assert_eq!(found, kind, "{name}: {values:?}");
    let remarks = [note, question].into_iter().flatten().collect::<Vec<_>>().join("; ");
    assert!(remarks.contains(remark), "{name}: {values:?}: {remarks}");
    assert_eq!(remark.is_empty(), remarks.is_empty(), "{name}: {values:?}: {remarks}");
}

#[test]
fn instants_and_dates_are_recognised_by_how_a_run_reads_them() {
    check(
        "createdAt",
        &[r#""2024-07-25T09:42:06Z""#, r#""2024-07-25T09:42:06.258+0300""#],
        "timestamp",
        "",
    );
    check(
        "created",
        &[r#""2024-07-25 09:42:06.258""#, r#""2024-07-25 09:42""#],
        "{ timestamp: { zone: UTC } }",
        "no zone",
    );
    check(
        "closed_time",
        &[r#""2024-07-25 09:42:06""#, r#""""#],
        "{ timestamp: { zone: UTC } }",
        "no zone",
    );
    check("spentOn", &[r#""2024-07-25""#, r#""2024/07/26""#], "date", "");
    check("due", &[r#""2024-07-25""#, r#""2024-07-25T09:42:06Z""#], "string", "dates and instants");
    check("at", &[r#""2024-07-25T09:42:06Z""#, r#""soon""#], "string", "");
    check("at", &[r#""2024-02-30""#], "string", "");
}

#[test]
fn epochs_are_recognised_by_their_size_and_name() {
    check("createdOn", &["1721900526258"], "{ timestamp: { format: epoch_ms } }", "");
    check("created_on", &["1721900526"], "{ timestamp: { format: epoch_s } }", "");
    check("updatedTime", &[r#""1721900526258""#], "{ timestamp: { format: epoch_ms } }", "as text");
    check("version", &["1721900526258"], "int64", "an instant?");
    check("size", &["1721900526"], "int64", "");
    check("started", &["17"], "int64", "");
    check("created_by_id", &["1721900526"], "int64", "");
}

#[test]
fn lengths_of_time_keep_their_text_beside_their_seconds() {
    check("hours", &[r#""PT4H""#], "string + duration", "as it is written");
    check("spent", &[r#""P3W""#], "string + duration", "as it is written");
    let business =
        "{ duration: { calendar: { business: { hours_per_day: 8, days_per_week: 5 } } } }";
    check(
        "timeSpent",
        &[r#""3d 4h""#, r#""30m""#],
        &format!("string + {business}"),
        "as it is written",
    );
    check("timeSpent", &[r#""4h""#, r#""30m""#], "string + duration", "as it is written");
    check("duration", &[r#""01:30:00""#], "string + duration", "as it is written");
    check("startTime", &[r#""20:06:00""#], "string", "a time of day?");
    check("spent", &[r#""P1Y""#], "string", "");
    check("durationMinutes", &["90"], "int64", "unit: min");
    check("hours", &["4"], "float64", "unit: h");
}

#[test]
fn numbers_are_as_wide_as_they_must_be() {
    check("count", &["1", "-2"], "int64", "");
    check("ratio", &["1", "0.5"], "float64", "");
    check("price", &["8.0"], "float64", "");
    check("count", &["9223372036854775807"], "int64", "");
    check("count", &["9223372036854775808"], "string", "beyond int64");
    check("mass", &["1e400"], "string", "beyond float64");
    check("count", &[r#""41""#, r#""7""#], "int64", "numbers as text");
    check("count", &[r#""41""#, "7"], "int64", "some of them as text");
    check("rate", &[r#""0.5""#], "float64", "numbers as text");
    check("account", &[r#""007""#], "string", "zeros");
    check("status", &["0", "2", "0"], "int64", "codes? seen: 0, 2");
}

#[test]
fn ids_that_are_text_stay_text() {
    check("id", &["41", r#""41""#], "string", "numbers and text");
    check("userId", &[r#""1130000012345678""#], "string", "an id");
    check("id", &["41"], "int64", "");
    check("orderName", &[r#""41""#], "string", "by its name a text");
    check("value", &["41"], "int64", "");
    check("key", &[r#""OPS-7""#], "string", "");
}

#[test]
fn what_is_of_several_kinds_is_text() {
    check("flag", &["true", "false"], "boolean", "");
    check("flag", &[r#""True""#, "false"], "boolean", "");
    check("flag", &["true", "1"], "string", "several kinds");
    check("value", &["1", r#""x""#], "string", "numbers and texts");
    check("value", &[], "string", "which type?");
    check("value", &[r#""""#], "string", "always empty");
}

#[test]
fn few_texts_in_many_records_are_named() {
    let many = [r#""open""#, r#""closed""#, r#""open""#, r#""open""#, r#""closed""#, r#""open""#];
    check("state", &many, "string", r#"one of "open", "closed""#);
    check("state", &[many[0]; 6], "string", r#"always "open""#);
    check("issueType", &[r#""sub-task 2""#; 6], "string", r#"always "sub-task 2""#);
    check("state", &many[..5], "string", "");
    check("state_id", &many, "string", "");
}

#[test]
fn addresses_of_people_are_pointed_out_and_not_repeated() {
    let many = [r#""li@example.org""#; 9];
    check("emailAddress", &many, "string", "holds an e-mail address: consider `mask`");
    check("to", &[r#""li@example.org""#, r#""""#], "string", "consider `mask`");
    check("to", &[r#""li@example.org""#, r#""nobody""#], "string", "");
    check("at", &[r#""@li""#, r#""li@home""#, r#""me@ home.org""#, r#""a@b@c.d""#], "string", "");
    check("url", &[r#""ssh://git@example.org/x""#], "string", "");
}

#[test]
fn nobody_s_data_is_told() {
    let open = [r#""open""#; 6];
    for name in ["name", "comment", "login", "userState", "token_type", "emailStatus", "team"] {
        check(name, &open, "string", "");
    }
    for value in [
        r#""eyJhbGciOiJIUzI1NiJ9.e30.x""#,
        r#""eyJhbGciOiJIUzI1NiJ9eyJzdWIiOiIx""#,
        r#""4111 1111 1111 1111""#,
        r#""+49 30 1234567""#,
        r#""a \"b\"""#,
        r#""Ли""#,
    ] {
        check("state", &[value; 6], "string", "");
    }
}
