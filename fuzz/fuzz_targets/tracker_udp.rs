//! Any sequence of requests, cancellations, replies and waits: every request ends exactly once, what is sent is
//! well formed, and the machine comes to rest.
#![no_main]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use quelea_time::Time;
use quelea_tracker::udp::packet::read_reply;
use quelea_tracker::udp::{Answer, Ask};
use quelea_tracker::{AnnounceRequest, Contact, Identity, MAX_PEERS, Stats, UdpClient};

fuzz_target!(|data: &[u8]| {
    let _ = read_reply(tracker(0), data);
    let mut world = World::default();
    let mut client = UdpClient::new(7);
    let mut input = Input(data);
    while let Some(step) = input.byte() {
        world.step(&mut client, &mut input, step);
        world.drain(&mut client);
        assert_eq!(client.waiting(), world.open.len());
    }
    for _ in 0..10_000 {
        let Some(due) = client.timeout() else { break };
        client.handle_timeout(due);
        world.drain(&mut client);
    }
    assert!(world.open.is_empty(), "never ended: {:?}", world.open);
    assert_eq!(client.timeout(), None);
});

/// What is left of the fuzzer's bytes.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self, below: usize) -> usize {
        usize::from(self.byte().unwrap_or(0)) % below
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.number(128).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }
}

#[derive(Default)]
struct World {
    now: Time,
    next: u32,
    open: BTreeSet<u32>,
    /// Where a packet went, and its transaction.
    sent: Vec<(SocketAddr, [u8; 4])>,
}

fn tracker(number: usize) -> SocketAddr {
    ["192.0.2.1:80", "192.0.2.1:81", "[2001:db8::1]:80", "[::ffff:192.0.2.2]:80"][number % 4].parse().unwrap()
}

impl World {
    fn step(&mut self, client: &mut UdpClient<u32>, input: &mut Input<'_>, step: u8) {
        match step % 6 {
            0 => {
                let identity = Identity { info_hash: [1; 20], peer_id: [2; 20], port: 1, key: 1 };
                let url_data = String::from_utf8_lossy(input.bytes()).into_owned();
                let request = AnnounceRequest::new(&identity, Stats::default());
                let contacts = [Contact::Leaving, Contact::Working, Contact::First, Contact::Again];
                let contact = contacts[input.number(4) % 4];
                self.ask(client, input, Ask::Announce { request, url_data, contact });
            }
            1 => {
                let hashes = vec![[3; 20]; input.number(80)];
                self.ask(client, input, Ask::Scrape(hashes));
            }
            2 => {
                let id = u32::try_from(input.number(256)).unwrap();
                client.cancel(&id);
                self.open.remove(&id);
            }
            3 => {
                self.now += Duration::from_secs(u64::try_from(input.number(256)).unwrap());
                client.handle_timeout(self.now);
                assert!(client.timeout().is_none_or(|due| due > self.now));
            }
            4 if !self.sent.is_empty() => {
                let (to, transaction) = self.sent[input.number(self.sent.len())];
                let action = u32::try_from(input.number(5)).unwrap().to_be_bytes();
                client.handle_datagram(self.now, to, &[&action, &transaction, input.bytes()].concat());
            }
            _ => client.handle_datagram(self.now, tracker(input.number(4)), input.bytes()),
        }
    }

    fn ask(&mut self, client: &mut UdpClient<u32>, input: &mut Input<'_>, ask: Ask) {
        self.open.insert(self.next);
        client.request(self.now, self.next, tracker(input.number(4)), ask);
        self.next += 1;
    }

    fn drain(&mut self, client: &mut UdpClient<u32>) {
        while let Some(datagram) = client.poll_transmit() {
            assert!((16..=1500).contains(&datagram.bytes.len()));
            self.sent.push((datagram.to, datagram.bytes[12..16].try_into().unwrap()));
        }
        while let Some((id, answer)) = client.poll_event() {
            assert!(self.open.remove(&id), "a second event for {id}");
            match answer {
                Ok(Answer::Announce(response)) => assert!(response.peers.len() <= MAX_PEERS),
                Ok(Answer::Scrape(torrents)) => assert!(torrents.len() <= 74),
                Err(_) => {}
            }
        }
    }
}
