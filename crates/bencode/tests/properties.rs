//! What holds for every tree and every input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use proptest::prelude::*;
use quelea_bencode::{Error, Item, Limits, parse, parse_prefix, parse_prefix_leniently, to_json};

fn items() -> impl Strategy<Value = Item> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Item::Int),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Item::Bytes),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        let key = proptest::collection::vec(any::<u8>(), 0..6);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Item::List),
            proptest::collection::btree_map(key, inner, 0..8).prop_map(Item::Dict),
        ]
    })
}

/// Bytes that are nearly bencode.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let token = proptest::sample::select(&[
        "i",
        "e",
        "l",
        "d",
        "0:",
        "1:a",
        "2:ab",
        "i0e",
        "i-1e",
        "-",
        "0",
        "1",
        "9",
        ":",
        "3:abc",
        "99999999999999999999",
    ]);
    proptest::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat().into_bytes())
}

proptest! {
    #[test]
    fn what_is_written_is_read_the_same(item in items()) {
        let bytes = item.encode();
        let value = parse(&bytes, Limits::default()).unwrap();
        prop_assert!(value.is_canonical());
        prop_assert_eq!(value.raw(), &bytes[..]);
        prop_assert_eq!(Item::from(&value), item);
    }

    #[test]
    fn what_the_strict_reader_takes_the_lenient_one_reads_the_same(bytes in nearly()) {
        if let Ok((value, taken)) = parse_prefix(&bytes, Limits::default()) {
            let (leniently, as_far) = parse_prefix_leniently(&bytes, Limits::default()).unwrap();
            prop_assert_eq!((to_json(&leniently), as_far), (to_json(&value), taken));
            prop_assert_eq!(leniently.is_canonical(), value.is_canonical());
        }
    }

    #[test]
    fn a_value_ends_where_the_next_begins(item in items(), rest in any::<Vec<u8>>()) {
        let mut bytes = item.encode();
        let end = bytes.len();
        bytes.extend(&rest);
        let (value, taken) = parse_prefix(&bytes, Limits::default()).unwrap();
        prop_assert_eq!(taken, end);
        prop_assert_eq!(Item::from(&value), item);
        let whole = parse(&bytes, Limits::default());
        prop_assert_eq!(whole.err(), (!rest.is_empty()).then_some(Error::TrailingBytes { at: end }));
    }

    #[test]
    fn a_value_cut_short_is_refused(item in items(), cut in any::<prop::sample::Index>()) {
        let bytes = item.encode();
        prop_assert!(parse(&bytes[..cut.index(bytes.len())], Limits::default()).is_err());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop_oneof![any::<Vec<u8>>(), nearly()]) {
        match parse_prefix(&bytes, Limits::PACKET) {
            Ok((value, taken)) => {
                prop_assert_eq!(value.raw(), &bytes[..taken]);
                prop_assert_eq!(Item::from(&value).encode() == value.raw(), value.is_canonical());
                prop_assert!(to_json(&value).contains("\"value\""));
            }
            Err(error) => prop_assert!(error.at() <= bytes.len()),
        }
    }

    #[test]
    fn raw_spans_nest(item in items()) {
        let bytes = item.encode();
        let value = parse(&bytes, Limits::default()).unwrap();
        if let Some(dict) = value.as_dict() {
            let mut inner = Vec::new();
            for (key, value) in dict.iter() {
                inner.extend(Item::from(key).encode());
                inner.extend(value.raw());
                prop_assert_eq!(dict.get(key).map(|found| found.raw()), Some(value.raw()));
            }
            prop_assert_eq!(&bytes[1..bytes.len() - 1], &inner[..]);
        }
    }
}
