//! Names in other encodings than UTF-8, of torrents whose file says which (`encoding`, `codepage`).
//!
//! No BEP has these keys; BitComet and µTorrent write them beside the info dictionary. They count only where they
//! are needed and right: some name is not UTF-8, and all that are decoded can be.

use crate::file_list::Entry;
use alloc::string::String;
use alloc::vec::Vec;
use encoding_rs::Encoding;
use quelea_bencode::Value;

/// What a torrent file says of the encoding of its names: a label such as `GBK`, or the number of a Windows code page.
pub(crate) fn named(torrent: &Value<'_>) -> Option<&'static Encoding> {
    let label = torrent.get(b"encoding").and_then(Value::as_bytes).and_then(by_label);
    label.or_else(|| by_code_page(torrent.get(b"codepage").and_then(Value::as_int)?))
}

/// The label under which [`named`] finds an encoding again.
pub(crate) fn label(encoding: &'static Encoding) -> &'static str {
    encoding.name()
}

pub(crate) fn by_label(label: &[u8]) -> Option<&'static Encoding> {
    let number = |prefix: &[u8]| {
        let rest = label
            .get(prefix.len()..)
            .filter(|_| label.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)))?;
        by_code_page(str::from_utf8(rest).ok()?.parse().ok()?)
    };
    Encoding::for_label_no_replacement(label)
        .or_else(|| [b"cp".as_slice(), b"ms", b"windows-", b"ibm"].into_iter().find_map(number))
}

fn by_code_page(number: i64) -> Option<&'static Encoding> {
    Some(match number {
        866 => encoding_rs::IBM866,
        874 => encoding_rs::WINDOWS_874,
        932 => encoding_rs::SHIFT_JIS,
        936 => encoding_rs::GBK,
        949 => encoding_rs::EUC_KR,
        950 => encoding_rs::BIG5,
        1250 => encoding_rs::WINDOWS_1250,
        1251 => encoding_rs::WINDOWS_1251,
        1252 | 28591 => encoding_rs::WINDOWS_1252,
        1253 => encoding_rs::WINDOWS_1253,
        1254 | 28599 => encoding_rs::WINDOWS_1254,
        1255 => encoding_rs::WINDOWS_1255,
        1256 => encoding_rs::WINDOWS_1256,
        1257 => encoding_rs::WINDOWS_1257,
        1258 => encoding_rs::WINDOWS_1258,
        20866 => encoding_rs::KOI8_R,
        20932 | 51932 => encoding_rs::EUC_JP,
        21866 => encoding_rs::KOI8_U,
        28592 => encoding_rs::ISO_8859_2,
        28595 => encoding_rs::ISO_8859_5,
        28597 => encoding_rs::ISO_8859_7,
        28605 => encoding_rs::ISO_8859_15,
        50220 => encoding_rs::ISO_2022_JP,
        54936 => encoding_rs::GB18030,
        65001 => encoding_rs::UTF_8,
        _ => return None,
    })
}

/// The names of a torrent in UTF-8.
pub(crate) struct Decoded {
    pub(crate) name: String,
    files: Vec<(Vec<String>, Option<Vec<String>>)>,
}

impl Decoded {
    /// Decodes the names of a torrent; `None` where all are UTF-8, or one can't be decoded. With `marked`, some names
    /// are known to be UTF-8 (`path.utf-8`), so that only those are decoded that are not.
    pub(crate) fn new(
        encoding: &'static Encoding,
        marked: bool,
        name: &[u8],
        entries: &[Entry<'_>],
    ) -> Option<Self> {
        let links = entries.iter().filter_map(|entry| entry.link.as_ref()).flatten();
        let mut all = entries.iter().flat_map(|entry| &entry.elements).chain(links);
        if str::from_utf8(name).is_ok() && all.all(|name| str::from_utf8(name).is_ok()) {
            return None;
        }
        let decode = |name: &[u8]| match str::from_utf8(name) {
            Ok(text) if marked => Some(text.into()),
            Ok(_) | Err(_) => encoding
                .decode_without_bom_handling_and_without_replacement(name)
                .map(alloc::borrow::Cow::into_owned),
        };
        let path = |path: &[&[u8]]| path.iter().map(|name| decode(name)).collect::<Option<Vec<String>>>();
        let mut files = Vec::with_capacity(entries.len());
        for entry in entries {
            let link = match &entry.link {
                Some(link) => Some(path(link)?),
                None => None,
            };
            files.push((path(&entry.elements)?, link));
        }
        Some(Self { name: decode(name)?, files })
    }

    /// The same entries with the decoded names.
    pub(crate) fn entries<'d>(&'d self, entries: &[Entry<'_>]) -> Vec<Entry<'d>> {
        let bytes = |path: &'d [String]| path.iter().map(|name| name.as_bytes()).collect();
        let decoded = |(entry, (path, link)): (&Entry<'_>, &'d (Vec<String>, Option<Vec<String>>))| Entry {
            elements: bytes(path),
            length: entry.length,
            offset: entry.offset,
            pad: entry.pad,
            executable: entry.executable,
            hidden: entry.hidden,
            link: link.as_deref().map(bytes),
            pieces_root: entry.pieces_root,
        };
        entries.iter().zip(&self.files).map(decoded).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_known_by_label_and_by_code_page() {
        for (label, name) in [
            ("GBK", "GBK"),
            ("gb2312", "GBK"),
            ("cp936", "GBK"),
            ("Shift_JIS", "Shift_JIS"),
            ("CP932", "Shift_JIS"),
            ("windows-1251", "windows-1251"),
            ("cp1251", "windows-1251"),
            ("KOI8-R", "KOI8-R"),
            ("Big5", "Big5"),
            ("ms949", "EUC-KR"),
            ("UTF-8", "UTF-8"),
        ] {
            let found = by_label(label.as_bytes()).map(super::label);
            assert_eq!(found, Some(name), "{label}");
            assert_eq!(
                by_label(name.as_bytes()).map(super::label),
                Some(name),
                "it is found by its own label"
            );
        }
        for label in ["", "cp", "cp0", "cp1251x", "nonsense", "iso-2022-kr", "\u{e9}"] {
            assert_eq!(by_label(label.as_bytes()).map(super::label), None, "{label}");
        }
    }

    #[test]
    fn names_are_decoded_all_or_none() {
        let gbk = |elements: &[&'static [u8]]| Entry { elements: elements.to_vec(), ..Entry::default() };
        let decode =
            |name: &[u8], entries: &[Entry<'_>]| Decoded::new(encoding_rs::GBK, false, name, entries);
        let entries = [gbk(&[b"\xd6\xd0\xce\xc4.txt"]), gbk(&[b"\xd0\xa1"])];
        let decoded = decode(b"a", &entries).unwrap();
        let names: Vec<Vec<&[u8]>> =
            decoded.entries(&entries).into_iter().map(|entry| entry.elements).collect();
        // The second would be UTF-8 too, by accident.
        assert_eq!(names, [["中文.txt".as_bytes()], ["小".as_bytes()]]);
        assert!(decode(b"a", &entries[1..]).is_none());
        assert!(decode(b"a", &[gbk(&[b"\xd6\xd0"]), gbk(&[b"\xff\xff"])]).is_none());
    }
}
