//! What one input may cost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use quelea_bencode::{Error, Limits, parse, to_json};

#[test]
fn depth_is_counted_in_open_lists_and_dictionaries() {
    let limits = Limits { depth: 3, items: 100 };
    assert!(parse(b"ld1:aleee", limits).is_ok());
    assert_eq!(parse(b"ld1:alleeee", limits), Err(Error::TooDeep { at: 6, limit: 3 }));
    assert!(parse(b"i1e", Limits { depth: 0, items: 1 }).is_ok());
}

#[test]
fn items_are_counted_in_keys_and_values() {
    let exact = Limits { depth: 3, items: 5 };
    assert!(parse(b"ld1:ai1eei2ee", exact).is_ok());
    assert_eq!(parse(b"ld1:ai1eei2ei3ee", exact), Err(Error::TooManyItems { at: 12, limit: 5 }));
}

#[test]
fn no_depth_that_a_caller_asks_for_exhausts_the_stack() {
    let deep = [b"l".repeat(2_000_000), b"e".repeat(2_000_000)].concat();
    let greedy = Limits { depth: usize::MAX, items: usize::MAX };
    assert_eq!(parse(&deep, greedy), Err(Error::TooDeep { at: Limits::DEEPEST, limit: Limits::DEEPEST }));

    let deepest = [b"l".repeat(Limits::DEEPEST), b"e".repeat(Limits::DEEPEST)].concat();
    let value = parse(&deepest, greedy).unwrap();
    assert!(value.is_canonical() && to_json(&value).len() > deepest.len());
}

#[test]
fn a_length_beyond_the_input_is_refused_before_anything_is_allocated() {
    for input in ["9223372036854775807:a", "18446744073709551616:a", "99999999999999999999999999:a", "5:abcd"]
    {
        assert_eq!(
            parse(input.as_bytes(), Limits::default()),
            Err(Error::StringPastEnd { at: 0 }),
            "{input}"
        );
    }
}

#[test]
fn a_repeated_key_is_refused_wherever_it_stands() {
    for input in ["d1:ai1e1:ai2ee", "d1:ai1e1:bi2e1:ai3ee", "d1:bi1e1:ai2e1:bi3ee"] {
        assert_eq!(parse(input.as_bytes(), Limits::default()), Err(Error::DuplicateKey { at: 0 }), "{input}");
    }
}

#[test]
fn keys_out_of_order_are_found() {
    let value = parse(b"d1:ci1e1:ai2e1:bi3ee", Limits::default()).unwrap();
    assert!(!value.is_canonical());
    assert_eq!(value.get(b"a").unwrap().as_int(), Some(2));
    assert_eq!(value.get(b"c").unwrap().as_int(), Some(1));
    assert!(value.get(b"d").is_none());
    let order: Vec<&[u8]> = value.as_dict().unwrap().iter().map(|(key, _)| key).collect();
    assert_eq!(order, [b"c", b"a", b"b"]);
}

#[test]
fn integers_are_64_bits_with_a_sign() {
    for number in [i64::MIN, -1, 0, 1, i64::MAX] {
        assert_eq!(
            parse(format!("i{number}e").as_bytes(), Limits::default()).unwrap().as_int(),
            Some(number)
        );
    }
    for number in ["9223372036854775808", "-9223372036854775809", "99999999999999999999999"] {
        let input = format!("i{number}e");
        assert_eq!(parse(input.as_bytes(), Limits::default()), Err(Error::IntegerRange { at: 0 }));
    }
}
