//! The thread that writes a stream: rows and rejects in, staged files out.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{
    reader::{Queued, QueuedPage},
    settle::Settling,
};
use crate::{
    load::{
        QuarantineWriter, RejectedRecord, SpoolWriter, SpooledPage, SpooledReject, StagedStream,
        StreamWriter, WriteError,
    },
    transform::Reject,
};

/// The thread that writes a stream.
pub(super) type Writing = tokio::task::JoinHandle<Written>;

/// What that thread leaves.
pub(super) struct Written {
    /// Nothing where the stream is not to be published.
    pub(super) staged: Result<Option<(StagedStream, Duration)>, WriteError>,
    /// Published whatever becomes of the rows: it says why they did not fit.
    pub(super) quarantine: QuarantineWriter,
    /// How long it had to do with pages as they came.
    pub(super) partitioning: Duration,
}

/// Takes rows and rejects until the stream has no more, then sorts, merges and stages them.
pub(super) fn write(
    writer: StreamWriter,
    mut quarantine: QuarantineWriter,
    settling: &Settling,
    mut spool: SpoolWriter,
    queue: mpsc::UnboundedReceiver<Queued>,
) -> Written {
    let mut partitioning = Duration::ZERO;
    let staged = stage(writer, &mut quarantine, settling, &mut spool, queue, &mut partitioning);
    Written { staged, quarantine, partitioning }
}

fn stage(
    mut writer: StreamWriter,
    quarantine: &mut QuarantineWriter,
    settling: &Settling,
    spool: &mut SpoolWriter,
    mut queue: mpsc::UnboundedReceiver<Queued>,
    partitioning: &mut Duration,
) -> Result<Option<(StagedStream, Duration)>, WriteError> {
    while let Some(queued) = next(&mut queue, spool)? {
        let started = Instant::now();
        match queued {
            Queued::Page { page, room } => {
                let QueuedPage { slice, key, page, records, batch, rejects, context } = page;
                for reject in &rejects {
                    quarantine.write(RejectedRecord {
                        slice: &slice,
                        page,
                        position: reject.position,
                        column: reject.column.as_deref(),
                        reason: &reject.reason,
                        raw: &reject.raw,
                        masked: &reject.masked,
                        context: &context,
                    })?;
                    settling.reject(&reject.raw, &reject.masked, &context)?;
                }
                match key {
                    None => writer.write(batch)?,
                    Some(slice) => {
                        let rejects = rejects.into_iter().map(spooled).collect();
                        let page = SpooledPage { slice, page, records, batch, rejects };
                        spool.page(&page)?;
                        writer.write(page.batch)?;
                    }
                }
                drop(room);
            }
            Queued::SliceEnd { key, end } => spool.end(&key, end)?,
            Queued::End { scopes, rewrite } => {
                // What follows takes long enough to be killed in.
                spool.flush()?;
                return Ok(Some((writer.finish(&scopes, rewrite)?, started.elapsed())));
            }
        }
        *partitioning += started.elapsed();
    }
    Ok(None)
}

/// The next of the queue. Before it waits, what is finished is safe from a kill.
fn next(
    queue: &mut mpsc::UnboundedReceiver<Queued>,
    spool: &mut SpoolWriter,
) -> Result<Option<Queued>, WriteError> {
    if let Ok(queued) = queue.try_recv() {
        return Ok(Some(queued));
    }
    spool.flush()?;
    Ok(queue.blocking_recv())
}

fn spooled(reject: Reject) -> SpooledReject {
    let Reject { position, column, reason, raw, masked } = reject;
    SpooledReject { position, column, reason, raw, masked }
}
