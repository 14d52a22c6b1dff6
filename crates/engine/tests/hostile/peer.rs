//! A peer that says whatever a test wants said, byte by byte.

use super::World;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

pub(crate) const CHOKE: u8 = 0;
pub(crate) const UNCHOKE: u8 = 1;
pub(crate) const INTERESTED: u8 = 2;
pub(crate) const NOT_INTERESTED: u8 = 3;
pub(crate) const HAVE: u8 = 4;
pub(crate) const BITFIELD: u8 = 5;
pub(crate) const REQUEST: u8 = 6;
pub(crate) const PIECE: u8 = 7;
pub(crate) const CANCEL: u8 = 8;
pub(crate) const SUGGEST: u8 = 13;
pub(crate) const HAVE_ALL: u8 = 14;
pub(crate) const HAVE_NONE: u8 = 15;
pub(crate) const REJECT: u8 = 16;
pub(crate) const ALLOWED_FAST: u8 = 17;
pub(crate) const EXTENDED: u8 = 20;

/// The reserved bytes of a peer that speaks the fast extension and extended messages (BEP 6, BEP 10).
pub(crate) const MODERN: [u8; 8] = [0, 0, 0, 0, 0, 0x10, 0, 0x04];
/// The reserved bytes of a peer that speaks nothing beyond BEP 3.
pub(crate) const PLAIN: [u8; 8] = [0; 8];

/// A message as bytes.
pub(crate) fn message(id: u8, payload: &[u8]) -> Vec<u8> {
    let length = 1 + payload.len() as u32;
    [&length.to_be_bytes()[..], &[id], payload].concat()
}

/// A message whose payload is numbers.
pub(crate) fn numbers(id: u8, numbers: &[u32]) -> Vec<u8> {
    message(id, &numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<_>>())
}

/// A handshake as bytes; every one has a peer id of its own.
pub(crate) fn handshake(world: &World, reserved: [u8; 8]) -> Vec<u8> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let id = format!("-XX0000-{:012}", NEXT.fetch_add(1, Ordering::Relaxed));
    [&b"\x13BitTorrent protocol"[..], &reserved, &world.info_hash, id.as_bytes()].concat()
}

/// A block that we are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) piece: u32,
    pub(crate) begin: u32,
    pub(crate) length: u32,
}

impl Request {
    fn read(payload: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes(payload[4 * at..4 * at + 4].try_into().unwrap());
        Self { piece: word(0), begin: word(1), length: word(2) }
    }

    /// The same words under another number: a reject, or our own request or cancel.
    pub(crate) fn with(self, id: u8) -> Vec<u8> {
        numbers(id, &[self.piece, self.begin, self.length])
    }

    /// The answer.
    pub(crate) fn answer(self, block: &[u8]) -> Vec<u8> {
        let mut payload = [self.piece.to_be_bytes(), self.begin.to_be_bytes()].concat();
        payload.extend_from_slice(block);
        message(PIECE, &payload)
    }
}

/// A connection that a test speaks on.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
}

impl Peer {
    /// A bare connection from this address to the session.
    pub(crate) async fn connect(world: &World, from: Ipv4Addr) -> io::Result<Self> {
        Self::connect_to(world.address(), from).await
    }

    /// A bare connection from this address to that one.
    pub(crate) async fn connect_to(to: SocketAddr, from: Ipv4Addr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from.into(), 0))?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// A connection whose handshakes are done.
    pub(crate) async fn greet(world: &World, from: Ipv4Addr, reserved: [u8; 8]) -> Self {
        Self::greet_at(world, world.address(), from, reserved).await
    }

    /// A connection to another session of the same torrent whose handshakes are done.
    pub(crate) async fn greet_at(world: &World, to: SocketAddr, from: Ipv4Addr, reserved: [u8; 8]) -> Self {
        let mut peer = Self::connect_to(to, from).await.unwrap();
        peer.send(&handshake(world, reserved)).await.unwrap();
        let mut theirs = [0; 68];
        peer.stream.read_exact(&mut theirs).await.unwrap();
        assert_eq!(theirs[28..48], world.info_hash);
        peer
    }

    /// A connection of a peer that says it has everything, and unchokes.
    pub(crate) async fn seed(world: &World, from: Ipv4Addr, reserved: [u8; 8]) -> Self {
        let mut peer = Self::greet(world, from, reserved).await;
        let all = if reserved == MODERN { message(HAVE_ALL, &[]) } else { message(BITFIELD, &all(world)) };
        peer.send(&[all, message(UNCHOKE, &[])].concat()).await.unwrap();
        peer
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next message: its number and payload. `None` when the session has closed the connection.
    pub(crate) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length).await.ok()?;
            let mut payload = vec![0; u32::from_be_bytes(length) as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            if !payload.is_empty() {
                return Some((payload.remove(0), payload));
            }
        }
    }

    /// The next request for a block.
    pub(crate) async fn next_request(&mut self) -> Option<Request> {
        loop {
            let (id, payload) = self.next().await?;
            if id == REQUEST {
                return Some(Request::read(&payload));
            }
        }
    }

    /// Waits until the session closes the connection; how many messages came before.
    pub(crate) async fn until_closed(&mut self) -> usize {
        let mut messages = 0;
        while self.next().await.is_some() {
            messages += 1;
        }
        messages
    }

    /// Whether the session keeps the connection open for this long.
    pub(crate) async fn stays_for(&mut self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.until_closed()).await.is_err()
    }
}

/// A bitfield of every piece.
pub(crate) fn all(world: &World) -> Vec<u8> {
    let pieces = world.pieces() as usize;
    let mut bits = vec![0xff; pieces.div_ceil(8)];
    if !pieces.is_multiple_of(8) {
        bits[pieces / 8] = 0xff << (8 - pieces % 8);
    }
    bits
}
