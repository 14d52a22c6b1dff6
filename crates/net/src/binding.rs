//! From which local addresses to talk.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The local addresses that sockets are bound to: those the user named, or any.
///
/// With addresses of one family only, the other family is out of reach: nothing leaves by a way that the user
/// did not name.
#[derive(Debug, Clone, Default)]
pub struct Binding {
    addresses: Vec<IpAddr>,
}

impl Binding {
    /// Bound to these addresses; to none in particular when there are none.
    pub fn new(addresses: Vec<IpAddr>) -> Self {
        Self { addresses }
    }

    /// Whether no address was named.
    pub fn is_any(&self) -> bool {
        self.addresses.is_empty()
    }

    /// The addresses to listen on.
    pub fn listen_addresses(&self) -> Vec<IpAddr> {
        if self.is_any() {
            return vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        }
        self.addresses.clone()
    }

    /// The local address to talk to `remote` from; the unspecified one when none was named.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrNotAvailable`] when addresses were named, and none of `remote`'s family.
    pub fn local_for(&self, remote: IpAddr) -> io::Result<IpAddr> {
        if self.is_any() {
            return Ok(match remote {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            });
        }
        self.addresses.iter().copied().find(|local| local.is_ipv4() == remote.is_ipv4()).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("{remote} cannot be reached from the addresses that were bound"),
            )
        })
    }

    /// Whether `remote` can be talked to.
    pub fn reaches(&self, remote: SocketAddr) -> bool {
        self.local_for(remote.ip()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_address_is_used_for_its_family_alone() {
        let binding = Binding::new(vec!["127.0.0.2".parse().unwrap()]);
        assert_eq!(binding.local_for("10.0.0.1".parse().unwrap()).unwrap().to_string(), "127.0.0.2");
        assert!(!binding.reaches("[2001:db8::1]:80".parse().unwrap()));
    }

    #[test]
    fn unnamed_is_any_of_both_families() {
        let binding = Binding::default();
        assert!(binding.reaches("[2001:db8::1]:80".parse().unwrap()));
        assert!(binding.local_for("10.0.0.1".parse().unwrap()).unwrap().is_unspecified());
        assert_eq!(binding.listen_addresses().len(), 2);
    }
}
