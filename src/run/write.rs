//! The thread that writes a stream: rows and rejects in, staged files out.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::reader::Queued;
use crate::load::{QuarantineWriter, RejectedRecord, StagedStream, StreamWriter, WriteError};

/// The thread that writes a stream.
pub(super) type Writing = tokio::task::JoinHandle<Written>;

/// What that thread leaves.
pub(super) struct Written {
    /// Nothing where the stream is not to be published.
    pub(super) staged: Result<Option<(StagedStream, Duration)>, WriteError>,
    /// Published whatever becomes of the rows: it says why they did not fit.
    pub(super) quarantine: QuarantineWriter,
}

/// Takes rows and rejects until the stream has no more, then sorts, merges and stages them.
pub(super) fn write(
    writer: StreamWriter,
    mut quarantine: QuarantineWriter,
    queue: mpsc::UnboundedReceiver<Queued>,
) -> Written {
    let staged = stage(writer, &mut quarantine, queue);
    Written { staged, quarantine }
}

fn stage(
    mut writer: StreamWriter,
    quarantine: &mut QuarantineWriter,
    mut queue: mpsc::UnboundedReceiver<Queued>,
) -> Result<Option<(StagedStream, Duration)>, WriteError> {
    while let Some(queued) = queue.blocking_recv() {
        match queued {
            Queued::Page { batch, rejects, room } => {
                for it in &rejects {
                    quarantine.write(RejectedRecord {
                        slice: &it.slice,
                        page: it.page,
                        position: it.reject.position,
                        column: it.reject.column.as_deref(),
                        reason: &it.reject.reason,
                        raw: &it.reject.raw,
                    })?;
                }
                writer.write(batch)?;
                drop(room);
            }
            Queued::End { scopes, rewrite } => {
                let started = Instant::now();
                return Ok(Some((writer.finish(&scopes, rewrite)?, started.elapsed())));
            }
        }
    }
    Ok(None)
}
