//! The lines at the bottom of a terminal that are drawn anew while figures change, and what is printed above them.
//!
//! Lines end where their text ends and are never wrapped when they are drawn, so that a terminal of another width has
//! them in rows that can be counted. Terminals that do not wrap what they showed before (xterm) lose a row or two of the
//! text above when they become narrower.

use console::{Term, measure_text_width};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The lines on standard error. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Screen {
    shown: Arc<Mutex<Shown>>,
}

/// What the terminal shows.
#[derive(Default)]
struct Shown {
    lines: Vec<String>,
    /// The terminal's width when they were drawn.
    columns: usize,
}

impl Shown {
    /// Draws these lines in place of those before.
    fn replace(&mut self, lines: Vec<String>) {
        let columns = Screen::size().1;
        if self.lines != lines || self.columns != columns {
            write(&redrawn(&self.lines, self.columns, &lines, columns));
            *self = Self { lines, columns };
        }
    }
}

impl Screen {
    /// Rows and columns of the terminal.
    pub(crate) fn size() -> (usize, usize) {
        let (rows, columns) = Term::stderr().size();
        (rows.into(), columns.into())
    }

    /// Whether standard error is a terminal that can move its cursor. What cannot gets lines, like a file.
    pub(crate) fn is_terminal() -> bool {
        Term::stderr().is_term() && std::env::var_os("TERM").is_none_or(|kind| kind != "dumb")
    }

    /// Shows these lines in place of those before. Each is narrower than the terminal.
    pub(crate) fn draw(&self, lines: Vec<String>) {
        self.shown().replace(lines);
    }

    /// Takes the lines away while something is printed.
    pub(crate) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        let mut shown = self.shown();
        let lines = std::mem::take(&mut shown.lines);
        write(&redrawn(&lines, shown.columns, &[], Self::size().1));
        let result = print();
        // Lines of another width than the terminal's are drawn anew in a moment.
        if shown.columns == Self::size().1 {
            shown.replace(lines);
        }
        result
    }

    /// Takes the lines away.
    pub(crate) fn clear(&self) {
        self.draw(Vec::new());
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing can be done about a standard error that is closed.
fn write(text: &str) {
    if !text.is_empty() {
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Rows that a line takes on a terminal of so many columns.
fn rows(line: &str, columns: usize) -> usize {
    measure_text_width(line).div_ceil(columns.max(1)).max(1)
}

/// What to write to a terminal of so many columns, whose cursor stands behind the last of the lines `before`, so that it
/// shows the lines `after`; its width `was` another, perhaps, when the former were drawn.
fn redrawn(before: &[String], was: usize, after: &[String], columns: usize) -> String {
    let height: usize = before.iter().map(|line| rows(line, columns)).sum();
    let over = was == columns && !after.is_empty() && height > 0;
    let mut text = String::new();
    if over {
        // Text over text does not flicker.
        text.push('\r');
        if height > 1 {
            let _ = write!(text, "\x1b[{}A", height - 1);
        }
    } else if height > 0 {
        // A row that was wrapped is joined to the next one until it is cleared as a whole. Clearing the rest of the screen
        // at once would leave a copy in the history of some terminals.
        text.push('\r');
        text.push_str(&vec!["\x1b[2K"; height].join("\x1b[1A"));
    }
    for (at, line) in after.iter().enumerate() {
        text.push_str(if at > 0 { "\r\n" } else { "" });
        text.push_str(line);
        text.push_str(if over { "\x1b[K" } else { "" });
    }
    if over && after.len() < height {
        text.push_str("\x1b[J");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A terminal that wraps its lines anew when its width changes.
    struct Terminal {
        /// Each with its text alone.
        lines: Vec<String>,
        columns: usize,
        /// The cursor's line, the row of that line, and the column.
        line: usize,
        row: usize,
        column: usize,
    }

    impl Terminal {
        fn first_row(&self, line: usize) -> usize {
            self.lines[..line].iter().map(|line| rows(line, self.columns)).sum()
        }

        fn resize(&mut self, columns: usize) {
            let position = self.row * self.columns + self.column;
            self.columns = columns;
            // A cursor behind a full row stays in it.
            self.row = if position > 0 { (position - 1) / columns } else { 0 };
            self.column = position - self.row * columns;
        }

        fn write(&mut self, text: &str) {
            let mut rest = text;
            while let Some(char) = rest.chars().next() {
                let position = self.row * self.columns + self.column;
                rest = &rest[char.len_utf8()..];
                match char {
                    '\r' => self.column = 0,
                    '\n' => {
                        (self.line, self.row) = (self.line + 1, 0);
                        if self.line == self.lines.len() {
                            self.lines.push(String::new());
                        }
                    }
                    '\x1b' => {
                        let end = rest.find(char::is_alphabetic).unwrap();
                        let (number, letter) = (&rest[1..end], &rest[end..=end]);
                        rest = &rest[end + 1..];
                        if letter == "A" {
                            let row = self.first_row(self.line) + self.row - number.parse::<usize>().unwrap();
                            let lines = 0..self.lines.len();
                            self.line = lines.rev().find(|line| self.first_row(*line) <= row).unwrap();
                            self.row = row - self.first_row(self.line);
                        } else {
                            let all = number == "2";
                            let position = if all { self.row * self.columns } else { position };
                            self.lines[self.line].truncate(position);
                            if letter == "J" {
                                self.lines.truncate(self.line + 1);
                            }
                        }
                    }
                    char => {
                        self.lines[self.line].truncate(position);
                        self.lines[self.line].push(char);
                        self.column += 1;
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_the_width_becomes_nothing_is_left_of_lines_and_nothing_else_is_lost(
            steps in prop::collection::vec((5usize..60, prop::collection::vec(0usize..60, 0..4)), 1..6)
        ) {
            let lines = vec!["$ quelea album.torrent".to_owned(), String::new()];
            let mut terminal = Terminal { lines, columns: 60, line: 1, row: 0, column: 0 };
            let mut shown: Vec<String> = Vec::new();
            let mut was = 60;
            for (columns, lengths) in steps {
                terminal.resize(columns);
                let after: Vec<String> = lengths.iter().map(|length| "x".repeat(length % columns)).collect();
                let text = redrawn(&shown, was, &after, columns);
                prop_assert!(was == columns || !text.contains("\x1b[K"), "a wrapped row was not cleared");
                terminal.write(&text);
                (shown, was) = (after, columns);
                prop_assert_eq!(&terminal.lines[0], "$ quelea album.torrent");
                let left = terminal.lines[1..].iter().rev();
                let left: Vec<&String> = left.skip_while(|line| line.is_empty()).collect();
                let drawn: Vec<&String> = shown.iter().rev().skip_while(|line| line.is_empty()).collect();
                prop_assert_eq!(left, drawn);
            }
        }
    }

    #[test]
    fn lines_are_drawn_over_those_before() {
        let lines = |texts: &[&str]| -> Vec<String> { texts.iter().map(|text| (*text).to_owned()).collect() };
        assert_eq!(redrawn(&[], 80, &lines(&["a", "b"]), 80), "a\r\nb");
        assert_eq!(redrawn(&lines(&["a", "b"]), 80, &lines(&["c"]), 80), "\r\x1b[1Ac\x1b[K\x1b[J");
        assert_eq!(redrawn(&lines(&["a"]), 80, &[], 80), "\r\x1b[2K");
        // Of twenty columns and a colour, on a terminal that became half as wide.
        let coloured = lines(&["\x1b[32mxxxxxxxxxxxxxxxxxxxx\x1b[0m"]);
        assert_eq!(redrawn(&coloured, 20, &[], 10), "\r\x1b[2K\x1b[1A\x1b[2K");
    }
}
