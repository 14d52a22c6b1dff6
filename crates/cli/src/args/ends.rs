//! Options that say when a download ends before it is complete, and what is done when it is.

use crate::quantity;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use std::time::Duration;

/// When a download ends.
#[derive(Debug, Args)]
pub(crate) struct Ends {
    /// Give up when not everything is complete after this long: 90s, 45m, 12h
    ///
    /// The exit code is 7 then, and the same command resumes the download. What is complete by then is seeded for as long
    /// as was asked for.
    #[arg(long, value_name = "TIME", env = "QUELEA_TIMEOUT", hide_env = true, value_parser = quantity::positive_span)]
    #[arg(help_heading = "Ending")]
    pub(crate) timeout: Option<Duration>,

    /// Give up when nothing has arrived for this long: 90s, 45m, 12h
    ///
    /// Counted while there is a torrent that is not complete; of several torrents, all of these must have stalled. The
    /// exit code is 7 then, and the same command resumes the download.
    #[arg(long, value_name = "TIME", value_parser = quantity::positive_span)]
    #[arg(env = "QUELEA_STOP_IF_STALLED", hide_env = true, help_heading = "Ending")]
    pub(crate) stop_if_stalled: Option<Duration>,

    /// Hash all files once more before a torrent counts as complete
    ///
    /// Reads everything again. Each piece is verified before it is written all the same; this finds what the disk or
    /// another program did to it since.
    #[arg(long, env = "QUELEA_HASH_AGAIN", hide_env = true, value_parser = BoolishValueParser::new())]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "yes|no")]
    #[arg(
        default_value = "no",
        default_missing_value = "yes",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Ending"
    )]
    pub(crate) hash_again: bool,

    /// Run this shell command when a torrent is complete
    ///
    /// It finds the torrent in the variables QUELEA_TORRENT_NAME, QUELEA_TORRENT_PATH (its file or folder),
    /// QUELEA_TORRENT_DIR and QUELEA_TORRENT_HASH: write "$QUELEA_TORRENT_PATH", with the quotation marks. Nothing of a
    /// torrent becomes part of the command itself. What it prints goes to standard error. The program waits for it, for
    /// ten minutes at most; when it fails, that is reported and the exit code is 1.
    #[arg(long, value_name = "COMMAND", env = "QUELEA_ON_COMPLETE", hide_env = true)]
    #[arg(help_heading = "Ending")]
    pub(crate) on_complete: Option<String>,
}
