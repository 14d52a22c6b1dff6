//! The way through the network to the nodes nearest to an id, of one family (BEP 5, "get_peers", "find_node").
//!
//! Asks the nearest nodes known for nearer ones, a few at a time, until the nearest ones have all answered. Nodes that
//! may have their ids (BEP 42) count for themselves: the walk ends when the nearest of all and the nearest of these have
//! answered, so invented nodes near the target keep nobody from the real ones.
//!
//! Nobody is believed about others. A node is what it says itself, so a wrong name for it hides it from nobody. Whoever
//! names nodes that do not answer is in doubt soon: what it alone has named is asked last, and little of it. A node
//! that is silent is asked again before the walk ends without it, as a datagram may be lost.

mod nearest;
mod sources;
#[cfg(test)]
mod tests;

use crate::Id;
use crate::table::K;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use nearest::Nearest;
use quelea_time::Time;
use sources::{Source, Sources};

/// Queries under way at a time; slow ones do not count.
const ALPHA: usize = 4;
/// Nodes that a walk remembers: of those whose ids fit their addresses, and of the others.
const MEMORY: usize = 64;
/// Nodes of one answer that are looked at, and those nearest to the target that are taken.
const PER_ANSWER: [usize; 2] = [64, K];
/// Queries of one walk in all.
const MAX_QUERIES: usize = 300;
/// Queries to nodes that only those in doubt have named.
const DOUBTFUL_QUERIES: usize = 8;
/// How often a silent node is asked again: once for each that named it, and so often at most.
const RETRIES: u8 = 2;
/// Names and ports that one address may be said to have until it has answered.
const PER_ADDRESS: usize = 3;
/// Those who named a node, as far as they are remembered.
const NAMERS: usize = 4;

/// A node on the way that has answered, or may be asked.
#[derive(Debug, Clone)]
struct Stop {
    id: Id,
    address: SocketAddr,
    fits: bool,
    state: State,
    /// Who named it, nobody for what we knew ourselves.
    namers: Vec<Source>,
    /// How many nodes had to be asked one after the other to hear of it, and it.
    depth: u16,
    token: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Asked,
    /// It was asked, and has been slow since.
    Silent,
    Answered,
}

/// A query under way.
#[derive(Debug)]
struct UnderWay {
    address: SocketAddr,
    slow: bool,
    /// Datagrams that are not given up yet.
    datagrams: u8,
    retries: u8,
}

/// Whom to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// Where it is.
    pub address: SocketAddr,
    /// What it is called; `None` where that is not known, or has been asked before.
    pub id: Option<Id>,
}

/// A node at the end of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// What it is called.
    pub id: Id,
    /// Where it is.
    pub address: SocketAddr,
    /// What lets us write there; `None` when it gave none.
    pub token: Option<Vec<u8>>,
}

/// A walk towards an id.
#[derive(Debug)]
pub struct Walk {
    target: Id,
    /// Nearest first.
    stops: Vec<Stop>,
    /// Where to begin when nobody is known: addresses without names.
    entrances: Vec<SocketAddr>,
    under_way: Vec<UnderWay>,
    sources: Sources,
    /// Addresses that did not answer.
    failed: Vec<SocketAddr>,
    queries: usize,
    doubtful_queries: usize,
    /// Ids that do not fit their addresses are left aside.
    enforce: bool,
    /// When it began.
    pub began: Time,
}

impl Walk {
    /// A walk that begins nowhere yet.
    pub fn new(now: Time, target: Id, enforce: bool) -> Self {
        Self {
            target,
            stops: Vec::new(),
            entrances: Vec::new(),
            under_way: Vec::new(),
            sources: Sources::default(),
            failed: Vec::new(),
            queries: 0,
            doubtful_queries: 0,
            enforce,
            began: now,
        }
    }

    /// Where it leads.
    pub fn target(&self) -> Id {
        self.target
    }

    /// Queries so far.
    pub fn queries(&self) -> usize {
        self.queries
    }

    /// How many nodes had to be asked one after the other to reach the nearest one that answered.
    pub fn steps(&self) -> usize {
        let nearest = self.stops.iter().find(|stop| stop.state == State::Answered);
        nearest.map_or(0, |stop| usize::from(stop.depth))
    }

    /// Adds an address whose name is not known.
    pub fn add_entrance(&mut self, address: SocketAddr) {
        if !self.entrances.contains(&address) {
            self.entrances.push(address);
        }
    }

    /// Adds a node that we knew before.
    pub fn add_known(&mut self, id: Id, address: SocketAddr) {
        self.insert(id, address, None);
    }

    /// Adds nodes that `namer` named. What cannot be a node is left out, and what somebody far away says to stand in
    /// our own network.
    pub fn add(&mut self, namer: SocketAddr, nodes: impl IntoIterator<Item = (Id, SocketAddr)>) {
        let [looked_at, taken] = PER_ANSWER;
        let may_be = |address: &SocketAddr| crate::id::may_name(namer.ip(), *address);
        let mut nodes: Vec<_> =
            nodes.into_iter().take(looked_at).filter(|(_, address)| may_be(address)).collect();
        nodes.sort_unstable_by_key(|(id, _)| id.distance(&self.target));
        let stops = &self.stops;
        let depth = || stops.iter().find(|stop| stop.address == namer).map_or(1, |stop| stop.depth);
        let source = self.sources.at(namer.ip(), depth);
        for (id, address) in nodes.into_iter().take(taken) {
            self.insert(id, address, Some(source));
        }
    }

    /// Leaves those at these addresses alone: nobody else is asked, waited for or reached.
    pub fn retain(&mut self, keep: impl Fn(IpAddr) -> bool) {
        self.stops.retain(|stop| keep(stop.address.ip()));
        self.entrances.retain(|address| keep(address.ip()));
        self.under_way.retain(|query| keep(query.address.ip()));
    }

    fn insert(&mut self, id: Id, address: SocketAddr, namer: Option<Source>) {
        let fits = id.fits(address.ip());
        let depth = self.sources.depth_behind(namer);
        if address.port() == 0 || (self.enforce && !fits) || self.failed.contains(&address) {
            return;
        }
        if let Some(stop) = self.stops.iter_mut().find(|stop| stop.id == id && stop.address == address) {
            stop.depth = stop.depth.min(depth);
            if let Some(namer) = namer
                && !stop.namers.is_empty()
                && stop.namers.len() < NAMERS
                && !stop.namers.contains(&namer)
            {
                stop.namers.push(namer);
            }
            return;
        }
        let local = crate::id::is_local(address.ip());
        let mut at_address = 0;
        for stop in &self.stops {
            let same = stop.address == address || (!local && stop.address.ip() == address.ip());
            if same && stop.state == State::Answered {
                return;
            }
            at_address += usize::from(same);
        }
        if at_address >= PER_ADDRESS {
            return;
        }
        let silent = |query: &UnderWay| query.slow || query.retries > 0;
        let state = match self.under_way.iter().find(|query| query.address == address) {
            None => State::New,
            Some(query) if silent(query) => State::Silent,
            Some(_) => State::Asked,
        };
        let namers = namer.into_iter().collect();
        self.place(Stop { id, address, fits, state, namers, depth, token: None });
        self.forget(fits);
    }

    fn place(&mut self, stop: Stop) {
        let distance = stop.id.distance(&self.target);
        let at = self.stops.partition_point(|other| other.id.distance(&self.target) < distance);
        self.stops.insert(at, stop);
    }

    /// Drops a node of its kind that is not asked, once there are too many: the farthest that is in doubt, or else the
    /// farthest.
    fn forget(&mut self, fits: bool) {
        if self.stops.iter().filter(|stop| stop.fits == fits).count() <= MEMORY {
            return;
        }
        let spare = |stop: &Stop| stop.fits == fits && stop.state == State::New;
        let doubtful = |stop: &Stop| spare(stop) && self.sources.doubt(&stop.namers);
        let at = self.stops.iter().rposition(doubtful).or_else(|| self.stops.iter().rposition(spare));
        if let Some(at) = at {
            self.stops.remove(at);
        }
    }

    /// Whom to ask next, if anybody.
    pub fn ask_next(&mut self) -> Option<Next> {
        let under_way = self.under_way.iter().filter(|query| !query.slow).count();
        if under_way >= ALPHA || self.queries >= MAX_QUERIES {
            return None;
        }
        if self.stops.len() < K {
            while let Some(address) = self.entrances.pop() {
                if self.stops.iter().all(|stop| stop.address != address || stop.state == State::New)
                    && self.under_way.iter().all(|query| query.address != address)
                    && !self.failed.contains(&address)
                {
                    return Some(self.ask(address, None));
                }
            }
        }
        if let Some((at, doubtful)) = self.nearest_unasked() {
            let stop = &self.stops[at];
            let (id, address) = (stop.id, stop.address);
            self.doubtful_queries += usize::from(doubtful);
            return Some(self.ask(address, Some(id)));
        }
        let waits = |query: &UnderWay| {
            query.slow && query.retries < self.retries(query.address) && self.is_awaited(query.address)
        };
        let at = self.under_way.iter().position(waits)?;
        self.queries += 1;
        let query = &mut self.under_way[at];
        query.slow = false;
        query.datagrams += 1;
        query.retries += 1;
        Some(Next { address: query.address, id: None })
    }

    /// How often it is worth asking again: most of those that never answer are named by one alone.
    fn retries(&self, address: SocketAddr) -> u8 {
        let worth = |stop: &Stop| match stop.namers.len() {
            0 => RETRIES,
            _ if self.sources.doubt(&stop.namers) => 0,
            namers => (namers as u8).min(RETRIES),
        };
        let at_address = self.stops.iter().filter(|stop| stop.address == address);
        at_address.map(worth).max().unwrap_or(RETRIES)
    }

    fn ask(&mut self, address: SocketAddr, id: Option<Id>) -> Next {
        self.queries += 1;
        self.under_way.push(UnderWay { address, slow: false, datagrams: 1, retries: 0 });
        for stop in self.stops.iter_mut().filter(|stop| stop.address == address) {
            stop.state = State::Asked;
        }
        Next { address, id }
    }

    /// The nearest node to ask that counts, and whether it is in doubt.
    fn nearest_unasked(&self) -> Option<(usize, bool)> {
        let trusted = |stop: &Stop| stop.state != State::New || !self.sources.doubt(&stop.namers);
        if let Some(at) = self.nearest_new(trusted) {
            return Some((at, false));
        }
        if self.doubtful_queries >= DOUBTFUL_QUERIES {
            return None;
        }
        self.nearest_new(|_| true).map(|at| (at, true))
    }

    /// The nearest node that is not asked yet, of those that count among these. Who is silent takes no place: those
    /// behind it are asked meanwhile.
    fn nearest_new(&self, among: impl Fn(&Stop) -> bool) -> Option<usize> {
        let mut nearest = Nearest::default();
        for (at, stop) in self.stops.iter().enumerate() {
            if stop.state == State::Silent || !among(stop) {
                continue;
            }
            if nearest.counts(stop.fits) && stop.state == State::New {
                return Some(at);
            }
            nearest.pass(stop.fits);
            if nearest.is_full() {
                break;
            }
        }
        None
    }

    /// Whether the end of the walk waits for an address: it may be one of the nearest, or name some.
    fn is_awaited(&self, address: SocketAddr) -> bool {
        let mut nearest = Nearest::default();
        let mut known = false;
        for stop in self.stops.iter().filter(|stop| stop.state != State::New) {
            if stop.address == address {
                known = true;
                if nearest.counts(stop.fits) {
                    return true;
                }
            }
            nearest.pass(stop.fits);
        }
        !known
    }

    /// Whether everybody who matters has answered, or nobody is left to ask.
    pub fn is_over(&self) -> bool {
        if self.queries >= MAX_QUERIES {
            return self.under_way.iter().all(|query| query.slow);
        }
        let may_enter = self.stops.len() < K && !self.entrances.is_empty();
        !may_enter
            && self.nearest_unasked().is_none()
            && !self.under_way.iter().any(|query| self.is_awaited(query.address))
    }

    /// A node answered, perhaps with a token. It is called what it says, whatever others call it. Whether it was asked
    /// and had not answered before.
    pub fn answered(&mut self, id: Id, address: SocketAddr, token: Option<&[u8]>) -> bool {
        let asked = self.under_way.iter().position(|query| query.address == address);
        if asked.map(|at| self.under_way.swap_remove(at)).is_none() {
            return false;
        }
        let mut namers = Vec::new();
        let mut depth = 1;
        while let Some(at) = self.stops.iter().position(|stop| stop.address == address) {
            let stop = self.stops.remove(at);
            if stop.id == id {
                depth = stop.depth;
                self.sources.judge(&stop.namers, true);
                namers = stop.namers;
            } else {
                self.sources.judge(&stop.namers, false);
            }
        }
        let fits = id.fits(address.ip());
        let local = crate::id::is_local(address.ip());
        let taken = |stop: &Stop| stop.state == State::Answered && stop.address.ip() == address.ip();
        if (self.enforce && !fits) || (!local && self.stops.iter().any(taken)) {
            self.failed.push(address);
            return true;
        }
        let token = token.map(<[u8]>::to_vec);
        self.place(Stop { id, address, fits, state: State::Answered, namers, depth, token });
        true
    }

    /// A node is slow: somebody else is asked meanwhile.
    pub fn slow(&mut self, address: SocketAddr) {
        let Some(query) = self.under_way.iter_mut().find(|query| query.address == address) else { return };
        query.slow = true;
        for stop in self.stops.iter_mut().filter(|stop| stop.address == address) {
            stop.state = State::Silent;
        }
    }

    /// A datagram to a node will not be answered.
    pub fn failed(&mut self, address: SocketAddr) {
        let Some(at) = self.under_way.iter().position(|query| query.address == address) else { return };
        let query = &mut self.under_way[at];
        query.datagrams -= 1;
        if query.datagrams > 0 {
            return;
        }
        self.under_way.swap_remove(at);
        self.failed.push(address);
        while let Some(at) = self.stops.iter().position(|stop| stop.address == address) {
            let stop = self.stops.remove(at);
            self.sources.judge(&stop.namers, false);
        }
    }

    /// The nearest that answered, of all and of those whose ids fit; only such as gave a token, where one is needed.
    pub fn reached(&self, with_token: bool) -> Vec<Reached> {
        let answered = |stop: &&Stop| stop.state == State::Answered && (stop.token.is_some() || !with_token);
        let mut nearest = Nearest::default();
        let mut reached = Vec::new();
        for stop in self.stops.iter().filter(answered) {
            if nearest.counts(stop.fits) {
                reached.push(Reached { id: stop.id, address: stop.address, token: stop.token.clone() });
            }
            nearest.pass(stop.fits);
        }
        reached
    }
}
