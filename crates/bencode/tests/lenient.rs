//! Bencode as servers of the field write it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use quelea_bencode::{Error, Limits, Value, parse_prefix, parse_prefix_leniently};

fn leniently(text: &str) -> Result<Value<'_>, Error> {
    parse_prefix_leniently(text.as_bytes(), Limits::PACKET).map(|(value, _)| value)
}

#[test]
fn numbers_are_read_however_they_are_written() {
    for (text, number) in [
        ("i01800e", 1800),
        ("i000e", 0),
        ("i-0e", 0),
        ("i-07e", -7),
        ("i1800.0e", 1800),
        ("i-1.99e", -1),
        ("i5.e", 5),
    ] {
        let value = leniently(text).unwrap();
        assert_eq!(value.as_int(), Some(number), "{text}");
        assert!(!value.is_canonical(), "{text}");
        assert!(parse_prefix(text.as_bytes(), Limits::PACKET).is_err(), "{text}");
    }
    for text in ["ie", "i-e", "i.5e", "i1.2.3e", "i 1e", "i+1e", "i9223372036854775808e"] {
        assert!(leniently(text).is_err(), "{text}");
    }
}

#[test]
fn lengths_may_have_zeros_in_front() {
    let value = leniently("d03:keyl002:abee").unwrap();
    let list = value.get(b"key").and_then(Value::as_list).unwrap();
    assert_eq!(list[0].as_bytes(), Some(&b"ab"[..]));
    assert!(!list[0].is_canonical());
}

#[test]
fn of_a_repeated_key_the_first_value_counts() {
    for text in ["d1:ai1e1:ai2ee", "d1:bi9e1:ai1e1:bi8e1:ai2ee", "d1:ai1e1:ai1ee"] {
        let value = leniently(text).unwrap();
        assert_eq!(value.get(b"a").and_then(Value::as_int), Some(1), "{text}");
        assert!(!value.is_canonical(), "{text}");
    }
}
