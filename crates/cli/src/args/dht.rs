//! Options of `quelea dht`.

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, Subcommand, ValueHint};
use quelea::dht::Id;
use quelea_metainfo::{Address, Magnet};
use std::net::IpAddr;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  quelea dht status                             how many nodes are found, and our ids
  quelea dht get-peers 6a9759bffd5c0af65319979fb7832189f4f3c35d
  quelea dht scrape 'magnet:?xt=urn:btih:…'     about how many seeds and peers there are
  quelea dht put 'Hello'                        store a text; prints where it is found
  quelea dht put 'Hello' --key my.key           one that can be changed later by this key
  quelea dht publish INFOHASH --key my.key      prints a link that follows what you publish
  quelea dht get TARGET                         40 digits: a text; 64 digits: a key's
";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DhtArgs {
    #[command(subcommand)]
    pub(crate) action: DhtAction,
    #[command(flatten)]
    pub(crate) options: DhtOptions,
}

/// What is asked of the DHT.
#[derive(Debug, Subcommand)]
pub(crate) enum DhtAction {
    /// Join, and tell how many nodes are found and what we are called
    Status,
    /// Print the peers of a torrent, one a line
    GetPeers {
        /// The torrent's info-hash, or a magnet link
        #[arg(value_name = "INFOHASH", value_parser = info_hash)]
        info_hash: Id,
    },
    /// Tell about how many seeds and peers a torrent has (BEP 33)
    Scrape {
        /// The torrent's info-hash, or a magnet link
        #[arg(value_name = "INFOHASH", value_parser = info_hash)]
        info_hash: Id,
    },
    /// Store a text for about two hours, and print where it is found (BEP 44)
    Put {
        /// The text, at most 996 bytes
        #[arg(value_name = "TEXT")]
        text: String,
        /// Sign it with the key in this file, so that it can be changed later; one is made if there is none
        #[arg(long, value_name = "FILE", value_parser = super::path(), value_hint = ValueHint::FilePath)]
        key: Option<PathBuf>,
        /// Distinguishes several texts of one key; at most 64 bytes
        #[arg(long, value_name = "TEXT", requires = "key", default_value = "", hide_default_value = true)]
        salt: String,
        /// The number of this change [default: one more than the newest that is found]
        #[arg(long, value_name = "NUMBER", requires = "key", value_parser = clap::value_parser!(i64).range(0..))]
        sequence: Option<i64>,
    },
    /// Publish a torrent under a key, and print the link that leads to whatever the key publishes last (BEP 46)
    Publish {
        /// The torrent's info-hash, or a magnet link
        #[arg(value_name = "INFOHASH", value_parser = info_hash)]
        info_hash: Id,
        /// Sign it with the key in this file; one is made if there is none
        #[arg(long, value_name = "FILE", value_parser = super::path(), value_hint = ValueHint::FilePath)]
        key: PathBuf,
        /// Distinguishes several torrents of one key; at most 64 bytes
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        salt: String,
    },
    /// Print what is stored: a text under its hash, or the newest of a key (BEP 44)
    Get {
        /// What `put` printed: 40 hexadecimal digits of a text, 64 of a public key
        #[arg(value_name = "TARGET", value_parser = target)]
        target: Target,
        /// Which of the key's texts
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        salt: String,
    },
}

/// Where an item is found.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// Under its hash.
    Hash(Id),
    /// Under its owner's public key.
    Key([u8; 32]),
}

/// How the network is joined. These are keys of the configuration file as well, as those of `get`.
#[derive(Debug, Args)]
pub(crate) struct DhtOptions {
    /// Use this UDP port; 0 lets the system choose
    #[arg(short, long, value_name = "PORT", default_value_t = 0, global = true)]
    #[arg(env = "QUELEA_PORT", hide_env = true, help_heading = "Options")]
    pub(crate) port: u16,

    /// Talk from this local address; repeatable
    #[arg(
        long,
        value_name = "ADDR",
        env = "QUELEA_BIND",
        hide_env = true,
        value_delimiter = ' ',
        global = true
    )]
    #[arg(help_heading = "Options", value_parser = super::discovery::local_address)]
    pub(crate) bind: Vec<IpAddr>,

    /// Join by this node, instead of by the public ones; repeatable
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "QUELEA_DHT_BOOTSTRAP",
        hide_env = true,
        value_delimiter = ' '
    )]
    #[arg(help_heading = "Options", value_parser = node, global = true)]
    pub(crate) dht_bootstrap: Vec<String>,

    /// Remember nodes here, instead of in ~/.local/state/quelea; the word none remembers nothing
    #[arg(long, value_name = "DIR", env = "QUELEA_STATE_DIR", hide_env = true, value_parser = super::path(), value_hint = ValueHint::DirPath)]
    #[arg(help_heading = "Options", global = true)]
    pub(crate) state_dir: Option<PathBuf>,

    /// Print JSON, for programs
    #[arg(long, env = "QUELEA_JSON", hide_env = true, value_parser = BoolishValueParser::new(), global = true)]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(
        default_value = "no",
        default_missing_value = "yes",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Options"
    )]
    pub(crate) json: bool,

    /// Take options from this file, instead of ~/.config/quelea/config.toml
    #[arg(long, value_name = "FILE", env = "QUELEA_CONFIG", hide_env = true, value_parser = super::path(), value_hint = ValueHint::FilePath)]
    #[arg(help_heading = "Options", global = true)]
    pub(crate) config: Option<PathBuf>,
}

/// Checks where a node is said to be.
pub(crate) fn node(text: &str) -> Result<String, String> {
    match Address::parse(text) {
        Some(address) => Ok(address.to_string()),
        None => Err("not of the form HOST:PORT".to_owned()),
    }
}

fn info_hash(text: &str) -> Result<Id, String> {
    let magnet: Magnet = text.parse().map_err(|_| "neither an info-hash nor a magnet link".to_owned())?;
    Ok(Id(magnet.hashes.wire()))
}

fn target(text: &str) -> Result<Target, String> {
    let wrong = || "neither 40 nor 64 hexadecimal digits".to_owned();
    if let Some(bytes) = hex::<20>(text) {
        return Ok(Target::Hash(Id(bytes)));
    }
    hex::<32>(text).map(Target::Key).ok_or_else(wrong)
}

/// The bytes that hexadecimal digits stand for, if they are that many.
pub(crate) fn hex<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    let digits: Vec<u8> =
        text.chars().map(|char| char.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    if digits.len() != 2 * LENGTH {
        return None;
    }
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_keys_and_nodes_are_read_or_refused() {
        let digits = "0123456789abcdefABCDEF0123456789abcdef01";
        assert_eq!(info_hash(digits).unwrap().to_string(), digits.to_lowercase());
        assert!(info_hash("0123").is_err());
        assert!(matches!(target(digits), Ok(Target::Hash(_))));
        assert!(matches!(target(&"0".repeat(64)), Ok(Target::Key(_))));
        assert!(target(&"0".repeat(41)).is_err() && target("é").is_err());
        assert_eq!(node("[::1]:6881").unwrap(), "[::1]:6881");
        assert!(node("router.example").is_err() && node(":1").is_err() && node("a:0").is_err());
    }
}
