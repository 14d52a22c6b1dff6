//! Which ports a gateway forwards to us: what to ask of it, when, and by which protocol (PCP, RFC 6887; NAT-PMP,
//! RFC 6886; UPnP IGD).
//!
//! Owns: the methods tried in turn, the external port that is wished for, leases and their renewal, what is done
//! when a gateway refuses, restarts or is gone; what the packets of PCP look like ([`pcp`]). Does not own: sockets, the
//! routing table, the packets of the others.
//!
//! IPv6 addresses are not translated, but a router's firewall keeps others from them as well: it is asked by PCP to let
//! them in (RFC 6887, section 2.2), the one of these protocols that it speaks.
//!
//! TCP and UDP get the same external port where the gateway can give it, as one number is told to everybody.
//! A gateway is not believed more than needed: a lease counts as a day at most, and it is asked no more often than once in
//! four seconds for the same mapping (RFC 6887, section 11.2.1). What it says of how long an error lasts is not heeded.

mod ask;
pub mod pcp;
mod slot;
#[cfg(test)]
mod tests;

pub use ask::{Ask, AskId, Gateway, Grant, Mapping, Method, Output, Route, Transport, Trouble};

use crate::reach::{is_inner, is_public};
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;
use fastrand::Rng;
use quelea_time::Time;
use slot::{Held, Slot};

/// Leases are asked for this long where nothing else is said (RFC 6886 recommends two hours; with one, what a program
/// that was killed leaves behind is gone sooner).
pub const LEASE: Duration = Duration::from_secs(3600);
/// A mapping that holds for good is looked after as if it held this long: a gateway may forget it.
const FOR_GOOD: Duration = Duration::from_secs(3600);
/// The longest lease that is believed.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Nothing is renewed sooner than this after it was asked for.
const BREATH: Duration = Duration::from_secs(4);
/// Other external ports that are tried where the wished one is taken.
const PORTS: u32 = 8;
/// How often both mappings are given back because their ports differ.
const ROUNDS: u32 = 3;
/// The external ports that are tried when others are taken.
const OTHERS: core::ops::Range<u16> = 10_000..60_000;
/// After all methods have failed the next try is this far away, then twice as far each time, up to an hour.
const REST: Duration = Duration::from_secs(120);
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// What a mapper is made from.
#[derive(Debug, Clone)]
pub struct Config {
    /// The port that we listen on, by TCP and UDP.
    pub port: u16,
    /// The methods to try, in this order.
    pub methods: Vec<Method>,
    /// The lease to ask for.
    pub lease: Duration,
    /// The seed of the external ports that are tried when others are taken.
    pub seed: u64,
}

/// Keeps our port forwarded by the gateway of one network, of either family.
///
/// The driver tells it the way out ([`Self::handle_route`]) and the time, and drains [`Self::poll_output`] after each
/// call. It answers every [`Output::Ask`] with [`Self::handle_answer`], within a bounded time.
#[derive(Debug)]
pub struct Mapper {
    config: Config,
    rng: Rng,
    route: Option<Route>,
    /// The methods that the route allows.
    methods: Vec<Method>,
    /// The method that is tried, or that works.
    turn: usize,
    tcp: Slot,
    udp: Slot,
    /// What the methods said that failed.
    reasons: Vec<(Method, String)>,
    /// How often all methods have failed in a row.
    failures: u32,
    rounds: u32,
    /// When all methods are tried anew.
    rest: Option<Time>,
    /// The gateway's time when it last told it.
    epoch: Option<(Time, u32)>,
    next_id: u64,
    outputs: VecDeque<Output>,
    stopped: bool,
}

impl Mapper {
    /// A mapper that knows no way out.
    pub fn new(config: Config) -> Self {
        Self {
            rng: Rng::with_seed(config.seed),
            route: None,
            methods: Vec::new(),
            turn: 0,
            tcp: Slot::default(),
            udp: Slot::default(),
            reasons: Vec::new(),
            failures: 0,
            rounds: 0,
            rest: None,
            epoch: None,
            next_id: 0,
            outputs: VecDeque::new(),
            stopped: false,
            config,
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn timeout(&self) -> Option<Time> {
        if self.stopped {
            return None;
        }
        [self.tcp.due(), self.udp.due(), self.rest].into_iter().flatten().min()
    }

    /// What is forwarded to us.
    pub fn mappings(&self) -> impl Iterator<Item = &Mapping> {
        [&self.tcp, &self.udp].into_iter().filter_map(|slot| Some(&slot.held.as_ref()?.mapping))
    }

    /// The way out, as the routing table has it at the moment; `None` where there is none. A machine whose IPv4 address
    /// is no inner one needs no mapping, and one whose IPv6 address is none of the world has no use of one.
    pub fn handle_route(&mut self, now: Time, route: Option<Route>) {
        let of_use = |route: &Route| match route.local {
            IpAddr::V4(local) => is_inner(local),
            IpAddr::V6(_) => is_public(route.local),
        };
        let route = route.filter(of_use);
        if self.stopped || route == self.route {
            return;
        }
        self.route = route;
        self.epoch = None;
        self.failures = 0;
        for transport in [Transport::Tcp, Transport::Udp] {
            let held = self.slot(transport).held.as_ref().map(|held| held.mapping.clone());
            self.lose(transport);
            // An address of IPv6 that another one has come in place of is ours for some time, and so is its port.
            let rest = held.filter(|mapping| mapping.local.is_ipv6());
            self.outputs.extend(rest.map(Output::Release));
        }
        self.start(now);
    }

    /// Something happened to the network: whether the mappings are still there is asked at once.
    pub fn handle_doubt(&mut self, now: Time) {
        if self.rest.is_some() {
            self.start(now);
        }
        for slot in [&mut self.tcp, &mut self.udp] {
            slot.hurry(now);
        }
    }

    /// The time has come that [`Self::timeout`] told.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.stopped {
            return;
        }
        if self.rest.is_some_and(|rest| rest <= now) {
            self.start(now);
        }
        for transport in [Transport::Tcp, Transport::Udp] {
            if self.slot(transport).due().is_some_and(|due| due <= now) {
                self.ask(transport);
            }
        }
    }

    /// What came of an ask. Answers to asks that do not matter any more are ignored.
    pub fn handle_answer(&mut self, now: Time, id: AskId, answer: Result<Grant, Trouble>) {
        let asked = |slot: &Slot| slot.asked == Some(id);
        let transport = match (asked(&self.tcp), asked(&self.udp)) {
            (true, _) => Transport::Tcp,
            (_, true) => Transport::Udp,
            _ => return,
        };
        self.slot(transport).asked = None;
        match answer {
            Ok(Grant { external_port: 0, .. }) => {
                self.troubled(now, transport, &Trouble::Failed("it gave no port".to_string()));
            }
            Ok(grant) => self.granted(now, transport, &grant),
            Err(trouble) => self.troubled(now, transport, &trouble),
        }
    }

    /// Gives back what is held; nothing is asked from here on.
    pub fn stop(&mut self) {
        self.stopped = true;
        for transport in [Transport::Tcp, Transport::Udp] {
            let ask = self.describe(transport);
            let slot = self.slot(transport);
            let pending = slot.asked.take().is_some();
            // By UPnP a port is named that may be another host's, as long as it was not granted.
            let perhaps = ask.filter(|ask| pending && ask.method != Method::Upnp);
            if let Some(held) = slot.held.take() {
                self.outputs.push_back(Output::Release(held.mapping));
            } else if let Some(ask) = perhaps {
                self.outputs.push_back(Output::Release(ask.as_mapping()));
            }
        }
    }

    fn slot(&mut self, transport: Transport) -> &mut Slot {
        match transport {
            Transport::Tcp => &mut self.tcp,
            Transport::Udp => &mut self.udp,
        }
    }

    /// Tries all methods anew.
    fn start(&mut self, now: Time) {
        self.rest = None;
        self.reasons.clear();
        self.rounds = 0;
        self.turn = 0;
        let Some(route) = self.route else { return };
        let possible = |method: &Method| match method {
            Method::Pcp => route.gateway.is_some(),
            Method::NatPmp => route.gateway.is_some() && route.local.is_ipv4(),
            Method::Upnp => route.local.is_ipv4(),
        };
        self.methods = self.config.methods.iter().copied().filter(possible).collect();
        self.try_method(now);
    }

    /// Asks by the method whose turn it is, or rests when there are no more.
    fn try_method(&mut self, now: Time) {
        self.tcp = Slot::default();
        self.udp = Slot::default();
        if self.turn < self.methods.len() {
            self.tcp.wished = self.config.port;
            self.ask(Transport::Tcp);
            return;
        }
        let rest = REST.saturating_mul(1 << self.failures.min(16)).min(LONGEST_REST);
        self.failures = self.failures.saturating_add(1);
        self.rest = Some(now + rest);
        self.outputs.push_back(Output::Unmapped(core::mem::take(&mut self.reasons)));
    }

    /// What would be asked for a transport.
    fn describe(&self, transport: Transport) -> Option<Ask> {
        let slot = if transport == Transport::Tcp { &self.tcp } else { &self.udp };
        let (route, method) = (self.route?, *self.methods.get(self.turn)?);
        let external_port = slot.held.as_ref().map_or(slot.wished, |held| held.mapping.external_port);
        Some(Ask {
            id: AskId(self.next_id),
            method,
            transport,
            route,
            port: self.config.port,
            external_port,
            lease: (!slot.for_good).then_some(self.config.lease),
        })
    }

    fn ask(&mut self, transport: Transport) {
        let Some(ask) = self.describe(transport) else { return };
        self.next_id += 1;
        self.slot(transport).asked = Some(ask.id);
        self.outputs.push_back(Output::Ask(ask));
    }

    fn granted(&mut self, now: Time, transport: Transport, grant: &Grant) {
        let restarted = self.note_epoch(now, grant.epoch);
        let Some(ask) = self.describe(transport) else { return };
        let mapping = Mapping {
            external_port: grant.external_port,
            external_ip: grant.external_ip,
            ..ask.as_mapping()
        };
        let lease = grant.lease.unwrap_or(FOR_GOOD).min(LONGEST);
        let slot = self.slot(transport);
        let before = slot.held.replace(Held { mapping: mapping.clone(), until: now + lease });
        slot.renew = Some(now + (lease / 2).max(BREATH));
        slot.tries = 0;
        slot.wished = grant.external_port;
        self.failures = 0;
        self.rest = None;
        if self.apart() && self.rounds < ROUNDS {
            return self.go_elsewhere();
        }
        if before.is_none_or(|before| before.mapping != mapping) {
            self.outputs.push_back(Output::Mapped(mapping));
        }
        if transport == Transport::Tcp && self.udp.is_idle() {
            self.udp.wished = grant.external_port;
            self.ask(Transport::Udp);
        }
        if restarted {
            // What else it forwarded to us it has forgotten.
            self.slot(transport.other()).hurry(now);
        }
    }

    /// Whether TCP and UDP have different external ports.
    fn apart(&self) -> bool {
        let port = |slot: &Slot| slot.held.as_ref().map(|held| held.mapping.external_port);
        port(&self.tcp).zip(port(&self.udp)).is_some_and(|(tcp, udp)| tcp != udp)
    }

    /// Gives both mappings back and asks for another port, as one of the two is somebody else's.
    fn go_elsewhere(&mut self) {
        self.rounds += 1;
        let wished = self.rng.u16(OTHERS);
        for transport in [Transport::Udp, Transport::Tcp] {
            let slot = self.slot(transport);
            slot.asked = None;
            slot.renew = None;
            slot.wished = wished;
            if let Some(held) = slot.held.take() {
                self.outputs.push_back(Output::Release(held.mapping));
            }
        }
        self.ask(Transport::Tcp);
    }

    /// Whether the gateway's time shows that it has restarted since it last told it (RFC 6886, section 3.6).
    fn note_epoch(&mut self, now: Time, epoch: Option<u32>) -> bool {
        let Some(epoch) = epoch else { return false };
        let before = self.epoch.replace((now, epoch));
        before.is_some_and(|(then, before)| {
            let passed = now.since(then).as_secs() * 7 / 8;
            u64::from(epoch) + 2 < u64::from(before) + passed
        })
    }

    fn troubled(&mut self, now: Time, transport: Transport, trouble: &Trouble) {
        let other = self.rng.u16(OTHERS);
        let other_held = self.slot(transport.other()).held.is_some();
        let slot = self.slot(transport);
        match trouble {
            Trouble::Conflict if slot.tries < PORTS => {
                // Where it was ours, somebody else has got it in the meantime.
                slot.tries += 1;
                slot.wished = other;
                self.lose(transport);
                self.ask(transport);
                return;
            }
            Trouble::OnlyForGood if !slot.for_good => {
                slot.for_good = true;
                self.ask(transport);
                return;
            }
            Trouble::Conflict | Trouble::OnlyForGood | Trouble::Failed(_) => {}
        }
        let until = slot.held.as_ref().map(|held| held.until);
        if let Some(until) = until.filter(|until| *until > now) {
            slot.renew = Some(now + (until.since(now) / 2).max(BREATH));
            return;
        }
        self.lose(transport);
        if other_held {
            // One of the two is better than none.
            let again = now + (self.config.lease / 2).max(BREATH);
            let slot = self.slot(transport);
            slot.tries = 0;
            slot.renew = Some(again);
            return;
        }
        if until.is_some() {
            return self.start(now);
        }
        if let Some(method) = self.methods.get(self.turn) {
            self.reasons.push((*method, trouble.to_string()));
        }
        self.turn += 1;
        self.try_method(now);
    }

    /// A mapping is there no more, whether or not we wished so.
    fn lose(&mut self, transport: Transport) {
        let slot = self.slot(transport);
        slot.renew = None;
        slot.asked = None;
        if let Some(held) = slot.held.take() {
            self.outputs.push_back(Output::Lost(held.mapping));
        }
    }
}
