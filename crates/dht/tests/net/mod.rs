//! A network of nodes in virtual time: each datagram takes its time, some are lost.

// Each test program uses a part of it.
#![allow(dead_code)]

use quelea_dht::{Config, Dht, Event, Families, Found, Saved, SearchId};
use quelea_time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// A datagram on its way.
struct Flying {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

pub(crate) struct Network {
    now: Time,
    nodes: Vec<Option<Dht>>,
    at: BTreeMap<SocketAddr, usize>,
    flying: BTreeMap<(Time, u64), Flying>,
    count: u64,
    rng: fastrand::Rng,
    /// How many of a thousand datagrams are lost.
    pub(crate) loss: u32,
    /// Who has sent to whom.
    pub(crate) sent: BTreeSet<(SocketAddr, SocketAddr)>,
}

fn config(node: usize, saved: Saved) -> Config {
    let mut secret = [0; 32];
    secret[..8].copy_from_slice(&(node as u64 + 1).to_be_bytes());
    let families = Families { v4: true, v6: false };
    Config { families, saved, ..Config::new(node as u64, secret) }
}

fn address_of(node: usize) -> SocketAddr {
    // A network for each.
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0b00_0001 + ((node as u32) << 8))), 6_881)
}

impl Network {
    /// This many nodes, all of which know the first.
    pub(crate) fn new(count: usize, seed: u64) -> Self {
        Self::with(count, seed, |config| config)
    }

    /// The same, of nodes that are made otherwise.
    pub(crate) fn with(count: usize, seed: u64, change: impl Fn(Config) -> Config) -> Self {
        let mut network = Self {
            now: Time::from_secs(1),
            nodes: Vec::new(),
            at: BTreeMap::new(),
            flying: BTreeMap::new(),
            count: 0,
            rng: fastrand::Rng::with_seed(seed),
            loss: 20,
            sent: BTreeSet::new(),
        };
        for node in 0..count {
            let mut dht = Dht::new(network.now, change(config(node, Saved::default())));
            if node > 0 {
                dht.add_router(network.now, address_of(0));
            }
            network.nodes.push(Some(dht));
            network.at.insert(address_of(node), node);
        }
        network
    }

    pub(crate) fn now(&self) -> Time {
        self.now
    }

    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        address_of(node)
    }

    pub(crate) fn dht(&mut self, node: usize) -> &mut Dht {
        self.nodes[node].as_mut().expect("the node is there")
    }

    pub(crate) fn stop(&mut self, node: usize) {
        self.nodes[node] = None;
    }

    pub(crate) fn restart(&mut self, node: usize, saved: Saved) {
        self.nodes[node] = Some(Dht::new(self.now, config(node, saved)));
    }

    pub(crate) fn events(&mut self, node: usize) -> Vec<Event> {
        let dht = self.dht(node);
        std::iter::from_fn(|| dht.poll_event()).collect()
    }

    fn collect(&mut self, node: usize) {
        let from = address_of(node);
        let Some(dht) = self.nodes[node].as_mut() else { return };
        while let Some(sent) = dht.poll_transmit() {
            assert!(sent.bytes.len() <= 1_500, "{} bytes in a datagram", sent.bytes.len());
            self.sent.insert((from, sent.to));
            if self.rng.u32(..1_000) < self.loss {
                continue;
            }
            self.count += 1;
            let arrival = self.now + Duration::from_millis(self.rng.u64(10..120));
            self.flying.insert((arrival, self.count), Flying { from, to: sent.to, bytes: sent.bytes });
        }
    }

    /// Lets time pass.
    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        for node in 0..self.nodes.len() {
            self.collect(node);
        }
        loop {
            let due = |(node, dht): (usize, &Option<Dht>)| Some((dht.as_ref()?.timeout()?, node));
            let wake = self.nodes.iter().enumerate().filter_map(due).min();
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let next = [wake.map(|(at, _)| at), arrival].into_iter().flatten().min().unwrap_or(end);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if arrival == Some(next) {
                if let Some((_, flying)) = self.flying.pop_first()
                    && let Some(&node) = self.at.get(&flying.to)
                    && let Some(dht) = self.nodes[node].as_mut()
                {
                    dht.handle_datagram(self.now, flying.from, &flying.bytes);
                    self.collect(node);
                }
            } else if let Some((_, node)) = wake {
                let now = self.now;
                self.dht(node).handle_timeout(now);
                self.collect(node);
            }
        }
        self.now = end;
    }
}

/// Runs until the search has ended; its events and what it came to.
pub(crate) fn result(network: &mut Network, node: usize, search: SearchId) -> (Vec<Event>, Found) {
    let mut events = Vec::new();
    for _ in 0..600 {
        network.run_for(Duration::from_millis(200));
        events.append(&mut network.events(node));
        let done = events.iter().find_map(|event| match event {
            Event::Done(id, found) if *id == search => Some(found.clone()),
            _ => None,
        });
        if let Some(found) = done {
            return (events, found);
        }
    }
    panic!("the search has no end: {:?}", network.dht(node));
}

/// The peers that were told.
pub(crate) fn peers(events: &[Event]) -> Vec<SocketAddr> {
    let peers = events.iter().filter_map(|event| match event {
        Event::Peers(_, peers) => Some(peers.clone()),
        _ => None,
    });
    peers.flatten().collect()
}
