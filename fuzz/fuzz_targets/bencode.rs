//! Any bytes: a value knows where it stands, reads the same again, and is written back as it was if it is canonical.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quelea_bencode::{Item, Limits, Value, parse, parse_prefix, to_json};

fuzz_target!(|data: &[u8]| {
    let limits = Limits { depth: 100, items: 100_000 };
    let Ok((value, used)) = parse_prefix(data, limits) else {
        assert!(parse(data, limits).is_err());
        return;
    };
    assert_eq!(value.raw(), &data[..used]);
    assert_eq!(parse(data, limits).is_ok(), used == data.len());
    assert!(parse(&data[..used], limits).is_ok(), "a value is whole without what follows");
    assert!(parse(&data[..used - 1], limits).is_err(), "a value that is cut off is none");
    stands_in(&value, data);

    let item = Item::from(&value);
    let written = item.encode();
    assert_eq!(value.is_canonical(), written == value.raw());
    let again = parse(&written, limits).expect("what we write can be read");
    assert!(again.is_canonical());
    assert_eq!(Item::from(&again), item);
    let _ = to_json(&value);
});

/// Every value within `value` lies in the bytes of the one around it.
fn stands_in(value: &Value<'_>, around: &[u8]) {
    assert!(around.as_ptr_range().start <= value.raw().as_ptr_range().start);
    assert!(value.raw().as_ptr_range().end <= around.as_ptr_range().end);
    for inner in value.as_list().unwrap_or_default() {
        stands_in(inner, value.raw());
    }
    for (key, inner) in value.as_dict().into_iter().flat_map(|dict| dict.iter()) {
        assert!(value.get(key) == Some(inner));
        stands_in(inner, value.raw());
    }
}
