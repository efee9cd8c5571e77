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
//! the lease against that of an object that was written just now. From then on one's own monotonic
//! clock counts, and a renewal that is seen meanwhile shows that the holder lives.
//!
//! The epoch grows by one with each taking. A commit carries its epoch, so that one that was
//! on its way while its run was paused, and arrives after a later run has looked for such, is void.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use object_store::{
    ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, UpdateVersion, path::Path,
};
use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;
use tracing::warn;

use super::{
    connect::{runtime, wait},
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

/// When a lease was last renewed, by the monotonic clock of this process.
#[derive(Debug)]
pub(super) struct Pulse {
    renewed: Mutex<Instant>,
    length: Duration,
    is_lost: AtomicBool,
}

impl Pulse {
    fn new(renewed: Instant, length: Duration) -> Self {
        Self { renewed: Mutex::new(renewed), length, is_lost: AtomicBool::new(false) }
    }

    fn age(&self) -> Duration {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn beat(&self, at: Instant) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Whether nobody else can have the lease yet.
    pub(super) fn is_sure(&self) -> bool {
        !self.is_lost.load(Ordering::SeqCst) && self.age() < self.length * 2 / 3
    }

    /// Ends when what is under way has to be given up.
    pub(super) async fn lost(&self) {
        let last = self.length * 5 / 6;
        while !self.is_lost.load(Ordering::SeqCst) {
            let Some(left) = last.checked_sub(self.age()) else { return };
            tokio::time::sleep(left.min(self.length / 8) + Duration::from_millis(1)).await;
        }
    }

    #[cfg(test)]
    pub(super) fn grow_old(&self, by: Duration) {
        let mut renewed = self.renewed.lock().unwrap();
        *renewed = renewed.checked_sub(by).unwrap();
    }
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
    /// Finds out whether the store heeds conditions, with an object of its own at `key`.
    pub(super) async fn heeds_conditions(&self, key: &Path) -> Result<bool, Refusal> {
        let created = match self.ask(key, "1", PutMode::Create).await? {
            Answer::Done(version) => version,
            // An answer that got lost, and was asked for again.
            Answer::Refused => version(&self.store.head(key).await.map_err(|it| Refusal::of(&it))?),
            Answer::Unsupported => return Ok(false),
        };
        let again = self.ask(key, "1", PutMode::Create).await?;
        let other = self.ask(key, "2", PutMode::Overwrite).await?;
        let stale = match other {
            Answer::Done(_) => self.ask(key, "3", PutMode::Update(created)).await?,
            other => other,
        };
        remove(&*self.store, key).await?;
        Ok(matches!((again, stale), (Answer::Refused, Answer::Refused)))
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
        let found = match self.store.get(&self.key).await.map_err(refused) {
            Ok(found) => found,
            Err(refusal) if refusal.kind == RefusalKind::NotFound => return Ok(None),
            Err(refusal) => return Err(refusal),
        };
        let (version, renewed) = (version(&found.meta), found.meta.last_modified);
        let content = found.bytes().await.map_err(refused)?;
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
        let mut first: Option<(String, u64, Instant, Duration)> = None;
        loop {
            let started = Instant::now();
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
                Err(_) => match self.get().await? {
                    Some((found, version, _)) if found.nonce == lease.nonce => version,
                    Some((found, _, renewed)) if found.holder.is_some() => {
                        return Ok(Taking::Refused(described(&found, renewed)));
                    }
                    Some(_) | None => continue,
                },
            };
            let held = Arc::new(Held {
                epoch: lease.epoch,
                recovered: lease.recovered,
                pulse: Pulse::new(started, self.length),
                state: tokio::sync::Mutex::new(State { lease, version }),
                desk: self,
            });
            let heart = runtime()?.spawn(keep(Arc::clone(&held))).abort_handle();
            return Ok(Taking::Taken(Keeper { held, heart: Some(heart) }));
        }
    }

    /// Who has the lease, as far as the clock of this host can tell.
    pub(super) async fn holder(&self, now: DateTime<Utc>) -> Result<Option<String>, Refusal> {
        let Some((lease, _, renewed)) = self.get().await? else { return Ok(None) };
        let is_over = left(renewed, now, length_of(&lease)).is_zero();
        Ok((lease.holder.is_some() && !is_over).then(|| described(&lease, renewed)))
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
    format!("{holder}, whose lease ends at {} UTC unless it goes on", end.format("%H:%M:%S"))
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
            let started = Instant::now();
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
        self.pulse.is_lost.store(true, Ordering::SeqCst);
        Err(Refusal::plain(RefusalKind::LeaseLost))
    }

    /// Asks the store whether the lease is still ours.
    pub(super) async fn check(&self) -> Result<(), Refusal> {
        let state = self.state.lock().await;
        match self.desk.get().await? {
            Some((found, ..)) if found.nonce == state.lease.nonce => Ok(()),
            Some(_) | None => {
                self.pulse.is_lost.store(true, Ordering::SeqCst);
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
        if self.held.pulse.is_lost.load(Ordering::SeqCst) {
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
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn desk(store: &Arc<InMemory>, length: Duration) -> Desk {
        Desk {
            store: Arc::clone(store) as _,
            first: Arc::clone(store) as _,
            key: Path::from("lock"),
            length,
            is_conditional: true,
        }
    }

    fn take(store: &Arc<InMemory>, holder: &'static str, length: Duration) -> Taking {
        let desk = desk(store, length);
        wait(async move { desk.take(holder, &Path::from("probe")).await }).unwrap().unwrap()
    }

    const LONG: Duration = Duration::from_hours(1);

    #[test]
    fn a_lease_that_is_not_renewed_for_its_length_is_dead_and_one_that_is_renewed_is_alive() {
        let seconds = Duration::from_secs;
        for (is_renewed, left, waited, verdict) in [
            (false, seconds(60), seconds(0), Verdict::Unknown),
            (false, seconds(60), seconds(59), Verdict::Unknown),
            (false, seconds(60), seconds(60), Verdict::Dead),
            (false, seconds(0), seconds(0), Verdict::Dead),
            (true, seconds(60), seconds(1), Verdict::Alive),
            (true, seconds(0), seconds(0), Verdict::Alive),
        ] {
            assert_eq!(judge(is_renewed, left, waited), verdict);
        }
    }

    #[test]
    fn what_a_lease_has_left_is_counted_by_the_clock_of_the_store_and_never_too_short() {
        let at = |seconds: i64| DateTime::from_timestamp(1_000_000 + seconds, 0).unwrap();
        for (age, expected) in [(0, 60), (1, 60), (2, 59), (60, 1), (61, 0), (9_999, 0), (-5, 60)] {
            let left = left(at(0), at(age), Duration::from_mins(1));
            assert_eq!(left, Duration::from_secs(expected), "{age}");
        }
    }

    #[test]
    fn a_lease_is_held_by_one_and_its_epoch_grows() {
        let store = Arc::new(InMemory::new());
        let Taking::Taken(first) = take(&store, "run r1", LONG) else { panic!("it is free") };
        assert_eq!(first.held().epoch, 1);
        drop(first);
        let Taking::Taken(second) = take(&store, "run r2", LONG) else { panic!("it is free") };
        assert_eq!((second.held().epoch, second.held().recovered), (2, 0));
        let held = Arc::clone(second.held());
        wait(async move { held.recovered().await }).unwrap().unwrap();
        drop(second);
        let Taking::Taken(third) = take(&store, "run r3", LONG) else { panic!("it is free") };
        assert_eq!((third.held().epoch, third.held().recovered), (3, 2));
    }

    #[test]
    fn a_run_that_lives_is_named_and_one_that_died_is_followed() {
        let store = Arc::new(InMemory::new());
        // The second is told once it has seen the first renew.
        let length = Duration::from_secs(2);
        let Taking::Taken(first) = take(&store, "run r1 (pid 1 on a)", length) else {
            panic!("it is free")
        };
        let Taking::Refused(holder) = take(&store, "run r2", length) else { panic!("it is held") };
        assert!(holder.starts_with("run r1 (pid 1 on a), whose lease ends at "), "{holder}");

        // A process that is killed neither renews nor lets go.
        first.heart.as_ref().unwrap().abort();
        first.held.pulse.is_lost.store(true, Ordering::SeqCst);
        drop(first);
        let Taking::Taken(third) = take(&store, "run r3", length) else { panic!("it is dead") };
        assert_eq!(third.held().epoch, 2);
    }

    #[test]
    fn a_holder_that_was_paused_is_not_sure_any_more_and_finds_out_that_another_has_it() {
        let store = Arc::new(InMemory::new());
        let Taking::Taken(paused) = take(&store, "run r1", LONG) else { panic!("it is free") };
        assert!(paused.held().pulse.is_sure());
        paused.held().pulse.grow_old(LONG * 2 / 3);
        assert!(!paused.held().pulse.is_sure());

        // Another one takes it, as it would after the whole length.
        let key = Path::from("lock");
        let other = Lease {
            holder: Some("run r2".to_owned()),
            epoch: 2,
            recovered: 2,
            seconds: 60.0,
            nonce: "other".to_owned(),
            beat: 0,
        };
        let text = serde_json::to_string(&other).unwrap();
        let there = Arc::clone(&store);
        let at = key.clone();
        wait(async move { there.put(&at, PutPayload::from(text)).await }).unwrap().unwrap();
        let held = Arc::clone(paused.held());
        let refusal = wait(async move { held.check().await }).unwrap().unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::LeaseLost);
        drop(paused);

        let left = wait(async move { store.get(&key).await.unwrap().bytes().await }).unwrap();
        assert_eq!(serde_json::from_slice::<Lease>(&left.unwrap()).unwrap(), other);
    }

    #[test]
    fn a_store_in_memory_heeds_conditions() {
        let store = Arc::new(InMemory::new());
        let desk = desk(&store, LONG);
        let heeds = wait(async move { desk.heeds_conditions(&Path::from("probe")).await });
        assert_eq!(heeds.unwrap(), Ok(true));
    }
}
