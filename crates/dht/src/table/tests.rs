//! Who finds a place in the table, who loses it, and who is named.

use super::bucket::{FAILURES, PER_NETWORK};
use super::fickle::{FICKLE, MAX_FICKLE};
use super::*;
use crate::id::network;
use std::net::Ipv4Addr;

fn address(number: u32) -> SocketAddr {
    // A network for each.
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + (number << 8) + 1)), 6881)
}

fn filled(own: Id, count: u32) -> Table {
    let mut rng = Rng::with_seed(7);
    let mut table = Table::new(own);
    for number in 0..count {
        table.answered(Time::ZERO, Id::random(&mut rng), address(number), false);
    }
    table
}

#[test]
fn the_table_stays_small_and_knows_its_neighbourhood() {
    let own = Id([0x55; 20]);
    let table = filled(own, 20_000);
    let all = FIRST_SIZES.iter().sum::<usize>() + K * 30;
    assert!(table.len() <= all, "{} nodes", table.len());
    assert!(table.buckets.len() > 8, "{} buckets", table.buckets.len());
    for (number, bucket) in table.buckets.iter().enumerate() {
        assert!(bucket.nodes.len() <= table.size(number));
    }
}

#[test]
fn the_nearest_are_the_nearest_of_all_in_the_table() {
    let table = filled(Id([0x55; 20]), 3_000);
    let mut rng = Rng::with_seed(9);
    for _ in 0..200 {
        let target = Id::random(&mut rng);
        let mut all: Vec<Entry> = table.iter().copied().collect();
        all.sort_by_key(|entry| entry.id.distance(&target));
        all.truncate(K);
        assert_eq!(table.nearest(&target, K), all);
    }
}

#[test]
fn a_node_that_is_silent_gives_its_place_to_one_that_waits() {
    let own = Id([0; 20]);
    let mut table = Table::new(own);
    let far = |number: u8| {
        let mut id = Id([0xff; 20]);
        id.0[19] = number;
        id
    };
    let size = FIRST_SIZES[0];
    for number in 0..=size as u8 {
        table.answered(Time::ZERO, far(number), address(number.into()), false);
    }
    let waiting = far(size as u8);
    assert!(!table.knows(&waiting, address(size as u32)));
    for _ in 0..FAILURES {
        table.failed(&far(0), address(0));
    }
    assert!(table.knows(&waiting, address(size as u32)));
    assert!(!table.knows(&far(0), address(0)));
}

#[test]
fn one_address_has_one_place() {
    let mut table = Table::new(Id([0; 20]));
    assert_eq!(table.answered(Time::ZERO, Id([1; 20]), address(1), false), Admission::New);
    let same_host = SocketAddr::new(address(1).ip(), 1);
    assert_eq!(table.answered(Time::ZERO, Id([2; 20]), same_host, false), Admission::Refused);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_node_that_changes_its_name_loses_its_place() {
    let mut table = Table::new(Id([0; 20]));
    table.answered(Time::ZERO, Id([1; 20]), address(1), false);
    table.answered(Time::ZERO, Id([2; 20]), address(1), false);
    assert!(table.is_empty());
}

#[test]
fn a_network_has_few_places_in_a_bucket() {
    let mut table = Table::new(Id([0; 20]));
    for host in 1..20 {
        let mut id = Id([0xf0; 20]);
        id.0[19] = host;
        let ip = IpAddr::V4(Ipv4Addr::new(11, 0, 0, host));
        table.answered(Time::ZERO, id, SocketAddr::new(ip, 6881), false);
    }
    assert_eq!(table.len(), PER_NETWORK);
}

#[test]
fn we_are_not_in_our_own_table() {
    let mut table = Table::new(Id([3; 20]));
    assert_eq!(table.answered(Time::ZERO, Id([3; 20]), address(1), false), Admission::Refused);
}

#[test]
fn who_waits_takes_no_place_that_it_could_not_have_had() {
    let mut table = Table::new(Id([0; 20]));
    let far = |number: u8| {
        let mut id = Id([0xff; 20]);
        id.0[19] = number;
        id
    };
    let size = FIRST_SIZES[0] as u8;
    for number in 0..size {
        table.answered(Time::ZERO, far(number), address(number.into()), false);
    }
    // Eight of one network wait for places.
    for host in 0..8 {
        let ip = IpAddr::V4(Ipv4Addr::new(12, 0, 0, host));
        let admission = table.answered(Time::ZERO, far(100 + host), SocketAddr::new(ip, 6881), false);
        assert_eq!(admission, Admission::Spare);
    }
    for number in 0..8 {
        for _ in 0..FAILURES {
            table.failed(&far(number), address(number.into()));
        }
    }
    let ours = network(IpAddr::V4(Ipv4Addr::new(12, 0, 0, 0)));
    let of_network = table.iter().filter(|entry| network(entry.address.ip()) == ours);
    assert_eq!(of_network.count(), PER_NETWORK);
}

#[test]
fn a_node_that_may_have_its_id_comes_before_one_that_may_not() {
    let mut rng = Rng::with_seed(3);
    let mut table = Table::new(Id([0; 20]));
    let size = FIRST_SIZES[0];
    for number in 0..size as u8 {
        let mut id = Id([0xff; 20]);
        id.0[19] = number;
        table.answered(Time::ZERO, id, address(number.into()), false);
    }
    let mut fitting = (1_000..).map(address).map(|at| (Id::for_address(at.ip(), &mut rng), at));
    let (id, at) = fitting.find(|(id, _)| id.0[0] >= 0x80).unwrap();
    assert_eq!(table.answered(Time::ZERO, id, at, false), Admission::New);
    assert_eq!(table.len(), size);
}

#[test]
fn a_walk_begins_beside_those_who_take_names_near_everything() {
    let mut rng = Rng::with_seed(9);
    let target = Id([0x80; 20]);
    let mut table = Table::new(Id([0; 20]));
    for number in 0..3 * K as u8 {
        let mut id = target;
        id.0[19] = number;
        table.answered(Time::ZERO, id, address(number.into()), false);
    }
    for number in 100..140 {
        let ip = address(number).ip();
        table.answered(Time::ZERO, Id::for_address(ip, &mut rng), SocketAddr::new(ip, 1), false);
    }
    let starts = table.starts(&target);
    assert_eq!(starts.iter().filter(|entry| !entry.fits).count(), K);
    assert_eq!(starts.iter().filter(|entry| entry.fits).count(), 2 * K);
}

#[test]
fn who_has_two_names_finds_no_place_for_a_while() {
    let mut table = Table::new(Id([0; 20]));
    let at = address(1);
    let answered = |table: &mut Table, second: u64, name: u8| {
        table.answered(Time::from_secs(second), Id([name; 20]), at, false)
    };
    assert_eq!(answered(&mut table, 0, 1), Admission::New);
    assert_eq!(answered(&mut table, 1, 2), Admission::Refused);
    assert_eq!(answered(&mut table, 2, 3), Admission::Refused);
    assert!(table.is_empty());
    assert_eq!(answered(&mut table, 2 + FICKLE.as_secs(), 3), Admission::New);
    for number in 10..2_000 {
        table.answered(Time::from_secs(5_000), Id([1; 20]), address(number), false);
        table.answered(Time::from_secs(5_000), Id([2; 20]), address(number), false);
    }
    assert!(table.fickle.len() <= MAX_FICKLE);
}

#[test]
fn nodes_that_were_out_of_reach_are_where_a_walk_begins_when_nobody_else_is_left() {
    let mut table = filled(Id([0; 20]), 20);
    let all: Vec<Entry> = table.iter().copied().collect();
    for entry in &all {
        for _ in 0..FAILURES {
            table.failed(&entry.id, entry.address);
        }
    }
    assert!(table.is_empty() && table.nearest(&Id([7; 20]), K).is_empty());
    assert_eq!(table.starts(&Id([7; 20])).len(), 2 * K);
}

#[test]
fn who_asks_hears_of_nodes_that_may_have_their_ids_and_of_none_in_our_network() {
    let mut rng = Rng::with_seed(5);
    let target = Id([0x80; 20]);
    let mut table = Table::new(Id([0; 20]));
    for number in 0..12 {
        let mut id = target;
        id.0[19] = number;
        table.answered(Time::ZERO, id, address(number.into()), false);
    }
    for number in 100..120 {
        let ip = address(number).ip();
        table.answered(Time::ZERO, Id::for_address(ip, &mut rng), SocketAddr::new(ip, 1), false);
    }
    let neighbour: SocketAddr = "192.168.0.7:1".parse().unwrap();
    table.answered(Time::ZERO, target, neighbour, false);
    let stranger = "203.0.113.1".parse().unwrap();
    let named = table.named(&target, K, stranger);
    assert_eq!(named.iter().filter(|entry| entry.fits).count(), K / 2);
    assert!(named.iter().all(|entry| entry.address != neighbour) && named.len() == K);
    assert_eq!(table.named(&target, K, neighbour.ip())[0].address, neighbour);
}

#[test]
fn who_answers_only_while_its_router_lets_us_through_is_named_last_and_goes() {
    let mut table = Table::new(Id([0; 20]));
    let (near, far) = (Id([0x80; 20]), Id([0xf0; 20]));
    let asker = "203.0.113.1".parse().unwrap();
    table.answered(Time::ZERO, near, address(1), true);
    table.answered(Time::ZERO, far, address(2), false);
    let named = |table: &Table| table.named(&near, K, asker).first().map(|entry| entry.id);
    assert_eq!(named(&table), Some(far));
    // Its own queries keep the way to it open: only later does an answer tell something.
    table.heard(Time::from_secs(100), &near, address(1));
    assert_eq!(table.stale(Time::from_secs(200)), None);
    assert_eq!(table.stale(Time::from_secs(281)).map(|entry| entry.id), Some(near));
    table.answered(Time::from_secs(281), near, address(1), false);
    assert_eq!(named(&table), Some(near));
}
