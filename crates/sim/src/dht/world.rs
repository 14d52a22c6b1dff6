//! Hosts and the datagrams between them.

use crate::agenda::Agenda;
use crate::dht::lie::{Liar, Whim};
use crate::dht::siege::Besieger;
use core::time::Duration;
use fastrand::Rng;
use quelea_dht::{Config, Dht, Distance, Event, Families, Id, SearchId};
use quelea_time::Time;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The name of a host; none is given twice.
pub(crate) type HostId = u32;

/// How long a NAT remembers whom its host has sent to.
const HOLE: Duration = Duration::from_secs(120);
/// The hosts through which all others join; they stay.
const ROUTERS: u32 = 8;

/// How a host takes part.
#[derive(Debug)]
pub(crate) enum Part {
    /// It has left.
    Gone,
    /// As the machine does.
    Honest(Box<Dht>),
    /// As the machine does, but for what it answers.
    Lying(Box<Dht>, Liar),
    /// It attacks.
    Besieging(Besieger),
}

/// A host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    pub(crate) part: Part,
    pub(crate) since: Time,
    /// Whom it has sent to, and when; `None` for one that everybody reaches.
    holes: Option<BTreeMap<HostId, Time>>,
    wakes: Time,
}

impl Host {
    pub(crate) fn dht(&self) -> Option<&Dht> {
        match &self.part {
            Part::Honest(dht) | Part::Lying(dht, _) => Some(dht),
            Part::Gone | Part::Besieging(_) => None,
        }
    }

    pub(crate) fn honest(&mut self) -> Option<&mut Dht> {
        match &mut self.part {
            Part::Honest(dht) => Some(dht),
            Part::Gone | Part::Lying(..) | Part::Besieging(_) => None,
        }
    }

    pub(crate) const fn is_honest(&self) -> bool {
        matches!(self.part, Part::Honest(_))
    }

    pub(crate) const fn is_public(&self) -> bool {
        self.holes.is_none()
    }

    /// Its id.
    pub(crate) fn id(&self) -> Option<Id> {
        self.dht().and_then(|dht| dht.ids()[0])
    }
}

/// What is going to happen.
#[derive(Debug)]
enum Happening {
    Arrive {
        from: HostId,
        to: HostId,
        bytes: Vec<u8>,
    },
    Wake(HostId),
    Leave(HostId),
    Join,
    /// Something of the trial.
    Cue(u32),
}

/// What the one who runs the world is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// A machine says something.
    Event(HostId, Event),
    /// It is time for what was planned.
    Cue(u32),
}

/// How a world is.
#[derive(Debug, Clone)]
pub(crate) struct Nature {
    pub(crate) nodes: usize,
    pub(crate) liars: u32,
    pub(crate) natted: u32,
    pub(crate) loss: u32,
    pub(crate) stay: Duration,
    pub(crate) enforce_ids: bool,
    pub(crate) seed: u64,
}

/// Hosts and the datagrams between them.
#[derive(Debug)]
pub(crate) struct World {
    nature: Nature,
    agenda: Agenda<Happening>,
    pub(crate) hosts: Vec<Host>,
    at: BTreeMap<SocketAddr, HostId>,
    /// Liars who know of each other, some of whom have left.
    accomplices: Vec<SocketAddr>,
    told: VecDeque<Told>,
    pub(crate) rng: Rng,
    /// Datagrams that were sent.
    pub(crate) datagrams: u64,
    /// Look-ups that were answered with lies.
    pub(crate) lies: u64,
}

impl World {
    /// A world whose hosts come within a third of `warm_up`.
    pub(crate) fn new(nature: Nature, warm_up: Duration) -> Self {
        let mut world = Self {
            agenda: Agenda::new(),
            hosts: Vec::new(),
            at: BTreeMap::new(),
            accomplices: Vec::new(),
            told: VecDeque::new(),
            rng: Rng::with_seed(nature.seed),
            datagrams: 0,
            lies: 0,
            nature,
        };
        for _ in 0..ROUTERS {
            world.join();
        }
        let span = warm_up.as_millis() as u64 / 3;
        for _ in ROUTERS as usize..world.nature.nodes {
            let at = Time::from_millis(world.rng.u64(1_000..span.max(1_001)));
            world.agenda.plan(at, Happening::Join);
        }
        world
    }

    pub(crate) fn now(&self) -> Time {
        self.agenda.now()
    }

    pub(crate) fn plan(&mut self, at: Time, cue: u32) {
        self.agenda.plan(at, Happening::Cue(cue));
    }

    /// An address that nobody has.
    pub(crate) fn free_address(&mut self) -> SocketAddr {
        loop {
            let ip = Ipv4Addr::from(self.rng.u32(0x0b00_0000..0x6400_0000));
            let address = SocketAddr::new(IpAddr::V4(ip), 6_881);
            if !self.at.contains_key(&address) {
                return address;
            }
        }
    }

    /// Adds a host that everybody reaches.
    pub(crate) fn settle(&mut self, address: SocketAddr, part: Part) -> HostId {
        let host = self.hosts.len() as HostId;
        let now = self.now();
        self.hosts.push(Host { address, part, since: now, holes: None, wakes: Time::MAX });
        self.at.insert(address, host);
        host
    }

    fn join(&mut self) {
        let now = self.now();
        let address = self.free_address();
        let number = self.hosts.len() as u64;
        let mut secret = [0; 32];
        self.rng.fill(&mut secret);
        let mut config = Config::new(self.nature.seed ^ (number << 20), secret);
        config.families = Families { v4: true, v6: false };
        config.enforce_ids = self.nature.enforce_ids;
        let is_router = number < u64::from(ROUTERS);
        if is_router {
            // They have been there for long, and know their addresses.
            config.saved.ids[0] = Some(Id::for_address(address.ip(), &mut self.rng));
        }
        let mut dht = Box::new(Dht::new(now, config));
        // A few entrances, as programs know them.
        for _ in 0..3 {
            let router = self.rng.usize(..ROUTERS as usize);
            if let Some(host) = self.hosts.get(router) {
                dht.add_router(now, host.address);
            }
        }
        let lies = !is_router && self.rng.u32(..1_000) < self.nature.liars;
        let natted = !is_router && !lies && self.rng.u32(..1_000) < self.nature.natted;
        let part = if lies {
            let liar = Liar::new(Whim::any(&mut self.rng), address);
            if liar.conspires() {
                self.accomplices.push(address);
            }
            Part::Lying(dht, liar)
        } else {
            Part::Honest(dht)
        };
        let host = self.settle(address, part);
        if natted {
            self.hosts[host as usize].holes = Some(BTreeMap::new());
        }
        if !is_router {
            // Exponential: whoever has stayed long stays as long again.
            let part = -(1.0 - self.rng.f64()).ln();
            let stay = self.nature.stay.mul_f64(part.min(20.0));
            self.agenda.plan(now + stay, Happening::Leave(host));
        }
        self.wake(host);
    }

    fn leave(&mut self, host: HostId) {
        let host = &mut self.hosts[host as usize];
        host.part = Part::Gone;
        host.holes = None;
        self.at.remove(&host.address);
        self.join();
    }

    /// Lets a machine do what is due, and takes what it has to say.
    pub(crate) fn wake(&mut self, host: HostId) {
        let now = self.now();
        if let Part::Honest(dht) | Part::Lying(dht, _) = &mut self.hosts[host as usize].part {
            dht.handle_timeout(now);
        }
        self.drain(host);
    }

    fn drain(&mut self, id: HostId) {
        let now = self.now();
        let Some(host) = self.hosts.get_mut(id as usize) else { return };
        let (Part::Honest(dht) | Part::Lying(dht, _)) = &mut host.part else { return };
        while let Some(event) = dht.poll_event() {
            self.told.push_back(Told::Event(id, event));
        }
        if let Some(due) = dht.timeout()
            && (due < host.wakes || host.wakes <= now)
        {
            host.wakes = due;
            self.agenda.plan(due, Happening::Wake(id));
        }
        let mut sent = Vec::new();
        while let Some(transmit) = dht.poll_transmit() {
            sent.push((transmit.to, transmit.bytes));
        }
        for (to, bytes) in sent {
            self.send(id, to, bytes);
        }
    }

    /// Sends a datagram from a host.
    pub(crate) fn send(&mut self, from: HostId, to: SocketAddr, bytes: Vec<u8>) {
        let now = self.now();
        self.datagrams += 1;
        let Some(&to) = self.at.get(&to) else { return };
        if let Some(holes) = &mut self.hosts[from as usize].holes {
            holes.insert(to, now);
            if holes.len() > 512 {
                holes.retain(|_, at| now.since(*at) < HOLE);
            }
        }
        if self.rng.u32(..1_000) < self.nature.loss {
            return;
        }
        // 10 to 60 ms mostly, and a tail.
        let base = self.rng.u64(10_000..60_000);
        let tail = if self.rng.u32(..10) == 0 { self.rng.u64(..200_000) } else { 0 };
        let late = Duration::from_micros(base + tail);
        self.agenda.plan(now + late, Happening::Arrive { from, to, bytes });
    }

    fn arrive(&mut self, from: HostId, to: HostId, bytes: &[u8]) {
        let now = self.now();
        let sender = self.hosts[from as usize].address;
        let host = &mut self.hosts[to as usize];
        if let Some(holes) = &host.holes
            && holes.get(&from).is_none_or(|at| now.since(*at) >= HOLE)
        {
            return;
        }
        let answer = match &mut host.part {
            Part::Gone => return,
            Part::Honest(dht) => {
                dht.handle_datagram(now, sender, bytes);
                None
            }
            Part::Lying(dht, liar) => {
                let lie = liar.answer(sender, bytes, &self.accomplices, &mut self.rng);
                if lie.is_none() {
                    dht.handle_datagram(now, sender, bytes);
                }
                lie
            }
            Part::Besieging(besieger) => Some(besieger.answer(sender, bytes)),
        };
        if let Some(answer) = answer {
            self.lies += 1;
            if !answer.is_empty() {
                self.send(to, sender, answer);
            }
        }
        self.drain(to);
    }

    /// Runs until there is something to tell, or until `end`: then `None`.
    pub(crate) fn next(&mut self, end: Time) -> Option<Told> {
        loop {
            if let Some(told) = self.told.pop_front() {
                return Some(told);
            }
            if self.now() >= end {
                return None;
            }
            match self.agenda.next()? {
                Happening::Arrive { from, to, bytes } => self.arrive(from, to, &bytes),
                Happening::Wake(host) => {
                    // One that was planned before a nearer one is stale.
                    if self.hosts[host as usize].wakes <= self.now() {
                        self.wake(host);
                    }
                }
                Happening::Leave(host) => self.leave(host),
                Happening::Join => self.join(),
                Happening::Cue(cue) => return Some(Told::Cue(cue)),
            }
        }
    }

    /// Begins a search on an honest host.
    pub(crate) fn search(
        &mut self,
        host: HostId,
        begin: impl FnOnce(&mut Dht, Time) -> SearchId,
    ) -> Option<SearchId> {
        let now = self.now();
        let search = begin(self.hosts.get_mut(host as usize)?.honest()?, now);
        self.drain(host);
        Some(search)
    }

    /// Any honest host that has been there for long enough to know its neighbourhood.
    pub(crate) fn settled(&mut self) -> Option<HostId> {
        for _ in 0..1_000 {
            let at = self.rng.usize(..self.hosts.len());
            if self.is_settled(&self.hosts[at]) {
                return Some(at as HostId);
            }
        }
        None
    }

    /// Whether it is honest and has been there for ten minutes, or since the beginning.
    pub(crate) fn is_settled(&self, host: &Host) -> bool {
        const SETTLED: Duration = Duration::from_secs(300);
        host.is_honest() && self.now().since(host.since) >= SETTLED
    }

    /// The honest hosts nearest to an id that everybody reaches, and that have been there for a while.
    pub(crate) fn nearest(&self, target: &Id, count: usize) -> Vec<(Id, SocketAddr)> {
        let mut all: Vec<(Distance, Id, SocketAddr)> = Vec::new();
        for host in self.hosts.iter().filter(|host| host.is_public() && self.is_settled(host)) {
            let Some(id) = host.id() else { continue };
            let distance = id.distance(target);
            if all.len() < count || all.last().is_some_and(|(farthest, ..)| distance < *farthest) {
                let at = all.partition_point(|(other, ..)| *other < distance);
                all.insert(at, (distance, id, host.address));
                all.truncate(count);
            }
        }
        all.into_iter().map(|(_, id, address)| (id, address)).collect()
    }
}
