//! Any bytes as datagrams of local discovery: what is read reads the same when it is written again; only neighbours are
//! heeded, only for our torrents, and our own announcements stay short and rare.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quelea_discovery::local::message::{GROUP_V4, GROUP_V6, HASHES, HASHES_READ, MAX_LENGTH, PORT};
use quelea_discovery::local::{Local, Search};
use quelea_time::Time;
use std::net::SocketAddr;
use std::time::Duration;

fuzz_target!(|input: &[u8]| {
    let mut local = Local::new(6_881, 1);
    let mut now = Time::ZERO;
    let mut entered = Vec::new();
    let mut last: Option<Time> = None;
    let mut hasty = 0;
    // Datagrams stand between bytes of 0xff, and the first byte of each decides where and when it comes from.
    for datagram in input.split(|&byte| byte == 0xff).take(64) {
        let chance = datagram.first().copied().unwrap_or_default();
        now += Duration::from_secs(u64::from(chance));
        if let Ok(search) = Search::parse(datagram) {
            assert!(search.port != 0 && (1..=HASHES_READ).contains(&search.hashes.len()));
            for group in [SocketAddr::from((GROUP_V4, PORT)), SocketAddr::from((GROUP_V6, PORT))] {
                assert_eq!(Search::parse(&search.encode(group)).as_ref(), Ok(&search));
            }
            if entered.len() < 200 {
                entered.extend(search.hashes.iter().take(1).copied());
                local.enter(now, search.hashes[0]);
            }
        }
        let near = chance % 4 != 0;
        let from = SocketAddr::from(([if near { 10 } else { 11 }, 0, 0, chance % 7], 6_771));
        if let Ok(heard) = local.handle_datagram(now, from, datagram) {
            assert!(near && heard.peer.ip() == from.ip() && heard.peer.port() != 0);
            assert!(heard.torrents.iter().all(|(hash, _)| entered.contains(hash)));
        }
        while let Some(search) = local.poll_announcement(now) {
            assert!(search.hashes.len() <= HASHES && search.encode((GROUP_V6, PORT).into()).len() <= MAX_LENGTH);
            assert!(search.hashes.iter().all(|hash| entered.contains(hash)));
            hasty += usize::from(last.is_some_and(|last| now.since(last) < Duration::from_secs(60)));
            last = Some(now);
        }
        assert!(hasty <= 3 && local.timeout().is_none_or(|due| due > now));
    }
});
