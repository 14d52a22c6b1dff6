//! A value as JSON text that loses nothing: what `quelea bencode FILE` prints.
//!
//! JSON has neither byte strings nor 64-bit integers that every reader keeps, so each value names its type:
//! `{"i": "-3"}`, `{"s": "hexadecimal"}`, `{"l": [values]}`, `{"d": [["key in hexadecimal", value]]}`.

use crate::value::{Kind, Value};
use alloc::format;
use alloc::string::String;

/// One line `{"canonical": …, "value": …}`, with dictionaries in the order in which they were found.
pub fn to_json(value: &Value<'_>) -> String {
    let mut out = format!("{{\"canonical\": {}, \"value\": ", value.is_canonical());
    append(value, &mut out);
    out.push('}');
    out
}

fn append(value: &Value<'_>, out: &mut String) {
    match &value.kind {
        Kind::Int(number) => out.push_str(&format!("{{\"i\": \"{number}\"}}")),
        Kind::Bytes(bytes) => {
            out.push_str("{\"s\": ");
            append_hex(bytes, out);
            out.push('}');
        }
        Kind::List(values) => {
            out.push_str("{\"l\": [");
            for (number, value) in values.iter().enumerate() {
                out.push_str(if number == 0 { "" } else { ", " });
                append(value, out);
            }
            out.push_str("]}");
        }
        Kind::Dict(dict) => {
            out.push_str("{\"d\": [");
            for (number, (key, value)) in dict.iter().enumerate() {
                out.push_str(if number == 0 { "[" } else { ", [" });
                append_hex(key, out);
                out.push_str(", ");
                append(value, out);
                out.push(']');
            }
            out.push_str("]}");
        }
    }
}

fn append_hex(bytes: &[u8], out: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    out.push('"');
    for byte in bytes {
        out.extend([byte >> 4, byte & 15].iter().filter_map(|half| DIGITS.get(usize::from(*half))));
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, parse};

    #[test]
    fn names_the_type_of_every_value() {
        let value = parse(b"d1:bli-3e2:\xff\x0ae1:adee", Limits::default()).unwrap();
        assert_eq!(
            to_json(&value),
            r#"{"canonical": false, "value": {"d": [["62", {"l": [{"i": "-3"}, {"s": "ff0a"}]}], ["61", {"d": []}]]}}"#
        );
    }
}
