//! What was read: a tree that borrows its strings from the input.

use alloc::boxed::Box;
use core::fmt;

/// A value as it stands in the input.
///
/// Two values are equal when they were written with the same bytes.
#[derive(Clone)]
pub struct Value<'a> {
    pub(crate) raw: &'a [u8],
    pub(crate) kind: Kind<'a>,
}

#[derive(Clone)]
pub(crate) enum Kind<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    List(Box<[Value<'a>]>),
    Dict(Dict<'a>),
}

impl<'a> Value<'a> {
    /// The bytes that this value was written as, all of them and no others.
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The number, if this is an integer.
    pub const fn as_int(&self) -> Option<i64> {
        match self.kind {
            Kind::Int(number) => Some(number),
            Kind::Bytes(_) | Kind::List(_) | Kind::Dict(_) => None,
        }
    }

    /// The bytes, if this is a string.
    pub const fn as_bytes(&self) -> Option<&'a [u8]> {
        match self.kind {
            Kind::Bytes(bytes) => Some(bytes),
            Kind::Int(_) | Kind::List(_) | Kind::Dict(_) => None,
        }
    }

    /// The text, if this is a string that is UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        core::str::from_utf8(self.as_bytes()?).ok()
    }

    /// The values in order, if this is a list.
    pub fn as_list(&self) -> Option<&[Value<'a>]> {
        match &self.kind {
            Kind::List(values) => Some(values),
            Kind::Int(_) | Kind::Bytes(_) | Kind::Dict(_) => None,
        }
    }

    /// The keys and values, if this is a dictionary.
    pub const fn as_dict(&self) -> Option<&Dict<'a>> {
        match &self.kind {
            Kind::Dict(dict) => Some(dict),
            Kind::Int(_) | Kind::Bytes(_) | Kind::List(_) => None,
        }
    }

    /// The value that stands under `key`, if this is a dictionary that has it.
    pub fn get(&self, key: &[u8]) -> Option<&Value<'a>> {
        self.as_dict()?.get(key)
    }

    /// Whether it is written in the one canonical way: every dictionary has its keys sorted, and numbers are written as
    /// they have to be. The strict reader leaves the order of keys as the only freedom.
    ///
    /// A canonical value is encoded again to exactly [`raw`](Self::raw). Walks the whole value.
    pub fn is_canonical(&self) -> bool {
        match &self.kind {
            Kind::Int(_) => {
                let has_zeros = matches!(self.raw, [b'i', b'0', b'0'..=b'9', ..] | [b'i', b'-', b'0', ..]);
                !has_zeros && !self.raw.contains(&b'.')
            }
            Kind::Bytes(_) => !matches!(self.raw, [b'0', b'0'..=b'9', ..]),
            Kind::List(values) => values.iter().all(Value::is_canonical),
            Kind::Dict(dict) => dict.sorted && dict.iter().all(|(_, value)| value.is_canonical()),
        }
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Value<'_> {}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Int(number) => number.fmt(f),
            Kind::Bytes(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Kind::List(values) => values.fmt(f),
            Kind::Dict(dict) => dict.fmt(f),
        }
    }
}

/// A dictionary's keys and values, in the order in which they were found. No key is there twice, but in what was read
/// leniently.
#[derive(Clone)]
pub struct Dict<'a> {
    pub(crate) entries: Box<[(&'a [u8], Value<'a>)]>,
    pub(crate) sorted: bool,
}

impl<'a> Dict<'a> {
    /// The value that stands under `key`, the first of several.
    pub fn get(&self, key: &[u8]) -> Option<&Value<'a>> {
        let at = if self.sorted {
            self.entries.binary_search_by_key(&key, |(key, _)| key).ok()?
        } else {
            self.entries.iter().position(|(found, _)| *found == key)?
        };
        self.entries.get(at).map(|(_, value)| value)
    }

    /// The keys with their values, in the order found.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a [u8], &Value<'a>)> {
        self.entries.iter().map(|(key, value)| (*key, value))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl fmt::Debug for Dict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(key, value)| (key.escape_ascii(), value))).finish()
    }
}
