//! Options of the commands about what the state knows: `list`, `forget` and `resume`.

use super::{Options, path, source_parser};
use crate::source::Source;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueHint};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) place: StatePlace,

    /// Print JSON, for programs
    #[arg(long, env = "QUELEA_JSON", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(
        default_value = "no",
        default_missing_value = "yes",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// Which torrents: info-hashes as `quelea list` prints them, torrent files or magnet links
    #[arg(value_name = "TORRENT", required = true, value_hint = ValueHint::FilePath, value_parser = source_parser())]
    pub(crate) torrents: Vec<Source>,

    /// Only what was downloaded into this directory
    #[arg(long, value_name = "DIR", value_parser = path(), value_hint = ValueHint::DirPath)]
    pub(crate) from: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) place: StatePlace,
}

#[derive(Debug, Args)]
#[command(mut_arg("output_dir", |arg| arg.hide(true)))]
#[command(mut_arg("select", |arg| arg.hide(true)), mut_arg("priority", |arg| arg.hide(true)))]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) options: Options,
}

/// Where the state is.
#[derive(Debug, Args)]
pub(crate) struct StatePlace {
    /// Where what is remembered lies, instead of in ~/.local/state/quelea
    #[arg(long, value_name = "DIR", env = "QUELEA_STATE_DIR", hide_env = true, value_parser = path(), value_hint = ValueHint::DirPath)]
    pub(crate) state_dir: Option<PathBuf>,

    /// Take options from this file, instead of ~/.config/quelea/config.toml
    #[arg(long, value_name = "FILE", env = "QUELEA_CONFIG", hide_env = true, value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
}
