//! The magnet links of a `get`: their metadata on its way.

use super::{Choices, Downloads, Loaded, keep_link, wish};
use crate::display;
use crate::exit::Status;
use crate::known::links::{BegunLink, LinkWishes};
use crate::metadata;
use crate::report::{Awaited, Subject};
use quelea::{AddTorrent, Error, Fetched, Fetching, MagnetRequest, TorrentId};
use quelea_metainfo::Magnet;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

/// The metadata of a link, on its way.
pub(super) struct Fetch {
    source: String,
    subject: Subject,
    fetching: Fetching,
    /// The choices of an earlier run, if one began this link.
    earlier: Option<LinkWishes>,
    /// The note of it, if any is kept.
    begun: Option<Arc<BegunLink>>,
}

/// All that are on their way.
#[derive(Default)]
pub(super) struct Fetches {
    fetches: Vec<Fetch>,
}

impl Fetches {
    pub(super) const fn is_empty(&self) -> bool {
        self.fetches.is_empty()
    }

    /// The next that ends, and how; never when there is none.
    pub(super) async fn next(&mut self) -> (Fetch, quelea::Result<Fetched>) {
        let (at, result) = std::future::poll_fn(|context| {
            for (at, fetch) in self.fetches.iter_mut().enumerate() {
                if let Poll::Ready(result) = pin!(fetch.fetching.finished()).poll(context) {
                    return Poll::Ready((at, result));
                }
            }
            Poll::Pending
        })
        .await;
        (self.fetches.swap_remove(at), result)
    }

    /// Which link an event is about.
    pub(super) fn subject(&self, id: TorrentId) -> Option<&Subject> {
        self.fetches.iter().find(|fetch| fetch.fetching.id() == id).map(|fetch| &fetch.subject)
    }

    /// How far each is.
    pub(super) fn shown(&self) -> Vec<Awaited<'_>> {
        self.fetches.iter().map(|fetch| (&fetch.subject, fetch.fetching.progress())).collect()
    }
}

/// What a link is called until the torrent's own name is known.
fn subject(magnet: &Magnet) -> Subject {
    let hash = magnet.hashes.v1_hex().or_else(|| magnet.hashes.v2_hex()).unwrap_or_default();
    let name = magnet.name.clone().filter(|name| !name.trim().is_empty());
    let name = name.unwrap_or_else(|| format!("magnet {}", hash.get(..12).unwrap_or(&hash)));
    Subject { place: display::clean(&name), name, info_hash: hash }
}

impl Downloads<'_> {
    /// Begins to follow a link, perhaps one that was begun earlier.
    pub(super) fn follow(&mut self, source: String, mut magnet: Magnet, earlier: Option<LinkWishes>) {
        self.options.trackers.apply_to_link(&mut magnet);
        let subject = subject(&magnet);
        let alone = self.options.discovery.no_dht && self.options.discovery.no_lsd;
        if metadata::is_hopeless(&magnet, &self.peers, alone) {
            self.report.warn(metadata::HOPELESS);
        } else if magnet.trackers.is_empty() && magnet.peers.is_empty() && self.peers.is_empty() {
            let name = display::clean(&subject.name);
            self.report.say(&format!(
                "{name}: the link names no tracker: the metadata, of which the download is made, comes when peers are \
                 found without one"
            ));
        }
        let begun = self.state_dir.as_deref().map(|state| {
            let Choices { select, priority } = Choices::of(self.options);
            let wishes = || LinkWishes::new(&self.options.output_dir, select, priority);
            let wishes = earlier.clone().unwrap_or_else(wishes);
            Arc::new(BegunLink::new(&magnet, &subject.name, wishes, state))
        });
        let mut request = MagnetRequest::new(magnet);
        request.peers.clone_from(&self.peers);
        match self.session.fetch_metadata(request) {
            Ok(fetching) => {
                self.keeping.extend(begun.clone().map(keep_link));
                self.fetches.fetches.push(Fetch { source, subject, fetching, earlier, begun });
            }
            Err(Error::Duplicate) => self.report.say(&format!("{source}: the same torrent is given twice")),
            Err(error) => self.fail(&source, Some(&subject), &error.into()),
        }
    }

    /// A link's metadata is here, or never will be.
    pub(super) fn fetched(&mut self, fetch: Fetch, result: quelea::Result<Fetched>) {
        let Fetch { source, subject, earlier, begun, .. } = fetch;
        match result.map_err(Into::into).and_then(|fetched| self.read(&source, fetched, earlier, begun)) {
            Ok(loaded) => self.waiting.push_back(loaded),
            Err(error) => self.fail(&source, Some(&subject), &error),
        }
    }

    /// What is wanted of the torrent that a link led to.
    fn read(
        &mut self,
        source: &str,
        fetched: Fetched,
        earlier: Option<LinkWishes>,
        link: Option<Arc<BegunLink>>,
    ) -> anyhow::Result<Loaded> {
        let metainfo = fetched.metainfo();
        self.report.metadata(source, metainfo);
        let chosen = fetched.select_only().map(|chosen| {
            let numbered = (0u32..).zip(&metainfo.info.files);
            numbered.map(|(number, file)| !file.pad && chosen.contains(number)).collect::<Vec<bool>>()
        });
        let choices = earlier.as_ref().map_or_else(
            || Choices::of(self.options),
            |earlier| Choices { select: &earlier.select, priority: &earlier.priority },
        );
        if choices.select.is_empty() && chosen.as_ref().is_some_and(|chosen| !chosen.contains(&true)) {
            return Err(Status::Usage.because(
                "the link selects no file of the torrent (so): choose some with --select, '*' for all",
            ));
        }
        let mut torrent = AddTorrent::from_magnet(fetched);
        torrent.peers.clone_from(&self.peers);
        wish(&mut torrent, self.options, Some(choices))?;
        torrent.wanted = torrent.wanted.or(chosen);
        torrent.output_dir = earlier.map(|earlier| earlier.directory);
        Ok(Loaded { source: source.to_owned(), torrent, link })
    }
}
