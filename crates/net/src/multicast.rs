//! Speaking to all neighbours at once: the links that we are on, and the sockets of a multicast group.

use crate::Binding;
use if_addrs::{IfAddr, Interface};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use tokio::net::UdpSocket;

/// A network interface with an address of one family, through which neighbours are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The interface's number.
    pub index: u32,
    /// Our address there, from which is spoken.
    pub address: IpAddr,
    /// How many of its first bits the neighbours' addresses have too.
    pub prefix: u8,
}

/// The links that the bound addresses are on; with none named, all that are up, without the machine's own and lines to
/// a single other end. One for each interface and family.
///
/// # Errors
/// Those of the system.
pub fn links(binding: &Binding) -> io::Result<Vec<Link>> {
    let interfaces = if_addrs::get_if_addrs()?;
    let mut best: BTreeMap<(u32, bool), Link> = BTreeMap::new();
    for interface in interfaces.iter().filter(|interface| interface.is_oper_up() && !interface.is_p2p()) {
        let Some(link) = link_of(interface, binding) else { continue };
        let place = best.entry((link.index, link.address.is_ipv4())).or_insert(link);
        if rank(link.address) > rank(place.address) {
            *place = link;
        }
    }
    Ok(best.into_values().collect())
}

fn link_of(interface: &Interface, binding: &Binding) -> Option<Link> {
    let prefix = match &interface.addr {
        IfAddr::V4(address) => address.prefixlen,
        IfAddr::V6(address) => address.prefixlen,
    };
    let (index, ip) = (interface.index?, interface.ip());
    if binding.is_any() {
        return (!ip.is_loopback()).then_some(Link { index, address: ip, prefix });
    }
    // All of 127/8 is the machine's own, though its interface shows one address of it.
    let mut bound = binding.listen_addresses().into_iter();
    let same = |address: &IpAddr| *address == ip || (address.is_ipv4() && both_loopback(*address, ip));
    bound.find(same).map(|address| Link { index, address, prefix })
}

fn both_loopback(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4() && one.is_loopback() && other.is_loopback()
}

/// Of several addresses of an interface the neighbours know best which of them is theirs too: one of the site, then one
/// of the link, then any.
fn rank(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(ip) => u8::from(ip.is_private()) * 2 + u8::from(!ip.is_link_local()),
        IpAddr::V6(ip) => u8::from(ip.is_unique_local()) * 2 + u8::from(ip.is_unicast_link_local()),
    }
}

/// Says something once to a group, on one link and from our address there. It goes no further than that link.
///
/// Must be called inside a tokio runtime.
///
/// # Errors
/// Those of the system.
pub async fn tell_group(link: &Link, group: SocketAddr, datagram: &[u8]) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    match link.address {
        IpAddr::V4(address) => {
            socket.set_multicast_if_v4(&address)?;
            socket.set_multicast_ttl_v4(1)?;
            socket.bind(&SocketAddr::new(link.address, 0).into())?;
        }
        IpAddr::V6(address) => {
            socket.set_only_v6(true)?;
            socket.set_multicast_if_v6(link.index)?;
            socket.set_multicast_hops_v6(1)?;
            let scope = if address.is_unicast_link_local() { link.index } else { 0 };
            socket.bind(&SocketAddr::V6(SocketAddrV6::new(address, 0, 0, scope)).into())?;
        }
    }
    UdpSocket::from_std(socket.into())?.send_to(datagram, group).await.map(|_| ())
}

/// Hears what is said to a group, on the links that it joined. Others on the same machine may hear it too.
#[derive(Debug)]
pub struct GroupListener {
    socket: UdpSocket,
    group: SocketAddr,
}

impl GroupListener {
    /// Hears nothing yet.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// Those of the system: somebody has the port for himself, there is no such family.
    pub fn new(group: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
        socket.set_reuse_port(true)?;
        if group.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        // Bound to the group itself, it hears nothing that was sent to this machine alone, from however far.
        let everywhere = if cfg!(windows) { unspecified(group) } else { group };
        socket.bind(&everywhere.into())?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, group })
    }

    /// Hears the group on this link from here on.
    ///
    /// # Errors
    /// Those of the system.
    pub fn join(&self, link: &Link) -> io::Result<()> {
        let socket = socket2::SockRef::from(&self.socket);
        let joined = match self.group.ip() {
            IpAddr::V4(group) => {
                socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(link.index))
            }
            IpAddr::V6(group) => socket.join_multicast_v6(&group, link.index),
        };
        match joined {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(()),
            joined => joined,
        }
    }

    /// Hears it there no longer. A link that is gone needs no goodbye.
    pub fn leave(&self, link: &Link) {
        let socket = socket2::SockRef::from(&self.socket);
        // The system has left already where the interface is gone.
        let _ = match self.group.ip() {
            IpAddr::V4(group) => {
                socket.leave_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(link.index))
            }
            IpAddr::V6(group) => socket.leave_multicast_v6(&group, link.index),
        };
    }

    /// The next datagram, and who sent it.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn hear(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.recv_from(buffer).await
    }
}

fn unspecified(group: SocketAddr) -> SocketAddr {
    let ip = match group {
        SocketAddr::V4(_) => IpAddr::from([0; 4]),
        SocketAddr::V6(_) => IpAddr::from([0; 16]),
    };
    SocketAddr::new(ip, group.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn who_is_bound_to_the_machine_itself_speaks_to_nobody_else() {
        let binding = Binding::new(vec!["127.3.2.1".parse().unwrap()]);
        let links = links(&binding).unwrap();
        assert_eq!(links.len(), 1, "{links:?}");
        assert_eq!((links[0].address.to_string(), links[0].prefix), ("127.3.2.1".to_owned(), 8));
    }

    #[test]
    fn without_an_address_named_the_machine_itself_is_no_link() {
        let links = links(&Binding::default()).unwrap();
        assert!(links.iter().all(|link| !link.address.is_loopback()), "{links:?}");
    }

    #[test]
    fn what_is_told_is_heard_by_several_on_one_machine() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let link = links(&Binding::new(vec!["127.4.3.2".parse().unwrap()])).unwrap()[0];
            let group: SocketAddr = "239.255.77.31:46771".parse().unwrap();
            let listeners = [GroupListener::new(group).unwrap(), GroupListener::new(group).unwrap()];
            for listener in &listeners {
                listener.join(&link).unwrap();
                listener.join(&link).unwrap();
            }
            tell_group(&link, group, b"hello").await.unwrap();
            for listener in &listeners {
                let mut buffer = [0; 16];
                let heard = tokio::time::timeout(Duration::from_secs(60), listener.hear(&mut buffer));
                let (length, from) = heard.await.unwrap().unwrap();
                assert_eq!((&buffer[..length], from.ip().to_string().as_str()), (&b"hello"[..], "127.4.3.2"));
            }
            listeners[0].leave(&link);
        });
    }
}
