//! The session's UDP sockets: requests to UDP trackers out, answers back.

use crate::clock::Clock;
use quelea_net::{Binding, udp_socket};
use quelea_tracker::Failure;
use quelea_tracker::udp::{Answer, Ask, UdpClient};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

/// The longest datagram that is read: more than any tracker's answer.
const MAX_DATAGRAM: usize = 64 << 10;
/// Requests that may wait to be taken up.
pub(crate) const QUEUE: usize = 256;

/// A request to a UDP tracker, and where its answer goes.
pub(crate) struct UdpRequest {
    pub(crate) to: SocketAddr,
    pub(crate) ask: Ask,
    pub(crate) answer: oneshot::Sender<Result<Answer, Failure>>,
}

/// Carries requests until the session ends. `requests` is where they come from.
pub(crate) async fn run(
    binding: Arc<Binding>,
    seed: u64,
    clock: Clock,
    mut requests: mpsc::Receiver<UdpRequest>,
) {
    let mut sockets = Sockets { binding, four: None, six: None };
    let mut machine: UdpClient<u64> = UdpClient::new(seed);
    let mut waiting: HashMap<u64, oneshot::Sender<Result<Answer, Failure>>> = HashMap::new();
    let mut next = 0;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        while let Some(transmit) = machine.poll_transmit() {
            // A datagram that cannot be sent is one that was lost: it is sent again, or times out.
            if let Err(error) = sockets.send(transmit.to, &transmit.bytes).await {
                tracing::debug!(%error, "a UDP tracker cannot be reached");
            }
        }
        while let Some((id, answer)) = machine.poll_event() {
            if let Some(waiter) = waiting.remove(&id) {
                let _ = waiter.send(answer);
            }
        }
        let due = machine.timeout();
        tokio::select! {
            request = requests.recv() => {
                let Some(UdpRequest { to, ask, answer }) = request else { return };
                match sockets.open(to) {
                    Ok(()) => {
                        next += 1;
                        waiting.insert(next, answer);
                        machine.request(clock.now(), next, to, ask);
                    }
                    Err(error) => {
                        let _ = answer.send(Err(Failure::Connect(error.to_string())));
                    }
                }
            }
            received = sockets.receive(&mut buffer) => {
                if let Ok((length, from)) = received {
                    machine.handle_datagram(clock.now(), from, &buffer[..length]);
                }
            }
            () = clock.sleep_until(due) => machine.handle_timeout(clock.now()),
        }
        let gone: Vec<u64> = waiting.iter().filter(|(_, to)| to.is_closed()).map(|(id, _)| *id).collect();
        for id in gone {
            waiting.remove(&id);
            machine.cancel(&id);
        }
    }
}

/// One socket a family, made when it is first needed.
struct Sockets {
    binding: Arc<Binding>,
    four: Option<UdpSocket>,
    six: Option<UdpSocket>,
}

impl Sockets {
    fn open(&mut self, to: SocketAddr) -> io::Result<()> {
        let local = self.binding.local_for(to.ip())?;
        let slot = if to.is_ipv4() { &mut self.four } else { &mut self.six };
        if slot.is_none() {
            *slot = Some(udp_socket(SocketAddr::new(local, 0))?);
        }
        Ok(())
    }

    async fn send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let socket = if to.is_ipv4() { &self.four } else { &self.six };
        match socket {
            Some(socket) => socket.send_to(bytes, to).await.map(|_| ()),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The next datagram of either socket. An error (such as a refused port, told by the other machine) is no
    /// end: the caller goes on.
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        loop {
            let four = readable(self.four.as_ref());
            let six = readable(self.six.as_ref());
            let socket = tokio::select! {
                socket = four => socket,
                socket = six => socket,
            };
            match socket.try_recv_from(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }
}

async fn readable(socket: Option<&UdpSocket>) -> &UdpSocket {
    if let Some(socket) = socket
        && socket.readable().await.is_ok()
    {
        return socket;
    }
    std::future::pending().await
}
