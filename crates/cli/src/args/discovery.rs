//! Options of every command that looks for peers: those that download, and those that ask what the torrent of a magnet
//! link is.

use super::dht;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use quelea::Settings;
use std::net::{IpAddr, SocketAddr};

/// Where peers are looked for.
#[derive(Debug, Args)]
pub(crate) struct Discovery {
    /// Listen on and connect from this local address; repeatable
    ///
    /// Give one IPv4 and one IPv6 address to use both. A torrent's URL is fetched from it too. Names are still
    /// resolved by the system.
    #[arg(long, value_name = "ADDR", env = "QUELEA_BIND", hide_env = true, value_delimiter = ' ')]
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
    #[arg(long, value_name = "ADDR:PORT", env = "QUELEA_PEER", hide_env = true, value_delimiter = ' ')]
    pub(crate) peer: Vec<SocketAddr>,

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

/// Has a session talk from these addresses, where there are any, and join the DHT by these nodes instead of the public
/// ones.
pub(crate) fn join_by(settings: &mut Settings, bind: &[IpAddr], bootstrap: &[String]) {
    settings.bind = bind.to_vec();
    if !bootstrap.is_empty() {
        settings.dht_bootstrap = bootstrap.to_vec();
    }
}
