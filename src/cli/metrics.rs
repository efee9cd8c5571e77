//! What runs did, as OpenMetrics text for the textfile collector of Prometheus' node exporter.
//!
//! ```text
//! # TYPE tracklake_run_success gauge
//! # HELP tracklake_run_success Whether the last run ended with exit code 0.
//! tracklake_run_success{pipeline="acme_time",output="/data/lake"} 1
//! # EOF
//! ```
//!
//! Everything is a gauge: a run is over before anyone reads this, and its counts begin at 0. That is
//! also what OpenMetrics and the older text format of Prometheus, which the collector reads, write
//! alike.

use std::fmt::{self, Display, Write as _};

use chrono::{DateTime, Utc};

use crate::run::{RunReport, StreamReport, StreamStatus};

/// The name under which the next run finds when the last good one was.
const LAST_SUCCESS: &str = "tracklake_last_success_timestamp_seconds";
/// The one that every run leaves.
const EXIT_CODE: &str = "tracklake_run_exit_code";

/// How the run of a pipeline ended.
#[derive(Debug)]
pub(super) struct Ended<'a> {
    /// The pipeline.
    pub(super) pipeline: String,
    /// Where its files go, as it was given; `None` where nobody can say.
    pub(super) output: Option<String>,
    /// What it ended with.
    pub(super) exit_code: u8,
    /// What it did, unless it did not get so far.
    pub(super) report: Option<&'a RunReport>,
}

impl Ended<'_> {
    /// The labels of its run, without braces: two destinations of a pipeline are two series, also where
    /// each has a file of its own.
    fn labels(&self, known: &str) -> String {
        let pipeline = format!(r#"pipeline="{}""#, Escaped(&self.pipeline));
        match &self.output {
            Some(output) => format!(r#"{pipeline},output="{}""#, Escaped(output)),
            // A file with a mistake does not say where; the series goes on where the last run did.
            None => earlier_labels(known, &pipeline).unwrap_or(pipeline),
        }
    }
}

/// What a gauge is told of a run.
type OfRun = fn(&Ended<'_>) -> Option<f64>;
/// What a gauge is told of a stream.
type OfStream = fn(&StreamReport) -> Option<f64>;

const OF_RUNS: &[(&str, &str, OfRun)] = &[
    ("tracklake_run_success", "Whether the last run ended with exit code 0.", |it| {
        Some(f64::from(u8::from(it.exit_code == 0)))
    }),
    (EXIT_CODE, "The exit code that the last run led to.", |it| Some(f64::from(it.exit_code))),
    ("tracklake_run_start_timestamp_seconds", "The clock of the last run when it started.", |it| {
        it.report.map(|it| instant(it.started_at))
    }),
    ("tracklake_run_duration_seconds", "How long the last run took.", |it| {
        it.report.map(|it| it.seconds)
    }),
];

const OF_STREAMS: &[(&str, &str, OfStream)] = &[
    ("tracklake_stream_success", "Whether the last run published the stream whole.", |it| {
        let is_whole = it.status != StreamStatus::Failed && it.error.is_none() && it.rejected == 0;
        Some(f64::from(u8::from(is_whole)))
    }),
    ("tracklake_stream_rows", "Rows of the dataset, where the last run published it.", |it| {
        (it.status == StreamStatus::Published).then(|| count(it.rows))
    }),
    ("tracklake_stream_rows_read", "Rows that the last run read.", |it| Some(count(it.rows_read))),
    ("tracklake_stream_rows_added", "Rows that were new to the dataset.", |it| {
        Some(count(it.added))
    }),
    ("tracklake_stream_rows_updated", "Rows that took the place of another one.", |it| {
        Some(count(it.updated))
    }),
    ("tracklake_stream_rows_removed", "Rows that the source no longer had.", |it| {
        Some(count(it.removed))
    }),
    ("tracklake_stream_records_rejected", "Records that did not fit.", |it| {
        Some(count(it.rejected))
    }),
    ("tracklake_stream_slices_failed", "Slices that could not be read.", |it| {
        Some(count(it.slices.failed))
    }),
    ("tracklake_stream_slices_gone", "Parents to which access is lost.", |it| {
        Some(count(it.slices.gone))
    }),
    ("tracklake_stream_requests", "Requests sent, repetitions included.", |it| {
        Some(count(it.requests))
    }),
    ("tracklake_stream_retries", "Requests that were sent again.", |it| Some(count(it.retries))),
    ("tracklake_stream_read_bytes", "Bytes of bodies, after decompression.", |it| {
        Some(count(it.bytes_read))
    }),
    ("tracklake_stream_written_bytes", "Bytes of the files that were written.", |it| {
        Some(count(it.bytes_written))
    }),
    ("tracklake_stream_partitions_changed", "Partitions whose files were written.", |it| {
        Some(count(it.changed_partitions))
    }),
    ("tracklake_stream_duration_seconds", "How long the stream took.", |it| Some(it.seconds.total)),
    (
        "tracklake_stream_cursor_timestamp_seconds",
        "How far the stream has got: the largest published value of its cursor.",
        |it| it.cursor.map(instant),
    ),
];

/// The text of a file, of which `known` is the content so far.
pub(super) fn render(runs: &[Ended<'_>], known: &str) -> String {
    let mut text = String::new();
    let mut labelled: Vec<(String, &Ended<'_>)> = Vec::new();
    for run in runs {
        let labels = run.labels(known);
        // What is named twice is refused, but still one series.
        if labelled.iter().all(|(it, _)| *it != labels) {
            labelled.push((labels, run));
        }
    }
    for (name, help, value) in OF_RUNS {
        let samples = labelled
            .iter()
            .filter_map(|(labels, run)| value(run).map(|it| (format!("{{{labels}}}"), it)));
        family(&mut text, name, help, samples);
    }
    let last_success = labelled.iter().filter_map(|(labels, run)| {
        let labels = format!("{{{labels}}}");
        let now = run.report.filter(|_| run.exit_code == 0).map(|it| instant(it.started_at));
        now.or_else(|| earlier(known, &labels)).map(|it| (labels, it))
    });
    let help = "The clock of the last run that ended with exit code 0, kept while later ones fail.";
    family(&mut text, LAST_SUCCESS, help, last_success);
    for (name, help, value) in OF_STREAMS {
        let streams = labelled
            .iter()
            .filter_map(|(labels, it)| Some((labels, it.report?)))
            .flat_map(|(labels, run)| run.streams.iter().map(move |stream| (labels, stream)));
        let samples = streams.filter_map(|(labels, stream)| {
            let labels = format!(r#"{{{labels},stream="{}"}}"#, Escaped(&stream.stream));
            value(stream).map(|it| (labels, it))
        });
        family(&mut text, name, help, samples);
    }
    text.push_str("# EOF\n");
    text
}

/// Adds a gauge with its samples; one without any is left out.
fn family(text: &mut String, name: &str, help: &str, samples: impl Iterator<Item = (String, f64)>) {
    let mut samples = samples.peekable();
    if samples.peek().is_none() {
        return;
    }
    // Writing to a text cannot fail.
    let _ = writeln!(text, "# TYPE {name} gauge\n# HELP {name} {}", Escaped(help));
    for (labels, value) in samples {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}

/// The labels that the file so far has for a pipeline.
fn earlier_labels(known: &str, pipeline: &str) -> Option<String> {
    let start = format!("{EXIT_CODE}{{{pipeline},");
    let line = known.lines().find(|it| it.starts_with(&start))?;
    let (labels, _) = line.rsplit_once("} ")?;
    Some(labels.split_at_checked(EXIT_CODE.len() + 1)?.1.to_owned())
}

/// The last success that the file knows of so far.
fn earlier(known: &str, labels: &str) -> Option<f64> {
    let sample = format!("{LAST_SUCCESS}{labels} ");
    let value = known.lines().find_map(|it| it.strip_prefix(&sample))?;
    value.parse().ok().filter(|it: &f64| it.is_finite())
}

/// A text between quotes, as OpenMetrics has it.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|it| match it {
            '\\' => f.write_str(r"\\"),
            '"' => f.write_str(r#"\""#),
            '\n' => f.write_str(r"\n"),
            it => f.write_char(it),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn count(n: u64) -> f64 {
    n as f64
}

/// Seconds since 1970, as all timestamps of Prometheus.
#[expect(clippy::cast_precision_loss, reason = "milliseconds below 2^53")]
fn instant(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_failed_early_leaves_its_code_and_the_last_success() {
        let known = "tracklake_run_exit_code{pipeline=\"a\",output=\"lake\"} 0\n\
            tracklake_last_success_timestamp_seconds{pipeline=\"a\",output=\"lake\"} 1721908800\n";
        let ended = |pipeline: &str, output: Option<&str>, exit_code| {
            let output = output.map(str::to_owned);
            Ended { pipeline: pipeline.to_owned(), output, exit_code, report: None }
        };
        let runs = [
            // Its file has a mistake.
            ended("a", None, 3),
            ended("a", Some("lake"), 3),
            ended("a", Some("other"), 3),
            ended("b\"\\\n", Some("C:\\lake"), 130),
        ];

        insta::assert_snapshot!(render(&runs, known), @r#"
        # TYPE tracklake_run_success gauge
        # HELP tracklake_run_success Whether the last run ended with exit code 0.
        tracklake_run_success{pipeline="a",output="lake"} 0
        tracklake_run_success{pipeline="a",output="other"} 0
        tracklake_run_success{pipeline="b\"\\\n",output="C:\\lake"} 0
        # TYPE tracklake_run_exit_code gauge
        # HELP tracklake_run_exit_code The exit code that the last run led to.
        tracklake_run_exit_code{pipeline="a",output="lake"} 3
        tracklake_run_exit_code{pipeline="a",output="other"} 3
        tracklake_run_exit_code{pipeline="b\"\\\n",output="C:\\lake"} 130
        # TYPE tracklake_last_success_timestamp_seconds gauge
        # HELP tracklake_last_success_timestamp_seconds The clock of the last run that ended with exit code 0, kept while later ones fail.
        tracklake_last_success_timestamp_seconds{pipeline="a",output="lake"} 1721908800
        # EOF
        "#);
    }

    #[test]
    fn names_are_those_that_prometheus_allows_and_none_comes_twice() {
        let names = OF_RUNS.iter().map(|it| it.0).chain(OF_STREAMS.iter().map(|it| it.0));
        let mut names: Vec<&str> = names.chain([LAST_SUCCESS]).collect();
        assert!(names.iter().all(|it| it.bytes().all(|it| matches!(it, b'a'..=b'z' | b'_'))));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn what_another_program_wrote_is_no_last_success() {
        let labels = r#"{pipeline="a"}"#;
        let sample = |it: &str| format!("{LAST_SUCCESS}{it}\n");
        assert_eq!(earlier("", labels), None);
        assert_eq!(earlier(&sample(r#"{pipeline="ab"} 5"#), labels), None);
        assert_eq!(earlier(&sample(r#"{pipeline="a"} NaN"#), labels), None);
        assert_eq!(earlier(&sample(r#"{pipeline="a"} x"#), labels), None);
        assert_eq!(
            earlier(&sample(r#"{pipeline="a"} 1721908800.5"#), labels),
            Some(1_721_908_800.5)
        );
    }
}
