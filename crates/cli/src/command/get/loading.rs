//! Sources of downloads, while they are read and fetched, a few at a time.

use super::AT_ONCE;
use crate::display;
use crate::known::links::{BegunLink, KnownLink, LinkWishes};
use crate::known::{Begun, Known};
use crate::source::{self, Found, Source, WebAccess};
use quelea::AddTorrent;
use quelea_metainfo::Magnet;
use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// A torrent that is to be downloaded.
#[derive(Debug, Clone)]
pub(crate) enum Given {
    Source(Source),
    /// One that was begun earlier.
    Known(Box<Known>),
    /// One that was begun earlier by a link, whose metadata did not come.
    Link(Box<KnownLink>),
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(source) => source.fmt(f),
            Self::Known(known) => f.write_str(&display::clean(known.name())),
            Self::Link(link) => f.write_str(&display::clean(link.name())),
        }
    }
}

/// The sources while they are read and fetched, a few at a time.
pub(super) struct Loading<'a> {
    given: std::slice::Iter<'a, Given>,
    access: Arc<WebAccess>,
    /// In the order of the command line, which decides whether of two that clash one is refused.
    tasks: VecDeque<(String, JoinHandle<anyhow::Result<Read>>)>,
}

/// The content of a source that is to be downloaded.
pub(super) enum Read {
    Source(Box<Found>),
    Known(Box<AddTorrent>),
    Link(Box<(Magnet, LinkWishes)>),
}

impl<'a> Loading<'a> {
    pub(super) fn new(given: &'a [Given], access: WebAccess) -> Self {
        Self { given: given.iter(), access: Arc::new(access), tasks: VecDeque::new() }
    }

    /// The next that is there, or why it is not; `None` when there are no more.
    pub(super) async fn next(&mut self) -> Option<(String, anyhow::Result<Read>)> {
        while self.tasks.len() < AT_ONCE
            && let Some(given) = self.given.next()
        {
            let (access, name) = (Arc::clone(&self.access), given.to_string());
            let task =
                match given.clone() {
                    Given::Source(source) => tokio::spawn(async move {
                        source::load(source, &access).await.map(Box::new).map(Read::Source)
                    }),
                    Given::Known(known) => {
                        tokio::task::spawn_blocking(move || known.torrent().map(Box::new).map(Read::Known))
                    }
                    Given::Link(link) => tokio::spawn(async move {
                        Ok(Read::Link(Box::new((link.magnet()?, link.wishes().clone()))))
                    }),
                };
            self.tasks.push_back((name, task));
        }
        // Waiting for the task may be broken off, so it leaves the queue only when it is done.
        let loaded = (&mut self.tasks.front_mut()?.1).await.map_err(anyhow::Error::from).flatten();
        let (source, _) = self.tasks.pop_front()?;
        Some((source, loaded))
    }

    pub(super) fn is_done(&self) -> bool {
        self.tasks.is_empty() && self.given.len() == 0
    }
}

/// Notes that a torrent was begun, for `quelea list` and `quelea resume`, in the place of the link that led to it. It goes
/// on without that.
pub(super) async fn keep(begun: Option<(Begun, PathBuf)>, link: Option<Arc<BegunLink>>) {
    let Some((begun, state)) = begun else { return };
    let keep = move || {
        begun.keep(&state)?;
        if let Some(link) = link {
            link.forget();
        }
        Ok(())
    };
    let kept = tokio::task::spawn_blocking(keep).await;
    if let Err(error) = kept.map_err(anyhow::Error::from).flatten() {
        tracing::warn!(%error, "quelea list and quelea resume will not know this torrent");
    }
}

/// Notes that a link was begun, likewise.
pub(super) async fn keep_link(link: Arc<BegunLink>) {
    let kept = tokio::task::spawn_blocking(move || link.keep()).await;
    if let Err(error) = kept.map_err(anyhow::Error::from).flatten() {
        tracing::warn!(%error, "quelea list and quelea resume will not know this link");
    }
}
