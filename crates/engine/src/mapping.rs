//! Ports that a gateway forwards to a session: what can be wished for, and what is shown.

pub use quelea_discovery::mapping::{Mapping as PortMapping, Method, Route, Transport};

use std::net::IpAddr;
use std::time::Duration;

/// How a session asks a gateway to forward its port, by TCP and UDP.
///
/// Only IPv4 is asked for: there a port behind a gateway is out of everybody's reach, while IPv6 addresses are
/// reached unless a firewall keeps them. Nothing is asked where the machine has a public address, or where the
/// session is bound to addresses that do not lead to the gateway.
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

/// The way out of the network for a session bound to `bind` (empty: to any address), as the system's routing table has
/// it; nothing is sent. Linux tells the router; elsewhere only UPnP finds it.
pub fn route(bind: &[IpAddr]) -> Option<Route> {
    crate::driver::mapping::route(&quelea_net::Binding::new(bind.to_vec()))
}
