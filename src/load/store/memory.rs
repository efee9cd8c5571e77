//! Stores in the memory of a test, by name.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock, Mutex},
};

use async_trait::async_trait;
use futures::{future::BoxFuture, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};

/// What comes before each put, and may keep it back or refuse it.
pub(in crate::load) type Fault = Arc<dyn Fn(&Path) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// What a test has set up.
#[derive(Default)]
struct Site {
    store: Arc<InMemory>,
    fault: Option<Fault>,
}

static SITES: LazyLock<Mutex<HashMap<String, Site>>> = LazyLock::new(Mutex::default);

/// The store of a name, new where it is the first time.
pub(super) fn connect(name: &str) -> Arc<dyn ObjectStore> {
    let mut sites = SITES.lock().unwrap();
    let Site { store, fault } = sites.entry(name.to_owned()).or_default();
    match fault {
        None => Arc::clone(store) as _,
        Some(fault) => Arc::new(Faulty { store: Arc::clone(store), fault: Arc::clone(fault) }),
    }
}

/// Whether puts are sent on while others are under way, as to a store that is far away.
pub(super) fn is_far(name: &str) -> bool {
    SITES.lock().unwrap().get(name).is_some_and(|it| it.fault.is_some())
}

/// Makes a store what another is now.
pub(in crate::load) fn copy(from: &str, to: &str) {
    let mut sites = SITES.lock().unwrap();
    let store = Arc::new(sites.entry(from.to_owned()).or_default().store.fork());
    sites.insert(to.to_owned(), Site { store, fault: None });
}

/// Has who connects from now on put through `fault`, several objects at a time.
pub(in crate::load) fn disturb(name: &str, fault: Option<Fault>) {
    SITES.lock().unwrap().entry(name.to_owned()).or_default().fault = fault;
}

struct Faulty {
    store: Arc<InMemory>,
    fault: Fault,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        key: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        (self.fault)(key).await?;
        self.store.put_opts(key, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(key, options).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(key, options).await
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
