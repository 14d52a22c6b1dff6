//! Names that are safe to write, on every system alike.
//!
//! A torrent's author chooses its names; a path made of them must not leave the download directory, and must not
//! break a file system, a terminal or a script. The same rules hold on every platform, so that a download can
//! move between disks and systems and keep its names:
//!
//! - Empty elements, `.` and `..` fall away.
//! - Separators, what Windows refuses (`< > : " | ? *`), control characters, and the characters that turn or
//!   hide text (Unicode's bidirectional controls, line and paragraph separators) become `_`, and so does each
//!   sequence that is not UTF-8. Nothing is decoded or folded: `%2e%2e` and full-width dots stay as they are.
//! - Dots and spaces at the end fall away: Windows would drop them.
//! - Names that Windows reserves for devices (`con`, `aux.txt`) get `_` in front.
//! - An element has at most [`MAX_ELEMENT_LENGTH`] bytes; a longer one is cut before its extension.
//! - A path has at most [`MAX_ELEMENTS`] elements and about [`MAX_PATH_LENGTH`] bytes; folders too many fall away.
//!
//! A [`NativePath`] is the other way: the author's names to the byte, where they can be had so.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// The most bytes in one element of a path, as nearly every file system has it.
pub const MAX_ELEMENT_LENGTH: usize = 255;

/// The most elements in a path.
pub const MAX_ELEMENTS: usize = 100;

/// The most bytes in a path: half of what Linux allows, so that the download directory has the other half.
pub const MAX_PATH_LENGTH: usize = 2_048;

/// The longest end of a name that counts as its extension, in bytes with the dot.
const MAX_EXTENSION_LENGTH: usize = 16;

/// A relative path of one or more clean elements, parted by `/`. It stays below whatever it is joined to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SafePath(Box<str>);

impl SafePath {
    /// Cleans `elements` and joins them. An element of which nothing is left falls away; if none is left the
    /// path is `_`.
    pub fn clean<'a>(elements: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut path = String::new();
        for element in elements.into_iter().filter_map(clean_element).take(MAX_ELEMENTS) {
            push_element(&mut path, &element);
        }
        if path.is_empty() { Self("_".into()) } else { Self(path.into()) }
    }

    /// A path of elements that [`clean_element`] made.
    pub(crate) fn from_clean(path: String) -> Self {
        debug_assert!(
            path.split('/').all(|element| clean_element(element.as_bytes()).as_deref() == Some(element))
        );
        Self(path.into())
    }

    /// The whole path, with `/` between its elements.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The elements from the outermost folder to the file.
    pub fn elements(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The last element.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for SafePath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A relative path with the names that a torrent's author gave, to the byte: what a file system that takes any name (as
/// those of Linux do) can have. No element is empty, `.` or `..`, has a `/` or a zero byte, or is longer than
/// [`MAX_ELEMENT_LENGTH`]; so it stays below whatever it is joined to. It may have control characters, and need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NativePath(Box<[u8]>);

impl NativePath {
    /// These elements joined, if each can be a name and the path is none too long.
    pub(crate) fn new<'a>(elements: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut path = Vec::new();
        for (number, element) in elements.into_iter().enumerate() {
            let refused = matches!(element, b"" | b"." | b"..")
                || element.len() > MAX_ELEMENT_LENGTH
                || element.iter().any(|byte| matches!(byte, b'/' | 0));
            if refused || number >= MAX_ELEMENTS || path.len() + 1 + element.len() > MAX_PATH_LENGTH {
                return None;
            }
            if number > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(element);
        }
        (!path.is_empty()).then(|| Self(path.into()))
    }

    /// The same path.
    pub(crate) fn of(path: &SafePath) -> Option<Self> {
        Self::new(path.elements().map(str::as_bytes))
    }

    /// The whole path, with `/` between its elements.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The elements from the outermost folder to the file.
    pub fn elements(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/')
    }
}

pub(crate) fn push_element(path: &mut String, element: &str) {
    if !path.is_empty() {
        path.push('/');
    }
    path.push_str(element);
}

/// One element of a path, made safe by the rules of this module. `None` if nothing is left of it.
///
/// Cleaning what is clean changes nothing.
pub fn clean_element(raw: &[u8]) -> Option<String> {
    let mut name = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        name.extend(chunk.valid().chars().map(|c| if is_refused(c) { '_' } else { c }));
        name.extend((!chunk.invalid().is_empty()).then_some('_'));
    }
    cut(&mut name, MAX_ELEMENT_LENGTH);
    if is_reserved(&name) {
        name.insert(0, '_');
        cut(&mut name, MAX_ELEMENT_LENGTH);
    }
    (!name.is_empty()).then_some(name)
}

/// `text` for showing to a person on one line: what would turn, hide or break text becomes `_`.
pub fn clean_text(text: &str) -> String {
    text.chars().map(|c| if is_deceptive(c) { '_' } else { c }).collect()
}

/// `name` with a number before its extension: `name (2).txt`.
pub(crate) fn numbered(name: &str, number: u64) -> String {
    let (stem, extension) = number_place(name);
    alloc::format!("{stem} ({number}){extension}")
}

/// What stands before and after the number that [`numbered`] adds; the stem is cut so that any number fits.
pub(crate) fn number_place(name: &str) -> (&str, &str) {
    const LONGEST_NUMBER: usize = " (18446744073709551615)".len();
    let (stem, extension) = name.split_at(extension_start(name));
    let room = MAX_ELEMENT_LENGTH - LONGEST_NUMBER - extension.len();
    (stem.get(..stem.floor_char_boundary(room)).unwrap_or_default(), extension)
}

fn is_refused(c: char) -> bool {
    matches!(c, '/' | '\\' | '<' | '>' | ':' | '"' | '|' | '?' | '*') || is_deceptive(c)
}

const fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// Cuts `name` to `limit` bytes, keeps a short extension, and drops dots and spaces from the end.
fn cut(name: &mut String, limit: usize) {
    name.truncate(name.trim_end_matches(['.', ' ']).len());
    if name.len() <= limit {
        return;
    }
    let extension = name.split_off(extension_start(name));
    name.truncate(name.floor_char_boundary(limit.saturating_sub(extension.len())));
    name.push_str(&extension);
    name.truncate(name.trim_end_matches(['.', ' ']).len());
}

/// Where the extension of `name` begins, dot included; its end if there is none.
fn extension_start(name: &str) -> usize {
    match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= MAX_EXTENSION_LENGTH => at,
        Some(_) | None => name.len(),
    }
}

/// Whether Windows takes this name for a device, whatever its extension.
fn is_reserved(name: &str) -> bool {
    const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ');
    let is = |device: &&str| stem.eq_ignore_ascii_case(device);
    let port = |prefix: &str| {
        let number =
            stem.get(3..).filter(|_| stem.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(prefix)));
        number.is_some_and(|number| {
            let mut digits = number.chars();
            matches!(digits.next(), Some('0'..='9' | '¹' | '²' | '³')) && digits.next().is_none()
        })
    };
    DEVICES.iter().any(is) || port("com") || port("lpt")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn clean(raw: &[u8]) -> String {
        clean_element(raw).unwrap_or_default()
    }

    #[test]
    fn ordinary_names_stay() {
        for name in [
            "a.txt",
            ".hidden",
            "-dash",
            "~",
            "naïve 日本語 👩‍👩‍👧.mkv",
            "%2e%2e%2f",
            "．．／",
            "a  b",
            " a",
            "$HOME",
        ] {
            assert_eq!(clean(name.as_bytes()), name);
        }
    }

    #[test]
    fn what_climbs_falls_away() {
        for name in ["", ".", "..", "...", ".. ", " ..", ". .", " "] {
            assert_eq!(clean_element(name.as_bytes()), None, "{name:?}");
        }
        assert_eq!(clean(b"../../evil"), ".._.._evil");
        assert_eq!(clean(b"C:\\x"), "C__x");
        assert_eq!(clean(b"\xc0\xae\xc0\xae\xc0\xaf"), "______");
    }

    #[test]
    fn characters_that_break_or_deceive_become_underscores() {
        assert_eq!(clean(b"a\0b\nc\x7f<>:\"|?*"), "a_b_c________");
        assert_eq!(clean("photo\u{202e}gpj.exe".as_bytes()), "photo_gpj.exe");
        assert_eq!(clean("\u{9b}31m".as_bytes()), "_31m");
        assert_eq!(clean(b"\xed\xa0\x80x\xff"), "___x_");
        assert_eq!(clean_text("a/b\u{202e}\n?"), "a/b__?");
    }

    #[test]
    fn dots_and_spaces_at_the_end_fall_away() {
        assert_eq!(clean(b"name. . ."), "name");
        assert_eq!(clean(b"name.txt "), "name.txt");
    }

    #[test]
    fn devices_of_windows_are_no_names() {
        for name in
            ["CON", "con.txt", "Aux.tar.gz", "nul .x", "COM1", "lpt9.txt", "com\u{b9}", "conin$", "Com0"]
        {
            assert_eq!(clean(name.as_bytes()), std::format!("_{name}"));
        }
        for name in ["console", "com", "com10", "comx", "lpt", "_con", "a.con", "auxé"] {
            assert_eq!(clean(name.as_bytes()), name);
        }
    }

    #[test]
    fn a_long_name_is_cut_before_its_extension() {
        let long = "é".repeat(200) + ".tar.gz";
        let name = clean(long.as_bytes());
        assert!(name.len() <= MAX_ELEMENT_LENGTH && name.len() > MAX_ELEMENT_LENGTH - 2);
        assert!(name.starts_with("éé") && name.ends_with("é.gz"));
        assert_eq!(clean(&b"x".repeat(100_000)).len(), MAX_ELEMENT_LENGTH);
        let spaces = [b"con".as_slice(), &b" ".repeat(300), b"x"].concat();
        assert_eq!(clean(&spaces), "_con");
    }

    #[test]
    fn a_number_stands_before_the_extension() {
        assert_eq!(numbered("a.txt", 2), "a (2).txt");
        assert_eq!(numbered(".profile", 3), ".profile (3)");
        assert_eq!(numbered("no extension", 10), "no extension (10)");
        assert!(numbered(&"é".repeat(127), u64::MAX).len() <= MAX_ELEMENT_LENGTH);
    }

    #[test]
    fn a_native_path_has_any_name_that_stays_below() {
        let native = |elements: &[&[u8]]| NativePath::new(elements.iter().copied());
        let path = native(&[b"Who? What", b"Vol. 1.", b"con:\"\xff|\\ "]).unwrap();
        assert_eq!(path.as_bytes(), b"Who? What/Vol. 1./con:\"\xff|\\ ");
        assert_eq!(path.elements().next_back(), Some(b"con:\"\xff|\\ ".as_slice()));
        let long = [b'x'; 256];
        for refused in [b"".as_slice(), b".", b"..", b"a/b", b"/", b"a\0", &long] {
            assert_eq!(native(&[b"t", refused]), None, "{refused:?}");
            assert_eq!(native(&[refused, b"t"]), None, "{refused:?}");
        }
        assert_eq!(native(&[]), None);
        assert!(native(&[b"d".as_slice(); 100]).is_some() && native(&[b"d".as_slice(); 101]).is_none());
        assert_eq!(native(&[&long[1..]; 10]), None);
    }

    #[test]
    fn a_path_of_nothing_is_an_underscore() {
        assert_eq!(SafePath::clean([b"..".as_slice(), b""]).as_str(), "_");
        let path = SafePath::clean([b"a".as_slice(), b"..", b"b/c"]);
        assert_eq!(path.as_str(), "a/b_c");
        assert_eq!(path.file_name(), "b_c");
        assert_eq!(path.elements().collect::<Vec<_>>(), ["a", "b_c"]);
    }

    /// Bytes that look like the names that are hard to get right.
    fn nasty() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<Vec<u8>>(),
            any::<String>().prop_map(String::into_bytes),
            proptest::sample::select(&[
                ".",
                "..",
                " ",
                "con",
                "aux.",
                "nul ",
                "/",
                "\\",
                "é",
                "\u{202e}",
                "COM\u{b2}",
                "x"
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            (1usize..300).prop_map(|count| b". y".repeat(count)),
        ];
        proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn a_clean_element_is_harmless(raw in nasty()) {
            if let Some(name) = clean_element(&raw) {
                prop_assert!(!name.is_empty() && name.len() <= MAX_ELEMENT_LENGTH);
                prop_assert!(!name.contains(['/', '\\', '\0', ':', '<', '>', '"', '|', '?', '*']));
                prop_assert!(!name.chars().any(char::is_control));
                prop_assert!(!name.ends_with(['.', ' ']));
                prop_assert!(!is_reserved(&name));
            }
        }

        #[test]
        fn cleaning_twice_is_cleaning_once(raw in nasty()) {
            let once = clean_element(&raw);
            let twice = once.as_ref().and_then(|name| clean_element(name.as_bytes()));
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn a_numbered_name_is_clean(raw in nasty(), number in 2u64..1_000_000) {
            if let Some(name) = clean_element(&raw) {
                let other = numbered(&name, number);
                prop_assert_eq!(clean_element(other.as_bytes()), Some(other));
            }
        }
    }
}
