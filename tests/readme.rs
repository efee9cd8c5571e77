//! What README.md and the pages of `docs` say is what the program does: examples, tables, a query. And
//! their links lead somewhere.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use tracklake::{
    config::{self, Inputs},
    plan::MaskPlan,
    run::{Bound, TimeReport},
};

fn page(name: &str) -> String {
    fs::read_to_string(name).unwrap()
}

/// README.md and the pages of `docs`.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> =
        fs::read_dir("docs").unwrap().map(|it| it.unwrap().path()).collect();
    pages.sort();
    assert!(pages.len() > 5);
    pages.insert(0, "README.md".into());
    pages
}

/// The titles of a page, without what is in blocks of code.
fn titles(text: &str) -> Vec<String> {
    let mut is_code = false;
    let lines = text.lines().filter(|it| {
        is_code ^= it.starts_with("```");
        !is_code && it.starts_with('#')
    });
    lines.map(|it| it.trim_start_matches('#').trim().to_owned()).collect()
}

/// The name of a title in links, as GitHub gives it.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut found = 0;
    for from in pages() {
        let text = fs::read_to_string(&from).unwrap();
        for link in text.split("](").skip(1).filter_map(|it| it.split_once(')')).map(|it| it.0) {
            if link.contains("://") {
                continue;
            }
            let (file, title) = link.split_once('#').unwrap_or((link, ""));
            let to = match file {
                "" => from.clone(),
                file => from.parent().unwrap_or(Path::new("")).join(file),
            };
            assert!(to.exists(), "{}: {link}", from.display());
            let is_there = |it: &String| anchor(it) == title;
            assert!(
                title.is_empty() || titles(&page(to.to_str().unwrap())).iter().any(is_there),
                "{}: {link}",
                from.display()
            );
            found += 1;
        }
    }
    assert!(found > 30, "only {found} links are found");
}

/// The blocks of code that begin with this line.
fn blocks(text: &str, fence: &str) -> Vec<String> {
    let start = format!("\n{fence}\n");
    let rest = text.split(&start).skip(1);
    rest.filter_map(|it| it.split_once("```")).map(|(block, _)| block.to_owned()).collect()
}

/// The cells of the rows of a table, without its head, that follows a line.
fn table_after<'a>(text: &'a str, line: &str) -> Vec<Vec<&'a str>> {
    let (_, rest) = text.split_once(line).unwrap();
    let rows = rest.lines().skip_while(|it| !it.starts_with('|'));
    let rows = rows.take_while(|it| it.starts_with('|')).skip(2);
    rows.map(|it| it.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

#[test]
fn the_example_pipeline_is_sound() {
    let inputs = ["ACME_TOKEN", "ACME_PROJECT"].map(|it| (it.to_owned(), "a-value".to_owned()));
    let text = page("docs/pipelines.md");
    let examples = blocks(&text, "```yaml");
    assert!(!examples.is_empty());

    for example in examples {
        let plan = config::parse(&example, &Inputs::new(inputs.clone())).unwrap();

        assert_eq!(plan.streams.len(), 1);
    }
}

#[test]
fn what_the_example_may_expect_is_sound() {
    let inputs = ["ACME_TOKEN", "ACME_PROJECT"].map(|it| (it.to_owned(), "a-value".to_owned()));
    let text = page("docs/pipelines.md");
    let example = blocks(&text, "```yaml").remove(0);
    let expectations = blocks(&page("docs/runs.md"), "```yml");
    assert_eq!(expectations.len(), 1);

    let expecting =
        example.replace("\ndestination:", &format!("{}\ndestination:", expectations[0]));
    let plan = config::parse(&expecting, &Inputs::new(inputs)).unwrap();

    assert_eq!(plan.streams[0].expect.max_nulls.len(), 2);
}

#[test]
fn the_lines_that_mask_addresses_fit_the_pipeline_that_they_are_for() {
    let text = page("docs/pipelines.md");
    let lines = blocks(&text, "```yaml mask").remove(0);
    let shipped = fs::read_to_string("pipelines/jira_timesheet.yaml").unwrap();
    let name = |line: &str| line.split_once(':').map(|(name, _)| name.to_owned());

    let (vars, columns): (Vec<&str>, Vec<&str>) = lines
        .lines()
        .filter(|it| it.contains('{'))
        .partition(|line| line.starts_with("  mask_salt:"));
    let mut masked = shipped.replace("\nvars:\n", &format!("\nvars:\n{}\n", vars.concat()));
    for column in &columns {
        let same = |line: &&str| name(line) == name(column);
        let before = shipped.lines().find(same).unwrap();
        masked = masked.replace(before, column);
    }
    let inputs = [
        ("JIRA_URL", "https://jira.example.org"),
        ("JIRA_TOKEN", "t0ken"),
        ("JIRA_ZONE", "Europe/Moscow"),
        ("JIRA_MASK_SALT", "pepper-pepper-pepper"),
    ];
    let inputs = Inputs::new(inputs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let plan = config::parse(&masked, &inputs).unwrap();

    let all = plan.streams.iter().flat_map(|it| &it.columns);
    let of_addresses: Vec<_> = all.filter(|it| it.name.as_str().ends_with("_email")).collect();
    assert_eq!(of_addresses.len(), columns.len());
    assert!(of_addresses.iter().all(|it| matches!(it.mask, Some(MaskPlan::Sha256 { .. }))));
}

#[test]
fn the_example_pipeline_is_that_of_the_console_sessions() {
    let text = page("docs/pipelines.md");

    for file in [
        "check.in/acme_time.yaml",
        "sql_views.in/acme_time.yaml",
        "list.in/mine/acme_time.yaml",
        "run.in/pipelines/acme_time.yaml",
        "pull.in/pipelines/acme_time.yaml",
        "read.in/pipelines/acme_time.yaml",
    ] {
        let kept = fs::read_to_string(format!("tests/cases/{file}")).unwrap();

        assert_eq!(blocks(&text, "```yaml"), [kept], "tests/cases/{file}");
    }
}

#[test]
fn the_tables_of_variables_are_those_of_the_pipelines() {
    let text = page("docs/variables.md");

    for pipeline in ["yandex_tracker", "jira_timesheet", "codearts_req"] {
        let file = format!("pipelines/{pipeline}.yaml");
        let summary = config::summarize(file.as_ref()).unwrap();

        let listed = table_after(&text, &format!("\n`{pipeline}`: "));

        let declared: Vec<[String; 4]> = summary
            .vars
            .into_iter()
            .map(|it| {
                let default = match (it.required, it.default) {
                    (true, _) => "*required*".to_owned(),
                    (false, Some(value)) => format!("`{value}`"),
                    (false, None) => "not set".to_owned(),
                };
                let env = format!("`{}`", it.env.unwrap_or_default());
                [format!("`{}`", it.name), env, default, it.description.unwrap_or_default()]
            })
            .collect();
        assert_eq!(listed, declared, "{pipeline}");
    }
}

#[test]
fn the_streams_that_it_names_are_those_of_the_pipelines() {
    let text = page("docs/variables.md");

    for pipeline in ["yandex_tracker", "jira_timesheet", "codearts_req"] {
        let file = format!("pipelines/{pipeline}.yaml");
        let summary = config::summarize(file.as_ref()).unwrap();
        let start = format!("\n`{pipeline}`: ");
        let (_, line) = text.split_once(&start).unwrap();
        let named = line.lines().next().unwrap_or_default().split("**").skip(1).step_by(2);

        let streams = summary.streams.iter().map(|(name, _)| name.as_str());
        assert!(named.eq(streams), "{pipeline}");
    }
}

/// Of the program are 0 and 7, which are no errors, and what `Error::exit_code` gives.
#[test]
fn the_exit_codes_are_those_of_the_program() {
    let source = fs::read_to_string("src/error.rs").unwrap();
    let (_, codes) = source.split_once("fn exit_code").unwrap();
    let (codes, _) = codes.split_once("\n    }\n").unwrap();
    let codes = codes.split("=> ").skip(1).filter_map(|it| it.split(',').next()?.parse().ok());
    let codes: BTreeSet<u8> = codes.chain([0, 7]).collect();

    let text = page("README.md");
    let listed = table_after(&text, "\n## Exit codes");
    let listed: Vec<u8> = listed.iter().map(|it| it[0].parse().unwrap()).collect();

    assert_eq!(listed, codes.into_iter().collect::<Vec<_>>());
}

#[test]
fn the_types_are_those_of_the_schema() {
    let schema = config::json_schema();
    let choices = schema["$defs"]["TypeSpec"]["oneOf"].as_array().unwrap().clone();
    let types: BTreeSet<String> =
        choices.iter().filter_map(|it| it["const"].as_str()).map(str::to_owned).collect();

    let text = page("docs/pipelines.md");
    let listed = table_after(&text, "\n## Types");
    let listed: BTreeSet<String> =
        listed.iter().map(|it| it[0].trim_matches('`').to_owned()).collect();

    assert_eq!(listed, types);
}

/// The keys that the tables of "Write a pipeline" explain are keys of the format.
#[test]
fn the_keys_that_it_explains_are_those_of_the_schema() {
    let schema = config::json_schema();
    let text = page("docs/pipelines.md");
    let tables = [
        ("| `slices`", vec!["SlicesSpec"]),
        ("| `paginate`", vec!["PaginateSpec"]),
        ("| `columns`", vec!["ColumnSpec"]),
        ("| `source.auth`", vec!["AuthSpec"]),
        ("| `partition_by`", vec!["PartitionSpec"]),
    ];

    for (line, definitions) in tables {
        let (_, rest) = text.split_once(line).unwrap();
        let rows = rest.lines().skip(2).take_while(|it| it.starts_with('|'));
        let firsts = rows.map(|it| it.split('|').nth(1).unwrap_or_default());
        let mut listed: Vec<&str> =
            firsts.flat_map(|it| it.split('`').skip(1).step_by(2)).collect();
        let mut known = Vec::new();
        for definition in definitions {
            let definition = &schema["$defs"][definition];
            let properties = |it: &serde_json::Value| -> Vec<String> {
                it["properties"]
                    .as_object()
                    .map(|it| it.keys().cloned().collect())
                    .unwrap_or_default()
            };
            known.extend(properties(definition));
            for choice in definition["oneOf"].as_array().into_iter().flatten() {
                known.extend(properties(choice));
                known.extend(choice["const"].as_str().map(str::to_owned));
            }
        }
        known.sort();
        known.dedup();
        listed.sort_unstable();

        assert_eq!(listed, known, "{line}");
    }
}

#[test]
fn the_seconds_and_bounds_that_it_explains_are_those_of_a_report() {
    let text = page("docs/runs.md");
    let explained = |line: &str| -> BTreeSet<String> {
        let (_, rest) = text.split_once(line).unwrap();
        let rows = rest.lines().skip(2).take_while(|it| it.starts_with('|'));
        let firsts = rows.map(|it| it.split('|').nth(1).unwrap_or_default());
        firsts.flat_map(|it| it.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
    };
    let seconds = serde_json::to_value(TimeReport::default()).unwrap();
    let bounds = [
        Bound::RateLimit,
        Bound::Retries,
        Bound::Latency,
        Bound::Decode,
        Bound::Threads,
        Bound::Partition,
        Bound::Encode,
        Bound::Disk,
        Bound::Parent,
    ];
    let bounds = bounds.map(|it| serde_json::to_value(it).unwrap().as_str().unwrap().to_owned());

    let told: BTreeSet<String> = seconds.as_object().unwrap().keys().cloned().collect();
    assert_eq!(explained("| `seconds` |"), told);
    assert_eq!(explained("| `bounded_by` |"), BTreeSet::from(bounds));
}

#[test]
fn the_query_is_the_one_that_the_demo_prints() {
    let demo = fs::read_to_string("src/cli/demo.rs").unwrap();
    let (_, query) = demo.split_once("  SELECT ").unwrap();
    let (query, _) = query.split_once(';').unwrap();
    let query = format!("  SELECT {};", query.replace("{dir}", "output/demo"));

    let text = page("README.md");

    assert_eq!(text.matches(&query).count(), 2, "in what the demo prints, and in Python:\n{query}");
}
