//! What a session can be told when it starts.

use crate::dht::DhtAllowance;
use crate::{AlternativeLimits, Limits, NameStyle, PortMappingSettings};
use quelea_swarm::choker::SeedChoking;
use quelea_swarm::queue::{self, Goals, Slow};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A download that moves next to nothing for a minute holds up no other one.
const SLOW: Slow = Slow { rate: 2_048, after: Duration::from_secs(60), at_most: 64 };

/// How a session behaves. [`Settings::new`] gives what suits most people; change fields before
/// [`Session::start`](crate::Session::start).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Where torrents are written that do not name a directory of their own.
    pub output_dir: PathBuf,
    /// Where torrents are written until all their wanted files are complete; then they are moved to their directory.
    /// `None`: they are written there at once.
    pub incomplete_dir: Option<PathBuf>,
    /// How files are called that are not there yet. Those that are there are found by either name, and a torrent keeps
    /// the names that it began with.
    pub names: NameStyle,
    /// The port to listen on, on every bound address; 0 lets the system choose. Where the wanted port is
    /// taken, the next free one of the following ten is used.
    pub port: u16,
    /// The local addresses to listen on and to connect from. Empty: every address, IPv4 and IPv6.
    pub bind: Vec<IpAddr>,
    /// How the gateway is asked to forward the port. `None`, the default: it is not, as a library that opens somebody's
    /// router unasked would surprise; the program `quelea` asks unless told otherwise.
    pub port_mapping: Option<PortMappingSettings>,
    /// Connected peers of one torrent, at most. Fewer where the system allows few open files.
    pub max_peers: usize,
    /// Connections of all torrents, at most, those under way included. Never more than the open files that the
    /// system allows.
    pub max_connections: usize,
    /// Connections of all torrents that are being made at a time, at most.
    pub max_half_open: usize,
    /// Connections of all torrents that are begun in a second, at most, in the long run; 0 for no bound.
    pub connects_per_second: u32,
    /// Peers of all torrents that are uploaded to at a time. Torrents have slots by what their peers want; where there
    /// are fewer slots than torrents that want one, these take turns. Peers that take nothing do not count, and a seed
    /// whose uplink idles serves more.
    pub upload_slots: usize,
    /// Peers of one torrent that are uploaded to at a time, at most.
    pub torrent_upload_slots: usize,
    /// To whom a torrent gives its slots while it seeds.
    pub seed_choking: SeedChoking,
    /// Bytes of payload that may wait in memory for their piece to become whole, be hashed and be written.
    /// A torrent always may have two pieces open, however long they are.
    pub memory: usize,
    /// Files of torrents that stay open, at most. At most a third of what the system allows the process to open
    /// when the session starts (`ulimit -n`), whatever is said here.
    pub max_open_files: usize,
    /// Where it is remembered between two sessions which pieces are good, so that a torrent goes on without
    /// hashing everything again; sessions may share it. `None`: nothing is remembered.
    pub state_dir: Option<PathBuf>,
    /// What all torrents together may receive and send.
    pub limits: Limits,
    /// Other limits at some times of the week.
    pub alternative_limits: Option<AlternativeLimits>,
    /// No limit concerns peers at private addresses.
    pub exempt_local_peers: bool,
    /// The headers of TCP and IP, as far as they can be told, count against limits.
    pub count_overhead: bool,
    /// How many torrents run at a time.
    pub queue: queue::Limits,
    /// What torrents seed for that have no goals of their own.
    pub goals: Goals,
    /// A seed that nobody wants anything of for so long rests: it announces and takes connections, and costs next
    /// to nothing until one comes.
    pub rest_after: Duration,
    /// Whether a node of the DHT runs beside, on the UDP port of the same number: public torrents find peers by it
    /// without a tracker, and it answers others. Off unless it is turned on: it talks to strangers from the first
    /// moment, which a program that uses this library should mean to.
    pub dht: bool,
    /// Nodes by which the DHT is joined while no other is known, as `HOST:PORT`.
    pub dht_bootstrap: Vec<String>,
    /// Nodes of the DHT whose ids do not fit their addresses are left aside (BEP 42) as soon as eight are known whose ids
    /// do. Fewer nodes remain. In the local network any id fits.
    pub dht_enforce_ids: bool,
    /// The node of the DHT asks and answers nobody (BEP 43): for who cannot be reached, and for short visits.
    pub dht_read_only: bool,
    /// How much the node of the DHT does for strangers.
    pub dht_allowance: DhtAllowance,
    /// Whether connected peers are told of each other, and may tell of others (BEP 11). Never in private torrents.
    pub pex: bool,
    /// Whether neighbours in the local network are told of public torrents, and heard (BEP 14). Off unless it is turned
    /// on, as the DHT is.
    pub lsd: bool,
    /// The seed of every random choice; `None` takes one from the system.
    pub random_seed: Option<u64>,
}

impl Settings {
    /// The port that is listened on unless another is named.
    pub const DEFAULT_PORT: u16 = 6881;

    /// Nodes that are kept running for others to join the DHT by.
    pub const PUBLIC_ROUTERS: [&str; 4] = [
        "router.bittorrent.com:6881",
        "dht.transmissionbt.com:6881",
        "router.utorrent.com:6881",
        "dht.libtorrent.org:25401",
    ];

    /// Usual settings, writing to `output_dir`.
    pub fn new(output_dir: impl Into<PathBuf>) -> Self {
        Self {
            output_dir: output_dir.into(),
            incomplete_dir: None,
            names: NameStyle::default(),
            port: Self::DEFAULT_PORT,
            bind: Vec::new(),
            port_mapping: None,
            max_peers: 200,
            max_connections: 1_000,
            max_half_open: 100,
            connects_per_second: 50,
            upload_slots: 32,
            torrent_upload_slots: 8,
            seed_choking: SeedChoking::default(),
            memory: 64 << 20,
            max_open_files: 128,
            state_dir: None,
            limits: Limits::NONE,
            alternative_limits: None,
            exempt_local_peers: false,
            count_overhead: false,
            queue: queue::Limits { downloads: Some(8), seeds: None, checks: 2, slow: Some(SLOW) },
            goals: Goals::default(),
            rest_after: Duration::from_secs(60),
            dht: false,
            dht_bootstrap: Self::PUBLIC_ROUTERS.map(str::to_owned).to_vec(),
            dht_enforce_ids: false,
            dht_read_only: false,
            dht_allowance: DhtAllowance::default(),
            pex: true,
            lsd: false,
            random_seed: None,
        }
    }
}
