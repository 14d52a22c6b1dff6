//! The files of a v1 torrent: `length` or `files` (BEP 3), with attributes, links and pad files (BEP 47).

use crate::{Error, MAX_NAMES_LENGTH};
use alloc::vec::Vec;
use quelea_bencode::Value;

/// What BitComet calls its pad files, which have no attribute.
const BITCOMET_PAD: &[u8] = b"_____padding_file_";

/// A file as the torrent has it, before its name is cleaned.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry<'a> {
    /// The path below the torrent's own folder; empty for a single file, which has the torrent's name.
    pub(crate) elements: Vec<&'a [u8]>,
    pub(crate) length: u64,
    /// In bytes from the torrent's beginning.
    pub(crate) offset: u64,
    pub(crate) pad: bool,
    pub(crate) executable: bool,
    pub(crate) hidden: bool,
    /// The target below the torrent's own folder, for a link.
    pub(crate) link: Option<Vec<&'a [u8]>>,
    pub(crate) pieces_root: Option<[u8; 32]>,
}

/// The files of a torrent in order, and how many bytes they span.
pub(crate) struct FileList<'a> {
    pub(crate) entries: Vec<Entry<'a>>,
    pub(crate) total_length: u64,
    /// One file that has the torrent's name and no folder.
    pub(crate) single: bool,
}

/// The v1 files of an info dictionary.
pub(crate) fn read<'a>(info: &Value<'a>) -> Result<FileList<'a>, Error> {
    let Some(files) = info.get(b"files") else {
        // What a whole torrent consists of is neither a pad file nor a link.
        let entry = Entry { length: length(info)?, pad: false, link: None, ..attributes(info)? };
        return Ok(FileList { total_length: entry.length, entries: [entry].into(), single: true });
    };
    let files = files.as_list().filter(|files| !files.is_empty());
    let files = files.ok_or(Error::field("files", "must be a list of one file or more"))?;
    let mut total_length = 0;
    let mut names_length = 0;
    let mut entries = Vec::with_capacity(files.len());
    for file in files {
        let mut entry = attributes(file)?;
        entry.elements = path(file)?;
        entry.pad |= entry.elements.last().is_some_and(|name| name.starts_with(BITCOMET_PAD));
        if entry.elements.is_empty() && !entry.pad {
            return Err(Error::field("path", "must be a list of one string or more"));
        }
        names_length += entry.elements.iter().map(|name| name.len()).sum::<usize>();
        if names_length > MAX_NAMES_LENGTH {
            return Err(Error::NamesLength);
        }
        if entry.link.is_none() {
            entry.length = length(file)?;
        }
        entry.offset = total_length;
        total_length = add(total_length, entry.length)?;
        entries.push(entry);
    }
    Ok(FileList { entries, total_length, single: false })
}

/// The sum, if a file system can have that many bytes.
pub(crate) fn add(total: u64, length: u64) -> Result<u64, Error> {
    total.checked_add(length).filter(|total| i64::try_from(*total).is_ok()).ok_or(Error::TotalLength)
}

/// The `length` of a file or of its node in the file tree.
pub(crate) fn length(file: &Value<'_>) -> Result<u64, Error> {
    let length = file.get(b"length").and_then(Value::as_int);
    length
        .and_then(|length| length.try_into().ok())
        .ok_or(Error::field("length", "must be a number, 0 or more"))
}

/// An entry of which only `attr` and `symlink path` are read (BEP 47); a link's length counts as 0.
pub(crate) fn attributes<'a>(file: &Value<'a>) -> Result<Entry<'a>, Error> {
    let attributes = file.get(b"attr").and_then(Value::as_bytes).unwrap_or_default();
    let has = |letter: u8| attributes.contains(&letter);
    let link = match file.get(b"symlink path") {
        Some(target) if has(b'l') => match target.as_bytes() {
            Some(whole) => Some([whole].into()),
            None => Some(strings(target).ok_or(Error::field("symlink path", "must be a list of strings"))?),
        },
        None if has(b'l') => Some(Vec::new()),
        Some(_) | None => None,
    };
    Ok(Entry { pad: has(b'p'), executable: has(b'x'), hidden: has(b'h'), link, ..Entry::default() })
}

/// The path in UTF-8 where there is one beside another encoding (`path.utf-8`), else `path`; empty without any.
fn path<'a>(file: &Value<'a>) -> Result<Vec<&'a [u8]>, Error> {
    let utf8 = file.get(b"path.utf-8").and_then(strings);
    let utf8 =
        utf8.filter(|path| !path.is_empty() && path.iter().all(|element| str::from_utf8(element).is_ok()));
    match (utf8, file.get(b"path")) {
        (Some(path), _) => Ok(path),
        (None, Some(path)) => strings(path).ok_or(Error::field("path", "must be a list of strings")),
        (None, None) => Ok(Vec::new()),
    }
}

fn strings<'a>(list: &Value<'a>) -> Option<Vec<&'a [u8]>> {
    list.as_list()?.iter().map(Value::as_bytes).collect()
}
