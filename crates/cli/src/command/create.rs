//! `quelea create`: a torrent file of a file or a folder.

use crate::args::CreateArgs;
use crate::display;
use crate::exit::Status;
use crate::hashing::Hashing;
use crate::report;
use crate::save::torrent_name;
use quelea::create::{
    BuildError, CreateError, CreateTorrent, Created, LeftOut, Reason, SaveError, SourceError, may_save, save,
};
use quelea_metainfo::{File, Info};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What was left out is named up to this many times.
const NAMED: usize = 10;
/// The words that stand for the torrent file's name where it is printed.
const STDOUT: &str = "standard output";

pub(crate) fn run(args: &CreateArgs) -> anyhow::Result<Status> {
    let output = match (&args.output, &args.name) {
        (Some(output), _) => output.clone(),
        (None, Some(name)) => named(name)?,
        (None, None) => default_output(&args.path)?,
    };
    let to_stdout = output.as_os_str() == "-";
    if !to_stdout {
        may_save(&output, args.force).map_err(|error| not_saved(&error))?;
    }
    if args.private && args.tracker.is_empty() {
        report::warning(
            "nobody can find the peers of a private torrent without a tracker: name one with --tracker",
        );
    }
    let mut torrent = CreateTorrent::new(&args.path);
    torrent.name.clone_from(&args.name);
    torrent.piece_length = args.piece_length;
    torrent.trackers = args.tracker.iter().map(|url| vec![url.clone()]).collect();
    torrent.web_seeds.clone_from(&args.web_seed);
    torrent.private = args.private;
    torrent.comment.clone_from(&args.comment);
    torrent.creation_date = args.date;
    torrent.hidden = args.hidden;
    torrent.except = Some(output.clone()).filter(|_| !to_stdout);

    let name = args.path.file_name().unwrap_or(args.path.as_os_str()).to_string_lossy();
    let mut hashing = Hashing::new(&name, args.quiet);
    let created = torrent.run(|progress| hashing.show(progress)).map_err(|error| not_created(&error))?;
    let hashed = hashing.finish();
    let Some(created) = created else { return Ok(Status::Interrupted) };
    let link = created.metainfo.magnet().to_string();
    if to_stdout {
        if !args.quiet {
            tell(Path::new(STDOUT), &created, &hashed);
            report::line(&link);
        }
        return super::print(&created.bytes);
    }
    save(&output, &created.bytes, args.force).map_err(|error| not_saved(&error))?;
    if !args.quiet {
        tell(&output, &created, &hashed);
    }
    super::print(format!("{link}\n").as_bytes())
}

/// The content's name with `.torrent` behind it, in the current directory.
fn default_output(path: &Path) -> anyhow::Result<PathBuf> {
    let real = path.canonicalize().ok();
    let name = path.file_name().or(real.as_ref().and_then(|real| real.file_name()));
    let name = name.ok_or_else(|| Status::Usage.because("name the torrent file with -o"))?;
    if let Some(name) = name.to_str() {
        return Ok(torrent_name(name, "").into());
    }
    let mut output = name.to_owned();
    output.push(".torrent");
    Ok(output.into())
}

/// The file for a torrent of this name, in the current directory.
fn named(name: &str) -> anyhow::Result<PathBuf> {
    if name.is_empty() || name.contains('/') || [".", ".."].contains(&name) {
        return Err(Status::Usage.because(format!(
            "{} cannot be the name of a torrent: it is a plain name, without a folder",
            display::clean(name)
        )));
    }
    Ok(format!("{name}.torrent").into())
}

/// What was made, and what is not in it, on standard error: the magnet link is the answer.
fn tell(output: &Path, created: &Created, hashed: &str) {
    let info = &created.metainfo.info;
    let files = display::count(info.files.len(), "file", "files");
    let pieces = display::count(info.geometry.pieces() as usize, "piece", "pieces");
    let each = display::bytes(info.geometry.piece_length().into());
    let mut lines = vec![format!("{}: {files}, {hashed}, {pieces} of {each}", shown(output))];
    let followed = created.followed.iter().take(NAMED);
    lines.extend(followed.map(|link| format!("followed {} to {}", shown(&link.link), shown(&link.target))));
    if created.followed.len() > NAMED {
        lines.push(format!("followed {} more links", created.followed.len() - NAMED));
    }
    let left_out = &created.left_out;
    lines.extend(
        left_out.iter().take(NAMED).map(|left| format!("left out {}: {}", shown(&left.path), left.reason)),
    );
    if left_out.len() > NAMED {
        lines.push(format!("left out {} more", left_out.len() - NAMED));
    }
    if left_out.iter().any(|LeftOut { reason, .. }| *reason == Reason::Hidden) {
        lines.push("with --hidden the hidden ones are taken too".to_owned());
    }
    lines.extend(other_names(info));
    // Nothing can be done about a standard error that is closed.
    let _ = writeln!(std::io::stderr().lock(), "{}", lines.join("\n"));
}

/// Warns of names that some systems can't have.
fn other_names(info: &Info) -> Vec<String> {
    let other = |file: &File| {
        let native = String::from_utf8_lossy(file.native.as_ref()?.as_bytes()).into_owned();
        Some(format!("{} is {} where such a name can't be", display::clean(&native), file.path))
    };
    let others: Vec<String> = info.files.iter().filter_map(other).collect();
    let mut lines = Vec::new();
    if !others.is_empty() {
        let names = display::count(others.len(), "file has a name", "files have names");
        lines.push(format!("warning: {names} that Windows or macOS does not take:"));
        lines.extend(others.iter().take(NAMED).cloned());
        lines.extend((others.len() > NAMED).then(|| format!("and {} more", others.len() - NAMED)));
    }
    lines
}

fn shown(path: &Path) -> String {
    display::clean(&path.to_string_lossy())
}

fn not_saved(error: &SaveError) -> anyhow::Error {
    let remedy = if matches!(error, SaveError::Exists(_)) { "; --force replaces it" } else { "" };
    Status::Disk.because(format!("{}{remedy}", display::clean(&error.to_string())))
}

fn not_created(error: &CreateError) -> anyhow::Error {
    let status = match error {
        CreateError::Build(
            BuildError::Tracker { .. } | BuildError::WebSeed(_) | BuildError::TooManyPieces { .. },
        ) => Status::Usage,
        CreateError::Build(_) => Status::Refused,
        CreateError::Source(SourceError::NotUtf8(_) | SourceError::NoName(_) | SourceError::NotAFile(_)) => {
            Status::Refused
        }
        CreateError::Source(_) => Status::Disk,
        _ => Status::Failed,
    };
    status.because(display::clean(&error.to_string()))
}
