//! Strangers that occupy what others need, memory and handshakes: they give way.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod hostile;

use hostile::peer::*;
use hostile::{World, run, until};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// The hostile address of this number, each of which has sixteen connections at most.
fn hostile(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 2, 1 + number as u8)
}

/// Bytes that a session holds for all its peers beside payload.
const HELD: usize = 4 << 20;

#[test]
fn messages_that_are_never_whole_take_no_more_memory_than_all_strangers_may() {
    run(async {
        let world = World::of(1_000_000, 65_536).await;
        // An extension handshake of 64 KB, but for its last byte.
        let whole = message(EXTENDED, &[&[0][..], &[b'x'; 64_000]].concat());
        let mut hoarders = Vec::new();
        for number in 0..150 {
            let mut peer = Peer::greet(&world, hostile(number / 15), MODERN).await;
            let _ = peer.send(&whole[..whole.len() - 1]).await;
            hoarders.push(peer);
        }
        until(|| world.torrent.snapshot().peers_connected <= HELD / 64_000).await;
        // Others are let in, and what they say is heard.
        world.completes().await;
    });
}

#[test]
fn long_messages_that_mean_nothing_to_us_are_not_kept() {
    run(async {
        let world = World::of(1_000_000, 65_536).await;
        let whole = message(EXTENDED, &[&[77][..], &vec![b'x'; 1 << 20]].concat());
        let mut peers = Vec::new();
        for number in 0..20 {
            let mut peer = Peer::greet(&world, hostile(number / 15), MODERN).await;
            peer.send(&whole[..whole.len() - 1]).await.unwrap();
            peers.push(peer);
        }
        for peer in &mut peers {
            peer.send(&whole[whole.len() - 1..]).await.unwrap();
            assert!(peer.stays_for(Duration::from_millis(50)).await);
        }
        world.completes().await;
    });
}

#[test]
fn crowds_with_half_a_handshake_shut_nobody_out() {
    run(async {
        let world = World::of(1_000_000, 65_536).await;
        let half = handshake(&world, MODERN)[..30].to_vec();
        let half: Arc<[u8]> = half.into();
        let at_work = Arc::new(AtomicUsize::new(0));
        let (to, mut crowd) = (world.address(), tokio::task::JoinSet::new());
        for number in 0..640 {
            let (half, at_work) = (Arc::clone(&half), Arc::clone(&at_work));
            crowd.spawn(async move {
                let mut first = true;
                loop {
                    if let Ok(mut peer) = Peer::connect_to(to, hostile(number / 16)).await {
                        let _ = peer.send(&half).await;
                        at_work.fetch_add(usize::from(std::mem::take(&mut first)), Ordering::Relaxed);
                        // It waits until it is closed, and comes again.
                        let _ = peer.stream.read(&mut [0; 1]).await;
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            });
        }
        until(|| at_work.load(Ordering::Relaxed) >= 300).await;
        world.completes().await;
    });
}
