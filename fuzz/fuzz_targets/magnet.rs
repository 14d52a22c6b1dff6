//! Any text as a magnet link: what is accepted prints as a link that reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quelea_metainfo::{Error, Magnet};

fuzz_target!(|text: &str| {
    let Ok(magnet) = Magnet::parse(text) else { return };
    assert!(magnet.hashes.v1().is_some() || magnet.hashes.v2().is_some());
    let printed = magnet.to_string();
    assert!(printed.bytes().all(|byte| byte.is_ascii_graphic()), "{printed:?}");
    match Magnet::parse(&printed) {
        Ok(read) => assert_eq!(read, magnet, "{printed}"),
        // Percent-encoding makes a link longer.
        Err(error) => assert!(matches!(error, Error::TooLong { .. }), "{error}"),
    }
});
