//! The files of a v2 torrent: `file tree` (BEP 52), and its agreement with the v1 list of a hybrid.

use crate::Error;
use crate::MAX_NAMES_LENGTH;
use crate::file_list::{self, Entry, FileList};
use alloc::vec::Vec;
use quelea_bencode::Value;

/// The most elements that all paths may have together: as long a list as [`MAX_NAMES_LENGTH`] allows of names of
/// 16 bytes.
const MAX_ELEMENTS_TOGETHER: usize = MAX_NAMES_LENGTH / 16;

/// The v2 files of an info dictionary, each at the beginning of a piece, in the order of the tree.
pub(crate) fn read<'a>(info: &Value<'a>, piece_length: u32, names: &[&[u8]]) -> Result<FileList<'a>, Error> {
    let tree = info.get(b"file tree").filter(|tree| tree.as_dict().is_some());
    let tree = tree.ok_or(Error::field("file tree", "must be a dictionary"))?;
    if !tree.is_canonical() {
        return Err(Error::field("file tree", "must have its keys in order"));
    }
    let mut walk = Walk { entries: Vec::new(), folders: Vec::new(), names_length: 0, elements: 0 };
    walk.folder(tree)?;
    let mut entries = walk.entries;
    if entries.is_empty() {
        return Err(Error::field("file tree", "must have one file or more"));
    }
    let mut total_length = 0;
    for entry in &mut entries {
        if entry.length > 0 {
            let boundary = u64::from(piece_length);
            entry.offset = total_length_at(total_length, boundary)?;
            total_length = file_list::add(entry.offset, entry.length)?;
        } else {
            entry.offset = total_length;
        }
    }
    let single = match &*entries {
        [only] => matches!(&*only.elements, [element] if names.contains(element)),
        _ => false,
    };
    Ok(FileList { entries, total_length, single })
}

fn total_length_at(total: u64, boundary: u64) -> Result<u64, Error> {
    total.checked_next_multiple_of(boundary).ok_or(Error::TotalLength)
}

struct Walk<'a> {
    entries: Vec<Entry<'a>>,
    /// The names of the folders around.
    folders: Vec<&'a [u8]>,
    names_length: usize,
    elements: usize,
}

impl<'a> Walk<'a> {
    /// Reads a folder and those in it. The reader of bencode has limited how deep they are.
    fn folder(&mut self, folder: &Value<'a>) -> Result<(), Error> {
        let children = folder.as_dict().ok_or(Error::field("file tree", "must have dictionaries only"))?;
        for (name, node) in children.iter() {
            if name.is_empty() {
                return Err(Error::field("file tree", "must have no file beside others or as its root"));
            }
            self.folders.push(name);
            match node.as_dict() {
                Some(dict) if dict.len() == 1 && dict.get(b"").is_some() => self.file(node)?,
                Some(_) | None => self.folder(node)?,
            }
            self.folders.pop();
        }
        Ok(())
    }

    fn file(&mut self, node: &Value<'a>) -> Result<(), Error> {
        let properties = node.get(b"").filter(|properties| properties.as_dict().is_some());
        let properties = properties.ok_or(Error::field("file tree", "must have dictionaries only"))?;
        self.elements += self.folders.len();
        self.names_length += self.folders.iter().map(|name| name.len()).sum::<usize>();
        if self.names_length > MAX_NAMES_LENGTH || self.elements > MAX_ELEMENTS_TOGETHER {
            return Err(Error::NamesLength);
        }
        let mut entry = Entry { elements: self.folders.clone(), ..file_list::attributes(properties)? };
        // There are no pad files in v2: files begin at pieces by themselves.
        entry.pad = false;
        if entry.link.is_none() {
            entry.length = file_list::length(properties)?;
        }
        if entry.length > 0 {
            let root = properties.get(b"pieces root").and_then(Value::as_bytes);
            let root = root.and_then(|root| root.try_into().ok()).filter(|root| *root != [0; 32]);
            entry.pieces_root = Some(root.ok_or(Error::field("pieces root", "must be 32 bytes, not all 0"))?);
        }
        self.entries.push(entry);
        Ok(())
    }
}

/// Checks that both halves of a hybrid name the same files and that those begin at pieces (BEP 52, "upgrade
/// path"), and gives the v1 files the roots of their v2 counterparts.
pub(crate) fn join(v1: &mut FileList<'_>, v2: &FileList<'_>, piece_length: u32) -> Result<(), Error> {
    let real = v1.entries.iter_mut().filter(|entry| !entry.pad);
    let mut counterparts = v2.entries.iter();
    let mut files = 0;
    for (file, entry) in real.enumerate() {
        let differ = |fault| Error::Hybrid { file, fault };
        let counterpart = counterparts.next().ok_or(differ("the v1 half has more files"))?;
        let same_name = if v1.single { v2.single } else { entry.elements == counterpart.elements };
        if !same_name {
            return Err(differ("the names differ"));
        }
        if entry.length != counterpart.length {
            return Err(differ("the lengths differ"));
        }
        if entry.length > 0 && !entry.offset.is_multiple_of(u64::from(piece_length)) {
            return Err(differ("it does not begin with a piece"));
        }
        entry.pieces_root = counterpart.pieces_root;
        entry.executable |= counterpart.executable;
        entry.hidden |= counterpart.hidden;
        files = file + 1;
    }
    match counterparts.next() {
        Some(_) => Err(Error::Hybrid { file: files, fault: "the v2 half has more files" }),
        None => Ok(()),
    }
}
