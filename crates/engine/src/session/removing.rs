//! Taking a torrent out of the session.

use super::Session;
use crate::entry::Entry;
use crate::naming::{NameStyle, Naming, found_paths};
use crate::opening::{Located, Place, known_files};
use crate::wishes::{file_specs, torrent_links};
use crate::{Error, Event, Result};
use quelea_resume::{Keeper, Leaving};
use quelea_storage::{FileSpec, Options, part_file_name, staging_name};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Session {
    /// Takes a torrent out, with its files if `data`. The library knows of the intent before anything is done, so
    /// that after a kill the next session goes on with it.
    pub(crate) async fn remove(&self, entry: &Arc<Entry>, data: bool) -> Result<()> {
        if entry.link.is_some() {
            return self.remove_link(entry, data).await;
        }
        if std::mem::replace(&mut entry.state().leaving, true) {
            return Err(Error::Gone);
        }
        if let Some(library) = self.inner.library.get() {
            library.put(self.kept(entry, if data { Leaving::WithData } else { Leaving::Alone }), None);
            self.written().await;
        }
        self.shared().stop_checking(entry.id);
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
        if shared.torrents.remove(&entry.id).is_some() {
            shared.hashes.remove(&entry.info_hash);
        }
        shared.waiting.remove(&entry.id);
        shared.queue.remove(entry.id);
        self.renumber(&shared);
    }

    async fn delete_files(&self, entry: &Arc<Entry>) -> Result<()> {
        let others = self.entries();
        let (entry, keeper) = (Arc::clone(entry), self.inner.keeper.clone());
        let style = self.inner.settings.names;
        self.on_disk(move || {
            let OwnFiles { root, files, known, parts } = own_files(&entry, keeper.as_deref(), style)?;
            // A file that another torrent of the session has too is not this one's alone.
            let mut shared = HashSet::new();
            for other in others.iter().filter(|other| other.id != entry.id && other.name == entry.name) {
                let info = other.info()?;
                let place = keeper
                    .as_ref()
                    .and_then(|keeper| keeper.directory_of(other.info_hash, &other.wishes.root));
                for directory in place.as_deref().into_iter().chain([&*other.wishes.root]) {
                    let paths = found_paths(&info, directory).into_iter().map(|path| directory.join(path));
                    shared
                        .extend(paths.flat_map(|path| [entry_of(&path), path.canonicalize().ok()]).flatten());
                }
            }
            let is_shared = |path: &Path| entry_of(&root.join(path)).is_some_and(|it| shared.contains(&it));
            let info = entry.info()?;
            let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
            let mut links = torrent_links(&info);
            links.retain(|link| paths.get(link.file).is_some_and(|path| !is_shared(path)));
            quelea_storage::remove_links(&root, &paths, &links);
            let own = files.into_iter().zip(known).filter(|(file, known)| *known && !is_shared(&file.path));
            let own: Vec<FileSpec> = own.map(|(file, _)| file).collect();
            quelea_storage::remove_files(&root, &own, &parts)?;
            Ok(())
        })
        .await?
    }
}

/// The folder that a path leads to, through whatever links, and the name in it; `None` where there is no such folder.
fn entry_of(path: &Path) -> Option<PathBuf> {
    Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?))
}

/// The files of a torrent that has no task.
struct OwnFiles {
    root: PathBuf,
    /// All of the torrent's, by number.
    files: Vec<FileSpec>,
    /// Which of them the torrent has made or found to be its own.
    known: Vec<bool>,
    /// The part file.
    parts: PathBuf,
}

fn own_files(entry: &Entry, keeper: Option<&Keeper>, style: NameStyle) -> Result<OwnFiles> {
    let info = entry.info()?;
    let parts = part_file_name(&info.name, &entry.info_hash);
    let placed = entry.state().placed.clone();
    let place = Place {
        keeper,
        info_hash: entry.info_hash,
        home: &entry.wishes.root,
        incomplete: entry.wishes.incomplete.as_deref(),
        placed: placed.as_deref(),
        naming: &Naming::new(&info, style),
        staging: &staging_name(&info.name, &entry.info_hash),
        wants_named: false,
    };
    let options = Options { part_file: Some(parts.clone()), ..Options::default() };
    // The right to them is given back at once: who takes it next finds nothing.
    let Located { root, files, begun } = Located::find(place, file_specs(&info), info.geometry, &options)?;
    let known = known_files(begun.as_ref(), placed.as_deref(), &files, info.geometry)?;
    // What was written last may not have been taken down.
    let torn = begun.as_ref().and_then(|begun| begun.saved.as_ref()).is_some_and(|saved| !saved.clean);
    let is_known = |(file, known): (&FileSpec, bool)| (known || torn) && !file.pad;
    let known = files.iter().zip(known).map(is_known).collect();
    Ok(OwnFiles { root, files, known, parts })
}
