//! Taking a torrent out of the session.

use super::Session;
use crate::entry::Entry;
use crate::{Error, Event, Result};
use quelea_resume::Leaving;
use std::sync::Arc;

impl Session {
    /// Takes a torrent out, with its files if `data`. The library knows of the intent before anything is done, so
    /// that after a kill the next session goes on with it.
    pub(crate) async fn remove(&self, entry: &Arc<Entry>, data: bool) -> Result<()> {
        if std::mem::replace(&mut entry.state().leaving, true) {
            return Err(Error::Gone);
        }
        if let Some(library) = self.inner.library.get() {
            library.put(self.kept(entry, if data { Leaving::WithData } else { Leaving::Alone }), None);
            self.written().await;
        }
        self.settle(entry).await;
        let deleted = if data { self.delete_files(entry).await } else { Ok(()) };
        self.drop_entry(entry);
        self.written().await;
        self.shared().tell(Event::Removed { id: entry.id, data });
        self.dispatch();
        deleted
    }

    /// The session has a torrent no more.
    pub(super) fn drop_entry(&self, entry: &Entry) {
        if let Some(library) = self.inner.library.get() {
            library.delete(entry.id.0);
        }
        let mut shared = self.shared();
        shared.torrents.remove(&entry.id);
        shared.waiting.remove(&entry.id);
        shared.queue.remove(entry.id);
        self.renumber(&shared);
    }

    async fn delete_files(&self, entry: &Arc<Entry>) -> Result<()> {
        let others = self.entries();
        let entry = Arc::clone(entry);
        self.on_disk(move || {
            let info = entry.info()?;
            // A file that another torrent of the session has too is not this one's alone.
            let same_place = |other: &&Arc<Entry>| {
                other.id != entry.id && other.name == entry.name && other.wishes.root == entry.wishes.root
            };
            let mut shared = std::collections::HashSet::new();
            for other in others.iter().filter(same_place) {
                let info = other.info()?;
                shared.extend(info.files.iter().map(|file| file.path.as_str().to_owned()));
            }
            let mut files = crate::wishes::file_specs(&info);
            files.retain(|file| !file.pad && !shared.contains(&*file.path.to_string_lossy()));
            let parts = quelea_storage::part_file_name(&info.name, &entry.info_hash);
            quelea_storage::remove_files(&entry.wishes.root, &files, &parts)?;
            Ok(())
        })
        .await?
    }
}
