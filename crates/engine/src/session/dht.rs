//! The session's part in the DHT: starting its node, ending it, and which torrents it hears of.

use super::Session;
use crate::clock::Clock;
use crate::dht::Dht;
use crate::driver::dht::{COMMANDS, Command, Desk, Refused, Save, Setup, Sockets, run};
use crate::driver::trackers::Missing;
use crate::entry::Entry;
use crate::outside::Outside;
use crate::{Event, Publisher, Settings};
use quelea_dht::schedule::Need;
use quelea_dht::{Config, Id, Saved};
use quelea_metainfo::PublisherLink;
use quelea_net::Binding;
use quelea_resume::{NodeFile, SavedNodes};
use quelea_storage::Pipeline;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot};

/// What the node is started with.
pub(super) struct Starting<'a> {
    pub(super) settings: &'a Settings,
    pub(super) clock: Clock,
    pub(super) binding: &'a Arc<Binding>,
    pub(super) outside: &'a Arc<Outside>,
    pub(super) home: &'a Handle,
    pub(super) pipeline: &'a Arc<Pipeline>,
    pub(super) events: &'a broadcast::Sender<Event>,
    pub(super) warn: &'a dyn Fn(String),
}

impl Starting<'_> {
    /// Starts the node, unless there is nothing to start it on.
    pub(super) fn start(
        self,
        sockets: Sockets,
        refused: Vec<Refused>,
        rng: &mut fastrand::Rng,
    ) -> Option<Arc<Desk>> {
        for (address, error) in refused {
            (self.warn)(format!(
                "the UDP port {address} cannot be used ({error}), so the DHT goes without it; name another port"
            ));
        }
        let mut secret = [0; 32];
        if let Err(error) = getrandom::fill(&mut secret) {
            (self.warn)(format!("the system gives no random numbers, so there is no DHT: {error}"));
            return None;
        }
        if sockets.is_empty() {
            return None;
        }
        let (file, saved) = self.saved();
        let (commander, commands) = mpsc::channel(COMMANDS);
        let desk =
            Desk::new(commander, self.clock, Arc::clone(self.outside), rng.u64(..), self.events.downgrade());
        let config = Config {
            read_only: self.settings.dht_read_only,
            enforce_ids: self.settings.dht_enforce_ids,
            allowance: self.settings.dht_allowance,
            saved,
            ..Config::new(rng.u64(..), secret)
        };
        self.home.spawn(run(Setup {
            desk: Arc::clone(&desk),
            config,
            sockets,
            binding: Arc::clone(self.binding),
            bootstrap: self.settings.dht_bootstrap.clone(),
            commands,
            clock: self.clock,
            save: self.save(file),
        }));
        Some(desk)
    }

    /// What an earlier session knew.
    fn saved(&self) -> (Option<Arc<NodeFile>>, Saved) {
        let Some(directory) = &self.settings.state_dir else { return Default::default() };
        match NodeFile::open(directory, self.warn) {
            Ok((file, saved)) => {
                let nodes = saved.nodes.into_iter().map(|(id, address)| (Id(id), address)).collect();
                (Some(Arc::new(file)), Saved { ids: saved.ids.map(|id| id.map(Id)), nodes })
            }
            Err(error) => {
                (self.warn)(format!(
                    "the nodes of the DHT in {} cannot be used: {error}",
                    directory.display()
                ));
                Default::default()
            }
        }
    }

    /// Keeps what the node knows, on a disk thread.
    fn save(&self, file: Option<Arc<NodeFile>>) -> Save {
        let pipeline = Arc::downgrade(self.pipeline);
        Box::new(move |saved, done| {
            let (Some(file), Some(pipeline)) = (file.clone(), pipeline.upgrade()) else { return };
            pipeline.run(move || {
                let nodes = saved.nodes.into_iter().map(|(id, address)| (id.0, address)).collect();
                let saved = SavedNodes { ids: saved.ids.map(|id| id.map(|id| id.0)), nodes };
                if let Err(error) = file.save(&saved) {
                    tracing::warn!(%error, "the nodes of the DHT could not be saved");
                }
                drop(done);
            });
        })
    }
}

impl Session {
    /// The session's node of the DHT; `None` where it has none.
    pub fn dht(&self) -> Option<Dht> {
        self.inner.dht.clone().map(Dht::new)
    }

    /// Follows the publisher whom a link names (BEP 46).
    pub fn follow_publisher(&self, link: PublisherLink) -> Publisher {
        Publisher::new(self.clone(), link)
    }

    /// The node, for a torrent that may be known to it: never for a private one (BEP 27).
    pub(super) fn dht_of(&self, entry: &Entry) -> Option<&Arc<Desk>> {
        self.inner.dht.as_ref().filter(|_| !entry.private)
    }

    pub(super) fn enter_dht(&self, entry: &Entry, missing: Missing) {
        if let Some(desk) = self.dht_of(entry) {
            desk.enter(entry, Need::of(missing.of_torrent, missing.of_wanted, true));
        }
    }

    pub(super) fn leave_dht(&self, entry: &Entry) {
        if let Some(desk) = self.dht_of(entry) {
            desk.leave(entry.id);
        }
    }

    pub(super) fn detach_dht(&self, entry: &Entry) {
        if let Some(desk) = self.dht_of(entry) {
            desk.detach(entry.id);
        }
    }

    /// Ends the node once what it knows is saved.
    pub(super) async fn close_dht(&self) {
        let Some(desk) = &self.inner.dht else { return };
        let (done, saved) = oneshot::channel();
        if desk.commands.send(Command::Stop(done)).await.is_ok() {
            // It ends without a word.
            let _ = saved.await;
        }
    }
}
