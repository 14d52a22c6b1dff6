//! How to download: the options of `get`, of which all but `--config` are keys of the configuration file too.

use super::ends::Ends;
use super::trackers::Trackers;
use super::turns::Turns;
use super::{Discovery, Web, names_parser, path};
use crate::quantity;
use crate::select;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueHint};
use quelea::NameStyle;
use std::path::PathBuf;
use std::time::Duration;

/// How to download. Each option but `--config` is a key of the configuration file too (see `config`).
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Write into this directory
    #[arg(short, long, value_name = "DIR", default_value = ".", value_parser = path(), value_hint = ValueHint::DirPath)]
    #[arg(env = "QUELEA_OUTPUT_DIR", hide_env = true, help_heading = "Files")]
    pub(crate) output_dir: PathBuf,

    /// Call new files by names that every system takes, or by those that the torrent's author gave them
    ///
    /// Portable names have no character that Windows refuses, no two that differ by case alone, and no dot or space at
    /// the end. Files that are there already are found by either name, and a download keeps the names that it began with.
    #[arg(long, value_name = "STYLE", env = "QUELEA_NAMES", hide_env = true, value_parser = names_parser())]
    #[arg(default_value = "portable", help_heading = "Files")]
    pub(crate) names: NameStyle,

    /// Only these files: numbers (1-5,7) or a pattern ('*.mkv'); repeatable
    ///
    /// Numbers are those that `quelea show` prints. A pattern without a slash is compared with the name of every
    /// file and folder, one with a slash with the whole path; a folder stands for everything in it. A file is
    /// downloaded when any of the given numbers or patterns selects it. Of several torrents each is asked.
    #[arg(long, value_name = "FILES", env = "QUELEA_SELECT", hide_env = true)]
    #[arg(help_heading = "Files")]
    pub(crate) select: Vec<String>,

    /// How much files are wanted, from 7 (first) to 1, 0 not at all, 4 is the default: '*.txt=7'; repeatable
    ///
    /// Files are named by number or pattern as for --select; where several fit a file, the last one counts. Files
    /// of a higher priority come first. With --select only selected files come, whatever their priority.
    #[arg(long, value_name = "FILES=N", env = "QUELEA_PRIORITY", hide_env = true)]
    #[arg(help_heading = "Files", value_parser = select::priority)]
    pub(crate) priority: Vec<String>,

    /// Download in order, so that a film can be watched while it comes
    ///
    /// Without it the rarest pieces come first, which is better for everybody else.
    #[arg(long, env = "QUELEA_SEQUENTIAL", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(
        default_value = "no",
        default_missing_value = "yes",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Files"
    )]
    pub(crate) sequential: bool,

    /// Reserve the space on the disk first
    ///
    /// Without it files are sparse: they grow as pieces arrive.
    #[arg(long, env = "QUELEA_PREALLOCATE", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(
        default_value = "no",
        default_missing_value = "yes",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Files"
    )]
    pub(crate) preallocate: bool,

    /// Overwrite files that have the names of the torrent's but are not its own, and cut longer ones
    ///
    /// Without it such a file is an error, and nothing is written. What an earlier download of the same torrent has left
    /// is its own, and so is what fits it.
    #[arg(long, env = "QUELEA_OVERWRITE", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(
        default_value = "no",
        default_missing_value = "yes",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Files"
    )]
    pub(crate) overwrite: bool,

    /// Save the torrent file here: of a magnet link, what peers say the torrent is
    ///
    /// A directory gets a file named like each torrent. A file that is there is kept if it is the same torrent's, and
    /// is an error if not.
    #[arg(long, value_name = "FILE", env = "QUELEA_SAVE_TORRENT", hide_env = true, value_parser = path(), value_hint = ValueHint::FilePath)]
    #[arg(help_heading = "Files")]
    pub(crate) save_torrent: Option<PathBuf>,

    /// Remember here which pieces are good, instead of in ~/.local/state/quelea
    ///
    /// So a download that was stopped goes on without checking all that is there; only files that changed since
    /// are checked. The word none remembers nothing.
    #[arg(long, value_name = "DIR", env = "QUELEA_STATE_DIR", hide_env = true, value_parser = path(), value_hint = ValueHint::DirPath)]
    #[arg(help_heading = "Files")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Go on uploading when complete, until Ctrl-C
    #[arg(long, env = "QUELEA_SEED", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(
        default_value = "no",
        default_missing_value = "yes",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Seeding"
    )]
    pub(crate) seed: bool,

    /// Go on uploading until this many bytes were sent for each byte there is: 1.5
    ///
    /// With --seed-time, whatever comes first. The program ends when every torrent has got there, or at Ctrl-C.
    #[arg(long, value_name = "RATIO", env = "QUELEA_SEED_RATIO", hide_env = true, value_parser = quantity::ratio)]
    #[arg(help_heading = "Seeding")]
    pub(crate) seed_ratio: Option<f64>,

    /// Go on uploading for this long when complete: 45m, 12h, 1d 6h
    #[arg(long, value_name = "TIME", env = "QUELEA_SEED_TIME", hide_env = true, value_parser = quantity::span)]
    #[arg(help_heading = "Seeding")]
    pub(crate) seed_time: Option<Duration>,

    /// Show each peer a piece at a time while seeding, as the only seed of a new torrent
    ///
    /// So little more than one copy has to be sent before the others have everything together. With other seeds there
    /// it is a hindrance. It implies --seed.
    #[arg(long, env = "QUELEA_SUPER_SEED", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(
        default_value = "no",
        default_missing_value = "yes",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Seeding"
    )]
    pub(crate) super_seed: bool,

    #[command(flatten)]
    pub(crate) ends: Ends,

    #[command(flatten)]
    pub(crate) turns: Turns,

    /// Receive at most this many bytes a second: 500K, 2.5M; 0 for no limit
    ///
    /// All torrents together. Peers share it evenly.
    #[arg(long, value_name = "RATE", value_parser = quantity::rate, default_value = "0", hide_default_value = true)]
    #[arg(env = "QUELEA_MAX_DOWNLOAD", hide_env = true, help_heading = "Limits")]
    pub(crate) max_download: quantity::Rate,

    /// Send at most this many bytes a second: 500K, 2.5M; 0 for no limit
    ///
    /// All torrents together. Peers share it evenly.
    #[arg(long, value_name = "RATE", value_parser = quantity::rate, default_value = "0", hide_default_value = true)]
    #[arg(env = "QUELEA_MAX_UPLOAD", hide_env = true, help_heading = "Limits")]
    pub(crate) max_upload: quantity::Rate,

    /// Take at most this much memory: 64M, 1G
    ///
    /// All of the program counts: 16M of this are kept for the program itself, the rest is for what arrives. A piece
    /// stays in memory from its first byte until it is verified and written. Every torrent may have two pieces under
    /// way, however long they are.
    #[arg(long, value_name = "SIZE", default_value = "80M", value_parser = quantity::memory)]
    #[arg(env = "QUELEA_MAX_MEMORY", hide_env = true, help_heading = "Limits")]
    pub(crate) max_memory: u64,

    /// Listen on this port; 0 lets the system choose
    ///
    /// Where the port is taken, the next free one of the following ten is used.
    #[arg(short, long, value_name = "PORT", default_value_t = quelea::Settings::DEFAULT_PORT)]
    #[arg(env = "QUELEA_PORT", hide_env = true, help_heading = "Peers")]
    pub(crate) port: u16,

    /// Do not ask the router to forward the port
    ///
    /// Without it the port is forwarded where the router can (PCP, NAT-PMP or UPnP) and opened in its firewall for IPv6
    /// (PCP), so that peers can connect to this machine, and given back at the end. With -v it is told what came of it.
    #[arg(long, env = "QUELEA_NO_PORT_MAP", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(
        default_value = "no",
        default_missing_value = "yes",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Peers"
    )]
    pub(crate) no_port_map: bool,

    #[command(flatten, next_help_heading = "URLs")]
    pub(crate) web: Web,

    #[command(flatten, next_help_heading = "Peers")]
    pub(crate) discovery: Discovery,

    /// Connect to at most this many peers of a torrent
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..))]
    #[arg(env = "QUELEA_MAX_PEERS", hide_env = true, help_heading = "Peers")]
    pub(crate) max_peers: u16,

    #[command(flatten)]
    pub(crate) trackers: Trackers,

    /// Print JSON on standard output, an object a line, for programs
    #[arg(long, env = "QUELEA_JSON", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(
        default_value = "no",
        default_missing_value = "yes",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Output"
    )]
    pub(crate) json: bool,

    /// Print nothing but errors, whatever -v says
    #[arg(short, long, env = "QUELEA_QUIET", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(
        default_value = "no",
        default_missing_value = "yes",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Output"
    )]
    pub(crate) quiet: bool,

    /// Tell more about what happens; -vv and -vvv tell even more
    #[arg(short, long, env = "QUELEA_VERBOSE", hide_env = true)]
    #[arg(action = ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,

    /// Add the log to this file
    ///
    /// What is told on the screen goes there too, and at least as much as -v would show; -vv and -vvv add to it.
    #[arg(long, value_name = "FILE", env = "QUELEA_LOG_FILE", hide_env = true, value_parser = path(), value_hint = ValueHint::FilePath)]
    #[arg(help_heading = "Output")]
    pub(crate) log_file: Option<PathBuf>,

    /// Take options from this file, instead of ~/.config/quelea/config.toml
    #[arg(long, value_name = "FILE", env = "QUELEA_CONFIG", hide_env = true, value_parser = path(), value_hint = ValueHint::FilePath)]
    #[arg(help_heading = "Configuration")]
    pub(crate) config: Option<PathBuf>,
}

impl Options {
    /// Whether to go on when everything is there.
    pub(crate) fn seeds(&self) -> bool {
        self.seed || self.super_seed || self.seed_ratio.is_some() || self.seed_time.is_some()
    }
}
