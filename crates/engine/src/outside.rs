//! How the world reaches this session: the ports that a gateway forwards, and the address that others see.

use crate::clock::Clock;
use crate::mapping::{Method, PortMapping, Transport};
use crate::{Event, Settings};
use quelea_discovery::external::{External, Witness};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, broadcast, watch};

/// What is known of our outside. Everything that sees us somewhere tells it here; who must know of a change waits for
/// [`Outside::changed`].
pub(crate) struct Outside {
    clock: Clock,
    port: u16,
    state: Mutex<State>,
    changed: Notify,
    doubts: watch::Sender<()>,
    events: broadcast::WeakSender<Event>,
}

#[derive(Default)]
struct State {
    external: External,
    /// By whether they are of IPv6, and by transport.
    mappings: BTreeMap<(bool, Transport), PortMapping>,
}

/// What others are told of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Face {
    /// The port at which others reach us by TCP.
    pub(crate) port: u16,
    /// Our addresses as the world sees them, at most one a family.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Outside {
    /// Of a session that listens on `port`.
    pub(crate) fn new(clock: Clock, port: u16, events: broadcast::WeakSender<Event>) -> Self {
        let doubts = watch::Sender::new(());
        Self { clock, port, state: Mutex::default(), changed: Notify::new(), doubts, events }
    }

    /// Somebody sees us at this address.
    pub(crate) fn vote(&self, witness: Witness, address: IpAddr) {
        let decided = self.state().external.vote(self.clock.now(), witness, address);
        if let Some(address) = decided {
            self.tell(Event::ExternalAddress(address));
            self.changed.notify_one();
        }
    }

    /// Our network was gone, and is back: who saw us before may have seen us elsewhere.
    pub(crate) fn doubt(&self) {
        self.state().external.forget_votes();
        self.doubts.send_replace(());
    }

    /// Hears of each doubt from here on.
    pub(crate) fn doubts(&self) -> watch::Receiver<()> {
        self.doubts.subscribe()
    }

    /// Our addresses as the world sees them, IPv4 first.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.state().external.addresses().collect()
    }

    /// The ports that are forwarded to us, those of IPv4 first, and TCP first.
    pub(crate) fn mappings(&self) -> Vec<PortMapping> {
        self.state().mappings.values().cloned().collect()
    }

    /// The port at which others reach us: the one that is forwarded by IPv4, else the one that is listened on. One port
    /// is told to everybody, though by IPv6 others come in to the one that is listened on.
    pub(crate) fn port(&self, transport: Transport) -> u16 {
        self.state().mappings.get(&(false, transport)).map_or(self.port, |mapping| mapping.external_port)
    }

    /// What others are told of us.
    pub(crate) fn face(&self) -> Face {
        Face { port: self.port(Transport::Tcp), addresses: self.addresses() }
    }

    /// A gateway forwards a port to us.
    pub(crate) fn mapped(&self, mapping: PortMapping) {
        self.state().mappings.insert(row(&mapping), mapping.clone());
        if let Some(address) = mapping.external_ip {
            self.vote(Witness::Gateway, address);
        }
        self.tell(Event::PortMapped(mapping));
        self.changed.notify_one();
    }

    /// A port is given back.
    pub(crate) fn unmapped(&self, mapping: &PortMapping) {
        self.state().mappings.remove(&row(mapping));
        self.changed.notify_one();
    }

    /// A port is forwarded no more, though we wished it.
    pub(crate) fn lost(&self, mapping: PortMapping) {
        self.unmapped(&mapping);
        self.tell(Event::PortMappingLost(mapping));
    }

    /// No gateway forwards our port, for these reasons.
    pub(crate) fn not_mapped(&self, reasons: &[(Method, String)]) {
        let reasons: Vec<String> = reasons.iter().map(|(method, why)| format!("{method}: {why}")).collect();
        self.tell(Event::PortNotMapped(reasons.join("; ")));
    }

    /// Waits until what others are told of us may be something else.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn tell(&self, event: Event) {
        if let Some(events) = self.events.upgrade() {
            let _ = events.send(event);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a mapping stands.
fn row(mapping: &PortMapping) -> (bool, Transport) {
    (mapping.local.is_ipv6(), mapping.transport)
}

impl Settings {
    /// What the mapper of a session that listens on `port` is made from, where ports are to be mapped.
    pub(crate) fn mapper(&self, port: u16, seed: u64) -> Option<quelea_discovery::mapping::Config> {
        let wishes = self.port_mapping.as_ref()?;
        Some(quelea_discovery::mapping::Config {
            port,
            methods: wishes.methods.clone(),
            lease: wishes.lease.max(std::time::Duration::from_secs(10)),
            seed,
        })
    }
}
