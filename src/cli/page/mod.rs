//! A page about a run: what the run did, from its report, and what stands, from the dataset itself.
//!
//! ```text
//! runs/<run>.json      --> facts    what the run did
//! manifest, Parquet    --> sums     hours and rows of the last 60 partitions, as they stand now
//! both                 --> charts   places in a picture, words, tables
//! page.html, plot.svg  --> one file that loads nothing, light or dark as the reader has it
//! ```
//!
//! Charts are templates that are filled with places: their colours follow the theme of the page, each bar has a
//! name, and what comes from an API is escaped in one way everywhere.

mod cards;
mod charts;
mod columns;
mod facts;
mod plot;
mod scale;
mod times;
mod verdict;

use chrono::{DateTime, SecondsFormat, Utc};
use minijinja::{AutoEscape, Environment, Value, context, value::Serde};
use serde::Serialize;

use self::{
    charts::{Figure, Ranked},
    columns::{Columns, choose, no_hours},
    facts::{Run, Stream},
    scale::{count, counted, duration},
    verdict::{Mood, Verdict},
};
use crate::{
    error::{Error, chain},
    load::{Inspection, Sums, SumsOf},
    plan::Name,
};

/// Partitions of a dataset that a page shows.
const PARTITIONS: u16 = 60;
/// Errors and lost parents that are named.
const NAMED: usize = 20;

/// The part of a page that is about one pipeline.
pub(super) struct Section<'a> {
    /// The pipeline.
    pub(super) pipeline: String,
    /// What the run did, as it is kept; `None` where it did not get so far.
    pub(super) report: Option<serde_json::Value>,
    /// Why it did not.
    pub(super) error: Option<String>,
    /// What stands; `None` where nothing does.
    pub(super) inspection: Option<&'a Inspection>,
}

/// A page about runs.
pub(super) fn render(sections: &[Section<'_>], now: DateTime<Utc>) -> Result<String, Error> {
    let templates = Templates::new()?;
    // The name of the only pipeline is the title already.
    let is_alone = sections.len() == 1;
    let pipelines: Vec<PipelineView> = sections
        .iter()
        .enumerate()
        .map(|(nth, it)| pipeline(it, nth, is_alone, now, &templates))
        .collect::<Result<_, _>>()?;
    let names: Vec<&str> = sections.iter().map(|it| it.pipeline.as_str()).collect();
    let (title, css) = (names.join(", "), Value::from_safe_string(include_str!("page.css").into()));
    let footer = format!(
        "Made by tracklake {} at {}. Hours and rows are those of the dataset as it stood then, also where a later run \
         has changed it since; everything else is what the run recorded. The page loads nothing.",
        env!("CARGO_PKG_VERSION"),
        moment(now)
    );
    let version = env!("CARGO_PKG_VERSION");
    templates.render(
        "page.html",
        context! { title, css, pipelines => value(&pipelines), footer, version },
    )
}

#[derive(Serialize)]
struct PipelineView {
    id: String,
    heading: String,
    line: Option<String>,
    mood: Mood,
    sign: &'static str,
    sentence: String,
    errors: Vec<String>,
    note: Option<String>,
    streams: Vec<StreamView>,
}

#[derive(Serialize)]
struct StreamView {
    id: String,
    name: String,
    status: String,
    yesterday: Option<String>,
    cards: Vec<(String, String)>,
    notes: Vec<String>,
    /// Figures, drawn.
    parts: Vec<Value>,
}

fn pipeline(
    section: &Section<'_>,
    nth: usize,
    is_alone: bool,
    now: DateTime<Utc>,
    templates: &Templates,
) -> Result<PipelineView, Error> {
    let Section { pipeline, report, error, inspection } = section;
    let id = format!("p{nth}");
    let run = report.clone().map(serde_json::from_value::<Run>).transpose();
    let run = run.map_err(|err| Error::Internal(format!("a report cannot be read: {err}")))?;
    let Some(run) = run else {
        return Ok(PipelineView {
            id,
            heading: pipeline.clone(),
            line: None,
            mood: Mood::Failed,
            sign: sign(Mood::Failed),
            sentence:
                "Failed: the run did not get as far as a report. What stood before is untouched."
                    .into(),
            errors: error.iter().cloned().collect(),
            note: None,
            streams: Vec::new(),
        });
    };
    let Verdict { mood, sentence } = verdict::of(&run);
    let started = moment(run.started_at);
    let heading = if is_alone {
        format!("Run of {started}")
    } else {
        format!("{pipeline}, run of {started}")
    };
    let bound =
        run.bounded_by.as_deref().map(|it| format!(", bounded by {}", it.replace('_', " ")));
    let mut streams = Vec::new();
    for (at, stream) in run.streams.iter().enumerate() {
        let data = data(*inspection, &run.id, stream, now);
        streams.push((
            data.has_hours(),
            self::stream(stream, &data, &format!("{id}s{at}"), templates)?,
        ));
    }
    // Whoever opens the page asks for hours first.
    streams.sort_by_key(|it| !it.0);
    let errors = run.streams.iter().flat_map(|stream| {
        stream.errors.iter().take(NAMED).map(|it| format!("{}: {it}", stream.name))
    });
    Ok(PipelineView {
        id,
        heading,
        line: Some(format!(
            "Run {}, {}{}",
            run.id,
            duration(run.seconds),
            bound.unwrap_or_default()
        )),
        mood,
        sign: sign(mood),
        sentence,
        errors: errors.chain(error.clone()).collect(),
        note: run.streams.is_empty().then(|| "The run has no streams.".to_owned()),
        streams: streams.into_iter().map(|it| it.1).collect(),
    })
}

fn sign(mood: Mood) -> &'static str {
    match mood {
        Mood::Complete => "✓",
        Mood::Partial => "◐",
        Mood::Failed => "✕",
    }
}

/// What stands of a stream.
#[derive(Default)]
struct Data {
    columns: Columns,
    sums: Option<Sums>,
    /// Why it cannot be told.
    problem: Option<String>,
    /// Why rows are shown where hours could be.
    no_hours: Option<String>,
    /// The run that has published it since.
    later_run: Option<String>,
}

impl Data {
    fn has_hours(&self) -> bool {
        self.columns.seconds.is_some() && self.sums.is_some()
    }
}

/// Looks at what stands of a stream; a dataset that cannot be read is told of on the page, which is about
/// more than that.
fn data(inspection: Option<&Inspection>, run: &str, stream: &Stream, now: DateTime<Utc>) -> Data {
    let (Some(inspection), Ok(name)) = (inspection, stream.name.parse::<Name>()) else {
        return Data::default();
    };
    if stream.status == "read" {
        return Data::default();
    }
    let look = || {
        let Some(shape) = inspection.shape(&name)? else { return Ok(Data::default()) };
        let mut columns = choose(&shape.columns);
        let no_hours = columns.seconds.as_ref().and_then(|it| no_hours(&shape, it));
        columns.seconds = columns.seconds.filter(|_| no_hours.is_none());
        let groups: Vec<&str> =
            columns.person.iter().chain(&columns.project).map(String::as_str).collect();
        let of = SumsOf {
            now,
            partitions: PARTITIONS,
            sum: columns.seconds.as_deref(),
            groups: &groups,
        };
        let sums = inspection.sums(&name, &of)?;
        let is_past = stream.status == "published" && shape.run != run;
        let later_run = is_past.then_some(shape.run);
        Ok(Data { columns, sums, problem: None, no_hours, later_run })
    };
    match look() {
        Ok(data) => counted_in_rows(data),
        Err(err) => {
            let err: crate::load::WriteError = err;
            Data {
                problem: Some(format!("The dataset cannot be read: {}.", chain(&err))),
                ..Data::default()
            }
        }
    }
}

/// Falls back to rows where seconds do not add up to anything that can be shown.
fn counted_in_rows(mut data: Data) -> Data {
    let are_hours = data.sums.as_ref().is_none_or(charts::are_hours);
    if let Some(seconds) = data.columns.seconds.take_if(|_| !are_hours) {
        data.no_hours = Some(format!(
            "Hours cannot be shown: the values of {seconds} add up to more than time has lasted."
        ));
        for it in data.sums.iter_mut().flat_map(|it| &mut it.partitions) {
            let groups = it.groups.iter_mut().flat_map(|it| it.values_mut());
            groups.chain([&mut it.all]).for_each(|it| it.sum = 0.0);
        }
    }
    data
}

fn stream(
    stream: &Stream,
    data: &Data,
    id: &str,
    templates: &Templates,
) -> Result<StreamView, Error> {
    let mut parts = Vec::new();
    let is_past = data.later_run.is_some();
    let sums = data.sums.as_ref().filter(|it| it.partitions.iter().any(|it| it.all.rows > 0));
    if let Some(sums) = sums {
        parts.extend(standing(stream, data, sums, id, templates)?);
    }
    if let Some(sums) = sums.filter(|_| stream.changes.is_some() && stream.status != "failed") {
        parts.push(templates.figure(&charts::changes(
            &format!("{id}-changes"),
            sums,
            stream,
            is_past,
        ))?);
    }
    if stream.slices.total > 0 {
        let names: Vec<&String> = stream.gone.iter().take(NAMED).collect();
        let title = "How slices ended";
        let names_title =
            format!("Parents to which access is lost ({})", count(stream.slices.gone));
        let outcomes = times::reconciliation(stream);
        let text = templates.render(
            "outcomes.html",
            context! { title, parts => value(&outcomes), names => value(&names), names_title },
        )?;
        parts.push(Value::from_safe_string(text));
    }
    if let Some(timeline) = stream.timeline.as_ref().filter(|it| !it.slices.is_empty()) {
        parts.push(templates.figure(&times::slices(&format!("{id}-slices"), stream, timeline))?);
        parts.push(templates.figure(&times::load(&format!("{id}-load"), timeline))?);
    }
    if let Some(latency) = stream.latency.as_ref().filter(|it| !it.classes.is_empty()) {
        parts.push(templates.figure(&times::latency(&format!("{id}-latency"), latency))?);
    }
    let rejects = charts::rejects(stream);
    if !rejects.is_empty() {
        let desc = stream.quarantine.as_ref().map(|it| format!("The records are in {it}, whole."));
        let desc = desc.unwrap_or_default();
        parts.push(templates.ranking(
            "Records that did not fit, by column and reason",
            &desc,
            &rejects,
            "failed",
        )?);
    }
    Ok(StreamView {
        id: id.to_owned(),
        name: stream.name.clone(),
        status: status(&stream.status).to_owned(),
        yesterday: sums.and_then(charts::yesterday),
        cards: cards::cards(stream, sums, is_past),
        notes: notes(stream, data),
        parts,
    })
}

/// Hours or rows of the dataset.
fn standing(
    stream: &Stream,
    data: &Data,
    sums: &Sums,
    id: &str,
    templates: &Templates,
) -> Result<Vec<Value>, Error> {
    let Columns { seconds, person, project } = &data.columns;
    // The columns that are there, in the order in which they were asked for.
    let person_at = person.as_ref().map(|_| 0);
    let project_at = project.as_ref().map(|_| usize::from(person.is_some()));
    let measure = if seconds.is_some() { charts::of_hours } else { charts::of_rows };
    let what = if seconds.is_some() { "Hours" } else { "Rows" };
    let unit = charts::word(sums.unit);
    let by = person.as_ref().or(project.as_ref());
    let mut parts = Vec::new();
    if seconds.is_some() || by.is_some() {
        let group = person_at.or(project_at);
        let title = match by {
            Some(by) => format!("{what} per {unit}, by {by}"),
            None => format!("{what} per {unit}"),
        };
        let figure =
            charts::by_partition(&format!("{id}-days"), &title, sums, stream, &measure(group));
        parts.push(templates.figure(&figure)?);
    }
    for (column, at, class) in [(person, person_at, "c0"), (project, project_at, "c2")] {
        let (Some(column), Some(_)) = (column, at) else { continue };
        let lines = charts::ranking(sums, &measure(at));
        let title = format!("{what} by {column}, of the last {} {unit}s", sums.partitions.len());
        parts.push(templates.ranking(&title, "", &lines, class)?);
    }
    Ok(parts)
}

fn status(it: &str) -> &'static str {
    match it {
        "published" => "published",
        "planned" => "planned, not published",
        "read" => "read for its children only",
        _ => "not published",
    }
}

/// What is worth a line beside the charts.
fn notes(stream: &Stream, data: &Data) -> Vec<String> {
    let mut notes = Vec::new();
    let Columns { seconds, .. } = &data.columns;
    if let Some(sums) = &data.sums {
        let unit = charts::word(sums.unit);
        let of =
            seconds.as_ref().map(|it| format!("; hours are those of {it}")).unwrap_or_default();
        let last = sums.partitions.last().map(|it| charts::called(&it.partition, sums.unit).0);
        notes.push(format!(
            "The dataset's last {} {unit}s, up to {}{of}.",
            sums.partitions.len(),
            last.unwrap_or_default()
        ));
        let beside = [
            (sums.earlier, "in earlier partitions"),
            (sums.later, "in later partitions"),
            (sums.undated, "in no partition of time"),
        ];
        let beside: Vec<String> = beside
            .into_iter()
            .filter(|it| it.0 > 0)
            .map(|(rows, place)| format!("{} {place}", counted(rows, "row")))
            .collect();
        if !beside.is_empty() {
            notes.push(format!("Not shown: {}.", beside.join(", ")));
        }
    } else if data.problem.is_none() && stream.status == "published" {
        notes.push("The dataset has no rows.".to_owned());
    }
    if let Some(later) = &data.later_run {
        notes.push(format!(
            "The dataset has changed since this run, last by run {later}: of this run only the rows that it added, changed and \
             removed are shown."
        ));
    }
    notes.extend(data.no_hours.iter().chain(&data.problem).cloned());
    if stream.changes.is_none() {
        notes.push(
            "The version of tracklake that made this run did not record the times of slices and requests, nor \
             what changed in each partition."
                .to_owned(),
        );
    }
    if stream.held_back > 0 {
        notes.push(format!(
            "{} not written, because records of the same slice did not fit.",
            counted(stream.held_back, "row")
        ));
    }
    if stream.marked > 0 {
        notes.push(format!("{} marked as deleted, and stay.", counted(stream.marked, "row")));
    }
    if stream.redated > 0 {
        notes.push(format!("{} moved to another partition.", counted(stream.redated, "row")));
    }
    notes
}

fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true).replace('T', " ").replace('Z', " UTC")
}

/// The templates of a page; whatever is put into them is escaped.
struct Templates(Environment<'static>);

impl Templates {
    fn new() -> Result<Self, Error> {
        let mut environment = Environment::new();
        // Also in pictures, which are a part of the page.
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        for (name, text) in [
            ("page.html", include_str!("page.html")),
            ("figure.html", include_str!("figure.html")),
            ("ranking.html", include_str!("ranking.html")),
            ("outcomes.html", include_str!("outcomes.html")),
            ("plot.svg", include_str!("plot.svg")),
        ] {
            environment.add_template(name, text).map_err(|err| internal(&err))?;
        }
        Ok(Self(environment))
    }

    fn render(&self, name: &str, context: Value) -> Result<String, Error> {
        let template = self.0.get_template(name).map_err(|err| internal(&err))?;
        template.render(context).map_err(|err| internal(&err))
    }

    fn figure(&self, figure: &Figure) -> Result<Value, Error> {
        let Figure { plot, legend, table } = figure;
        let svg = Value::from_safe_string(self.render("plot.svg", value(plot))?);
        let text = self.render(
            "figure.html",
            context! { plot => value(plot), legend => value(legend), table => value(table), svg },
        )?;
        Ok(Value::from_safe_string(text))
    }

    fn ranking(
        &self,
        title: &str,
        desc: &str,
        lines: &[Ranked],
        class: &str,
    ) -> Result<Value, Error> {
        let text =
            self.render("ranking.html", context! { title, desc, lines => value(&lines), class })?;
        Ok(Value::from_safe_string(text))
    }
}

fn value<T: Serialize>(it: &T) -> Value {
    Value::from(Serde(it))
}

fn internal(err: &minijinja::Error) -> Error {
    Error::Internal(format!("a page cannot be drawn: {err:#}"))
}
