//! What came of a bundle before its fetch was interrupted: one file, named as the repository names the bundle with its
//! hash. It is only ever a beginning: the whole is verified at its end, and thrown away when it does not fit.

use std::io::{self, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::repository::{RepositoryPath, TARGETS_FOLDER};
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

/// The folder of the one file; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Partial {
    folder: Arc<PathBuf>,
    /// Whether a fetch went on from what was held.
    resumed: Arc<AtomicBool>,
}

/// A file that is being fetched: what came before is read again, what comes is written behind it.
#[derive(Debug)]
pub(super) struct Held {
    file: File,
    path: PathBuf,
    bytes: u64,
    /// Bytes that are still to be read again.
    unread: u64,
}

impl Partial {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder: Arc::new(folder), resumed: Arc::default() }
    }

    /// Opens what is held of a bundle or delta, after everything else was removed. `None` for metadata, which is small
    /// and changes under one name.
    pub(super) async fn open(&self, path: &RepositoryPath) -> io::Result<Option<Held>> {
        let name = path.as_str().strip_prefix(TARGETS_FOLDER).and_then(|name| name.strip_prefix('/'));
        let Some(name) = name else { return Ok(None) };
        fs::create_dir_all(self.folder.as_path()).await?;
        let path = self.folder.join(name);
        self.remove_all_but(Some(&path)).await;
        let options = File::options().read(true).write(true).create(true).truncate(false).open(&path).await;
        let file = options?;
        let bytes = file.metadata().await?.len();
        if bytes > 0 {
            self.resumed.store(true, Ordering::Relaxed);
            tracing::info!(bytes, name, "the fetch goes on where it was interrupted");
        }
        Ok(Some(Held { file, path, bytes, unread: bytes }))
    }

    /// Removes everything; gives whether a fetch had gone on from it.
    pub(super) async fn forget(&self) -> bool {
        self.remove_all_but(None).await;
        self.resumed.swap(false, Ordering::Relaxed)
    }

    async fn remove_all_but(&self, kept: Option<&PathBuf>) {
        let Ok(mut files) = fs::read_dir(self.folder.as_path()).await else { return };
        while let Ok(Some(file)) = files.next_entry().await {
            if Some(&file.path()) != kept
                && let Err(error) = fs::remove_file(file.path()).await
            {
                tracing::warn!(file = %file.path().display(), %error, "an interrupted fetch could not be removed");
            }
        }
    }
}

impl Held {
    /// How many bytes came before.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Begins again with nothing.
    pub(super) async fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0).await?;
        (self.bytes, self.unread) = (0, 0);
        Ok(())
    }

    /// The next of the bytes that came before; `None` when they are over.
    pub(super) async fn read_again(&mut self, bytes_max: usize) -> io::Result<Option<bytes::Bytes>> {
        let wanted = usize::try_from(self.unread).unwrap_or(bytes_max).min(bytes_max);
        if wanted == 0 {
            return Ok(None);
        }
        let mut buffer = vec![0; wanted];
        self.file.read_exact(&mut buffer).await?;
        self.unread = self.unread.saturating_sub(wanted as u64);
        Ok(Some(buffer.into()))
    }

    /// Keeps what came. At its own place and not at the file's end, so that a write of an interrupted fetch that is
    /// still on its way to the disk does not count twice.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.bytes)).await?;
        self.file.write_all(bytes).await?;
        self.file.flush().await?;
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// All of it was handed on: what becomes of it, the verification decides.
    pub(super) async fn finish(self) {
        if let Err(error) = fs::remove_file(&self.path).await {
            tracing::warn!(file = %self.path.display(), %error, "a fetched file could not be removed");
        }
    }
}
