//! Any bytes as messages of peer exchange, sent to a torrent's machine: what is read is bounded and reads the same when
//! it is written again; the machine dials nobody that a stranger may not name, and sends no more than it may.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quelea_metainfo::geometry::Geometry;
use quelea_swarm::event::{Hello, Output};
use quelea_swarm::torrent::{Config, Torrent};
use quelea_time::Time;
use quelea_wire::extension::handshake::ExtensionHandshake;
use quelea_wire::extension::pex::Pex;
use quelea_wire::extension::{Extension, HANDSHAKE, Ids};
use quelea_wire::handshake::{Feature, Reserved};
use quelea_wire::{Bitfield, Message, PeerId, limits};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

fuzz_target!(|input: &[u8]| {
    let mut machine: Torrent<()> = Torrent::new(Time::ZERO, config());
    let mut now = Time::ZERO;
    let mut keys = Vec::new();
    for number in 1..=3 {
        let address = SocketAddr::from(([11, 0, number, 1], 6_881));
        let reserved = Reserved::NONE.with(Feature::ExtensionProtocol);
        let hello = Hello { address, incoming: number == 1, peer_id: PeerId([number; 20]), reserved };
        let key = machine.handle_connected(now, hello).expect("there is room");
        let payload =
            ExtensionHandshake { ids: Ids::own(&[Extension::Pex]), port: Some(7_000), ..Default::default() };
        machine.handle_message(now, key, &Message::Extended { id: HANDSHAKE, payload: payload.encode() });
        keys.push(key);
    }
    // Messages stand between bytes of 0xff; each comes from one of the peers, some seconds after the last.
    for (number, payload) in input.split(|&byte| byte == 0xff).take(64).enumerate() {
        if let Ok(pex) = Pex::parse(payload) {
            assert!(pex.added.len() <= 2 * limits::PEX_CONTACTS && pex.dropped.len() <= 2 * limits::PEX_CONTACTS);
            assert_eq!(Pex::parse(&pex.encode()).as_ref(), Ok(&pex));
        }
        now += Duration::from_secs(payload.first().map_or(0, |&byte| u64::from(byte % 40)));
        let key = keys[number % keys.len()];
        let message = Message::Extended { id: Extension::Pex.own_id(), payload: payload.to_vec() };
        machine.handle_message(now, key, &message);
        machine.handle_timeout(now);
        while let Some(output) = machine.poll_output(now) {
            match output {
                Output::Connect(address) => {
                    assert!(address.port() != 0 && may_be_named(address.ip()), "{address}");
                    machine.handle_connect_failed(now, address);
                }
                Output::Send(_, Message::Extended { id, payload }) if id == Extension::Pex.own_id() => {
                    let sent = Pex::parse(&payload).expect("what is written can be read");
                    assert!(sent.added.len() <= 50 && sent.dropped.len() <= 50);
                }
                _ => {}
            }
        }
        machine.check_invariants().expect("nothing contradicts");
    }
});

fn may_be_named(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified()),
        IpAddr::V6(ip) => !(ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local()),
    }
}

fn config() -> Config {
    Config {
        geometry: Geometry::new(100_000, 32_768).expect("a torrent"),
        info_hash: [7; 20],
        peer_id: PeerId([0xff; 20]),
        client: String::new(),
        port: Some(6_881),
        private: false,
        pex: true,
        metadata: [].into(),
        wanted: Bitfield::all(4),
        have: Bitfield::none(4),
        max_peers: 500,
        max_half_open: 500,
        upload_slots: 4,
        open_pieces: 4,
        seed: 1,
    }
}
