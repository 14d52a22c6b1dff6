//! UDP sockets.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use tokio::net::UdpSocket;

/// What may arrive while its reader is busy elsewhere, in bytes.
const RECEIVE_BUFFER: usize = 1 << 20;

/// A UDP socket at `address`. An IPv6 socket takes IPv6 alone.
///
/// Must be called inside a tokio runtime.
///
/// # Errors
/// Those of the system.
pub fn udp_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // The system may give less, which is no fault.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}
