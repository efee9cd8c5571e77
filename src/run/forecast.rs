//! What a run would ask and what it could change, from the state on disk: nothing is sent, nothing is
//! held.
//!
//! ```text
//! state      cursor 2024-07-24, lookback 1d       issues: one slice, from 2024-07-23
//!            pending parents TEST-7               worklogs: TEST-7, and one slice a row of `issues`
//! manifest   181 partitions stand                 any of them, where the slices do not say which
//! ```

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use super::{
    Publish, RESUME_MAX_AGE, Refresh, RunOptions, check_selection, fingerprint, horizon, selected,
};
use crate::{
    error::Error,
    extract::{ExtractError, Extractor, ParentValues, Slice, slices},
    load::{Inspection, ResumeHeader, Rewrite, Unapplied, WriteError},
    plan::{Method, Name, Plan, ReplaceScope, ScopeSource, StreamPlan, WriteMode},
    state::StreamState,
};

/// The value of the partition of rows without a date, as Hive has it.
const NO_DATE: &str = "__HIVE_DEFAULT_PARTITION__";

/// What a run of a pipeline would ask, and what it could change.
#[derive(Debug, Serialize)]
pub struct Forecast {
    /// The pipeline.
    pub pipeline: String,
    /// Where it would write.
    pub output: String,
    /// Commits of a run that was killed; they are finished before anything is asked, and the rest is told as
    /// if they were not there.
    pub unapplied: Vec<Unapplied>,
    /// The run that has not ended and whose slices are not read again.
    pub goes_on: Option<GoesOn>,
    /// Parents before children.
    pub streams: Vec<StreamForecast>,
}

/// What an unfinished run has read.
#[derive(Debug, Serialize)]
pub struct GoesOn {
    /// The clock of that run, up to which windows reach.
    pub began: DateTime<Utc>,
    /// The streams of which it has kept slices.
    pub streams: Vec<String>,
    /// The bytes that are kept.
    pub bytes: u64,
}

/// What a run would ask for one stream.
#[derive(Debug, Serialize)]
pub struct StreamForecast {
    /// The stream.
    pub stream: String,
    /// Whether it would be written; otherwise it is read for its children only.
    pub is_written: bool,
    /// The stream of which each row that is read makes further slices.
    pub parent: Option<String>,
    /// The slices that are known; those of a child are what failed before.
    pub slices: Vec<String>,
    /// The fewest requests that these take: one each.
    pub requests: u64,
    /// The first of these, without credentials.
    pub first_request: Option<String>,
    /// The partitions that stand.
    pub standing_partitions: u64,
    /// Those of them that the run can change; nothing where it may be any of them.
    pub partitions: Option<Vec<String>>,
}

/// What a run with these options would do.
///
/// # Errors
///
/// What would keep the run from starting: state that cannot be read, or that is of another request,
/// and a dataset that the plan cannot go on with.
pub fn forecast(plan: &Plan, options: &RunOptions) -> Result<Forecast, Error> {
    let extractor = Extractor::new(plan).map_err(|err| Error::Source(Box::new(err)))?;
    let inspection =
        Inspection::open(&plan.destination.path, &plan.pipeline).map_err(Error::Inspect)?;
    let goes_on = match &inspection {
        Some(inspection) => goes_on(inspection, plan, options).map_err(Error::Inspect)?,
        None => None,
    };
    let now = goes_on.as_ref().map_or(options.now, |it| it.began);
    let options = &RunOptions { now, ..options.clone() };
    let chosen = selected(plan, &options.streams);
    let mut states = HashMap::new();
    let mut rewrites = HashMap::new();
    for (stream, publish) in &chosen {
        if let (Some(inspection), Publish::Yes) = (&inspection, publish) {
            let rewrite = inspection
                .check(stream, &plan.destination, options.unknown_files())
                .map_err(Error::Write)?;
            rewrites.insert(&stream.name, rewrite);
        }
        let summary = match &inspection {
            Some(inspection) => inspection.stream(&stream.name).map_err(Error::Inspect)?,
            None => None,
        };
        let stored = summary.map(|it| it.state).unwrap_or_default();
        let state = StreamState::from_stored(stored)
            .map_err(|source| Error::State { stream: stream.name.clone(), source })?;
        check_selection(stream, *publish, state.as_ref(), options.refresh)?;
        states.insert(&stream.name, state);
    }

    let mut streams = Vec::new();
    for (stream, publish) in &chosen {
        let horizon = horizon(options, stream, *publish, &chosen, &states);
        let parent = stream.slices.parent();
        let known = match parent {
            None => slices(&stream.slices, &horizon, &ParentValues::new()),
            Some(_) => pending(&states, stream)
                .flat_map(|it| slices(&stream.slices, &horizon, it))
                .collect(),
        };
        let first = known.first().map(|it| extractor.first_request(stream, it)).transpose();
        let first =
            first.map_err(|source| Error::Source(Box::new(ExtractError::Request(source))))?;
        let standing = match &inspection {
            Some(inspection) => inspection.partitions(&stream.name).map_err(Error::Inspect)?,
            None => Vec::new(),
        };
        streams.push(StreamForecast {
            stream: stream.name.to_string(),
            is_written: *publish == Publish::Yes,
            parent: parent.map(|it| it.stream.to_string()),
            requests: known.len() as u64,
            first_request: first.map(|it| {
                let method = match it.method {
                    Method::Get => "GET",
                    Method::Post => "POST",
                };
                format!("{method} {}", it.shown())
            }),
            standing_partitions: standing.len() as u64,
            partitions: match reach(stream, options, &known) {
                _ if rewrites.get(&stream.name) == Some(&Rewrite::All) => Some(standing),
                Reach::Any if !standing.is_empty() => None,
                Reach::Any | Reach::All => Some(standing),
                Reach::Dates(first, last) => {
                    Some(standing.into_iter().filter(|it| is_between(it, first, last)).collect())
                }
            },
            slices: known.into_iter().map(|it| it.id).collect(),
        });
    }
    Ok(Forecast {
        pipeline: plan.pipeline.to_string(),
        output: plan.destination.path.to_string(),
        unapplied: match &inspection {
            Some(inspection) => inspection.unapplied().map_err(Error::Inspect)?,
            None => Vec::new(),
        },
        goes_on: goes_on.filter(|it| !it.streams.is_empty()),
        streams,
    })
}

/// The run that this one would go on from.
fn goes_on(
    inspection: &Inspection,
    plan: &Plan,
    options: &RunOptions,
) -> Result<Option<GoesOn>, WriteError> {
    let own = ResumeHeader::new(fingerprint(plan, options), options.now);
    let header = inspection.resume_header()?.filter(|it| it.allows(&own, RESUME_MAX_AGE));
    let Some(header) = header else { return Ok(None) };
    // Without a slice that has ended it is gone on from by its clock alone.
    let kept = inspection.unfinished()?;
    let (streams, bytes) = kept.map(|it| (it.streams, it.bytes)).unwrap_or_default();
    Ok(Some(GoesOn { began: header.now, streams, bytes }))
}

/// The parents that are asked again whether or not they changed.
fn pending<'a>(
    states: &'a HashMap<&Name, Option<StreamState>>,
    stream: &StreamPlan,
) -> impl Iterator<Item = &'a ParentValues> {
    states.get(&stream.name).into_iter().flatten().flat_map(|it| &it.pending)
}

/// Which of the standing partitions a run can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// All of them are written anew.
    All,
    /// Whichever has a row that goes, or that takes the place of one.
    Any,
    /// Those with days from the first to the last.
    Dates(NaiveDate, NaiveDate),
}

/// What the slices say about the column that decides a row's partition.
fn reach(stream: &StreamPlan, options: &RunOptions, slices: &[Slice]) -> Reach {
    if options.rewrite == Rewrite::All {
        return Reach::All;
    }
    let column = &stream.partition.column;
    let is_bound = matches!(stream.write, WriteMode::Replace { scope: ReplaceScope::Slice, .. })
        && stream.scope.contains(&(column.clone(), ScopeSource::Window));
    // A row that comes with another date leaves the partition in which its key stands.
    let stays = stream.key().is_empty() || stream.key().contains(column);
    // What no slice asked for goes, wherever it stands.
    let removes_the_rest = options.refresh == Refresh::Full;
    if !is_bound || !stays || removes_the_rest {
        return Reach::Any;
    }
    let dates: Option<Vec<_>> = slices.iter().map(Slice::dates).collect();
    let dates = dates.unwrap_or_default();
    let (first, last) = (dates.iter().map(|it| it.0).min(), dates.iter().map(|it| it.1).max());
    first.zip(last).map_or(Reach::Any, |(first, last)| Reach::Dates(first, last))
}

/// Whether a partition, such as `date=2024-07`, has a day from `first` to `last`; that of rows without a
/// date may always get one.
fn is_between(partition: &str, first: NaiveDate, last: NaiveDate) -> bool {
    let Some((_, value)) = partition.split_once('=') else { return true };
    if value == NO_DATE {
        return true;
    }
    let (first, last) = (first.to_string(), last.to_string());
    let len = value.len().min(first.len());
    (&first[..len]..=&last[..len]).contains(&&value[..len])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_in_reach_if_one_of_its_days_is() {
        let date = |month, day| NaiveDate::from_ymd_opt(2024, month, day).unwrap();
        let (first, last) = (date(7, 30), date(8, 2));
        for (partition, expected) in [
            ("date=2024-07-29", false),
            ("date=2024-07-30", true),
            ("date=2024-08-02", true),
            ("date=2024-08-03", false),
            ("date=2024-07-30T23", true),
            ("date=2024-07", true),
            ("date=2024-09", false),
            ("date=2024", true),
            ("date=2023", false),
            ("date=__HIVE_DEFAULT_PARTITION__", true),
        ] {
            assert_eq!(is_between(partition, first, last), expected, "{partition}");
        }
    }
}
