//! Walks through networks that stand still.

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
