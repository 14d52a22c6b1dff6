//! The command line, described once: help, completions, manual pages, environment variables and the keys of the
//! configuration file all come from here.

mod content;
mod dht;
mod discovery;

pub(crate) use content::{CreateArgs, MagnetArgs, VerifyArgs};
pub(crate) use dht::{DhtAction, DhtArgs, Target as DhtTarget, hex};
pub(crate) use discovery::{Discovery, join_by};

use crate::exit;
use crate::quantity;
use crate::select;
use crate::source::Source;
use clap::builder::{BoolishValueParser, OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueHint};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  quelea debian.torrent                         download into this directory
  quelea https://example.org/debian.torrent     fetch the torrent file first
  quelea debian.torrent -o ~/Downloads --seed   go on uploading when complete
  quelea 'magnet:?xt=urn:btih:…'                ask peers what the torrent is
  quelea show debian.torrent                    what is in it, with file numbers
  quelea album.torrent --select 1-5,9           some files by number
  quelea album.torrent --select '*.flac'        some files by name
  quelea film.torrent --sequential              in order, to watch it meanwhile
";

const ENVIRONMENT: &str = "\
Environment:
  Every option of get can be set by a variable: QUELEA_ and its long name, as in
  QUELEA_OUTPUT_DIR=~/Downloads or QUELEA_SEED=yes; QUELEA_BIND, QUELEA_PEER and
  QUELEA_DHT_BOOTSTRAP take a list with spaces between. QUELEA_LOG takes a log filter (such as
  quelea_tracker=trace) in place of -v. NO_COLOR is respected.
";

const FILES: &str = "\
Configuration:
  The same options can stand in ~/.config/quelea/config.toml, by their long names:
  max-peers = 100, seed = true, bind = [\"192.0.2.7\"]. The command line wins over
  the environment, that over the file. quelea config prints what is in force, and
  where it comes from; a switch is turned off again by --seed=no.
";

fn after_help() -> String {
    format!("{EXAMPLES}\nExit codes, environment and more: quelea --help")
}

fn after_long_help() -> String {
    format!(
        "{EXAMPLES}\n{ENVIRONMENT}\n{FILES}\nExit codes:\n{}\n\
         A torrent file named like a command is written with its folder: quelea ./show",
        exit::table()
    )
}

/// What a manual page says after the options: of the `whole` program, or of one command.
pub(crate) fn sections(whole: bool) -> Vec<(&'static str, String)> {
    // The first line of each is its title in the help.
    let body = |text: &str| text.split_once('\n').map(|(_, body)| body.to_owned()).unwrap_or_default();
    let mut sections = Vec::new();
    if whole {
        sections.push(("ENVIRONMENT", body(ENVIRONMENT)));
        sections.push(("CONFIGURATION", body(FILES)));
    }
    sections.push(("EXIT STATUS", exit::table()));
    if whole {
        sections.push(("EXAMPLES", body(EXAMPLES)));
    }
    sections
}

/// A fast and careful BitTorrent client.
///
/// Downloads torrents and ends when they are complete. What is there already is checked and kept, so running the
/// same command again goes on where it stopped.
#[derive(Debug, Parser)]
#[command(
    name = "quelea",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    override_usage = "quelea [OPTIONS] FILE...\n       quelea COMMAND …",
    subcommand_value_name = "COMMAND",
    after_help = after_help(),
    after_long_help = after_long_help(),
    max_term_width = 100
)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) get: GetArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Download torrents (the command may be left out)
    #[command(override_usage = "quelea [get] [OPTIONS] FILE...", after_long_help = EXAMPLES)]
    Get(GetArgs),
    /// Show what a torrent file or magnet link says
    Show(ShowArgs),
    /// Make a torrent file of a file or a folder
    Create(CreateArgs),
    /// Check which pieces and files of a torrent are good
    ///
    /// Changes nothing. The exit code is 0 when all is good and 6 when anything is missing or damaged.
    Verify(VerifyArgs),
    /// Print the magnet link of a torrent file
    Magnet(MagnetArgs),
    /// Look into the DHT: who shares a torrent, and items that nodes store for others
    Dht(DhtArgs),
    /// Print a bencoded file as JSON
    ///
    /// Every value names its type, and strings are in hexadecimal, so that nothing is lost:
    /// {"i": "-3"}, {"s": "666f6f"}, {"l": [values]}, {"d": [["key", value]]}.
    Bencode(BencodeArgs),
    /// Print the options in force and where each comes from
    ///
    /// What is printed can be saved as a configuration file. Options may be given as for a download.
    Config(ConfigArgs),
    /// Look whether this machine is ready to download, and say what to do if not
    ///
    /// Looks at the port, IPv4 and IPv6, the clock, the limit of open files, the directories and the certificates.
    /// Nothing is sent anywhere, unless --port-map asks for it. Options may be given as for a download. The exit code is 1 if something is bad.
    Doctor(DoctorArgs),
    /// Print completions for a shell
    ///
    /// For example: quelea completions bash > ~/.local/share/bash-completion/completions/quelea
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands into a directory
    Man(ManArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The torrents: files, http(s) URLs of them, or magnet links
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath, value_parser = source_parser())]
    sources: Vec<Source>,

    #[command(flatten)]
    pub(crate) options: Options,
}

impl GetArgs {
    /// What to download. The parser asks for it, so it is missing only beside another command.
    pub(crate) fn sources(&self) -> anyhow::Result<&[Source]> {
        if self.sources.is_empty() {
            return Err(exit::Status::Usage.because("no torrent is given: see quelea --help"));
        }
        let described = CommandLine::command();
        let is_command = |source: &&Source| {
            matches!(source, Source::File(path)
                if path.to_str().is_some_and(|name| described.find_subcommand(name).is_some()))
        };
        if let Some(command) = self.sources.iter().find(is_command) {
            return Err(exit::Status::Usage.because(format!(
                "{command} is a command and comes first: quelea {command} [OPTIONS]; a file of this name is \
                 written ./{command}"
            )));
        }
        Ok(&self.sources)
    }
}

/// How to download. Each option but `--config` is a key of the configuration file too (see `config`).
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Write into this directory
    #[arg(short, long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    #[arg(env = "QUELEA_OUTPUT_DIR", hide_env = true, help_heading = "Files")]
    pub(crate) output_dir: PathBuf,

    /// Remember here which pieces are good, instead of in ~/.local/state/quelea
    ///
    /// So a download that was stopped goes on without checking all that is there; only files that changed since
    /// are checked. The word none remembers nothing.
    #[arg(long, value_name = "DIR", env = "QUELEA_STATE_DIR", hide_env = true, value_hint = ValueHint::DirPath)]
    #[arg(help_heading = "Files")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Only these files: numbers (1-5,7) or a pattern ('*.mkv'); repeatable
    ///
    /// Numbers are those that `quelea show` prints. A pattern without a slash is compared with the name of every
    /// file and folder, one with a slash with the whole path; a folder stands for everything in it. A file is
    /// downloaded when any of the given numbers or patterns selects it. Of several torrents each is asked.
    #[arg(long, value_name = "FILES", env = "QUELEA_SELECT", hide_env = true)]
    #[arg(help_heading = "Files")]
    pub(crate) select: Vec<String>,

    /// How much files are wanted, from 7 (first) to 1, 0 not at all, 4 is usual: '*.txt=7'; repeatable
    ///
    /// Files are named by number or pattern as for --select; where several fit a file, the last one counts. Files
    /// of a higher priority come first. With --select only selected files come, whatever their priority.
    #[arg(long, value_name = "FILES=N", env = "QUELEA_PRIORITY", hide_env = true)]
    #[arg(help_heading = "Files", value_parser = select::priority)]
    pub(crate) priority: Vec<String>,

    /// Save the torrent file here: of a magnet link, what peers say the torrent is
    ///
    /// A directory gets a file named like each torrent. A file that is there is kept if it is the same torrent's, and
    /// is an error if not.
    #[arg(long, value_name = "FILE", env = "QUELEA_SAVE_TORRENT", hide_env = true, value_hint = ValueHint::FilePath)]
    #[arg(help_heading = "Files")]
    pub(crate) save_torrent: Option<PathBuf>,

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

    /// Go on uploading when complete, until Ctrl-C
    #[arg(long, env = "QUELEA_SEED", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(
        default_value = "no",
        default_missing_value = "yes",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Peers"
    )]
    pub(crate) seed: bool,

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
        help_heading = "Peers"
    )]
    pub(crate) super_seed: bool,

    /// Go on uploading until this many bytes were sent for each byte there is: 1.5
    ///
    /// With --seed-time, whatever comes first. The program ends when every torrent has got there, or at Ctrl-C.
    #[arg(long, value_name = "RATIO", env = "QUELEA_SEED_RATIO", hide_env = true, value_parser = quantity::ratio)]
    #[arg(help_heading = "Peers")]
    pub(crate) seed_ratio: Option<f64>,

    /// Go on uploading for this long when complete: 45m, 12h, 1d 6h
    #[arg(long, value_name = "TIME", env = "QUELEA_SEED_TIME", hide_env = true, value_parser = quantity::span)]
    #[arg(help_heading = "Peers")]
    pub(crate) seed_time: Option<Duration>,

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

    #[command(flatten, next_help_heading = "Peers")]
    pub(crate) discovery: Discovery,

    /// Connect to at most this many peers of a torrent
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..))]
    #[arg(env = "QUELEA_MAX_PEERS", hide_env = true, help_heading = "Peers")]
    pub(crate) max_peers: u16,

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
    #[arg(long, value_name = "FILE", env = "QUELEA_LOG_FILE", hide_env = true, value_hint = ValueHint::FilePath)]
    #[arg(help_heading = "Output")]
    pub(crate) log_file: Option<PathBuf>,

    /// Take options from this file, instead of ~/.config/quelea/config.toml
    #[arg(long, value_name = "FILE", env = "QUELEA_CONFIG", hide_env = true, value_hint = ValueHint::FilePath)]
    #[arg(help_heading = "Configuration")]
    pub(crate) config: Option<PathBuf>,
}

impl Options {
    /// Whether to go on when everything is there.
    pub(crate) fn seeds(&self) -> bool {
        self.seed || self.super_seed || self.seed_ratio.is_some() || self.seed_time.is_some()
    }
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// A torrent file, an http(s) URL of one, or a magnet link
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = source_parser())]
    pub(crate) source: Source,

    /// Print JSON, for programs
    ///
    /// Paths are relative to the download directory, as they would be written there.
    #[arg(long)]
    pub(crate) json: bool,

    /// List every file, however many there are
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) all: bool,

    /// Ask peers what the torrent of a magnet link is, and show that
    ///
    /// Without it nobody is asked, and what the link itself says is shown.
    #[arg(long)]
    pub(crate) fetch: bool,

    #[command(flatten, next_help_heading = "Magnet links")]
    pub(crate) discovery: Discovery,
}

#[derive(Debug, Args)]
pub(crate) struct BencodeArgs {
    /// A file of one bencoded value
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Ask the router to forward the port too, and give it back: the only check that sends anything
    #[arg(long)]
    pub(crate) port_map: bool,

    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write quelea.1, quelea-get.1 and so on into this directory
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

fn source_parser() -> impl TypedValueParser<Value = Source> {
    OsStringValueParser::new().map(Source::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<CommandLine, clap::Error> {
        CommandLine::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_description_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn the_word_get_may_be_left_out() {
        let short = parse("quelea --seed a.torrent -p 0 --select 1 --select *.txt").unwrap();
        let long = parse("quelea get --seed a.torrent -p 0 --select 1 --select *.txt").unwrap();
        let Some(Command::Get(long)) = long.command else { panic!("{long:?}") };
        assert!(short.command.is_none());
        assert_eq!(format!("{:?}", short.get), format!("{long:?}"));
        assert_eq!(long.options.select, ["1", "*.txt"]);
    }

    #[test]
    fn every_option_has_its_variable() {
        for option in CommandLine::command().get_arguments() {
            let Some(long) = option.get_long().filter(|long| !["help", "version"].contains(long)) else {
                continue;
            };
            let variable = format!("QUELEA_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(option.get_env(), Some(std::ffi::OsStr::new(&variable)), "--{long}");
        }
    }

    #[test]
    fn a_switch_can_be_turned_off_and_takes_no_word_beside_it() {
        let line = parse("quelea --seed=no -qv --preallocate a.torrent").unwrap().get;
        let Options { seed, quiet, verbose, preallocate, .. } = line.options;
        assert_eq!((seed, quiet, verbose, preallocate), (false, true, 1, true));
        assert_eq!(line.sources.len(), 1);
    }

    #[test]
    fn a_goal_for_seeding_implies_seeding() {
        assert!(parse("quelea a.torrent --seed-ratio 1.5").unwrap().get.options.seeds());
        assert!(parse("quelea a.torrent --super-seed").unwrap().get.options.seeds());
        assert!(parse("quelea a.torrent --seed-time 2h").unwrap().get.options.seeds());
        assert!(!parse("quelea a.torrent").unwrap().get.options.seeds());
    }

    #[test]
    fn a_command_behind_an_option_is_not_taken_for_a_file() {
        let line = parse("quelea --seed show a.torrent").unwrap().get;
        let told = line.sources().unwrap_err().to_string();
        assert!(told.starts_with("show is a command and comes first"), "{told}");
        assert_eq!(parse("quelea --seed ./show a.torrent").unwrap().get.sources().unwrap().len(), 2);
    }

    #[test]
    fn a_command_wins_over_a_file_of_its_name() {
        assert!(matches!(parse("quelea show x").unwrap().command, Some(Command::Show(_))));
        assert!(parse("quelea ./show").unwrap().command.is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "quelea",
            "quelea get",
            "quelea --seed",
            "quelea a.torrent --bind eth0",
            "quelea a.torrent --peer 127.0.0.1",
            "quelea a.torrent --dht-bootstrap router.example",
            "quelea a.torrent --max-peers 0",
            "quelea a.torrent -p 65536",
            "quelea a.torrent --seed-ratio -1",
            "quelea a.torrent --seed-time soon",
            "quelea a.torrent --max-memory 1",
            "quelea completions nosuchshell",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
