//! `quelea resume`: goes on with every torrent that was begun and is not complete.

use super::get::{self, Given};
use crate::args::ResumeArgs;
use crate::exit::Status;
use crate::known::links::KnownLink;
use crate::known::{Known, States};
use crate::state;
use std::io::Write;

pub(crate) fn run(args: &ResumeArgs) -> anyhow::Result<Status> {
    let Some(directory) = state::directory(args.options.state_dir.as_deref()) else {
        return Err(Status::Usage.because("nothing is remembered: --state-dir is none"));
    };
    let states = States::read(&directory)?;
    let is_unfinished = |known: &Known| {
        // What cannot be read is told of when its turn comes.
        let metainfo = known.metainfo();
        metainfo.map_or(true, |metainfo| !known.progress(&metainfo.info, states.of(known)).is_complete())
    };
    let known = Known::all(&directory);
    let links = KnownLink::awaited(&directory, &known);
    let unfinished = known.into_iter().filter(is_unfinished);
    let links = links.into_iter().map(Box::new).map(Given::Link);
    let given: Vec<Given> = unfinished.map(Box::new).map(Given::Known).chain(links).collect();
    if given.is_empty() && !args.options.quiet && !args.options.json {
        // Nothing can be done about a standard error that is closed.
        let _ = writeln!(std::io::stderr().lock(), "nothing to resume: quelea list prints what was begun");
    }
    get::start(&given, &args.options)
}
