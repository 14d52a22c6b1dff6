//! PCP and NAT-PMP: one datagram to the gateway's port 5351, one back, from a socket that hears nobody else.

use super::words;
use crab_nat::{
    GatewayAddress, InternetProtocol, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig,
    natpmp, pcp,
};
use quelea_discovery::mapping::{Ask, Grant, Mapping, Transport, Trouble};
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::time::Duration;

/// A datagram that is not answered is sent again: three times in 3.5 seconds. Most routers that speak neither
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

pub(super) async fn ask_pcp(gateway: Ipv4Addr, ask: &Ask, nonce: [u32; 3]) -> Result<Grant, Trouble> {
    let base = base(gateway, ask.route.local, ask.transport, port(ask.port)?);
    pcp::port_mapping(base, Some(nonce), None, options(ask)).await.map(|held| grant(&held)).map_err(failed)
}

pub(super) async fn ask_nat_pmp(gateway: Ipv4Addr, ask: &Ask) -> Result<Grant, Trouble> {
    let at = GatewayAddress::IpV4(gateway);
    let held = natpmp::port_mapping(at, protocol(ask.transport), port(ask.port)?, options(ask)).await;
    let held = held.map_err(failed)?;
    let address = natpmp::external_address(at, Some(TIMES)).await.ok();
    Ok(Grant { external_ip: address.map(IpAddr::V4), ..grant(&held) })
}

pub(super) async fn release_pcp(gateway: Ipv4Addr, mapping: &Mapping, nonce: [u32; 3]) -> Result<(), String> {
    let internal_port = port(mapping.local.port()).map_err(|trouble| trouble.to_string())?;
    let range = pcp::DropMappingRange::Single { protocol: protocol(mapping.transport), internal_port };
    let client = (*mapping.local.ip()).into();
    let released =
        pcp::try_drop_mapping(GatewayAddress::IpV4(gateway), client, nonce, range, Some(LAST_TIMES)).await;
    released.map_err(|error| words(&error))
}

pub(super) async fn release_nat_pmp(gateway: Ipv4Addr, mapping: &Mapping) -> Result<(), String> {
    let internal_port = port(mapping.local.port()).map_err(|trouble| trouble.to_string())?;
    let (at, protocol) = (GatewayAddress::IpV4(gateway), protocol(mapping.transport));
    let released = natpmp::try_drop_mapping(at, protocol, Some(internal_port), Some(LAST_TIMES)).await;
    released.map_err(|error| words(&error))
}

fn base(
    gateway: Ipv4Addr,
    client: Ipv4Addr,
    transport: Transport,
    internal_port: NonZeroU16,
) -> pcp::BaseMapRequest {
    pcp::BaseMapRequest::new(GatewayAddress::IpV4(gateway), client.into(), protocol(transport), internal_port)
}

fn options(ask: &Ask) -> PortMappingOptions {
    // Neither protocol knows mappings for good; the machine asks for them by UPnP alone.
    let lease = ask.lease.unwrap_or(quelea_discovery::mapping::LEASE);
    PortMappingOptions {
        external_port: NonZeroU16::new(ask.external_port),
        lifetime_seconds: Some(u32::try_from(lease.as_secs()).unwrap_or(u32::MAX).max(1)),
        timeout_config: Some(TIMES),
    }
}

fn grant(held: &PortMapping) -> Grant {
    let external_ip = match held.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => Some(external_ip),
        PortMappingType::NatPmp => None,
    };
    Grant {
        external_port: held.external_port().get(),
        external_ip: external_ip.filter(|ip| !ip.is_unspecified()),
        lease: Some(Duration::from_secs(u64::from(held.lifetime()))),
        epoch: Some(held.gateway_epoch()),
    }
}

fn protocol(transport: Transport) -> InternetProtocol {
    match transport {
        Transport::Tcp => InternetProtocol::Tcp,
        Transport::Udp => InternetProtocol::Udp,
    }
}

fn port(port: u16) -> Result<NonZeroU16, Trouble> {
    NonZeroU16::new(port).ok_or_else(|| Trouble::Failed("port 0 cannot be forwarded".to_owned()))
}

fn failed(error: impl Display) -> Trouble {
    Trouble::Failed(words(&error))
}
