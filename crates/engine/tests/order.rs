//! In which order a torrent's pieces are asked for, and which not at all.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod hostile;

use hostile::peer::*;
use hostile::{HONEST, OURS, World, made, run, session, until};
use quelea::{Error, Priority, State};
use std::net::SocketAddr;

const PIECE: usize = 16_384;

#[test]
fn pieces_are_asked_for_in_order_from_the_moment_that_it_is_wished_for() {
    run(async {
        for from_the_beginning in [true, false] {
            let world = World::with(64 * PIECE, PIECE, |wish| wish.sequential = from_the_beginning).await;
            let mut peer = Peer::greet(&world, HONEST, MODERN).await;
            peer.send(&message(HAVE_ALL, &[])).await.unwrap();
            world.torrent.set_sequential(true).await;
            assert!(world.torrent.is_sequential());
            peer.send(&message(UNCHOKE, &[])).await.unwrap();
            for piece in 0..64 {
                let request = peer.next_request().await.unwrap();
                assert_eq!(request.piece, piece);
                peer.send(&request.answer(&world.block(request))).await.unwrap();
            }
            until(|| world.torrent.snapshot().state == State::Seeding).await;
            world.session.close().await;
        }
    });
}

#[test]
fn files_of_higher_priority_come_first_and_those_of_none_not_at_all() {
    run(async {
        let files = ["a", "b", "c"].map(|name| (name, made::bytes(8 * PIECE, 1)));
        let torrent = made::torrent("folder", &files, PIECE);
        let whole = files.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<u8>>();
        let directory = tempfile::tempdir().unwrap();
        let session = session(OURS, &directory);
        let mut wish = made::add(&torrent);
        wish.priorities = Some(vec![Priority::UNWANTED; 3]);
        assert!(matches!(session.add(wish).await, Err(Error::NothingSelected)));
        let mut wish = made::add(&torrent);
        wish.priorities = Some(vec![Priority::LOWEST, Priority::UNWANTED, Priority::HIGHEST]);
        let info_hash = wish.metainfo.info.hashes.wire();
        let torrent = session.add(wish).await.unwrap();
        let address = SocketAddr::new(OURS.into(), session.port());
        let mut peer = Peer::connect_to(address, HONEST).await.unwrap();
        let hello = [&b"\x13BitTorrent protocol"[..], &MODERN, &info_hash, b"-XX0000-priority!!!!"].concat();
        let seed = [hello, message(HAVE_ALL, &[]), message(UNCHOKE, &[])].concat();
        peer.send(&seed).await.unwrap();
        tokio::io::AsyncReadExt::read_exact(&mut peer.stream, &mut [0; 68]).await.unwrap();
        let mut asked = Vec::new();
        while asked.len() < 16 {
            let request = peer.next_request().await.unwrap();
            asked.push(request.piece);
            let begin = request.piece as usize * PIECE;
            peer.send(&request.answer(&whole[begin..begin + PIECE])).await.unwrap();
        }
        until(|| torrent.snapshot().state == State::Seeding).await;
        assert!(asked[..8].iter().all(|piece| (16..24).contains(piece)), "{asked:?}");
        assert!(asked[8..].iter().all(|piece| (0..8).contains(piece)), "{asked:?}");
        assert!(!directory.path().join("folder/b").exists());
        session.close().await;
    });
}
