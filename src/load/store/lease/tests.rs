//! Leases in memory.

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    PutMultipartOptions, PutOptions, PutResult, Result, memory::InMemory,
};
use tokio::time::Instant;

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

/// Time goes by as soon as all wait for it.
#[tokio::test(start_paused = true)]
async fn a_run_that_lives_is_named_and_one_that_died_is_followed() {
    let store = Arc::new(InMemory::new());
    let take = async |holder| desk(&store, LONG).take(holder, &Path::from("probe")).await.unwrap();
    // The second is told once it has seen the first renew.
    let start = Instant::now();
    let Taking::Taken(first) = take("run r1 (pid 1 on a)").await else { panic!("it is free") };
    let Taking::Refused(holder) = take("run r2").await else { panic!("it is held") };
    assert!(holder.starts_with("run r1 (pid 1 on a), whose lease was renewed at "), "{holder}");
    assert!(start.elapsed() < LONG / 4, "{:?}", start.elapsed());

    // A process that is killed neither renews nor lets go.
    first.heart.as_ref().unwrap().abort();
    first.held.pulse.lose();
    drop(first);
    let start = Instant::now();
    let Taking::Taken(third) = take("run r3").await else { panic!("it is dead") };
    assert_eq!(third.held().epoch, 2);
    let waited = start.elapsed();
    assert!(waited + Duration::from_secs(5) >= LONG && waited < LONG * 2, "{waited:?}");
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

/// Refuses what should be done only where an object is as it was.
#[derive(Debug)]
struct Stubborn(InMemory);

impl std::fmt::Display for Stubborn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Stubborn {
    async fn put_opts(
        &self,
        key: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        match options.mode {
            PutMode::Update(_) => Err(object_store::Error::Precondition {
                path: key.to_string(),
                source: "412".into(),
            }),
            PutMode::Create | PutMode::Overwrite => self.0.put_opts(key, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(key, options).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(key, options).await
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_what_holds_is_found_out_and_does_not_hold_a_run_up_for_ever() {
    let memory = InMemory::new();
    let free = r#"{"holder":null,"epoch":1,"recovered":1,"seconds":60.0,"nonce":"n","beat":1}"#;
    memory.put(&Path::from("lock"), free.into()).await.unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(Stubborn(memory));
    let desk = Desk { store: Arc::clone(&store), first: store, ..desk(&Arc::default(), LONG) };

    assert_eq!(desk.heeds_conditions(&Path::from("probe")).await, Ok(false));
    assert!(desk.store.get(&Path::from("probe")).await.is_err());
    let refusal = desk.take("run r1", &Path::from("probe")).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Condition);
}
