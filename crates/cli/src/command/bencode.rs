//! `quelea bencode`: a bencoded value as JSON.

use crate::args::BencodeArgs;
use crate::display;
use crate::exit::Status;
use crate::source;
use quelea_bencode::Limits;

pub(crate) fn run(args: &BencodeArgs) -> anyhow::Result<Status> {
    let bytes = match &args.file {
        path if path.as_os_str() == "-" => source::read_stdin()?,
        path => source::read_file(path)?,
    };
    let value = quelea_bencode::parse(&bytes, Limits::TORRENT).map_err(|error| {
        let file = display::clean(&args.file.to_string_lossy());
        Status::Refused.because(format!("{file}: {error}"))
    })?;
    let mut text = quelea_bencode::to_json(&value);
    text.push('\n');
    super::print(text.as_bytes())
}
