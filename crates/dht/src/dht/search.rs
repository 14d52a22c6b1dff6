//! Searches: what is looked for, the walks towards it, and what is written at their end.

use super::ask::Why;
use super::block::is_blocked;
use super::{Announce, Dht, Event, Found, SearchId};
use crate::bloom::Bloom;
use crate::item::{Item, target_of};
use crate::packet::{Method, Response, Signed};
use crate::walk::{Next, Reached, Walk};
use crate::{Id, item};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use quelea_time::Time;

/// Peers that one search tells.
const MAX_PEERS: usize = 2_000;
/// Peers of one answer.
const PEERS_PER_ANSWER: usize = 100;
/// A filter that holds more addresses than this says little (BEP 33).
const FULL_FILTER: f64 = 6_000.0;
/// Walks at a time; the others wait.
const MAX_WALKS: usize = 64;

/// The name of a walk.
pub(super) type WalkId = u64;

/// A walk and what it is for.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) walk: Walk,
    pub(super) family: usize,
    /// The search that it is for; `None` for one that fills the table.
    pub(super) search: Option<SearchId>,
}

/// What is looked for.
#[derive(Debug)]
enum Goal {
    Node,
    Peers { announce: Option<Announce>, scrape: bool, no_seeds: bool },
    Item { salt: Vec<u8>, newest: Option<Item> },
    Store { item: Item, replaces: Option<i64> },
    Samples,
}

/// A search under way.
#[derive(Debug)]
pub(super) struct Search {
    goal: Goal,
    target: Id,
    told: BTreeSet<SocketAddr>,
    seeds: Option<Bloom>,
    others: Option<Bloom>,
    walks: usize,
    writes: usize,
    found: Found,
}

impl Dht {
    /// Looks for the nodes nearest to an id.
    pub fn find_nodes(&mut self, now: Time, target: Id) -> SearchId {
        self.search(now, target, Goal::Node)
    }

    /// Looks for peers of a torrent, and announces us to the nodes nearest to it, where `announce` says how.
    pub fn find_peers(&mut self, now: Time, info_hash: Id, announce: Option<Announce>) -> SearchId {
        let no_seeds = announce.is_some_and(|announce| announce.seed);
        self.search(now, info_hash, Goal::Peers { announce, scrape: false, no_seeds })
    }

    /// Counts the seeds and peers of a torrent (BEP 33).
    pub fn scrape(&mut self, now: Time, info_hash: Id) -> SearchId {
        self.search(now, info_hash, Goal::Peers { announce: None, scrape: true, no_seeds: false })
    }

    /// Looks for an item that never changes (BEP 44).
    pub fn fixed_item(&mut self, now: Time, target: Id) -> SearchId {
        self.search(now, target, Goal::Item { salt: Vec::new(), newest: None })
    }

    /// Looks for the newest state of the item that belongs to this key (BEP 44).
    pub fn owned_item(&mut self, now: Time, key: &[u8; 32], salt: &[u8]) -> SearchId {
        let goal = Goal::Item { salt: salt.to_vec(), newest: None };
        self.search(now, target_of(key, salt), goal)
    }

    /// Stores an item at the nodes nearest to it. `replaces` is the sequence number of the state that they must hold, if
    /// they hold any.
    pub fn store_item(&mut self, now: Time, item: Item, replaces: Option<i64>) -> SearchId {
        self.search(now, item.target(), Goal::Store { item, replaces })
    }

    /// Asks nodes on the way to an id which torrents they know (BEP 51).
    pub fn sample(&mut self, now: Time, target: Id) -> SearchId {
        self.search(now, target, Goal::Samples)
    }

    /// Ends a search; nothing more is told of it.
    pub fn cancel(&mut self, search: SearchId) {
        self.searches.remove(&search);
        self.walks.retain(|_, running| running.search != Some(search));
    }

    fn search(&mut self, now: Time, target: Id, goal: Goal) -> SearchId {
        self.counter += 1;
        let id = SearchId(self.counter);
        let search = Search {
            goal,
            target,
            told: BTreeSet::new(),
            seeds: None,
            others: None,
            walks: 0,
            writes: 0,
            found: Found::default(),
        };
        self.searches.insert(id, search);
        for family in [0, 1] {
            self.begin_walk(now, family, target, Some(id));
        }
        // Peers that others announced to us are peers as well.
        if let Some(Search { goal: Goal::Peers { no_seeds, .. }, .. }) = self.searches.get(&id) {
            let no_seeds = *no_seeds;
            for we in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
                let ours = self.peers.some(&target, we, no_seeds, 50, &mut self.rng);
                self.tell_peers(id, None, ours);
            }
        }
        self.next_tick = now;
        self.continue_walks(now);
        id
    }

    /// Begins a walk in a family that we take part in.
    pub(super) fn begin_walk(&mut self, now: Time, family: usize, target: Id, search: Option<SearchId>) {
        let Some(side) = &self.sides[family] else { return };
        let mut walk = Walk::new(now, target, self.enforces(family));
        for entry in side.table.starts(&target) {
            walk.add_known(entry.id, entry.address);
        }
        for &address in side.routers.iter().chain(&side.named) {
            walk.add_entrance(address);
        }
        self.counter += 1;
        self.walks.insert(self.counter, Running { walk, family, search });
        if let Some(search) = search.and_then(|search| self.searches.get_mut(&search)) {
            search.walks += 1;
        }
    }

    /// Asks whoever is next on each walk, and ends those that are over.
    pub(super) fn continue_walks(&mut self, now: Time) {
        let mut over = Vec::new();
        let walks: Vec<WalkId> = self.walks.keys().copied().take(MAX_WALKS).collect();
        for id in walks {
            while self.may_ask()
                && let Some(running) = self.walks.get_mut(&id)
            {
                let Some(Next { address, id: name }) = running.walk.ask_next() else { break };
                let (target, search) = (running.walk.target(), running.search);
                let method = self.question(target, search);
                if self.ask(now, address, name, method, Why::Walk(id)) == 0
                    && let Some(running) = self.walks.get_mut(&id)
                {
                    running.walk.failed(address);
                }
            }
            if self.walks.get(&id).is_some_and(|running| running.walk.is_over()) {
                over.push(id);
            }
        }
        for id in over {
            if let Some(running) = self.walks.remove(&id) {
                self.walk_over(now, &running);
            }
        }
    }

    fn question(&self, target: Id, search: Option<SearchId>) -> Method<'static> {
        let goal = search.and_then(|search| self.searches.get(&search)).map(|search| &search.goal);
        match goal {
            None | Some(Goal::Node) => Method::FindNode(target),
            Some(&Goal::Peers { scrape, no_seeds, .. }) => {
                Method::GetPeers { info_hash: target, no_seeds, scrape }
            }
            Some(Goal::Item { .. } | Goal::Store { .. }) => Method::Get { target, newer_than: None },
            Some(Goal::Samples) => Method::SampleInfohashes(target),
        }
    }

    pub(super) fn walk_failed(&mut self, walk: WalkId, address: SocketAddr) {
        if let Some(running) = self.walks.get_mut(&walk) {
            running.walk.failed(address);
        }
    }

    pub(super) fn walk_answered(&mut self, id: WalkId, from: SocketAddr, response: &Response<'_>) {
        let Some(running) = self.walks.get_mut(&id) else { return };
        if !running.walk.answered(response.id, from, response.token) {
            return;
        }
        let (family, search) = (running.family, running.search);
        let blocks = self.blocks.as_ref();
        let is_free = |(_, address): &(Id, SocketAddr)| !is_blocked(blocks, address.ip());
        // The nodes of the other family help the walk there.
        for running in self.walks.values_mut().filter(|running| running.search == search) {
            let same_goal = search.is_some() || running.family == family;
            match (running.family, same_goal) {
                (0, true) => running.walk.add(from, response.nodes4.iter().filter(is_free)),
                (_, true) => running.walk.add(from, response.nodes6.iter().filter(is_free)),
                (_, false) => {}
            }
        }
        if let Some(search) = search {
            self.search_answered(search, from, response);
        }
    }

    fn search_answered(&mut self, id: SearchId, from: SocketAddr, response: &Response<'_>) {
        let Some(search) = self.searches.get_mut(&id) else { return };
        match &mut search.goal {
            Goal::Node => {}
            Goal::Peers { .. } => {
                for (sum, filter) in
                    [(&mut search.seeds, &response.seeds), (&mut search.others, &response.peers)]
                {
                    if let Some(filter) = filter
                        && filter.estimate() < FULL_FILTER
                    {
                        sum.get_or_insert_default().join(filter);
                    }
                }
                if response.peers.is_none() {
                    let others = search.others.get_or_insert_default();
                    // Who cannot scrape names peers alone (BEP 33, "Handling legacy responses").
                    let peers = response.values.iter().take(PEERS_PER_ANSWER);
                    peers.for_each(|peer| others.insert(peer.ip()));
                }
                self.tell_peers(id, Some(from.ip()), response.values.iter().copied());
            }
            Goal::Item { salt, newest } => {
                let Some(value) = response.value else { return };
                let signed = match (response.key, response.signature, response.sequence) {
                    (Some(key), Some(signature), Some(sequence)) => {
                        Some(Signed { key, salt, sequence, signature })
                    }
                    _ => None,
                };
                let Ok(item) = Item::received(&search.target, value, signed) else { return };
                if newest.as_ref().is_none_or(|newest| newest.sequence() < item.sequence()) {
                    *newest = Some(item.clone());
                    self.events.push_back(Event::Item(id, item));
                }
            }
            Goal::Store { .. } => {}
            Goal::Samples => {
                let samples = response.samples.unwrap_or_default().chunks_exact(20);
                let samples: Vec<Id> = samples.filter_map(Id::from_slice).take(64).collect();
                if !samples.is_empty() {
                    self.events.push_back(Event::Samples(id, from, samples));
                }
            }
        }
    }

    /// Tells peers that somebody named, or that we know ourselves.
    fn tell_peers(
        &mut self,
        id: SearchId,
        namer: Option<IpAddr>,
        peers: impl IntoIterator<Item = SocketAddr>,
    ) {
        let Some(search) = self.searches.get_mut(&id) else { return };
        let mut news = Vec::new();
        for peer in peers.into_iter().take(PEERS_PER_ANSWER) {
            let may_be = crate::id::may_name(namer.unwrap_or(peer.ip()), peer)
                && !is_blocked(self.blocks.as_ref(), peer.ip());
            if search.told.len() < MAX_PEERS && may_be && search.told.insert(peer) {
                news.push(peer);
            }
        }
        if !news.is_empty() {
            self.events.push_back(Event::Peers(id, news));
        }
    }

    /// A walk has come to its end: what is to be written is written there.
    fn walk_over(&mut self, now: Time, running: &Running) {
        let Some(id) = running.search else {
            self.table_walk_over(now, running.family);
            return;
        };
        let reached = running.walk.reached(false);
        let Some(search) = self.searches.get_mut(&id) else { return };
        search.walks -= 1;
        search.found.queries += running.walk.queries();
        search.found.steps = search.found.steps.max(running.walk.steps());
        let near = reached.iter().map(|reached| (reached.id, reached.address));
        search.found.nodes.extend(near);
        self.write(now, id, &running.walk.reached(true));
        self.end_if_over(id);
    }

    /// Writes to those that gave a token.
    fn write(&mut self, now: Time, id: SearchId, reached: &[Reached]) {
        for node in reached {
            let Some(token) = &node.token else { continue };
            let Some(search) = self.searches.get(&id) else { return };
            let target = search.target;
            let asked = match &search.goal {
                &Goal::Peers { announce: Some(Announce { port, seed }), .. } => {
                    let method = Method::AnnouncePeer { info_hash: target, port, token, seed };
                    self.ask(now, node.address, Some(node.id), method, Why::Write(id))
                }
                Goal::Store { item, replaces } => {
                    let (item, replaces): (item::Item, _) = (item.clone(), *replaces);
                    let method = Method::Put { token, value: &item.value, signed: item.signed(), replaces };
                    self.ask(now, node.address, Some(node.id), method, Why::Write(id))
                }
                Goal::Node | Goal::Peers { .. } | Goal::Item { .. } | Goal::Samples => 0,
            };
            if let (1.., Some(search)) = (asked, self.searches.get_mut(&id)) {
                search.writes += 1;
            }
        }
    }

    pub(super) fn written(&mut self, id: SearchId, taken: bool) {
        let Some(search) = self.searches.get_mut(&id) else { return };
        search.writes = search.writes.saturating_sub(1);
        search.found.written += usize::from(taken);
        self.end_if_over(id);
    }

    fn end_if_over(&mut self, id: SearchId) {
        let over = |search: &&mut Search| search.walks == 0 && search.writes == 0;
        if self.searches.get_mut(&id).filter(over).is_none() {
            return;
        }
        let Some(search) = self.searches.remove(&id) else { return };
        let mut found = search.found;
        if matches!(search.goal, Goal::Peers { scrape: true, .. }) {
            found.seeds = Some(search.seeds.map_or(0.0, |filter| filter.estimate()));
            found.peers = Some(search.others.map_or(0.0, |filter| filter.estimate()));
        }
        self.events.push_back(Event::Done(id, found));
    }

    /// Searches that no family could walk for are over at once.
    pub(super) fn end_idle_searches(&mut self) {
        let idle: Vec<SearchId> = self.searches.keys().copied().collect();
        idle.into_iter().for_each(|id| self.end_if_over(id));
    }
}
