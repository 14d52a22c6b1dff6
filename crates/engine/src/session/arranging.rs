//! Arranging the files of torrents that may not run: paused, queued, or failed.
//!
//! Such a torrent gets a task that stands apart: it has the files and what is remembered of them, and neither peers nor
//! trackers. So a change is done, journalled, watched and cancelled as for one that runs. When nobody wants anything more
//! arranged the task ends, and only then is the outcome told: the torrent is as it was, without an open file.

use super::Session;
use crate::driver::ToTorrent;
use crate::driver::torrent::changes::{Change, Placement, refuse};
use crate::entry::{Entry, Running};
use crate::naming::Naming;
use crate::opening::{Located, Place, known_priorities};
use crate::wishes::{file_flags, file_specs};
use crate::{Error, Result};
use quelea_storage::{Options, part_file_name, staging_name};
use std::sync::Arc;
use tokio::sync::oneshot;

impl Session {
    /// Has a change made by the torrent's task, which is begun for it.
    pub(crate) async fn arrange(&self, entry: &Arc<Entry>, mut change: Change) {
        if !self.shared().torrents.contains_key(&entry.id) {
            return refuse(change, missing(entry));
        }
        {
            let mut state = entry.state();
            state.arranging += 1;
            state.wanted = true;
        }
        let brought = self.bring(entry).await;
        let running = entry.running();
        if let Some(Running { apart: false, mailbox, .. }) = running {
            entry.state().arranging -= 1;
            return hand_over(&mailbox, change).await;
        }
        // It is told once the torrent is as it was.
        let (done, ended) = oneshot::channel();
        let to_tell = change.replace_done(done);
        match (brought, running) {
            (Ok(()), Some(Running { mailbox, .. })) => hand_over(&mailbox, change).await,
            (Ok(()), None) => refuse(change, Error::Closed),
            (Err(error), _) => refuse(change, error),
        }
        let outcome = ended.await.unwrap_or(Err(Error::Closed));
        entry.state().arranging -= 1;
        self.settle(entry).await;
        self.written().await;
        let _ = to_tell.send(outcome);
    }

    /// Where the files of a torrent are that has no task.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::InUse`], [`Error::Storage`], [`Error::Library`].
    pub(crate) async fn look_up_place(&self, entry: &Arc<Entry>) -> Result<Placement> {
        let _turn = entry.turn.lock().await;
        if !self.shared().torrents.contains_key(&entry.id) {
            return Err(missing(entry));
        }
        let (entry, keeper) = (Arc::clone(entry), self.inner.keeper.clone());
        let style = self.inner.settings.names;
        self.on_disk(move || {
            let info = entry.info()?;
            let (placed, wants_named) = {
                let state = entry.state();
                (state.placed.clone(), state.wants_named)
            };
            let place = Place {
                keeper: keeper.as_deref(),
                info_hash: entry.info_hash,
                home: &entry.wishes.root,
                incomplete: entry.wishes.incomplete.as_deref(),
                placed: placed.as_deref(),
                naming: &Naming::new(&info, style),
                staging: &staging_name(&info.name, &entry.info_hash),
                wants_named,
            };
            let part_file = Some(part_file_name(&info.name, &entry.info_hash));
            let options = Options { part_file, ..Options::default() };
            let Located { root, files, begun } =
                Located::find(place, file_specs(&info), info.geometry, &options)?;
            let changed = match (&begun, &placed) {
                (Some(begun), _) => known_priorities(begun, &files)
                    .filter(|_| !wants_named)
                    .map(|all| all.iter().map(|priority| priority.is_wanted()).collect()),
                (None, Some(placed)) => Some(placed.wanted.clone()),
                (None, None) => None,
            };
            let wanted = changed.unwrap_or_else(|| file_flags(&info, entry.wishes.wanted.as_deref()));
            let paths = files.into_iter().map(|file| file.path).collect();
            Ok(Placement { directory: root, paths, wanted })
        })
        .await?
    }
}

/// Why a torrent that is none has no files.
fn missing(entry: &Entry) -> Error {
    if entry.link.is_some() { Error::NoMetadata } else { Error::Gone }
}

/// Hands a change to a task; where that is gone, it is not going to happen.
async fn hand_over(mailbox: &tokio::sync::mpsc::Sender<ToTorrent>, change: Change) {
    if let Err(tokio::sync::mpsc::error::SendError(ToTorrent::Change(change))) =
        mailbox.send(ToTorrent::Change(change)).await
    {
        refuse(change, Error::Closed);
    }
}
