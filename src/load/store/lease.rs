//! A lease: the lock of an object store, which a process that died cannot hold.
//!
//! ```text
//! _tracklake/<pipeline>/lock   {"holder":"run r1 (pid 7 on a)","epoch":4,"recovered":4,"seconds":60,…}
//!   taken      If-None-Match, or If-Match on what was seen: of two that want it one gets it
//!   renewed    every sixth of its length, by If-Match
//!   dead       not renewed for its length by the store's own clock: free to be taken
//!   fencing    the holder begins no change once its last renewal is two thirds of the length ago,
//!              and gives up what is under way at five sixths
//! ```
//!
//! No two hosts' clocks are ever compared. How old a renewal is comes from the store: the time of
//! the lease against that of an object that was written just now. From then on one's own clock
//! counts, which cannot be set, and a renewal that is seen meanwhile shows that the holder lives.
//!
//! The epoch grows by one with each taking. A commit carries its epoch, so that one that was
//! on its way while its run was paused, and arrives after a later run has looked for such, is void.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use object_store::{
    ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, UpdateVersion, path::Path,
};
use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;
use tracing::warn;

use super::{
    connect::{again, wait},
    pulse::{Moment, Pulse},
    refusal::{Refusal, RefusalKind},
};

/// What the object says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Lease {
    /// The run that has it; nobody where it was let go of.
    holder: Option<String>,
    /// How often it was taken.
    epoch: u64,
    /// The last epoch in which unfinished commits were looked for.
    recovered: u64,
    /// Its length.
    seconds: f64,
    /// Tells one taking from another that has the same text otherwise.
    nonce: String,
    /// Counts renewals, so that each is another content.
    beat: u64,
}

/// Where a lease is, and how it is written.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    pub(super) store: Arc<dyn ObjectStore>,
    /// Does not try for long.
    pub(super) first: Arc<dyn ObjectStore>,
    pub(super) key: Path,
    pub(super) length: Duration,
    /// Whether the store heeds conditions.
    pub(super) is_conditional: bool,
}

#[derive(Debug)]
struct State {
    lease: Lease,
    version: UpdateVersion,
}

/// A lease that is held.
#[derive(Debug)]
pub(super) struct Held {
    desk: Desk,
    pub(super) epoch: u64,
    /// As it was when the lease was taken.
    pub(super) recovered: u64,
    pub(super) pulse: Pulse,
    state: tokio::sync::Mutex<State>,
}

/// Keeps a lease until it is dropped.
#[derive(Debug)]
pub(in crate::load) struct Keeper {
    held: Arc<Held>,
    heart: Option<AbortHandle>,
}

/// How often a lease that seems to be free may be refused.
const REFUSED: u32 = 8;

/// What came of trying to take a lease.
#[derive(Debug)]
pub(super) enum Taking {
    Taken(Keeper),
    /// Another run has it, and lives.
    Refused(String),
}

/// What is seen of a lease that another run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Renewed since it was first seen.
    Alive,
    /// Not renewed for its whole length.
    Dead,
    /// Look again.
    Unknown,
}

/// Judges a lease that was first seen with `left` of its time to go, `waited` ago.
fn judge(is_renewed: bool, left: Duration, waited: Duration) -> Verdict {
    match is_renewed {
        true => Verdict::Alive,
        false if waited >= left => Verdict::Dead,
        false => Verdict::Unknown,
    }
}

/// How much time a lease has left, by the store's clock, whose times are whole seconds.
fn left(renewed: DateTime<Utc>, now: DateTime<Utc>, length: Duration) -> Duration {
    let age = (now - renewed - TimeDelta::seconds(1)).to_std().unwrap_or_default();
    length.saturating_sub(age)
}

fn length_of(lease: &Lease) -> Duration {
    Duration::try_from_secs_f64(lease.seconds.clamp(0.0, 86_400.0)).unwrap_or_default()
}

impl Desk {
    /// Finds out whether the store heeds conditions, with an object of its own at `key`: refuses what does
    /// not hold, and does what does.
    pub(super) async fn heeds_conditions(&self, key: &Path) -> Result<bool, Refusal> {
        let heeds = self.try_conditions(key).await;
        remove(&*self.store, key).await?;
        heeds
    }

    async fn try_conditions(&self, key: &Path) -> Result<bool, Refusal> {
        let Some(old) = self.put_here(key, "1", PutMode::Create).await? else { return Ok(false) };
        let again = self.ask(key, "1", PutMode::Create).await?;
        let new = self.put_here(key, "2", PutMode::Overwrite).await?;
        let Some(new) = new else { return Ok(false) };
        let stale = self.ask(key, "3", PutMode::Update(old)).await?;
        let fresh = self.put_here(key, "4", PutMode::Update(new)).await?;
        let are_refused = matches!((again, stale), (Answer::Refused, Answer::Refused));
        Ok(are_refused && fresh.is_some())
    }

    /// The version of what was put, or `None` where it was refused.
    async fn put_here(
        &self,
        key: &Path,
        body: &str,
        mode: PutMode,
    ) -> Result<Option<UpdateVersion>, Refusal> {
        match self.ask(key, body, mode).await? {
            Answer::Done(version) => return Ok(Some(version)),
            Answer::Unsupported => return Ok(None),
            Answer::Refused => {}
        }
        // An answer that got lost was asked for again, and ours is there.
        let refused = |err| Refusal::of(&err);
        let found = match self.store.get(key).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(refused)?,
        };
        let version = version(&found.meta);
        let content = found.bytes().await.map_err(refused)?;
        Ok((content == body.as_bytes()).then_some(version))
    }

    async fn ask(&self, key: &Path, body: &str, mode: PutMode) -> Result<Answer, Refusal> {
        let payload = || PutPayload::from(body.to_owned());
        let mut answer = self.first.put_opts(key, payload(), mode.clone().into()).await;
        if let Err(err) = &answer
            && !matches!(Refusal::of(err).kind, RefusalKind::Condition | RefusalKind::Unsupported)
        {
            answer = self.store.put_opts(key, payload(), mode.into()).await;
        }
        match answer {
            Ok(it) => Ok(Answer::Done(it.into())),
            Err(err) => {
                let refusal = Refusal::of(&err);
                match refusal.kind {
                    RefusalKind::Condition => Ok(Answer::Refused),
                    RefusalKind::Unsupported => Ok(Answer::Unsupported),
                    _ => Err(refusal),
                }
            }
        }
    }

    async fn put(
        &self,
        lease: &Lease,
        mode: PutMode,
    ) -> Result<Result<UpdateVersion, Refusal>, Refusal> {
        let mode = if self.is_conditional { mode } else { PutMode::Overwrite };
        let text = serde_json::to_string(lease)
            .map_err(|err| Refusal::new(RefusalKind::Other, err.to_string()))?;
        let put = self.store.put_opts(&self.key, PutPayload::from(text), mode.into()).await;
        match put {
            Ok(it) => Ok(Ok(it.into())),
            Err(err) => {
                let refusal = Refusal::of(&err);
                match refusal.kind {
                    RefusalKind::Condition | RefusalKind::NotFound => Ok(Err(refusal)),
                    _ => Err(refusal),
                }
            }
        }
    }

    /// The lease, its version, and when the store got it.
    async fn get(&self) -> Result<Option<(Lease, UpdateVersion, DateTime<Utc>)>, Refusal> {
        let refused = |err| Refusal::of(&err);
        let get = async || {
            let found = self.store.get(&self.key).await?;
            Ok((version(&found.meta), found.meta.last_modified, found.bytes().await?))
        };
        let (version, renewed, content) = match again(get).await.map_err(refused) {
            Ok(found) => found,
            Err(refusal) if refusal.kind == RefusalKind::NotFound => return Ok(None),
            Err(refusal) => return Err(refusal),
        };
        let lease = serde_json::from_slice(&content).map_err(|_| {
            Refusal::new(RefusalKind::Other, "it is no lease of tracklake's: remove it")
        })?;
        Ok(Some((lease, version, renewed)))
    }

    /// The store's clock.
    async fn now(&self, probe: &Path) -> Result<DateTime<Utc>, Refusal> {
        let refused = |err| Refusal::of(&err);
        let text = PutPayload::from(nonce());
        self.store.put(probe, text).await.map_err(refused)?;
        let now = self.store.head(probe).await.map_err(refused)?.last_modified;
        remove(&*self.store, probe).await?;
        Ok(now)
    }

    /// Takes the lease. Where another run has it, waits until that is seen to live, or to be dead.
    pub(super) async fn take(self, holder: &str, probe: &Path) -> Result<Taking, Refusal> {
        let mut first: Option<(String, u64, Moment, Duration)> = None;
        let mut refused = 0;
        loop {
            let started = Moment::now();
            let found = self.get().await?;
            let mode = match &found {
                None => PutMode::Create,
                Some((lease, version, _)) if lease.holder.is_none() => {
                    PutMode::Update(version.clone())
                }
                Some((lease, version, renewed)) => {
                    let (nonce, beat, since, left) = if let Some(it) = &first {
                        it
                    } else {
                        let left = left(*renewed, self.now(probe).await?, length_of(lease));
                        if !left.is_zero() {
                            warn!(
                                "{} has the pipeline: waiting up to {} s to see whether it is alive",
                                lease.holder.as_deref().unwrap_or("another run"),
                                left.as_secs() + 1
                            );
                        }
                        first.insert((lease.nonce.clone(), lease.beat, started, left))
                    };
                    let is_renewed = (&lease.nonce, lease.beat) != (nonce, *beat);
                    match judge(is_renewed, *left, since.elapsed()) {
                        Verdict::Alive => {
                            return Ok(Taking::Refused(described(lease, *renewed)));
                        }
                        Verdict::Dead => PutMode::Update(version.clone()),
                        Verdict::Unknown => {
                            let pause = (length_of(lease) / 20).max(Duration::from_millis(50));
                            tokio::time::sleep(pause).await;
                            continue;
                        }
                    }
                }
            };
            let before = found.map(|it| it.0);
            if let Some(Lease { holder: Some(holder), .. }) = &before {
                warn!("the lease of {holder} has run out: it is taken over");
            }
            let lease = Lease {
                holder: Some(holder.to_owned()),
                epoch: before.as_ref().map_or(0, |it| it.epoch) + 1,
                recovered: before.as_ref().map_or(0, |it| it.recovered),
                seconds: self.length.as_secs_f64(),
                nonce: nonce(),
                beat: 0,
            };
            let version = match self.put(&lease, mode).await? {
                Ok(version) => version,
                // Another one was quicker, or an answer got lost and ours is there.
                Err(refusal) => match self.get().await? {
                    Some((found, version, _)) if found.nonce == lease.nonce => version,
                    Some((found, _, renewed)) if found.holder.is_some() => {
                        return Ok(Taking::Refused(described(&found, renewed)));
                    }
                    // Whoever was quicker has let go of it again, which does not go on for ever.
                    Some(_) | None if refused < REFUSED => {
                        refused += 1;
                        tokio::time::sleep(self.length / 60).await;
                        continue;
                    }
                    Some(_) | None => return Err(refusal),
                },
            };
            let held = Arc::new(Held {
                epoch: lease.epoch,
                recovered: lease.recovered,
                pulse: Pulse::new(started, self.length),
                state: tokio::sync::Mutex::new(State { lease, version }),
                desk: self,
            });
            let heart = tokio::spawn(keep(Arc::clone(&held))).abort_handle();
            return Ok(Taking::Taken(Keeper { held, heart: Some(heart) }));
        }
    }

    /// Who has the lease, as far as the clock of this host can tell.
    pub(super) async fn holder(&self, now: DateTime<Utc>) -> Result<Option<String>, Refusal> {
        let Some((lease, _, renewed)) = self.get().await? else { return Ok(None) };
        let is_over = left(renewed, now, length_of(&lease)).is_zero();
        Ok((lease.holder.is_some() && !is_over).then(|| described(&lease, renewed)))
    }

    /// The epoch before which commits are void; nothing where no lease was ever taken.
    pub(super) async fn recovered(&self) -> Result<Option<u64>, Refusal> {
        Ok(self.get().await?.map(|(lease, ..)| lease.recovered))
    }
}

enum Answer {
    Done(UpdateVersion),
    Refused,
    Unsupported,
}

fn version(meta: &object_store::ObjectMeta) -> UpdateVersion {
    UpdateVersion { e_tag: meta.e_tag.clone(), version: meta.version.clone() }
}

async fn remove(store: &dyn ObjectStore, key: &Path) -> Result<(), Refusal> {
    match store.delete(key).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(err) => Err(Refusal::of(&err)),
    }
}

/// A name of its own.
pub(super) fn nonce() -> String {
    format!("{:016x}", fastrand::u64(..))
}

fn described(lease: &Lease, renewed: DateTime<Utc>) -> String {
    let holder = lease.holder.as_deref().unwrap_or("another run");
    let end = renewed + TimeDelta::from_std(length_of(lease)).unwrap_or_default();
    let (renewed, end) = (renewed.format("%H:%M:%S"), end.format("%H:%M:%S"));
    format!(
        "{holder}, whose lease was renewed at {renewed} UTC and ends at {end} unless it goes on"
    )
}

/// Renews a lease until it is lost.
async fn keep(held: Arc<Held>) {
    loop {
        tokio::time::sleep(held.desk.length / 6).await;
        while let Err(refusal) = held.write(|_| {}).await {
            if refusal.kind == RefusalKind::LeaseLost {
                warn!("{refusal}");
                return;
            }
            warn!("the lease could not be renewed yet: {refusal}");
            tokio::time::sleep(held.desk.length / 24).await;
        }
    }
}

impl Held {
    /// Changes and renews the lease.
    async fn write(&self, change: impl FnOnce(&mut Lease)) -> Result<(), Refusal> {
        let mut state = self.state.lock().await;
        let mut lease = state.lease.clone();
        change(&mut lease);
        lease.beat += 1;
        let within = self.desk.length / 6;
        // Twice, because the answer to the last renewal may have got lost.
        for _ in 0..2 {
            let started = Moment::now();
            let put = self.desk.put(&lease, PutMode::Update(state.version.clone()));
            let Ok(put) = tokio::time::timeout(within, put).await else {
                return Err(Refusal::plain(RefusalKind::Dropped));
            };
            match put? {
                Ok(version) => {
                    *state = State { lease, version };
                    self.pulse.beat(started);
                    return Ok(());
                }
                Err(_) => match self.desk.get().await? {
                    Some((found, version, _)) if found.nonce == lease.nonce => {
                        state.version = version;
                    }
                    Some(_) | None => break,
                },
            }
        }
        self.pulse.lose();
        Err(Refusal::plain(RefusalKind::LeaseLost))
    }

    /// Asks the store whether the lease is still ours.
    pub(super) async fn check(&self) -> Result<(), Refusal> {
        let state = self.state.lock().await;
        match self.desk.get().await? {
            Some((found, ..)) if found.nonce == state.lease.nonce => Ok(()),
            Some(_) | None => {
                self.pulse.lose();
                Err(Refusal::plain(RefusalKind::LeaseLost))
            }
        }
    }

    /// From now on commits of earlier epochs are void.
    pub(super) async fn recovered(&self) -> Result<(), Refusal> {
        let epoch = self.epoch;
        self.write(|it| it.recovered = epoch).await
    }
}

impl Keeper {
    pub(super) fn held(&self) -> &Arc<Held> {
        &self.held
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(heart) = self.heart.take() {
            heart.abort();
        }
        if self.held.pulse.is_lost() {
            return;
        }
        let held = Arc::clone(&self.held);
        // What cannot be let go of now runs out.
        let _ = wait(async move {
            let free = held.write(|it| it.holder = None);
            let _ = tokio::time::timeout(Duration::from_secs(10), free).await;
        });
    }
}

#[cfg(test)]
mod tests;
