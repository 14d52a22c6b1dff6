//! Peers that mean well, though some are slow or have nothing.

use crate::world::{Manner, World, dictionary, honest, message};
use quelea_digest::{sha1, sha256};
use quelea_discovery::Source;
use quelea_metainfo::InfoHashes;
use quelea_swarm::event::{Farewell, Hello, Refusal};
use quelea_time::Time;
use quelea_wire::PeerId;
use quelea_wire::extension::Extension;
use quelea_wire::extension::metadata::{MetadataMessage, PIECE};
use quelea_wire::extension::pex::{Flags, Pex};
use quelea_wire::handshake::{Feature, Reserved};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn one_peer_gives_all() {
    for length in [1, PIECE - 1, PIECE, PIECE + 1, 40 * PIECE + 5] {
        let right = dictionary(length, 0);
        let mut world = World::v1(&right);
        world.peer(honest(&right));
        assert!(world.run(MINUTE), "{length}");
        assert_eq!(world.done.as_ref(), Some(&right));
    }
}

#[test]
fn several_peers_share_the_work() {
    let right = dictionary(60 * PIECE, 0);
    let mut world = World::v1(&right);
    let peers: Vec<_> = (0..3).map(|_| world.peer(honest(&right))).collect();
    assert!(world.run(MINUTE));
    for peer in peers {
        assert!(world.asked[&peer].len() >= 10, "{:?}", world.asked);
    }
    assert_eq!(world.asked.values().map(Vec::len).sum::<usize>(), 60, "a piece was asked for twice");
}

#[test]
fn the_hash_may_be_that_of_v2_or_both() {
    let right = dictionary(3 * PIECE, 0);
    let mut world = World::v2(&right);
    world.peer(honest(&right));
    assert!(world.run(MINUTE));
    let both = InfoHashes::new(Some(sha1(&right)), Some(sha256(&right))).unwrap();
    let mut world = World::new(both, |_| {});
    world.peer(honest(&right));
    assert!(world.run(MINUTE));
}

#[test]
fn hashes_of_two_torrents_contradict_each_other_and_nobody_is_blamed() {
    let right = dictionary(3 * PIECE, 0);
    let hashes = InfoHashes::new(Some(sha1(&right)), Some([7; 32])).unwrap();
    let mut world = World::new(hashes, |_| {});
    world.peer(honest(&right));
    assert!(!world.run(MINUTE));
    assert!(world.contradiction);
    assert!(world.banned.is_empty());
}

#[test]
fn who_is_silent_or_rejects_holds_up_nobody() {
    let right = dictionary(8 * PIECE, 0);
    let mut world = World::v1(&right);
    for manner in [
        Manner::Silent(right.len() as u32),
        Manner::Rejects(right.len() as u32),
        Manner::Without,
        Manner::Plain,
    ] {
        world.peer(manner);
    }
    world.peer(honest(&right));
    assert!(world.run(Duration::from_secs(20)), "{:?}", world.fetch.progress());
    assert!(world.banned.is_empty(), "nobody lied");
}

#[test]
fn metadata_in_one_message_is_taken_when_its_hash_is_right() {
    for (length, said) in [(3 * PIECE + 7, 3 * PIECE + 7), (3 * PIECE + 7, 20 * PIECE), (100, 5_000)] {
        let right = dictionary(length, 0);
        for total_size in [0, 1, right.len() as u32] {
            let whole = message(&MetadataMessage::Data { piece: 0, total_size, data: &right });
            let mut world = World::v1(&right);
            world.peer(Manner::Answers(said as u32, vec![whole]));
            assert!(world.run(MINUTE), "{length} {said} {total_size}");
            assert_eq!(world.done.as_ref(), Some(&right));
        }
    }
}

#[test]
fn metadata_with_odd_totals_is_taken_when_its_hash_is_right() {
    let right = dictionary(3 * PIECE + 7, 0);
    let length = right.len() as u32;
    let odd = [(length, 0), (length, 7), (length, PIECE as u32), (length, 9 * PIECE as u32)];
    // The handshake is wrong, the messages are right.
    let corrected = [(9 * PIECE as u32, length), (2 * PIECE as u32 + 1, length), (5, length)];
    for (length, total) in odd.into_iter().chain(corrected) {
        let mut world = World::v1(&right);
        world.peer(Manner::Miscounts { data: right.clone(), length, total });
        assert!(world.run(2 * MINUTE), "{length} {total}: {:?}", world.farewells);
        assert_eq!(world.done.as_ref(), Some(&right));
        assert!(world.banned.is_empty());
    }
}

#[test]
fn a_peer_that_rejects_for_a_while_is_asked_again() {
    let right = dictionary(2 * PIECE, 0);
    let mut world = World::v1(&right);
    world.peer(Manner::Reluctant(right, 6));
    assert!(world.run(3 * MINUTE));
}

#[test]
fn a_slow_peer_is_waited_for_when_there_is_no_other() {
    let right = dictionary(5 * PIECE, 0);
    let mut world = World::v1(&right);
    world.peer(Manner::Gives(right, Duration::from_secs(14)));
    assert!(world.run(10 * MINUTE), "{:?}", world.fetch.progress());
}

#[test]
fn a_peer_that_cannot_take_two_requests_at_a_time_is_asked_for_one() {
    let right = dictionary(18 * PIECE, 0);
    let mut world = World::v1(&right);
    world.peer(Manner::OneAtATime { data: right, busy_until: Time::ZERO, dead: false });
    assert!(world.run(MINUTE), "{:?}", world.fetch.progress());
    assert!(world.farewells.values().all(|why| *why == Farewell::Silent));
}

#[test]
fn what_a_slow_peer_holds_up_is_asked_of_another() {
    let right = dictionary(20 * PIECE, 0);
    let mut world = World::v1(&right);
    world.peer(Manner::Gives(right.clone(), Duration::from_secs(9)));
    world.peer(honest(&right));
    assert!(world.run(Duration::from_secs(8)), "{:?}", world.fetch.progress());
}

#[test]
fn a_peer_may_get_the_metadata_later_and_say_so() {
    let right = dictionary(PIECE, 0);
    let mut world = World::v1(&right);
    let address = world.peer(Manner::Without);
    assert!(!world.run(MINUTE));
    world.manners.insert(address, honest(&right));
    let key = *world.keys.keys().next().unwrap();
    world.says_size(key, Some(right.len() as u32));
    assert!(world.run(MINUTE));
}

#[test]
fn those_without_metadata_give_way_to_others() {
    let right = dictionary(PIECE, 0);
    let hashes = InfoHashes::new(Some(sha1(&right)), None).unwrap();
    let mut world = World::new(hashes, |config| config.max_peers = 3);
    for _ in 0..9 {
        world.peer(Manner::Without);
    }
    world.peer(honest(&right));
    assert!(world.run(3 * MINUTE));
    assert!(world.farewells.values().any(|why| *why == Farewell::Useless));
}

#[test]
fn peers_of_peers_are_met() {
    let right = dictionary(PIECE, 0);
    let mut world = World::v1(&right);
    let knows = world.peer(Manner::Without);
    let hidden = "10.9.9.9:6881".parse().unwrap();
    world.manners.insert(hidden, honest(&right));
    assert!(!world.run(Duration::from_secs(1)));
    let key = *world.keys.iter().find(|(_, address)| **address == knows).unwrap().0;
    let payload = Pex { added: vec![(hidden, Flags::default())], dropped: vec![] }.encode();
    let said = quelea_wire::Message::Extended { id: Extension::Pex.own_id(), payload };
    world.fetch.handle_message(world.now, key, &said);
    world.drain();
    assert!(world.run(MINUTE));
    let known = |private| world.fetch.known_peers(private).iter().any(|(address, _)| *address == hidden);
    assert!(known(false));
    assert!(!known(true), "a private torrent's peers come from its trackers alone");
    assert!(world.fetch.known_peers(true).iter().all(|(_, source)| *source == Source::Tracker));
}

#[test]
fn a_peer_that_calls_us_gives_as_well_and_is_remembered_where_it_listens() {
    let right = dictionary(PIECE, 0);
    let mut world = World::v1(&right);
    let reserved = Reserved::NONE.with(Feature::ExtensionProtocol);
    let address = "10.8.8.8:50000".parse().unwrap();
    let hello = Hello { address, incoming: true, peer_id: PeerId([8; 20]), reserved };
    let key = world.fetch.handle_connected(world.now, hello).unwrap();
    world.keys.insert(key, address);
    world.manners.insert(address, honest(&right));
    let again = Hello { address: "10.8.8.8:50001".parse().unwrap(), ..hello };
    assert_eq!(world.fetch.handle_connected(world.now, again), Err(Refusal::Duplicate));
    let ourselves = Hello { peer_id: PeerId([0xff; 20]), ..again };
    assert_eq!(world.fetch.handle_connected(world.now, ourselves), Err(Refusal::Ourselves));
    world.says_size(key, Some(right.len() as u32));
    assert!(world.run(MINUTE));
}

#[test]
fn a_peer_that_comes_back_after_a_silent_death_takes_the_place_of_its_dead_self() {
    let right = dictionary(PIECE, 0);
    let mut world = World::v1(&right);
    let reserved = Reserved::NONE.with(Feature::ExtensionProtocol);
    let dead = "10.8.8.8:50000".parse().unwrap();
    let hello = Hello { address: dead, incoming: true, peer_id: PeerId([8; 20]), reserved };
    let key = world.fetch.handle_connected(world.now, hello).unwrap();
    world.keys.insert(key, dead);
    assert!(!world.run(Duration::from_secs(15)));
    let again = Hello { address: "10.8.8.8:50001".parse().unwrap(), ..hello };
    assert!(world.fetch.handle_connected(world.now, again).is_ok());
    world.drain();
    assert_eq!(world.farewells.get(&dead), Some(&Farewell::Twin));
}

#[test]
fn nothing_is_asked_of_anybody_after_the_end() {
    let right = dictionary(PIECE, 0);
    let mut world = World::v1(&right);
    world.peer(honest(&right));
    assert!(world.run(MINUTE));
    assert_eq!(world.fetch.timeout(), None);
    world.fetch.stop(world.now);
    world.drain();
    assert!(world.keys.is_empty(), "every connection is ended");
    world.fetch.handle_addresses(world.now, ["10.7.7.7:1".parse().unwrap()], Source::Tracker);
    assert!(world.fetch.poll_output().is_none());
}
