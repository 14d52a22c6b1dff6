//! The options of a download, applied to a torrent.

use crate::args::Options;
use crate::select;
use quelea::{AddTorrent, Priority};
use quelea_metainfo::{Info, Metainfo};

/// Which files are to be chosen, as `--select` and `--priority` say it.
#[derive(Clone, Copy)]
pub(super) struct Choices<'a> {
    pub(super) select: &'a [String],
    pub(super) priority: &'a [String],
}

impl<'a> Choices<'a> {
    /// Those of the command line.
    pub(super) fn of(options: &'a Options) -> Self {
        Self { select: &options.select, priority: &options.priority }
    }
}

/// Applies the options to a torrent. `choices` is `None` for one that an earlier run began: it brings its own.
pub(super) fn wish(
    torrent: &mut AddTorrent,
    options: &Options,
    choices: Option<Choices<'_>>,
) -> anyhow::Result<()> {
    if let Some(Choices { select, priority }) = choices {
        torrent.wanted = wanted(&torrent.metainfo, select)?;
        torrent.priorities = priorities(&torrent.metainfo, priority)?;
    }
    torrent.sequential = options.sequential;
    torrent.super_seeding = options.super_seed;
    torrent.preallocate = options.preallocate;
    torrent.overwrite = options.overwrite;
    options.trackers.apply(&mut torrent.metainfo);
    Ok(())
}

/// Which files are wanted, an entry for each, pad files included; `None` for all.
fn wanted(metainfo: &Metainfo, choices: &[String]) -> anyhow::Result<Option<Vec<bool>>> {
    if choices.is_empty() {
        return Ok(None);
    }
    let mut selected = select::select(choices, &metainfo.info.name, &paths(&metainfo.info))?.into_iter();
    let files = metainfo.info.files.iter();
    Ok(Some(files.map(|file| !file.pad && selected.next().unwrap_or(false)).collect()))
}

/// How much each file is wanted, an entry for each, pad files included; `None` for the default.
fn priorities(metainfo: &Metainfo, choices: &[String]) -> anyhow::Result<Option<Vec<Priority>>> {
    if choices.is_empty() {
        return Ok(None);
    }
    let mut chosen = select::prioritise(choices, &metainfo.info.name, &paths(&metainfo.info))?.into_iter();
    let mut of = |pad: bool| if pad { None } else { chosen.next() };
    Ok(Some(metainfo.info.files.iter().map(|file| of(file.pad).unwrap_or_default()).collect()))
}

/// The paths of the files, pad files left out, from the torrent's folder.
fn paths(info: &Info) -> Vec<&str> {
    let folder = format!("{}/", info.name);
    let real = info.files.iter().filter(|file| !file.pad).map(|file| file.path.as_str());
    real.map(|path| path.strip_prefix(&folder).unwrap_or(path)).collect()
}
