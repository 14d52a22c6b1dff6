//! How a session learns the address at which the world sees it, over loopback, where every 127.0.N.0/24 is another
//! network: several tell it, and nobody alone is believed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod made;

use made::{add, bytes, torrent, write};
use quelea::{Event, Events, Session, Settings, Torrent};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

/// Far more than any of this takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);
const OURS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const LIE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

/// A host of a network.
fn host(network: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, network, host).into()
}

/// A session that seeds a file.
struct Seed {
    session: Session,
    torrent: Torrent,
    events: Events,
    _directory: tempfile::TempDir,
}

impl Seed {
    async fn new(tracker: Option<String>, nodes: &[SocketAddr]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = [("", bytes(100_000, 1))];
        write(directory.path(), "file", &files);
        let mut settings = Settings::new(directory.path());
        settings.port = 0;
        settings.bind = vec![Ipv4Addr::LOCALHOST.into()];
        settings.dht = !nodes.is_empty();
        settings.dht_bootstrap = nodes.iter().map(ToString::to_string).collect();
        let session = Session::start(settings).unwrap();
        let events = session.events();
        let mut adding = add(&torrent("file", &files, 65_536));
        adding.metainfo.trackers = tracker.map(|url| vec![url]).into_iter().collect();
        let torrent = session.add(adding).await.unwrap();
        Self { session, torrent, events, _directory: directory }
    }

    /// A peer at this address says where it sees the session, which has heard it when this returns.
    async fn hear(&self, peer: IpAddr, seen: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(peer, 0)).unwrap();
        let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.session.port());
        let mut stream = socket.connect(to).await.unwrap();
        let mut said = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x04".to_vec();
        said.extend(self.torrent.info_hash());
        said.extend(b"-XX0000-aaaaaaaaaaaa");
        let handshake = [b"d6:yourip4:".as_slice(), &seen.octets(), b"e"].concat();
        said.extend((handshake.len() as u32 + 2).to_be_bytes());
        said.extend([20, 0]);
        said.extend(handshake);
        // A block, which with the fast extension (BEP 6) it is given or refused at once: what was said before was heard.
        said.extend([0, 0, 0, 13, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0]);
        stream.write_all(&said).await.unwrap();
        let mut theirs = [0; 68];
        stream.read_exact(&mut theirs).await.unwrap();
        loop {
            let length = stream.read_u32().await.unwrap();
            let mut message = vec![0; length as usize];
            stream.read_exact(&mut message).await.unwrap();
            if matches!(message.first(), Some(7 | 16)) {
                return stream;
            }
        }
    }

    /// The first address that it takes for its own.
    async fn learnt(&mut self) -> IpAddr {
        loop {
            if let Event::ExternalAddress(address) = self.events.next().await.unwrap() {
                return address;
            }
        }
    }

    async fn end(self) {
        assert_eq!(self.session.external_addresses(), [IpAddr::from(OURS)]);
        self.session.close().await;
    }
}

#[test]
fn peers_of_three_networks_tell_us_and_one_network_does_not() {
    run(async {
        let mut seed = Seed::new(None, &[]).await;
        let mut peers = Vec::new();
        // A liar with many addresses.
        for number in 1..6 {
            peers.push(seed.hear(host(1, number), LIE).await);
        }
        assert_eq!(seed.session.external_addresses(), [] as [IpAddr; 0]);
        for network in [2, 3] {
            peers.push(seed.hear(host(network, 1), OURS).await);
            assert_eq!(seed.session.external_addresses(), [] as [IpAddr; 0]);
        }
        peers.push(seed.hear(host(4, 1), OURS).await);
        assert_eq!(seed.learnt().await, IpAddr::from(OURS));
        // It is not talked out of it.
        peers.push(seed.hear(host(1, 9), LIE).await);
        seed.end().await;
    });
}

/// A tracker that says where it sees who announces (BEP 24).
async fn tracker(listener: TcpListener, seen: Ipv4Addr) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = vec![0; 4_096];
        let _ = stream.read(&mut request).await;
        let body = [b"d11:external ip4:".as_slice(), &seen.octets(), b"8:intervali1800e5:peers0:e"].concat();
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
    }
}

#[test]
fn a_tracker_is_believed_once_a_peer_has_seen_the_same() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/announce", listener.local_addr().unwrap());
        tokio::spawn(tracker(listener, OURS));
        let mut seed = Seed::new(Some(url), &[]).await;
        loop {
            if let Event::TrackerAnswered { .. } = seed.events.next().await.unwrap() {
                break;
            }
        }
        assert_eq!(seed.session.external_addresses(), [] as [IpAddr; 0]);
        let _liar = seed.hear(host(1, 1), LIE).await;
        assert_eq!(seed.session.external_addresses(), [] as [IpAddr; 0]);
        let _peer = seed.hear(host(2, 1), OURS).await;
        assert_eq!(seed.learnt().await, IpAddr::from(OURS));
        seed.end().await;
    });
}

/// A node of the DHT that answers everything with its id and where it sees the asker (BEP 42, `ip`).
async fn node(socket: UdpSocket, id: u8, seen: Ipv4Addr) {
    let mut buffer = [0; 2_048];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let query = &buffer[..length];
        // Transactions of the session's have four bytes.
        let Some(at) = query.windows(5).rposition(|bytes| bytes == b"1:t4:") else { continue };
        let mut answer = [b"d2:ip6:".as_slice(), &seen.octets(), &[0x1a, 0xe1], b"1:rd2:id20:"].concat();
        answer.extend([id; 20]);
        answer.extend(b"5:token2:tk");
        answer.extend(b"e1:t4:");
        answer.extend(&query[at + 5..at + 9]);
        answer.extend(b"1:y1:re");
        let _ = socket.send_to(&answer, from).await;
    }
}

#[test]
fn nodes_of_many_networks_are_one_voice_and_a_liar_among_them_is_none() {
    run(async {
        let mut nodes = Vec::new();
        for network in 1..=8 {
            let socket = UdpSocket::bind(SocketAddr::new(host(network, 1), 0)).await.unwrap();
            nodes.push(socket.local_addr().unwrap());
            tokio::spawn(node(socket, network * 16, if network == 5 { LIE } else { OURS }));
        }
        let mut seed = Seed::new(None, &nodes).await;
        seed.session.dht().unwrap().joined().await.unwrap();
        assert_eq!(seed.session.external_addresses(), [] as [IpAddr; 0]);
        let _peer = seed.hear(host(20, 1), OURS).await;
        assert_eq!(seed.learnt().await, IpAddr::from(OURS));
        seed.end().await;
    });
}
