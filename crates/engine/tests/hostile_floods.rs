//! Floods: whatever peers and trackers pour in, memory stays bounded and the honest are served meanwhile.
//!
//! One test after the other, in a process of their own, because what is measured is the process.
#![cfg(target_os = "linux")]
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

use hostile::memory::{alone, forget_peak, peak};
use hostile::peer::*;
use hostile::{HONEST, HOSTILE, World, run};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Connections that flood at the same time: as many as one address may have.
const FLOODERS: usize = 16;
/// What the whole process may grow by, in KiB: 1 MiB in a report and as much in a decoder for each flooder, the
/// memory of the session's blocks, and some for threads and allocators.
const GROWTH: u64 = 96 << 10;

/// Whether the flooders read what is said to them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ears {
    Open,
    Deaf,
}

/// Lets [`FLOODERS`] peers pour out the same chunk again and again while the honest finish the download. At least
/// `enough` bytes are poured out before, unless the session stops reading or ends the connections, which it does with all
/// of them in the end.
fn flood(opening: &[u8], ears: Ears, chunk: impl Fn(&World) -> Vec<u8>, enough: usize) {
    let _alone = alone();
    run(async {
        let world = World::of(2_000_000, 65_536).await;
        let chunk: Arc<[u8]> = chunk(&world).into();
        forget_peak();
        let before = peak();
        let poured = Arc::new(AtomicUsize::new(0));
        let mut peers = Vec::new();
        for _ in 0..FLOODERS {
            let mut peer = Peer::greet(&world, HOSTILE, MODERN).await;
            peer.send(opening).await.unwrap();
            peers.push(peer);
        }
        let flood = |peer| tokio::spawn(pour(peer, ears, Arc::clone(&chunk), Arc::clone(&poured)));
        let flooders: Vec<_> = peers.into_iter().map(flood).collect();
        let mut last = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let so_far = poured.load(Ordering::Relaxed);
            if so_far >= enough || so_far == last {
                break;
            }
            last = so_far;
        }
        let seed = world.seed(HONEST, &[world.address()]).await;
        world.is_whole().await;
        let (poured, grown) = (poured.load(Ordering::Relaxed), peak().saturating_sub(before));
        eprintln!("{} KiB were poured out, memory grew by {grown} KiB", poured >> 10);
        assert!(poured >= enough.min(1 << 20), "{poured} bytes were poured out");
        assert!(grown < GROWTH, "memory grew by {grown} KiB");
        for flooder in flooders {
            flooder.await.unwrap();
        }
        seed.session.close().await;
        world.session.close().await;
    });
}

async fn pour(peer: Peer, ears: Ears, chunk: Arc<[u8]>, poured: Arc<AtomicUsize>) {
    let (mut from, mut to) = peer.stream.into_split();
    let listening = async {
        if ears == Ears::Open {
            let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
        }
    };
    let pouring = async {
        while to.write_all(&chunk).await.is_ok() {
            poured.fetch_add(chunk.len(), Ordering::Relaxed);
        }
    };
    tokio::join!(listening, pouring);
}

/// What each flood pours out at least before the honest come, beside what it goes on to pour out meanwhile.
const ENOUGH: usize = 8 << 20;

#[test]
fn keep_alives() {
    flood(&[], Ears::Open, |_| vec![0; 1 << 16], ENOUGH);
}

#[test]
fn haves() {
    flood(
        &[],
        Ears::Open,
        |world| (0..world.pieces()).flat_map(|piece| numbers(HAVE, &[piece])).collect(),
        ENOUGH,
    );
}

#[test]
fn cancels() {
    let all =
        |world: &World| (0..world.pieces()).flat_map(|piece| numbers(CANCEL, &[piece, 0, 16_384])).collect();
    flood(&message(INTERESTED, &[]), Ears::Open, all, ENOUGH);
}

#[test]
fn requests() {
    let all = |world: &World| {
        (0..world.pieces() - 1).flat_map(|piece| numbers(REQUEST, &[piece, 16_384, 16_384])).collect()
    };
    flood(&message(INTERESTED, &[]), Ears::Open, all, ENOUGH);
}

#[test]
fn requests_of_peers_that_read_no_answer() {
    let all = |world: &World| {
        (0..world.pieces() - 1).flat_map(|piece| numbers(REQUEST, &[piece, 16_384, 16_384])).collect()
    };
    flood(&message(INTERESTED, &[]), Ears::Deaf, all, ENOUGH);
}

#[test]
fn interest_that_comes_and_goes() {
    let flap = [message(INTERESTED, &[]), message(NOT_INTERESTED, &[])].concat().repeat(1_000);
    flood(&[], Ears::Open, move |_| flap.clone(), ENOUGH);
}

#[test]
fn chokes_and_unchokes() {
    let flap = [message(UNCHOKE, &[]), message(CHOKE, &[])].concat().repeat(1_000);
    flood(&message(HAVE_ALL, &[]), Ears::Open, move |_| flap.clone(), ENOUGH);
}

#[test]
fn extension_handshakes() {
    let handshake =
        message(EXTENDED, b"\0d1:md6:ut_pexi1e11:ut_metadatai2ee1:pi6881e4:reqqi500e1:v7:Flood 1e");
    flood(&[], Ears::Open, move |_| handshake.repeat(500), ENOUGH);
}

#[test]
fn extended_messages_of_all_lengths() {
    let lengths = [0, 1, 100, 16_384, 100_000];
    let long: Vec<u8> = lengths
        .iter()
        .flat_map(|length| message(EXTENDED, &[&[77][..], &vec![b'd'; *length]].concat()))
        .collect();
    flood(&[], Ears::Open, move |_| long.clone(), 4 * ENOUGH);
}

#[test]
fn messages_that_nobody_knows() {
    let unknown: Vec<u8> = (100..200).flat_map(|id| message(id, &[0; 10])).collect();
    flood(&[], Ears::Open, move |_| unknown.repeat(10), ENOUGH);
}

#[test]
fn suggestions_rejects_and_gifts() {
    let each = |piece| {
        [
            numbers(SUGGEST, &[piece]),
            numbers(ALLOWED_FAST, &[piece]),
            numbers(REJECT, &[piece, 0, 16_384]),
            message(9, &[0x1a, 0xe1]),
        ]
        .concat()
    };
    flood(&[], Ears::Open, |world| (0..world.pieces()).flat_map(each).collect(), ENOUGH);
}

#[test]
fn blocks_of_one_byte() {
    let block = Request { piece: 0, begin: 0, length: 1 }.answer(&[0]);
    // The connections end after a few hundred, so there is no more to wait for.
    flood(&[], Ears::Open, move |_| block.repeat(100_000), 1);
}
