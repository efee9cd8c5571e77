//! The slices of one stream, so that others can read them: parents are asked for, the stream itself is not.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::atomic::Ordering::Relaxed,
};

use chrono::{DateTime, Utc};

use super::{
    Progress, PullOptions,
    pull::{pulled, set_up, settle},
    slices::Batcher,
};
use crate::{
    error::Error,
    extract::{Extractor, Horizon, ParentValues, Slice, SliceAddress, part, slices},
    plan::{Name, Plan, StreamPlan, WindowStart},
};

/// The slices of a stream.
#[derive(Debug)]
pub struct Listing {
    /// Their addresses, in the order in which parents come.
    pub slices: Vec<SliceAddress>,
    /// Parents to which access is lost.
    pub gone: Vec<String>,
    /// Records of parents that did not fit, so that there is no slice of them.
    pub rejected: u64,
    /// Records of parents.
    pub records: u64,
}

/// Tells what a plan asks for a stream, and by which version of the program; credentials left out.
pub fn identity(plan: &Plan, stream: &Name) -> String {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    plan.fingerprint.hash(&mut hasher);
    stream.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Lists the slices of a stream, all of its parents included.
///
/// # Errors
///
/// Parents that cannot be read: a list without them would look like all.
pub async fn list(
    plan: &Plan,
    stream: &Name,
    options: &PullOptions,
    progress: &Progress,
    shutdown: impl Future<Output = ()>,
) -> Result<Listing, Error> {
    let horizon = Horizon { now: options.now, since: options.since, until: options.until };
    let until = match options.until {
        Some(WindowStart::At(instant)) => Some(instant),
        Some(WindowStart::On(_) | WindowStart::Ago(_)) | None => None,
    };
    let chosen = pulled(plan, stream, options);
    let mut readings = set_up(&chosen, progress, None);
    let target = readings.pop().ok_or_else(|| Error::Internal("no stream is listed".into()))?;
    let (target, parents) = (target.stream, target.parents);
    let Some(mut parents) = parents else {
        let slices = addresses(&parted(target, &horizon, until));
        return Ok(Listing { slices, gone: Vec::new(), rejected: 0, records: 0 });
    };
    for root in readings.iter_mut().filter(|it| it.parents.is_none()) {
        root.given = Some(parted(root.stream, &horizon, until));
    }
    let extractor = Extractor::new(plan).map_err(|err| Error::Source(Box::new(err)))?;
    let at_once = plan.source.limits.max_in_flight.max(1);
    let reading = readings.into_iter().map(|it| it.run(&extractor, horizon, at_once));
    let collecting = async {
        let mut batcher = Batcher::new(&target.slices);
        let mut found = Vec::new();
        let of = |parent: ParentValues| addresses(&slices(&target.slices, &horizon, &parent));
        while let Some(parent) = parents.recv().await {
            found.extend(batcher.add(parent.into()).map(of).into_iter().flatten());
        }
        found.extend(batcher.rest().map(of).into_iter().flatten());
        found
    };
    let (read, slices) = tokio::select! {
        done = futures::future::join(futures::future::join_all(reading), collecting) => done,
        () = shutdown => return Err(Error::PullInterrupted),
    };
    let (gone, error) = settle(read);
    if let Some(err) = error {
        return Err(err);
    }
    // The last is the stream itself.
    let of_parents = &progress.streams[..progress.streams.len().saturating_sub(1)];
    let rejected = of_parents.iter().map(|it| it.rejected.load(Relaxed)).sum();
    let records = of_parents.iter().map(|it| it.records.load(Relaxed)).sum();
    Ok(Listing { slices, gone, rejected, records })
}

/// The slices of a stream without parents, no row in two of them where a cursor can tell.
fn parted(stream: &StreamPlan, horizon: &Horizon, until: Option<DateTime<Utc>>) -> Vec<Slice> {
    let mut slices = slices(&stream.slices, horizon, &ParentValues::new());
    if stream.cursor.is_some() {
        part(&mut slices, until);
    }
    slices
}

fn addresses(slices: &[Slice]) -> Vec<SliceAddress> {
    slices.iter().map(SliceAddress::of).collect()
}
