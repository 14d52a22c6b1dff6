//! Bytes to a tree, without recursion: open lists and dictionaries wait on a stack of our own.

use crate::Error;
use crate::value::{Dict, Kind, Value};
use alloc::vec::Vec;

/// What one input may cost its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many lists and dictionaries may be open at once. Never more than [`Limits::DEEPEST`] are taken.
    pub depth: usize,
    /// How many keys and values there may be in all. Each takes up to 56 bytes of memory.
    pub items: usize,
}

impl Limits {
    /// For torrent files and metadata: 100 levels and 3 million keys and values, as libtorrent has it.
    pub const TORRENT: Self = Self { depth: 100, items: 3_000_000 };
    /// For what peers, nodes and trackers send: 16 levels and 16,384 keys and values.
    pub const PACKET: Self = Self { depth: 16, items: 16_384 };
    /// No value is nested deeper than this, whatever `depth` says: walking and dropping a tree use the stack.
    pub const DEEPEST: usize = 512;
}

impl Default for Limits {
    fn default() -> Self {
        Self::TORRENT
    }
}

/// Reads `bytes`, all of which must be one value.
///
/// # Errors
/// What [`parse_prefix`] refuses, and [`Error::TrailingBytes`] where anything follows the value.
pub fn parse(bytes: &[u8], limits: Limits) -> Result<Value<'_>, Error> {
    let (value, taken) = parse_prefix(bytes, limits)?;
    if taken < bytes.len() { Err(Error::TrailingBytes { at: taken }) } else { Ok(value) }
}

/// Reads the value that `bytes` begins with, and tells how many bytes it took.
///
/// For what has bytes after its value: metadata messages (BEP 9) and trackers that end with a line break.
///
/// # Errors
/// The first thing, in the order of the bytes, that is not bencode or is beyond the limits; a repeated key is
/// found at the end of its dictionary.
pub fn parse_prefix(bytes: &[u8], limits: Limits) -> Result<(Value<'_>, usize), Error> {
    read_prefix(bytes, limits, Rules::Strict)
}

/// Reads the value that `bytes` begins with as servers of the field write it, and tells how many bytes it took.
///
/// For answers of trackers, which are neither hashed nor encoded again. Beyond what [`parse_prefix`] takes: zeros in
/// front of a number (`i01800e`, `03:abc`), negative zero, a decimal fraction, which is dropped (`i1800.0e`), and a key
/// that is there twice, of which the first value counts.
///
/// # Errors
/// The first thing, in the order of the bytes, that is not bencode by these rules or is beyond the limits.
pub fn parse_prefix_leniently(bytes: &[u8], limits: Limits) -> Result<(Value<'_>, usize), Error> {
    read_prefix(bytes, limits, Rules::Lenient)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    Strict,
    Lenient,
}

fn read_prefix(bytes: &[u8], limits: Limits, rules: Rules) -> Result<(Value<'_>, usize), Error> {
    let depth = limits.depth.min(Limits::DEEPEST);
    let mut reader = Reader { bytes, at: 0, items: 0, limit: limits.items, rules };
    let mut open: Vec<Open<'_>> = Vec::new();
    loop {
        if let Some(Open { content: Content::Dict { key: key @ None, .. }, .. }) = open.last_mut()
            && reader.peek()? != b'e'
        {
            *key = Some(reader.key()?);
        }
        let at = reader.at;
        let value = match reader.peek()? {
            b'i' => reader.integer()?,
            b'0'..=b'9' => reader.string()?,
            opening @ (b'l' | b'd') => {
                if open.len() >= depth {
                    return Err(Error::TooDeep { at, limit: depth });
                }
                reader.count()?;
                reader.at += 1;
                let content = if opening == b'l' { Content::LIST } else { Content::DICT };
                open.push(Open { at, content });
                continue;
            }
            b'e' => match open.pop() {
                Some(Open { content: Content::Dict { key: Some(_), .. }, .. }) | None => {
                    return Err(Error::UnexpectedByte { at, byte: b'e' });
                }
                Some(container) => {
                    reader.at += 1;
                    Value { raw: reader.since(container.at), kind: container.close(rules)? }
                }
            },
            byte => return Err(Error::UnexpectedByte { at, byte }),
        };
        match open.last_mut().map(|container| &mut container.content) {
            None => return Ok((value, reader.at)),
            Some(Content::List(values)) => values.push(value),
            Some(Content::Dict { entries, key }) => entries.extend(key.take().map(|key| (key, value))),
        }
    }
}

/// A list or dictionary whose end has not been read.
struct Open<'a> {
    at: usize,
    content: Content<'a>,
}

enum Content<'a> {
    List(Vec<Value<'a>>),
    /// `key` is there between a key and the end of its value.
    Dict {
        entries: Vec<(&'a [u8], Value<'a>)>,
        key: Option<&'a [u8]>,
    },
}

impl<'a> Content<'a> {
    const LIST: Self = Self::List(Vec::new());
    const DICT: Self = Self::Dict { entries: Vec::new(), key: None };
}

impl<'a> Open<'a> {
    fn close(self, rules: Rules) -> Result<Kind<'a>, Error> {
        match self.content {
            // Without spare room: most containers are small, and there may be a million.
            Content::List(values) => Ok(Kind::List(values.into_boxed_slice())),
            Content::Dict { entries, .. } => {
                let sorted = entries.is_sorted_by(|(before, _), (after, _)| before < after);
                if !sorted && rules == Rules::Strict && has_repeated_key(&entries) {
                    return Err(Error::DuplicateKey { at: self.at });
                }
                Ok(Kind::Dict(Dict { entries: entries.into_boxed_slice(), sorted }))
            }
        }
    }
}

fn has_repeated_key(entries: &[(&[u8], Value<'_>)]) -> bool {
    let mut keys: Vec<&[u8]> = entries.iter().map(|(key, _)| *key).collect();
    keys.sort_unstable();
    keys.windows(2).any(|pair| pair.first() == pair.last())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    items: usize,
    limit: usize,
    rules: Rules,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Result<u8, Error> {
        self.bytes.get(self.at).copied().ok_or(Error::UnexpectedEnd { at: self.at })
    }

    fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    fn count(&mut self) -> Result<(), Error> {
        if self.items >= self.limit {
            return Err(Error::TooManyItems { at: self.at, limit: self.limit });
        }
        self.items += 1;
        Ok(())
    }

    /// The digits that stand here, which may be none.
    fn digits(&mut self) -> &'a [u8] {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.since(start)
    }

    fn integer(&mut self) -> Result<Value<'a>, Error> {
        self.count()?;
        let start = self.at;
        self.at += 1;
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let digits = self.digits();
        let lenient = self.rules == Rules::Lenient;
        if lenient && self.peek()? == b'.' {
            self.at += 1;
            self.digits();
        }
        if self.peek()? != b'e' || digits.is_empty() {
            return Err(Error::BadInteger { at: start });
        }
        if !lenient && digits.first() == Some(&b'0') && (negative || digits.len() > 1) {
            return Err(Error::LeadingZero { at: start });
        }
        // Negative numbers are added up below zero, where i64 has one more.
        let add = |sum: i64, digit: &u8| {
            let digit = i64::from(digit - b'0');
            let tens = sum.checked_mul(10)?;
            if negative { tens.checked_sub(digit) } else { tens.checked_add(digit) }
        };
        let number = digits.iter().try_fold(0, add).ok_or(Error::IntegerRange { at: start })?;
        self.at += 1;
        Ok(Value { raw: self.since(start), kind: Kind::Int(number) })
    }

    fn string(&mut self) -> Result<Value<'a>, Error> {
        self.count()?;
        let start = self.at;
        let digits = self.digits();
        if self.peek()? != b':' {
            return Err(Error::BadLength { at: start });
        }
        if self.rules == Rules::Strict && digits.first() == Some(&b'0') && digits.len() > 1 {
            return Err(Error::LeadingZero { at: start });
        }
        self.at += 1;
        let add = |sum: usize, digit: &u8| sum.checked_mul(10)?.checked_add(usize::from(digit - b'0'));
        let content = digits
            .iter()
            .try_fold(0, add)
            .and_then(|length| self.bytes.get(self.at..self.at.checked_add(length)?))
            .ok_or(Error::StringPastEnd { at: start })?;
        self.at += content.len();
        Ok(Value { raw: self.since(start), kind: Kind::Bytes(content) })
    }

    fn key(&mut self) -> Result<&'a [u8], Error> {
        let at = self.at;
        match self.peek()? {
            b'0'..=b'9' => self.string()?.as_bytes().ok_or(Error::KeyNotString { at }),
            b'i' | b'l' | b'd' => Err(Error::KeyNotString { at }),
            byte => Err(Error::UnexpectedByte { at, byte }),
        }
    }
}
