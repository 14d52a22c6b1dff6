//! A node of the crate mainline that answers everybody, for `bench/dht.py`.
//!
//! ```text
//! mainline ADDRESS PORT BOOTSTRAP
//! ```
//!
//! It says `ready` when it has joined the network, and stays until its standard input ends.

use std::error::Error;
use std::io::{Read, Write};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, port, bootstrap] = arguments.as_slice() else {
        return Err("mainline ADDRESS PORT BOOTSTRAP".into());
    };
    let address = address.parse()?;
    let node = mainline::Dht::builder()
        .server_mode()
        .bind_address(address)
        .public_ip(address)
        .port(port.parse()?)
        .bootstrap(&[bootstrap])
        .build()?;
    #[expect(deprecated, reason = "its replacement wants a runtime")]
    let joined = node.bootstrapped();
    if !joined {
        return Err("nobody answered".into());
    }
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
