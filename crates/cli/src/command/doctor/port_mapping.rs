//! Whether the router would be asked to forward the port, and, when the user wants it, whether it does.

use super::Check;
use crate::args::Options;
use crate::command::get::settings;
use quelea::mapping::{PortMapping, Route, is_public, routes};
use quelea::{Event, Events, PortMappingSettings, Session};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const NAME: &str = "port mapping";
const NAME_V6: &str = "port mapping, IPv6";
/// All methods have answered or failed by then.
const PATIENCE: Duration = Duration::from_secs(40);
/// There is one method for IPv6, which is asked for three and a half seconds.
const PATIENCE_V6: Duration = Duration::from_secs(8);
/// UDP follows TCP within this time.
const SECOND: Duration = Duration::from_secs(15);

/// What a download would ask of the router. Nothing is sent.
pub(super) fn planned(options: &Options) -> Vec<Check> {
    if options.no_port_map {
        return vec![Check::ok(NAME, "turned off: the router is not asked to forward the port")];
    }
    let v6 = of_use_v6(options).and_then(|route| {
        let (router, local) = (route.gateway?, route.local);
        let plan = format!("the router {router} would be asked by PCP to let others in to {local}");
        Some(Check::ok(NAME_V6, format!("{plan}; --port-map tries it")))
    });
    [planned_v4(options)].into_iter().chain(v6).collect()
}

fn planned_v4(options: &Options) -> Check {
    let Some(route) = route(options, true) else {
        return Check::ok(NAME, "no router is known that could be asked to forward the port");
    };
    if is_public(route.local) {
        return Check::ok(NAME, format!("not needed: this machine has the public address {}", route.local));
    }
    let router = match route.gateway {
        Some(gateway) => format!("the router {gateway} would be asked by PCP, NAT-PMP and UPnP"),
        None => "a router would be looked for by UPnP".to_owned(),
    };
    Check::ok(NAME, format!("{router} to forward the port to {}; --port-map tries it", route.local))
}

/// The way out by which a router would be asked to forward a port of IPv4.
fn of_use_v4(options: &Options) -> Option<Route> {
    route(options, true).filter(|route| !is_public(route.local))
}

/// The way out by which a router would be asked to let others in by IPv6.
fn of_use_v6(options: &Options) -> Option<Route> {
    route(options, false).filter(|route| is_public(route.local) && route.gateway.is_some())
}

fn route(options: &Options, v4: bool) -> Option<Route> {
    routes(&options.discovery.bind).find(|route| route.local.is_ipv4() == v4)
}

/// Asks the router as a download would, and gives the port back.
pub(super) fn tried(options: &Options) -> anyhow::Result<Vec<Check>> {
    let (v4, v6) = (of_use_v4(options), of_use_v6(options));
    if v4.is_none() && v6.is_none() {
        return Ok(planned(options));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut settings = settings(options);
        settings.state_dir = None;
        settings.port_mapping = Some(PortMappingSettings::default());
        let session = Session::start(settings)?;
        let (events, events_v6) = (session.events(), session.events());
        let try_v4 =
            async { if v4.is_some() { outcome(&session, events).await } else { planned_v4(options) } };
        let try_v6 = async { if v6.is_some() { Some(outcome_v6(&session, events_v6).await) } else { None } };
        let (v4, v6) = tokio::join!(try_v4, try_v6);
        session.close().await;
        Ok([v4].into_iter().chain(v6).collect())
    })
}

/// The ports of one family that are forwarded.
fn mappings(session: &Session, v4: bool) -> Vec<PortMapping> {
    session.port_mappings().into_iter().filter(|mapping| mapping.local.is_ipv4() == v4).collect()
}

async fn outcome(session: &Session, events: Events) -> Check {
    match tokio::time::timeout(PATIENCE, forwarding(session, events)).await {
        Ok(Ok(mappings)) => forwarded(&mappings, &session.external_addresses()),
        Ok(Err(reasons)) => unforwarded(&reasons),
        Err(_) => unforwarded("the router answered nothing that could be used"),
    }
}

async fn outcome_v6(session: &Session, mut events: Events) -> Check {
    let both = async { while mappings(session, false).len() < 2 && events.next().await.is_some() {} };
    let _ = tokio::time::timeout(PATIENCE_V6, both).await;
    let each: Vec<String> = mappings(session, false).iter().map(told).collect();
    if each.is_empty() {
        return Check::note(
            NAME_V6,
            "the router grants nothing by PCP; its firewall may keep others from this machine",
            "where the router has a firewall for IPv6, let others in to the port there by hand",
        );
    }
    Check::ok(NAME_V6, format!("the router lets others in to {}", each.join(" and ")))
}

/// What is forwarded, or why nothing is.
async fn forwarding(session: &Session, mut events: Events) -> Result<Vec<PortMapping>, String> {
    while mappings(session, true).is_empty() {
        match events.next().await {
            Some(Event::PortNotMapped(reasons)) => return Err(reasons),
            Some(_) => {}
            None => return Err("the session has ended".to_owned()),
        }
    }
    let both = async { while mappings(session, true).len() < 2 && events.next().await.is_some() {} };
    // A router that forwards one of the two is worth telling too.
    let _ = tokio::time::timeout(SECOND, both).await;
    Ok(mappings(session, true))
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
