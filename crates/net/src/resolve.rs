//! Looking up names.

use crate::Binding;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A name that takes longer to look up is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// The addresses of `host`, which may be an address itself, that can be reached from the bound addresses.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] when there is none, [`io::ErrorKind::TimedOut`] after ten seconds, else those of
/// the system's resolver.
pub async fn resolve(binding: &Binding, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port)))
            .await
            .map_err(|_| {
                io::Error::new(io::ErrorKind::TimedOut, format!("looking up {host} took too long"))
            })??
            .collect(),
    };
    let reachable: Vec<SocketAddr> = found.into_iter().filter(|address| binding.reaches(*address)).collect();
    if reachable.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{host} has no address that can be reached"),
        ));
    }
    Ok(reachable)
}
