//! The UDP sockets on the session's port, one of each family.

use quelea_dht::Families;
use quelea_net::{Binding, udp_socket};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::UdpSocket;

/// Datagrams read before others have their turn.
pub(super) const BATCH: usize = 64;
/// The longest datagram of the DHT; of a longer one the rest is lost, so that it is not understood.
const MAX_DATAGRAM: usize = 4_096;

/// The UDP sockets on the session's port, IPv4 first.
pub(crate) struct Sockets {
    families: [Option<UdpSocket>; 2],
    buffer: Box<[u8]>,
}

/// Why there is no socket of a family.
pub(crate) type Refused = (SocketAddr, io::Error);

impl Sockets {
    /// Sockets at the first bound address of each family, and those that could not be had. A machine that lacks a
    /// family which the user did not name has nothing refused.
    ///
    /// Must be called inside a tokio runtime.
    pub(crate) fn open(binding: &Binding, port: u16) -> (Self, Vec<Refused>) {
        let mut refused = Vec::new();
        let mut families = [None, None];
        for local in binding.listen_addresses() {
            let family = &mut families[usize::from(local.is_ipv6())];
            if family.is_some() {
                continue;
            }
            match udp_socket(SocketAddr::new(local, port)) {
                Ok(socket) => *family = Some(socket),
                Err(error) if is_missing(local, &error) => {
                    tracing::debug!(%local, %error, "no UDP of this family");
                }
                Err(error) => refused.push((SocketAddr::new(local, port), error)),
            }
        }
        (Self { families, buffer: vec![0; MAX_DATAGRAM].into() }, refused)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.families.iter().all(Option::is_none)
    }

    /// Which families there are.
    pub(super) fn families(&self) -> Families {
        Families { v4: self.families[0].is_some(), v6: self.families[1].is_some() }
    }

    /// Waits until there is something to read.
    pub(super) async fn readable(&self) {
        tokio::select! {
            () = readable(self.families[0].as_ref()) => {}
            () = readable(self.families[1].as_ref()) => {}
        }
    }

    /// Waits until the socket of this family takes more.
    pub(super) async fn writable(&self, family: Option<usize>) {
        if let Some(socket) = family.and_then(|family| self.families.get(family)?.as_ref())
            && socket.writable().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }

    /// Gives the datagrams that are there to `take`, a batch of each family at most. How many there were of the family that
    /// had the most: of a whole [`BATCH`] there may be more.
    pub(super) fn read(&mut self, mut take: impl FnMut(SocketAddr, &[u8])) -> usize {
        let mut most = 0;
        for socket in self.families.iter().flatten() {
            let mut read = 0;
            while read < BATCH {
                match socket.try_recv_from(&mut self.buffer) {
                    Ok((length, from)) => take(from, &self.buffer[..length]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // Such as a port that refuses what we sent: of that the machine hears by silence.
                    Err(_) => {}
                }
                read += 1;
            }
            most = most.max(read);
        }
        most
    }

    /// Sends a datagram. The family whose socket must be waited for before it can go.
    pub(super) fn send(&self, to: SocketAddr, bytes: &[u8]) -> Result<(), usize> {
        let family = usize::from(to.is_ipv6());
        let Some(socket) = &self.families[family] else { return Ok(()) };
        match socket.try_send_to(bytes, to) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(family),
            // A datagram that cannot be sent is one that was lost.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Whether the machine has no such family, so that nothing is wrong.
fn is_missing(local: IpAddr, error: &io::Error) -> bool {
    local.is_unspecified() && local.is_ipv6() && error.kind() != io::ErrorKind::AddrInUse
}

async fn readable(socket: Option<&UdpSocket>) {
    if let Some(socket) = socket
        && socket.readable().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}
