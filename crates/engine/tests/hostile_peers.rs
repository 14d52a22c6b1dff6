//! Peers that lie, break the protocol or waste our time: each is seen through, and the honest are not held up.
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
use hostile::{HONEST, HOSTILE, World, run, until};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Barrier;

/// The hostile address of this number.
fn hostile(number: u8) -> Ipv4Addr {
    let [a, b, c, _] = HOSTILE.octets();
    Ipv4Addr::new(a, b, c, number)
}

#[test]
fn who_sends_a_whole_wrong_piece_is_banned() {
    run(async {
        let mut world = World::of(300_000, 65_536).await;
        let mut liar = Peer::seed(&world, HOSTILE, MODERN).await;
        while let Some(request) = liar.next_request().await {
            let lie = vec![0xee; request.length as usize];
            if liar.send(&request.answer(&lie)).await.is_err() {
                break;
            }
        }
        assert_eq!(world.next_ban().await, HOSTILE);
        until(|| world.torrent.snapshot().wasted >= 65_536).await;
        // It is not let in again.
        let mut again = Peer::greet(&world, HOSTILE, MODERN).await;
        assert_eq!(again.until_closed().await, 0);
        world.completes().await;
    });
}

#[test]
fn one_wrong_block_among_those_of_several_peers_is_traced_to_its_sender() {
    run(async {
        // One piece of 128 blocks, which three peers have to share: each answers when all have been asked.
        let mut world = World::of(2 << 20, 2 << 20).await;
        let asked = Arc::new(Barrier::new(3));
        let mut peers = Vec::new();
        for number in 1..=3 {
            let lies = number == 2;
            let mut peer = Peer::seed(&world, hostile(number), MODERN).await;
            let (asked, payload) = (Arc::clone(&asked), world.payload.clone());
            peers.push(tokio::spawn(async move {
                let mut lied = 0;
                let mut first = true;
                while let Some(request) = peer.next_request().await {
                    if std::mem::take(&mut first) {
                        asked.wait().await;
                    }
                    let begin = request.begin as usize;
                    let mut block = payload[begin..begin + request.length as usize].to_vec();
                    if lies && lied == 0 {
                        block[5] ^= 1;
                        lied += 1;
                    }
                    if peer.send(&request.answer(&block)).await.is_err() {
                        break;
                    }
                }
                lied
            }));
        }
        world.is_whole().await;
        until(|| peers[1].is_finished()).await;
        let (banned, failed) = world.told().await;
        assert_eq!((banned, failed), (vec![hostile(2).into()], 1));
        assert!(!peers[0].is_finished() && !peers[2].is_finished(), "the honest are kept");
        assert_eq!(peers.remove(1).await.unwrap(), 1);
        world.session.close().await;
    });
}

#[test]
fn a_length_of_4_gib_ends_the_connection_whatever_the_message() {
    run(async {
        let world = World::of(100_000, 32_768).await;
        for id in 0..=255 {
            let mut peer = Peer::greet(&world, HOSTILE, MODERN).await;
            peer.send(&[0xff, 0xff, 0xff, 0xff, id]).await.unwrap();
            peer.until_closed().await;
        }
        world.completes().await;
    });
}

#[test]
fn a_stream_cut_off_at_every_byte_harms_nobody() {
    run(async {
        let world = World::of(100_000, 32_768).await;
        let block = Request { piece: 0, begin: 0, length: 16_384 }.answer(&[0; 16_384]);
        let stream = [
            handshake(&world, MODERN),
            message(EXTENDED, b"\0d1:md6:ut_pexi1ee1:pi6881ee"),
            message(BITFIELD, &all(&world)),
            numbers(HAVE, &[1]),
            message(UNCHOKE, &[]),
            numbers(SUGGEST, &[1]),
            numbers(REQUEST, &[0, 0, 16_384]),
            block[..40].to_vec(),
        ]
        .concat();
        for cut in 0..=stream.len() {
            let mut peer = Peer::connect(&world, HOSTILE).await.unwrap();
            peer.send(&stream[..cut]).await.unwrap();
            peer.stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            let _ = peer.stream.read_to_end(&mut answer).await;
            assert_eq!(answer.len() >= 68, cut >= 68, "{cut} bytes were answered by {}", answer.len());
        }
        until(|| world.torrent.snapshot().peers_connected == 0).await;
        world.completes().await;
    });
}

#[test]
fn a_peer_whose_every_byte_comes_alone_is_understood() {
    run(async {
        let world = World::of(40_000, 16_384).await;
        let mut peer = Peer::connect(&world, HONEST).await.unwrap();
        let greeting = [handshake(&world, MODERN), message(HAVE_ALL, &[]), message(UNCHOKE, &[])].concat();
        for byte in greeting {
            peer.send(&[byte]).await.unwrap();
        }
        let mut theirs = [0; 68];
        peer.stream.read_exact(&mut theirs).await.unwrap();
        for _ in 0..3 {
            let request = peer.next_request().await.unwrap();
            for byte in request.answer(&world.block(request)) {
                peer.send(&[byte]).await.unwrap();
            }
        }
        world.is_whole().await;
        assert_eq!(world.torrent.snapshot().wasted, 0);
        world.session.close().await;
    });
}

#[test]
fn peers_that_send_a_byte_a_second_hold_nobody_up() {
    run(async {
        let world = World::of(8_000_000, 65_536).await;
        let trickled = Arc::new(AtomicUsize::new(0));
        let mut drips = Vec::new();
        // Some trickle their handshake, some a message, some the first block that they are asked for.
        for number in 1..=30 {
            let mut peer = match number % 3 {
                0 => Peer::connect(&world, hostile(number)).await.unwrap(),
                1 => Peer::greet(&world, hostile(number), MODERN).await,
                _ => Peer::seed(&world, hostile(number), MODERN).await,
            };
            let bytes = match number % 3 {
                0 => handshake(&world, MODERN),
                1 => message(BITFIELD, &all(&world)),
                _ => {
                    let request = peer.next_request().await.unwrap();
                    request.answer(&world.block(request))
                }
            };
            let trickled = Arc::clone(&trickled);
            drips.push(tokio::spawn(async move {
                for byte in bytes {
                    if peer.send(&[byte]).await.is_err() {
                        break;
                    }
                    trickled.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }));
        }
        until(|| trickled.load(Ordering::Relaxed) >= 60).await;
        let begun = tokio::time::Instant::now();
        world.completes().await;
        // Twenty seconds would be the time until a silent peer's requests are given to others.
        assert!(begun.elapsed() < Duration::from_secs(18), "{:?}", begun.elapsed());
        for drip in drips {
            drip.abort();
        }
    });
}

#[test]
fn a_bitfield_of_the_wrong_size_ends_the_connection_first_or_later() {
    run(async {
        let world = World::of(20 * 16_384, 16_384).await;
        let right = all(&world);
        let wrong = [
            message(BITFIELD, &[]),
            message(BITFIELD, &right[..right.len() - 1]),
            message(BITFIELD, &[&right[..], &[0; 9]].concat()),
            message(BITFIELD, &vec![0xff; 1 << 20]),
            [message(BITFIELD, &right), message(BITFIELD, &right[1..])].concat(),
            [message(HAVE_ALL, &[]), message(BITFIELD, &[])].concat(),
        ];
        for bytes in wrong {
            let mut peer = Peer::greet(&world, HOSTILE, MODERN).await;
            // The longest is refused before it is whole.
            let _ = peer.send(&bytes).await;
            peer.until_closed().await;
        }
        world.completes().await;
    });
}

#[test]
fn spare_bits_and_a_byte_too_many_in_a_bitfield_do_not_cost_the_only_seed() {
    for spare in [&[][..], &[0], &[0xff]] {
        run(async move {
            let world = World::of(20 * 16_384, 16_384).await;
            let mut peer = Peer::greet(&world, HONEST, PLAIN).await;
            let bits = [vec![0xff; 3], spare.to_vec()].concat();
            peer.send(&[message(BITFIELD, &bits), message(UNCHOKE, &[])].concat()).await.unwrap();
            for _ in 0..20 {
                let request = peer.next_request().await.unwrap();
                peer.send(&request.answer(&world.block(request))).await.unwrap();
            }
            world.is_whole().await;
            world.session.close().await;
        });
    }
}

#[test]
fn requests_outside_pieces_are_rejected_and_then_end_the_connection() {
    run(async {
        let world = World::of(5 * 32_768 - 100, 32_768).await;
        let seed = world.seed(HONEST, &[]).await;
        let mut peer = Peer::greet_at(&world, seed.address(), HOSTILE, MODERN).await;
        peer.send(&message(INTERESTED, &[])).await.unwrap();
        while peer.next().await.unwrap().0 != UNCHOKE {}
        let wrong = [
            [5, 0, 16_384],
            [u32::MAX, 0, 16_384],
            [0, 32_768, 1],
            [0, 16_385, 16_384],
            [4, 16_384, 16_384],
            [0, u32::MAX, 16_384],
            [0, u32::MAX - 16_383, 16_384],
            [0, 0, 0],
            [0, 0, 16_385],
            [0, 0, u32::MAX],
        ];
        for words in wrong {
            peer.send(&numbers(REQUEST, &words)).await.unwrap();
            let mut answer = peer.next().await.unwrap();
            // With the slot came which pieces it would like to send.
            while answer.0 == SUGGEST {
                answer = peer.next().await.unwrap();
            }
            assert_eq!(message(answer.0, &answer.1), numbers(REJECT, &words));
        }
        for words in wrong.iter().chain(&wrong) {
            let _ = peer.send(&numbers(REQUEST, words)).await;
        }
        peer.until_closed().await;
        // Who asks a downloader for what it lacks is answered as well.
        let mut other = Peer::greet(&world, HOSTILE, MODERN).await;
        other.send(&numbers(REQUEST, &[0, 0, 16_384])).await.unwrap();
        while other.next().await.unwrap().0 != REJECT {}
        seed.session.close().await;
        world.completes().await;
    });
}

#[test]
fn a_peer_that_unchokes_and_chokes_in_turn_gets_nothing_for_it() {
    for reserved in [PLAIN, MODERN] {
        run(async move {
            let world = World::of(1_000_000, 65_536).await;
            let mut peer = Peer::seed(&world, HOSTILE, reserved).await;
            peer.next_request().await.unwrap();
            let flap = [message(CHOKE, &[]), message(UNCHOKE, &[])].concat().repeat(50);
            let flapping = tokio::spawn(async move {
                let mut flaps = 0;
                let (mut from, mut to) = peer.stream.into_split();
                let drain = tokio::spawn(async move {
                    tokio::io::copy(&mut from, &mut tokio::io::sink()).await.unwrap_or(0)
                });
                while to.write_all(&flap).await.is_ok() {
                    flaps += 50;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                drop(drain);
                flaps
            });
            tokio::time::sleep(Duration::from_millis(200)).await;
            let begun = tokio::time::Instant::now();
            world.completes().await;
            assert!(begun.elapsed() < Duration::from_secs(18), "{:?}", begun.elapsed());
            // The session is closed, so the flapping has ended by itself.
            assert!(flapping.await.unwrap() >= 1_000);
        });
    }
}

#[test]
fn a_peer_that_says_it_has_all_and_rejects_every_request_is_seen_off() {
    run(async {
        let world = World::of(1_000_000, 65_536).await;
        let mut liar = Peer::seed(&world, HOSTILE, MODERN).await;
        let mut rejected = 0;
        while let Some(request) = liar.next_request().await {
            if liar.send(&request.with(REJECT)).await.is_err() {
                break;
            }
            rejected += 1;
        }
        assert!((100..10_000).contains(&rejected), "{rejected}");
        world.completes().await;
    });
}

#[test]
fn peers_that_say_they_have_all_and_ignore_every_request_hold_nobody_up() {
    run(async {
        let world = World::of(8_000_000, 65_536).await;
        let mut liars = Vec::new();
        for number in 1..=10 {
            let mut liar = Peer::seed(&world, hostile(number), MODERN).await;
            liar.next_request().await.unwrap();
            liars.push(liar);
        }
        let begun = tokio::time::Instant::now();
        world.completes().await;
        assert!(begun.elapsed() < Duration::from_secs(18), "{:?}", begun.elapsed());
    });
}

#[test]
fn blocks_that_nobody_asked_for_end_the_connection_and_are_not_kept() {
    run(async {
        let world = World::of(1_000_000, 65_536).await;
        let mut peer = Peer::greet(&world, HOSTILE, MODERN).await;
        let unasked = Request { piece: 0, begin: 0, length: 16_384 }.answer(&[0xee; 16_384]);
        while peer.send(&unasked).await.is_ok() {}
        until(|| world.torrent.snapshot().wasted > 200 * 16_384).await;
        assert_eq!(world.torrent.snapshot().wanted_received, 0);
        let mut outside = Peer::greet(&world, hostile(2), MODERN).await;
        outside.send(&Request { piece: 99, begin: 0, length: 16_384 }.answer(&[0; 16_384])).await.unwrap();
        outside.until_closed().await;
        world.completes().await;
    });
}

#[test]
fn of_a_thousand_connections_from_one_address_few_are_kept() {
    run(async {
        let world = World::of(1_000_000, 65_536).await;
        let mut crowd = Vec::new();
        for _ in 0..1_000 {
            let mut peer = Peer::connect(&world, HOSTILE).await.unwrap();
            let _ = peer.send(&handshake(&world, MODERN)).await;
            crowd.push(peer);
        }
        let seed = world.seed(HONEST, &[world.address()]).await;
        world.is_whole().await;
        let mut kept = 0;
        for mut peer in crowd {
            kept += usize::from(peer.stays_for(Duration::from_millis(50)).await);
        }
        assert!((1..=16).contains(&kept), "{kept} are kept");
        seed.session.close().await;
        world.session.close().await;
    });
}

#[test]
fn a_thousand_silent_connections_from_one_address_shut_nobody_out() {
    run(async {
        let world = World::of(1_000_000, 65_536).await;
        let mut crowd = Vec::new();
        for _ in 0..1_000 {
            crowd.push(Peer::connect(&world, HOSTILE).await.unwrap());
        }
        // Ten seconds would be the time until their handshakes are given up.
        let begun = tokio::time::Instant::now();
        let seed = world.seed(HONEST, &[world.address()]).await;
        world.is_whole().await;
        assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
        let mut kept = 0;
        for peer in &mut crowd {
            kept += usize::from(peer.stays_for(Duration::from_millis(5)).await);
        }
        assert!(kept <= 16, "{kept} handshakes are under way");
        seed.session.close().await;
        world.session.close().await;
    });
}
