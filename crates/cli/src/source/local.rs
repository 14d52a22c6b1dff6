//! Reading what lies on this machine, a file or standard input, and saying what the bytes of any source are: a torrent,
//! one that is compressed (gzip), or a magnet link in a text file.

use super::{Found, Source, read_link};
use crate::display;
use crate::exit::Status;
use flate2::read::MultiGzDecoder;
use quelea_metainfo::Metainfo;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// A file is read up to this many bytes, the most that a torrent may have, and decompressed up to as many.
const LIMIT: u64 = quelea_metainfo::MAX_TORRENT_LENGTH as u64;
/// The first bytes of a gzip member (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The first bytes of a zip archive.
const ZIP: &[u8] = b"PK\x03\x04";

/// The path that a `file:` URL of this machine stands for (RFC 8089).
pub(super) fn path_of_url(url: &str) -> Result<PathBuf, String> {
    let path = url.get("file:".len()..).unwrap_or_default();
    let path = match path.strip_prefix("//") {
        None => path,
        Some(rest) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
                let host = display::clean(host);
                return Err(format!(
                    "a file of another machine ({host}): write file:///path or the path alone"
                ));
            }
            path
        }
    };
    let bytes = unescape(path).ok_or("a % that two hexadecimal digits do not follow: write %25 for it")?;
    if bytes.is_empty() || bytes.contains(&0) {
        return Err("it names no file: write file:///path or the path alone".to_owned());
    }
    path_of(bytes)
}

/// The bytes that a URL's path stands for: `%` and two hexadecimal digits are one.
fn unescape(path: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let (digits, behind) = after.split_at_checked(2)?;
            let digit = |digit: u8| char::from(digit).to_digit(16);
            bytes.push(u8::try_from(digit(digits[0])? << 4 | digit(digits[1])?).ok()?);
            rest = behind;
        } else {
            bytes.push(*first);
        }
    }
    Some(bytes)
}

#[cfg(unix)]
fn path_of(bytes: Vec<u8>) -> Result<PathBuf, String> {
    use std::os::unix::ffi::OsStringExt;
    Ok(std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(not(unix))]
fn path_of(bytes: Vec<u8>) -> Result<PathBuf, String> {
    let path = String::from_utf8(bytes).map_err(|_| "its name is not UTF-8".to_owned())?;
    // The slash before a drive's letter belongs to the URL alone.
    let drive = path.strip_prefix('/').filter(|rest| rest.as_bytes().get(1) == Some(&b':'));
    Ok(drive.unwrap_or(&path).into())
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
    read_whole(file, &shown)
}

/// All of standard input, if it is not too large.
pub(crate) fn read_stdin() -> anyhow::Result<Vec<u8>> {
    read_whole(std::io::stdin().lock(), &Source::Stdin.to_string())
}

fn read_whole(reader: impl Read, shown: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(LIMIT + 1).read_to_end(&mut bytes).map_err(|error| {
        Status::Disk.because(format!("cannot read {shown}: {}", display::plain(&error.to_string())))
    })?;
    if bytes.len() as u64 > LIMIT {
        let limit = display::bytes(LIMIT);
        return Err(Status::Refused.because(format!("{shown} is larger than {limit}: not a torrent file")));
    }
    Ok(bytes)
}

/// The torrent, or the link that leads to it, of which `bytes` were read from `source`.
pub(super) fn read(source: &Source, bytes: Vec<u8>) -> anyhow::Result<Found> {
    let refused = |why: &str| Status::Refused.because(format!("{source}{why}"));
    let bytes = if bytes.starts_with(&GZIP) {
        decompress(&bytes, LIMIT).map_err(|why| refused(&format!(": {why}")))?
    } else {
        bytes
    };
    let text = text(&bytes);
    if let Some(link) = text.filter(|text| super::has_scheme(text, "magnet:")) {
        let mut lines = link.lines().map(str::trim).filter(|line| !line.is_empty());
        let first = lines.next().unwrap_or_default();
        if lines.next().is_some() {
            return Err(refused(" holds several links: give each in quotes on the command line"));
        }
        return read_link(first).map_err(|error| refused(&format!(": {error}")));
    }
    if bytes.is_empty() {
        return Err(refused(" is empty, not a torrent file"));
    }
    if text.is_some_and(|text| text.starts_with('<')) {
        return Err(refused(
            " is a web page, not a torrent file: open it in a browser, log in if it asks for that, and save what its \
             download link leads to",
        ));
    }
    if bytes.starts_with(ZIP) {
        return Err(refused(" is a zip archive, not a torrent file: unpack it first"));
    }
    Metainfo::parse(&bytes)
        .map(|metainfo| Found::Torrent(Box::new(metainfo)))
        .map_err(|error| refused(&format!(": {}", display::clean(&error.to_string()))))
}

/// What a text file says, without a byte order mark and the blanks around it; `None` for what begins like a torrent
/// or is not UTF-8.
fn text(bytes: &[u8]) -> Option<&str> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii();
    if bytes.first().is_none_or(|first| *first == b'd') {
        return None;
    }
    // A page is known by its first bytes, whatever the encoding of the others.
    let valid = bytes.utf8_chunks().next()?.valid();
    (valid.len() == bytes.len() || valid.starts_with('<')).then_some(valid)
}

/// The bytes that gzip made small, if they are no more than `limit`.
fn decompress(bytes: &[u8], limit: u64) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(limit + 1).read_to_end(&mut out);
    if out.len() as u64 > limit {
        let limit = display::bytes(limit);
        return Err(format!("it is larger than {limit} when decompressed: not a torrent file"));
    }
    read.map_err(|error| format!("it is compressed and cannot be decompressed: {error}"))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    const TORRENT: &[u8] =
        b"d4:infod6:lengthi10e4:name1:a12:piece lengthi16384e6:pieces20:xxxxxxxxxxxxxxxxxxxxee";
    const LINK: &str = "magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn found(bytes: &[u8]) -> Found {
        read(&Source::Stdin, bytes.to_vec()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn refusal(bytes: &[u8]) -> String {
        match read(&Source::Stdin, bytes.to_vec()) {
            Ok(_) => panic!("taken"),
            Err(error) => error.to_string(),
        }
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

    #[test]
    fn a_torrent_may_be_compressed_but_not_without_end() {
        assert!(matches!(found(&gzip(TORRENT)), Found::Torrent(_)));
        let halves = TORRENT.split_at(20);
        assert!(matches!(found(&[gzip(halves.0), gzip(halves.1)].concat()), Found::Torrent(_)));
        let whole = gzip(TORRENT);
        assert!(refusal(&whole[..whole.len() - 9]).contains("cannot be decompressed"));
        let bomb = gzip(&vec![b'd'; 1 << 20]);
        assert!(decompress(&bomb, 1 << 20).is_ok_and(|bytes| bytes.len() == 1 << 20));
        let refused = decompress(&bomb, (1 << 20) - 1).unwrap_err();
        assert!(refused.ends_with("when decompressed: not a torrent file"), "{refused}");
    }

    #[test]
    fn a_text_file_may_hold_a_magnet_link() {
        for text in [LINK.to_owned(), format!("\u{feff}\r\n {LINK} \r\n"), LINK.replace("magnet", "Magnet")] {
            assert!(matches!(found(text.as_bytes()), Found::Magnet(_)), "{text:?}");
        }
        assert!(matches!(found(&gzip(LINK.as_bytes())), Found::Magnet(_)));
        assert!(refusal(format!("{LINK}\n{LINK}\n").as_bytes()).contains("several links"));
        assert_eq!(refusal(b"magnet:?dn=x"), "standard input: the magnet link has no BitTorrent info-hash");
    }

    #[test]
    fn what_is_no_torrent_is_called_by_its_name() {
        for page in [&b"<!DOCTYPE html>"[..], b"\xef\xbb\xbf\n<html>", b"<html><title>\xe9\xff"] {
            assert!(refusal(page).contains("is a web page"), "{page:?}");
        }
        assert_eq!(refusal(b""), "standard input is empty, not a torrent file");
        assert!(refusal(b"PK\x03\x04x").contains("is a zip archive"));
        assert!(refusal(b"i1e").ends_with("must be a dictionary"));
        assert!(refusal(b"hello").contains("no bencoded value begins"));
    }

    #[test]
    fn urls_of_files_are_paths() {
        let path = |url: &str| path_of_url(url);
        assert_eq!(path("file:///tmp/a%20b%25.torrent"), Ok("/tmp/a b%.torrent".into()));
        assert_eq!(path("FILE://localhost/a"), Ok("/a".into()));
        assert_eq!(path("file:/a"), Ok("/a".into()));
        assert!(path("file://server/a").unwrap_err().contains("another machine (server)"));
        for url in ["file:", "file://", "file:///%2", "file:///%zz", "file:///%00"] {
            assert!(path(url).is_err(), "{url}");
        }
    }
}
