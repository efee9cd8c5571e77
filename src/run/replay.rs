//! Records in quarantine, decoded again with the columns of today: what fits is published.
//!
//! ```text
//! r1.jsonl   id 2  hours "8h"       fits now                      -> published, leaves quarantine
//!            id 3  hours "many"     still does not fit            -> stays, with its new reason
//! r0.jsonl   id 7  hours "1h"       the source was read since     -> stays: only a run knows
//! ```
//!
//! A record is published only where the dataset is known to lack exactly it. That is so while the
//! run that rejected it is the one that has published last; and as long as nothing was read whole
//! since, also where a row says itself whether it is newer than the one that stands.
//!
//! Rows, and what becomes of quarantine, are one commit of the stream; it keeps the stream's state,
//! and completes the run that was there before. The parents among the rows were never followed: before
//! they are published, their children's states remember them for the next run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    Publish, Refresh, check_selection,
    feed::{ChildFeed, Parents},
    settle::has_context,
};
use crate::{
    error::Error,
    load::{
        Destination, Fate, Inspection, KeptReject, Published, Purpose, ReadScopes, RejectContext,
        Requarantine, Rewrite, StreamWriter, Unapplied, UnknownFiles,
    },
    plan::{Name, Plan, SliceContext, StreamPlan, WriteMode},
    state::StreamState,
    transform::{Decoded, Decoder, Reject},
};

/// How many runs are named where another one is asked for.
const NAMED_RUNS: usize = 5;

/// What a replay is asked for beside its plan.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// Identifies the replay to others that want the lock.
    pub run: String,
    /// The clock.
    pub now: DateTime<Utc>,
    /// The streams; empty for all.
    pub streams: Vec<Name>,
    /// Only what this run rejected.
    pub of_run: Option<String>,
    /// Bytes of memory for rows.
    pub memory_bytes: usize,
    /// Whether anything is published.
    pub purpose: Purpose,
}

/// What a replay did.
#[derive(Debug, Serialize)]
pub struct ReplayReport {
    /// The pipeline.
    pub pipeline: String,
    /// Whether it was published; a rehearsal only says what would be.
    pub is_published: bool,
    /// 0 where nothing of what was looked at stays in quarantine, 7 where something does.
    pub exit_code: u8,
    /// The commits of killed runs that were finished before.
    pub finished_commits: Vec<Unapplied>,
    /// The streams that have something in quarantine.
    pub streams: Vec<StreamReplay>,
}

/// What a replay did for one stream.
#[derive(Debug, Default, Serialize)]
pub struct StreamReplay {
    /// The stream.
    pub stream: String,
    /// Records that were looked at.
    pub records: u64,
    /// Records that fit now, and leave quarantine.
    pub published: u64,
    /// Their rows.
    pub rows: u64,
    /// Rows whose key did not stand; without a key, all.
    pub added: u64,
    /// Rows that take the place of another one.
    pub updated: u64,
    /// Rows that stand already.
    pub unchanged: u64,
    /// Rows that are dropped, because the one that stands is not known to be older, or is never changed.
    pub outdated: u64,
    /// Rows that are equal to, or older than, another one from quarantine.
    pub superseded: u64,
    /// The directories of the partitions that change.
    pub changed: Vec<String>,
    /// The streams that the next run asks for what belongs to the new rows.
    pub followed_by: Vec<String>,
    /// Records that stay, by why; the most frequent first.
    pub staying: Vec<Staying>,
}

/// Records that stay in quarantine for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Staying {
    /// The column that does not fit.
    pub column: Option<String>,
    /// Why, for a person.
    pub reason: String,
    /// Whether only a run can bring their rows, because it asks the source.
    pub needs_run: bool,
    /// How many.
    pub records: u64,
}

/// Why a record cannot be published without asking the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NeedsRun {
    NotPublished,
    Overtaken,
    AlsoReadWell,
    HeldBack,
    Masked,
    NoContext,
    RecordKey,
}

impl fmt::Display for NeedsRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPublished => "nothing else of its run is published",
            Self::Overtaken => "the stream was read again since",
            Self::AlsoReadWell => {
                "its run has read a row of its key well, and nothing says which is newer"
            }
            Self::HeldBack => "the other rows of its slice were held back",
            Self::Masked => "it is masked in quarantine",
            Self::NoContext => "quarantine does not say which slice's values it had",
            Self::RecordKey => "quarantine does not say which key it had among the records",
        })
    }
}

/// What is known of the dataset that records would go to.
#[derive(Debug, Clone, Copy, Default)]
struct Standing<'a> {
    /// The run that has published last, if any.
    run: Option<&'a str>,
    /// The last run that has read everything.
    read_whole_by: Option<&'a str>,
}

/// Whether a record may be published, or why not.
///
/// Runs are compared by their ids, which start with their time.
fn needs_run(
    stream: &StreamPlan,
    decoder: &Decoder,
    standing: Standing<'_>,
    record: &KeptReject,
) -> Option<NeedsRun> {
    let run = record.run.as_str();
    let Some(last) = standing.run.filter(|last| run <= *last) else {
        return Some(NeedsRun::NotPublished);
    };
    if !record.masked.is_empty() {
        return Some(NeedsRun::Masked);
    }
    // A record says itself that it is older than what stands, or does not replace that.
    let is_ordered = matches!(
        stream.write,
        WriteMode::Append { .. } | WriteMode::Merge { newest_by: Some(_), .. }
    );
    if run != last {
        // What went meanwhile must not come back.
        let is_gone = standing.read_whole_by.is_some_and(|whole| run <= whole);
        if !is_ordered || is_gone {
            return Some(NeedsRun::Overtaken);
        }
    }
    if record.context.as_ref().is_some_and(|it| it.also_read_well) && !is_ordered {
        return Some(NeedsRun::AlsoReadWell);
    }
    if record.context.as_ref().is_some_and(|it| it.held_back) {
        return Some(NeedsRun::HeldBack);
    }
    // Whether it was held back, or overtaken, is not known either of a file of an earlier version.
    let depends = stream.key().is_empty() || run != last;
    if !has_context(stream, record.context.as_ref()) || (depends && record.context.is_none()) {
        return Some(NeedsRun::NoContext);
    }
    decoder.needs_record_key().then_some(NeedsRun::RecordKey)
}

/// Refuses a run that has nothing in quarantine of these streams where others have.
pub fn check_quarantined(
    inspection: &Inspection,
    streams: &[Name],
    run: &str,
) -> Result<(), Error> {
    let mut known = BTreeSet::new();
    for stream in streams {
        known.extend(inspection.quarantined_runs(stream).map_err(Error::Inspect)?);
    }
    if known.is_empty() || known.contains(run) {
        return Ok(());
    }
    let mut known = Vec::from_iter(known);
    let last = known.split_off(known.len().saturating_sub(NAMED_RUNS));
    Err(Error::NotQuarantined {
        pipeline: inspection.pipeline().clone(),
        run: run.to_owned(),
        known: last,
        earlier: known.len(),
    })
}

/// Publishes what fits now of the records that runs have rejected.
///
/// # Errors
///
/// What keeps a stream from being written; streams before it are published.
pub fn replay(plan: &Plan, options: &ReplayOptions) -> Result<ReplayReport, Error> {
    let ReplayOptions { run, now, streams, purpose, .. } = options;
    let destination = Destination::open(&plan.destination, &plan.pipeline, run, *now, *purpose)
        .map_err(Error::Write)?;
    let inspection = destination.inspection();
    if let Some(run) = &options.of_run {
        let wanted = plan.streams.iter().map(|it| it.name.clone());
        let wanted: Vec<_> =
            wanted.filter(|it| streams.is_empty() || streams.contains(it)).collect();
        check_quarantined(&inspection, &wanted, run)?;
    }
    let mut chosen = Vec::new();
    for stream in &plan.streams {
        let is_wanted = streams.is_empty() || streams.contains(&stream.name);
        if is_wanted && inspection.quarantine(&stream.name).map_err(Error::Inspect)?.records > 0 {
            // All of them before anything is changed.
            destination.check(stream, UnknownFiles::Refused).map_err(Error::Write)?;
            for (child, ..) in children(plan, stream) {
                destination.check(child, UnknownFiles::Refused).map_err(Error::Write)?;
            }
            chosen.push(stream);
        }
    }
    let mut replays = Vec::new();
    for stream in chosen {
        let stored = destination.state(&stream.name).map_err(Error::Write)?.unwrap_or_default();
        let state = StreamState::from_stored(stored.clone())
            .map_err(|source| Error::State { stream: stream.name.clone(), source })?;
        check_selection(stream, Publish::Yes, state.as_ref(), Refresh::Incremental)?;
        let published = inspection.stream(&stream.name).map_err(Error::Inspect)?;
        let standing = Standing {
            run: published.as_ref().map(|it| it.run.as_str()),
            read_whole_by: state.as_ref().and_then(|it| it.read_whole_by.as_deref()),
        };
        let writer = destination.stream(stream, options.memory_bytes).map_err(Error::Write)?;
        // Where versions are compared, records of older runs come, too: at a tie theirs is the older one. Elsewhere
        // only the last run's do, which read them after what stands.
        let is_compared = matches!(&stream.write, WriteMode::Merge { newest_by: Some(_), .. });
        let writer = if is_compared { writer.late() } else { writer };
        let mut quarantine = destination.requarantine(&stream.name);
        let mut sorting = Sorting {
            stream,
            decoder: Decoder::new(stream),
            standing,
            options,
            writer,
            report: StreamReplay::default(),
            staying: BTreeMap::new(),
            children: children(plan, stream),
        };
        quarantine.decide(|record| sorting.fate(record)).map_err(Error::Write)?;
        let run = standing.run.unwrap_or_default().to_owned();
        replays.push(sorting.finish(&destination, quarantine, run, &stored)?);
    }
    let stays = replays.iter().any(|it| !it.staying.is_empty());
    Ok(ReplayReport {
        pipeline: plan.pipeline.to_string(),
        is_published: *purpose == Purpose::Publish,
        exit_code: if stays { 7 } else { 0 },
        finished_commits: destination.finished().to_vec(),
        streams: replays,
    })
}

/// The records of one stream, on their way out of quarantine or back into it.
struct Sorting<'a> {
    stream: &'a StreamPlan,
    decoder: Decoder,
    standing: Standing<'a>,
    options: &'a ReplayOptions,
    writer: StreamWriter,
    report: StreamReplay,
    /// By column and reason, and whether a run is needed.
    staying: BTreeMap<(Option<String>, String, bool), u64>,
    /// The ways to the streams that follow the rows.
    children: Vec<(&'a StreamPlan, ChildFeed, Parents)>,
}

/// The ways from a stream to those that follow its rows.
fn children<'a>(plan: &'a Plan, parent: &StreamPlan) -> Vec<(&'a StreamPlan, ChildFeed, Parents)> {
    let feed = |child: &'a StreamPlan| {
        let slices = child.slices.parent().filter(|it| it.stream == parent.name)?;
        let (feed, parents) = ChildFeed::new(slices.bind.clone(), None);
        Some((child, feed, parents))
    };
    plan.streams.iter().filter_map(feed).collect()
}

/// Lets the next run ask for what belongs to `parents`, whether or not they change. A child that was
/// never published follows all of them then.
fn remember(
    destination: &Destination,
    child: &StreamPlan,
    mut parents: Parents,
    memory_bytes: usize,
) -> Result<bool, Error> {
    let damaged = |source| Error::State { stream: child.name.clone(), source };
    let stored = destination.state(&child.name).map_err(Error::Write)?.unwrap_or_default();
    let Some(mut state) = StreamState::from_stored(stored).map_err(damaged)? else {
        return Ok(false);
    };
    let before = state.pending.len();
    while let Ok(parent) = parents.try_recv() {
        let parent = parent.into();
        if !state.pending.contains(&parent) {
            state.pending.push(parent);
        }
    }
    if state.pending.len() == before {
        return Ok(false);
    }
    let published = destination.inspection().stream(&child.name).map_err(Error::Inspect)?;
    let run = published.map(|it| it.run).unwrap_or_default();
    let writer = destination.stream(child, memory_bytes).map_err(Error::Write)?;
    let staged = writer.finish(&ReadScopes::Nothing, Rewrite::Changed).map_err(Error::Write)?;
    let staged = staged.settling(run, destination.requarantine(&child.name));
    staged.publish(&state.to_stored().map_err(damaged)?).map_err(Error::Write)?;
    Ok(true)
}

impl Sorting<'_> {
    fn fate(&mut self, record: &KeptReject) -> Result<Fate, crate::load::WriteError> {
        if self.options.of_run.as_ref().is_some_and(|it| *it != record.run) {
            return Ok(Fate::Stays);
        }
        self.report.records += 1;
        if let Some(why) = needs_run(self.stream, &self.decoder, self.standing, record) {
            self.stays(None, &why.to_string(), true);
            return Ok(Fate::StaysAs(Box::new(self.masked(record))));
        }
        let RejectContext { parent, slice, .. } = record.context.clone().unwrap_or_default();
        let stays = match self.decoder.decode_record(&record.raw, &SliceContext { parent, slice }) {
            Ok(Decoded { batch, mut rejects, .. }) => match rejects.pop() {
                None => {
                    self.report.published += 1;
                    self.report.rows += batch.num_rows() as u64;
                    for (_, feed, _) in &self.children {
                        feed.send(&batch);
                    }
                    self.writer.write(batch)?;
                    return Ok(Fate::Leaves);
                }
                // Masks may have been added since the record was rejected.
                Some(Reject { column, reason, raw, masked, position: _ }) => {
                    KeptReject { column, reason, raw, masked, ..record.clone() }
                }
            },
            Err(err) => KeptReject { column: None, reason: err.to_string(), ..self.masked(record) },
        };
        self.stays(stays.column.clone(), &stays.reason, false);
        Ok(Fate::StaysAs(Box::new(stays)))
    }

    /// The record as today's masks show it: some may have been added since it was rejected.
    fn masked(&self, record: &KeptReject) -> KeptReject {
        let (raw, masked) = self.decoder.masked(&record.raw, &record.masked);
        KeptReject { raw, masked, ..record.clone() }
    }

    fn stays(&mut self, column: Option<String>, reason: &str, needs_run: bool) {
        // What was found is different in every record.
        let reason = reason.split(", found").next().unwrap_or_default().to_owned();
        *self.staying.entry((column, reason, needs_run)).or_default() += 1;
    }

    /// Publishes, and tells what became of the records.
    fn finish(
        self,
        destination: &Destination,
        quarantine: Requarantine,
        run: String,
        state: &serde_json::Value,
    ) -> Result<StreamReplay, Error> {
        let Self { stream, standing, options, writer, mut report, staying, children, .. } = self;
        let is_published = standing.run.is_some();
        report.stream = stream.name.to_string();
        report.staying = staying
            .into_iter()
            .map(|((column, reason, needs_run), records)| Staying {
                column,
                reason,
                needs_run,
                records,
            })
            .collect();
        report.staying.sort_by_key(|it| std::cmp::Reverse(it.records));
        if !quarantine.is_changed() {
            return Ok(report);
        }
        if !is_published {
            // No record fits: some have other masks now, and there is no dataset to go with.
            if options.purpose == Purpose::Publish {
                quarantine.publish().map_err(Error::Write)?;
            }
            return Ok(report);
        }
        // Of no slice everything was read: nothing goes.
        let staged = writer.finish(&ReadScopes::Nothing, Rewrite::Changed).map_err(Error::Write)?;
        if options.purpose == Purpose::Publish {
            // First: what is asked for in vain does no harm.
            for (child, _, parents) in children {
                if remember(destination, child, parents, options.memory_bytes)? {
                    report.followed_by.push(child.name.to_string());
                }
            }
        }
        report.added = staged.added;
        report.updated = staged.updated;
        report.unchanged = staged.unchanged;
        report.outdated = staged.outdated;
        report.superseded = staged.superseded + staged.duplicates;
        let staged = staged.settling(run, quarantine);
        let Published { changed, .. } = match options.purpose {
            Purpose::Publish => staged.publish(state),
            Purpose::Rehearse => staged.outcome(),
        }
        .map_err(Error::Write)?;
        report.changed = changed;
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{Inputs, load_text};

    /// A stream with this `write`, one column of its slice, and one of its record.
    fn stream(write: &str, records: &str) -> StreamPlan {
        let text = format!(
            "version: 1
pipeline: p
source: {{ base_url: http://127.0.0.1:1 }}
streams:
  s:
    request: {{ path: /s }}
    slices: {{ list: {{ as: mode, values: [a] }} }}
    records: {records}
    columns:
      id: {{ from: id, type: int64 }}
      mode: {{ from: slice.mode, type: string }}
      day: {{ from: day, type: date }}
    write: {write}
    partition_by: {{ column: day }}
destination: {{ path: out }}
"
        );
        let mut plan = load_text("p.yaml".as_ref(), &text, &Inputs::new([])).unwrap();
        plan.streams.remove(0)
    }

    fn record(run: &str, context: Option<RejectContext>) -> KeptReject {
        KeptReject {
            run: run.to_owned(),
            stream: "s".to_owned(),
            slice: "mode=a".to_owned(),
            page: 1,
            position: 0,
            column: None,
            reason: String::new(),
            raw: "{}".to_owned(),
            masked: Vec::new(),
            context,
        }
    }

    fn known() -> RejectContext {
        let slice = BTreeMap::from([("mode".to_owned(), json!("a"))]);
        RejectContext { slice, ..RejectContext::default() }
    }

    #[test]
    fn a_record_is_published_only_where_the_dataset_is_known_to_lack_it() {
        use NeedsRun::{NotPublished, Overtaken};

        const APPEND: &str = "{ append: { key: [id] } }";
        const NEWER: &str = "{ merge: { key: [id], newest_by: day } }";
        const MERGE: &str = "{ merge: { key: [id] } }";
        const SLICE: &str = "{ replace: { scope: slice, key: [id], by: { mode: slice.mode } } }";
        const KEYLESS: &str = "{ replace: { scope: slice, by: { mode: slice.mode } } }";
        // The record is of r2.
        for (last, whole, [append, newer, merge, slice, keyless]) in [
            (None, None, [Some(NotPublished); 5]),
            (Some("r1"), None, [Some(NotPublished); 5]),
            (Some("r2"), None, [None; 5]),
            (Some("r2"), Some("r1"), [None; 5]),
            (Some("r3"), None, [None, None, Some(Overtaken), Some(Overtaken), Some(Overtaken)]),
            (
                Some("r3"),
                Some("r1"),
                [None, None, Some(Overtaken), Some(Overtaken), Some(Overtaken)],
            ),
            (Some("r4"), Some("r3"), [Some(Overtaken); 5]),
        ] {
            for (write, expected) in [
                (APPEND, append),
                (NEWER, newer),
                (MERGE, merge),
                (SLICE, slice),
                (KEYLESS, keyless),
            ] {
                let stream = stream(write, "items");
                let standing = Standing { run: last, read_whole_by: whole };
                let found = needs_run(
                    &stream,
                    &Decoder::new(&stream),
                    standing,
                    &record("r2", Some(known())),
                );
                assert_eq!(found, expected, "{write}, last {last:?}, whole {whole:?}");
            }
        }
    }

    #[test]
    fn a_record_that_does_not_say_enough_is_left_to_a_run() {
        let keyed = stream("{ append: { key: [id] } }", "items");
        let standing = Standing { run: Some("r2"), read_whole_by: None };
        let found = |record| needs_run(&keyed, &Decoder::new(&keyed), standing, &record);

        assert_eq!(found(record("r2", Some(known()))), None);
        assert_eq!(found(record("r2", None)), Some(NeedsRun::NoContext));
        let other = Some(RejectContext::default());
        assert_eq!(found(record("r2", other)), Some(NeedsRun::NoContext));
        let held_back = Some(RejectContext { held_back: true, ..known() });
        assert_eq!(found(record("r2", held_back)), Some(NeedsRun::HeldBack));
        let keyless = stream("{ replace: { scope: slice, by: { mode: slice.mode } } }", "items");
        for (last, expected) in [("r2", NeedsRun::HeldBack), ("r3", NeedsRun::Overtaken)] {
            let held_back = Some(RejectContext { held_back: true, ..known() });
            let standing = Standing { run: Some(last), read_whole_by: None };
            let record = record("r2", held_back);
            let found = needs_run(&keyless, &Decoder::new(&keyless), standing, &record);
            assert_eq!(found, Some(expected), "last {last}");
        }
        let also_read_well = || Some(RejectContext { also_read_well: true, ..known() });
        assert_eq!(found(record("r2", also_read_well())), None, "a known key is left as it is");
        for (write, expected) in [
            ("{ merge: { key: [id] } }", Some(NeedsRun::AlsoReadWell)),
            ("{ merge: { key: [id], newest_by: day } }", None),
        ] {
            let stream = stream(write, "items");
            let record = record("r2", also_read_well());
            let found = needs_run(&stream, &Decoder::new(&stream), standing, &record);
            assert_eq!(found, expected, "{write}");
        }
        let masked =
            KeptReject { masked: vec!["user.email".to_owned()], ..record("r2", Some(known())) };
        assert_eq!(found(masked), Some(NeedsRun::Masked));
    }

    #[test]
    fn a_record_of_an_earlier_version_is_published_only_where_nothing_depends_on_its_slice() {
        for (write, last, expected) in [
            ("{ append: { key: [id] } }", "r2", None),
            ("{ append: { key: [id] } }", "r3", Some(NeedsRun::NoContext)),
            ("{ merge: { key: [id] } }", "r2", None),
            (
                "{ replace: { scope: slice, by: { mode: slice.mode } } }",
                "r2",
                Some(NeedsRun::NoContext),
            ),
        ] {
            let mut stream = stream(write, "items");
            stream.columns.retain(|it| it.name.as_str() != "mode");
            let standing = Standing { run: Some(last), read_whole_by: None };
            let found = needs_run(&stream, &Decoder::new(&stream), standing, &record("r2", None));
            assert_eq!(found, expected, "{write}, last {last}");
        }
    }
}
