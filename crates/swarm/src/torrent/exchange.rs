//! Peer exchange (BEP 11): peers are told of each other, and tell us of others.
//!
//! A contact is a peer that is connected and of which it is known where it listens: we dialled it there, or it said so
//! in its extension handshake. Each peer that takes `ut_pex` is told of the contacts that have come and gone since its
//! last message. Who is nearer than the whole world is spoken of among its neighbours alone ([`Scope`]).
//!
//! What a peer tells is hearsay. It is bounded in length and rate, all that one peer says counts as one list
//! ([`PeerList`](quelea_discovery::PeerList)), and what is left out of it is held against nobody.

mod contacts;

use super::Torrent;
use super::peer::Peer;
use crate::peers::PeerKey;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use contacts::{Contacts, Number, Told};
use core::net::SocketAddr;
use core::time::Duration;
use quelea_discovery::network::host;
use quelea_discovery::{Allowance, Scope, Source};
use quelea_time::Time;
use quelea_wire::Message;
use quelea_wire::extension::Extension;
use quelea_wire::extension::handshake::ExtensionHandshake;
use quelea_wire::extension::pex::{Flags, Pex};

/// A peer is told of others this long after it came, so that others who come at the same time are among them.
const FIRST: Duration = Duration::from_secs(2);
/// Seconds between two messages to one peer: no less than a minute (BEP 11), however long they are on the way.
const BETWEEN: core::ops::RangeInclusive<u32> = 61..=65;
/// Contacts that one message adds, and that it drops (BEP 11).
const IN_ONE_MESSAGE: usize = 50;

/// Contacts that are taken from the first message of a peer, which may name more than others (BEP 11).
const TAKEN_FIRST: usize = 200;
/// Contacts that are taken from each later message: 50 of each family.
const TAKEN: usize = 100;
/// Messages that a peer may send at once.
const BURST: u32 = 4;
/// A peer may send a message this often: half of what BEP 11 asks it to wait.
const PACE: Duration = Duration::from_secs(30);

/// A torrent's part in the exchange.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Whether it takes part.
    pub(super) on: bool,
    contacts: Contacts,
    /// Counts the comings and goings of contacts.
    changes: u64,
}

/// What was exchanged with a peer.
#[derive(Debug)]
pub(super) struct Exchanged {
    /// It, as others are told of it.
    contact: Option<Number>,
    told: Told,
    /// When it may be told more.
    due: Time,
    /// What had changed when it was told everything.
    seen: Option<u64>,
    /// It wants nothing (BEP 21).
    upload_only: bool,
    prefers_encryption: bool,
    pace: Allowance,
    /// How many contacts it has named; `None` before its first message.
    named: Option<usize>,
}

impl Exchange {
    pub(super) fn new(on: bool) -> Self {
        Self { on, contacts: Contacts::default(), changes: 0 }
    }
}

impl Exchanged {
    pub(super) fn new(now: Time) -> Self {
        Self {
            contact: None,
            told: Told::default(),
            due: now + FIRST,
            seen: None,
            upload_only: false,
            prefers_encryption: false,
            pace: Allowance::FULL,
            named: None,
        }
    }
}

impl<B> Torrent<B> {
    /// A peer is connected whom we dialled.
    pub(super) fn exchange_dialled(&mut self, key: PeerKey) {
        if let Some(address) = self.peers.get(key).filter(|peer| !peer.incoming).map(|peer| peer.address) {
            self.exchange_entered(key, address);
        }
    }

    /// A peer says of itself what others may be told.
    pub(super) fn exchange_heard(&mut self, key: PeerKey, handshake: &ExtensionHandshake) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let exchanged = &mut peer.exchanged;
        exchanged.upload_only = handshake.upload_only.unwrap_or(exchanged.upload_only);
        exchanged.prefers_encryption = handshake.encryption.unwrap_or(exchanged.prefers_encryption);
        if let (true, None, Some(port)) = (peer.incoming, exchanged.contact, handshake.port) {
            let address = SocketAddr::new(peer.address.ip(), port);
            self.exchange_entered(key, address);
        }
    }

    fn exchange_entered(&mut self, key: PeerKey, address: SocketAddr) {
        let Some(peer) = self.peers.get_mut(key).filter(|_| self.exchange.on) else { return };
        peer.exchanged.contact = self.exchange.contacts.enter(address);
        self.exchange.changes += 1;
    }

    /// A peer has left.
    pub(super) fn exchange_left(&mut self, mut peer: Peer) {
        self.exchange.contacts.forget(&mut peer.exchanged.told);
        if let Some(contact) = peer.exchanged.contact {
            self.exchange.contacts.leave(contact);
            self.exchange.changes += 1;
        }
    }

    /// Tells peers of others, each in its time.
    pub(super) fn exchange_peers(&mut self, now: Time) {
        if !self.exchange.on {
            return;
        }
        let changes = Some(self.exchange.changes);
        let due = self.peers.iter().filter(|(_, peer)| {
            let takes = peer.extensions.id(Extension::Pex).is_some();
            takes && peer.exchanged.due <= now && peer.exchanged.seen != changes
        });
        for key in due.map(|(key, _)| key).collect::<Vec<_>>() {
            self.exchange_with(now, key);
        }
    }

    fn exchange_with(&mut self, now: Time, key: PeerKey) {
        let mut added = self.contacts_new_to(key);
        self.rng.shuffle(&mut added);
        // Whom we reached others will reach.
        added.sort_by_key(|(_, flags)| !flags.has(Flags::REACHABLE));
        let wait = Duration::from_secs(u64::from(self.rng.u32(BETWEEN)));
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(id) = peer.extensions.id(Extension::Pex) else { return };
        let contacts = &mut self.exchange.contacts;
        let gone: Vec<_> = contacts.gone_for(&peer.exchanged.told).take(IN_ONE_MESSAGE + 1).collect();
        if added.len() <= IN_ONE_MESSAGE && gone.len() <= IN_ONE_MESSAGE {
            peer.exchanged.seen = Some(self.exchange.changes);
        }
        let mut pex = Pex::default();
        for (number, flags) in added.into_iter().take(IN_ONE_MESSAGE) {
            pex.added.extend(contacts.address(number).map(|address| (address, flags)));
            contacts.tell(&mut peer.exchanged.told, number);
        }
        for (number, address) in gone.into_iter().take(IN_ONE_MESSAGE) {
            pex.dropped.push(address);
            contacts.take_back(&mut peer.exchanged.told, number);
        }
        if pex.added.is_empty() && pex.dropped.is_empty() {
            return;
        }
        peer.exchanged.due = now + wait;
        self.send(now, key, Message::Extended { id, payload: pex.encode() });
    }

    /// The contacts of which a peer may be told and was not.
    fn contacts_new_to(&self, key: PeerKey) -> Vec<(Number, Flags)> {
        let Some(hearer) = self.peers.get(key) else { return Vec::new() };
        let scope = Scope::of(hearer.address.ip());
        let mut new: BTreeMap<Number, Flags> = BTreeMap::new();
        for (_, peer) in self.peers.iter() {
            let Some(number) = peer.exchanged.contact else { continue };
            if hearer.exchanged.contact != Some(number)
                && !hearer.exchanged.told.has(number)
                && may_name(scope, peer.address)
            {
                let flags = new.entry(number).or_default();
                *flags = flags.with(flags_of(peer));
            }
        }
        new.into_iter().collect()
    }

    /// A message of `ut_pex`.
    pub(super) fn handle_exchange(&mut self, now: Time, key: PeerKey, payload: &[u8]) {
        let Some(peer) = self.peers.get_mut(key).filter(|_| self.exchange.on) else { return };
        if !peer.exchanged.pace.take(now, BURST, PACE) {
            self.misdeed(now, key, "peer exchange again and again");
            return;
        }
        let Ok(pex) = Pex::parse(payload) else {
            self.misdeed(now, key, "a peer exchange that cannot be read");
            return;
        };
        let most = if peer.exchanged.named.is_none() { TAKEN_FIRST } else { TAKEN };
        let earlier = peer.exchanged.named.unwrap_or_default();
        let scope = Scope::of(peer.address.ip());
        // Many addresses of one host are rather a victim than peers; on one machine they are peers.
        let mut seen = BTreeSet::new();
        let contacts = pex.added.into_iter().take(most).filter(|(address, _)| {
            let local = Scope::of(address.ip()) == Scope::Machine;
            may_name(scope, *address) && (local || seen.insert(host(address.ip())))
        });
        let contacts = contacts.map(|(address, flags)| (address, flags.has(Flags::UPLOAD_ONLY)));
        let named = self.door.list.add_contacts(now, contacts, Source::Pex, earlier);
        peer.exchanged.named = Some(earlier.saturating_add(named));
        self.connect_more(now);
    }
}

/// Whether somebody of this scope may name an address, or hear of it. One that means nothing without the name of a
/// link is named to nobody.
fn may_name(scope: Scope, address: SocketAddr) -> bool {
    let of_link = address.is_ipv6() && Scope::of(address.ip()) == Scope::Link;
    scope.shares(Scope::of(address.ip())) && !of_link
}

fn flags_of(peer: &Peer) -> Flags {
    let mut flags = Flags::default();
    for (flag, is_true) in [
        (Flags::REACHABLE, !peer.incoming),
        (Flags::UPLOAD_ONLY, peer.is_seed || peer.exchanged.upload_only),
        (Flags::ENCRYPTION, peer.exchanged.prefers_encryption),
    ] {
        if is_true {
            flags = flags.with(flag);
        }
    }
    flags
}
