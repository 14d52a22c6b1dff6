//! The UDP sockets on the session's port, one of each family.

use quelea_dht::Families;
use quelea_net::{Binding, udp_socket};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use tokio::net::UdpSocket as Watch;

/// The longest datagram of the DHT; of a longer one the rest is lost, so that it is not understood.
const MAX_DATAGRAM: usize = 4_096;

/// The UDP sockets on the session's port, IPv4 first.
pub(crate) struct Sockets {
    families: [Option<Line>; 2],
    buffer: Box<[u8]>,
}

/// A socket that never blocks, and what tells when there is something to read or room to write. While it is muted nobody
/// is woken for a datagram.
struct Line {
    socket: UdpSocket,
    watch: Option<Watch>,
}

impl Line {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = udp_socket(address)?.into_std()?;
        let mut line = Self { socket, watch: None };
        line.listen()?;
        Ok(line)
    }

    fn listen(&mut self) -> io::Result<()> {
        if self.watch.is_none() {
            self.watch = Some(Watch::from_std(self.socket.try_clone()?)?);
        }
        Ok(())
    }

    /// Reads through what is watched, so that it knows that nothing is left.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        match &self.watch {
            Some(watch) => watch.try_recv_from(buffer),
            None => self.socket.recv_from(buffer),
        }
    }

    fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        match &self.watch {
            Some(watch) => watch.try_send_to(bytes, to),
            None => self.socket.send_to(bytes, to),
        }
    }
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
            match Line::open(SocketAddr::new(local, port)) {
                Ok(line) => *family = Some(line),
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

    /// Lets datagrams wait until they are read.
    pub(super) fn mute(&mut self) {
        self.families.iter_mut().flatten().for_each(|line| line.watch = None);
    }

    /// Listens again. What came meanwhile is told at once.
    ///
    /// # Errors
    /// There is no file descriptor left for it: the sockets stay muted.
    pub(super) fn listen(&mut self) -> io::Result<()> {
        self.families.iter_mut().flatten().try_for_each(Line::listen)
    }

    /// Waits until there is something to read; for ever while muted.
    pub(super) async fn readable(&self) {
        tokio::select! {
            () = readable(self.watch(0)) => {}
            () = readable(self.watch(1)) => {}
        }
    }

    /// Waits until the socket of this family takes more; for ever while muted.
    pub(super) async fn writable(&self, family: Option<usize>) {
        if let Some(watch) = family.and_then(|family| self.watch(family))
            && watch.writable().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }

    fn watch(&self, family: usize) -> Option<&Watch> {
        self.families.get(family)?.as_ref()?.watch.as_ref()
    }

    /// The next datagram of a family, or an error that has come instead; `None` when there is no more.
    pub(super) fn receive(&mut self, family: usize) -> Option<io::Result<(SocketAddr, &[u8])>> {
        let line = self.families.get(family)?.as_ref()?;
        match line.receive(&mut self.buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            received => Some(received.map(|(length, from)| (from, &self.buffer[..length]))),
        }
    }

    /// Sends a datagram. The family whose socket must be waited for before it can go.
    pub(super) fn send(&self, to: SocketAddr, bytes: &[u8]) -> Result<(), usize> {
        let family = usize::from(to.is_ipv6());
        let Some(line) = &self.families[family] else { return Ok(()) };
        match line.send(bytes, to) {
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

async fn readable(watch: Option<&Watch>) {
    if let Some(watch) = watch
        && watch.readable().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn what_comes_while_muted_waits_and_is_told_of_afterwards() {
        let binding = Binding::new(vec![IpAddr::from([127, 0, 0, 1])]);
        let (mut sockets, refused) = Sockets::open(&binding, 0);
        assert!(refused.is_empty());
        let at = sockets.families[0].as_ref().unwrap().socket.local_addr().unwrap();
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        sockets.mute();
        stranger.send_to(b"d1:ad", at).unwrap();
        let told = tokio::time::timeout(Duration::from_millis(50), sockets.readable()).await;
        assert!(told.is_err(), "nobody is woken");
        sockets.listen().unwrap();
        sockets.readable().await;
        let came = sockets.receive(0).unwrap().unwrap();
        assert_eq!(came, (stranger.local_addr().unwrap(), &b"d1:ad"[..]));
        assert!(sockets.receive(0).is_none() && sockets.receive(1).is_none());
        // Muted ones send and read as well.
        sockets.mute();
        sockets.send(stranger.local_addr().unwrap(), b"answer").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(stranger.recv(&mut buffer).unwrap(), 6);
        stranger.send_to(b"d1:b", at).unwrap();
        assert!(sockets.receive(0).is_some() && sockets.receive(0).is_none());
    }
}
