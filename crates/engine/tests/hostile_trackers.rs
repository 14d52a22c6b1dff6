//! Trackers that lie, flood or stall: each is seen through, memory stays bounded, and the download completes by
//! an honest one meanwhile.
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
use hostile::tracker::{Tracker, answer, compact, with_head};
use hostile::{HONEST, World, run, until};
use quelea::TrackerState;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::time::Instant;

/// Runs a test when no other one runs.
fn by_itself(test: impl Future<Output = ()>) {
    let _alone = alone();
    run(test);
}

/// What the whole process may grow by, in KiB: an answer of 1 MiB from each of a dozen trackers, read and taken
/// apart, and the memory of two sessions' blocks.
const GROWTH: u64 = 96 << 10;
/// What a tracker may pour out for one request before it is cut off, in bytes: an answer, and what sockets hold.
const POURED: u64 = 16 << 20;
/// Far less than the time that an answer may take, which nobody has to wait for at the end.
const SOON: Duration = Duration::from_secs(20);
/// Addresses that a torrent knows at most.
const ADDRESSES: usize = 3_000;

/// Downloads by an honest tracker that is heard once the hostile ones have done what `fired` waits for; each has a
/// tier of its own. How the hostile ones stand at the end, in their order.
async fn survives(hostile: &[&Tracker], fired: impl Fn(&World) -> bool) -> Vec<TrackerState> {
    let (honest, tell) = Tracker::honest().await;
    let urls = hostile.iter().map(|tracker| &tracker.url).chain([&honest.url]);
    let tiers = urls.map(|url| vec![url.clone()]).collect();
    forget_peak();
    let before = peak();
    let world = World::with(300_000, 65_536, |adding| adding.metainfo.trackers = tiers).await;
    until(|| fired(&world)).await;
    let states = hostile.iter().map(|tracker| state(&world, tracker)).collect();
    let seed = world.seed(HONEST, &[]).await;
    tell.send(Some(seed.address())).unwrap();
    world.is_whole().await;
    let grown = peak().saturating_sub(before);
    eprintln!("memory grew by {grown} KiB");
    assert!(grown < GROWTH, "memory grew by {grown} KiB");
    assert!(world.torrent.snapshot().peers_known <= ADDRESSES);
    let begun = Instant::now();
    world.session.close().await;
    assert!(begun.elapsed() < SOON, "closing took {:?}", begun.elapsed());
    seed.session.close().await;
    states
}

fn state(world: &World, tracker: &Tracker) -> TrackerState {
    let snapshot = world.torrent.snapshot();
    let status = snapshot.trackers.iter().find(|status| status.url == tracker.url);
    status.map_or(TrackerState::Idle, |status| status.state.clone())
}

fn has_failed(world: &World, tracker: &Tracker) -> bool {
    matches!(state(world, tracker), TrackerState::Failed(_))
}

/// Trackers that are seen through as soon as they have answered, and why.
async fn fail(hostile: &[Tracker]) -> Vec<String> {
    let all: Vec<&Tracker> = hostile.iter().collect();
    let states = survives(&all, |world| all.iter().all(|tracker| has_failed(world, tracker))).await;
    assert!(hostile.iter().all(|tracker| tracker.asked() > 0));
    let reason = |state| match state {
        TrackerState::Failed(reason) => reason,
        state => panic!("{state:?}"),
    };
    states.into_iter().map(reason).collect()
}

#[test]
fn garbage_is_refused_whatever_it_looks_like() {
    by_itself(async {
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(100_000).collect();
        let hostile = [
            Tracker::raw([]).await,
            Tracker::raw(noise.clone()).await,
            Tracker::raw(*b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await,
            Tracker::raw(*b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nd").await,
            Tracker::raw(*b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nd")
                .await,
            Tracker::raw(*b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nd8:intervali1800e").await,
            Tracker::raw(*b"HTTP/1.1 999 \xff\xfe\r\n\r\n").await,
            Tracker::body(&noise).await,
            Tracker::body("<html>Not a tracker</html>").await,
            Tracker::body("d".repeat(1 << 20)).await,
            Tracker::body("l".repeat(1 << 20)).await,
            Tracker::body("d5:peers999999999999:").await,
            Tracker::body("i1e".repeat(100_000)).await,
            Tracker::body(format!("d14:failure reason500000:{}e", "\x1b[2J ".repeat(100_000))).await,
        ];
        let reasons = fail(&hostile).await;
        assert!(reasons.iter().all(|reason| reason.len() < 1_000), "{reasons:?}");
        assert!(!reasons.concat().contains('\x1b'), "{reasons:?}");
    });
}

#[test]
fn headers_without_end_are_cut_off() {
    by_itself(async {
        let one = Tracker::http(|mut asked| async move {
            asked.say(b"HTTP/1.1 200 OK\r\nX-Long: ").await?;
            loop {
                asked.say(&[b'a'; 1 << 16]).await?;
            }
        })
        .await;
        let many = Tracker::http(|mut asked| async move {
            asked.say(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                asked.say(&b"X-More: and more\r\n".repeat(4_000)).await?;
            }
        })
        .await;
        let hostile = [one, many];
        fail(&hostile).await;
        for tracker in &hostile {
            assert!((1..POURED).contains(&tracker.served()), "{}", tracker.served());
        }
    });
}

async fn redirect(to: impl AsRef<str>) -> Tracker {
    redirect_by(302, to.as_ref()).await
}

async fn redirect_by(status: u16, to: &str) -> Tracker {
    Tracker::raw(format!("HTTP/1.1 {status} There\r\nLocation: {to}\r\n\r\n").into_bytes()).await
}

#[test]
fn redirects_are_followed_a_few_times() {
    by_itself(async {
        let endless = Tracker::http(|mut asked| async move {
            let next = format!("HTTP/1.1 301 Moved\r\nLocation: {}x\r\n\r\n", asked.target);
            asked.say(next.as_bytes()).await
        })
        .await;
        let to_itself = redirect("/announce").await;
        let back = Tracker::http(|mut asked| async move {
            let next = asked.target.split_once("?back=").map(|(_, url)| url.to_owned()).unwrap();
            asked.say(format!("HTTP/1.1 307 Back\r\nLocation: {next}\r\n\r\n").as_bytes()).await
        })
        .await;
        let to_each_other = {
            let url = back.url.clone();
            Tracker::http(move |mut asked| {
                let url = url.clone();
                async move {
                    let mine = format!("http://{}/announce", asked.address()?);
                    let next = format!("HTTP/1.1 308 On\r\nLocation: {url}?back={mine}\r\n\r\n");
                    asked.say(next.as_bytes()).await
                }
            })
            .await
        };
        let hostile = [endless, to_itself, to_each_other];
        fail(&hostile).await;
        // The first request, and five redirects.
        let asked: Vec<usize> = hostile.iter().chain([&back]).map(Tracker::asked).collect();
        assert_eq!(asked, [6, 6, 3, 3]);
    });
}

#[test]
fn redirects_to_where_no_tracker_is_lead_nowhere() {
    by_itself(async {
        let elsewhere = Tracker::body("de").await;
        let at = elsewhere.url.trim_start_matches("http://").trim_end_matches("/announce");
        let hostile = [
            redirect(format!("ftp://{at}")).await,
            redirect("file:///etc/passwd").await,
            redirect(format!("udp://{at}")).await,
            redirect(format!("gopher://{at}")).await,
            redirect("data:text/plain,d8:intervali1800e5:peers0:e").await,
            redirect("http://").await,
            redirect("http://127.0.0.2:99999/").await,
            redirect(elsewhere.url.replace("127.0.2.1", "0.0.0.0")).await,
            redirect(elsewhere.url.replace("127.0.2.1", "[::ffff:0.0.0.0]")).await,
            redirect_by(300, &elsewhere.url).await,
            redirect_by(304, &elsewhere.url).await,
            redirect_by(305, &elsewhere.url).await,
            redirect("x".repeat(60_000)).await,
        ];
        fail(&hostile).await;
        assert_eq!(elsewhere.asked(), 0);
    });
}

#[test]
fn a_redirect_to_tls_that_nobody_speaks_there_fails() {
    by_itself(async {
        let plain = Tracker::body("de").await;
        let https = plain.url.replace("http:", "https:");
        fail(&[redirect(https).await]).await;
    });
}

/// Sends 100 MiB, as far as somebody reads them.
async fn pour(head: &'static str, chunked: bool) -> Tracker {
    Tracker::http(move |mut asked| async move {
        asked.say(head.as_bytes()).await?;
        let mut part = vec![b'0'; 1 << 20];
        if chunked {
            part = [format!("{:x}\r\n", part.len()).as_bytes(), &part, b"\r\n"].concat();
        }
        for _ in 0..100 {
            asked.say(&part).await?;
        }
        Ok(())
    })
    .await
}

#[test]
fn of_an_answer_of_100_mib_little_is_read() {
    by_itself(async {
        let hostile = [
            pour("HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n", false).await,
            pour("HTTP/1.1 200 OK\r\n\r\n", false).await,
            pour("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true).await,
            pour("HTTP/1.1 500 No\r\n\r\n", false).await,
            pour("HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 104857600\r\n\r\n", false).await,
        ];
        fail(&hostile).await;
        for tracker in &hostile {
            let of_each = tracker.served() / tracker.asked() as u64;
            assert!((1 << 20..POURED).contains(&of_each), "{of_each}");
        }
    });
}

#[test]
fn of_what_is_packed_no_more_than_an_answer_is_unpacked() {
    by_itself(async {
        // 100 MiB of zeros, as gzip packs them: 100 KB. We say in no request that we take such answers.
        let bomb = pack_zeros(100 << 20);
        let head = |encoding| format!("HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: ");
        let with =
            |encoding| [format!("{}{}\r\n\r\n", head(encoding), bomb.len()).as_bytes(), &bomb].concat();
        let hostile = [Tracker::raw(with("gzip")).await, Tracker::raw(with("br")).await];
        let reasons = fail(&hostile).await;
        assert!(reasons.iter().all(|reason| reason == "its answer is too long"), "{reasons:?}");
    });
}

/// Zeros as gzip(1) packs them.
fn pack_zeros(length: u64) -> Vec<u8> {
    let script = format!("head -c {length} /dev/zero | gzip -9");
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!((10_000..1 << 20).contains(&output.stdout.len()));
    output.stdout
}

#[test]
fn trackers_that_drip_or_say_nothing_hold_nobody_up() {
    by_itself(async {
        let drip = async |beginning: &'static [u8], drops: &'static [u8]| {
            Tracker::http(move |mut asked| async move {
                asked.say(beginning).await?;
                for drop in drops.iter().cycle() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    asked.say(&[*drop]).await?;
                }
                Ok(())
            })
            .await
        };
        let hostile = [
            drip(b"", b"HTTP/1.1 200 OK\r\nX-Long: and longer").await,
            drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n").await,
            drip(b"HTTP/1.1 200 OK\r\n\r\nd", b"1:ai1e").await,
            drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nl\r\n").await,
            Tracker::http(|asked| asked.wait_for_the_end()).await,
        ];
        let all: Vec<&Tracker> = hostile.iter().collect();
        let [dripping @ .., silent] = &hostile;
        let dripped = |_: &World| dripping.iter().all(|tracker| tracker.served() >= 3) && silent.asked() > 0;
        let states = survives(&all, dripped).await;
        assert!(states.iter().all(|state| *state == TrackerState::Announcing), "{states:?}");
    });
}

#[test]
fn a_tracker_that_falls_silent_holds_up_the_end_for_seconds() {
    by_itself(async {
        // It answers the first announce, so that it has to hear of our leaving.
        let tracker = Tracker::http(|mut asked| async move {
            if asked.target.contains("event=started") {
                return asked.say(&with_head(&answer(&[]))).await;
            }
            asked.say(b"HTTP/1.1 200 OK\r\n").await?;
            asked.wait_for_the_end().await
        })
        .await;
        let states = survives(&[&tracker], |world| state(world, &tracker) == TrackerState::Working).await;
        assert_eq!(states, [TrackerState::Working]);
        assert!(tracker.asked() >= 2, "it was told that we leave");
    });
}

/// A port that answers no connection, on every loopback address: its queue is full.
struct BlackHole {
    port: u16,
    _queue: Vec<Box<dyn Send>>,
}

impl BlackHole {
    async fn new() -> Self {
        let listener = TcpSocket::new_v4().unwrap();
        listener.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).unwrap();
        let listener = listener.listen(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut queue: Vec<Box<dyn Send>> = vec![Box::new(listener)];
        loop {
            let socket = TcpSocket::new_v4().unwrap();
            let connecting = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            match tokio::time::timeout(Duration::from_millis(300), connecting).await {
                Ok(connected) => queue.push(Box::new(connected.unwrap())),
                Err(_) => return Self { port, _queue: queue },
            }
        }
    }

    /// So many of its addresses.
    fn addresses(&self, count: u32) -> impl Iterator<Item = SocketAddr> + Clone {
        let port = self.port;
        (0..count).map(move |number| SocketAddr::from((Ipv4Addr::from(0x7f08_0000 + number), port)))
    }
}

fn in_ipv6(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(address) => SocketAddr::from((address.ip().to_ipv6_mapped(), address.port())),
        SocketAddr::V6(address) => address.into(),
    }
}

fn in_words(peers: impl IntoIterator<Item = SocketAddr>) -> Vec<u8> {
    let mut body = b"d8:intervali1800e5:peersl".to_vec();
    for peer in peers {
        let ip = peer.ip().to_string();
        body.extend(format!("d2:ip{}:{ip}4:porti{}ee", ip.len(), peer.port()).into_bytes());
    }
    body.extend(b"ee");
    body
}

fn in_six(peers: &[u8]) -> Vec<u8> {
    [format!("d8:intervali1800e6:peers6{}:", peers.len()).as_bytes(), peers, b"e"].concat()
}

#[test]
fn a_hundred_thousand_peers_in_an_answer_do_not_keep_us_from_the_one_who_is_there() {
    by_itself(async {
        let hole = BlackHole::new().await;
        let many = hole.addresses(100_000);
        let trackers = [
            Tracker::body(answer(&compact(many.clone()))).await,
            // Those that fit into the 1 MiB that is read, and those that do not.
            Tracker::body(in_six(&compact(hole.addresses(58_000).map(in_ipv6)))).await,
            Tracker::body(in_six(&compact(many.clone().map(in_ipv6)))).await,
            Tracker::body(in_words(hole.addresses(14_000))).await,
            Tracker::body(in_words(many)).await,
        ];
        let all: Vec<&Tracker> = trackers.iter().collect();
        let heard = |world: &World| {
            world.torrent.snapshot().peers_known >= 2_000
                && all.iter().all(|tracker| {
                    !matches!(state(world, tracker), TrackerState::Idle | TrackerState::Announcing)
                })
        };
        let states = survives(&all, heard).await;
        let works: Vec<bool> = states.iter().map(|state| *state == TrackerState::Working).collect();
        assert_eq!(works, [true, true, false, true, false], "{states:?}");
    });
}

#[test]
fn our_own_address_is_seen_through_once() {
    by_itself(async {
        // Where we listen is known once the session runs.
        let (liar, tell) = Tracker::honest().await;
        let tiers = vec![vec![liar.url.clone()]];
        let world = World::with(300_000, 65_536, |adding| adding.metainfo.trackers = tiers).await;
        tell.send(Some(world.address())).unwrap();
        until(|| state(&world, &liar) == TrackerState::Working).await;
        until(|| world.torrent.snapshot().peers_known == 0).await;
        assert_eq!(world.torrent.snapshot().peers_connected, 0);
        world.completes().await;
    });
}

#[test]
fn addresses_where_no_peer_can_be_are_left_out() {
    by_itself(async {
        let four = |address: [u8; 4], port| SocketAddr::from((address, port));
        let six = |address: &str, port| SocketAddr::from((address.parse::<Ipv6Addr>().unwrap(), port));
        let nowhere = [
            four([127, 0, 9, 1], 0),
            four([0, 0, 0, 0], 6_881),
            four([224, 0, 0, 1], 6_881),
            four([239, 192, 152, 143], 6_771),
            four([255, 255, 255, 255], 6_881),
            four([240, 0, 0, 1], 6_881),
        ];
        let nowhere6 = [six("::", 1), six("ff02::1", 6_881), six("::ffff:224.0.0.1", 1), six("::1", 0)];
        // Private networks: somebody may be there, though not for a session on loopback.
        let private = [
            four([10, 0, 0, 1], 22),
            four([192, 168, 0, 1], 80),
            four([172, 16, 0, 1], 443),
            four([169, 254, 169, 254], 80),
        ];
        let private6 = [six("fe80::1", 80), six("fd00::1", 80)];
        let packed = compact(nowhere.into_iter().chain(private));
        let packed6 = compact(nowhere6.into_iter().chain(private6));
        let mut body = b"d11:external ip4:\0\0\0\08:intervali1800e".to_vec();
        for (key, packed) in [("5:peers", packed), ("6:peers6", packed6)] {
            body.extend(format!("{key}{}:", packed.len()).into_bytes());
            body.extend(packed);
        }
        body.push(b'e');
        let tracker = Tracker::body(body).await;
        let known = private.len() + private6.len();
        let heard = |world: &World| world.torrent.snapshot().peers_known == known;
        let states = survives(&[&tracker], heard).await;
        assert_eq!(states, [TrackerState::Working]);
    });
}

/// The transaction of a request to a UDP tracker, and whether it asks for a connection id (BEP 15).
fn transaction(request: &[u8]) -> (Vec<u8>, bool) {
    (request[12..16].to_vec(), request[8..12] == [0; 4])
}

/// The answer that gives a connection id.
fn connected(transaction: &[u8]) -> Vec<u8> {
    [&[0; 4], transaction, b"identity"].concat()
}

#[test]
fn udp_trackers_that_answer_anything_but_the_question_hold_nobody_up() {
    by_itself(async {
        let noise = |length: usize| std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect();
        let garbage =
            Tracker::udp(move |_| (0..100).map(noise).chain([noise(65_000)]).collect::<Vec<_>>()).await;
        let wrong = Tracker::udp(|request| {
            let (mut transaction, _) = transaction(request);
            let other = |_| {
                transaction[3] = transaction[3].wrapping_add(1);
                connected(&transaction)
            };
            (0..255).map(other).collect::<Vec<_>>()
        })
        .await;
        // Right in form, and an answer to something else.
        let crossed = Tracker::udp(|request| {
            let (transaction, connects) = transaction(request);
            let action = if connects { 1u32 } else { 2 };
            vec![[&action.to_be_bytes()[..], &transaction, &[0; 12]].concat()]
        })
        .await;
        let amplifier = Tracker::udp(|request| {
            let (transaction, connects) = transaction(request);
            let long = [connected(&transaction), vec![0; 60_000]].concat();
            vec![long; if connects { 500 } else { 0 }]
        })
        .await;
        let silent = Tracker::udp(|_| []).await;
        let hostile = [&garbage, &wrong, &crossed, &amplifier, &silent];
        let fired = |_: &World| {
            hostile.iter().all(|tracker| tracker.asked() > 0)
                && garbage.served() > 60_000
                && wrong.served() > 1_000
                && crossed.asked() > 0
                && amplifier.served() > 1_000_000
        };
        survives(&hostile, fired).await;
        // Nothing that they answered made us ask again, beyond the announce behind a connection id.
        for (tracker, asked) in hostile.iter().zip([1, 1, 1, 2, 1]) {
            assert!((1..=asked).contains(&tracker.asked()), "{}", tracker.asked());
        }
    });
}

#[test]
fn a_udp_tracker_that_refuses_at_length_or_names_too_many_is_bounded() {
    by_itself(async {
        let hole = BlackHole::new().await;
        let refusal = Tracker::udp(|request| {
            let (transaction, _) = transaction(request);
            vec![[&[0, 0, 0, 3], &transaction[..], "\x1b[2J no ".repeat(8_000).as_bytes()].concat()]
        })
        .await;
        let peers = compact(hole.addresses(10_900));
        let many = Tracker::udp(move |request| {
            let (transaction, connects) = transaction(request);
            let counts = [0, 0, 7, 8, 0, 0, 0, 1, 0, 0, 0, 1];
            let announced = [&[0, 0, 0, 1], &transaction[..], &counts, &peers].concat();
            vec![if connects { connected(&transaction) } else { announced }]
        })
        .await;
        let hostile = [&refusal, &many];
        let fired =
            |world: &World| has_failed(world, &refusal) && world.torrent.snapshot().peers_known >= 2_000;
        let states = survives(&hostile, fired).await;
        let [TrackerState::Failed(reason), TrackerState::Working] = &states[..] else { panic!("{states:?}") };
        assert!(reason.len() < 1_000 && !reason.contains('\x1b'), "{reason}");
    });
}
