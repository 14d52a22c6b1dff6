//! Peers are told of each other, and tell us of others (BEP 11).

use crate::bench::Bench;
use quelea_discovery::Source;
use quelea_swarm::event::{Farewell, Hello, Output};
use quelea_swarm::peers::PeerKey;
use quelea_swarm::picker::Priority;
use quelea_wire::extension::handshake::ExtensionHandshake;
use quelea_wire::extension::pex::{Flags, Pex};
use quelea_wire::extension::{Extension, HANDSHAKE, Ids};
use quelea_wire::handshake::{Feature, Reserved};
use quelea_wire::{Bitfield, Message, PeerId};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// The number that peers of these tests give `ut_pex`.
const PEX: u8 = 77;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A leecher that dials as many as it hears of.
fn leecher() -> Bench {
    Bench::new(Bitfield::none(6), |config| (config.max_peers, config.max_half_open) = (500, 500))
}

impl Bench {
    fn join(&mut self, address: &str, incoming: bool) -> PeerKey {
        let address = at(address);
        let mut id = [0; 20];
        let text = address.to_string();
        let length = text.len().min(20);
        id[..length].copy_from_slice(&text.as_bytes()[..length]);
        let reserved = Reserved::NONE.with(Feature::ExtensionProtocol);
        let hello = Hello { address, incoming, peer_id: PeerId(id), reserved };
        self.machine.handle_connected(self.now, hello).unwrap()
    }

    fn introduces(&mut self, key: PeerKey, port: Option<u16>) -> Vec<Output<()>> {
        let mut ids = Ids::default();
        ids.set(Extension::Pex, PEX);
        let payload = ExtensionHandshake { ids, port, ..ExtensionHandshake::default() }.encode();
        self.says(key, Message::Extended { id: HANDSHAKE, payload })
    }

    /// We dial a peer that takes peer exchange.
    fn dialled(&mut self, address: &str) -> PeerKey {
        let key = self.join(address, false);
        self.introduces(key, None);
        key
    }

    /// A peer that takes peer exchange calls us.
    fn called(&mut self, address: &str, port: Option<u16>) -> PeerKey {
        let key = self.join(address, true);
        self.introduces(key, port);
        key
    }

    /// Lets time pass, in which all peers are heard.
    fn wait(&mut self, seconds: u64) -> Vec<Output<()>> {
        let mut outputs = Vec::new();
        for _ in 0..seconds {
            for key in self.machine.peer_stats().map(|peer| peer.key).collect::<Vec<_>>() {
                self.machine.handle_alive(self.now, key);
            }
            outputs.extend(self.pass(1));
        }
        outputs
    }

    fn tells(&mut self, key: PeerKey, contacts: &[(&str, Flags)]) -> Vec<Output<()>> {
        let added = contacts.iter().map(|(address, flags)| (at(address), *flags)).collect();
        self.tells_pex(key, &Pex { added, dropped: Vec::new() })
    }

    fn tells_pex(&mut self, key: PeerKey, pex: &Pex) -> Vec<Output<()>> {
        self.says(key, Message::Extended { id: Extension::Pex.own_id(), payload: pex.encode() })
    }
}

/// The exchanges that were sent to a peer.
fn told(outputs: &[Output<()>], to: PeerKey) -> Vec<Pex> {
    let told = |output: &Output<()>| match output {
        Output::Send(key, Message::Extended { id: PEX, payload }) if *key == to => {
            Some(Pex::parse(payload).unwrap())
        }
        _ => None,
    };
    outputs.iter().filter_map(told).collect()
}

fn dials(outputs: &[Output<()>]) -> Vec<SocketAddr> {
    let dialled = |output: &Output<()>| if let Output::Connect(to) = output { Some(*to) } else { None };
    outputs.iter().filter_map(dialled).collect()
}

fn introduction(outputs: &[Output<()>]) -> Option<ExtensionHandshake> {
    outputs.iter().find_map(|output| match output {
        Output::Send(_, Message::Extended { id: HANDSHAKE, payload }) => {
            Some(ExtensionHandshake::parse(payload).unwrap())
        }
        _ => None,
    })
}

fn sees_off(outputs: &[Output<()>], whom: PeerKey) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Disconnect(key, Farewell::Fault(_)) if *key == whom))
}

#[test]
fn it_is_offered_unless_it_is_off_or_the_torrent_private() {
    for (pex, private, offered) in [(true, false, true), (false, false, false), (true, true, false)] {
        let mut bench = Bench::new(Bitfield::none(6), |config| (config.pex, config.private) = (pex, private));
        bench.join("192.0.2.1:1", true);
        let said = introduction(&bench.outputs()).unwrap();
        assert_eq!(said.ids.id(Extension::Pex).is_some(), offered, "{pex} {private}");
    }
}

#[test]
fn a_peer_is_soon_told_of_the_others_and_of_how_they_are() {
    let mut bench = leecher();
    let plain = bench.dialled("192.0.2.1:6881");
    let seed = bench.called("192.0.2.2:50000", Some(7000));
    bench.says(seed, Message::Bitfield(Bitfield::all(6).as_wire().to_vec()));
    let _unknown_port = bench.called("192.0.2.3:50000", None);
    let six = bench.dialled("[2001:db8::4]:6881");
    let wanting = ExtensionHandshake {
        upload_only: Some(true),
        encryption: Some(true),
        ..ExtensionHandshake::default()
    };
    bench.says(six, Message::Extended { id: HANDSHAKE, payload: wanting.encode() });
    let newcomer = bench.called("192.0.2.5:50000", Some(9000));
    let outputs = bench.wait(5);
    let messages = told(&outputs, newcomer);
    assert_eq!(messages.len(), 1);
    let mut added = messages[0].added.clone();
    added.sort_unstable_by_key(|(address, _)| *address);
    let expected = [
        (at("192.0.2.1:6881"), Flags::REACHABLE),
        (at("192.0.2.2:7000"), Flags::UPLOAD_ONLY),
        (at("[2001:db8::4]:6881"), Flags::REACHABLE.with(Flags::UPLOAD_ONLY).with(Flags::ENCRYPTION)),
    ];
    assert_eq!(added, expected);
    assert_eq!(messages[0].dropped, []);
    // Nobody is told of itself.
    let of_plain: Vec<_> = told(&outputs, plain).into_iter().flat_map(|pex| pex.added).collect();
    assert!(of_plain.len() == 3 && of_plain.iter().all(|(address, _)| *address != at("192.0.2.1:6881")));
}

#[test]
fn who_takes_no_peer_exchange_is_sent_none() {
    let mut bench = leecher();
    bench.dialled("192.0.2.1:6881");
    let old = bench.join("192.0.2.2:6881", false);
    let mut ids = Ids::default();
    ids.set(Extension::Pex, PEX);
    let refuses = bench.dialled("192.0.2.3:6881");
    ids.set(Extension::Pex, 0);
    let payload = ExtensionHandshake { ids, ..ExtensionHandshake::default() }.encode();
    bench.says(refuses, Message::Extended { id: HANDSHAKE, payload });
    let outputs = bench.wait(100);
    assert!(told(&outputs, old).is_empty() && told(&outputs, refuses).is_empty());
}

#[test]
fn only_what_changed_is_told_and_no_more_than_once_a_minute() {
    let mut bench = leecher();
    let hearer = bench.dialled("192.0.2.1:6881");
    let first = bench.dialled("192.0.2.2:6881");
    assert_eq!(told(&bench.wait(5), hearer).len(), 1);
    // Nothing happens, nothing is said.
    assert_eq!(told(&bench.wait(90), hearer), []);
    bench.dialled("192.0.2.3:6881");
    let outputs = bench.wait(2);
    assert_eq!(
        told(&outputs, hearer),
        [Pex { added: vec![(at("192.0.2.3:6881"), Flags::REACHABLE)], dropped: vec![] }]
    );
    bench.machine.handle_disconnected(bench.now, first);
    let (transient, late) = (bench.dialled("192.0.2.4:6881"), bench.dialled("192.0.2.5:6881"));
    assert_eq!(told(&bench.wait(30), hearer), []);
    bench.machine.handle_disconnected(bench.now, transient);
    let outputs = bench.wait(40);
    assert_eq!(
        told(&outputs, hearer),
        [Pex { added: vec![(at("192.0.2.5:6881"), Flags::REACHABLE)], dropped: vec![at("192.0.2.2:6881")] }]
    );
    // One that is gone and back within a minute was never away.
    bench.wait(70);
    bench.machine.handle_disconnected(bench.now, late);
    bench.dialled("192.0.2.5:6881");
    assert_eq!(told(&bench.wait(100), hearer), []);
}

#[test]
fn the_moments_of_messages_to_one_peer_lie_a_minute_apart() {
    let mut bench = leecher();
    let hearer = bench.dialled("192.0.2.1:6881");
    let mut moments = Vec::new();
    for number in 0..200 {
        bench.dialled(&format!("198.51.100.{}:6881", number + 1));
        for _ in 0..5 {
            if !told(&bench.wait(1), hearer).is_empty() {
                moments.push(bench.now);
            }
        }
    }
    assert!(moments.len() >= 15, "{moments:?}");
    assert!(moments.windows(2).all(|pair| pair[1].since(pair[0]) >= Duration::from_secs(61)));
}

#[test]
fn a_message_has_fifty_contacts_and_the_rest_come_with_the_next() {
    let mut bench = leecher();
    let others: Vec<_> =
        (1..=120).map(|number| bench.dialled(&format!("198.51.100.{number}:6881"))).collect();
    let hearer = bench.dialled("192.0.2.1:6881");
    let outputs = bench.wait(200);
    let messages = told(&outputs, hearer);
    let sizes: Vec<_> = messages.iter().map(|pex| pex.added.len()).collect();
    assert_eq!(sizes, [50, 50, 20]);
    let all: BTreeSet<_> = messages.iter().flat_map(|pex| &pex.added).map(|(address, _)| *address).collect();
    assert_eq!(all.len(), 120);
    for other in others {
        bench.machine.handle_disconnected(bench.now, other);
    }
    let messages = told(&bench.wait(200), hearer);
    let sizes: Vec<_> = messages.iter().map(|pex| pex.dropped.len()).collect();
    assert_eq!(sizes, [50, 50, 20]);
    assert_eq!(messages.iter().flat_map(|pex| &pex.dropped).collect::<BTreeSet<_>>().len(), 120);
    assert_eq!(told(&bench.wait(200), hearer), []);
}

#[test]
fn local_addresses_are_told_to_neighbours_alone() {
    let mut bench = leecher();
    for address in
        ["10.0.0.1:1", "192.168.0.1:1", "169.254.0.1:1", "127.0.0.2:1", "[fe80::1]:1", "[fd00::1]:1"]
    {
        bench.dialled(address);
    }
    let outside = bench.dialled("192.0.2.1:1");
    let neighbour = bench.dialled("172.16.0.1:1");
    let same_machine = bench.dialled("127.0.0.3:1");
    let on_link = bench.dialled("[fe80::2]:1");
    let outputs = bench.wait(5);
    let heard = |whom| -> Vec<String> {
        let told = told(&outputs, whom);
        let mut all: Vec<_> = told.iter().flat_map(|pex| &pex.added).map(|(to, _)| to.to_string()).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(heard(outside), [""; 0]);
    assert_eq!(heard(neighbour), ["10.0.0.1:1", "192.0.2.1:1", "192.168.0.1:1", "[fd00::1]:1"]);
    assert_eq!(heard(same_machine), ["127.0.0.2:1", "192.0.2.1:1"]);
    assert_eq!(heard(on_link), ["169.254.0.1:1", "192.0.2.1:1"]);
}

#[test]
fn whom_a_peer_names_is_dialled() {
    let mut bench = leecher();
    let teller = bench.called("192.0.2.1:50000", None);
    let outputs = bench.tells(
        teller,
        &[
            ("198.51.100.1:6881", Flags::default()),
            // Another port of one address.
            ("198.51.100.1:6882", Flags::default()),
            ("[2001:db8::1]:6881", Flags::UPLOAD_ONLY),
            // Where nobody can listen, or not for everybody.
            ("198.51.100.2:0", Flags::default()),
            ("0.0.0.0:6881", Flags::default()),
            ("224.0.0.1:6881", Flags::default()),
            ("10.0.0.1:6881", Flags::default()),
            ("127.0.0.1:22", Flags::default()),
            ("169.254.1.1:6881", Flags::default()),
            ("[fe80::1]:6881", Flags::default()),
            ("[::ffff:192.168.0.1]:6881", Flags::default()),
        ],
    );
    let dialled: BTreeSet<_> = dials(&outputs).into_iter().collect();
    assert_eq!(dialled, BTreeSet::from([at("198.51.100.1:6881"), at("[2001:db8::1]:6881")]));
    assert!(!sees_off(&outputs, teller));
}

#[test]
fn a_neighbour_may_name_neighbours() {
    let mut bench = leecher();
    let teller = bench.called("10.0.0.9:50000", None);
    let outputs = bench.tells(
        teller,
        &[
            ("10.0.0.1:6881", Flags::default()),
            ("127.0.0.1:22", Flags::default()),
            ("198.51.100.1:6881", Flags::default()),
        ],
    );
    assert_eq!(dials(&outputs).len(), 2);
    assert!(!dials(&outputs).contains(&at("127.0.0.1:22")));
}

#[test]
fn our_own_address_is_not_dialled() {
    let mut bench = leecher();
    bench.machine.set_face(6881, vec!["203.0.113.5".parse().unwrap()]);
    let teller = bench.called("192.0.2.1:50000", None);
    let outputs = bench.tells(teller, &[("203.0.113.5:6881", Flags::default())]);
    assert_eq!(dials(&outputs), []);
}

#[test]
fn a_seed_does_not_dial_those_that_are_called_seeds() {
    let mut bench = Bench::seed();
    let teller = bench.called("192.0.2.1:50000", None);
    let outputs = bench.tells(
        teller,
        &[
            ("198.51.100.1:6881", Flags::UPLOAD_ONLY.with(Flags::REACHABLE)),
            ("198.51.100.2:6881", Flags::REACHABLE),
        ],
    );
    assert_eq!(dials(&outputs), [at("198.51.100.2:6881")]);
}

#[test]
fn what_is_said_of_a_known_peer_changes_nothing() {
    let mut bench = Bench::new(Bitfield::all(6), |config| config.max_half_open = 1);
    bench.machine.handle_addresses(bench.now, [at("198.51.100.1:1"), at("198.51.100.2:2")], Source::Tracker);
    let dialled = dials(&bench.outputs())[0];
    let teller = bench.called("192.0.2.1:50000", None);
    let both = [("198.51.100.1:1", Flags::UPLOAD_ONLY), ("198.51.100.2:2", Flags::UPLOAD_ONLY)];
    bench.tells(teller, &both);
    bench.machine.handle_connect_failed(bench.now, dialled);
    assert_eq!(dials(&bench.outputs()).len(), 1, "the other is still no seed");
}

#[test]
fn one_message_names_a_bounded_number() {
    let mut bench = leecher();
    let teller = bench.called("192.0.2.1:50000", None);
    let many = |first: u8| -> Pex {
        let contact = |(a, b)| (SocketAddr::from(([198, first, a, b], 6881)), Flags::default());
        let addresses = (0..10).flat_map(|a| (1..=100).map(move |b| (a, b)));
        Pex { added: addresses.map(contact).collect(), dropped: vec![] }
    };
    let known = |bench: &mut Bench| bench.machine.stats(bench.now).known;
    bench.tells_pex(teller, &many(1));
    assert_eq!(known(&mut bench), 200);
    bench.tells_pex(teller, &many(2));
    assert_eq!(known(&mut bench), 300);
}

#[test]
fn a_few_messages_too_many_are_tolerated_more_are_ignored_and_a_flood_ends_it() {
    let mut bench = leecher();
    let teller = bench.called("192.0.2.1:50000", None);
    let mut number = 0;
    let mut tell = |bench: &mut Bench| {
        number += 1;
        bench.tells(teller, &[(&format!("198.51.100.{number}:6881"), Flags::default())])
    };
    for _ in 0..4 {
        assert_eq!(dials(&tell(&mut bench)).len(), 1);
    }
    let outputs = tell(&mut bench);
    assert!(dials(&outputs).is_empty() && !sees_off(&outputs, teller));
    let ended = (0..30).position(|_| sees_off(&tell(&mut bench), teller));
    assert!(ended.is_some_and(|after| after > 10), "{ended:?}");
}

#[test]
fn one_message_a_minute_goes_on_for_days() {
    let mut bench = leecher();
    let teller = bench.called("192.0.2.1:50000", None);
    for minute in 0..3_000_u32 {
        bench.now += Duration::from_secs(55);
        let [_, _, a, b] = minute.to_be_bytes();
        let address = format!("198.51.{a}.{b}:6881");
        let outputs = bench.tells(teller, &[(&address, Flags::default())]);
        assert!(!sees_off(&outputs, teller));
        for address in dials(&outputs) {
            bench.machine.handle_connect_failed(bench.now, address);
        }
        bench.outputs();
    }
    assert!(bench.machine.stats(bench.now).known > 2_900);
}

#[test]
fn what_one_peer_names_does_not_come_before_what_others_do() {
    let mut bench = Bench::new(Bitfield::none(6), |config| config.max_half_open = 1);
    let liar = bench.called("192.0.2.1:50000", None);
    let mut under_way = Vec::new();
    for message in 0..4 {
        let names =
            (1..=100).map(|number| (SocketAddr::from(([51, 18, message, number], 1)), Flags::default()));
        under_way.extend(dials(&bench.tells_pex(liar, &Pex { added: names.collect(), dropped: vec![] })));
    }
    let honest = bench.called("192.0.2.2:50000", None);
    bench.tells(honest, &[("198.51.100.1:6881", Flags::default())]);
    let mut before = 0;
    while under_way != [at("198.51.100.1:6881")] {
        before += 1;
        assert!(before <= 20, "{before} of the liar's came first");
        bench.machine.handle_connect_failed(bench.now, under_way[0]);
        under_way = dials(&bench.outputs());
    }
}

#[test]
fn what_cannot_be_read_is_a_small_fault() {
    let mut bench = leecher();
    let teller = bench.called("192.0.2.1:50000", None);
    let payload = b"d5:added5:shorte".to_vec();
    let outputs = bench.says(teller, Message::Extended { id: Extension::Pex.own_id(), payload });
    assert!(!sees_off(&outputs, teller));
}

#[test]
fn a_private_torrent_tells_nobody_and_takes_only_whom_trackers_and_the_user_name() {
    let mut bench = Bench::new(Bitfield::none(6), |config| {
        (config.private, config.max_peers, config.max_half_open) = (true, 50, 50);
    });
    let hearer = bench.dialled("192.0.2.1:6881");
    let other = bench.called("192.0.2.2:50000", Some(6881));
    let mut outputs = bench.wait(100);
    outputs.extend(bench.tells(other, &[("198.51.100.1:6881", Flags::default())]));
    assert!(told(&outputs, hearer).is_empty() && told(&outputs, other).is_empty());
    for (last, source) in [Source::Pex, Source::Dht, Source::Lsd, Source::Incoming].into_iter().enumerate() {
        let address = SocketAddr::from(([198, 51, 100, last as u8 + 10], 6881));
        bench.machine.handle_addresses(bench.now, [address], source);
    }
    // Who called us is not called back either.
    bench.machine.handle_disconnected(bench.now, other);
    outputs.extend(bench.wait(600));
    assert!(dials(&outputs).iter().all(|address| *address == at("192.0.2.1:6881")), "{outputs:?}");
    bench.machine.handle_addresses(bench.now, [at("198.51.100.20:1")], Source::Tracker);
    bench.machine.handle_addresses(bench.now, [at("198.51.100.21:1")], Source::Manual);
    assert_eq!(dials(&bench.outputs()).len(), 2);
}

#[test]
fn peers_hear_at_once_that_nothing_is_wanted_any_more_and_that_something_is_again() {
    let mut bench = leecher();
    let extended = bench.dialled("192.0.2.1:6881");
    let old = bench.old_peer();
    bench.outputs();
    for (priority, upload_only) in [(Priority::UNWANTED, true), (Priority::USUAL, false)] {
        bench.machine.set_priorities(bench.now, |_| priority);
        let outputs = bench.outputs();
        let to = |whom: PeerKey| {
            let of = |output: &Output<()>| match output {
                Output::Send(key, Message::Extended { id: HANDSHAKE, payload }) if *key == whom => {
                    ExtensionHandshake::parse(payload).unwrap().upload_only
                }
                _ => None,
            };
            outputs.iter().filter_map(of).collect::<Vec<_>>()
        };
        assert_eq!((to(extended), to(old)), (vec![upload_only], vec![]));
        bench.machine.set_priorities(bench.now, |_| priority);
        assert_eq!(introduction(&bench.outputs()), None, "it is said again");
    }
}
