//! A tree to bytes. There is one way to write a tree, and this is it.

use crate::value::{Kind, Value};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// An owned value, for what is written. Its dictionaries are sorted by their type, so that every encoding is
/// canonical.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An integer.
    Int(i64),
    /// A string.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Item>),
    /// A dictionary.
    Dict(BTreeMap<Vec<u8>, Item>),
}

impl Item {
    /// A dictionary of these keys and values; the last one of a repeated key stays.
    pub fn dict<K: Into<Vec<u8>>, V: Into<Item>>(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::Dict(entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// A list of these values.
    pub fn list<V: Into<Item>>(values: impl IntoIterator<Item = V>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }

    /// The bytes of this tree.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    /// Appends the bytes of this tree to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        match self {
            Self::Int(number) => {
                out.push(b'i');
                out.extend_from_slice(number.to_string().as_bytes());
                out.push(b'e');
            }
            Self::Bytes(bytes) => encode_string(bytes, out),
            Self::List(items) => {
                out.push(b'l');
                items.iter().for_each(|item| item.encode_into(out));
                out.push(b'e');
            }
            Self::Dict(entries) => {
                out.push(b'd');
                for (key, value) in entries {
                    encode_string(key, out);
                    value.encode_into(out);
                }
                out.push(b'e');
            }
        }
    }
}

fn encode_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(bytes.len().to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(bytes);
}

impl From<i64> for Item {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Item {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

impl From<String> for Item {
    fn from(text: String) -> Self {
        Self::Bytes(text.into_bytes())
    }
}

impl From<&[u8]> for Item {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Item {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Item {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<Item>> for Item {
    fn from(items: Vec<Item>) -> Self {
        Self::List(items)
    }
}

impl From<BTreeMap<Vec<u8>, Item>> for Item {
    fn from(entries: BTreeMap<Vec<u8>, Item>) -> Self {
        Self::Dict(entries)
    }
}

impl From<&Value<'_>> for Item {
    fn from(value: &Value<'_>) -> Self {
        match &value.kind {
            Kind::Int(number) => Self::Int(*number),
            Kind::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
            Kind::List(values) => Self::List(values.iter().map(Into::into).collect()),
            Kind::Dict(dict) => Self::dict(dict.iter()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, parse};

    #[test]
    fn writes_keys_sorted_by_their_bytes() {
        let item = Item::dict([
            ("b", Item::from(-7)),
            ("aa", Item::list(["x", ""])),
            ("B", Item::dict::<&str, Item>([])),
        ]);
        assert_eq!(item.encode(), b"d1:Bde2:aal1:x0:e1:bi-7ee");
    }

    #[test]
    fn a_value_read_and_written_is_sorted() {
        let value = parse(b"d1:bi1e1:al1:xee", Limits::default()).unwrap();
        assert!(!value.is_canonical());
        assert_eq!(Item::from(&value).encode(), b"d1:al1:xe1:bi1ee");
    }
}
