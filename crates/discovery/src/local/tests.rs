//! What is announced when, and what is heeded.

use super::*;
use alloc::vec;
use proptest::prelude::*;

const PORT: u16 = 6_881;

fn local() -> Local {
    Local::new(PORT, 1)
}

fn hash(number: u32) -> InfoHash {
    let mut hash = [0; 20];
    hash[..4].copy_from_slice(&number.to_be_bytes());
    hash
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Everything that is announced until this moment.
fn run(local: &mut Local, until: Time) -> Vec<(Time, Search)> {
    let mut all = Vec::new();
    while let Some(due) = local.timeout().filter(|due| *due <= until) {
        let search = local.poll_announcement(due).expect("it is due");
        all.push((due, search));
    }
    all
}

fn said(hashes: &[u32], port: u16) -> Vec<u8> {
    let hashes = hashes.iter().map(|number| hash(*number)).collect();
    Search { port, hashes, cookie: None }.encode((message::GROUP_V4, message::PORT).into())
}

#[test]
fn a_torrent_is_announced_at_once_again_soon_and_then_every_five_minutes() {
    let mut local = local();
    local.enter(Time::ZERO, hash(1));
    let announced = run(&mut local, Time::from_secs(3_600));
    let moments: Vec<u64> = announced.iter().map(|(now, _)| now.since(Time::ZERO).as_secs()).collect();
    assert_eq!(moments[..4], [0, 5, 305, 605]);
    assert_eq!(moments.len(), 13);
    assert!(announced.iter().all(|(_, search)| search.port == PORT && search.hashes == [hash(1)]));
}

#[test]
fn torrents_that_begin_together_share_a_datagram() {
    let mut local = local();
    (0..20).for_each(|number| local.enter(Time::ZERO, hash(number)));
    let announced = run(&mut local, Time::from_secs(600));
    assert!(announced.iter().all(|(_, search)| search.hashes.len() == 20));
    let leaders: BTreeSet<_> = announced.iter().map(|(_, search)| search.hashes[0]).collect();
    assert_eq!(leaders.len(), announced.len(), "each comes first in turn");
}

#[test]
fn thousands_take_turns_at_one_datagram_a_minute() {
    let mut local = local();
    (0..1_000).for_each(|number| local.enter(Time::ZERO, hash(number)));
    let announced = run(&mut local, Time::from_secs(3_600));
    assert!(announced.len() <= 61 + FIRST as usize, "{}", announced.len());
    let all: BTreeSet<_> = announced.iter().flat_map(|(_, search)| &search.hashes).collect();
    assert_eq!(all.len(), 1_000);
    // A new one does not wait for all of them.
    let now = Time::from_secs(3_600);
    local.enter(now, hash(5_000));
    let next = run(&mut local, now + PACE);
    assert!(next.iter().any(|(_, search)| search.hashes.contains(&hash(5_000))));
}

#[test]
fn after_the_beginning_a_new_torrent_waits_for_its_minute() {
    let mut local = local();
    for number in 0..50 {
        local.enter(Time::from_secs(number), hash(number as u32));
        run(&mut local, Time::from_secs(number));
    }
    let announced = run(&mut local, Time::from_secs(3_600));
    assert!(announced.windows(2).all(|pair| pair[1].0.since(pair[0].0) >= PACE));
}

#[test]
fn what_has_left_is_announced_no_more() {
    let mut local = local();
    local.enter(Time::ZERO, hash(1));
    local.enter(Time::ZERO, hash(2));
    run(&mut local, Time::from_secs(10));
    local.leave(hash(1));
    let announced = run(&mut local, Time::from_secs(1_000));
    assert!(announced.iter().all(|(_, search)| search.hashes == [hash(2)]));
    local.leave(hash(2));
    assert_eq!(local.timeout(), None);
}

#[test]
fn a_new_network_hears_of_all_torrents() {
    let mut local = local();
    let wired = Network { address: "192.0.2.7".parse().unwrap(), prefix: 24 };
    local.set_networks(Time::ZERO, vec![wired]);
    local.enter(Time::ZERO, hash(1));
    run(&mut local, Time::from_secs(100));
    let now = Time::from_secs(100);
    local.set_networks(now, vec![wired]);
    assert!(run(&mut local, now + PACE).is_empty());
    let wireless = Network { address: "198.51.100.7".parse().unwrap(), prefix: 24 };
    local.set_networks(now, vec![wired, wireless]);
    assert_eq!(run(&mut local, now + PACE).len(), 1);
    local.set_networks(now + PACE, vec![wireless]);
    assert!(run(&mut local, now + PACE * 2).is_empty(), "one that goes is no news");
}

#[test]
fn a_neighbour_is_heard_at_the_address_it_speaks_from() {
    let mut local = local();
    local.enter(Time::ZERO, hash(1));
    local.enter(Time::ZERO, hash(2));
    let now = Time::from_secs(1);
    let heard = local.handle_datagram(now, at("192.168.1.2:6771"), &said(&[9, 2, 1], 7_000)).unwrap();
    assert_eq!(
        heard,
        Heard { peer: at("192.168.1.2:7000"), torrents: vec![(hash(2), true), (hash(1), true)] }
    );
    let heard = local.handle_datagram(now + PACE, at("192.168.1.2:6771"), &said(&[1], 7_000)).unwrap();
    assert_eq!(heard.torrents, [(hash(1), false)]);
    let later = now + FORGOTTEN * 2;
    let heard = local.handle_datagram(later, at("192.168.1.2:6771"), &said(&[1], 7_000)).unwrap();
    assert_eq!(heard.torrents, [(hash(1), true)]);
    let link = local.handle_datagram(later, "[fe80::1%7]:6771".parse().unwrap(), &said(&[1], 7_000)).unwrap();
    assert_eq!(link.peer, "[fe80::1%7]:7000".parse().unwrap(), "the name of the link stays");
    let other = local.handle_datagram(later, at("192.168.1.2:6771"), &said(&[9], 7_000));
    assert_eq!(other, Err(Ignored::OtherTorrents));
}

#[test]
fn strangers_and_our_own_echo_are_not_heeded() {
    let mut local = local();
    local.enter(Time::ZERO, hash(1));
    let now = Time::from_secs(1);
    let network = Network { address: "203.0.113.7".parse().unwrap(), prefix: 28 };
    local.set_networks(now, vec![network]);
    let ours = local.poll_announcement(now).unwrap().encode((message::GROUP_V4, message::PORT).into());
    assert_eq!(local.handle_datagram(now, at("192.168.1.2:6771"), &ours), Err(Ignored::Own));
    let far = local.handle_datagram(now, at("203.0.113.17:6771"), &said(&[1], 1));
    assert_eq!(far, Err(Ignored::Far));
    assert!(local.handle_datagram(now, at("203.0.113.1:6771"), &said(&[1], 1)).is_ok());
    let mapped = at("[::ffff:203.0.113.1]:6771");
    assert!(local.handle_datagram(now, mapped, &said(&[1], 1)).is_ok());
    for text in ["BT-SEARCH", "", "GET / HTTP/1.1\r\n\r\n"] {
        let ignored = local.handle_datagram(now, at("192.168.1.2:6771"), text.as_bytes());
        assert!(matches!(ignored, Err(Ignored::Malformed(_))));
    }
}

#[test]
fn floods_of_one_and_of_many_are_bounded() {
    let mut local = local();
    local.enter(Time::ZERO, hash(1));
    let now = Time::from_secs(1);
    let datagram = said(&[1], 7_000);
    let heeded = |local: &mut Local, from: [u8; 4]| {
        local.handle_datagram(now, (from, 6_771).into(), &datagram) != Err(Ignored::TooMany)
    };
    let one = (0..1_000).filter(|_| heeded(&mut local, [10, 0, 0, 1])).count();
    assert_eq!(one, OF_ONE.0 as usize);
    assert!(heeded(&mut local, [10, 0, 0, 2]), "others are still heard");
    let many = (0..10_000u32).filter(|number| {
        let [_, _, a, b] = number.to_be_bytes();
        heeded(&mut local, [10, 9, a, b])
    });
    assert!(many.count() <= OF_ALL.0 as usize);
    assert!(local.of_one.len() <= ADDRESSES);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut local = local();
    (0..64).for_each(|number| local.enter(Time::ZERO, hash(number)));
    let all: Vec<u32> = (0..64).collect();
    let mut new = 0;
    for port in 1..=100 {
        let now = Time::from_secs(u64::from(port));
        let heard = local.handle_datagram(now, at("10.0.0.1:1"), &said(&all, port)).unwrap();
        new += heard.torrents.iter().filter(|(_, new)| *new).count();
    }
    assert_eq!((new, local.remembered.len()), (REMEMBERED, REMEMBERED));
}

proptest! {
    #[test]
    fn nothing_is_announced_that_has_not_entered(deeds in prop::collection::vec((0u8..4, 0u32..30, 0u64..200), 1..100)) {
        let mut local = local();
        let mut entered = BTreeSet::new();
        let mut now = Time::ZERO;
        let mut sent = Vec::new();
        for (deed, number, wait) in deeds {
            match deed {
                0 | 1 => {
                    local.enter(now, hash(number));
                    entered.insert(hash(number));
                }
                2 => {
                    local.leave(hash(number));
                    entered.remove(&hash(number));
                }
                _ => {
                    now += Duration::from_secs(wait);
                    for (at, search) in run(&mut local, now) {
                        prop_assert!(search.hashes.iter().all(|hash| entered.contains(hash)));
                        prop_assert!(!search.hashes.is_empty() && search.hashes.len() <= message::HASHES);
                        sent.push(at);
                    }
                }
            }
            prop_assert_eq!(local.queue.len(), local.torrents.len());
        }
        let hasty = sent.windows(2).filter(|pair| pair[1].since(pair[0]) < PACE).count();
        prop_assert!(hasty <= FIRST as usize);
    }
}
