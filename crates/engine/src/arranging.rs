//! What a user may do to a torrent's files, whether or not it runs.

use crate::driver::ToTorrent;
use crate::driver::torrent::changes::{Change, Placement};
use crate::driver::torrent::recheck::Rechecking;
use crate::entry::Running;
use crate::{Error, Result, Torrent};
use quelea_storage::{Existing, Relocating};
use quelea_swarm::picker::Priority;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

impl Torrent {
    /// Brings all files to another directory, which is created if it is not there. The torrent goes on meanwhile.
    /// Within a file system files are renamed, to another they are copied; if that fails or is cancelled all of them
    /// are where they were, and so they are after a kill, or all at the goal. With state, the next session finds
    /// them there, also when the torrent is added with the directory that it was added with before.
    ///
    /// What becomes of files that are there already, `existing` says. Adopted files are hashed before it is over.
    pub fn move_to(&self, directory: impl Into<PathBuf>, existing: Existing) -> Moving {
        let (done, ended) = oneshot::channel();
        let progress = Arc::new(Relocating::default());
        let change = Change::Move { root: directory.into(), existing, progress: Arc::clone(&progress), done };
        Moving { progress, outcome: self.wish(change).map(|()| ended) }
    }

    /// Calls a file, or a folder with all that the torrent has in it, otherwise. Both paths are relative to the
    /// download directory, with `/` between their elements; `to` may name other folders, which are created. Only
    /// the torrent's own files are moved.
    ///
    /// # Errors
    /// [`Error::NoSuchFile`], [`Error::BadName`], [`Error::Storage`] when something is in the way or the system
    /// refuses, [`Error::InUse`], [`Error::Busy`].
    pub async fn rename(&self, from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Result<()> {
        let (done, ended) = oneshot::channel();
        self.wish(Change::Rename { from: from.into(), to: to.into(), done })?;
        ended.await.map_err(|_| Error::Closed)?
    }

    /// Changes how much each file is wanted, one entry a file in the torrent's order. What is here already stays and
    /// is not fetched again; files that are not wanted any longer stay as they are. The next session remembers it,
    /// unless the torrent is added with wishes of its own ([`AddTorrent::wanted`](crate::AddTorrent::wanted)).
    ///
    /// # Errors
    /// [`Error::NothingSelected`] when nothing would be wanted or there is not an entry for each file,
    /// [`Error::Storage`], [`Error::InUse`], [`Error::Busy`].
    pub async fn set_file_priorities(&self, files: Vec<Priority>) -> Result<()> {
        let (done, ended) = oneshot::channel();
        self.wish(Change::Priorities { files, done })?;
        ended.await.map_err(|_| Error::Closed)?
    }

    /// Hashes all files anew. The torrent pauses meanwhile; what it has afterwards is what is on the disk. One that
    /// was paused is paused again then.
    pub fn recheck(&self) -> Recheck {
        let (done, ended) = oneshot::channel();
        let progress = Arc::new(Rechecking::default());
        let change = Change::Recheck { progress: Arc::clone(&progress), done };
        Recheck { progress, outcome: self.wish(change).map(|()| ended) }
    }

    /// Where its files are.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::NoMetadata`]; for a torrent that does not run also [`Error::Gone`], [`Error::InUse`] and
    /// [`Error::Storage`].
    pub async fn placement(&self) -> Result<Placement> {
        let session = self.session()?;
        if self.entry().link.is_some() {
            return Err(Error::NoMetadata);
        }
        let Some(mailbox) = session.mailbox(self.entry()).await else {
            return session.look_up_place(self.entry()).await;
        };
        let (reply, answer) = oneshot::channel();
        mailbox.send(ToTorrent::Where(reply)).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)
    }

    /// Hands a change to the torrent's task.
    fn wish(&self, change: Change) -> Result<()> {
        let session = self.session()?;
        // One that stands apart may be about to end.
        if let Some(Running { mailbox, apart: false, .. }) = self.entry().running() {
            return mailbox.try_send(ToTorrent::Change(change)).map_err(|refused| match refused {
                TrySendError::Full(_) => Error::Busy,
                TrySendError::Closed(_) => Error::Closed,
            });
        }
        let entry = Arc::clone(self.entry());
        session.at_home(async move |session| session.arrange(&entry, change).await);
        Ok(())
    }
}

/// Files on their way to another directory. They go on whether or not somebody waits for them.
pub struct Moving {
    progress: Arc<Relocating>,
    outcome: Result<oneshot::Receiver<Result<()>>>,
}

impl Moving {
    /// Something to look at how far it is, and to cancel it with.
    pub fn progress(&self) -> Arc<Relocating> {
        Arc::clone(&self.progress)
    }

    /// Comes when the files are there, or are not going to be.
    ///
    /// # Errors
    /// [`Error::Storage`] when something is in the way, there is not enough room, it was cancelled or the system
    /// refuses; [`Error::InUse`], [`Error::Busy`], [`Error::Closed`].
    pub async fn outcome(self) -> Result<()> {
        self.outcome?.await.map_err(|_| Error::Closed)?
    }
}

/// A check of all files. It goes on whether or not somebody waits for it.
pub struct Recheck {
    progress: Arc<Rechecking>,
    outcome: Result<oneshot::Receiver<Result<()>>>,
}

/// How far a check is, and the way to cancel it.
#[derive(Debug, Clone)]
pub struct RecheckProgress(Arc<Rechecking>);

impl RecheckProgress {
    /// Pieces that were looked at.
    pub fn checked(&self) -> u32 {
        self.0.checked.load(Ordering::Relaxed)
    }

    /// Cuts it short: pieces that were not looked at count as they did before.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }
}

impl Recheck {
    /// Something to look at how far it is, and to cancel it with.
    pub fn progress(&self) -> RecheckProgress {
        RecheckProgress(Arc::clone(&self.progress))
    }

    /// Comes when all pieces were looked at.
    ///
    /// # Errors
    /// [`Error::Storage`] when it was cancelled or something stands in a file's place; [`Error::InUse`],
    /// [`Error::Busy`], [`Error::Closed`].
    pub async fn outcome(self) -> Result<()> {
        self.outcome?.await.map_err(|_| Error::Closed)?
    }
}

impl std::fmt::Debug for Moving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Moving").field(&self.progress).finish()
    }
}

impl std::fmt::Debug for Recheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Recheck").field(&self.progress).finish()
    }
}
