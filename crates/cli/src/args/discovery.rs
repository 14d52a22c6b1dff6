//! Options of every command that looks for peers: those that download, and those that ask what the torrent of a magnet
//! link is.

use super::dht;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use quelea::Settings;
use quelea_metainfo::Address;
use std::net::{IpAddr, SocketAddr};

/// Where peers are looked for.
#[derive(Debug, Args)]
pub(crate) struct Discovery {
    /// Listen on and connect from this local address; repeatable
    ///
    /// Give one IPv4 and one IPv6 address to use both. A torrent's URL is fetched from it too. Names are still
    /// resolved by the system.
    #[arg(long, value_name = "ADDR", env = "QUELEA_BIND", hide_env = true, value_delimiter = ' ')]
    #[arg(value_parser = local_address)]
    pub(crate) bind: Vec<IpAddr>,

    /// Do not use the DHT
    ///
    /// Without it public torrents find peers by the DHT too, with or without a tracker, and a node of it runs on the UDP
    /// port of the same number. Nothing of a private torrent ever goes there.
    #[arg(long, env = "QUELEA_NO_DHT", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(
        default_value = "no",
        default_missing_value = "yes",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(crate) no_dht: bool,

    /// Join the DHT by this node, instead of by the public ones; repeatable
    ///
    /// Nodes that were known at the end of an earlier download are tried as well.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "QUELEA_DHT_BOOTSTRAP",
        hide_env = true,
        value_delimiter = ' '
    )]
    #[arg(value_parser = dht::node)]
    pub(crate) dht_bootstrap: Vec<String>,

    /// Connect to this peer too; repeatable
    #[arg(long, value_name = "HOST:PORT", env = "QUELEA_PEER", hide_env = true, value_delimiter = ' ')]
    #[arg(value_parser = peer)]
    pub(crate) peer: Vec<Address>,

    /// Tell peers nothing of each other, and take no peers that they name
    ///
    /// Peer exchange is never used for private torrents.
    #[arg(long, env = "QUELEA_NO_PEX", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(
        default_value = "no",
        default_missing_value = "yes",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(crate) no_pex: bool,

    /// Neither tell the local network of torrents nor listen for neighbours
    ///
    /// Local discovery is never used for private torrents.
    #[arg(long, env = "QUELEA_NO_LSD", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(
        default_value = "no",
        default_missing_value = "yes",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(crate) no_lsd: bool,
}

impl Discovery {
    /// Sets up a session as these options say.
    pub(crate) fn apply(&self, settings: &mut Settings) {
        join_by(settings, &self.bind, &self.dht_bootstrap);
        settings.dht = !self.no_dht;
        settings.pex = !self.no_pex;
        settings.lsd = !self.no_lsd;
    }
}

impl Discovery {
    /// The addresses of the peers that are named, and a message for each name that cannot be looked up.
    pub(crate) async fn peers(&self) -> (Vec<SocketAddr>, Vec<String>) {
        let (mut found, mut unknown) = (Vec::new(), Vec::new());
        for peer in &self.peer {
            match peer {
                Address::Ip(address) => found.push(*address),
                Address::Name(host, port) => match tokio::net::lookup_host((host.as_str(), *port)).await {
                    Ok(addresses) => found.extend(addresses),
                    Err(error) => unknown.push(format!("the peer {peer} cannot be looked up: {error}")),
                },
            }
        }
        (found, unknown)
    }
}

/// Reads where a peer is.
fn peer(text: &str) -> Result<Address, String> {
    Address::parse(text).ok_or_else(|| {
        "write HOST:PORT, with an IPv6 address in brackets and a port from 1 to 65535".to_owned()
    })
}

/// Reads a local address; for an interface, says which it has.
pub(super) fn local_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        no_address(text, &interfaces.iter().map(|each| (each.name.as_str(), each.ip())).collect::<Vec<_>>())
    })
}

/// Why `text` is no local address, where there are these `interfaces`.
fn no_address(text: &str, interfaces: &[(&str, IpAddr)]) -> String {
    let list = |of: &dyn Fn(&&(&str, IpAddr)) -> bool| -> String {
        let addresses: Vec<String> = interfaces.iter().filter(of).map(|(_, ip)| ip.to_string()).collect();
        addresses.join(", ")
    };
    let own = list(&|(name, _)| *name == text);
    if !own.is_empty() {
        return format!("it is an interface, not an address: give one of its addresses, {own}");
    }
    let all = list(&|_| true);
    if all.is_empty() {
        return "not an IP address".to_owned();
    }
    format!("not an IP address; those of this machine are {all}")
}

/// Has a session talk from these addresses, where there are any, and join the DHT by these nodes instead of the public
/// ones.
pub(crate) fn join_by(settings: &mut Settings, bind: &[IpAddr], bootstrap: &[String]) {
    settings.bind = bind.to_vec();
    if !bootstrap.is_empty() {
        settings.dht_bootstrap = bootstrap.to_vec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_may_have_a_name() {
        let shown = |text: &str| peer(text).map(|peer| peer.to_string());
        assert_eq!(shown("localhost:7001").as_deref(), Ok("localhost:7001"));
        assert_eq!(shown("[::1]:1").as_deref(), Ok("[::1]:1"));
        for text in ["127.0.0.1", "localhost", "::1:80", "a b:1", "a:0", "a:65536"] {
            assert!(shown(text).unwrap_err().contains("HOST:PORT"), "{text}");
        }
    }

    #[test]
    fn an_interface_is_told_with_its_addresses() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let interfaces = [("lo", ip("127.0.0.1")), ("eth0", ip("192.0.2.7")), ("eth0", ip("2001:db8::7"))];
        let told = no_address("eth0", &interfaces);
        assert_eq!(
            told,
            "it is an interface, not an address: give one of its addresses, 192.0.2.7, 2001:db8::7"
        );
        let told = no_address("eth1", &interfaces);
        assert_eq!(told, "not an IP address; those of this machine are 127.0.0.1, 192.0.2.7, 2001:db8::7");
        assert_eq!(local_address("::1"), Ok(ip("::1")));
        assert!(local_address("nosuch").is_err());
    }
}
