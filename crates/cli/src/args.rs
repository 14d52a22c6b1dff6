//! The command line, described once: help, completions, manual pages, environment variables and the keys of the
//! configuration file all come from here.

mod content;
mod dht;
mod discovery;
mod ends;
mod known;
mod options;
mod trackers;
mod turns;
mod web;

pub(crate) use content::{CreateArgs, MagnetArgs, VerifyArgs};
pub(crate) use dht::{DhtAction, DhtArgs, Target as DhtTarget, hex};
pub(crate) use discovery::{Discovery, join_by};
pub(crate) use known::{ForgetArgs, ListArgs, ResumeArgs};
pub(crate) use options::Options;
pub(crate) use web::Web;

use crate::display;
use crate::exit;
use crate::home;
use crate::source::Source;
use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Args, CommandFactory, Parser, Subcommand, ValueHint};
use quelea::NameStyle;
use std::path::{Path, PathBuf};

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
  QUELEA_OUTPUT_DIR=~/Downloads or QUELEA_SEED=yes; QUELEA_BIND, QUELEA_PEER,
  QUELEA_DHT_BOOTSTRAP, QUELEA_ADD_TRACKER and QUELEA_EXCLUDE_TRACKER take a list with
  spaces between. QUELEA_LOG takes a log filter (such as quelea_tracker=trace) in place of
  -v. NO_COLOR is respected.
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
    /// Resume every torrent that was begun and is not complete
    ///
    /// Each goes on in its directory, with the files that were wanted of it. Options are those of a download.
    Resume(ResumeArgs),
    /// List the torrents that were begun here, and how much of each is complete
    List(ListArgs),
    /// Forget torrents, so that they are neither listed nor resumed; their files stay
    Forget(ForgetArgs),
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
    /// What is printed can be saved as a configuration file. The options of a download may be given too, and are shown
    /// as in force.
    Config(ConfigArgs),
    /// Check that this machine is ready to download, and suggest fixes
    ///
    /// Checks the port, IPv4 and IPv6, the clock, the limit of open files, the directories and the certificates. Nothing
    /// is sent anywhere, unless --port-map asks for it. The other options of a download may be given too, and change
    /// nothing here. The exit code is 1 if something is bad.
    Doctor(DoctorArgs),
    /// Print completions for a shell
    ///
    /// For example: quelea completions bash > ~/.local/share/bash-completion/completions/quelea
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands into a directory
    Man(ManArgs),
}

#[derive(Debug, Args)]
#[command(mut_args(brief))]
pub(crate) struct GetArgs {
    /// The torrents: files, http(s) URLs of them, magnet links or info-hashes; - for standard input
    ///
    /// A file may be compressed (gzip), or hold a magnet link.
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath, value_parser = source_parser())]
    sources: Vec<Source>,

    #[command(flatten)]
    pub(crate) options: Options,
}

impl GetArgs {
    /// What to download. The parser asks for it, so it is missing only beside another command.
    ///
    /// # Errors
    /// A word that is no file and can only be meant for a command, and standard input given twice.
    pub(crate) fn sources(&self) -> anyhow::Result<&[Source]> {
        let usage = |message: String| Err(exit::Status::Usage.because(message));
        if self.sources.is_empty() {
            return usage("no torrent is given: see quelea --help".to_owned());
        }
        let described = CommandLine::command();
        for (at, source) in self.sources.iter().enumerate() {
            let Source::File(path) = source else { continue };
            let Some(word) = bare_word(path) else { continue };
            let shown = display::clean(word);
            if described.find_subcommand(word).is_some() {
                return usage(format!(
                    "{shown} is a command and comes first: quelea {shown} [OPTIONS]; a file of this name is \
                     written ./{shown}"
                ));
            }
            if path.symlink_metadata().is_ok() {
                continue;
            }
            if let Some(command) = similar_command(word, &described) {
                return usage(format!(
                    "{shown} is neither a file nor a command; did you mean quelea {command}? (see quelea --help)"
                ));
            }
            if at == 0 && self.sources.len() > 1 {
                return usage(format!("{shown} is neither a file nor a command: see quelea --help"));
            }
        }
        if self.sources.iter().filter(|source| **source == Source::Stdin).count() > 1 {
            return usage("standard input (-) can be read once, and is given twice".to_owned());
        }
        Ok(&self.sources)
    }
}

/// The word that could be a command's name: a path without folders and without an extension.
fn bare_word(path: &Path) -> Option<&str> {
    let word = path.to_str().filter(|_| path.extension().is_none())?;
    (path.file_name()?.to_str()? == word).then_some(word)
}

/// The command that a word may be meant for, by the parser's own measure.
fn similar_command(word: &str, described: &clap::Command) -> Option<String> {
    let commands = clap::Command::new("quelea")
        .no_binary_name(true)
        .subcommand_required(true)
        .subcommands(described.get_subcommands().cloned());
    let error = commands.try_get_matches_from([word]).err()?;
    let suggested = error.get(ContextKind::SuggestedSubcommand)?;
    if let ContextValue::Strings(commands) = suggested { commands.last().cloned() } else { None }
}

/// Options that the short help (`-h`) shows; `--help` has all.
const BRIEF: [&str; 17] = [
    "sources",
    "output_dir",
    "select",
    "save_torrent",
    "seed",
    "seed_ratio",
    "seed_time",
    "max_download",
    "max_upload",
    "port",
    "bind",
    "peer",
    "json",
    "quiet",
    "verbose",
    "help",
    "version",
];
/// Options that `doctor` looks at, beside its own.
const EXAMINED: [&str; 9] =
    ["output_dir", "state_dir", "port", "no_port_map", "bind", "no_dht", "max_peers", "json", "config"];
/// Options that `config` heeds beside printing them.
const CONFIG: [&str; 2] = ["json", "config"];

fn brief(option: Arg) -> Arg {
    let shown = BRIEF.contains(&option.get_id().as_str());
    option.hide_short_help(!shown)
}

fn examined(option: Arg) -> Arg {
    let shown = EXAMINED.contains(&option.get_id().as_str()) || option.get_id() == "port_map";
    option.hide(!shown)
}

fn printed(option: Arg) -> Arg {
    let shown = CONFIG.contains(&option.get_id().as_str());
    option.hide(!shown)
}

#[derive(Debug, Args)]
#[command(mut_args(printed))]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// A torrent file, an http(s) URL of one, a magnet link or an info-hash; - for standard input
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

    /// Show portable names, or those that the torrent's author gave, as get --names would write them
    #[arg(long, value_name = "STYLE", env = "QUELEA_NAMES", hide_env = true, value_parser = names_parser())]
    #[arg(default_value = "portable")]
    pub(crate) names: NameStyle,

    /// Ask peers what the torrent of a magnet link is, and show that
    ///
    /// Without it nobody is asked, and what the link itself says is shown.
    #[arg(long)]
    pub(crate) fetch: bool,

    #[command(flatten, next_help_heading = "URLs")]
    pub(crate) web: Web,

    #[command(flatten, next_help_heading = "Magnet links")]
    pub(crate) discovery: Discovery,
}

fn names_parser() -> impl TypedValueParser<Value = NameStyle> {
    PossibleValuesParser::new(["portable", "native"]).map(|style| match &*style {
        "native" => NameStyle::Native,
        _ => NameStyle::Portable,
    })
}

#[derive(Debug, Args)]
pub(crate) struct BencodeArgs {
    /// A file of one bencoded value; - for standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
#[command(mut_args(examined))]
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

/// Reads a path, of which a leading `~/` is the home directory.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(home::expand)
}

fn source_parser() -> impl TypedValueParser<Value = Source> {
    OsStringValueParser::new().try_map(Source::parse)
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
    fn a_word_that_is_no_file_is_not_downloaded_in_place_of_a_command() {
        let told = |line: &str| parse(line).unwrap().get.sources().unwrap_err().to_string();
        for (line, command) in [
            ("quelea shwo x.torrent", "show"),
            ("quelea --seed crate x", "create"),
            ("quelea x.torrent verfy", "verify"),
            ("quelea Show x.torrent", "show"),
        ] {
            assert!(told(line).contains(&format!("did you mean quelea {command}?")), "{}", told(line));
        }
        assert_eq!(
            told("quelea nosuch x.torrent"),
            "nosuch is neither a file nor a command: see quelea --help"
        );
        assert!(told("quelea - -").contains("given twice"));
        for line in ["quelea album", "quelea ./shwo x", "quelea shwo.torrent", "quelea - x"] {
            assert!(parse(line).unwrap().get.sources().is_ok(), "{line}");
        }
    }

    #[test]
    fn a_file_that_is_there_is_no_mistyped_command() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shwo");
        std::fs::write(&file, b"").unwrap();
        let line = CommandLine::try_parse_from(["quelea".as_ref(), file.as_os_str()]).unwrap();
        assert!(line.get.sources().is_ok());
    }

    #[test]
    fn doctor_and_config_show_only_options_that_do_something_there() {
        let mut described = CommandLine::command();
        described.build();
        let shown = |command: &str| -> Vec<String> {
            let command = described.find_subcommand(command).unwrap();
            let shown = command.get_arguments().filter(|option| !option.is_hide_set());
            shown.filter_map(|option| option.get_long().map(str::to_owned)).collect()
        };
        assert_eq!(shown("config"), ["json", "config", "help"]);
        assert!(shown("doctor").contains(&"port-map".to_owned()));
        assert!(!shown("doctor").contains(&"select".to_owned()));
        for id in BRIEF.iter().chain(&EXAMINED).chain(&CONFIG) {
            let get = described.find_subcommand("get").unwrap();
            let known = get.get_arguments().any(|option| option.get_id() == id) || *id == "version";
            assert!(known, "{id}");
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
            "quelea a.torrent --peer localhost",
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
