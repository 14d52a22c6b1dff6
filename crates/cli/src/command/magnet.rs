//! `quelea magnet`: the link that leads to a torrent.

use crate::args::MagnetArgs;
use crate::exit::Status;
use crate::source::{self, Found};

pub(crate) fn run(args: &MagnetArgs) -> anyhow::Result<Status> {
    match source::load_alone(&args.source, &args.web.access(&[])?)? {
        Found::Torrent(metainfo) => super::print(format!("{}\n", metainfo.magnet()).as_bytes()),
        Found::Magnet(_) | Found::Publisher(_) => Err(Status::Usage.because("this is a magnet link already")),
    }
}
