//! Where a torrent comes from: a file, standard input, a URL or a magnet link, and reading all but the last within bounds.

mod local;
mod web;

use crate::display;
use crate::exit::Status;
use quelea_metainfo::{Ignored, Magnet, Metainfo, PublisherLink};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

pub(crate) use local::{read_file, read_stdin};
use web::Fetched;
pub(crate) use web::WebAccess;

/// The word for standard input.
const STDIN: &str = "-";

/// What the user named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    /// Standard input.
    Stdin,
    Url(String),
    /// A magnet link, or a bare info-hash written as one.
    Magnet(String),
}

impl Source {
    /// Reads an argument of the command line. A file wins over an info-hash of the same name.
    ///
    /// # Errors
    /// A `file://` URL of another machine, or one that cannot be decoded.
    pub(crate) fn parse(argument: OsString) -> Result<Self, String> {
        // What is not Unicode can only be a path.
        let Some(text) = argument.to_str().map(str::trim) else { return Ok(Self::File(argument.into())) };
        Ok(if has_scheme(text, "magnet:") {
            Self::Magnet(text.to_owned())
        } else if has_scheme(text, "http://") || has_scheme(text, "https://") {
            Self::Url(text.to_owned())
        } else if has_scheme(text, "file:/") {
            Self::File(local::path_of_url(text)?)
        } else if text == STDIN {
            Self::Stdin
        } else if let Some(link) = link_of_hash(text).filter(|_| !Path::new(&argument).exists()) {
            Self::Magnet(link)
        } else {
            Self::File(argument.into())
        })
    }
}

fn has_scheme(text: &str, scheme: &str) -> bool {
    text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// The link of a bare info-hash: v1 in 40 hexadecimal or 32 base32 digits, v2 in 64 hexadecimal ones.
fn link_of_hash(text: &str) -> Option<String> {
    let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let link = match text.len() {
        40 | 64 if hexadecimal => text,
        32 => text,
        _ => return None,
    };
    Magnet::parse(link).is_ok().then(|| link.to_owned())
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.write_str(&display::clean(&path.to_string_lossy())),
            Self::Stdin => f.write_str("standard input"),
            Self::Url(url) => f.write_str(&display::clean(url)),
            Self::Magnet(_) => f.write_str("magnet link"),
        }
    }
}

/// What was read of a source.
pub(crate) enum Found {
    Torrent(Box<Metainfo>),
    /// The rest must come from peers.
    Magnet(MagnetLink),
    /// Which torrent that is, the DHT says.
    Publisher(PublisherLink),
}

/// A magnet link, and what its user should know of it.
pub(crate) struct MagnetLink {
    pub(crate) magnet: Magnet,
    /// Sentences without a capital and a full stop; safe to print.
    pub(crate) remarks: Vec<String>,
}

/// The torrent that `source` names, read or fetched, or the link that leads to it. A URL is fetched as
/// `access` says.
pub(crate) async fn load(source: Source, access: &WebAccess) -> anyhow::Result<Found> {
    let fetched = match &source {
        Source::Url(url) => Some(web::fetch(url, access).await?),
        Source::File(_) | Source::Stdin | Source::Magnet(_) => None,
    };
    // A large torrent takes a while, which must not stop the progress of others.
    let work = move || match (&source, fetched) {
        (_, Some(Fetched::Bytes(bytes))) => local::read(&source, bytes),
        (_, Some(Fetched::Magnet(link))) => read_link(&link),
        (Source::File(path), None) => local::read(&source, read_file(path)?),
        (Source::Stdin, None) => local::read(&source, read_stdin()?),
        (Source::Magnet(link), None) => typed(link),
        (Source::Url(_), None) => local::read(&source, Vec::new()),
    };
    tokio::task::spawn_blocking(work).await?
}

/// As [`load`], for a command that does nothing else meanwhile.
pub(crate) fn load_alone(source: &Source, access: &WebAccess) -> anyhow::Result<Found> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(load(source.clone(), access))
}

/// A magnet link from the command line, which a shell may have cut.
fn typed(link: &str) -> anyhow::Result<Found> {
    if !is_cut(link) {
        return read_link(link);
    }
    let mut found = read_link(link).map_err(|error| Status::Refused.because(format!("{error}; {CUT}")))?;
    if let Found::Magnet(MagnetLink { remarks, .. }) = &mut found {
        remarks.push(CUT.to_owned());
    }
    Ok(found)
}

/// What kind of magnet link this is, and what it says.
pub(crate) fn read_link(link: &str) -> anyhow::Result<Found> {
    match PublisherLink::parse(link) {
        Some(link) => Ok(Found::Publisher(link)),
        None => match Magnet::parse_telling(link) {
            Ok((magnet, ignored)) => {
                Ok(Found::Magnet(MagnetLink { magnet, remarks: ignored.iter().map(remark).collect() }))
            }
            Err(error) => Err(Status::Refused.because(display::clean(&error.to_string()))),
        },
    }
}

/// What happens to a link without quotes.
const CUT: &str = "the link has nothing behind a &: if yours is longer, write it in quotes ('magnet:?…'), or the shell \
                   cuts it there";

/// Whether a shell may have cut the link at its first `&`. A bare info-hash has nothing to cut.
fn is_cut(link: &str) -> bool {
    has_scheme(link, "magnet:") && !link.contains('&')
}

fn remark(ignored: &Ignored) -> String {
    let what = match ignored.parameter {
        "tr" => "a tracker's address (http, https or udp)",
        "ws" => "a web seed's address (http or https)",
        _ => "an address and a port",
    };
    let Ignored { parameter, value } = ignored;
    format!("{parameter}={} of the link is ignored: it is not {what}", display::cut(value, 100))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::parse(OsString::from(text)).unwrap()
    }

    #[test]
    fn files_urls_and_magnet_links_are_told_apart() {
        assert_eq!(source("a.torrent"), Source::File("a.torrent".into()));
        assert_eq!(source("http"), Source::File("http".into()));
        assert_eq!(source("HTTPS://example.org/x"), Source::Url("HTTPS://example.org/x".into()));
        assert_eq!(source("http://é"), Source::Url("http://é".into()));
        assert_eq!(source("Magnet:?xt=urn:x"), Source::Magnet("Magnet:?xt=urn:x".into()));
        assert_eq!(source(" magnet:? "), Source::Magnet("magnet:?".into()));
        assert_eq!(source("écran"), Source::File("écran".into()));
        assert_eq!(source("-"), Source::Stdin);
        assert_eq!(source("./-"), Source::File("./-".into()));
        assert_eq!(source("file:///a%20b/c.torrent"), Source::File("/a b/c.torrent".into()));
        assert_eq!(source("file:a"), Source::File("file:a".into()));
        assert!(Source::parse("file://elsewhere/a.torrent".into()).is_err());
    }

    #[test]
    fn a_link_that_a_shell_cut_is_told_and_so_is_what_is_ignored() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        let remarks = |link: String| match load_alone(&Source::Magnet(link), &WebAccess::default()).unwrap() {
            Found::Magnet(link) => link.remarks,
            Found::Torrent(_) | Found::Publisher(_) => panic!("not a magnet link"),
        };
        assert_eq!(remarks(format!("magnet:?xt=urn:btih:{hash}")), [CUT]);
        assert!(remarks(hash.to_owned()).is_empty());
        assert!(remarks(format!("magnet:?xt=urn:btih:{hash}&dn=x")).is_empty());
        assert_eq!(
            remarks(format!("magnet:?xt=urn:btih:{hash}&tr=wss://a&x.pe=b")),
            [
                "tr=wss://a of the link is ignored: it is not a tracker's address (http, https or udp)",
                "x.pe=b of the link is ignored: it is not an address and a port",
            ]
        );
        let cut = load_alone(&Source::Magnet("magnet:?dn=x".to_owned()), &WebAccess::default())
            .err()
            .unwrap()
            .to_string();
        assert!(cut.ends_with(CUT), "{cut}");
    }

    #[test]
    fn a_bare_info_hash_is_a_magnet_link_unless_a_file_has_its_name() {
        for hash in ["0123456789abcdefABCDEF0123456789abcdef01", "2I2UAEFDZJFN4W3UE65QSOTCUOEZ744B"] {
            assert_eq!(source(hash), Source::Magnet(hash.to_owned()));
        }
        let v2 = "0123456789abcdef".repeat(4);
        assert_eq!(source(&v2), Source::Magnet(v2));
        for word in ["0123456789abcdef", &"x".repeat(40), &"1".repeat(32)] {
            assert_eq!(source(word), Source::File(word.into()));
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("0123456789abcdefABCDEF0123456789abcdef01");
        std::fs::write(&file, b"").unwrap();
        assert_eq!(source(file.to_str().unwrap()), Source::File(file));
    }
}
