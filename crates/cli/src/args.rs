//! The command line, described once: help, completions and environment variables all come from here.

mod content;

pub(crate) use content::{CreateArgs, MagnetArgs, VerifyArgs};

use crate::exit;
use crate::source::Source;
use clap::builder::{BoolishValueParser, OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueHint};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  quelea debian.torrent                         download into this directory
  quelea https://example.org/debian.torrent     fetch the torrent file first
  quelea debian.torrent -o ~/Downloads --seed   go on uploading when complete
  quelea show debian.torrent                    what is in it, with file numbers
  quelea album.torrent --select 1-5,9           some files by number
  quelea album.torrent --select '*.flac'        some files by name
";

const ENVIRONMENT: &str = "\
Environment:
  Every option of get can be set by a variable: QUELEA_ and its long name, as in
  QUELEA_OUTPUT_DIR=~/Downloads or QUELEA_SEED=yes; QUELEA_BIND and QUELEA_PEER
  take a list with spaces between. The command line wins. QUELEA_LOG takes a log
  filter (such as quelea_tracker=trace) in place of -v. NO_COLOR is respected.
";

fn after_help() -> String {
    format!("{EXAMPLES}\nExit codes, environment and more: quelea --help")
}

fn after_long_help() -> String {
    format!(
        "{EXAMPLES}\n{ENVIRONMENT}\nExit codes:\n{}\n\
         A torrent file named like a command is written with its folder: quelea ./show",
        exit::table()
    )
}

/// A fast and careful BitTorrent client.
///
/// Downloads a torrent and ends when it is complete. What is there already is checked and kept, so running the
/// same command again goes on where it stopped.
#[derive(Debug, Parser)]
#[command(
    name = "quelea",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    override_usage = "quelea [OPTIONS] FILE\n       quelea COMMAND …",
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
    /// Download a torrent (the command may be left out)
    #[command(override_usage = "quelea [get] [OPTIONS] FILE", after_long_help = EXAMPLES)]
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
    /// Print a bencoded file as JSON
    ///
    /// Every value names its type, and strings are in hexadecimal, so that nothing is lost:
    /// {"i": "-3"}, {"s": "666f6f"}, {"l": [values]}, {"d": [["key", value]]}.
    Bencode(BencodeArgs),
    /// Print completions for a shell
    ///
    /// For example: quelea completions bash > ~/.local/share/bash-completion/completions/quelea
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The torrent: a file, or an http(s) URL of one
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath, value_parser = source_parser())]
    source: Option<Source>,

    /// Write into this directory
    #[arg(short, long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    #[arg(env = "QUELEA_OUTPUT_DIR", hide_env = true, help_heading = "Files")]
    pub(crate) output_dir: PathBuf,

    /// Only these files: numbers (1-5,7) or a pattern ('*.mkv'); repeatable
    ///
    /// Numbers are those that `quelea show` prints. A pattern without a slash is compared with the name of every
    /// file and folder, one with a slash with the whole path; a folder stands for everything in it. A file is
    /// downloaded when any of the given numbers or patterns selects it.
    #[arg(long, value_name = "FILES", env = "QUELEA_SELECT", hide_env = true)]
    #[arg(help_heading = "Files")]
    pub(crate) select: Vec<String>,

    /// Reserve the space on the disk first
    ///
    /// Without it files are sparse: they grow as pieces arrive.
    #[arg(long, env = "QUELEA_PREALLOCATE", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::SetTrue, help_heading = "Files")]
    pub(crate) preallocate: bool,

    /// Go on uploading when complete, until Ctrl-C
    #[arg(long, env = "QUELEA_SEED", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::SetTrue, help_heading = "Peers")]
    pub(crate) seed: bool,

    /// Listen on this TCP port; 0 lets the system choose
    ///
    /// Where the port is taken, the next free one of the following ten is used.
    #[arg(short, long, value_name = "PORT", default_value_t = quelea::Settings::DEFAULT_PORT)]
    #[arg(env = "QUELEA_PORT", hide_env = true, help_heading = "Peers")]
    pub(crate) port: u16,

    /// Listen on and connect from this local address; repeatable
    ///
    /// Give one IPv4 and one IPv6 address to use both. A torrent's URL is fetched from it too. Names are still
    /// resolved by the system.
    #[arg(long, value_name = "ADDR", env = "QUELEA_BIND", hide_env = true, value_delimiter = ' ')]
    #[arg(help_heading = "Peers")]
    pub(crate) bind: Vec<IpAddr>,

    /// Connect to at most this many peers
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..))]
    #[arg(env = "QUELEA_MAX_PEERS", hide_env = true, help_heading = "Peers")]
    pub(crate) max_peers: u16,

    /// Connect to this peer too; repeatable
    #[arg(long, value_name = "ADDR:PORT", env = "QUELEA_PEER", hide_env = true, value_delimiter = ' ')]
    #[arg(help_heading = "Peers")]
    pub(crate) peer: Vec<SocketAddr>,

    /// Print nothing but errors, whatever -v says
    #[arg(short, long, env = "QUELEA_QUIET", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::SetTrue, help_heading = "Output")]
    pub(crate) quiet: bool,

    /// Tell more about what happens; -vv and -vvv tell even more
    #[arg(short, long, env = "QUELEA_VERBOSE", hide_env = true)]
    #[arg(action = ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,
}

impl GetArgs {
    /// What to download. The parser asks for it, so it is missing only beside another command.
    pub(crate) fn source(&self) -> anyhow::Result<&Source> {
        self.source
            .as_ref()
            .ok_or_else(|| exit::Status::Usage.because("no torrent is given: see quelea --help"))
    }
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
}

#[derive(Debug, Args)]
pub(crate) struct BencodeArgs {
    /// A file of one bencoded value
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
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
    use clap::CommandFactory;

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
        assert_eq!(long.select, ["1", "*.txt"]);
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
            "quelea a.torrent --max-peers 0",
            "quelea a.torrent -p 65536",
            "quelea --seed show a.torrent",
            "quelea completions nosuchshell",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
