//! How others reach the session: forwarded ports and outside addresses, and who is told of them.

use super::{Inner, Session};
use crate::driver::ToTorrent;
use crate::driver::mapping::{Family, MappingTask};
use crate::entry::Entry;
use crate::mapping::PortMapping;
use crate::outside::Outside;
use quelea_discovery::mapping::{Config, Mapper};
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use tokio::sync::{mpsc, oneshot};

impl Session {
    /// The ports that a gateway forwards to this session at the moment, at most one by TCP and one by UDP of each
    /// family, IPv4 before IPv6. Empty without [`Settings::port_mapping`](crate::Settings::port_mapping), and where no
    /// gateway does.
    pub fn port_mappings(&self) -> Vec<PortMapping> {
        self.inner.outside.mappings()
    }

    /// Our addresses as the world sees them, IPv4 before IPv6, at most one of each: what trackers (BEP 24), peers
    /// (BEP 10), nodes of the DHT (BEP 42) and the gateway agree upon. Empty until enough of them have spoken.
    pub fn external_addresses(&self) -> Vec<IpAddr> {
        self.inner.outside.addresses()
    }

    /// Tells a torrent's task how others reach us.
    pub(super) async fn tell_face(&self, entry: &Entry) {
        if let Some(mailbox) = entry.mailbox() {
            let _ = mailbox.send(ToTorrent::Face(self.inner.outside.face())).await;
        }
    }

    /// Gives forwarded ports back. What comes back ends when the gateway has been told.
    pub(super) async fn give_ports_back(&self) {
        let mut waits = Vec::new();
        for mapper in &self.inner.mappers {
            let (done, told) = oneshot::channel();
            if mapper.send(done).await.is_ok() {
                waits.push(told);
            }
        }
        for told in waits {
            // It ends without a word.
            let _ = told.await;
        }
    }
}

/// Tells a mapper's task to give everything back.
pub(super) type StopMapper = mpsc::Sender<oneshot::Sender<()>>;

/// The task that keeps the session's port forwarded by the gateway of one family, and how to stop it.
pub(super) fn mapping_task(
    family: Family,
    config: Config,
    nonce: [u8; 12],
    outside: &Arc<Outside>,
    clock: crate::clock::Clock,
    binding: &Arc<quelea_net::Binding>,
) -> (MappingTask, StopMapper) {
    let (stopper, stop) = mpsc::channel(1);
    let task = MappingTask {
        family,
        mapper: Mapper::new(config),
        outside: Arc::clone(outside),
        clock,
        binding: Arc::clone(binding),
        stop,
        nonce,
    };
    (task, stopper)
}

/// Tells torrents and trackers whenever others reach us otherwise, until the session is gone.
pub(super) async fn follow_outside(inner: Weak<Inner>, outside: Arc<Outside>) {
    let mut told = outside.face();
    loop {
        outside.changed().await;
        let face = outside.face();
        let Some(inner) = inner.upgrade() else { return };
        if face == told {
            continue;
        }
        if face.port != told.port {
            inner.trackers.set_port(face.port);
        }
        told = face;
        let session = Session { inner };
        for entry in session.entries() {
            session.tell_face(&entry).await;
        }
        for fetch in session.fetches() {
            let _ = fetch.send(ToTorrent::Face(told.clone())).await;
        }
    }
}
