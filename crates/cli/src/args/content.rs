//! Options of the commands that make torrents of files and compare files with torrents.

use super::{Discovery, Web, path, source_parser};
use crate::source::Source;
use clap::{Args, ValueHint};
use std::path::PathBuf;

const CREATE_EXAMPLES: &str = "\
Examples:
  quelea create album -o album.torrent -t udp://tracker.example:6969
  quelea create film.mkv                        write film.mkv.torrent into this directory
  quelea create data --private -t https://tracker.example/announce --comment 'for us'
";

#[derive(Debug, Args)]
#[command(after_help = CREATE_EXAMPLES)]
pub(crate) struct CreateArgs {
    /// The file or folder to share
    #[arg(value_name = "PATH", value_parser = path(), value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,

    /// Write the torrent to this file, - for standard output [default: its name and .torrent, in this directory]
    #[arg(short, long, value_name = "FILE", value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,

    /// Call the torrent this, instead of by the name of PATH
    ///
    /// Whoever downloads it gets a file or folder of this name.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Replace the torrent file if there is one already
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Name this tracker (http, https or udp); repeatable
    ///
    /// Each is a tier of its own: clients that ask one after the other begin with the first. A list with commas is
    /// refused: give --tracker for each.
    #[arg(short, long, value_name = "URL", value_hint = ValueHint::Url, help_heading = "Contents")]
    pub(crate) tracker: Vec<String>,

    /// Name this web seed (http or https); repeatable
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url, help_heading = "Contents")]
    pub(crate) web_seed: Vec<String>,

    /// Let peers come from the trackers alone
    #[arg(long, help_heading = "Contents")]
    pub(crate) private: bool,

    /// Say this about the torrent
    #[arg(long, value_name = "TEXT", help_heading = "Contents")]
    pub(crate) comment: Option<String>,

    /// The bytes in a piece, a power of two: 256K, 1M [default: by size]
    ///
    /// From 16K to 256M. By default the shortest, up to 16M, that makes at most 2000 pieces.
    #[arg(long, value_name = "SIZE", value_parser = piece_length, help_heading = "Contents")]
    pub(crate) piece_length: Option<u32>,

    /// Write this date, in seconds since 1970 [default: none]
    ///
    /// Without a date the same files always give the same torrent file. The variable SOURCE_DATE_EPOCH, which
    /// reproducible builds set, counts as this option.
    #[arg(
        long,
        value_name = "SECONDS",
        env = "SOURCE_DATE_EPOCH",
        hide_env = true,
        help_heading = "Contents"
    )]
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) date: Option<i64>,

    /// Take hidden files and folders too: those whose names begin with a dot
    #[arg(long, help_heading = "Contents")]
    pub(crate) hidden: bool,

    /// Print nothing but the magnet link and errors
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The torrent: a file, an http(s) URL of one, - for standard input, or a magnet link, of which peers are asked
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = source_parser())]
    pub(crate) source: Source,

    /// The directory into which it was downloaded
    #[arg(short, long, value_name = "DIR", default_value = ".", value_parser = path(), value_hint = ValueHint::DirPath)]
    pub(crate) output_dir: PathBuf,

    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,

    /// List every file, however many there are
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) all: bool,

    /// Print nothing but errors: the exit code tells
    #[arg(short, long, conflicts_with_all = ["json", "all"])]
    pub(crate) quiet: bool,

    #[command(flatten, next_help_heading = "URLs")]
    pub(crate) web: Web,

    #[command(flatten, next_help_heading = "Magnet links")]
    pub(crate) discovery: Discovery,
}

#[derive(Debug, Args)]
pub(crate) struct MagnetArgs {
    /// A torrent file, or an http(s) URL of one; - for standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = source_parser())]
    pub(crate) source: Source,

    #[command(flatten, next_help_heading = "URLs")]
    pub(crate) web: Web,
}

/// Bytes with a binary suffix or none: `262144`, `256K`, `1 MiB`.
fn piece_length(text: &str) -> Result<u32, String> {
    let unreadable = || "not a piece length: write 256K, 1M or a number of bytes".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let factor: u32 = match &*unit {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        _ => return Err(unreadable()),
    };
    let length = number.parse::<u32>().ok().and_then(|number| number.checked_mul(factor));
    let length = length.ok_or_else(unreadable)?;
    let allowed = quelea_metainfo::MIN_NEW_PIECE_LENGTH..=quelea_metainfo::MAX_NEW_PIECE_LENGTH;
    if length.is_power_of_two() && allowed.contains(&length) {
        Ok(length)
    } else {
        Err("must be a power of two from 16K to 256M".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piece_lengths_may_have_a_unit_and_are_powers_of_two() {
        for (text, length) in
            [("16384", 16 << 10), ("256K", 256 << 10), ("1 MiB", 1 << 20), ("256m", 256 << 20)]
        {
            assert_eq!(piece_length(text), Ok(length), "{text}");
        }
        for text in
            ["", "K", "0", "16383", "8K", "3M", "512M", "1G", "-1M", "1.5M", "99999999999999M", "16KK"]
        {
            assert!(piece_length(text).is_err(), "{text}");
        }
    }
}
