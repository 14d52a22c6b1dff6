//! Publishing, looking up, and what should have been found.

use crate::dht::Plan;
use crate::dht::world::{HostId, Nature, Told, World};
use core::time::Duration;
use quelea_dht::{Announce, Event, Found, Id, SearchId};
use quelea_time::Time;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Nodes nearest to an id that a look-up asks in the end.
const NEAREST: usize = 8;
/// Queries that a walk has under way.
const ALPHA: usize = 4;
/// From a torrent's publication until somebody looks for it.
const PAUSE: Duration = Duration::from_secs(20);
/// What a look-up has time for. One that has not ended then counts as one that found nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of the look-ups.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Torrents whose publisher was found, and those that were looked for.
    pub peers: (usize, usize),
    /// Look-ups that found the nearest node, and all.
    pub nodes: (usize, usize),
    /// Nodes asked one after the other to reach the nearest one, for each look-up.
    pub steps: Vec<usize>,
    /// Queries of each look-up.
    pub queries: Vec<usize>,
    /// Seconds until the publisher was told, of those look-ups that found it.
    pub seconds: Vec<f64>,
    /// Seconds until all was over, of each look-up of peers.
    pub over: Vec<f64>,
    /// Hosts that are there at the end: all, those that lie, those behind NATs.
    pub hosts: [usize; 3],
    /// Datagrams that were sent.
    pub datagrams: u64,
    /// Look-ups that were answered with lies, or not at all by who could.
    pub lies: u64,
}

impl Outcome {
    /// The middle one of the queries of a look-up.
    pub fn median_queries(&self) -> usize {
        let mut queries = self.queries.clone();
        queries.sort_unstable();
        queries.get(queries.len() / 2).copied().unwrap_or(0)
    }

    /// The longest way to a nearest node.
    pub fn most_steps(&self) -> usize {
        self.steps.iter().copied().max().unwrap_or(0)
    }

    /// The middle one of the ways to the nearest nodes.
    pub fn median_steps(&self) -> usize {
        let mut steps = self.steps.clone();
        steps.sort_unstable();
        steps.get(steps.len() / 2).copied().unwrap_or(0)
    }

    /// The middle one of the times until a publisher was told.
    pub fn median_seconds(&self) -> f64 {
        median(&self.seconds)
    }

    /// The middle one of the times until a look-up of peers was over.
    pub fn median_over(&self) -> f64 {
        median(&self.over)
    }

    /// The longest of them.
    pub fn longest(&self) -> f64 {
        self.over.iter().copied().fold(0.0, f64::max)
    }

    /// Kademlia's bound on the steps in a network of so many nodes: each one halves the distance.
    pub fn step_bound(nodes: usize) -> usize {
        nodes.next_power_of_two().ilog2() as usize
    }

    /// Kademlia's bound on the messages: as many as a walk has under way for each step, and the nearest ones.
    pub fn bound(nodes: usize) -> usize {
        ALPHA * Self::step_bound(nodes) + NEAREST
    }
}

fn median(seconds: &[f64]) -> f64 {
    let mut seconds = seconds.to_vec();
    seconds.sort_unstable_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(0.0)
}

#[derive(Debug, Clone, Copy)]
enum Task {
    Publish(usize),
    Seek(usize, Time),
    Nodes,
}

#[derive(Debug, Clone, Copy)]
struct Torrent {
    info_hash: Id,
    publisher: HostId,
    peer: SocketAddr,
    told: Option<Time>,
}

/// What is asked of one world.
struct Trial {
    world: World,
    torrents: Vec<Option<Torrent>>,
    tasks: BTreeMap<(HostId, SearchId), (Task, Id)>,
    outcome: Outcome,
}

/// Builds the network, lets it live, and tries it.
pub(crate) fn run(plan: &Plan) -> Outcome {
    let nature = Nature {
        nodes: plan.nodes,
        liars: plan.liars,
        natted: plan.natted,
        loss: plan.loss,
        stay: plan.stay,
        enforce_ids: plan.enforce_ids,
        seed: plan.seed,
    };
    let mut world = World::new(nature, plan.warm_up);
    let begin = Time::ZERO + plan.warm_up;
    let cues = 2 * plan.lookups as u32;
    for cue in 0..cues {
        world.plan(begin + plan.span * cue / cues, cue);
    }
    // The last torrent is published and looked for.
    let end = begin + plan.span + PATIENCE + PAUSE + PATIENCE;
    let torrents = vec![None; plan.lookups];
    let mut trial = Trial { world, torrents, tasks: BTreeMap::new(), outcome: Outcome::default() };
    while let Some(told) = trial.world.next(end) {
        trial.hear(told);
    }
    trial.end()
}

impl Trial {
    fn hear(&mut self, told: Told) {
        match told {
            // Every other cue is one for a torrent; above those stand the ones to look for it.
            Told::Cue(cue) => {
                let (number, count) = (cue as usize, 2 * self.torrents.len());
                if number >= count {
                    self.seek(number - count);
                } else if number % 2 == 0 {
                    self.publish(number / 2);
                } else {
                    self.look_for_nodes();
                }
            }
            Told::Event(host, Event::Done(search, found)) => self.done(host, search, &found),
            Told::Event(host, Event::Peers(search, peers)) => self.peers(host, search, &peers),
            Told::Event(_, Event::Item(..) | Event::Samples(..) | Event::External(_)) => {}
        }
    }

    fn any_id(&mut self) -> Id {
        Id::random(&mut self.world.rng)
    }

    fn publish(&mut self, number: usize) {
        let Some(publisher) = self.world.settled() else { return };
        let info_hash = self.any_id();
        let announce = Announce { port: Some(7_000), seed: false };
        let search = self.world.search(publisher, |dht, now| dht.find_peers(now, info_hash, Some(announce)));
        let Some(search) = search else { return };
        let ip = self.world.hosts[publisher as usize].address.ip();
        let peer = SocketAddr::new(ip, 7_000);
        self.torrents[number] = Some(Torrent { info_hash, publisher, peer, told: None });
        self.tasks.insert((publisher, search), (Task::Publish(number), info_hash));
    }

    fn seek(&mut self, number: usize) {
        let (Some(torrent), Some(seeker)) = (self.torrents[number], self.world.settled()) else { return };
        // Whoever has left is not to be found.
        if seeker == torrent.publisher || !self.world.hosts[torrent.publisher as usize].is_honest() {
            return;
        }
        let info_hash = torrent.info_hash;
        let search = self.world.search(seeker, |dht, now| dht.find_peers(now, info_hash, None));
        if let Some(search) = search {
            let task = Task::Seek(number, self.world.now());
            self.tasks.insert((seeker, search), (task, info_hash));
            // Its own store may have told it at once.
        }
    }

    fn look_for_nodes(&mut self) {
        let Some(seeker) = self.world.settled() else { return };
        let target = self.any_id();
        if let Some(search) = self.world.search(seeker, |dht, now| dht.find_nodes(now, target)) {
            self.tasks.insert((seeker, search), (Task::Nodes, target));
        }
    }

    fn peers(&mut self, host: HostId, search: SearchId, peers: &[SocketAddr]) {
        let now = self.world.now();
        if let Some((Task::Seek(number, _), _)) = self.tasks.get(&(host, search))
            && let Some(torrent) = &mut self.torrents[*number]
            && peers.contains(&torrent.peer)
        {
            torrent.told.get_or_insert(now);
        }
    }

    fn done(&mut self, host: HostId, search: SearchId, found: &Found) {
        let Some((task, target)) = self.tasks.remove(&(host, search)) else { return };
        let now = self.world.now();
        match task {
            Task::Publish(number) => {
                self.world.plan(now + PAUSE, (2 * self.torrents.len() + number) as u32);
            }
            Task::Seek(number, began) => {
                let told = self.torrents[number].and_then(|torrent| torrent.told);
                self.outcome.peers.1 += 1;
                self.outcome.peers.0 += usize::from(told.is_some());
                self.outcome.seconds.extend(told.map(|told| told.since(began).as_secs_f64()));
                self.outcome.over.push(now.since(began).as_secs_f64());
                self.outcome.queries.push(found.queries);
            }
            Task::Nodes => {
                let own = self.world.hosts[host as usize].address;
                let has = |address: &SocketAddr| found.nodes.iter().any(|(_, at)| at == address);
                let nearest = self.world.nearest(&target, 2);
                let other = nearest.iter().find(|(_, address)| *address != own);
                self.outcome.nodes.1 += 1;
                self.outcome.nodes.0 += usize::from(other.is_some_and(|(_, address)| has(address)));
                self.outcome.steps.push(found.steps);
            }
        }
    }

    fn end(mut self) -> Outcome {
        // Searches without an end are failures, unless their host has left.
        for ((host, _), (task, _)) in &self.tasks {
            if self.world.hosts[*host as usize].is_honest() {
                match task {
                    Task::Publish(_) | Task::Seek(..) => self.outcome.peers.1 += 1,
                    Task::Nodes => self.outcome.nodes.1 += 1,
                }
            }
        }
        let there = self.world.hosts.iter().filter(|host| host.dht().is_some());
        for host in there {
            self.outcome.hosts[0] += 1;
            self.outcome.hosts[1] += usize::from(!host.is_honest());
            self.outcome.hosts[2] += usize::from(!host.is_public());
        }
        self.outcome.datagrams = self.world.datagrams;
        self.outcome.lies = self.world.lies;
        self.outcome
    }
}
