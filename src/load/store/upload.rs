//! A new object, written piece by piece.
//!
//! ```text
//! up to 8 MiB     one put when it is finished, which is waited for by whoever counts on it
//! more            a multipart upload: while one part is sent, the next one fills
//! ```
//!
//! Nothing is visible before the end, and what is dropped before it is taken back.

use std::{
    io,
    sync::{Arc, mpsc},
    time::Duration,
};

use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload, path::Path as Key};

use super::{
    connect::{runtime, wait},
    object::Object,
    refusal::{Refusal, RefusalKind},
};
use crate::load::WriteError;

/// Bytes of a part: ten thousand are allowed, and two are in memory.
const PART: usize = 8 << 20;

/// An object that is being written.
#[derive(Debug)]
pub(super) struct Upload {
    object: Arc<Object>,
    path: String,
    key: Key,
    buffer: Vec<u8>,
    parts: Option<Box<dyn MultipartUpload>>,
    sending: Option<mpsc::Receiver<object_store::Result<()>>>,
}

impl Upload {
    pub(super) fn new(object: &Arc<Object>, path: &str) -> Result<Self, WriteError> {
        let key = object.key(path)?;
        let object = Arc::clone(object);
        let path = path.to_owned();
        Ok(Self { object, path, key, buffer: Vec::new(), parts: None, sending: None })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PART - self.buffer.len();
        let taken = bytes.len().min(room);
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == PART {
            self.send_part().map_err(Refusal::into_io)?;
        }
        Ok(taken)
    }

    fn send_part(&mut self) -> Result<(), Refusal> {
        self.sent()?;
        if self.parts.is_none() {
            let (store, key) = (Arc::clone(&self.object.store), self.key.clone());
            let start = async move { store.put_multipart(&key).await };
            self.parts = Some(self.object.guarded(start)?);
        }
        let Some(parts) = &mut self.parts else { return Ok(()) };
        let part = parts.put_part(PutPayload::from(std::mem::take(&mut self.buffer)));
        let (send, receive) = mpsc::sync_channel(1);
        runtime()?.spawn(async move {
            let _ = send.send(part.await);
        });
        self.sending = Some(receive);
        Ok(())
    }

    /// Waits for the part that is under way.
    fn sent(&mut self) -> Result<(), Refusal> {
        let Some(sending) = self.sending.take() else { return Ok(()) };
        let sent = sending.recv().map_err(|_| Refusal::plain(RefusalKind::Dropped))?;
        sent.map_err(|err| Refusal::of(&err))
    }

    /// Makes the object visible; a small one is on its way from here on.
    pub(super) fn finish(&mut self) -> Result<(), WriteError> {
        self.object.may_change("write", &self.path)?;
        self.complete().map_err(self.object.error("write", &self.path))
    }

    fn complete(&mut self) -> Result<(), Refusal> {
        if self.parts.is_none() {
            let content = std::mem::take(&mut self.buffer);
            return self.object.put_soon(&self.path, self.key.clone(), content);
        }
        if !self.buffer.is_empty() {
            self.send_part()?;
        }
        self.sent()?;
        let Some(mut parts) = self.parts.take() else { return Ok(()) };
        // What fails here has to be taken back, too.
        let (parts, done) = wait(async move {
            let done = parts.complete().await;
            (parts, done)
        })?;
        done.map(|_| ()).map_err(|err| {
            self.parts = Some(parts);
            Refusal::of(&err)
        })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(mut parts) = self.parts.take() else { return };
        let _ = self.sent();
        // What cannot be taken back now is left to the bucket's rule for unfinished uploads.
        let _ = wait(async move {
            let _ = tokio::time::timeout(Duration::from_secs(10), parts.abort()).await;
        });
    }
}
