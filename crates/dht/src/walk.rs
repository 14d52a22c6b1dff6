//! The way through the network to the nodes nearest to an id, of one family (BEP 5, "get_peers", "find_node").
//!
//! Asks the nearest nodes known for nearer ones, a few at a time, until the nearest ones have all answered. Nodes that
//! may have their ids (BEP 42) count for themselves: the walk ends when the nearest of all and the nearest of these have
//! answered, so invented nodes near the target keep nobody from the real ones.

use crate::Id;
use crate::table::K;
use alloc::vec::Vec;
use core::net::SocketAddr;
use quelea_time::Time;

/// Queries under way at a time; slow ones do not count.
const ALPHA: usize = 4;
/// Nodes that a walk remembers: of those whose ids fit their addresses, and of the others.
const MEMORY: usize = 64;
/// Nodes taken from one answer.
const PER_ANSWER: usize = 16;
/// Queries of one walk in all.
const MAX_QUERIES: usize = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Asked,
    Slow,
    Answered,
    Failed,
}

/// A node on the way.
#[derive(Debug, Clone)]
struct Stop {
    id: Id,
    address: SocketAddr,
    fits: bool,
    state: State,
    token: Option<Vec<u8>>,
}

/// A node at the end of a walk, which gave a token.
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
    queries: usize,
    /// Entrances that are asked and have not answered.
    knocking: usize,
    /// Ids that do not fit their addresses are left aside.
    enforce: bool,
    /// When it began.
    pub began: Time,
}

impl Walk {
    /// A walk that begins at these nodes.
    pub fn new(now: Time, target: Id, enforce: bool) -> Self {
        Self {
            target,
            stops: Vec::new(),
            entrances: Vec::new(),
            queries: 0,
            knocking: 0,
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

    /// Adds an address whose name is not known.
    pub fn add_entrance(&mut self, address: SocketAddr) {
        if !self.entrances.contains(&address) {
            self.entrances.push(address);
        }
    }

    /// Adds nodes that somebody named. What cannot be a node, and a second one at an address, is left out.
    pub fn add(&mut self, nodes: impl IntoIterator<Item = (Id, SocketAddr)>) {
        for (id, address) in nodes.into_iter().take(PER_ANSWER) {
            let fits = id.fits(address.ip());
            if address.port() == 0 || (self.enforce && !fits) {
                continue;
            }
            let same = |stop: &Stop| {
                stop.address == address
                    || stop.id == id
                    || (stop.address.ip() == address.ip() && !crate::id::is_local(address.ip()))
            };
            if self.stops.iter().any(same) {
                continue;
            }
            let distance = id.distance(&self.target);
            let at = self.stops.partition_point(|stop| stop.id.distance(&self.target) < distance);
            self.stops.insert(at, Stop { id, address, fits, state: State::New, token: None });
            self.forget(fits);
        }
    }

    /// Drops the farthest node of its kind that is not asked, once there are too many.
    fn forget(&mut self, fits: bool) {
        if self.stops.iter().filter(|stop| stop.fits == fits).count() <= MEMORY {
            return;
        }
        let spare = |stop: &Stop| stop.fits == fits && matches!(stop.state, State::New | State::Failed);
        if let Some(at) = self.stops.iter().rposition(spare) {
            self.stops.remove(at);
        }
    }

    /// Whom to ask next, if anybody. The id is `None` for an entrance.
    pub fn ask_next(&mut self) -> Option<(Option<Id>, SocketAddr)> {
        let under_way = self.stops.iter().filter(|stop| stop.state == State::Asked).count();
        if under_way + self.knocking >= ALPHA || self.queries >= MAX_QUERIES {
            return None;
        }
        let known = self.stops.iter().filter(|stop| stop.state != State::Failed).count();
        if known < K
            && let Some(address) = self.entrances.pop()
        {
            self.knocking += 1;
            self.queries += 1;
            return Some((None, address));
        }
        let at = self.nearest_unasked()?;
        let stop = &mut self.stops[at];
        stop.state = State::Asked;
        self.queries += 1;
        Some((Some(stop.id), stop.address))
    }

    /// The nearest node to ask that is among the nearest of all, or among the nearest of those that fit.
    fn nearest_unasked(&self) -> Option<usize> {
        let (mut all, mut fitting) = (0, 0);
        for (at, stop) in self.stops.iter().enumerate() {
            if stop.state == State::Failed {
                continue;
            }
            let counts = all < K || (stop.fits && fitting < K);
            if counts && stop.state == State::New {
                return Some(at);
            }
            all += 1;
            fitting += usize::from(stop.fits);
            if all >= K && fitting >= K {
                return None;
            }
        }
        None
    }

    /// Whether everybody who matters has answered, or nobody is left to ask.
    pub fn is_over(&self) -> bool {
        if self.queries >= MAX_QUERIES {
            return !self.stops.iter().any(|stop| stop.state == State::Asked);
        }
        if self.nearest_unasked().is_some() || self.knocking > 0 {
            return false;
        }
        let known = self.stops.iter().filter(|stop| stop.state != State::Failed).count();
        if known < K && !self.entrances.is_empty() {
            return false;
        }
        // Those that are asked and matter may yet name somebody.
        let (mut all, mut fitting) = (0, 0);
        for stop in &self.stops {
            if stop.state == State::Failed {
                continue;
            }
            let counts = all < K || (stop.fits && fitting < K);
            if counts && matches!(stop.state, State::Asked | State::Slow) {
                return false;
            }
            all += 1;
            fitting += usize::from(stop.fits);
        }
        true
    }

    /// A node answered, perhaps with a token.
    pub fn answered(&mut self, id: Id, address: SocketAddr, token: Option<&[u8]>) {
        if let Some(stop) = self.stops.iter_mut().find(|stop| stop.address == address) {
            if stop.id == id {
                stop.state = State::Answered;
                stop.token = token.map(<[u8]>::to_vec);
            } else {
                // It is not who it was said to be.
                stop.state = State::Failed;
            }
            return;
        }
        self.knocking = self.knocking.saturating_sub(1);
        self.add([(id, address)]);
        if let Some(stop) = self.stops.iter_mut().find(|stop| stop.address == address && stop.id == id) {
            stop.state = State::Answered;
            stop.token = token.map(<[u8]>::to_vec);
        }
    }

    /// A node is slow: somebody else is asked meanwhile.
    pub fn slow(&mut self, address: SocketAddr) {
        if let Some(stop) = self.stops.iter_mut().find(|stop| stop.address == address)
            && stop.state == State::Asked
        {
            stop.state = State::Slow;
        }
    }

    /// A node will not answer.
    pub fn failed(&mut self, address: SocketAddr) {
        match self.stops.iter_mut().find(|stop| stop.address == address) {
            Some(stop) => stop.state = State::Failed,
            None => self.knocking = self.knocking.saturating_sub(1),
        }
    }

    /// The nearest that answered: of all, and of those whose ids fit.
    pub fn reached(&self) -> Vec<Reached> {
        let answered = self.stops.iter().filter(|stop| stop.state == State::Answered);
        let (mut all, mut fitting) = (0, 0);
        let mut reached = Vec::new();
        for stop in answered {
            if all < K || (stop.fits && fitting < K) {
                reached.push(Reached { id: stop.id, address: stop.address, token: stop.token.clone() });
            }
            all += 1;
            fitting += usize::from(stop.fits);
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};

    /// A still network: each node knows its neighbours and some others.
    struct Network {
        nodes: BTreeMap<SocketAddr, (Id, Vec<(Id, SocketAddr)>)>,
    }

    fn network(count: u32, seed: u64) -> Network {
        let mut rng = Rng::with_seed(seed);
        let all: Vec<(Id, SocketAddr)> = (0..count)
            .map(|number| {
                let ip = IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + (number << 8)));
                (Id::for_address(ip, &mut rng), SocketAddr::new(ip, 1))
            })
            .collect();
        let mut nodes = BTreeMap::new();
        for &(id, address) in &all {
            let mut table = crate::table::Table::new(id);
            for &(other, at) in &all {
                table.answered(Time::ZERO, other, at);
            }
            let known = table.iter().map(|entry| (entry.id, entry.address)).collect();
            nodes.insert(address, (id, known));
        }
        Network { nodes }
    }

    impl Network {
        fn nearest_known(&self, at: SocketAddr, target: &Id) -> Vec<(Id, SocketAddr)> {
            let mut known = self.nodes[&at].1.clone();
            known.sort_by_key(|(id, _)| id.distance(target));
            known.truncate(K);
            known
        }

        fn run(&self, walk: &mut Walk, silent: impl Fn(SocketAddr) -> bool) {
            while !walk.is_over() {
                let Some((_, address)) = walk.ask_next() else {
                    panic!("nobody to ask, and not over: {walk:?}")
                };
                if silent(address) || !self.nodes.contains_key(&address) {
                    walk.failed(address);
                    continue;
                }
                let id = self.nodes[&address].0;
                walk.answered(id, address, Some(b"token"));
                walk.add(self.nearest_known(address, &walk.target()));
            }
        }

        fn nearest(&self, target: &Id) -> Vec<SocketAddr> {
            let mut all: Vec<_> =
                self.nodes.iter().map(|(address, (id, _))| (id.distance(target), *address)).collect();
            all.sort_unstable();
            all.into_iter().take(K).map(|(_, address)| address).collect()
        }
    }

    #[test]
    fn a_walk_ends_at_the_nearest_nodes_of_all() {
        let network = network(800, 1);
        let mut rng = Rng::with_seed(2);
        for _ in 0..20 {
            let target = Id::random(&mut rng);
            let mut walk = Walk::new(Time::ZERO, target, false);
            let (&start, _) = network.nodes.iter().nth(rng.usize(..800)).unwrap();
            walk.add_entrance(start);
            network.run(&mut walk, |_| false);
            let reached: Vec<_> = walk.reached().iter().map(|reached| reached.address).collect();
            assert_eq!(reached[..K], network.nearest(&target)[..]);
            assert!(walk.queries() < 60, "{} queries", walk.queries());
        }
    }

    #[test]
    fn silent_nodes_are_walked_around() {
        let network = network(800, 3);
        let target = Id([9; 20]);
        let silent = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => (u32::from(ip) >> 8) % 5 == 0,
            IpAddr::V6(_) => false,
        };
        let mut walk = Walk::new(Time::ZERO, target, false);
        let start = *network.nodes.keys().nth(1).unwrap();
        walk.add_entrance(start);
        network.run(&mut walk, silent);
        let expected: Vec<_> = network.nearest(&target).into_iter().filter(|at| !silent(*at)).collect();
        let reached: Vec<_> = walk.reached().iter().map(|reached| reached.address).collect();
        assert!(expected.iter().all(|address| reached.contains(address)), "{expected:?} {reached:?}");
    }

    #[test]
    fn invented_nodes_near_the_target_hide_nobody() {
        let network = network(400, 4);
        let target = Id([9; 20]);
        let mut walk = Walk::new(Time::ZERO, target, false);
        let mut invented = Vec::new();
        for number in 0..200_u8 {
            let mut id = target;
            id.0[19] = number;
            invented.push((id, SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, number, 1)), 1)));
        }
        for some in invented.chunks(PER_ANSWER) {
            walk.add(some.iter().copied());
        }
        walk.add_entrance(*network.nodes.keys().next().unwrap());
        walk.add(network.nearest_known(*network.nodes.keys().next().unwrap(), &target));
        // The invented ones answer, and know nobody.
        while !walk.is_over() {
            let Some((id, address)) = walk.ask_next() else { panic!("nobody to ask") };
            match network.nodes.get(&address) {
                Some((id, _)) => {
                    walk.answered(*id, address, None);
                    walk.add(network.nearest_known(address, &target));
                }
                None => walk.answered(id.unwrap_or(target), address, None),
            }
        }
        let reached: Vec<_> = walk.reached().iter().map(|reached| reached.address).collect();
        assert!(network.nearest(&target).iter().all(|address| reached.contains(address)));
    }

    #[test]
    fn a_walk_without_anybody_is_over() {
        assert!(Walk::new(Time::ZERO, Id([0; 20]), false).is_over());
    }
}
