//! `quelea magnet`: the link that leads to a torrent.

use crate::args::MagnetArgs;
use crate::exit::Status;
use crate::source::{self, Source};

pub(crate) fn run(args: &MagnetArgs) -> anyhow::Result<Status> {
    let metainfo = match &args.source {
        Source::File(path) => source::parse(&args.source, &source::read_file(path)?)?,
        Source::Url(url) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            source::parse(&args.source, &runtime.block_on(source::fetch(url, &[]))?)?
        }
        Source::Magnet(_) => return Err(Status::Usage.because("this is a magnet link already")),
    };
    super::print(format!("{}\n", metainfo.magnet()).as_bytes())
}
