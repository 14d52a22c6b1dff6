//! Text from strangers, made safe to show.

use alloc::string::String;

/// The most characters of a stranger's text that are kept.
const MAX_TEXT: usize = 256;

/// A stranger's text made safe to show: UTF-8 with what is not replaced, runs of white space and control
/// characters as one space, characters that reorder or hide text left out, at most 256 characters.
pub(crate) fn clean(text: &[u8]) -> String {
    // Four bytes a character at most; the cut is in characters below.
    let text = text.get(..4 * MAX_TEXT).unwrap_or(text);
    let mut out = String::new();
    let mut kept = 0;
    let mut gap = false;
    for character in String::from_utf8_lossy(text).chars() {
        if character.is_control() || character.is_whitespace() {
            gap = true;
            continue;
        }
        if is_invisible(character) {
            continue;
        }
        if gap && !out.is_empty() {
            out.push(' ');
            kept += 1;
        }
        gap = false;
        if kept >= MAX_TEXT {
            break;
        }
        out.push(character);
        kept += 1;
    }
    out
}

/// Zero-width characters and those that change the direction of text (Unicode, "Bidirectional controls").
const fn is_invisible(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cleaned_and_cut() {
        assert_eq!(clean(b"  Unregistered\r\n\ttorrent \0"), "Unregistered torrent");
        assert_eq!(clean(b"\x1b[31mred"), "[31mred");
        assert_eq!(clean(b"\xff\xfe!"), "\u{fffd}\u{fffd}!");
        assert_eq!(clean("abc\u{202e}def\u{200b}".as_bytes()), "abcdef");
        assert_eq!(clean("é".repeat(1000).as_bytes()).chars().count(), MAX_TEXT);
        assert_eq!(clean("a ".repeat(1000).as_bytes()).chars().count(), MAX_TEXT);
        assert_eq!(clean(b""), "");
    }
}
