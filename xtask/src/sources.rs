//! What the source files say: where `unsafe` stands, what was left open, how long a file has become.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::machine::root;

/// Where our sources lie.
const FOLDERS: &[&str] = &["crates", "xtask", "interop", "fuzz", "bench"];

/// The crates in which `unsafe` may stand: hash kernels, the block pool, system calls.
const UNSAFE_ALLOWED: &[&str] = &["crates/digest/", "crates/block/", "crates/net/"];

/// Words for what is not done. In two halves, so that this file is not among those that it finds.
const LEFT_OPEN: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("unimpl", "emented!"), concat!("to", "do!")];

/// A file this long is worth a split by idea; a warning, not a failure.
const LONG: usize = 700;

/// `unsafe` stands only in the crates that may have it.
pub(crate) fn check_unsafe() -> Result<()> {
    let may_stand = |path: &str| UNSAFE_ALLOWED.iter().any(|folder| path.starts_with(folder));
    none_of(|path, text| if may_stand(path) { Vec::new() } else { lines_with_word(&code_of(text), "unsafe") })
        .context("`unsafe` may stand in crates/digest, crates/block and crates/net alone")
}

/// No source says that something is still to be done.
pub(crate) fn check_left_open() -> Result<()> {
    let left_open = |line: &&str| LEFT_OPEN.iter().any(|word| line.contains(word));
    none_of(|_, text| numbered(text).filter(|(_, line)| left_open(line)).map(|(number, _)| number).collect())
        .context("work left open belongs into an issue")
}

/// Prints the files that have become long, tests left out.
pub(crate) fn warn_of_long_files() -> Result<()> {
    for (path, text) in rust_files()? {
        let before_tests = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(&text);
        let lines = before_tests.lines().count();
        if !path.contains("/tests/") && lines > LONG {
            println!("warning: {path} has {lines} lines: is it one idea?");
        }
    }
    Ok(())
}

fn none_of(find: impl Fn(&str, &str) -> Vec<usize>) -> Result<()> {
    let mut found = Vec::new();
    for (path, text) in rust_files()? {
        found.extend(find(&path, &text).into_iter().map(|line| format!("{path}:{line}")));
    }
    if !found.is_empty() {
        bail!("{}", found.join("\n"));
    }
    Ok(())
}

/// Every Rust file of ours: its path from the workspace's root, and its text.
fn rust_files() -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    let mut open: Vec<PathBuf> = FOLDERS.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        if !folder.is_dir() || folder.ends_with("target") {
            continue;
        }
        for entry in folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push((from_root(&path), read(&path)?));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The text of one file of ours.
pub(crate) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn from_root(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The lines of `text`, numbered from one, in which `word` stands by itself.
pub(crate) fn lines_with_word(text: &str, word: &str) -> Vec<usize> {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let has_word = |line: &str| line.split(|c| !part_of_word(c)).any(|each| each == word);
    numbered(text).filter(|(_, line)| has_word(line)).map(|(number, _)| number).collect()
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// `text` with its comments, strings and characters blanked out; line breaks stay where they are.
pub(crate) fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_word = false;
    while let Some(first) = rest.chars().next() {
        let literal = if in_word && first != '"' && first != '\'' { 0 } else { not_code(rest) };
        let (taken, blank) = if literal > 0 { (literal, true) } else { (first.len_utf8(), false) };
        let (token, after) = rest.split_at(taken);
        if blank {
            code.push(' ');
            code.extend(token.chars().filter(|&c| c == '\n'));
        } else {
            code.push(first);
        }
        in_word = !blank && (first.is_alphanumeric() || first == '_');
        rest = after;
    }
    code
}

/// How many bytes of a comment, a string or a character `text` begins with; zero when it begins with code.
fn not_code(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    if let Some(body) = text.strip_prefix('"') {
        return 1 + until_quote(body, '"');
    }
    if let Some(length) = raw_string(text) {
        return length;
    }
    character(text)
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let here = text.get(at..).unwrap_or_default();
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a string's or character's body with its closing quote.
fn until_quote(body: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    body.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let body = after.trim_start_matches('#');
    let hashes = after.len() - body.len();
    let body = body.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let head = text.len() - body.len();
    Some(body.find(&end).map_or(text.len(), |at| head + at + end.len()))
}

/// A character literal, but not a lifetime.
fn character(text: &str) -> usize {
    let Some(body) = text.strip_prefix('\'') else { return 0 };
    let mut chars = body.chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => 1 + until_quote(body, '\''),
        (Some(one), Some('\'')) => 2 + one.len_utf8(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{code_of, lines_with_word};

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = concat!(
            "fn a<'unsafe_life>() {} // unsafe\n",
            "/* unsafe /* nested */ unsafe */ let s = \"unsafe \\\" unsafe\";\n",
            "let r = r#\"unsafe \" unsafe\"#; let b = br\"unsafe\"; let c = '\"'; let d = '\\'';\n",
            "#![forbid(unsafe_code)]\n",
        );
        assert_eq!(lines_with_word(&code_of(text), "unsafe"), Vec::<usize>::new());
    }

    #[test]
    fn code_beside_literals_is_found() {
        let text =
            "let var = \"a\";\n/* b */ unsafe { c('x') } // d\nfor r in \"\" {}\nunsafe impl Send for X {}";
        assert_eq!(lines_with_word(&code_of(text), "unsafe"), [2, 4]);
        let lifetimes = "fn f<'a>(x: &'a str) { unsafe { g('\\n', x) } }";
        assert_eq!(lines_with_word(&code_of(lifetimes), "unsafe"), [1]);
    }

    #[test]
    fn lines_keep_their_numbers() {
        let text = "let a = \"one\ntwo\";\n/* three\nfour */\nunsafe {}";
        assert_eq!(lines_with_word(&code_of(text), "unsafe"), [5]);
    }

    #[test]
    fn what_never_closes_ends_with_the_file() {
        for text in ["\"open", "/* open", "r#\"open\"", "'\\", "'", "b'"] {
            let code = code_of(text);
            assert!(!code.contains("open"), "{code}");
        }
    }
}
