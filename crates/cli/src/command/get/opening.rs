//! Torrents that were read, on their way into the session, a few at a time.

use super::{AT_ONCE, Again, Downloads, Entry, keep};
use crate::display;
use crate::exit;
use crate::known::Begun;
use crate::known::links::BegunLink;
use crate::report::Subject;
use quelea::{AddTorrent, Snapshot, Torrent, TorrentId, content_path};
use quelea_metainfo::Info;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A torrent that was read, and the name of its source.
pub(super) struct Loaded {
    pub(super) source: String,
    pub(super) torrent: AddTorrent,
    /// The link that led to it.
    pub(super) link: Option<Arc<BegunLink>>,
}

/// A torrent that the session was asked to open and has not given back yet.
pub(super) struct Announced {
    pub(super) source: String,
    pub(super) subject: Subject,
    pub(super) dir: PathBuf,
    pub(super) path: PathBuf,
}

/// A torrent that the session has taken, what is to be noted of it in which state directory, and the link that led to it.
pub(super) type Opened = (Torrent, Option<(Begun, PathBuf)>, Option<Arc<BegunLink>>);

impl Downloads<'_> {
    /// Hands what waits to the session, unless one of the same name is being opened.
    pub(super) fn open_more(&mut self) {
        while self.opening.len() < AT_ONCE {
            let free = |loaded: &Loaded| {
                let name = &loaded.torrent.metainfo.info.name;
                self.announced.iter().all(|announced| announced.subject.name != *name)
            };
            let Some(at) = self.waiting.iter().position(free) else { return };
            let Some(Loaded { source, torrent, link }) = self.waiting.remove(at) else { return };
            if let Some(saving) = &self.saving
                && let Err(error) = saving.save(&torrent.metainfo)
            {
                self.worst = self.worst.worse(exit::status_of(&error));
                self.report.warn(&error.to_string());
            }
            let info = &torrent.metainfo.info;
            if self.has(info) {
                self.report.say(&format!("{source}: the same torrent is given twice"));
                continue;
            }
            let dir = torrent.output_dir.clone().unwrap_or_else(|| self.options.output_dir.clone());
            let path = content_path(info, &dir, self.options.names);
            let subject = Subject {
                name: info.name.clone(),
                info_hash: info.hashes.v1_hex().or_else(|| info.hashes.v2_hex()).unwrap_or_default(),
                place: place(&path),
            };
            let (session, name) = (self.session.clone(), info.name.clone());
            let begun = self.state_dir.clone().map(|state| (Begun::new(&torrent, &dir), state));
            self.announced.push(Announced { source, subject, dir, path });
            self.opening.spawn(async move {
                let added = session.add(torrent).await;
                (name, added.map(|torrent| (torrent, begun, link)))
            });
        }
    }

    /// Whether a torrent of the session is the same.
    fn has(&self, info: &Info) -> bool {
        let namesakes = self.entries.values().filter_map(|entry| entry.torrent.as_ref());
        let infos = namesakes.filter(|other| other.name() == info.name).filter_map(|other| other.info().ok());
        infos.into_iter().any(|other| other.hashes.wire() == info.hashes.wire())
    }

    /// The session has checked what was there, or refuses the torrent.
    pub(super) fn opened(&mut self, name: &str, opened: quelea::Result<Opened>) {
        match opened {
            Ok((torrent, begun, link)) => {
                self.keeping.spawn(keep(begun, link));
                let id = torrent.id();
                self.meet(id, &torrent.snapshot());
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.torrent = Some(torrent);
                }
                self.announced.retain(|announced| announced.subject.name != name);
                self.look(id);
            }
            Err(error) => {
                self.entries.retain(|_, entry| entry.torrent.is_some() || entry.subject.name != name);
                if let Some(at) = self.announced.iter().position(|announced| announced.subject.name == name) {
                    let Announced { source, subject, .. } = self.announced.swap_remove(at);
                    self.fail(&source, Some(&subject), &error.into());
                }
            }
        }
    }

    /// Makes the entry of a torrent that was not heard of yet.
    pub(super) fn meet(&mut self, id: TorrentId, snapshot: &Arc<Snapshot>) {
        if self.entries.contains_key(&id) {
            return;
        }
        let Some(announced) = self.announced.iter().find(|each| each.subject.name == snapshot.name) else {
            return;
        };
        self.report.added(&announced.source, &announced.subject, snapshot);
        self.entries.insert(
            id,
            Entry {
                subject: announced.subject.clone(),
                dir: announced.dir.clone(),
                path: announced.path.clone(),
                torrent: None,
                latest: Arc::clone(snapshot),
                started: None,
                complete: None,
                again: Again::No,
                over: false,
            },
        );
    }
}

/// Where the torrent's file or folder is written, to be shown.
fn place(path: &Path) -> String {
    display::clean(&path.strip_prefix(".").unwrap_or(path).to_string_lossy())
}
