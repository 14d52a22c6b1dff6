//! `quelea forget`: torrents leave the state, and their files stay.

use crate::args::{ForgetArgs, Web};
use crate::display;
use crate::exit::Status;
use crate::known::links::KnownLink;
use crate::known::{Known, States, hex};
use crate::source::{self, Found, Source};
use crate::state;
use std::fmt::Write;
use std::path::Path;

pub(crate) fn run(args: &ForgetArgs) -> anyhow::Result<Status> {
    let Some(directory) = state::directory(args.place.state_dir.as_deref()) else {
        return Err(Status::Usage.because("nothing is remembered: --state-dir is none"));
    };
    let (known, states) = (Known::all(&directory), States::read(&directory)?);
    let (links, rest) = (KnownLink::all(&directory), states.without(&known));
    let mut told = String::new();
    for torrent in &args.torrents {
        let wanted = hash_of(torrent)?;
        let is_there = |there: &Path| args.from.as_ref().is_none_or(|from| is_same(there, from));
        let mut found = false;
        for one in known.iter().filter(|one| one.hash == hex(&wanted) && is_there(one.directory())) {
            found = true;
            quelea::remembered::forget(&directory, wanted, one.directory())?;
            one.forget().map_err(|error| unforgettable(&error))?;
            say(&mut told, one.name(), one.directory());
        }
        for one in links.iter().filter(|one| one.hash == hex(&wanted) && is_there(one.directory())) {
            found = true;
            one.forget().map_err(|error| unforgettable(&error))?;
            say(&mut told, one.name(), one.directory());
        }
        for one in rest.iter().filter(|one| one.info_hash == wanted && is_there(&one.directory)) {
            found = true;
            quelea::remembered::forget(&directory, wanted, &one.directory)?;
            say(&mut told, &hex(&wanted), &one.directory);
        }
        if !found {
            super::print(told.as_bytes())?;
            return Err(Status::Usage.because(format!(
                "no torrent is known by {}: quelea list prints those that are",
                hex(&wanted)
            )));
        }
    }
    super::print(told.as_bytes())
}

fn unforgettable(error: &std::io::Error) -> anyhow::Error {
    Status::Disk.because(format!("cannot forget it: {}", display::plain(&error.to_string())))
}

fn say(told: &mut String, name: &str, directory: &Path) {
    let (name, directory) = (display::clean(name), display::clean(&directory.to_string_lossy()));
    // Writing to a string cannot fail.
    let _ = writeln!(told, "{name} in {directory} is forgotten; its files stay");
}

/// The info-hash of a torrent file or link, or the one that is written.
fn hash_of(torrent: &Source) -> anyhow::Result<[u8; 20]> {
    match source::load_alone(torrent, &Web::default().access(&[])?)? {
        Found::Torrent(metainfo) => Ok(metainfo.info.hashes.wire()),
        Found::Magnet(link) => Ok(link.magnet.hashes.wire()),
        Found::Publisher(_) => {
            Err(Status::Usage.because("a publisher's link names no torrent: name the torrent itself"))
        }
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
