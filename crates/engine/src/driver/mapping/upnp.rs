//! UPnP: a gateway that answers to a search (SSDP), and does what its description offers (SOAP).
//!
//! The search leaves from our address in the network, which is an inner one, so only this network can answer. An
//! answer counts only when its URL leads to the host that sent it, and no later URL may leave that host (`igd-next`
//! sees to both); and that host must have an inner address too.

use super::{seconds, words};
use igd_next::aio::{Gateway, tokio::Tokio};
use igd_next::{AddPortError, GatewayIpVersion, PortMappingProtocol, RemovePortError, SearchOptions};
use quelea_discovery::mapping::{Ask, Grant, Mapping, Route, Transport, Trouble};
use quelea_discovery::reach::is_inner;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The router that the routing table names is asked first, and alone.
const ASK_ROUTER: Duration = Duration::from_millis(1_500);
/// Then whoever is there.
const ASK_ALL: Duration = Duration::from_millis(3_500);
/// Where SSDP is spoken (UPnP Device Architecture 1.1, section 1.3.2).
const EVERYBODY: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const SSDP: u16 = 1900;
/// What routers show of a mapping.
const DESCRIPTION: &str = "Quelea";

/// The gateway that was found last.
#[derive(Default)]
pub(super) struct Upnp {
    found: Mutex<Option<(Route, Gateway<Tokio>)>>,
}

impl Upnp {
    pub(super) async fn ask(&self, ask: &Ask) -> Result<Grant, Trouble> {
        let gateway = self.gateway(ask.route).await?;
        let lease = ask.lease.map_or(0, seconds);
        let local = SocketAddr::new(ask.route.local, ask.port);
        let (protocol, port) = (protocol(ask.transport), ask.external_port);
        match gateway.add_port(protocol, port, local, lease, DESCRIPTION).await {
            Ok(()) => {}
            Err(AddPortError::PortInUse) => return Err(Trouble::Conflict),
            Err(AddPortError::OnlyPermanentLeasesSupported) => return Err(Trouble::OnlyForGood),
            Err(error) => {
                // Perhaps it restarted, and listens elsewhere.
                *self.found() = None;
                return Err(Trouble::Failed(words(&error)));
            }
        }
        let external_ip = gateway.get_external_ip().await.ok().filter(|ip| !ip.is_unspecified());
        Ok(Grant { external_port: port, external_ip, lease: ask.lease, epoch: None })
    }

    pub(super) async fn release(&self, mapping: &Mapping) -> Result<(), String> {
        let Some((_, gateway)) = self.found().clone() else { return Ok(()) };
        match gateway.remove_port(protocol(mapping.transport), mapping.external_port).await {
            Ok(()) | Err(RemovePortError::NoSuchPortMapping) => Ok(()),
            Err(error) => Err(words(&error)),
        }
    }

    async fn gateway(&self, route: Route) -> Result<Gateway<Tokio>, Trouble> {
        let known = self.found().clone().filter(|(there, _)| *there == route);
        if let Some((_, gateway)) = known {
            return Ok(gateway);
        }
        let mut found = None;
        if let Some(router) = route.gateway {
            found = search(route.local, router.address, ASK_ROUTER).await.ok();
        }
        let gateway = match found {
            Some(gateway) => gateway,
            None => search(route.local, EVERYBODY.into(), ASK_ALL).await?,
        };
        *self.found() = Some((route, gateway.clone()));
        Ok(gateway)
    }

    fn found(&self) -> MutexGuard<'_, Option<(Route, Gateway<Tokio>)>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first gateway that answers at this address, or of those that hear what is sent there.
async fn search(local: IpAddr, to: IpAddr, patience: Duration) -> Result<Gateway<Tokio>, Trouble> {
    let mut options = SearchOptions::default();
    options.bind_addr = SocketAddr::new(local, 0);
    options.broadcast_address = SocketAddr::new(to, SSDP);
    options.timeout = Some(patience);
    options.single_search_timeout = Some(patience);
    options.gateway_ip_version = GatewayIpVersion::V4;
    let gateway = igd_next::aio::tokio::search_gateway(options).await;
    let gateway = gateway.map_err(|error| Trouble::Failed(words(&error)))?;
    let ip = gateway.addr.ip();
    let right = matches!(ip, IpAddr::V4(inner) if is_inner(inner) && (to == EVERYBODY || ip == to));
    if right {
        Ok(gateway)
    } else {
        Err(Trouble::Failed(format!("{ip} answered, which is no gateway of this network")))
    }
}

fn protocol(transport: Transport) -> PortMappingProtocol {
    match transport {
        Transport::Tcp => PortMappingProtocol::TCP,
        Transport::Udp => PortMappingProtocol::UDP,
    }
}
