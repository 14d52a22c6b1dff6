//! Where a torrent comes from: a file, a URL or a magnet link, and reading the first two within bounds.

use crate::display;
use crate::exit::Status;
use quelea_metainfo::{Magnet, Metainfo, PublisherLink};
use reqwest::redirect::{Action, Attempt, Policy};
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A file is read up to this many bytes, the most that a torrent may have.
const FILE_LIMIT: u64 = quelea_metainfo::MAX_TORRENT_LENGTH as u64;
/// A server is listened to for this many bytes.
const BODY_LIMIT: u64 = 10 << 20;
/// A server is waited for this long, redirects included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// Redirects that are followed.
const REDIRECTS: usize = 5;

/// What the user named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    Url(String),
    Magnet(String),
}

impl From<OsString> for Source {
    fn from(argument: OsString) -> Self {
        // What is not Unicode can only be a path.
        let Some(text) = argument.to_str().map(str::trim) else { return Self::File(argument.into()) };
        if has_scheme(text, "magnet:") {
            Self::Magnet(text.to_owned())
        } else if has_scheme(text, "http://") || has_scheme(text, "https://") {
            Self::Url(text.to_owned())
        } else {
            Self::File(argument.into())
        }
    }
}

fn has_scheme(text: &str, scheme: &str) -> bool {
    text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.write_str(&display::clean(&path.to_string_lossy())),
            Self::Url(url) => f.write_str(&display::clean(url)),
            Self::Magnet(_) => f.write_str("magnet link"),
        }
    }
}

/// The whole file, if it is not too large.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = display::clean(&path.to_string_lossy());
    let failed = |error: std::io::Error| {
        let mut message = format!("cannot read {shown}: {}", display::plain(&error.to_string()));
        if error.kind() == ErrorKind::NotFound && path.extension().is_none() && path.components().count() == 1
        {
            message.push_str(" (and it is not a command: see quelea --help)");
        }
        Status::Disk.because(message)
    };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(Status::Disk.because(format!("cannot read {shown}: it is a directory")));
    }
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_LIMIT {
        let limit = display::bytes(FILE_LIMIT);
        return Err(Status::Refused.because(format!("{shown} is larger than {limit}: not a torrent file")));
    }
    Ok(bytes)
}

/// What was read of a source.
pub(crate) enum Found {
    Torrent(Box<Metainfo>),
    /// The rest must come from peers.
    Magnet(Magnet),
    /// Which torrent that is, the DHT says.
    Publisher(PublisherLink),
}

/// The torrent that `source` names, read or fetched, or the link that leads to it. A URL is fetched from one of
/// `bind`, as in [`fetch`].
pub(crate) async fn load(source: Source, bind: &[IpAddr]) -> anyhow::Result<Found> {
    let fetched = match &source {
        Source::File(_) => None,
        Source::Url(url) => Some(fetch(url, bind).await?),
        Source::Magnet(link) => return read_link(link),
    };
    // A large torrent takes a while, which must not stop the progress of others.
    let work = move || match (&source, fetched) {
        (Source::File(path), None) => parse(&source, &read_file(path)?),
        (_, bytes) => parse(&source, &bytes.unwrap_or_default()),
    };
    tokio::task::spawn_blocking(work).await?.map(|metainfo| Found::Torrent(Box::new(metainfo)))
}

/// What kind of magnet link this is, and what it says.
pub(crate) fn read_link(link: &str) -> anyhow::Result<Found> {
    match PublisherLink::parse(link) {
        Some(link) => Ok(Found::Publisher(link)),
        None => magnet(link).map(Found::Magnet),
    }
}

/// What a magnet link says.
pub(crate) fn magnet(link: &str) -> anyhow::Result<Magnet> {
    Magnet::parse(link).map_err(|error| Status::Refused.because(display::clean(&error.to_string())))
}

/// The torrent that was read from `source`.
pub(crate) fn parse(source: &Source, bytes: &[u8]) -> anyhow::Result<Metainfo> {
    Metainfo::parse(bytes)
        .map_err(|error| Status::Refused.because(format!("{source}: {}", display::clean(&error.to_string()))))
}

/// What a URL serves, if it is not too large and comes soon enough. Connections leave from one of `bind`,
/// tried in order, when there are any.
pub(crate) async fn fetch(url: &str, bind: &[IpAddr]) -> anyhow::Result<Vec<u8>> {
    let mut last = Err(failed(url, "no address to connect from"));
    let any = [None];
    let named: Vec<Option<IpAddr>> = bind.iter().copied().map(Some).collect();
    for local in if named.is_empty() { &any[..] } else { &named[..] } {
        last = match tokio::time::timeout(FETCH_TIMEOUT, fetch_from(url, *local)).await {
            Ok(Ok(bytes)) => return Ok(bytes),
            Ok(Err(Fetch::Connect(error))) => Err(error),
            Ok(Err(Fetch::Answer(error))) => return Err(error),
            Err(_) => Err(failed(url, &format!("no answer within {}", display::span(FETCH_TIMEOUT)))),
        };
    }
    last
}

/// Why a fetch failed: before the server was reached (another local address may do better), or after.
enum Fetch {
    Connect(anyhow::Error),
    Answer(anyhow::Error),
}

async fn fetch_from(url: &str, local: Option<IpAddr>) -> Result<Vec<u8>, Fetch> {
    let answer = |why: &str| Fetch::Answer(failed(url, why));
    let client = reqwest::Client::builder()
        .user_agent(concat!("quelea/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::custom(redirect))
        .local_address(local)
        .build()
        .map_err(|error| answer(&root_cause(&error)))?;
    let mut response = client.get(url).send().await.map_err(|error| {
        if error.is_connect() {
            Fetch::Connect(failed(url, &root_cause(&error)))
        } else {
            answer(&root_cause(&error))
        }
    })?;
    if !response.status().is_success() {
        return Err(answer(&format!("the server answered {}", response.status())));
    }
    let too_large = || answer(&format!("larger than {}: not a torrent file", display::bytes(BODY_LIMIT)));
    if response.content_length().is_some_and(|length| length > BODY_LIMIT) {
        return Err(too_large());
    }
    let page = response
        .headers()
        .get(reqwest::header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("text/html"));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| answer(&root_cause(&error)))? {
        if (body.len() + chunk.len()) as u64 > BODY_LIMIT {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    if page && !body.starts_with(b"d") {
        return Err(Fetch::Answer(
            Status::Refused.because(format!("{} is a web page, not a torrent file", display::clean(url))),
        ));
    }
    Ok(body)
}

/// Follows a few redirects, to web addresses alone and never from https to http.
fn redirect(attempt: Attempt<'_>) -> Action {
    let was_secure = attempt.previous().last().is_some_and(|from| from.scheme() == "https");
    let to = attempt.url().clone();
    if attempt.previous().len() > REDIRECTS {
        attempt.error(format!("redirected more than {REDIRECTS} times"))
    } else if to.scheme() == "https" || to.scheme() == "http" && !was_secure {
        attempt.follow()
    } else {
        attempt.error(format!("redirected to {to}, which is not a safe web address"))
    }
}

fn failed(url: &str, why: &str) -> anyhow::Error {
    Status::Network.because(format!("cannot fetch {}: {}", display::clean(url), display::clean(why)))
}

/// The innermost reason: the outer ones repeat the URL.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    display::plain(&cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::from(OsString::from(text))
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
    }

    #[test]
    fn a_file_without_end_is_refused() {
        if Path::new("/dev/zero").exists() {
            let error = read_file(Path::new("/dev/zero")).unwrap_err();
            assert_eq!(error.to_string(), "/dev/zero is larger than 128 MiB: not a torrent file");
        }
    }

    #[test]
    fn a_missing_file_that_looks_like_a_command_gets_a_hint() {
        let message = read_file(Path::new("dwonload")).unwrap_err().to_string();
        assert!(message.ends_with("(and it is not a command: see quelea --help)"), "{message}");
        let message = read_file(Path::new("no/such.torrent")).unwrap_err().to_string();
        assert_eq!(message, "cannot read no/such.torrent: No such file or directory");
        assert_eq!(read_file(Path::new(".")).unwrap_err().to_string(), "cannot read .: it is a directory");
    }
}
