//! What the library is told of the session's torrents.

use super::{Session, Shared};
use crate::entry::{Entry, Known};
use quelea_resume::{Kept, Leaving};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Session {
    /// Puts a torrent into the library, if there is one.
    pub(super) fn remember_new(&self, entry: &Arc<Entry>) {
        let Some(library) = self.inner.library.get() else { return };
        let Ok(info) = entry.info() else { return };
        library.put(self.kept(entry, Leaving::No), Some(Arc::clone(&info)));
        let mut state = entry.state();
        if matches!(state.info, Known::Here(_)) {
            state.info = Known::InLibrary(Arc::downgrade(&info), Arc::downgrade(library));
        }
    }

    /// Tells the library how a torrent stands.
    pub(crate) fn remember(&self, entry: &Entry) {
        let leaving = entry.state().leaving;
        if let Some(library) = self.inner.library.get().filter(|_| !leaving) {
            if entry.link.is_some() {
                return self.remember_link(entry, library);
            }
            library.put(self.kept(entry, Leaving::No), None);
        }
    }

    /// Comes once the library has what it was told.
    pub(crate) async fn written(&self) {
        if let Some(library) = self.inner.library.get() {
            let (done, written) = tokio::sync::oneshot::channel();
            library.when_written(Box::new(move || _ = done.send(())));
            // A library that ends has written all it could.
            let _ = written.await;
        }
    }

    /// The torrents have other places.
    pub(super) fn renumber(&self, shared: &Shared) {
        for (position, id) in shared.queue.order().iter().enumerate() {
            if let Some(entry) = shared.torrents.get(id) {
                entry.position.store(position, Ordering::Relaxed);
            }
        }
        if let Some(library) = self.inner.library.get() {
            library.set_order(shared.queue.order().iter().map(|id| id.0).collect());
        }
    }

    pub(super) fn kept(&self, entry: &Entry, leaving: Leaving) -> Kept {
        let id = entry.id;
        let shared = self.shared();
        let queue = &shared.queue;
        let standing = queue.standing(id);
        let (forced, waived, goals) = (queue.is_forced(id), queue.is_waived(id), queue.goals(id));
        let seeded = queue.seeded(self.inner.clock.now(), id);
        drop(shared);
        let state = entry.state();
        let (wanted, priorities) = (entry.wishes.wanted.as_ref(), entry.wishes.priorities.as_ref());
        let bits = |files: &[bool]| {
            files.iter().zip(0..).fold(0, |byte, (&wanted, at)| byte | (u8::from(wanted) << (7 - at)))
        };
        let bytes = |limit: Option<NonZeroU64>| limit.map_or(0, NonZeroU64::get);
        Kept {
            id: id.0,
            info_hash: entry.info_hash,
            directory: entry.wishes.root.to_path_buf(),
            name: entry.name.as_ref().to_owned(),
            private: entry.private,
            trackers: state.trackers.clone(),
            labels: state.labels.clone(),
            wanted: wanted.map(|wanted| wanted.chunks(8).map(bits).collect()),
            incomplete: entry.wishes.incomplete.as_deref().map(Into::into),
            wants_named: state.wants_named,
            preallocate: entry.wishes.preallocate,
            seeding: state.whole,
            paused: standing == Some(quelea_swarm::queue::Standing::Paused),
            forced,
            waived,
            goals,
            seeded,
            total_length: state.figures.total_length,
            wanted_length: state.figures.wanted_length,
            wanted_have: state.figures.wanted_have,
            pieces: state.figures.pieces,
            pieces_have: state.figures.pieces_have,
            moved: state.figures.moved_ever,
            limits: (bytes(state.limits.download), bytes(state.limits.upload)),
            leaving,
            priorities: priorities.map(|all| all.iter().map(|priority| priority.get()).collect()),
            sequential: entry.sequential.load(Ordering::Relaxed),
            super_seeding: entry.super_seeding.load(Ordering::Relaxed),
        }
    }
}
