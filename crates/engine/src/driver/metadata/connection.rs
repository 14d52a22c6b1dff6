//! A connection to a peer that may have the metadata: its messages in and out, none of them payload.

use super::FetchIo;
use crate::driver::dial::{HANDSHAKE, OURS, connect};
use quelea_swarm::event::{Hello, Refusal};
use quelea_swarm::peers::PeerKey;
use quelea_wire::decoder::Limits;
use quelea_wire::{Decoder, Event, Handshake, Message};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

/// Bytes that are read at a time: a piece of metadata with its head.
const READ: usize = 20 << 10;

/// Bytes of an extended message: metadata, which some peers send whole in one, and peer exchange are all that is of use.
const EXTENDED: usize = 256 << 10;

/// A message to a fetch's task.
pub(super) enum FromPeer {
    /// A handshake is done: may the peer come in?
    Connected { hello: Hello, reply: oneshot::Sender<Admitted> },
    /// A connection could not be made.
    ConnectFailed(SocketAddr),
    /// What a connection saw.
    Saw(PeerKey, Seen),
}

/// A peer's key and what is to be sent to it, or why it is not let in.
pub(super) type Admitted = Result<(PeerKey, mpsc::Receiver<Vec<u8>>), Refusal>;

/// What a connection saw.
pub(super) enum Seen {
    Message(Message),
    /// Bytes came, though no message is whole.
    Alive,
    /// The connection has ended.
    Closed,
    /// The connection has ended because the peer broke the protocol.
    Fault(&'static str),
}

/// Dials a peer, as soon as there may be another connection, and runs the connection until it ends.
pub(super) async fn dial(address: SocketAddr, io: Arc<FetchIo>) {
    let Ok(_place) = Arc::clone(&io.connections).acquire_owned().await else { return };
    let Some(turn) = io.dialling.turn().await else { return };
    let ours = Handshake { reserved: OURS, info_hash: io.info_hash, peer_id: io.peer_id };
    // A fetch that has ended dials nobody.
    let connected = tokio::select! {
        connected = connect(address, &io.binding, ours) => connected,
        () = io.reports.closed() => return,
    };
    drop(turn);
    match connected {
        Ok((stream, theirs)) => {
            let Handshake { peer_id, reserved, .. } = theirs;
            exchange(stream, Hello { address, incoming: false, peer_id, reserved }, &io).await;
        }
        Err(error) => {
            tracing::debug!(%error, "no connection");
            tracing::trace!(%address, %error, "no connection");
            let _ = io.reports.send(FromPeer::ConnectFailed(address)).await;
        }
    }
}

/// Answers a handshake that came in for this torrent, and runs the connection until it ends.
pub(crate) async fn answer(mut stream: TcpStream, address: SocketAddr, theirs: Handshake, io: Arc<FetchIo>) {
    let ours = Handshake { reserved: OURS, info_hash: io.info_hash, peer_id: io.peer_id };
    let written = tokio::time::timeout(HANDSHAKE, stream.write_all(&ours.encode())).await;
    if matches!(written, Ok(Ok(()))) {
        let Handshake { peer_id, reserved, .. } = theirs;
        exchange(stream, Hello { address, incoming: true, peer_id, reserved }, &io).await;
    }
}

async fn exchange(stream: TcpStream, hello: Hello, io: &FetchIo) {
    let (reply, admitted) = oneshot::channel();
    if io.reports.send(FromPeer::Connected { hello, reply }).await.is_err() {
        return;
    }
    let (key, messages) = match admitted.await {
        Ok(Ok(admitted)) => admitted,
        Ok(Err(refusal)) => return tracing::debug!(?refusal, "a peer was not let in"),
        Err(_) => return,
    };
    let (reading, writing) = stream.into_split();
    let seen = tokio::select! {
        seen = read(reading, key, io) => seen,
        () = write(writing, messages) => Seen::Closed,
        () = io.reports.closed() => return,
    };
    let _ = io.reports.send(FromPeer::Saw(key, seen)).await;
}

/// Reads until the connection ends; how it ended.
async fn read(mut stream: OwnedReadHalf, key: PeerKey, io: &FetchIo) -> Seen {
    let limits = Limits { extended: EXTENDED, own_extensions: true, ..Limits::default() };
    let mut account = io.ledger.account();
    let mut decoder: Decoder<Box<[u8]>> = Decoder::new(limits);
    let mut take = |length| vec![0; length].into_boxed_slice();
    let mut buffer = vec![0; READ];
    loop {
        account.holds(decoder.kept());
        let read = tokio::select! {
            read = stream.read(&mut buffer) => read,
            () = account.ended() => return Seen::Fault("it made us hold memory that others need"),
        };
        let mut bytes = match read {
            Ok(0) | Err(_) => return Seen::Closed,
            Ok(read) => buffer.get(..read).unwrap_or_default(),
        };
        let mut quiet = true;
        while let Some(event) = decoder.feed(&mut bytes, &mut take) {
            let message = match event {
                Ok(Event::Message(message)) => message,
                Ok(Event::Block { .. }) => return Seen::Fault("blocks that nobody asked for"),
                Err(fault) => {
                    tracing::debug!(peer = %key, %fault, "a peer broke the protocol");
                    return Seen::Fault("messages that cannot be read");
                }
            };
            quiet = false;
            if io.reports.send(FromPeer::Saw(key, Seen::Message(message))).await.is_err() {
                return Seen::Closed;
            }
        }
        if quiet && io.reports.send(FromPeer::Saw(key, Seen::Alive)).await.is_err() {
            return Seen::Closed;
        }
    }
}

/// Writes until there is nothing more to come, or it cannot be written.
async fn write(mut stream: OwnedWriteHalf, mut messages: mpsc::Receiver<Vec<u8>>) {
    while let Some(message) = messages.recv().await {
        if stream.write_all(&message).await.is_err() {
            return;
        }
    }
}
