//! The list is bounded, and never names an address that must not be dialled.

mod sequences;

use super::*;
use alloc::vec;
use core::time::Duration;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn secs(secs: u64) -> Time {
    Time::from_secs(secs)
}

fn list_of(addresses: &[&str], source: Source) -> PeerList {
    let mut list = PeerList::new(CAPACITY, 1);
    for address in addresses {
        assert_eq!(list.add(Time::ZERO, at(address), source), Ok(true));
    }
    list
}

/// Everything the list knows twice must agree, and no rule may be broken.
fn audit(list: &PeerList) {
    assert!(list.len() <= list.capacity);
    assert!(list.banned.len() <= BANS && list.banned.len() == list.bans_in_order.len());
    assert!(list.own.len() <= OWN_ADDRESSES);
    for (address, entry) in &list.entries {
        assert_eq!(list.check(*address), Ok(()), "{address}");
        assert_eq!(*address, canonical(*address));
        let may_be_tried = entry.place == Place::Idle && !(list.seeding && entry.seed);
        match entry.index {
            Index::Waiting(due) => assert!(may_be_tried && list.waiting.contains(&(due, *address))),
            Index::Ready(rank) => assert!(may_be_tried && list.ready.contains(&(rank, *address))),
            Index::Nowhere => assert!(!may_be_tried),
        }
        assert_eq!(entry.worth.is_some(), entry.place == Place::Idle && !entry.is_manual());
        assert!(entry.worth.is_none_or(|worth| list.evictable.contains(&(worth, *address))));
    }
    let count = |of: fn(&Index) -> bool| list.entries.values().filter(|entry| of(&entry.index)).count();
    assert_eq!(list.waiting.len(), count(|index| matches!(index, Index::Waiting(_))));
    assert_eq!(list.ready.len(), count(|index| matches!(index, Index::Ready(_))));
    assert_eq!(list.evictable.len(), list.entries.values().filter(|entry| entry.worth.is_some()).count());
}

#[test]
fn addresses_where_no_peer_can_listen_are_refused() {
    let mut list = PeerList::new(CAPACITY, 1);
    for impossible in [
        "1.2.3.4:0",
        "0.0.0.0:1",
        "[::]:1",
        "224.0.0.1:1",
        "[ff02::1]:1",
        "255.255.255.255:1",
        "[::ffff:0.0.0.0]:1",
    ] {
        assert_eq!(
            list.add(Time::ZERO, at(impossible), Source::Tracker),
            Err(Refusal::Impossible),
            "{impossible}"
        );
    }
    assert!(list.is_empty());
}

#[test]
fn one_address_has_one_entry_however_it_is_written() {
    let mut list = list_of(&["1.2.3.4:5"], Source::Pex);
    assert_eq!(list.add(Time::ZERO, at("[::ffff:1.2.3.4]:5"), Source::Tracker), Ok(false));
    assert_eq!(list.len(), 1);
    let flow = SocketAddrV6::new("2001:db8::1".parse().unwrap(), 5, 7, 9);
    assert_eq!(list.add(Time::ZERO, flow.into(), Source::Pex), Ok(true));
    assert_eq!(list.add(Time::ZERO, at("[2001:db8::1]:5"), Source::Pex), Ok(false));
}

#[test]
fn what_the_user_named_comes_first_then_the_better_source() {
    let mut list = PeerList::new(CAPACITY, 1);
    let sources = [Source::Resume, Source::Pex, Source::Manual, Source::Dht, Source::Tracker, Source::Lsd];
    for (number, source) in sources.into_iter().enumerate() {
        list.add(Time::ZERO, SocketAddr::from(([10, 0, 0, number as u8], 1)), source).unwrap();
    }
    let order: Vec<_> = core::iter::from_fn(|| {
        let next = list.candidate(Time::ZERO)?;
        list.dialled(Time::ZERO, next);
        let IpAddr::V4(ip) = next.ip() else { return None };
        Some(sources[usize::from(ip.octets()[3])])
    })
    .collect();
    let expected = [Source::Manual, Source::Tracker, Source::Lsd, Source::Dht, Source::Pex, Source::Resume];
    assert_eq!(order, expected);
}

#[test]
fn among_equals_the_higher_canonical_priority_comes_first() {
    let mut list = PeerList::new(CAPACITY, 1);
    let external = at("98.76.54.32:6881");
    let peers: Vec<_> =
        (0..50u8).map(|number| SocketAddr::from(([number + 1, 5 * number, 3, 4], 6881))).collect();
    for peer in &peers {
        list.add(Time::ZERO, *peer, Source::Tracker).unwrap();
    }
    let before = list.candidate(Time::ZERO);
    list.set_external(external);
    let best = peers.iter().max_by_key(|peer| priority(external, **peer)).copied();
    assert_eq!(list.candidate(Time::ZERO), best);
    assert_ne!(before, best, "the order was another while our address was unknown");
    let mut other = PeerList::new(CAPACITY, 2);
    for peer in &peers {
        other.add(Time::ZERO, *peer, Source::Tracker).unwrap();
    }
    assert_ne!(before, other.candidate(Time::ZERO), "the seed decides");
}

/// Addresses in 10/8, from this number on.
fn crowd(from: u32, count: u32) -> impl Iterator<Item = SocketAddr> {
    (from..from + count).map(|number| SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + number), 6881)))
}

#[test]
fn a_list_of_thousands_that_lead_nowhere_holds_up_no_other() {
    for other in [Source::Tracker, Source::Pex] {
        let mut list = PeerList::new(CAPACITY, 1);
        for from in [0, 2000] {
            list.add_all(Time::ZERO, crowd(from, 2000), Source::Tracker);
        }
        assert_eq!(list.len(), CAPACITY);
        let honest = [at("1.2.3.4:5"), at("1.2.3.5:5")];
        list.add_all(Time::ZERO, honest, other);
        let first: Vec<_> = core::iter::from_fn(|| {
            let next = list.candidate(Time::ZERO)?;
            list.dialled(Time::ZERO, next);
            Some(next)
        })
        .take(3 * TURN)
        .collect();
        assert!(honest.iter().all(|address| first.contains(address)), "{other:?}: {first:?}");
        audit(&list);
    }
}

#[test]
fn an_address_that_two_lists_tell_has_the_earlier_turn_of_both() {
    let mut list = PeerList::new(CAPACITY, 1);
    let late = crowd(0, 2000).last().unwrap();
    list.add_all(Time::ZERO, crowd(0, 2000), Source::Tracker);
    list.add_all(Time::ZERO, [late], Source::Resume);
    let first: Vec<_> = core::iter::from_fn(|| {
        let next = list.candidate(Time::ZERO)?;
        list.dialled(Time::ZERO, next);
        Some(next)
    })
    .take(TURN + 1)
    .collect();
    assert!(first.contains(&late));
}

#[test]
fn failures_wait_longer_each_time_and_the_dead_are_tried_rarely() {
    let mut list = list_of(&["1.2.3.4:5"], Source::Tracker);
    let mut now = Time::ZERO;
    let mut waits = Vec::new();
    for _ in 0..5 {
        let peer = list.candidate(now).unwrap();
        list.dialled(now, peer);
        assert_eq!(list.candidate(now), None);
        assert_eq!(list.next_due(now), None);
        list.failed(now, peer);
        let due = list.next_due(now).unwrap();
        assert_eq!(list.candidate(due - Duration::from_nanos(1)), None);
        waits.push(due.since(now).as_secs());
        now = due;
    }
    assert_eq!(waits, [120, 180, 1800, 1800, 1800]);

    let peer = list.candidate(now).unwrap();
    list.dialled(now, peer);
    list.failed(now, peer);
    assert_eq!(list.add(now, peer, Source::Resume), Ok(false));
    assert_eq!(list.next_due(now), Some(now + Duration::from_secs(1800)), "a saved list is no news");
    assert_eq!(list.add(now, peer, Source::Tracker), Ok(false));
    assert_eq!(list.next_due(now), Some(now + Duration::from_secs(240)), "a tracker's word is");
    assert_eq!(list.sound().count(), 0);
}

#[test]
fn a_peer_the_user_named_is_tried_again_soon_and_forever() {
    let mut list = list_of(&["1.2.3.4:5"], Source::Manual);
    let mut now = Time::ZERO;
    for expected in [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 60, 60] {
        let peer = list.candidate(now).unwrap();
        list.dialled(now, peer);
        list.failed(now, peer);
        let due = list.next_due(now).unwrap();
        assert_eq!(due.since(now).as_secs(), expected);
        now = due;
    }
}

/// How long after a connection of this many seconds, and again after a second one, the peer is tried again.
fn waits_after(lasted: u64, how: Parting, prepare: impl Fn(&mut PeerList)) -> [Option<u64>; 2] {
    let mut list = list_of(&["1.2.3.4:5"], Source::Tracker);
    prepare(&mut list);
    let mut now = Time::ZERO;
    [(); 2].map(|()| {
        let peer = list.candidate(now)?;
        list.dialled(now, peer);
        list.connected(now, peer);
        now += Duration::from_secs(lasted);
        list.disconnected(now, peer, how);
        audit(&list);
        let due = list.next_due(now)?;
        let wait = due.since(now).as_secs();
        now = due;
        Some(wait)
    })
}

#[test]
fn a_lost_connection_is_made_again_at_once_and_then_with_patience() {
    let plain = |_: &mut PeerList| {};
    assert_eq!(waits_after(600, Parting::Lost, plain), [Some(5), Some(5)]);
    assert_eq!(waits_after(30, Parting::Lost, plain), [Some(5), Some(60)]);
    assert_eq!(waits_after(1, Parting::Lost, plain), [Some(5), Some(120)]);
    assert_eq!(waits_after(600, Parting::Unneeded, plain), [Some(300), Some(300)]);
    assert_eq!(waits_after(600, Parting::Faulty, plain), [Some(120), Some(180)]);
}

#[test]
fn a_seed_hurries_to_nobody() {
    let seeding = |list: &mut PeerList| list.set_seeding(true);
    assert_eq!(waits_after(600, Parting::Lost, seeding), [Some(60), Some(60)]);
    // Who came for the metadata alone is called back, once.
    assert_eq!(waits_after(1, Parting::LostWithMetadata, seeding), [Some(5), Some(120)]);
}

#[test]
fn seeds_are_left_alone_while_we_seed() {
    let mut list = list_of(&["1.2.3.4:5", "1.2.3.5:5"], Source::Tracker);
    list.set_seed(at("1.2.3.4:5"), true);
    list.set_seeding(true);
    assert_eq!(list.candidate(Time::ZERO), Some(at("1.2.3.5:5")));
    list.set_seed(at("1.2.3.5:5"), true);
    assert_eq!((list.candidate(Time::ZERO), list.next_due(Time::ZERO)), (None, None));
    list.set_seeding(false);
    assert!(list.candidate(Time::ZERO).is_some());
    audit(&list);
}

#[test]
fn a_seed_that_was_left_is_called_soon_when_more_is_wanted() {
    for how in [Parting::Unneeded, Parting::Lost] {
        let mut list = list_of(&["1.2.3.4:5"], Source::Tracker);
        let peer = at("1.2.3.4:5");
        list.set_seeding(true);
        list.dialled(Time::ZERO, peer);
        list.connected(Time::ZERO, peer);
        list.set_seed(peer, true);
        list.disconnected(secs(20), peer, how);
        list.set_seeding(false);
        assert_eq!(list.next_due(secs(20)), Some(secs(25)), "{how:?}");
        audit(&list);
    }
}

#[test]
fn a_peer_that_fails_is_not_hurried_to_because_more_is_wanted() {
    let mut list = list_of(&["1.2.3.4:5"], Source::Tracker);
    let peer = at("1.2.3.4:5");
    list.set_seeding(true);
    list.dialled(Time::ZERO, peer);
    list.failed(Time::ZERO, peer);
    list.set_seeding(false);
    assert_eq!(list.next_due(Time::ZERO), Some(secs(120)));
}

#[test]
fn a_peer_that_called_is_dialled_where_it_listens_and_only_when_it_has_gone() {
    let mut list = PeerList::new(CAPACITY, 1);
    let (remote, listening) = (at("1.2.3.4:50000"), at("1.2.3.4:6881"));
    list.accepted(Time::ZERO, remote);
    assert_eq!(list.candidate(Time::ZERO), None);
    assert_eq!(list.listens_on(Time::ZERO, remote, 6881), Ok(true));
    assert_eq!(list.add(Time::ZERO, listening, Source::Tracker), Ok(false));
    assert_eq!(list.candidate(Time::ZERO), None);
    list.set_seed(remote, true);
    list.disconnected(secs(100), remote, Parting::Lost);
    assert_eq!(list.candidate(secs(105)), Some(listening));
    list.set_seeding(true);
    assert_eq!(list.candidate(secs(105)), None, "it was remembered as a seed");
    audit(&list);
}

#[test]
fn the_twin_of_a_connection_is_told() {
    let mut list = list_of(&["1.2.3.4:6881"], Source::Tracker);
    let (remote, listening) = (at("1.2.3.4:50000"), at("1.2.3.4:6881"));
    list.dialled(Time::ZERO, listening);
    list.accepted(Time::ZERO, remote);
    assert_eq!(list.listens_on(Time::ZERO, remote, 6881), Ok(false));
    // The twin's end is not the end of the connection that was dialled.
    list.disconnected(Time::ZERO, remote, Parting::Unneeded);
    assert_eq!(list.next_due(Time::ZERO), None);
    list.connected(Time::ZERO, listening);
    list.disconnected(secs(70), listening, Parting::Lost);
    assert_eq!(list.next_due(secs(70)), Some(secs(75)));
}

#[test]
fn news_that_come_out_of_turn_change_nothing() {
    let mut list = list_of(&["1.2.3.4:5"], Source::Tracker);
    let peer = at("1.2.3.4:5");
    list.failed(Time::ZERO, peer);
    list.disconnected(Time::ZERO, peer, Parting::Faulty);
    assert_eq!(list.candidate(Time::ZERO), Some(peer), "nothing was under way");
    list.dialled(Time::ZERO, peer);
    list.connected(Time::ZERO, peer);
    list.failed(secs(1), peer);
    list.dialled(secs(1), peer);
    assert_eq!(list.next_due(secs(1)), None, "the connection stands");
    list.disconnected(secs(100), peer, Parting::Lost);
    assert_eq!(list.next_due(secs(100)), Some(secs(105)), "and ends as one that lasted");
    list.disconnected(secs(101), at("9.9.9.9:9"), Parting::Lost);
    assert_eq!(list.len(), 1);
}

#[test]
fn a_port_that_cannot_be_listened_on_is_refused_and_the_connection_stays() {
    let mut list = PeerList::new(CAPACITY, 1);
    let remote = at("1.2.3.4:50000");
    list.accepted(Time::ZERO, remote);
    assert_eq!(list.listens_on(Time::ZERO, remote, 0), Err(Refusal::Impossible));
    list.disconnected(Time::ZERO, remote, Parting::Lost);
    assert!(list.is_empty() && list.incoming.is_empty());
}

#[test]
fn a_ban_forgets_every_port_and_the_oldest_ban_is_forgotten() {
    let mut list = list_of(&["1.2.3.4:5", "1.2.3.4:65535", "1.2.3.5:5", "[2001:db8::1]:5"], Source::Tracker);
    list.ban("::ffff:1.2.3.4".parse().unwrap());
    list.ban("2001:db8::1".parse().unwrap());
    assert_eq!(list.sound().collect::<Vec<_>>(), [at("1.2.3.5:5")]);
    assert_eq!(list.add(Time::ZERO, at("1.2.3.4:6"), Source::Manual), Err(Refusal::Banned));
    for number in 0..BANS as u32 {
        list.ban(Ipv4Addr::from_bits(0x0a00_0000 + number).into());
        list.ban(Ipv4Addr::from_bits(0x0a00_0000 + number).into());
    }
    assert!(!list.is_banned("1.2.3.4".parse().unwrap()) && !list.is_banned("2001:db8::1".parse().unwrap()));
    assert!(list.is_banned("10.0.0.0".parse().unwrap()));
    audit(&list);
}

#[test]
fn our_own_address_is_never_dialled() {
    let mut list = list_of(&["1.2.3.4:5"], Source::Tracker);
    list.exclude(at("1.2.3.4:5"));
    assert_eq!(list.candidate(Time::ZERO), None);
    assert_eq!(list.add(Time::ZERO, at("1.2.3.4:5"), Source::Tracker), Err(Refusal::Own));
    list.set_external(at("5.6.7.8:9"));
    assert_eq!(list.add(Time::ZERO, at("5.6.7.8:9"), Source::Pex), Err(Refusal::Own));
    assert_eq!(
        list.add(Time::ZERO, at("5.6.7.8:10"), Source::Pex),
        Ok(true),
        "another one behind our address"
    );
}

#[test]
fn a_filter_forgets_what_it_blocks() {
    let mut list = list_of(&["1.2.3.4:5", "1.2.4.4:5"], Source::Tracker);
    let range = Ipv4Addr::new(1, 2, 3, 0)..=Ipv4Addr::new(1, 2, 3, 255);
    list.set_filter(alloc::sync::Arc::new(Filter::new([range], []).unwrap()));
    assert_eq!(list.sound().collect::<Vec<_>>(), [at("1.2.4.4:5")]);
    assert_eq!(list.add(Time::ZERO, at("1.2.3.9:5"), Source::Tracker), Err(Refusal::Filtered));
}

#[test]
fn a_full_list_gives_up_the_worst_and_no_better_one() {
    let mut list = PeerList::new(3, 1);
    for (address, source) in
        [("1.1.1.1:1", Source::Pex), ("1.1.1.2:1", Source::Resume), ("1.1.1.3:1", Source::Tracker)]
    {
        list.add(Time::ZERO, at(address), source).unwrap();
    }
    assert_eq!(list.add(Time::ZERO, at("2.2.2.1:1"), Source::Pex), Ok(true), "instead of the saved one");
    assert_eq!(
        list.add(Time::ZERO, at("2.2.2.2:1"), Source::Pex),
        Err(Refusal::Full),
        "a flood changes nothing"
    );
    assert_eq!(list.add(Time::ZERO, at("2.2.2.3:1"), Source::Tracker), Ok(true));
    assert_eq!(list.add(Time::ZERO, at("2.2.2.4:1"), Source::Tracker), Ok(true));
    assert_eq!(list.add(Time::ZERO, at("2.2.2.5:1"), Source::Tracker), Err(Refusal::Full));
    list.dialled(Time::ZERO, at("1.1.1.3:1"));
    list.failed(Time::ZERO, at("1.1.1.3:1"));
    assert_eq!(
        list.add(Time::ZERO, at("2.2.2.6:1"), Source::Resume),
        Ok(true),
        "anything instead of what failed"
    );
    assert_eq!(list.len(), 3);
    assert!(!list.sound().any(|address| address == at("1.1.1.3:1")));
}

#[test]
fn what_is_connected_or_named_by_the_user_is_not_given_up() {
    let mut list = PeerList::new(2, 1);
    list.add(Time::ZERO, at("1.1.1.1:1"), Source::Resume).unwrap();
    list.dialled(Time::ZERO, at("1.1.1.1:1"));
    list.add(Time::ZERO, at("1.1.1.2:1"), Source::Manual).unwrap();
    assert_eq!(list.add(Time::ZERO, at("2.2.2.2:1"), Source::Tracker), Err(Refusal::Full));
}

#[test]
fn one_host_has_few_places_and_one_ban_however_many_addresses_of_ipv6_it_has() {
    let mut list = PeerList::new(CAPACITY, 1);
    let numbered = |number: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 7, 0, 0, 0, number], 6881));
    let taken = (1..200).filter(|number| list.add(Time::ZERO, numbered(*number), Source::Tracker).is_ok());
    assert_eq!(taken.count(), OF_ONE_HOST);
    assert_eq!(list.add(Time::ZERO, at("[2001:db8:0:8::1]:6881"), Source::Tracker), Ok(true));
    // Neighbours on a link are not one host.
    let link = |number: u16| SocketAddr::from(([0xfe80, 0, 0, 0, 0, 0, 0, number], 6881));
    assert!((1..200).all(|number| list.add(Time::ZERO, link(number), Source::Lsd) == Ok(true)));
    list.ban(numbered(1).ip());
    assert!(list.is_banned(numbered(999).ip()) && !list.is_banned(at("[2001:db8:0:8::1]:1").ip()));
    assert_eq!(list.len(), 200);
    audit(&list);
    list.unban(numbered(2).ip());
    assert!(!list.is_banned(numbered(1).ip()));
}

#[test]
fn ports_of_one_address_are_few_except_on_loopback() {
    let mut list = PeerList::new(CAPACITY, 1);
    for port in 1..100 {
        let taken = list.add(Time::ZERO, SocketAddr::from(([1, 2, 3, 4], port)), Source::Pex);
        assert_eq!(taken, if usize::from(port) <= OF_ONE_HOST { Ok(true) } else { Err(Refusal::Crowded) });
        assert_eq!(list.add(Time::ZERO, SocketAddr::from(([127, 0, 0, 1], port)), Source::Pex), Ok(true));
    }
    assert_eq!(list.add(Time::ZERO, at("1.2.3.4:500"), Source::Manual), Ok(true));
}
