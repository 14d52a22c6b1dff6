//! Any bytes as datagrams of the DHT: a query that is understood reads the same when it is written again; a node that
//! is sent anything answers whoever has shown nothing with three times as much at most, and keeps bounded stores.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quelea_dht::packet::{Body, Packet, write_query};
use quelea_dht::{Config, Dht};
use quelea_time::Time;
use std::net::SocketAddr;
use std::time::Duration;

fuzz_target!(|input: &[u8]| {
    let mut dht = Dht::new(Time::ZERO, Config::new(1, [1; 32]));
    let mut now = Time::ZERO;
    // Datagrams stand between bytes of 0xff, which bencode hardly has; each comes from one of few addresses.
    for (number, datagram) in input.split(|&byte| byte == 0xff).take(64).enumerate() {
        if let Ok(packet) = Packet::parse(datagram)
            && let Body::Query(query) = &packet.body
        {
            let mut written = Vec::new();
            write_query(query, packet.transaction, packet.read_only, &mut written);
            let again = Packet::parse(&written).expect("what is written can be read");
            // An unknown method has no name that could be written again.
            if !matches!(query.method, quelea_dht::packet::Method::Unknown(_)) {
                assert_eq!(again.body, packet.body);
            }
            assert_eq!(again.transaction, packet.transaction);
        }
        let from = SocketAddr::from(([11, 0, (number % 3) as u8, 1], 6_881));
        now += Duration::from_millis(50);
        dht.handle_datagram(now, from, datagram);
        let mut sent = 0;
        while let Some(transmit) = dht.poll_transmit() {
            assert!(transmit.bytes.len() <= 1_500);
            if transmit.to == from {
                sent += transmit.bytes.len();
            }
        }
        // Nobody can have shown anything: transactions cannot be guessed.
        assert!(sent <= 3 * datagram.len(), "{sent} bytes for {}", datagram.len());
        while dht.poll_event().is_some() {}
        dht.handle_timeout(now);
    }
});
