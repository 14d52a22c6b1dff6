//! NAT-PMP: one datagram to the gateway's port 5351, one back, from a socket that hears nobody else.

use super::{seconds, words};
use crab_nat::{GatewayAddress, InternetProtocol, PortMappingOptions, TimeoutConfig, natpmp};
use quelea_discovery::mapping::{Ask, Gateway, Grant, LEASE, Mapping, Transport, Trouble};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

/// A datagram that is not answered is sent again: three times in 3.5 seconds. Most routers that do not speak the
/// protocol say so at once, as nobody listens there.
const TIMES: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(500),
    max_retries: 2,
    max_retry_timeout: Some(Duration::from_millis(2_000)),
};

/// In the end there is less time.
const LAST_TIMES: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 1,
    max_retry_timeout: Some(Duration::from_millis(500)),
};

pub(super) async fn ask(gateway: Gateway, ask: &Ask) -> Result<Grant, Trouble> {
    let failed = |error: &dyn std::fmt::Display| Trouble::Failed(words(error));
    let at = address(gateway).map_err(Trouble::Failed)?;
    let port = port(ask.port).map_err(Trouble::Failed)?;
    let held = natpmp::port_mapping(at, protocol(ask.transport), port, options(ask)).await;
    let held = held.map_err(|error| failed(&error))?;
    let outside = natpmp::external_address(at, Some(TIMES)).await.ok();
    Ok(Grant {
        external_port: held.external_port().get(),
        external_ip: outside.map(IpAddr::V4).filter(|ip| !ip.is_unspecified()),
        lease: Some(Duration::from_secs(u64::from(held.lifetime()))),
        epoch: Some(held.gateway_epoch()),
    })
}

pub(super) async fn release(gateway: Gateway, mapping: &Mapping) -> Result<(), String> {
    let (at, port) = (address(gateway)?, port(mapping.local.port())?);
    let protocol = protocol(mapping.transport);
    let released = natpmp::try_drop_mapping(at, protocol, Some(port), Some(LAST_TIMES)).await;
    released.map_err(|error| words(&error))
}

fn address(gateway: Gateway) -> Result<GatewayAddress, String> {
    match gateway.address {
        IpAddr::V4(address) => Ok(GatewayAddress::IpV4(address)),
        IpAddr::V6(_) => Err("it is for IPv4 alone".to_owned()),
    }
}

fn options(ask: &Ask) -> PortMappingOptions {
    PortMappingOptions {
        external_port: NonZeroU16::new(ask.external_port),
        // It knows no mappings for good; the machine asks for them by UPnP alone.
        lifetime_seconds: Some(seconds(ask.lease.unwrap_or(LEASE))),
        timeout_config: Some(TIMES),
    }
}

fn protocol(transport: Transport) -> InternetProtocol {
    match transport {
        Transport::Tcp => InternetProtocol::Tcp,
        Transport::Udp => InternetProtocol::Udp,
    }
}

fn port(port: u16) -> Result<NonZeroU16, String> {
    NonZeroU16::new(port).ok_or_else(|| "port 0 cannot be forwarded".to_owned())
}
