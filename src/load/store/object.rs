//! A destination that is a bucket of an object store, or a folder of one.
//!
//! ```text
//! "parquet/p/s/date=2024-07-25/part-0.parquet"  ->  s3://<bucket>/<folder>/parquet/p/s/…
//! replace, create    one put, or a multipart upload: whole or not there
//! rename             a copy, then the old one goes: both may be done twice
//! directories        are there while something is in them
//! ```

use std::{
    fs::File,
    future::Future,
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, path::Path as Key,
};

#[cfg(test)]
use super::Fuse;
use super::{
    Entry, EntryKind, TemporaryFile,
    connect::{self, Clients, again, wait},
    io_error,
    lease::{Desk, Held, Keeper, Taking, nonce},
    refusal::{Refusal, RefusalKind},
    sending::Sending,
};
use crate::{
    load::WriteError,
    plan::{BucketUrl, LeasePlan, Service},
};

/// A bucket, or a folder of one, and nothing outside of it.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) store: Arc<dyn ObjectStore>,
    first: Arc<dyn ObjectStore>,
    /// For messages.
    root: String,
    folder: String,
    lease: LeasePlan,
    held: Mutex<Option<Arc<Held>>>,
    /// Whether it can be asked for the last bytes of an object.
    knows_ends: bool,
    /// Requests at a time.
    pub(super) width: usize,
    sending: Sending,
    #[cfg(test)]
    pub(super) fuse: Fuse,
}

impl Object {
    /// Connects to a bucket, and sees whether it is there.
    fn connect(url: &BucketUrl, lease: LeasePlan) -> Result<(Self, bool), WriteError> {
        let root = url.to_string();
        let refused =
            |refusal: Refusal| io_error("open", Path::new(&root))(Refusal::into_io(refusal));
        let Clients { first, store } = connect::connect(url).map_err(refused)?;
        let object = Self {
            store,
            first,
            root: root.clone(),
            folder: url.folder.clone(),
            lease,
            held: Mutex::default(),
            knows_ends: url.service != Service::Azure,
            width: if is_remote(url) { 16 } else { 1 },
            sending: Sending::default(),
            #[cfg(test)]
            fuse: Fuse::default(),
        };
        // A store that asks to slow down has answered: it gets more patience.
        let listed = match object.entries(&object.first, "") {
            Err(refusal) if matches!(refusal.kind, RefusalKind::SlowDown | RefusalKind::Server) => {
                object.entries(&object.store, "")
            }
            listed => listed,
        };
        let is_there = !listed.map_err(refused)?.is_empty();
        Ok((object, is_there))
    }

    pub(super) fn open(url: &BucketUrl, lease: LeasePlan) -> Result<Self, WriteError> {
        Self::connect(url, lease).map(|it| it.0)
    }

    pub(super) fn existing(url: &BucketUrl) -> Result<Option<Self>, WriteError> {
        let (object, is_there) = Self::connect(url, LeasePlan::default())?;
        Ok(is_there.then_some(object))
    }

    /// The URL of an object. Refuses what would lead out of the folder.
    pub(super) fn absolute(&self, path: &str) -> Result<PathBuf, WriteError> {
        let is_name = |it: &str| {
            !matches!(it, "" | "." | "..") && !it.contains('\\') && !it.contains(char::is_control)
        };
        if path.split('/').all(is_name) {
            return Ok(PathBuf::from(format!("{}/{path}", self.root)));
        }
        Err(WriteError::Outside { path: path.to_owned(), root: PathBuf::from(&self.root) })
    }

    pub(super) fn key(&self, path: &str) -> Result<Key, WriteError> {
        let absolute = self.absolute(path)?;
        let text = match self.folder.as_str() {
            "" => path.to_owned(),
            folder => format!("{folder}/{path}"),
        };
        Key::parse(text).map_err(|_| WriteError::Outside { path: path.to_owned(), root: absolute })
    }

    /// Waits for what is read; nothing where the object is not there.
    fn find<T: Send + 'static>(
        &self,
        action: &'static str,
        path: &str,
        future: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<Option<T>, WriteError> {
        match wait(future).and_then(|it| it.map_err(|err| Refusal::of(&err))) {
            Ok(found) => Ok(Some(found)),
            Err(refusal) if refusal.kind == RefusalKind::NotFound => Ok(None),
            Err(refusal) => Err(self.error(action, path)(refusal)),
        }
    }

    pub(super) fn error(
        &self,
        action: &'static str,
        path: &str,
    ) -> impl FnOnce(Refusal) -> WriteError + use<> {
        let absolute = PathBuf::from(format!("{}/{path}", self.root));
        move |refusal| io_error(action, &absolute)(refusal.into_io())
    }

    /// Waits for a change, which is not begun, and given up, once another run may hold the lease.
    pub(super) fn change<T: Send + 'static>(
        &self,
        action: &'static str,
        path: &str,
        future: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, WriteError> {
        self.may_change(action, path)?;
        self.guarded(future).map_err(self.error(action, path))
    }

    /// Stands before every change.
    pub(super) fn may_change(&self, action: &'static str, path: &str) -> Result<(), WriteError> {
        #[cfg(test)]
        self.fuse.burn(&self.absolute(path)?)?;
        match self.held() {
            Some(held) if !held.pulse.is_sure() => {
                Err(self.error(action, path)(Refusal::plain(RefusalKind::LeaseLost)))
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn guarded<T: Send + 'static>(
        &self,
        future: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, Refusal> {
        wait(self.guard(future))?
    }

    fn guard<T: Send + 'static>(
        &self,
        future: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> impl Future<Output = Result<T, Refusal>> + Send + 'static {
        let held = self.held();
        async move {
            let Some(held) = held else { return future.await.map_err(|err| Refusal::of(&err)) };
            tokio::select! {
                biased;
                () = held.pulse.lost() => Err(Refusal::plain(RefusalKind::LeaseLost)),
                done = future => done.map_err(|err| Refusal::of(&err)),
            }
        }
    }

    /// Puts an object that nothing counts on before it is [synced](Self::sync).
    pub(super) fn put_soon(&self, path: &str, key: Key, content: Vec<u8>) -> Result<(), Refusal> {
        let (store, bytes) = (Arc::clone(&self.store), content.len());
        let put = async move { store.put(&key, PutPayload::from(content)).await.map(|_| ()) };
        // A test's store has one change after the other.
        if self.width == 1 {
            self.guarded(put)
        } else {
            self.sending.send(path, bytes, self.guard(put))
        }
    }

    /// Waits until an object that was written is there.
    pub(super) fn sync(&self, path: &str) -> Result<(), WriteError> {
        self.sending.arrived(path).map_err(self.error("write", path))
    }

    fn held(&self) -> Option<Arc<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Creates a file without a name, where the host has such; a bucket has none.
    #[expect(clippy::unused_self, reason = "as a directory does")]
    pub(super) fn temporary(&self) -> Result<TemporaryFile, WriteError> {
        let directory = std::env::temp_dir();
        let file = tempfile::tempfile_in(&directory)
            .map_err(io_error("create a temporary file in", &directory))?;
        Ok(TemporaryFile { directory, file })
    }

    pub(super) fn replace(&self, path: &str, content: &[u8]) -> Result<(), WriteError> {
        let (store, key) = (Arc::clone(&self.store), self.key(path)?);
        let payload = PutPayload::from(content.to_vec());
        self.change("write", path, async move { store.put(&key, payload).await.map(|_| ()) })
    }

    /// Writes an object that must not be there, then makes sure that the lease is still ours.
    pub(super) fn commit(&self, path: &str, content: &[u8]) -> Result<(), WriteError> {
        let Some(held) = self.held() else { return self.replace(path, content) };
        if self.lease.single_writer {
            return self.replace(path, content);
        }
        let (store, key) = (Arc::clone(&self.store), self.key(path)?);
        let payload = PutPayload::from(content.to_vec());
        let put = async move { store.put_opts(&key, payload, PutMode::Create.into()).await };
        let put = self.change("write", path, async move { put.await.map(|_| ()) });
        if let Err(err) = put {
            let is_condition = matches!(&err, WriteError::Io { source, .. }
                if Refusal::kind_of(source) == Some(RefusalKind::Condition));
            // Where an answer got lost, it was asked for again, and ours is there.
            if !is_condition || self.read(path)?.as_deref() != Some(content) {
                return Err(err);
            }
        }
        let checked = wait(async move { held.check().await }).and_then(|it| it);
        if let Err(refusal) = checked {
            // Whoever has the lease now may have put its own in its place, which is not ours to remove.
            let is_ours = || self.read(path).is_ok_and(|it| it.as_deref() == Some(content));
            if refusal.kind == RefusalKind::LeaseLost && is_ours() {
                let (store, key) = (Arc::clone(&self.store), self.key(path)?);
                // If it cannot be removed, the run that has the lease sees that it is void.
                let _ = wait(async move { store.delete(&key).await });
            }
            return Err(self.error("write", path)(refusal));
        }
        Ok(())
    }

    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, WriteError> {
        let (store, key) = (Arc::clone(&self.store), self.key(path)?);
        let get = move || {
            let (store, key) = (Arc::clone(&store), key.clone());
            async move { store.get(&key).await?.bytes().await }
        };
        Ok(self.find("read", path, again(get))?.map(|it| it.to_vec()))
    }

    /// A part of an object.
    pub(super) fn range(
        &self,
        path: &str,
        range: std::ops::Range<u64>,
    ) -> Result<bytes::Bytes, Refusal> {
        let key =
            self.key(path).map_err(|err| Refusal::new(RefusalKind::Other, err.to_string()))?;
        let store = Arc::clone(&self.store);
        let get = move || {
            let (store, key, range) = (Arc::clone(&store), key.clone(), range.clone());
            async move { store.get_range(&key, range).await }
        };
        wait(again(get))?.map_err(|err| Refusal::of(&err))
    }

    /// The size of an object and its last bytes, at most `length`; nothing where there is none.
    pub(super) fn tail(
        &self,
        path: &str,
        length: u64,
    ) -> Result<Option<(u64, bytes::Bytes)>, WriteError> {
        let (store, key) = (Arc::clone(&self.store), self.key(path)?);
        let knows_ends = self.knows_ends;
        let tail = move || {
            let (store, key) = (Arc::clone(&store), key.clone());
            async move {
                if knows_ends {
                    let options = GetOptions::new().with_range(Some(GetRange::Suffix(length)));
                    let found = store.get_opts(&key, options).await?;
                    let size = found.meta.size;
                    return Ok((size, found.bytes().await?));
                }
                let size = store.head(&key).await?.size;
                let range = size.saturating_sub(length)..size;
                Ok((size, store.get_range(&key, range).await?))
            }
        };
        self.find("read", path, again(tail))
    }

    /// Objects one after the other, in a file of the host's own that goes when it is closed.
    pub(super) fn download(&self, paths: &[String]) -> Result<File, WriteError> {
        let TemporaryFile { directory, mut file } = self.temporary()?;
        let failed = |source| io_error("write a temporary file in", &directory)(source);
        for path in paths {
            let (store, key) = (Arc::clone(&self.store), self.key(path)?);
            let start = file.stream_position().map_err(failed)?;
            let file = Arc::new(file.try_clone().map_err(failed)?);
            let copy = move || {
                let (store, key, file) = (Arc::clone(&store), key.clone(), Arc::clone(&file));
                async move { copy(&*store, &key, &file, start).await }
            };
            let copied = wait(again(copy))
                .and_then(|it| it.map_err(|err| Refusal::of(&err)))
                .map_err(self.error("read", path))?;
            copied.map_err(failed)?;
        }
        file.rewind().map_err(failed)?;
        Ok(file)
    }

    pub(super) fn size(&self, path: &str) -> Result<Option<u64>, WriteError> {
        let (store, key) = (Arc::clone(&self.store), self.key(path)?);
        let head = async move { store.head(&key).await };
        Ok(self.find("look at", path, head)?.map(|it| it.size))
    }

    pub(super) fn list(&self, path: &str) -> Result<Vec<Entry>, WriteError> {
        self.absolute(path)?;
        self.entries(&self.store, path).map_err(self.error("list", path))
    }

    fn entries(&self, store: &Arc<dyn ObjectStore>, path: &str) -> Result<Vec<Entry>, Refusal> {
        let prefix = match (self.folder.as_str(), path) {
            (folder, "") => folder.to_owned(),
            ("", path) => path.to_owned(),
            (folder, path) => format!("{folder}/{path}"),
        };
        let prefix =
            Key::parse(prefix).map_err(|err| Refusal::new(RefusalKind::Other, err.to_string()))?;
        let store = Arc::clone(store);
        let list = move || {
            let (store, prefix) = (Arc::clone(&store), prefix.clone());
            async move { store.list_with_delimiter(Some(&prefix)).await }
        };
        let listed = wait(again(list))?;
        let listed = listed.map_err(|err| Refusal::of(&err))?;
        let entry = |key: &Key, kind| Some(Entry { name: key.filename()?.to_owned(), kind });
        let directories = listed.common_prefixes.iter();
        let files = listed.objects.iter().map(|it| &it.location);
        let mut list: Vec<Entry> = directories
            .filter_map(|it| entry(it, EntryKind::Directory))
            .chain(files.filter_map(|it| entry(it, EntryKind::File)))
            .collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    /// All objects below a path: what follows it, and their sizes, in order.
    pub(super) fn below(&self, path: &str) -> Result<Vec<(String, u64)>, WriteError> {
        let (store, key) = (Arc::clone(&self.store), self.key(path)?);
        let start = key.as_ref().len() + 1;
        let list = move || {
            let (store, key) = (Arc::clone(&store), key.clone());
            async move { store.list(Some(&key)).try_collect::<Vec<_>>().await }
        };
        let found = self.find("list", path, again(list))?.unwrap_or_default();
        let mut below: Vec<(String, u64)> = found
            .iter()
            .filter_map(|it| Some((it.location.as_ref().get(start..)?.to_owned(), it.size)))
            .collect();
        below.sort();
        Ok(below)
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), WriteError> {
        let (store, source, target) = (Arc::clone(&self.store), self.key(from)?, self.key(to)?);
        let copy = move || {
            let (store, source, target) = (Arc::clone(&store), source.clone(), target.clone());
            async move { store.copy(&source, &target).await }
        };
        self.change("move an object to", to, again(copy))?;
        self.remove(from)
    }

    pub(super) fn remove(&self, path: &str) -> Result<(), WriteError> {
        self.sending.settle(path);
        let (store, key) = (Arc::clone(&self.store), self.key(path)?);
        let delete = move || {
            let (store, key) = (Arc::clone(&store), key.clone());
            async move {
                match store.delete(&key).await {
                    Err(object_store::Error::NotFound { .. }) => Ok(()),
                    other => other,
                }
            }
        };
        self.change("remove", path, again(delete))
    }

    /// Removes a log.
    pub(super) fn remove_log(&self, path: &str) -> Result<(), WriteError> {
        // The first ones last: what is left after an end in between is a beginning.
        self.all_below(path)?.iter().rev().try_for_each(|it| self.remove(it))
    }

    /// The objects below a path, and what is on its way there.
    pub(super) fn all_below(&self, path: &str) -> Result<Vec<String>, WriteError> {
        self.sending.settle(path);
        Ok(self.below(path)?.iter().map(|it| format!("{path}/{}", it.0)).collect())
    }

    fn desk(&self, path: &str, is_conditional: bool) -> Result<Desk, WriteError> {
        Ok(Desk {
            store: Arc::clone(&self.store),
            first: Arc::clone(&self.first),
            key: self.key(path)?,
            length: self.lease.length,
            is_conditional,
        })
    }

    /// Takes the lease that the object `path` stands for. Where another process has it, gives what that one
    /// left.
    pub(super) fn lock(
        &self,
        path: &str,
        holder: &str,
    ) -> Result<Result<Keeper, String>, WriteError> {
        let probe = format!("{path}-{}", nonce());
        let refused = || self.error("take the lease", path);
        let key = self.key(&probe)?;
        let mut desk = self.desk(path, true)?;
        let asked = desk.clone();
        let at = key.clone();
        let heeds = wait(async move { asked.heeds_conditions(&at).await });
        desk.is_conditional =
            heeds.and_then(|it| it).map_err(self.error("try conditions at", &probe))?;
        if !desk.is_conditional && !self.lease.single_writer {
            return Err(WriteError::Unconditional { root: PathBuf::from(&self.root) });
        }
        let holder = format!("{holder} on {}", host());
        let taking = wait(async move { desk.take(&holder, &key).await });
        match taking.and_then(|it| it).map_err(refused())? {
            Taking::Taken(keeper) => {
                let held = Some(Arc::clone(keeper.held()));
                *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
                Ok(Ok(keeper))
            }
            Taking::Refused(holder) => Ok(Err(holder)),
        }
    }

    /// Who has the lease that the object `path` stands for.
    pub(super) fn holder(&self, path: &str) -> Result<Option<String>, WriteError> {
        let desk = self.desk(path, true)?;
        #[expect(clippy::disallowed_methods, reason = "only to say whether a lease is over by now")]
        let now = chrono::Utc::now();
        let holder = wait(async move { desk.holder(now).await });
        holder.and_then(|it| it).map_err(self.error("read", path))
    }

    /// The epoch before which commits are void, by the lease that the object `path` stands for.
    pub(super) fn void_before(&self, path: &str) -> Result<Option<u64>, WriteError> {
        let desk = self.desk(path, true)?;
        let recovered = wait(async move { desk.recovered().await });
        recovered.and_then(|it| it).map_err(self.error("read", path))
    }

    /// The lease's epoch; commits carry it.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.held().map(|it| it.epoch)
    }

    /// Whether a commit of `epoch` arrived after a later run had looked for such.
    pub(super) fn is_void(&self, epoch: Option<u64>) -> bool {
        matches!((epoch, self.held()), (Some(epoch), Some(held)) if epoch < held.recovered)
    }

    /// From now on commits of earlier epochs are void.
    pub(super) fn recovered(&self, path: &str) -> Result<(), WriteError> {
        let Some(held) = self.held() else { return Ok(()) };
        let written = wait(async move { held.recovered().await });
        written.and_then(|it| it).map_err(self.error("renew the lease in", path))
    }
}

/// Writes an object behind the first bytes of a file.
async fn copy(
    store: &dyn ObjectStore,
    key: &Key,
    mut file: &File,
    start: u64,
) -> object_store::Result<io::Result<()>> {
    let mut pieces = store.get(key).await?.into_stream();
    let emptied = file.set_len(start).and_then(|()| file.seek(SeekFrom::Start(start)));
    let mut written = emptied.map(|_| ());
    while let (Ok(()), Some(piece)) = (&written, pieces.next().await) {
        written = file.write_all(&piece?);
    }
    Ok(written)
}

/// Whether a request waits for a network; a test's store has one change after the other.
fn is_remote(url: &BucketUrl) -> bool {
    match url.service {
        Service::S3 | Service::Google | Service::Azure => true,
        #[cfg(test)]
        Service::Memory => super::memory::is_far(&url.bucket),
    }
}

/// The name of the host, for people.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok());
    name.map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()).unwrap_or("a host".to_owned())
}
