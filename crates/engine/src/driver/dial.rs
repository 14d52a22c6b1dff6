//! Making a connection: dialling, the handshake, and being let in by the torrent.

use super::connection::Connection;
use super::{ToTorrent, TorrentIo};
use quelea_net::Binding;
use quelea_swarm::event::Hello;
use quelea_wire::handshake::{Feature, HandshakeDecoder, Reserved};
use quelea_wire::{Handshake, PeerId};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

/// A connection that is not made by then is given up.
const CONNECT: Duration = Duration::from_secs(10);
/// A handshake that is not done by then is given up.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);

/// What we support.
pub(super) const OURS: Reserved = Reserved::NONE.with(Feature::ExtensionProtocol).with(Feature::Fast);

fn ours(io: &TorrentIo) -> Handshake {
    let reserved = if io.dht { OURS.with(Feature::Dht) } else { OURS };
    Handshake { reserved, info_hash: io.info_hash, peer_id: io.peer_id }
}

/// Dials a peer, as soon as there may be another connection, and runs the connection until it ends.
pub(super) async fn dial(address: SocketAddr, torrent: mpsc::Sender<ToTorrent>, io: Arc<TorrentIo>) {
    let Ok(_place) = Arc::clone(&io.connections).acquire_owned().await else { return };
    let Some(turn) = io.dialling.turn().await else { return };
    let connected = connect(address, &io.binding, ours(&io)).await;
    drop(turn);
    match connected {
        Ok((stream, theirs)) => {
            let hello =
                Hello { address, incoming: false, peer_id: theirs.peer_id, reserved: theirs.reserved };
            admit(stream, hello, torrent, io).await;
        }
        Err(error) => {
            tracing::debug!(%error, "no connection");
            tracing::trace!(%address, %error, "no connection");
            let _ = torrent.send(ToTorrent::ConnectFailed(address)).await;
        }
    }
}

/// Connects to a peer and exchanges handshakes.
pub(super) async fn connect(
    address: SocketAddr,
    binding: &Binding,
    ours: Handshake,
) -> io::Result<(TcpStream, Handshake)> {
    let mut stream = quelea_net::connect(binding, address, CONNECT).await?;
    let exchange = async {
        stream.write_all(&ours.encode()).await?;
        let theirs = read_handshake(&mut stream).await?;
        if theirs.info_hash != ours.info_hash {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer answered for another torrent"));
        }
        Ok(theirs)
    };
    let theirs = tokio::time::timeout(HANDSHAKE, exchange).await;
    let theirs = theirs.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok((stream, theirs))
}

/// Reads a handshake and not a byte more.
pub(super) async fn read_handshake(stream: &mut TcpStream) -> io::Result<Handshake> {
    let mut decoder = HandshakeDecoder::new();
    loop {
        let read = stream.read(decoder.room()).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let whole = decoder.commit(read);
        let whole = whole.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault.to_string()))?;
        if let Some(handshake) = whole {
            return Ok(handshake);
        }
    }
}

/// Answers a handshake that came in for this torrent, and runs the connection until it ends.
pub(super) async fn answer(
    mut stream: TcpStream,
    address: SocketAddr,
    theirs: Handshake,
    torrent: mpsc::Sender<ToTorrent>,
    io: Arc<TorrentIo>,
) {
    let ours = ours(&io);
    let written = tokio::time::timeout(HANDSHAKE, stream.write_all(&ours.encode())).await;
    if !matches!(written, Ok(Ok(()))) {
        return;
    }
    let peer_id: PeerId = theirs.peer_id;
    let hello = Hello { address, incoming: true, peer_id, reserved: theirs.reserved };
    admit(stream, hello, torrent, io).await;
}

async fn admit(stream: TcpStream, hello: Hello, torrent: mpsc::Sender<ToTorrent>, io: Arc<TorrentIo>) {
    let (reply, admitted) = oneshot::channel();
    if torrent.send(ToTorrent::Connected { hello, reply }).await.is_err() {
        return;
    }
    match admitted.await {
        Ok(Ok((key, outbox))) => {
            let who = (key, hello.address.ip());
            Connection::new(who, stream, outbox, torrent, io).run().await;
        }
        Ok(Err(refusal)) => tracing::debug!(?refusal, "a peer was not let in"),
        Err(_) => {}
    }
}
