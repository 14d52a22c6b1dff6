//! Whether the router would be asked to forward the port, and, when the user wants it, whether it does.

use super::Check;
use crate::args::Options;
use crate::command::get::settings;
use quelea::mapping::{PortMapping, is_public, route};
use quelea::{Event, PortMappingSettings, Session};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const NAME: &str = "port mapping";
/// All methods have answered or failed by then.
const PATIENCE: Duration = Duration::from_secs(40);
/// UDP follows TCP within this time.
const SECOND: Duration = Duration::from_secs(15);

/// What a download would ask of the router. Nothing is sent.
pub(super) fn planned(options: &Options) -> Check {
    if options.no_port_map {
        return Check::ok(NAME, "turned off: the router is not asked to forward the port");
    }
    let Some(route) = route(&options.discovery.bind) else {
        return Check::ok(NAME, "no router is known that could be asked to forward the port");
    };
    if is_public(route.local.into()) {
        return Check::ok(NAME, format!("not needed: this machine has the public address {}", route.local));
    }
    let router = match route.gateway {
        Some(gateway) => format!("the router {gateway} would be asked by PCP, NAT-PMP and UPnP"),
        None => "a router would be looked for by UPnP".to_owned(),
    };
    Check::ok(NAME, format!("{router} to forward the port to {}; --port-map tries it", route.local))
}

/// Asks the router as a download would, and gives the port back.
pub(super) fn tried(options: &Options) -> anyhow::Result<Check> {
    if route(&options.discovery.bind).is_none_or(|route| is_public(route.local.into())) {
        return Ok(planned(options));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut settings = settings(options);
        settings.state_dir = None;
        settings.port_mapping = Some(PortMappingSettings::default());
        let session = Session::start(settings)?;
        let outcome = tokio::time::timeout(PATIENCE, outcome(&session)).await;
        let addresses = session.external_addresses();
        session.close().await;
        Ok(match outcome {
            Ok(Ok(mappings)) => forwarded(&mappings, &addresses),
            Ok(Err(reasons)) => unforwarded(&reasons),
            Err(_) => unforwarded("the router answered nothing that could be used"),
        })
    })
}

/// What is forwarded, or why nothing is.
async fn outcome(session: &Session) -> Result<Vec<PortMapping>, String> {
    let mut events = session.events();
    while session.port_mappings().is_empty() {
        match events.next().await {
            Some(Event::PortNotMapped(reasons)) => return Err(reasons),
            Some(_) => {}
            None => return Err("the session has ended".to_owned()),
        }
    }
    let both = async { while session.port_mappings().len() < 2 && events.next().await.is_some() {} };
    // A router that forwards one of the two is worth telling too.
    let _ = tokio::time::timeout(SECOND, both).await;
    Ok(session.port_mappings())
}

fn forwarded(mappings: &[PortMapping], addresses: &[IpAddr]) -> Check {
    let each: Vec<String> = mappings.iter().map(told).collect();
    let mut found = format!("the router forwards {}", each.join(" and "));
    let inner = mappings.iter().filter_map(|mapping| mapping.external_ip).find(|ip| !is_public(*ip));
    if let Some(address) = addresses.first().filter(|_| inner.is_none()) {
        found = format!("{found}; the world sees {address}");
    }
    match inner {
        Some(ip) => Check::note(
            NAME,
            format!("{found}, but {ip} is the address of another router's network"),
            "forward the port on that router too; where it is the provider's, ask for an address of your own",
        ),
        None => Check::ok(NAME, found),
    }
}

fn told(mapping: &PortMapping) -> String {
    let PortMapping { transport, method, external_ip, external_port, .. } = mapping;
    match external_ip {
        Some(ip) => format!("{transport} {} ({method})", SocketAddr::new(*ip, *external_port)),
        None => format!("{transport} port {external_port} ({method})"),
    }
}

fn unforwarded(reasons: &str) -> Check {
    Check::note(
        NAME,
        format!("no router forwards the port: {reasons}"),
        "turn on UPnP or NAT-PMP in the router, or forward the port there by hand",
    )
}
