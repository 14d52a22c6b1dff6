//! The way through the network to the nodes nearest to an id, of one family (BEP 5, "get_peers", "find_node").
//!
//! Asks the nearest nodes known for nearer ones, a few at a time, until the nearest ones have all answered. Nodes that
//! may have their ids (BEP 42) count for themselves: the walk ends when the nearest of all and the nearest of these have
//! answered, so invented nodes near the target keep nobody from the real ones.
//!
//! Nobody is believed about others. A node is what it says itself, so a wrong name for it hides it from nobody. Whoever
//! names nodes that do not answer is in doubt soon: what it alone has named is asked last, and little of it. A node
//! that is silent is asked again before the walk ends without it, as a datagram may be lost.

use crate::Id;
use crate::table::K;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use quelea_time::Time;

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
    /// Who named it, as places in `Walk::sources`; nobody for what we knew ourselves.
    namers: Vec<usize>,
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

/// A node that named others, and what became of those.
#[derive(Debug)]
struct Source {
    ip: IpAddr,
    depth: u16,
    answered: u16,
    failed: u16,
}

impl Source {
    const fn is_doubtful(&self) -> bool {
        self.failed >= 2 && self.failed > self.answered
    }
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
    sources: Vec<Source>,
    /// Addresses that did not answer.
    failed: Vec<SocketAddr>,
    queries: usize,
    doubtful_queries: usize,
    /// Ids that do not fit their addresses are left aside.
    enforce: bool,
    /// When it began.
    pub began: Time,
}

/// Counts nodes in order of distance, and tells which are among the nearest of all or of those that fit.
#[derive(Default)]
struct Nearest {
    all: usize,
    fitting: usize,
}

impl Nearest {
    const fn counts(&self, fits: bool) -> bool {
        self.all < K || (fits && self.fitting < K)
    }

    fn pass(&mut self, fits: bool) {
        self.all += 1;
        self.fitting += usize::from(fits);
    }

    /// Whether nobody else counts.
    const fn is_full(&self) -> bool {
        self.all >= K && self.fitting >= K
    }
}

impl Walk {
    /// A walk that begins nowhere yet.
    pub fn new(now: Time, target: Id, enforce: bool) -> Self {
        Self {
            target,
            stops: Vec::new(),
            entrances: Vec::new(),
            under_way: Vec::new(),
            sources: Vec::new(),
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
        let known = self.sources.iter().position(|source| source.ip == namer.ip());
        let source = known.unwrap_or(self.sources.len());
        if known.is_none() {
            let depth = self.stops.iter().find(|stop| stop.address == namer).map_or(1, |stop| stop.depth);
            self.sources.push(Source { ip: namer.ip(), depth, answered: 0, failed: 0 });
        }
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

    fn insert(&mut self, id: Id, address: SocketAddr, namer: Option<usize>) {
        let fits = id.fits(address.ip());
        let before = namer.and_then(|namer| self.sources.get(namer)).map_or(0, |source| source.depth);
        let depth = before.saturating_add(1);
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
        let doubtful = |stop: &Stop| spare(stop) && self.is_doubtful(stop);
        let at = self.stops.iter().rposition(doubtful).or_else(|| self.stops.iter().rposition(spare));
        if let Some(at) = at {
            self.stops.remove(at);
        }
    }

    /// Whether only those who are in doubt have named it.
    fn is_doubtful(&self, stop: &Stop) -> bool {
        let mut namers = stop.namers.iter().filter_map(|&namer| self.sources.get(namer));
        !stop.namers.is_empty() && namers.all(Source::is_doubtful)
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
            _ if self.is_doubtful(stop) => 0,
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
        let trusted = |stop: &Stop| stop.state != State::New || !self.is_doubtful(stop);
        if let Some(at) = self.nearest_new(trusted) {
            return Some((at, false));
        }
        if self.doubtful_queries >= DOUBTFUL_QUERIES {
            return None;
        }
        self.nearest_new(|_| true).map(|at| (at, true))
    }

    /// The nearest node that is not asked yet, of those that count among these. Who is silent takes no place: those behind
    /// it are asked meanwhile.
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
                self.judge(&stop.namers, true);
                namers = stop.namers;
            } else {
                self.judge(&stop.namers, false);
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

    fn judge(&mut self, namers: &[usize], answered: bool) {
        for &namer in namers {
            if let Some(source) = self.sources.get_mut(namer) {
                let count = if answered { &mut source.answered } else { &mut source.failed };
                *count = count.saturating_add(1);
            }
        }
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
            self.judge(&stop.namers, false);
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
                table.answered(Time::ZERO, other, at, false);
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
                let Some(Next { address, .. }) = walk.ask_next() else {
                    panic!("nobody to ask, and not over: {walk:?}")
                };
                if silent(address) || !self.nodes.contains_key(&address) {
                    walk.slow(address);
                    while walk.under_way.iter().any(|query| query.address == address) {
                        walk.failed(address);
                    }
                    continue;
                }
                let id = self.nodes[&address].0;
                walk.answered(id, address, Some(b"token"));
                walk.add(address, self.nearest_known(address, &walk.target()));
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
            let reached: Vec<_> = walk.reached(true).iter().map(|reached| reached.address).collect();
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
        let reached: Vec<_> = walk.reached(true).iter().map(|reached| reached.address).collect();
        assert!(expected.iter().all(|address| reached.contains(address)), "{expected:?} {reached:?}");
    }

    /// Runs a walk in which whoever is no node of the network answers as `liar` says, if at all.
    fn run_among(
        network: &Network,
        walk: &mut Walk,
        mut liar: impl FnMut(Option<Id>, SocketAddr) -> Option<(Id, Vec<(Id, SocketAddr)>)>,
    ) {
        while !walk.is_over() {
            let Next { id, address } = walk.ask_next().unwrap();
            let answer = match network.nodes.get(&address) {
                Some(_) if liar(id, address).is_some() => liar(id, address),
                Some((id, _)) => Some((*id, network.nearest_known(address, &walk.target()))),
                None => liar(id, address),
            };
            match answer {
                Some((id, nodes)) => {
                    walk.answered(id, address, Some(b"token"));
                    walk.add(address, nodes);
                }
                None => {
                    walk.slow(address);
                    while walk.under_way.iter().any(|query| query.address == address) {
                        walk.failed(address);
                    }
                }
            }
        }
    }

    fn reached(walk: &Walk) -> Vec<SocketAddr> {
        walk.reached(false).iter().map(|reached| reached.address).collect()
    }

    fn invented(target: Id, number: u8) -> (Id, SocketAddr) {
        let mut id = target;
        id.0[19] = number;
        (id, SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, number, 1)), 1))
    }

    #[test]
    fn invented_nodes_near_the_target_hide_nobody() {
        let network = network(400, 4);
        let target = Id([9; 20]);
        let mut walk = Walk::new(Time::ZERO, target, false);
        for number in 0..200 {
            let (id, address) = invented(target, number);
            walk.add_known(id, address);
        }
        let start = *network.nodes.keys().next().unwrap();
        for (id, address) in network.nearest_known(start, &target) {
            walk.add_known(id, address);
        }
        // The invented ones answer, and know nobody.
        run_among(&network, &mut walk, |id, address| {
            (!network.nodes.contains_key(&address)).then(|| (id.unwrap_or(target), Vec::new()))
        });
        let reached = reached(&walk);
        assert!(network.nearest(&target).iter().all(|address| reached.contains(address)));
    }

    #[test]
    fn a_wrong_name_hides_nobody() {
        let network = network(400, 5);
        let target = Id([9; 20]);
        let nearest = network.nearest(&target);
        let mut walk = Walk::new(Time::ZERO, target, false);
        // One who answers first gives the nearest nodes names and ports that are not theirs.
        let (liar_id, liar) = invented(target, 1);
        walk.add_known(liar_id, liar);
        let start = *network.nodes.keys().next().unwrap();
        walk.add_known(network.nodes[&start].0, start);
        run_among(&network, &mut walk, |_, address| {
            let wrong = |(number, node): (usize, &SocketAddr)| {
                let id = invented(target, number as u8).0;
                if number % 2 == 0 { (id, *node) } else { (id, SocketAddr::new(node.ip(), 2)) }
            };
            (address == liar).then(|| (liar_id, nearest.iter().enumerate().map(wrong).collect()))
        });
        let reached = reached(&walk);
        assert!(nearest.iter().all(|address| reached.contains(address)), "{nearest:?} {reached:?}");
    }

    #[test]
    fn who_names_the_silent_is_soon_not_believed() {
        let network = network(400, 6);
        let mut rng = Rng::with_seed(11);
        let target = Id([9; 20]);
        // A quarter of the nodes name silent ones, under names near the target that fit their addresses.
        let lies = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => (u32::from(ip) >> 8) % 4 == 0,
            IpAddr::V6(_) => false,
        };
        let mut walk = Walk::new(Time::ZERO, target, false);
        let honest = network.nodes.keys().filter(|address| !lies(**address));
        for start in honest.take(8) {
            walk.add_known(network.nodes[start].0, *start);
        }
        let mut made_up = move || loop {
            let ip = IpAddr::V4(Ipv4Addr::from(0x1600_0000 | rng.u32(..1 << 24)));
            let id = Id::for_address(ip, &mut rng);
            if id.common_prefix(&target) >= 12 {
                return (id, SocketAddr::new(ip, 1));
            }
        };
        let lie: BTreeMap<SocketAddr, Vec<(Id, SocketAddr)>> = network
            .nodes
            .keys()
            .filter(|address| lies(**address))
            .map(|address| (*address, (0..8).map(|_| made_up()).collect()))
            .collect();
        run_among(&network, &mut walk, |_, address| {
            lie.get(&address).map(|nodes| (network.nodes[&address].0, nodes.clone()))
        });
        let reached = reached(&walk);
        assert!(network.nearest(&target).iter().all(|address| reached.contains(address)));
        assert!(walk.queries() < 120, "{} queries", walk.queries());
    }

    #[test]
    fn a_silent_node_that_matters_is_asked_again() {
        let mut walk = Walk::new(Time::ZERO, Id([9; 20]), false);
        let (id, address) = invented(Id([9; 20]), 1);
        walk.add_known(id, address);
        for _ in 0..=RETRIES {
            assert_eq!(walk.ask_next().map(|next| next.address), Some(address));
            assert_eq!(walk.ask_next(), None);
            walk.slow(address);
        }
        assert_eq!(walk.ask_next(), None);
        walk.failed(address);
        assert!(!walk.is_over(), "two datagrams may still be answered");
        assert!(walk.answered(id, address, None) && walk.is_over());
        assert!(!walk.answered(id, address, None), "an answer counts once");
        assert_eq!(reached(&walk), [address]);
    }

    #[test]
    fn who_is_silent_holds_nobody_up() {
        let target = Id([9; 20]);
        let mut walk = Walk::new(Time::ZERO, target, false);
        for number in 1..=12 {
            let (id, address) = invented(target, number);
            walk.add_known(id, address);
        }
        let asked = |walk: &mut Walk| core::iter::from_fn(|| walk.ask_next()).collect::<Vec<_>>();
        let addresses = |nexts: &[Next]| nexts.iter().map(|next| next.address).collect::<Vec<_>>();
        let silent = asked(&mut walk);
        assert_eq!(silent.len(), ALPHA);
        silent.iter().for_each(|next| walk.slow(next.address));
        for round in 0..2 {
            let next = asked(&mut walk);
            assert_eq!(next.len(), ALPHA, "in round {round}");
            for Next { id, address } in next {
                assert!(walk.answered(id.unwrap(), address, None));
            }
        }
        assert_eq!(reached(&walk).len(), K);
        // They may still answer, and are nearer.
        assert!(!walk.is_over());
        assert_eq!(addresses(&asked(&mut walk)), addresses(&silent));
    }

    #[test]
    fn an_entrance_that_is_named_meanwhile_holds_nothing_up() {
        let target = Id([9; 20]);
        let mut walk = Walk::new(Time::ZERO, target, false);
        let (first, second) = (invented(target, 1), invented(target, 2));
        walk.add_entrance(first.1);
        walk.add_entrance(second.1);
        assert!(walk.ask_next().is_some() && walk.ask_next().is_some());
        walk.answered(second.0, second.1, None);
        walk.add(second.1, [first]);
        assert!(!walk.is_over());
        walk.answered(first.0, first.1, None);
        assert!(walk.is_over());
        assert_eq!(reached(&walk).len(), 2);
    }

    #[test]
    fn what_a_stranger_says_to_stand_in_our_network_is_not_asked() {
        let target = Id([9; 20]);
        let near = |text: &str| (target, text.parse::<SocketAddr>().unwrap());
        let addresses = ["127.0.0.1:80", "192.168.1.1:53", "0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1"];
        let mut walk = Walk::new(Time::ZERO, target, false);
        walk.add("203.0.113.1:1".parse().unwrap(), addresses.map(near));
        assert_eq!(walk.ask_next(), None);
        walk.add("192.168.1.7:1".parse().unwrap(), addresses.map(near));
        assert_eq!(walk.ask_next().map(|next| next.address), Some(near("192.168.1.1:53").1));
        assert_eq!(walk.ask_next(), None);
    }

    #[test]
    fn a_walk_without_anybody_is_over() {
        assert!(Walk::new(Time::ZERO, Id([0; 20]), false).is_over());
    }
}
