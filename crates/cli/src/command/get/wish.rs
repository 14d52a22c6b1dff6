//! The options of a download, applied to a torrent.

use crate::args::Options;
use crate::select;
use quelea::{AddTorrent, Priority};
use quelea_metainfo::{Info, Metainfo};

/// What the options want of a torrent.
pub(super) fn wish(torrent: &mut AddTorrent, options: &Options) -> anyhow::Result<()> {
    // One that was begun earlier brings its own wishes along.
    if torrent.output_dir.is_none() {
        torrent.wanted = wanted(&torrent.metainfo, &options.select)?;
        torrent.priorities = priorities(&torrent.metainfo, &options.priority)?;
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

/// How much each file is wanted, an entry for each, pad files included; `None` for the usual.
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
