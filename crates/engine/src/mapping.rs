//! Ports that a gateway forwards to a session: what can be wished for, and what is shown.

pub use quelea_discovery::mapping::{Gateway, Mapping as PortMapping, Method, Route, Transport};

use crate::driver::mapping::Family;

use std::net::IpAddr;
use std::time::Duration;

/// How a session asks a gateway to forward its port, by TCP and UDP.
///
/// For IPv4, nothing is asked where the machine has a public address. For IPv6, a router whose firewall keeps others
/// out is asked to let them in to the port, by PCP alone, which is as far as routers can be asked; nothing is told
/// where it does not answer. Neither is asked where the session is bound to addresses that do not lead to the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortMappingSettings {
    /// The methods that are tried, in this order, until one works.
    pub methods: Vec<Method>,
    /// How long the gateway is to forward the port unless asked again; at least 10 seconds are asked for. It is
    /// asked again at half of the time, and a port is given back when the session is closed: this is how long it
    /// stays open when the program is killed.
    pub lease: Duration,
}

impl Default for PortMappingSettings {
    fn default() -> Self {
        Self { methods: Method::ALL.to_vec(), lease: quelea_discovery::mapping::LEASE }
    }
}

/// Whether packets from anywhere can come to this address. A gateway whose own outside address is none such stands
/// behind another one, and a port that it forwards is of use only there.
pub fn is_public(ip: IpAddr) -> bool {
    quelea_discovery::reach::is_public(ip)
}

/// The ways out of the network for a session bound to `bind` (empty: to any address), IPv4 before IPv6, as the system's
/// routing table has them; nothing is sent. Linux tells the router; elsewhere only UPnP finds it, and there is no way
/// of IPv6.
pub fn routes(bind: &[IpAddr]) -> impl Iterator<Item = Route> {
    let binding = quelea_net::Binding::new(bind.to_vec());
    [Family::V4, Family::V6]
        .into_iter()
        .filter_map(move |family| crate::driver::mapping::route(&binding, family))
}
