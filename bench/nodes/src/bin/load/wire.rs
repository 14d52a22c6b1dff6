//! One socket that stands for every host of 198.18.0.0/15, the addresses for benchmarks (RFC 2544): a datagram leaves from
//! whichever of them is wanted, and it is told at which one a datagram came.

use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, RcvBuf, SndBuf};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt,
};
use std::io::{IoSlice, IoSliceMut, Result};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

/// The port that all hosts send from.
pub const PORT: u16 = 7_000;
/// What the kernel may hold for us, so that nothing is lost here.
const BUFFER: usize = 8 << 20;

/// The socket, and whom it talks to.
pub struct Wire {
    socket: UdpSocket,
    target: SockaddrIn,
}

impl Wire {
    pub fn open(target: SocketAddrV4) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, Ipv4PacketInfo, &true)?;
        setsockopt(&socket, RcvBuf, &BUFFER)?;
        setsockopt(&socket, SndBuf, &BUFFER)?;
        Ok(Self { socket, target: target.into() })
    }

    /// Sends from the host `from`; what the kernel does not take is lost.
    pub fn send(&self, from: Ipv4Addr, bytes: &[u8]) {
        let source = in_addr { s_addr: u32::from(from).to_be() };
        let info = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: in_addr { s_addr: 0 } };
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        let slices = [IoSlice::new(bytes)];
        let _ = sendmsg(self.socket.as_raw_fd(), &slices, &control, MsgFlags::empty(), Some(&self.target));
    }

    /// A datagram that is there: its length, and to which host it went.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<(usize, Ipv4Addr)>> {
        let mut control = nix::cmsg_space!(in_pktinfo);
        let mut slices = [IoSliceMut::new(buffer)];
        let fd = self.socket.as_raw_fd();
        match recvmsg::<SockaddrIn>(fd, &mut slices, Some(&mut control), MsgFlags::empty()) {
            Ok(message) => {
                let mut to = Ipv4Addr::UNSPECIFIED;
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::Ipv4PacketInfo(info) = control {
                        to = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                    }
                }
                Ok(Some((message.bytes, to)))
            }
            Err(Errno::EAGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
