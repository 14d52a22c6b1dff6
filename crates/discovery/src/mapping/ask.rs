//! What is asked of a gateway and what it answers, by whichever method.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// How a gateway is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Port Control Protocol (RFC 6887).
    Pcp,
    /// NAT Port Mapping Protocol (RFC 6886).
    NatPmp,
    /// UPnP Internet Gateway Device.
    Upnp,
}

impl Method {
    /// All of them: those first that need one packet and answer at once.
    pub const ALL: [Self; 3] = [Self::Pcp, Self::NatPmp, Self::Upnp];
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        })
    }
}

/// What runs over the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Peers.
    Tcp,
    /// The DHT.
    Udp,
}

impl Transport {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Tcp => Self::Udp,
            Self::Udp => Self::Tcp,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// The way out of the network, as the routing table has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Our address there.
    pub local: IpAddr,
    /// The router, where it is known. UPnP finds one that is not.
    pub gateway: Option<Gateway>,
}

/// A router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gateway {
    /// Its address on our side.
    pub address: IpAddr,
    /// The index of our interface that leads to it, which an address of a link (RFC 4007) is nothing without; else 0.
    pub interface: u32,
}

impl From<IpAddr> for Gateway {
    fn from(address: IpAddr) -> Self {
        Self { address, interface: 0 }
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// Names an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AskId(pub(super) u64);

/// Forward a port, or go on forwarding it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Given back with the answer.
    pub id: AskId,
    /// By which method.
    pub method: Method,
    /// What runs over the port.
    pub transport: Transport,
    /// Where the gateway and we are.
    pub route: Route,
    /// The port that we listen on.
    pub port: u16,
    /// The port that others should see.
    pub external_port: u16,
    /// For how long; `None` for good.
    pub lease: Option<Duration>,
}

impl Ask {
    /// What is held when exactly this is granted.
    pub(super) fn as_mapping(&self) -> Mapping {
        Mapping {
            transport: self.transport,
            method: self.method,
            gateway: self.route.gateway,
            local: SocketAddr::new(self.route.local, self.port),
            external_ip: None,
            external_port: self.external_port,
        }
    }
}

/// What a gateway grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The port that others see.
    pub external_port: u16,
    /// The address that others see, where the gateway says it.
    pub external_ip: Option<IpAddr>,
    /// For how long; `None` for good.
    pub lease: Option<Duration>,
    /// Seconds since the gateway began to remember mappings, where the method tells it.
    pub epoch: Option<u32>,
}

/// Why a gateway did not grant something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The external port is somebody else's.
    #[error("the external ports that were tried are taken")]
    Conflict,
    /// It forwards ports for good or not at all.
    #[error("it forwards ports only for good")]
    OnlyForGood,
    /// Anything else: it does not answer, does not speak this method, or refuses.
    #[error("{0}")]
    Failed(String),
}

/// A port that a gateway forwards to us; of IPv6, where addresses are not translated, one that it lets others in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// What runs over it.
    pub transport: Transport,
    /// How it was asked for.
    pub method: Method,
    /// The router that was asked; where it is not known, whoever answered to UPnP.
    pub gateway: Option<Gateway>,
    /// Where it leads.
    pub local: SocketAddr,
    /// The address that others see, where the gateway says it.
    pub external_ip: Option<IpAddr>,
    /// The port that others see.
    pub external_port: u16,
}

/// What a mapper wants done, or tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask the gateway, and hand its answer to [`handle_answer`](super::Mapper::handle_answer).
    Ask(Ask),
    /// Tell the gateway that this is needed no more; nothing comes of a failure but a port that stays forwarded until
    /// its lease ends.
    Release(Mapping),
    /// A port is forwarded to us from here on, in place of the one told before for this transport.
    Mapped(Mapping),
    /// It is forwarded no more.
    Lost(Mapping),
    /// No method works; each that was tried says why. They are tried again later.
    Unmapped(Vec<(Method, String)>),
}
