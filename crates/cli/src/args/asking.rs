//! Options of the commands that ask peers what the torrent of a magnet link is, and download nothing.

use super::dht;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use std::net::{IpAddr, SocketAddr};

/// Whom to ask for the metadata of a magnet link.
#[derive(Debug, Args)]
#[command(next_help_heading = "Magnet links")]
pub(crate) struct Asking {
    /// Ask this peer too; repeatable
    #[arg(long, value_name = "ADDR:PORT", env = "QUELEA_PEER", hide_env = true, value_delimiter = ' ')]
    pub(crate) peer: Vec<SocketAddr>,

    /// Ask from this local address, and fetch a URL from it; repeatable
    #[arg(long, value_name = "ADDR", env = "QUELEA_BIND", hide_env = true, value_delimiter = ' ')]
    pub(crate) bind: Vec<IpAddr>,

    /// Do not look for peers in the DHT
    #[arg(long, env = "QUELEA_NO_DHT", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(default_value = "no", default_missing_value = "yes", hide_default_value = true)]
    pub(crate) no_dht: bool,

    /// Take no peers that peers name
    #[arg(long, env = "QUELEA_NO_PEX", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(default_value = "no", default_missing_value = "yes", hide_default_value = true)]
    pub(crate) no_pex: bool,

    /// Do not look for peers in the local network
    #[arg(long, env = "QUELEA_NO_LSD", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(default_value = "no", default_missing_value = "yes", hide_default_value = true)]
    pub(crate) no_lsd: bool,

    /// Join the DHT by this node, instead of by the public ones; repeatable
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "QUELEA_DHT_BOOTSTRAP",
        hide_env = true,
        value_delimiter = ' '
    )]
    #[arg(value_parser = dht::node)]
    pub(crate) dht_bootstrap: Vec<String>,
}
